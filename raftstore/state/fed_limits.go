package state

import (
	"encoding/binary"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Limits of what a peer may bring about [FED-AUTH-3].
const (
	aliasesPerHour = 5000
	groupsPerHour  = 500
	anHour         = 3600 * 1000
	rateLen        = 8 + 8
)

// introducer is whose word brings people abroad into the directory.
type introducer struct {
	peer  fed.ClusterID
	allow fed.Allow
}

// countAlias counts a new alias that came of a peer's word, and refuses one too many in an hour. A peer's own people are not counted where its directory is shared.
func (s *step) countAlias(by introducer, of fed.ClusterID) error {
	if of == by.peer && by.allow.Has(fed.AllowDirectory) {
		return nil
	}
	return s.count(by.peer[:], aliasesPerHour, "people")
}

// countGroup counts a group of a peer's that people of this cluster come to be in, and refuses one too many in an hour: its hub tells of it again when there is room.
func (s *step) countGroup(hub fed.ClusterID) error {
	return s.count(append(hub[:], 'g'), groupsPerHour, "groups")
}

// count counts one more of something in the hour, and refuses one too many.
//
//	row: beginning of the hour 8 | how many 8
func (s *step) count(key []byte, most uint64, what string) error {
	since, n, err := s.rateOf(key)
	if err != nil {
		return err
	}
	if n >= most {
		return protocol.Errorf(protocol.CodeRateLimited, "more than %d new %s in an hour", most, what)
	}
	b := s.room(rateLen)
	binary.BigEndian.PutUint64(b, uint64(since))
	binary.BigEndian.PutUint64(b[8:], n+1)
	return s.put(bRate, key, b)
}

// rateOf is how many of something there were in this hour of its.
func (s *step) rateOf(key []byte) (since protocol.Time, n uint64, err error) {
	b := s.row(bRate, key)
	if b != nil && len(b) != rateLen {
		return 0, 0, badRow(bRate, key, errRowLength)
	}
	if b == nil || s.now-protocol.Time(number(b)) >= anHour {
		return s.now, 0, nil
	}
	return protocol.Time(number(b)), number(b[8:]), nil
}

// roomFor refuses a group whose people would be too many new ones, before any of them is taken in.
func (m *machine) roomFor(s *step, in *inbound, members []fed.UserRef) error {
	by := in.introducer()
	_, n, err := s.rateOf(by.peer[:])
	if err != nil {
		return err
	}
	for _, r := range members {
		if r.Cluster == m.abroad.self || r.Cluster == by.peer && by.allow.Has(fed.AllowDirectory) {
			continue
		}
		id, err := s.alias(r.Cluster, aliasUser, uint32(r.ID))
		if err != nil {
			return err
		}
		if id != 0 {
			continue
		}
		if n++; n > aliasesPerHour {
			return protocol.Errorf(protocol.CodeRateLimited, "more than %d new people in an hour", aliasesPerHour)
		}
	}
	return nil
}

func (in *inbound) introducer() introducer { return introducer{in.sender, in.peer.In} }

// quotaAlarm says once that a peer's queue has grown beyond 80 % of its quota [FED-OUT-3].
func (m *machine) quotaAlarm(s *step, peer fed.ClusterID, before, now uint64) {
	p := m.abroad.peers[peer]
	if p == nil {
		return
	}
	if at := p.Limit() / 5 * 4; before < at && now >= at {
		s.emit(protocol.FederationAlarm{Cluster: peer, Text: "80 % of the quota of what may wait for it is used up"})
	}
}
