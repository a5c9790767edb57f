package state

import "teamtalk/protocol"

// registerDevice stores where a user's pushes go. A token belongs to whoever registered it last [TT-LOGIN-9].
func (m *machine) registerDevice(s *step, c *protocol.RegisterDevice) error {
	if err := protocol.CheckLine("token", c.Token, protocol.MaxDeviceToken); err != nil {
		return err
	}
	if err := m.employed(s.txn, c.User); err != nil {
		return err
	}
	if err := s.forgetDevice(c.User); err != nil || c.Token == "" {
		return err
	}
	if b := s.row(bToken, []byte(c.Token)); b != nil {
		former, err := idOf[protocol.UserID](b)
		if err != nil {
			return badRow(bToken, []byte(c.Token), err)
		}
		if err := s.forgetDevice(former); err != nil {
			return err
		}
	}
	key := idKey(c.User)
	owner := s.room(len(key))
	copy(owner, key[:])
	if err := s.put(bToken, []byte(c.Token), owner); err != nil {
		return err
	}
	return s.putRow(bDevice, key[:], protocol.DeviceToken{User: c.User, Client: c.Client, Token: c.Token})
}

func (s *step) forgetDevice(u protocol.UserID) error {
	var d protocol.DeviceToken
	key := idKey(u)
	found, err := s.readRow(bDevice, key[:], &d)
	if err != nil || !found {
		return err
	}
	if err := s.drop(bToken, []byte(d.Token)); err != nil {
		return err
	}
	return s.drop(bDevice, key[:])
}

// setPushShield does not move User.Updated: the directory does not show it [TT-LOGIN-10].
func (m *machine) setPushShield(s *step, c *protocol.SetPushShield) error {
	if err := m.employed(s.txn, c.User); err != nil {
		return err
	}
	row, err := s.user(c.User)
	if err != nil {
		return err
	}
	row.User.PushShield = c.On
	return s.putUser(&row, row.User.Updated)
}

// DeviceToken reads where a user's pushes go; NotFound if nowhere.
func (q *Queries) DeviceToken(u protocol.UserID) (d protocol.DeviceToken, err error) {
	err = q.view(func(r *txn) error {
		key := idKey(u)
		found, err := r.readRow(bDevice, key[:], &d)
		if err == nil && !found {
			err = notFound("user %d has no device", u)
		}
		return err
	})
	return d, err
}

// PushShield tells whether a user wants no pushes at night [TT-LOGIN-10].
func (q *Queries) PushShield(u protocol.UserID) (bool, error) {
	user, err := q.UserByID(u)
	return user.PushShield, err
}
