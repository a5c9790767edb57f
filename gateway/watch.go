package gateway

import (
	"maps"
	"slices"
	"sync"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// watchedMost is how many users an extended session may have its eye on [TT-SESS-10].
const watchedMost = 1000

// watch knows which extended sessions want to know of whom.
type watch struct {
	mu  sync.Mutex // guards all
	by  map[protocol.UserID]map[*session]struct{}
	who map[*session]map[protocol.UserID]struct{}
}

// add lets a session know of users from now on, all or none.
func (w *watch) add(s *session, users []protocol.UserID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.ext.phase.Load() == gone {
		return nil // nobody would take it off again
	}
	watched := w.who[s]
	fresh := make(map[protocol.UserID]struct{})
	for _, u := range users {
		if _, ok := watched[u]; !ok {
			fresh[u] = struct{}{}
		}
	}
	if n := len(watched) + len(fresh); n > watchedMost {
		return protocol.Errorf(protocol.CodeQuota, "presence of %d users: at most %d", n, watchedMost)
	}
	if len(fresh) == 0 {
		return nil
	}
	if watched == nil {
		watched = make(map[protocol.UserID]struct{}, len(fresh))
		w.who[s] = watched
	}
	for u := range fresh {
		watched[u] = struct{}{}
		if w.by[u] == nil {
			w.by[u] = make(map[*session]struct{})
		}
		w.by[u][s] = struct{}{}
	}
	return nil
}

// forget ends a session's interest in anybody.
func (w *watch) forget(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for u := range w.who[s] {
		if delete(w.by[u], s); len(w.by[u]) == 0 {
			delete(w.by, u)
		}
	}
	delete(w.who, s)
}

// of returns the sessions that want to know of a user.
func (w *watch) of(u protocol.UserID) []*session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.by[u]))
}

// tellWatchers pushes a user's presence to the extended sessions that asked for it [TT-SESS-10].
func (srv *Server) tellWatchers(u protocol.UserID, online bool) {
	watchers := srv.hub.watch.of(u)
	if len(watchers) == 0 {
		return
	}
	frame := srv.appendPush(nil, pdu.CmdUserStatusNotify, &pb.IMUserStatNotify{UserStat: userStat(u, online)})
	for _, s := range watchers {
		switch s.out.push(frame, passingRoom) {
		case queued:
			srv.metrics.out(pdu.CmdUserStatusNotify, 1)
		case full:
			srv.metrics.dropped.WithLabelValues("presence").Inc()
		case closed:
		}
	}
}
