package bus

import (
	"context"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Presence is the table of who has logged in, on this node and on the others as far as they have told. All methods may be called from any goroutine.
//
// Every node numbers the changes of its own sessions and tells them to each other node, which copies them. What clients are shown of it are the
// PresenceChanged signals; the gateway of the node where somebody came or went sends them. The table remembers for every user what was last published here,
// and when that has been wrong for a while (a node died before it could announce, a signal was dropped, two crossed), publishes the truth on this node.
type Presence struct {
	cfg     *Config
	metrics *metrics
	deliver func(protocol.Signal) // to the subscribers of this node
	links   *links
	here    *member       // this node
	swept   chan struct{} // holds one token when there is something to sweep

	mu        sync.RWMutex // guards what follows and all members; the links and the queues have their own locks, taken after it
	users     map[protocol.UserID]person
	remote    map[protocol.NodeID]*member
	sweeps    []sweep
	settling  settling
	displaced *queue[Displaced] // nil: nobody wants to know
	waiting   map[protocol.UserID][]chan struct{}
}

// person is what is known of a user who is connected, or was shown as online.
type person struct {
	sessions []held
	isShown  bool // online, by the last PresenceChanged published on this node
}

// held is a Session in few bytes: there is one for every session of the cluster.
type held struct {
	node   *member
	conn   protocol.ConnID
	since  protocol.Time
	device protocol.DeviceID
	idle   uint32 // seconds from since to the last known activity
	client protocol.ClientType
	mustGo bool   // its node has said so to its gateway
	mark   uint16 // of the last table of its node that it was in
}

func newPresence(cfg *Config, m *metrics, l *links, deliver func(protocol.Signal)) *Presence {
	return &Presence{
		cfg: cfg, metrics: m, links: l, deliver: deliver,
		here:     newMember(cfg.Node, cfg.Generation, m),
		swept:    make(chan struct{}, 1),
		users:    make(map[protocol.UserID]person),
		remote:   make(map[protocol.NodeID]*member),
		settling: newSettling(),
		waiting:  make(map[protocol.UserID][]chan struct{}),
	}
}

// Join files a session of this node and tells the other nodes; in place of others of the same user on this node, which leave in the same moment. Node,
// Since and Active are set here.
func (p *Presence) Join(s Session, instead ...protocol.ConnID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	since := protocol.TimeOf(now)
	for _, h := range p.users[s.User].sessions {
		since = max(since, h.since+1)
	}
	p.putLocked(s.User, held{node: p.here, conn: s.Conn, since: since, device: s.Device, client: s.Client})
	p.tellLocked(kindJoined, wireSession{User: s.User, Conn: s.Conn, Client: s.Client, Device: []byte(s.Device), Since: since})
	for _, c := range instead {
		p.leaveLocked(s.User, c)
	}
	p.settleLocked(s.User, now.Add(p.cfg.Settle))
	p.displaceLocked(s.User)
}

// Leave takes a session of this node off the table; one that is not there is none.
func (p *Presence) Leave(u protocol.UserID, c protocol.ConnID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(u, c)
}

func (p *Presence) leaveLocked(u protocol.UserID, c protocol.ConnID) {
	if p.removeLocked(u, p.here, c) {
		p.tellLocked(kindLeft, wireSession{User: u, Conn: c})
		p.settleLocked(u, time.Now().Add(p.cfg.Settle))
	}
}

// Touched notes that a session of this node has asked for something. The table moves in coarse steps, the same on all nodes, so that this may be called often.
func (p *Presence) Touched(u protocol.UserID, c protocol.ConnID) {
	now := protocol.TimeOf(time.Now())
	if !p.isStale(u, c, now) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.findLocked(u, p.here, c)
	if h == nil || h.mustGo || now < h.since {
		return
	}
	h.idle = uint32((now - h.since) / 1000)
	p.tellLocked(kindTouched, wireSession{User: u, Conn: c, Idle: h.idle})
}

// isStale reports whether what the table says of a session's activity is to be told anew.
func (p *Presence) isStale(u protocol.UserID, c protocol.ConnID, now protocol.Time) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	h := p.findLocked(u, p.here, c)
	return h != nil && now-h.active() >= protocol.Time(p.cfg.TouchEvery.Milliseconds())
}

// PCOnline reports whether the user has a connection of the PC class anywhere, which is what clients show as online [TT-PRES-1].
func (p *Presence) PCOnline(u protocol.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	who := p.users[u]
	return who.isOnline()
}

// MobileOnline reports whether the user has a connection of the mobile class anywhere.
func (p *Presence) MobileOnline(u protocol.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.ContainsFunc(p.users[u].sessions, func(h held) bool { return h.client.IsMobile() })
}

