package gateway

import (
	"context"

	"teamtalk/protocol"
)

// endDisplaced ends the sessions of this node that logins on any node displace.
func (srv *Server) endDisplaced(ctx context.Context) error {
	if srv.inputs.displaced == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		displaced, err := srv.inputs.displaced.Next(ctx)
		if err != nil {
			return err
		}
		for i := range displaced {
			d := &displaced[i]
			if s := srv.find(&d.Session); s != nil {
				srv.displace(s, d.Why, d.By)
			}
		}
	}
}

// find is the session that an entry of the table stands for, also if it has ended and is only carrying out its last requests; nil: there is none.
func (srv *Server) find(e *protocol.LiveSession) *session {
	for _, s := range srv.sessions.of(e.User) {
		if s.id == e.Conn {
			return s
		}
	}
	if e.IsExtended() {
		for _, s := range srv.hub.formers.of(deviceName{e.User, e.Device}) {
			if s.id == e.Conn {
				return s
			}
		}
	}
	return nil
}

// displace ends a session in favour of another one, which may be on another node.
func (srv *Server) displace(s *session, why protocol.Displacement, by protocol.LiveSession) {
	var ended bool
	switch why {
	case protocol.DisplacedByNewer: // [TT-KICK-1]
		ended = s.kick(reasonDuplicate, kickFrame(srv, s.user, reasonDuplicate))
	case protocol.DisplacedByOwn: // [TT-SESS-3]
		ended = s.end(ending{reason: reasonReplaced, code: protocol.CodeReplaced, hurry: true})
	case protocol.DisplacedByMany: // [TT-SESS-8]
		ended = s.end(ending{reason: reasonDevices, code: protocol.CodeKicked, hurry: true})
	}
	if ended {
		srv.log.Info("session displaced by another one", "user", s.user, "client", s.client, "conn", s.id, "why", why, "by", by.Conn, "node", by.Node)
		return
	}
	if s.ext != nil { // of one that has ended already, nothing more is wanted either
		s.parked.drop()
	}
}

// whyDisplaces is why an older session of the same user on this node has to go when s comes.
func (s *session) whyDisplaces(old *session) protocol.Displacement {
	switch {
	case old.ext == nil:
		return protocol.DisplacedByNewer
	case old.ext.device == s.ext.device:
		return protocol.DisplacedByOwn
	}
	return protocol.DisplacedByMany
}

// legacyOnly are the sessions that leave the table as soon as they are displaced: of the extended ones, requests may still be carried out.
func legacyOnly(displaced []*session) []protocol.ConnID {
	var ids []protocol.ConnID
	for _, s := range displaced {
		if s.ext == nil {
			ids = append(ids, s.id)
		}
	}
	return ids
}
