package gateway

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// refusal names why a connection was not taken.
type refusal string

const (
	refusedStopping refusal = "stopping"
	refusedDraining refusal = "draining"
	refusedAddress  refusal = "address_full"         // [TT-LIMIT-2]
	refusedAll      refusal = "unauthenticated_full" // too many connections that have not logged in
	refusedFull     refusal = "full"                 // too many that have; this one is told so [TT-LOGIN-12]

	refusedQueueFull refusal = "login_queue_full" // no place to wait [TT-QUEUE-1]
	refusedNoTime    refusal = "login_queue_long" // a legacy login that would come too late [TT-QUEUE-3]
	refusedWaited    refusal = "login_waited"     // one that did
)

// registry knows every connection of this node: strangers, which have not logged in, by address, the others by user.
type registry struct {
	mu        sync.RWMutex // guards all; nothing is called while it is held
	all       map[*session]struct{}
	users     map[protocol.UserID][]*session // the slices are replaced, never changed
	loggedIn  int
	extended  int                   // of those logged in
	strangers int                   // not logged in, and not waiting for that
	addresses map[netip.Prefix]int  // of the strangers
	homes     map[netip.Prefix]home // where those logged in come from
	stopped   bool
	draining  bool // nobody logs in any more

	serving sync.WaitGroup // the connections in all; grows only while not stopped
}

func newRegistry() *registry {
	return &registry{
		all:       make(map[*session]struct{}),
		users:     make(map[protocol.UserID][]*session),
		addresses: make(map[netip.Prefix]int),
		homes:     make(map[netip.Prefix]home),
	}
}

// open counts a new connection, or says why not.
func (r *registry) open(s *session, l *Limits) refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	place := transport.PlaceOf(s.addr)
	switch {
	case r.stopped:
		return refusedStopping
	case r.addresses[place] >= l.UnauthenticatedPerAddress:
		return refusedAddress
	case r.strangers >= l.Unauthenticated:
		return refusedAll
	}
	r.serving.Add(1)
	r.all[s] = struct{}{}
	s.entrance.counted = true
	r.strangers++
	r.addresses[place]++
	return ""
}

// vouch no longer counts a connection among those that have not logged in: its login waits its turn. It has shown what it wants, the queue has a bound
// of its own, and a whole office may wait behind one address [TT-LIMIT-2].
func (r *registry) vouch(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.knownLocked(s)
}

// hasRoom reports whether the user may log in: when the server is full, only in place of an older session.
func (r *registry) hasRoom(u protocol.UserID, c protocol.ClientType, l *Limits) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return !r.stopped && !r.draining && (r.loggedIn < l.Connections || slices.ContainsFunc(r.users[u], func(o *session) bool { return o.client.SameClass(c) }))
}

// enter files a session under its user, which from here on gets pushes, and returns those that it displaces. False: no room.
func (r *registry) enter(s *session, u protocol.UserID, c protocol.ClientType, l *Limits) (displaced []*session, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var stay []*session
	stay, displaced = s.displaces(r.users[u], c, l.DevicesPerUser)
	if r.stopped || r.draining || r.loggedIn+1-len(displaced) > l.Connections {
		return nil, false
	}
	for _, o := range displaced {
		r.removedLocked(o)
	}
	s.user, s.client = u, c
	r.arrivedLocked(s)
	if s.ext != nil {
		r.extended++
	}
	r.users[u] = append(stay, s)
	r.loggedIn += 1 - len(displaced)
	r.knownLocked(s)
	return displaced, true
}

// leave takes a session off its user; false if it is not there (any more).
func (r *registry) leave(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.users[s.user]
	i := slices.Index(of, s)
	if i < 0 {
		return false
	}
	r.loggedIn--
	r.removedLocked(s)
	if len(of) == 1 {
		delete(r.users, s.user)
		return true
	}
	r.users[s.user] = slices.Concat(of[:i], of[i+1:])
	return true
}

// removedLocked is called for a session that gets no pushes any more.
func (r *registry) removedLocked(s *session) {
	r.departedLocked(s)
	if s.ext != nil {
		s.ext.phase.Store(gone)
		r.extended--
	}
}

// hasExtended reports whether any extended session is logged in.
func (r *registry) hasExtended() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.extended > 0
}

// displaces divides a user's other sessions into those that stay when s comes, with room for it, and those that it displaces. Among legacy sessions
// those are the older ones of the same class [TT-KICK-1]; among extended ones the same device and, of more than devices if that is not 0, the one unused
// for the longest time.
// The two kinds leave each other alone [TT-SESS-8].
func (s *session) displaces(others []*session, c protocol.ClientType, devices int) (stay, displaced []*session) {
	stay = make([]*session, 0, len(others)+1)
	extended, idle := 0, -1
	for _, o := range others {
		switch {
		case s.ext == nil && o.ext == nil && o.client.SameClass(c), s.ext != nil && o.ext != nil && o.ext.device == s.ext.device:
			displaced = append(displaced, o)
			continue
		case s.ext != nil && o.ext != nil:
			extended++
			if idle < 0 || o.ext.asked.Load() < stay[idle].ext.asked.Load() {
				idle = len(stay)
			}
		}
		stay = append(stay, o)
	}
	if devices > 0 && extended >= devices && idle >= 0 {
		displaced = append(displaced, stay[idle])
		stay = slices.Delete(stay, idle, idle+1)
	}
	return stay, displaced
}

// close forgets a connection.
func (r *registry) close(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	r.knownLocked(s)
	r.serving.Done()
}

// knownLocked takes a connection off the strangers, if it is among them.
func (r *registry) knownLocked(s *session) {
	if !s.entrance.counted {
		return
	}
	s.entrance.counted = false
	r.strangers--
	place := transport.PlaceOf(s.addr)
	if r.addresses[place]--; r.addresses[place] <= 0 {
		delete(r.addresses, place)
	}
}

// of returns a user's sessions on this node; do not modify.
func (r *registry) of(u protocol.UserID) []*session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.users[u]
}

// ofAll appends the sessions of many users to dst.
func (r *registry) ofAll(dst []*session, users []protocol.UserID) []*session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, u := range users {
		dst = append(dst, r.users[u]...)
	}
	return dst
}

// everybody appends all logged-in sessions that want wants to dst; nil wants all.
func (r *registry) everybody(dst []*session, wants func(*session) bool) []*session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, of := range r.users {
		for _, s := range of {
			if wants == nil || wants(s) {
				dst = append(dst, s)
			}
		}
	}
	return dst
}

// stop lets nobody in any more and returns all connections.
func (r *registry) stop() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	open := make([]*session, 0, len(r.all))
	for s := range r.all {
		open = append(open, s)
	}
	return open
}

func (r *registry) isStopped() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.stopped
}

// setDraining says whether nobody logs in any more, while those who have stay.
func (r *registry) setDraining(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = on
}

func (r *registry) isDraining() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.draining
}

// has reports whether a session is logged in.
func (r *registry) has(s *session) bool {
	return slices.Contains(r.of(s.user), s)
}

// count is the number of sessions that are logged in.
func (r *registry) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.loggedIn
}

// newConnID begins with the time, so that ids of one connection lie together in what is stored by them.
func newConnID() protocol.ConnID {
	return protocol.ConnID(uint64(time.Now().UnixMilli())<<20 | uint64(rand.Uint32N(1<<20)))
}

// newSequence is where a connection's message ids begin: at random, so that two connections with one id do not share them.
func newSequence() uint64 { return rand.Uint64() >> 1 }