// Shown reports whether the last PresenceChanged published on this node said that the user is online. Whoever comes back before his going was announced
// is no news. A node alone does not keep this: always false.
func (p *Presence) Shown(u protocol.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.users[u].isShown
}

// Sessions lists a user's sessions on all nodes, in no order.
func (p *Presence) Sessions(u protocol.UserID) []Session {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sessionsLocked(u)
}

func (p *Presence) sessionsLocked(u protocol.UserID) []Session {
	of := p.users[u].sessions
	sessions := make([]Session, len(of))
	for i := range of {
		sessions[i] = of[i].session(u)
	}
	return sessions
}

// AwaitFormer waits until no other node that can be reached has a session of this device that is older than the one with connection c here: what its client
// sends now must not be overtaken by what it sent there [TT-SESS-3]. The error is that of ctx.
func (p *Presence) AwaitFormer(ctx context.Context, u protocol.UserID, d protocol.DeviceID, c protocol.ConnID) error {
	for {
		p.mu.Lock()
		if !p.hasFormerLocked(u, d, c) {
			p.mu.Unlock()
			return nil
		}
		changed := make(chan struct{})
		p.waiting[u] = append(p.waiting[u], changed)
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			p.waitNoMore(u, changed)
			return ctx.Err()
		}
	}
}

func (p *Presence) waitNoMore(u protocol.UserID, changed chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := slices.DeleteFunc(p.waiting[u], func(o chan struct{}) bool { return o == changed })
	if p.waiting[u] = rest; len(rest) == 0 {
		delete(p.waiting, u)
	}
}

func (p *Presence) hasFormerLocked(u protocol.UserID, d protocol.DeviceID, c protocol.ConnID) bool {
	mine := p.findLocked(u, p.here, c)
	if mine == nil {
		return false
	}
	return slices.ContainsFunc(p.users[u].sessions, func(h held) bool {
		return h.node != p.here && h.node.isLinked && h.device == d && h.since < mine.since
	})
}

// wakeLocked lets those look again who wait for a change of the user's sessions.
func (p *Presence) wakeLocked(u protocol.UserID) {
	for _, c := range p.waiting[u] {
		close(c)
	}
	delete(p.waiting, u)
}

// isOnline reports whether one of the person's sessions is of the PC class.
func (w *person) isOnline() bool {
	return slices.ContainsFunc(w.sessions, func(h held) bool { return !h.client.IsMobile() })
}

func (h *held) active() protocol.Time { return h.since + protocol.Time(h.idle)*1000 }

func (h *held) session(u protocol.UserID) Session {
	return Session{User: u, Conn: h.conn, Client: h.client, Device: h.device, Node: h.node.id, Since: h.since, Active: h.active()}
}

func (h *held) wire(u protocol.UserID) wireSession {
	return wireSession{User: u, Conn: h.conn, Client: h.client, Device: []byte(h.device), Since: h.since, Idle: h.idle}
}

// findLocked is a session of a node, nil if it is not there; good until the user's sessions change.
func (p *Presence) findLocked(u protocol.UserID, m *member, c protocol.ConnID) *held {
	of := p.users[u].sessions
	if i := slices.IndexFunc(of, func(h held) bool { return h.node == m && h.conn == c }); i >= 0 {
		return &of[i]
	}
	return nil
}

// putLocked files a session, in place of what is known under its name.
func (p *Presence) putLocked(u protocol.UserID, h held) {
	if known := p.findLocked(u, h.node, h.conn); known != nil {
		*known = h
		return
	}
	who := p.users[u]
	who.sessions = append(who.sessions, h)
	p.users[u] = who
	h.node.count(1)
}

// removeLocked forgets a session; false: it was not known.
func (p *Presence) removeLocked(u protocol.UserID, m *member, c protocol.ConnID) bool {
	known := p.findLocked(u, m, c)
	if known == nil {
		return false
	}
	who := p.users[u]
	if len(who.sessions) == 1 {
		who.sessions = nil // nearly everybody has one: nothing is kept for the next
	} else {
		*known = who.sessions[len(who.sessions)-1]
		who.sessions[len(who.sessions)-1] = held{}
		who.sessions = who.sessions[:len(who.sessions)-1]
	}
	p.storeLocked(u, who)
	m.count(-1)
	p.wakeLocked(u)
	return true
}

func (p *Presence) storeLocked(u protocol.UserID, who person) {
	if len(who.sessions) == 0 && !who.isShown {
		delete(p.users, u)
		return
	}
	p.users[u] = who
}
