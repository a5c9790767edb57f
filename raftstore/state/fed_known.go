package state

import (
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// KnownTo returns those of this cluster's users whom a peer may know of without a shared directory: it was told of them, or somebody of it shares a
// conversation with them. In the order given.
func (q *Queries) KnownTo(peer fed.ClusterID, users []protocol.UserID) (known []protocol.UserID, err error) {
	err = q.view(func(t *txn) error {
		a := acquaintance{peer: peer, groups: map[protocol.GroupID]bool{}}
		for _, u := range users {
			ok, err := a.knows(t, u)
			if err != nil {
				return err
			}
			if ok {
				known = append(known, u)
			}
		}
		return nil
	})
	return known, err
}

// acquaintance finds out whom a peer knows.
type acquaintance struct {
	peer   fed.ClusterID
	groups map[protocol.GroupID]bool // whether somebody of the peer is in it, of those looked at
}

func (a *acquaintance) knows(t *txn, u protocol.UserID) (known bool, err error) {
	if u >= protocol.MaxLocalID {
		return false, nil
	}
	if key := refKey(a.peer, aliasUser, uint32(u)); t.row(bTold, key[:]) != nil {
		return true, nil
	}
	err = t.eachSession(u, func(s protocol.Session, row *sessionRow) error {
		switch {
		case known:
		case s.Type == protocol.SessionSingle && s.Peer() >= protocol.MaxLocalID:
			known, err = a.isTheirs(t, s.Peer())
			return err
		case s.Type == protocol.SessionGroup && row.stay() != nil:
			known, err = a.isIn(t, s.Group())
			return err
		}
		return nil
	})
	return known, err
}

func (a *acquaintance) isTheirs(t *txn, u protocol.UserID) (bool, error) {
	c, _, ok, err := t.ref(aliasUser, uint32(u))
	return ok && c == a.peer, err
}

// isIn reports whether somebody of the peer is in a group.
func (a *acquaintance) isIn(t *txn, g protocol.GroupID) (bool, error) {
	if is, looked := a.groups[g]; looked {
		return is, nil
	}
	members, err := t.memberRows(g)
	if err != nil {
		return false, err
	}
	is := false
	for i := len(members) - 1; i >= 0 && members[i] >= protocol.MaxLocalID && !is; i-- { // ascending: aliases are at the end
		if is, err = a.isTheirs(t, members[i]); err != nil {
			return false, err
		}
	}
	a.groups[g] = is
	return is, nil
}
