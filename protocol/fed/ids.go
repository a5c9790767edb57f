package fed

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"teamtalk/protocol"
)

// ClusterID names a cluster for good, whatever its domain is called [FED-ID-1].
type ClusterID [16]byte

// IsZero reports whether no cluster is named.
func (c ClusterID) IsZero() bool { return c == ClusterID{} }

// String is the form of a UUID.
func (c ClusterID) String() string {
	h := hex.EncodeToString(c[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseClusterID reads what String writes.
func ParseClusterID(s string) (c ClusterID, err error) {
	plain := make([]byte, 0, 2*len(c))
	for i := range len(s) {
		if s[i] != '-' {
			plain = append(plain, s[i])
		}
	}
	b, err := hex.DecodeString(string(plain))
	if err != nil || len(b) != len(c) {
		return c, protocol.Errorf(protocol.CodeInvalid, "%q is no cluster id: it has 32 hexadecimal digits", s)
	}
	return ClusterID(b), nil
}

// UserRef names a user of any cluster by the id that is local there.
type UserRef struct {
	Cluster ClusterID       `cbor:"1,keyasint"`
	ID      protocol.UserID `cbor:"2,keyasint"`
}

// IsZero reports whether nobody is named.
func (u UserRef) IsZero() bool { return u == UserRef{} }

// String is "id@cluster".
func (u UserRef) String() string { return fmt.Sprintf("%d@%v", u.ID, u.Cluster) }

// GroupRef names a group of any cluster; the cluster is its hub.
type GroupRef struct {
	Cluster ClusterID        `cbor:"1,keyasint"`
	ID      protocol.GroupID `cbor:"2,keyasint"`
}

// IsZero reports whether no group is named.
func (g GroupRef) IsZero() bool { return g == GroupRef{} }

// String is "id@cluster".
func (g GroupRef) String() string { return fmt.Sprintf("%d@%v", g.ID, g.Cluster) }

// EventID is where its origin's log has an event. The origin finds its own messages by it, everybody knows repeats by it.
type EventID struct {
	Cluster ClusterID `cbor:"1,keyasint"`
	Index   uint64    `cbor:"2,keyasint"`
	Place   uint16    `cbor:"3,keyasint,omitempty"`
	// Era tells apart what a cluster did at the same place of its log before and after it was restored; 0 as long as it never was [FED-EP-1].
	Era uint64 `cbor:"4,keyasint,omitempty"`
}

// NewEventID is the id of what happened at a position of a cluster's log, in an era.
func NewEventID(c ClusterID, era uint64, at protocol.Position) EventID {
	return EventID{c, at.Index, at.Sub, era}
}

// Position is where the origin's log has it, or had it in that era.
func (e EventID) Position() protocol.Position { return protocol.Position{Index: e.Index, Sub: e.Place} }

// IsZero reports whether nothing is named.
func (e EventID) IsZero() bool { return e == EventID{} }

// String is "index.place@cluster", or "index.place~era@cluster".
func (e EventID) String() string {
	if e.Era == 0 {
		return fmt.Sprintf("%d.%d@%v", e.Index, e.Place, e.Cluster)
	}
	return fmt.Sprintf("%d.%d~%d@%v", e.Index, e.Place, e.Era, e.Cluster)
}

// ParseEventID reads what String writes.
func ParseEventID(s string) (e EventID, err error) {
	bad := protocol.Errorf(protocol.CodeInvalid, "%q names no event: one is written as 1234.0@ and the id of the cluster that made it", s)
	place, cluster, ok := strings.Cut(s, "@")
	if !ok {
		return e, bad
	}
	if e.Cluster, err = ParseClusterID(cluster); err != nil {
		return e, err
	}
	place, era, hasEra := strings.Cut(place, "~")
	index, sub, ok := strings.Cut(place, ".")
	if !ok {
		return e, bad
	}
	var errs [3]error
	var n uint64
	e.Index, errs[0] = strconv.ParseUint(index, 10, 64)
	n, errs[1] = strconv.ParseUint(sub, 10, 16)
	e.Place = uint16(n)
	if hasEra {
		e.Era, errs[2] = strconv.ParseUint(era, 10, 64)
	}
	if errors.Join(errs[:]...) != nil || hasEra && e.Era == 0 {
		return EventID{}, bad
	}
	return e, nil
}

// Lane is one of the queues between two clusters; none waits for another [FED-LANE-1].
type Lane uint8

// Lanes.
const (
	LaneControl   Lane = 0
	LaneFirst     Lane = 1 // the first of those for messages
	LaneLast      Lane = 8
	LaneEphemeral Lane = 9
	LaneMedia     Lane = 16
)

// Durable reports whether what goes over the lane is kept until it is acknowledged.
func (l Lane) Durable() bool { return l <= LaneLast }

// LaneOf is the lane of a conversation's events. Both ids are as one cluster sees them: only the sender has to come to the same result each time.
func LaneOf(c protocol.Conversation) Lane {
	// Fibonacci hashing: the upper bits of a product with the golden ratio are well spread.
	h := (uint64(c.A)<<32 | uint64(c.B)) * 0x9e3779b97f4a7c15
	return LaneFirst + Lane(h>>61)
}
