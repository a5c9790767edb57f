package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Status is how the cluster is, as the node sees it that was asked.
type Status struct {
	Asked   protocol.NodeID `json:"asked"`
	Leader  protocol.NodeID `json:"leader,omitempty"` // "": none is known
	Members []MemberStatus  `json:"members"`          // in order of their ids
	// Level is which features the cluster uses; 0: not known.
	Level protocol.Level `json:"level,omitempty"`
	// HighestLevel is what the most advanced of the members that answer may use. Where it is above Level, HeldBack says who keeps the cluster
	// from it; if nobody does, it is about to be raised.
	HighestLevel protocol.Level `json:"highest_level,omitempty"`
	HeldBack     []HeldBack     `json:"held_back,omitempty"`
}

// MemberStatus is one node in a Status.
type MemberStatus struct {
	ID      protocol.NodeID `json:"id"`
	Address string          `json:"address"`
	Role    string          `json:"role"` // leader, voter or non-voter
	// Reachable: it has answered, or says itself that it can't tell more (a program of another version).
	Reachable bool   `json:"reachable"`
	Error     string `json:"error,omitempty"` // why there is no report
	// RTTMillis is the link's round trip; 0: not known, or the node itself.
	RTTMillis float64 `json:"rtt_ms,omitempty"`
	// Lag is missing when it is not known.
	Lag    *Lag    `json:"lag,omitempty"`
	Report *Report `json:"report,omitempty"`
}

// Lag is how far a node's state is behind that of the node which is furthest. Elections commit entries that are of no use to a state, so
// it says little how far it is behind the commit index.
type Lag struct {
	Entries uint64 `json:"entries"`
	// Millis is how long ago the node asked had what this one lacks; missing if it does not remember, or is behind itself.
	Millis *int64 `json:"ms,omitempty"`
}

// Report is what a node says of itself.
type Report struct {
	Name     string          `json:"name" cbor:"1,keyasint"`
	Version  string          `json:"version" cbor:"2,keyasint"`
	Term     uint64          `json:"term" cbor:"3,keyasint"`
	Applied  protocol.Cursor `json:"applied" cbor:"4,keyasint"`
	Commit   protocol.Cursor `json:"commit" cbor:"5,keyasint"`
	Sessions int             `json:"sessions" cbor:"6,keyasint"`
	FreeDisk uint64          `json:"free_disk" cbor:"7,keyasint"` // bytes
	Draining bool            `json:"draining" cbor:"8,keyasint,omitempty"`
	Drained  bool            `json:"drained" cbor:"9,keyasint,omitempty"`
	UptimeMS int64           `json:"uptime_ms" cbor:"10,keyasint"`
	// Receiving are the bytes of the leader's state that have come in, of ReceivingOf; 0 when none is being sent.
	Receiving   int64  `json:"receiving,omitempty" cbor:"11,keyasint,omitempty"`
	ReceivingOf int64  `json:"receiving_of,omitempty" cbor:"12,keyasint,omitempty"`
	Links       []Link `json:"links,omitempty" cbor:"13,keyasint,omitempty"`
	// Level is what its state is at, HighestLevel what it may use; 0: its program is of a time when there were no levels, or it does not say.
	Level        protocol.Level `json:"level,omitempty" cbor:"14,keyasint,omitempty"`
	HighestLevel protocol.Level `json:"highest_level,omitempty" cbor:"15,keyasint,omitempty"`
	// AfterDrain is what it does when it is drained.
	AfterDrain AfterDrain `json:"after_drain,omitempty" cbor:"16,keyasint,omitempty"`
}

// Link is a node's link to another one.
type Link struct {
	Node      protocol.NodeID `json:"node" cbor:"1,keyasint"`
	Up        bool            `json:"up" cbor:"2,keyasint"`
	RTTMillis float64         `json:"rtt_ms,omitempty" cbor:"3,keyasint,omitempty"`
	Error     string          `json:"error,omitempty" cbor:"4,keyasint,omitempty"`
}

// Status asks all members how they are, at the same time; those that do not answer in Policy.Patience are unreachable. It never fails:
// what is not known is missing.
func (m *Manager) Status(ctx context.Context) Status {
	s := Status{Asked: m.cfg.Node}
	members, err := m.cfg.Store.Members()
	if err != nil {
		return s
	}
	s.Leader = leaderOf(members)
	s.Members = make([]MemberStatus, len(members))
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Policy.Patience)
	defer cancel()
	var calls sync.WaitGroup
	for i, member := range members {
		s.Members[i] = MemberStatus{ID: member.ID, Address: member.Address, Role: role(member)}
		calls.Go(func() { m.ask(ctx, &s.Members[i]) }) // ends with ctx
	}
	calls.Wait()
	slices.SortFunc(s.Members, func(a, b MemberStatus) int { return cmp.Compare(a.ID, b.ID) })
	m.measure(&s)
	m.judgeLevels(&s)
	return s
}

