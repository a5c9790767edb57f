package state

import (
	"teamtalk/protocol"
)

const (
	// revokedKeep is how long a revocation of a class or a device is remembered, in command time. No token is good for
	// longer than 7 days; the eighth is for clocks that differ.
	revokedKeep = 8 * 24 * 3600 * 1000 // milliseconds
	// revokedSweep is how many rows of bRevoked each revocation looks at. As it adds one, the bucket stays below 16/15 of
	// what has to be remembered.
	revokedSweep = 16
)

// revokedRow is the last revocation of one kind.
type revokedRow struct {
	At   protocol.Epoch `cbor:"1,keyasint"`
	Time protocol.Time  `cbor:"2,keyasint"`
}

func revokedKey(u protocol.UserID, scope protocol.RevokeScope, d protocol.DeviceID) []byte {
	id := idKey(u)
	return append(append(id[:], byte(scope)), d...)
}

// foundCluster keeps what is there: whoever comes second gets what the first one brought.
func (m *machine) foundCluster(s *step, c *protocol.FoundCluster) (any, error) {
	var none protocol.Cluster
	if c.Cluster.ID == none.ID || c.Cluster.History == none.History || c.Cluster.TokenKey == none.TokenKey || c.Cluster.AddressKey == none.AddressKey {
		return nil, invalid("a cluster needs an id, a history and keys")
	}
	var founded protocol.Cluster
	switch found, err := s.readRow(bMeta, []byte(metaCluster), &founded); {
	case err != nil:
		return nil, err
	case found && founded.NodeCert == "" && c.Cluster.NodeCert != "":
		founded.NodeCert, founded.NodeKey, founded.JoinKey = c.Cluster.NodeCert, c.Cluster.NodeKey, c.Cluster.JoinKey
		return founded, s.putRow(bMeta, []byte(metaCluster), founded)
	case found:
		return founded, nil
	}
	m.abroad.self = c.Cluster.ID
	return c.Cluster, s.putRow(bMeta, []byte(metaCluster), c.Cluster)
}

// lockOut ends all sessions of a user whose row the caller stores [TT-SESS-7]. Programs that knew no epochs executed the
// commands that lead here too: that all nodes note the same, counts from FoundCluster on, where those stop. Before it there
// are no tokens.
func (s *step) lockOut(u *protocol.User, reason string) {
	if s.row(bMeta, []byte(metaCluster)) != nil {
		u.Revoked = protocol.Epoch(s.at.Index)
	}
	s.emit(protocol.AccessRevoked{User: u.ID, Reason: reason, Scope: protocol.RevokeAll})
}

// revokeSessions raises an epoch [TT-SESS-7] [TT-SESS-9].
func (m *machine) revokeSessions(s *step, c *protocol.RevokeSessions) error {
	row, err := s.user(c.User)
	if err != nil {
		return err
	}
	if c.Scope != protocol.RevokeDevice && c.Device != "" {
		return invalid("a device is named, but the scope is %d", c.Scope)
	}
	event := protocol.AccessRevoked{User: c.User, Scope: c.Scope, Device: c.Device}
	switch c.Scope {
	case protocol.RevokeAll:
		event.Reason = "revoked"
		s.emit(event)
		row.User.Revoked = protocol.Epoch(s.at.Index)
		return s.putUser(&row, row.User.Updated)
	case protocol.RevokePC:
		event.Reason = "kicked"
	case protocol.RevokeDevice:
		event.Reason = "logged out"
		if c.Device == "" {
			return invalid("device id is empty")
		}
		if err := protocol.CheckText("device id", string(c.Device), protocol.MaxDeviceID); err != nil {
			return err
		}
	default:
		return invalid("scope %d of a revocation is not known", c.Scope)
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	s.emit(event)
	if err := s.sweepRevoked(); err != nil {
		return err
	}
	return s.putRow(bRevoked, revokedKey(c.User, c.Scope, c.Device), revokedRow{protocol.Epoch(s.at.Index), s.now})
}

// sweepRevoked forgets revocations that no token is old enough for.
func (s *step) sweepRevoked() error {
	return s.sweep(bRevoked, metaRevoked, revokedSweep, func(key, b []byte) (bool, error) {
		var row revokedRow
		if err := decodeRow(b, &row); err != nil {
			return false, badRow(bRevoked, key, err)
		}
		return row.Time+revokedKeep < s.now, nil
	})
}

// Cluster reads what all nodes share; NotFound before FoundCluster. The keys are secret.
func (q *Queries) Cluster() (c protocol.Cluster, err error) {
	err = q.view(func(r *txn) error {
		c, err = ClusterOf(r.tx)
		return err
	})
	return c, err
}

// Revoked is the epoch that a token of the user, the device ("": a legacy client) and the client's class needs at least
// [TT-SESS-6] [TT-SESS-7].
func (q *Queries) Revoked(u protocol.UserID, d protocol.DeviceID, c protocol.ClientType) (epoch protocol.Epoch, err error) {
	err = q.view(func(r *txn) error {
		user, err := r.user(u)
		if err != nil {
			return err
		}
		epoch = user.User.Revoked
		if !c.IsMobile() {
			if err := r.raise(&epoch, revokedKey(u, protocol.RevokePC, "")); err != nil {
				return err
			}
		}
		if d == "" {
			return nil
		}
		return r.raise(&epoch, revokedKey(u, protocol.RevokeDevice, d))
	})
	return epoch, err
}

func (t *txn) raise(epoch *protocol.Epoch, key []byte) error {
	var row revokedRow
	if _, err := t.readRow(bRevoked, key, &row); err != nil {
		return err
	}
	*epoch = max(*epoch, row.At)
	return nil
}
