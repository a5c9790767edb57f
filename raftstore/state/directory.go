package state

import (
	"encoding/binary"

	"teamtalk/protocol"
)

// UserByID reads one user, also one who has left.
func (q *Queries) UserByID(id protocol.UserID) (u protocol.User, err error) {
	err = q.view(func(r *txn) error {
		row, err := r.user(id)
		u = row.User
		return err
	})
	return u, err
}

// Login finds a user by login name, with the stored password hash; an empty one fits no password.
func (q *Queries) Login(name string) (u protocol.User, hash string, err error) {
	err = q.view(func(r *txn) error {
		b := r.row(bLogin, []byte(name))
		if b == nil {
			return notFound("no user %q", name)
		}
		id, err := idOf[protocol.UserID](b)
		if err != nil {
			return badRow(bLogin, []byte(name), err)
		}
		row, err := r.user(id)
		if err != nil {
			return err
		}
		u = row.User
		hash, err = r.passwordHash(id)
		return err
	})
	return u, hash, err
}

// Users reads the users of ids that exist, in the order asked.
func (q *Queries) Users(ids []protocol.UserID) (users []protocol.User, err error) {
	err = q.view(func(r *txn) error {
		for _, id := range ids {
			row, err := r.user(id)
			switch {
			case err == nil:
				users = append(users, row.User)
			case protocol.CodeOf(err) != protocol.CodeNotFound:
				return err
			}
		}
		return nil
	})
	return users, err
}

// UsersSince lists, for t 0, all users who have not left, by id; otherwise those updated at t or later, by time, the ones
// who have left too. When nothing was updated after t it returns none at once. newest is the latest update of all, at
// least t [TT-BUDDY-4].
func (q *Queries) UsersSince(t protocol.Time) (users []protocol.User, newest protocol.Time, err error) {
	newest = t
	err = q.view(func(r *txn) error {
		k, _ := r.bucket(bUpdated).Cursor().Last()
		if k == nil {
			return nil
		}
		last := protocol.Time(binary.BigEndian.Uint64(k))
		if last <= t {
			return nil
		}
		newest = last
		if t <= 0 {
			users, err = r.presentUsers()
			return err
		}
		from := updatedKey(t, 0)
		return r.scan(bUpdated, nil, from[:], func(key, _ []byte) (bool, error) {
			row, err := r.user(protocol.UserID(binary.BigEndian.Uint32(key[8:])))
			users = append(users, row.User)
			return false, err
		})
	})
	return users, newest, err
}

func (t *txn) presentUsers() ([]protocol.User, error) {
	users := make([]protocol.User, 0, t.number(metaCount))
	err := t.scan(bUser, nil, nil, func(key, row []byte) (bool, error) {
		var u userRow
		if err := decodeRow(row, &u); err != nil {
			return true, badRow(bUser, key, err)
		}
		if u.User.Status != protocol.StatusLeft {
			users = append(users, u.User)
		}
		return false, nil
	})
	return users, err
}

// ListUsers lists at most limit users with ids above after, ascending, the ones who have left too.
func (q *Queries) ListUsers(after protocol.UserID, limit int) (users []protocol.User, err error) {
	if limit <= 0 || after == ^protocol.UserID(0) {
		return nil, nil
	}
	err = q.view(func(r *txn) error {
		from := idKey(after + 1)
		return r.scan(bUser, nil, from[:], func(key, row []byte) (bool, error) {
			var u userRow
			if err := decodeRow(row, &u); err != nil {
				return true, badRow(bUser, key, err)
			}
			users = append(users, u.User)
			return len(users) == limit, nil
		})
	})
	return users, err
}

// UserCount tells how many users there are, the ones who have left included.
func (q *Queries) UserCount() (n int, err error) {
	err = q.view(func(r *txn) error {
		n = int(r.number(metaCount))
		return nil
	})
	return n, err
}
