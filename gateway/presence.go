package gateway

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	boardUsers  = 1 << 20               // users whose presence waits to be announced: more than a cluster has, should a whole node's go at once
	statBytes   = 32                    // of the frame that says so of one, at most
	perPC       = 20 * time.Microsecond // what a round costs for each PC session
	passingRoom = 2                     // what is not stored may take this part of a session's room: it is dropped before a message is
)

// presenceBoard collects who came and went since the last round: the last state of each user [TT-PRES-2].
type presenceBoard struct {
	round int           // users of one round: what a session has room for
	wake  chan struct{} // holds one token while there is something to announce

	mu      sync.Mutex // guards what follows
	pending map[protocol.UserID]bool
	order   []protocol.UserID // the keys of pending, the longest waiting first
}

func newPresenceBoard(queueBytes int) *presenceBoard {
	return &presenceBoard{round: max(1, queueBytes/passingRoom/statBytes), wake: make(chan struct{}, 1), pending: make(map[protocol.UserID]bool)}
}

// add notes a user's state; false if there is no room.
func (b *presenceBoard) add(u protocol.UserID, online bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.pending[u]; !known {
		if len(b.pending) >= boardUsers {
			return false
		}
		b.order = append(b.order, u)
	}
	b.pending[u] = online
	b.wakeLocked()
	return true
}

func (b *presenceBoard) wakeLocked() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take removes what goes into one round; the rest waits for the next.
func (b *presenceBoard) take() map[protocol.UserID]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.order) <= b.round {
		taken := b.pending
		b.pending, b.order = make(map[protocol.UserID]bool), nil
		return taken
	}
	taken := make(map[protocol.UserID]bool, b.round)
	for _, u := range b.order[:b.round] {
		taken[u] = b.pending[u]
		delete(b.pending, u)
	}
	b.order = b.order[b.round:]
	b.wakeLocked()
	return taken
}

// announcePresence sends 0x0203 to all legacy PC sessions of this node, in rounds: the first change at once, what follows together. With many sessions
// the rounds come further apart, so that a storm of logins costs no more than a part of a core.
func (srv *Server) announcePresence(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-srv.board.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		n := srv.announceRound(srv.board.take())
		pause.Reset(srv.timing.PresenceEvery + time.Duration(n)*perPC)
	}
}

// announceRound pushes the changes to the legacy PC sessions, all sharing the same bytes, and returns their number; and to the extended sessions
// that asked for them.
func (srv *Server) announceRound(changes map[protocol.UserID]bool) int {
	pcs := srv.sessions.everybody(nil, func(s *session) bool { return !s.client.IsMobile() && s.ext == nil })
	most := srv.limits.QueueBytes / 8
	var frames []byte
	count := 0
	flush := func() {
		for _, s := range pcs {
			switch s.out.push(frames, passingRoom) {
			case queued:
				srv.metrics.out(pdu.CmdUserStatusNotify, count)
			case full:
				srv.metrics.dropped.WithLabelValues("presence").Add(float64(count))
			case closed:
			}
		}
		frames, count = nil, 0
	}
	for _, u := range slices.Sorted(maps.Keys(changes)) {
		srv.tellWatchers(u, changes[u])
		frames = srv.appendPush(frames, pdu.CmdUserStatusNotify, &pb.IMUserStatNotify{UserStat: userStat(u, changes[u])})
		if count++; len(frames) >= most {
			flush()
		}
	}
	if count > 0 {
		flush()
	}
	return len(pcs)
}

func userStat(u protocol.UserID, online bool) *pb.UserStat {
	return &pb.UserStat{UserId: new(uint32(u)), Status: statusToWire(online)}
}

func statusToWire(online bool) *pb.UserStatType {
	if online {
		return pb.UserStatType_USER_STATUS_ONLINE.Enum()
	}
	return pb.UserStatType_USER_STATUS_OFFLINE.Enum()
}

