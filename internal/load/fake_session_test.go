package load

import (
	"net"
	"strings"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// sessionFault changes what a server does with a token.
type sessionFault struct {
	silentOnce, byeOnce, cutOnce bool // with each device's first one
	gap, forget, kick, queue     bool // always
}

// fakeSessions is as little of the session extension as its clients need.
type fakeSessions struct {
	fault sessionFault
	tried map[string]bool // devices that came back
}

func newFakeSessions(f sessionFault) fakeSessions {
	return fakeSessions{fault: f, tried: map[string]bool{}}
}

// hello answers HELLO and returns the device.
func (s *fakeSessions) hello(c net.Conn, p pdu.PDU) string {
	var m sessionpb.Hello
	if err := proto.Unmarshal(p.Body, &m); err != nil || m.GetVersion() != 1 || m.GetDeviceId() == "" {
		_ = c.Close()
		return ""
	}
	w := &sessionpb.Welcome{Version: 1, Cursor: 40, HeartbeatS: 1}
	if len(m.GetResumeToken()) == 0 {
		write(c, pdu.CmdWelcome, p.Header.Seq, w)
		return m.GetDeviceId()
	}
	first := !s.tried[m.GetDeviceId()]
	s.tried[m.GetDeviceId()] = true
	switch f := s.fault; {
	case f.silentOnce && first:
	case f.cutOnce && first:
		_ = c.Close()
	case f.byeOnce && first:
		write(c, pdu.CmdBye, 0, &sessionpb.Bye{Code: sessionpb.Code_UNAVAILABLE, Message: "no leader", RetryAfterMs: 10})
	case f.kick:
		write(c, pdu.CmdBye, 0, &sessionpb.Bye{Code: sessionpb.Code_KICKED})
	case f.forget, !strings.HasPrefix(string(m.GetResumeToken()), "token of "+m.GetDeviceId()):
		w.Verdict = sessionpb.Verdict_REFUSED
		write(c, pdu.CmdWelcome, p.Header.Seq, w)
	case f.gap:
		w.Verdict = sessionpb.Verdict_GAP
		write(c, pdu.CmdWelcome, p.Header.Seq, w)
		s.credential(c, m.GetDeviceId())
	default:
		if f.queue {
			write(c, pdu.CmdQueue, 0, &sessionpb.Queue{Position: 7})
		}
		w.Verdict = sessionpb.Verdict_RESUMED
		write(c, pdu.CmdWelcome, p.Header.Seq, w)
		write(c, pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: m.GetCursor() + 1})
		s.credential(c, m.GetDeviceId())
	}
	return m.GetDeviceId()
}

func (s *fakeSessions) credential(c net.Conn, device string) {
	write(c, pdu.CmdCredential, 0, &sessionpb.Credential{ResumeToken: []byte("token of " + device), ExpiresS: 60, Cursor: 41})
}