// ask fills in what a member says of itself.
func (m *Manager) ask(ctx context.Context, s *MemberStatus) {
	var r Report
	var err error
	if s.ID == m.cfg.Node {
		r, err = m.report()
	} else {
		err = m.call(ctx, s.ID, methodStatus, nothing{}, &r)
	}
	switch {
	case err == nil:
		s.Reachable, s.Report = true, &r
	case protocol.CodeOf(err) == protocol.CodeInvalid: // an older or a newer program, but there
		s.Reachable, s.Error = true, err.Error()
	default:
		s.Error = err.Error()
	}
}

// measure fills in what this node knows by itself.
func (m *Manager) measure(s *Status) {
	links := map[protocol.NodeID]Link{}
	for _, l := range m.linkReports() {
		links[l.Node] = l
	}
	var furthest, own protocol.Cursor
	for _, member := range s.Members {
		if member.Report != nil {
			furthest = max(furthest, member.Report.Applied)
		}
		if member.Report != nil && member.ID == m.cfg.Node {
			own = member.Report.Applied
		}
	}
	now := m.cfg.Clock()
	for i := range s.Members {
		member := &s.Members[i]
		member.RTTMillis = links[member.ID].RTTMillis
		if link, ok := links[member.ID]; ok && !member.Reachable && link.Error != "" {
			member.Error = link.Error // says more than that there was no answer
		}
		if member.Report == nil {
			continue
		}
		has := member.Report.Applied
		member.Lag = &Lag{Entries: uint64(furthest - has)}
		ms, ok := int64(0), has == furthest
		if has < own {
			ms, ok = m.past.since(now, has)
		}
		if ok {
			member.Lag.Millis = &ms
		}
	}
}

// report is what this node says of itself.
func (m *Manager) report() (Report, error) {
	at, err := m.cfg.Store.Position()
	if err != nil {
		return Report{}, err
	}
	v := m.cfg.Local.Vitals()
	r := Report{Name: m.cfg.Name, Version: m.cfg.Version, Term: at.Term, Applied: at.Applied, Commit: at.Commit, Sessions: v.Sessions, FreeDisk: v.FreeDisk,
		UptimeMS: m.cfg.Clock().Sub(m.begun).Milliseconds(), Receiving: at.Receiving, ReceivingOf: at.ReceivingOf, Links: m.linkReports()}
	if l := m.cfg.Levels; l != nil {
		r.Level, r.HighestLevel = l.Level(), l.HighestLevel()
	}
	leads := m.leadsOthers()
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Draining, r.Drained, r.AfterDrain = m.draining, m.drained && !leads, m.then
	return r, nil
}

func (m *Manager) linkReports() []Link {
	mesh := m.links()
	if mesh == nil {
		return nil
	}
	var links []Link
	for _, p := range mesh.Peers() {
		l := Link{Node: p.Node, Up: p.Up, Error: p.Error}
		if p.Up {
			l.RTTMillis = float64(p.RTT.Microseconds()) / 1000
		}
		links = append(links, l)
	}
	return links
}

// reachedBy is a node that has a link to another one, "" if there is none.
func (s *Status) reachedBy(id protocol.NodeID) protocol.NodeID {
	for _, member := range s.Members {
		if member.ID == id && member.Reachable {
			return s.Asked
		}
		if member.Report == nil {
			continue
		}
		if slices.ContainsFunc(member.Report.Links, func(l Link) bool { return l.Node == id && l.Up }) {
			return member.ID
		}
	}
	return ""
}

// answering are the members that are there.
func (s *Status) answering() map[protocol.NodeID]bool {
	there := map[protocol.NodeID]bool{}
	for _, member := range s.Members {
		if member.Reachable {
			there[member.ID] = true
		}
	}
	return there
}

const (
	// pastMarks is how many moments of the past are remembered, one in each pastEvery.
	pastMarks = 240
	pastEvery = 250 * time.Millisecond
)

// past remembers when this node had applied what, to say of another one by how much time it is behind.
type past struct {
	mu    sync.Mutex // guards marks
	marks []mark     // the oldest first
}

type mark struct {
	at      time.Time
	applied protocol.Cursor
}

func (p *past) note(now time.Time, applied protocol.Cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.marks); n > 0 && now.Sub(p.marks[n-1].at) < pastEvery {
		return
	}
	if len(p.marks) == pastMarks {
		p.marks = slices.Delete(p.marks, 0, pastMarks/4)
	}
	p.marks = append(p.marks, mark{now, applied})
}

// since is how many milliseconds ago this node first had more than another one has now, as far as that is remembered.
func (p *past) since(now time.Time, has protocol.Cursor) (ms int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch i := slices.IndexFunc(p.marks, func(m mark) bool { return m.applied > has }); i {
	case -1: // since the last mark
		return 0, len(p.marks) > 0
	case 0: // before the first one
		return 0, false
	default:
		return max(0, now.Sub(p.marks[i].at).Milliseconds()), true
	}
}