// announce tells of a login: of a PC to everybody, of a mobile to itself whether a PC is online [TT-PRES-2] [TT-PRES-3].
//
// A session that was resumed before anybody heard that its user had gone is no news: thousands may come back at once. COMPAT: a legacy login always is.
func (srv *Server) announce(s *session, wasShown bool) {
	if !s.client.IsMobile() {
		if s.ext != nil && (wasShown || srv.farewell.expects(s.user)) {
			return
		}
		srv.signaler.Signal(protocol.PresenceChanged{User: s.user, Online: true})
		return
	}
	if srv.presence.PCOnline(s.user) {
		srv.pushPCStatus(s.user, true)
	}
}

// isShown reports whether clients see the user as online.
func (srv *Server) isShown(u protocol.UserID) bool {
	if srv.inputs.displaced == nil { // what this node knows of itself is all there is
		return srv.presence.PCOnline(u)
	}
	return srv.presence.Shown(u)
}

// presenceChanged passes a signal on to this node's clients.
func (srv *Server) presenceChanged(p protocol.PresenceChanged) {
	if !srv.board.add(p.User, p.Online) {
		srv.metrics.dropped.WithLabelValues("presence_board").Inc()
	}
	srv.pushPCStatus(p.User, p.Online)
}

// pushPCStatus sends 0x020e to the user's own mobiles [TT-PRES-3].
func (srv *Server) pushPCStatus(u protocol.UserID, online bool) {
	var mobiles []*session
	for _, s := range srv.sessions.of(u) {
		if s.client.IsMobile() {
			mobiles = append(mobiles, s)
		}
	}
	if len(mobiles) > 0 {
		srv.push(mobiles, 0, pdu.CmdPCStatusNotify, &pb.IMPCLoginStatusNotify{UserId: new(uint32(u)), LoginStat: statusToWire(online)})
	}
}

// sayOffline announces that the user has no PC session any more, if that is so [TT-PRES-2].
func (srv *Server) sayOffline(u protocol.UserID) {
	if srv.presence.PCOnline(u) {
		return
	}
	srv.farewell.forget(u)
	srv.signaler.Signal(protocol.PresenceChanged{User: u, Online: false})
}

// farewells holds the users whose last PC session may have ended, until it is clear that none follows [TT-DIFF-7].
type farewells struct {
	grace time.Duration
	wake  chan struct{} // holds one token when the first one was added

	mu    sync.Mutex // guards what follows
	due   map[protocol.UserID]time.Time
	queue []farewell // by time, since the grace is the same for all
}

type farewell struct {
	user protocol.UserID
	due  time.Time
}

func newFarewells(grace time.Duration) *farewells {
	return &farewells{grace: grace, wake: make(chan struct{}, 1), due: make(map[protocol.UserID]time.Time)}
}

func (f *farewells) add(u protocol.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := time.Now().Add(f.grace)
	f.due[u] = due
	f.queue = append(f.queue, farewell{u, due})
	if len(f.queue) == 1 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// expects reports whether the user would be said to have gone, if he did not come back.
func (f *farewells) expects(u protocol.UserID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, pending := f.due[u]
	return pending
}

func (f *farewells) forget(u protocol.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.due, u)
}

// next takes the users whose time has come; wait is the time to the next one, 0 if there is none.
func (f *farewells) next(now time.Time) (users []protocol.UserID, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.queue) > 0 {
		first := f.queue[0]
		if wait = first.due.Sub(now); wait > 0 {
			return users, wait
		}
		f.queue = f.queue[1:]
		if f.due[first.user].Equal(first.due) { // else it left again later, or was announced
			delete(f.due, first.user)
			users = append(users, first.user)
		}
	}
	f.queue = nil
	return users, 0
}

// sayFarewells announces OFFLINE when the time of a farewell has come.
func (srv *Server) sayFarewells(ctx context.Context) error {
	for {
		users, wait := srv.farewell.next(time.Now())
		for _, u := range users {
			srv.sayOffline(u)
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-srv.farewell.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
