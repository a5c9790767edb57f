package client

import (
	"context"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// withoutHello reports whether the server reached by a route is spoken to in the legacy protocol.
func (e *engine) withoutHello(r dial.Route) bool {
	return e.cfg.Legacy == LegacyOnly || e.tries.legacy[r.URL]
}

// greetLegacy logs in without HELLO. Nothing is repeated there, so each login is a gap but the first.
func (e *engine) greetLegacy(ctx context.Context, l *link) (*greeted, error) {
	state := e.keeper.look()
	gap := ""
	if state.User != 0 {
		gap = "the server can't repeat what was missed"
	}
	if err := e.login(ctx, l, defaultBeat); err != nil {
		return nil, err
	}
	e.keeper.with(func(s *Saved) { s.Token = nil })
	e.restartAt(0, gap)
	return &greeted{}, nil
}

// loginType is the client type that the server accepts.
func (e *engine) loginType(l *link) protocol.ClientType {
	t := e.cfg.ClientType
	if e.withoutHello(l.conn.Route()) && (t == protocol.ClientWeb || t == protocol.ClientTerminal) {
		return protocol.ClientWindows // COMPAT: without HELLO only the types of the legacy clients may log in [TT-SESS-21]
	}
	return t
}
