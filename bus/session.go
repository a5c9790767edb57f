package bus

import (
	"cmp"
	"slices"

	"teamtalk/protocol"
)

// Session is a connection that has logged in, somewhere in the cluster.
type Session = protocol.LiveSession

// compareLogins orders sessions by their logins, the same on every node whatever its clock says.
func compareLogins(a, b *Session) int {
	return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Conn, b.Conn))
}

// Displaced is a session of this node that must go because of others, which may be on other nodes.
type Displaced = protocol.DisplacedSession

// mustGo finds those of a user's sessions that the others displace. It looks at nothing but the sessions, and not at their order: with equal tables
// all nodes decide alike, and who owns the session ends it. Devices: how many extended sessions a user may have; below 1: any number.
func mustGo(sessions []Session, devices int) []Displaced {
	if len(sessions) < 2 {
		return nil
	}
	var gone []Displaced
	var extended []*Session
	for i := range sessions {
		s := &sessions[i]
		by, why := successor(s, sessions)
		switch {
		case by != nil:
			gone = append(gone, Displaced{Session: *s, Why: why, By: *by})
		case s.IsExtended():
			extended = append(extended, s)
		}
	}
	excess := len(extended) - devices
	if devices < 1 || excess <= 0 {
		return gone
	}
	latest := slices.MaxFunc(extended, compareLogins)
	slices.SortFunc(extended, func(a, b *Session) int {
		return cmp.Or(cmp.Compare(a.Active, b.Active), compareLogins(a, b))
	})
	for _, s := range extended[:excess] {
		gone = append(gone, Displaced{Session: *s, Why: protocol.DisplacedByMany, By: *latest})
	}
	return gone
}

// successor is the latest session that takes the place of s; nil: none does. Legacy and extended sessions leave each other alone.
func successor(s *Session, sessions []Session) (by *Session, why protocol.Displacement) {
	for i := range sessions {
		o := &sessions[i]
		if o.IsExtended() != s.IsExtended() || compareLogins(o, s) <= 0 {
			continue
		}
		if s.IsExtended() && o.Device != s.Device || !s.IsExtended() && !o.Client.SameClass(s.Client) {
			continue
		}
		if by == nil || compareLogins(o, by) > 0 {
			by = o
		}
	}
	if s.IsExtended() {
		return by, protocol.DisplacedByOwn
	}
	return by, protocol.DisplacedByNewer
}
