package state

import (
	"bytes"

	"teamtalk/protocol"
)

// userRow is a user's row in bUser. The password is not in it, so that no listing can show it.
type userRow struct {
	User     protocol.User     `cbor:"1,keyasint"`
	SignAt   protocol.Position `cbor:"2,keyasint"` // key of its row in bProfile; zero: never changed
	AvatarAt protocol.Position `cbor:"3,keyasint"`
}

// profileKind tells what changed in a row of bProfile. Both may happen at one position.
type profileKind uint8

const (
	profileSign   profileKind = 1
	profileAvatar profileKind = 2
)

func (t *txn) user(id protocol.UserID) (userRow, error) {
	var row userRow
	key := idKey(id)
	found, err := t.readRow(bUser, key[:], &row)
	if err == nil && !found {
		err = notFound("no user %d", id)
	}
	return row, err
}

// putUser stores row; updated is the former User.Updated, 0 for a new user.
func (s *step) putUser(row *userRow, updated protocol.Time) error {
	u := &row.User
	if err := s.showPath(avatarShower(u.ID), u.Avatar); err != nil {
		return err
	}
	if u.Updated != updated {
		if updated != 0 {
			old := updatedKey(updated, u.ID)
			if err := s.drop(bUpdated, old[:]); err != nil {
				return err
			}
		}
		key := updatedKey(u.Updated, u.ID)
		if err := s.put(bUpdated, key[:], nil); err != nil {
			return err
		}
	}
	key := idKey(u.ID)
	return s.putRow(bUser, key[:], row)
}

// employed refuses users who do not exist or have left.
func (m *machine) employed(t *txn, id protocol.UserID) error {
	status, known := m.status[id]
	if !known {
		row, err := t.user(id)
		if err != nil {
			return err
		}
		status = row.User.Status
		m.status[id] = status
	}
	if status == protocol.StatusLeft {
		return notFound("user %d has left", id)
	}
	return nil
}

// addUsers: all or none. Ids that are given (a migration keeps them) must be free; the counter moves beyond them.
func (m *machine) addUsers(s *step, c *protocol.AddUsers) (any, error) {
	if len(c.Users) == 0 {
		return nil, invalid("no users given")
	}
	last, err := s.checkNewUsers(c.Users)
	if err != nil {
		return nil, err
	}
	if err := m.stamp(s); err != nil {
		return nil, err
	}
	res := protocol.AddUsersResult{IDs: make([]protocol.UserID, 0, len(c.Users))}
	for i := range c.Users {
		u := c.Users[i].User
		if u.ID == 0 {
			last++
			u.ID = last
		}
		if u.Created == 0 {
			u.Created = s.now
		}
		u.Updated, u.Revoked = s.now, 0
		if err := s.insertUser(u, c.Users[i].PasswordHash); err != nil {
			return nil, err
		}
		m.status[u.ID] = u.Status
		res.IDs = append(res.IDs, u.ID)
	}
	if err := s.setNumber(metaUsers, uint64(last)); err != nil {
		return nil, err
	}
	if err := s.setNumber(metaCount, s.number(metaCount)+uint64(len(c.Users))); err != nil {
		return nil, err
	}
	s.emit(protocol.DirectoryChanged{})
	return res, nil
}

// checkNewUsers returns the id after which new ids are given.
func (s *step) checkNewUsers(users []protocol.NewUser) (last protocol.UserID, err error) {
	last = protocol.UserID(s.number(metaUsers))
	names := make(map[string]bool, len(users))
	ids := make(map[protocol.UserID]bool)
	unnumbered := 0
	for i := range users {
		u := &users[i].User
		if err := u.Check(); err != nil {
			return 0, err
		}
		if err := s.checkDepartment(u.Department); err != nil {
			return 0, err
		}
		if err := protocol.CheckLine("password hash", users[i].PasswordHash, protocol.MaxPasswordHash); err != nil {
			return 0, err
		}
		if names[u.Name] || s.row(bLogin, []byte(u.Name)) != nil {
			return 0, invalid("login name %q: taken", u.Name)
		}
		names[u.Name] = true
		if u.ID == 0 {
			unnumbered++
			continue
		}
		key := idKey(u.ID)
		if ids[u.ID] || s.row(bUser, key[:]) != nil {
			return 0, invalid("user id %d: taken", u.ID)
		}
		ids[u.ID] = true
		last = max(last, u.ID)
	}
	if uint64(last)+uint64(unnumbered) >= protocol.MaxLocalID {
		return 0, protocol.Errorf(protocol.CodeQuota, "user ids end before %d", uint32(protocol.MaxLocalID))
	}
	return last, nil
}

// checkDepartment is apart from User.Check: a user stays editable when his department is deleted.
func (s *step) checkDepartment(id protocol.DeptID) error {
	if id == 0 {
		return nil
	}
	_, err := s.department(id)
	return err
}

func (s *step) insertUser(u protocol.User, hash string) error {
	key := idKey(u.ID)
	login := s.room(len(key))
	copy(login, key[:])
	if err := s.put(bLogin, []byte(u.Name), login); err != nil {
		return err
	}
	if hash != "" {
		if err := s.putRow(bPassword, key[:], hash); err != nil {
			return err
		}
	}
	return s.putUser(&userRow{User: u}, 0)
}

