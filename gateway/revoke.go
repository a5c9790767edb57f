package gateway

import "teamtalk/protocol"

// revoke ends the sessions of this node that an event speaks of [TT-SESS-7] [TT-SESS-9].
func (srv *Server) revoke(at protocol.Position, e protocol.AccessRevoked) {
	for _, s := range srv.sessions.of(e.User) {
		how, ok := srv.revocation(s, at, e)
		if ok && s.end(how) {
			srv.log.Info("session ended: access revoked", "user", e.User, "conn", s.id, "scope", e.Scope, "reason", e.Reason)
		}
	}
}

// revocation is how a session of the user is to end; false: not at all.
func (srv *Server) revocation(s *session, at protocol.Position, e protocol.AccessRevoked) (ending, bool) {
	if s.ext != nil && uint64(s.ext.epoch) >= at.Index {
		return ending{}, false // it began after that
	}
	switch {
	case e.Scope == protocol.RevokePC && s.client.IsMobile():
		return ending{}, false
	case e.Scope == protocol.RevokePC:
		how := ending{reason: reasonByMobile, code: protocol.CodeKicked, hurry: true}
		if s.ext == nil { // [TT-KICK-2]
			how.linger, how.last = srv.timing.KickGrace, kickFrame(srv, s.user, reasonByMobile)
		}
		return how, true
	case e.Scope == protocol.RevokeDevice:
		isOf := s.ext != nil && s.ext.device == e.Device && !s.ext.leaving.Load()
		return ending{reason: reasonDevice, code: protocol.CodeUnauthenticated, hurry: true}, isOf
	}
	return ending{reason: reasonRevoked, code: protocol.CodeUnauthenticated, hurry: true}, true
}

// revokeOwn makes the resume tokens of an extended session useless, but lets the session itself end in its own way.
func (s *session) revokeOwn() error {
	if s.ext == nil {
		return nil
	}
	s.ext.leaving.Store(true)
	err := s.srv.services.Sessions.Revoke(s.requestContext(), protocol.RevokeSessions{User: s.user, Scope: protocol.RevokeDevice, Device: s.ext.device})
	if err != nil {
		s.ext.leaving.Store(false)
	}
	return err
}