func (m *machine) editUser(s *step, c *protocol.EditUser) error {
	row, err := s.user(c.User)
	if err != nil {
		return err
	}
	before := row.User
	u := &row.User
	replace(&u.Nick, c.Nick)
	replace(&u.Gender, c.Gender)
	replace(&u.Avatar, c.Avatar)
	replace(&u.Department, c.Department)
	replace(&u.Email, c.Email)
	replace(&u.Phone, c.Phone)
	replace(&u.Domain, c.Domain)
	replace(&u.Status, c.Status)
	replace(&u.Sign, c.Sign)
	if err := u.Check(); err != nil {
		return err
	}
	if u.Department != before.Department {
		if err := s.checkDepartment(u.Department); err != nil {
			return err
		}
	}
	if *u == before {
		return nil
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	u.Updated = s.now
	if u.Sign != before.Sign {
		if err := s.moveProfile(&row.SignAt, profileSign, u.ID); err != nil {
			return err
		}
		s.emit(protocol.SignChanged{User: u.ID, Sign: u.Sign})
	}
	if u.Avatar != before.Avatar {
		if err := s.moveProfile(&row.AvatarAt, profileAvatar, u.ID); err != nil {
			return err
		}
		s.emit(protocol.AvatarChanged{User: u.ID, Avatar: u.Avatar})
	}
	m.status[u.ID] = u.Status
	s.emit(protocol.DirectoryChanged{})
	if u.Status == protocol.StatusLeft && before.Status != protocol.StatusLeft {
		if err := s.forgetDevice(u.ID); err != nil {
			return err
		}
		s.lockOut(u, "left")
	}
	if err := s.putUser(&row, before.Updated); err != nil {
		return err
	}
	return m.tellProfile(s, u.ID)
}

func replace[T any](field, with *T) {
	if with != nil {
		*field = *with
	}
}

// moveProfile makes the command's position the place of a user's last change of one kind.
func (s *step) moveProfile(place *protocol.Position, kind profileKind, u protocol.UserID) error {
	if *place != (protocol.Position{}) {
		old := profileKey(*place, kind)
		if err := s.drop(bProfile, old[:]); err != nil {
			return err
		}
	}
	*place = s.at
	key, id := profileKey(s.at, kind), idKey(u)
	return s.put(bProfile, key[:], bytes.Clone(id[:]))
}

// changeSign obeys [TT-BUDDY-8].
func (m *machine) changeSign(s *step, c *protocol.ChangeSign) error {
	if err := protocol.CheckText("signature", c.Sign, protocol.MaxSign); err != nil {
		return err
	}
	return m.changeProfile(s, c.User, func(row *userRow) error {
		row.User.Sign = c.Sign
		s.emit(protocol.SignChanged{User: c.User, Sign: c.Sign})
		return s.moveProfile(&row.SignAt, profileSign, c.User)
	})
}

// changeAvatar obeys [TT-BUDDY-7].
func (m *machine) changeAvatar(s *step, c *protocol.ChangeAvatar) error {
	if err := protocol.CheckLine("avatar", c.Avatar, protocol.MaxAvatar); err != nil {
		return err
	}
	return m.changeProfile(s, c.User, func(row *userRow) error {
		row.User.Avatar = c.Avatar
		s.emit(protocol.AvatarChanged{User: c.User, Avatar: c.Avatar})
		return s.moveProfile(&row.AvatarAt, profileAvatar, c.User)
	})
}

func (m *machine) changeProfile(s *step, u protocol.UserID, change func(*userRow) error) error {
	if err := m.employed(s.txn, u); err != nil {
		return err
	}
	row, err := s.user(u)
	if err != nil {
		return err
	}
	before := row.User.Updated
	if err := m.stamp(s); err != nil {
		return err
	}
	row.User.Updated = s.now
	if err := change(&row); err != nil {
		return err
	}
	if err := s.putUser(&row, before); err != nil {
		return err
	}
	return m.tellProfile(s, u)
}

func (t *txn) passwordHash(u protocol.UserID) (string, error) {
	var hash string
	key := idKey(u)
	_, err := t.readRow(bPassword, key[:], &hash)
	return hash, err
}

func (m *machine) setPassword(s *step, c *protocol.SetPassword) error {
	if err := protocol.CheckName("password hash", c.Hash, protocol.MaxPasswordHash); err != nil {
		return err
	}
	row, err := s.user(c.User)
	if err != nil {
		return err
	}
	key := idKey(c.User)
	if c.If != "" {
		hash, err := s.passwordHash(c.User)
		if err != nil {
			return err
		}
		if hash != c.If {
			return invalid("the password of user %d has changed meanwhile", c.User)
		}
		return s.putRow(bPassword, key[:], c.Hash)
	}
	s.lockOut(&row.User, "password changed")
	if err := s.putUser(&row, row.User.Updated); err != nil {
		return err
	}
	return s.putRow(bPassword, key[:], c.Hash)
}
