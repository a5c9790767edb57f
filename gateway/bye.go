package gateway

import (
	"math/rand/v2"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	retrySoonest = 200 * time.Millisecond
	retryLatest  = time.Second
)

// byeTexts say why a session ended, to whoever reads the client's log.
var byeTexts = map[reason]string{
	reasonLoginTimeout: "no login in time",
	reasonIdle:         "no heartbeat in time",
	reasonLength:       "a PDU shorter than its header",
	reasonTooLarge:     "a PDU over the limit",
	reasonNotLoggedIn:  "log in first",
	reasonRefused:      "the login was refused",
	reasonLogout:       "logged out",
	reasonByMobile:     "ended by the user's phone",
	reasonRevoked:      "access was revoked: log in again",
	reasonDevice:       "this device was logged out",
	reasonReplaced:     "goes on in another connection of this device",
	reasonDevices:      "too many devices of this user: the one unused for the longest time was ended",
	reasonJumped:       "events are missing here: resume",
	reasonOverloaded:   "the connection does not take what it is sent: resume",
	reasonBehind:       "this node can't resume the session now",
	reasonHello:        "bad HELLO",
	reasonPanic:        "internal error",
	reasonDrained:      "this node takes no clients now: go on on another one",
	reasonShutdown:     "this node is stopping",
}

// bye is the last PDU of an extended session [TT-SESS-15].
func bye(code protocol.Code, text string) []byte {
	m := &sessionpb.Bye{Code: sessionpb.Code(code), Message: text, RetryAfterMs: retryAfterMs(code)}
	b, err := pdu.Append(nil, pdu.CmdBye, 0, m)
	if err != nil { // a text that is no UTF-8
		m.Message = ""
		b, _ = pdu.Append(nil, pdu.CmdBye, 0, m)
	}
	return b
}

// retryAfterMs is when a client may try again, spread so that not all come in the same moment [TT-SESS-22]; 0: the code says what to do.
func retryAfterMs(code protocol.Code) uint32 {
	if code != protocol.CodeUnavailable && code != protocol.CodeDraining && code != protocol.CodeOverloaded && code != protocol.CodeRateLimited {
		return 0
	}
	return uint32((retrySoonest + rand.N(retryLatest-retrySoonest)).Milliseconds())
}

// farewell completes the ending of an extended session: its last PDUs are the CURSOR, if it was live, and BYE [TT-SESS-4] [TT-SESS-15]. It is called
// before the registry forgets the session, because a CURSOR must not name what comes after that.
func (s *session) farewell(e ending) ending {
	if e.reason == reasonClient || e.reason == reasonReadFailed || e.reason == reasonWriteFailed { // nobody is there to read it
		return e
	}
	e.hurry = e.hurry || e.now
	e.now, e.linger = false, 0
	if e.reason == reasonIdle {
		e.code = protocol.CodeUnavailable // should the client be there after all, it may come back
	}
	if e.last == nil {
		e.last = bye(e.code, byeTexts[e.reason])
	}
	s.srv.metrics.out(pdu.CmdBye, 1)
	if c, ok := s.cursor(); ok {
		e.last = append(s.srv.cursorFrame(c), e.last...)
		s.srv.metrics.out(pdu.CmdCursor, 1)
	}
	return e
}

// goodbye is BYE from a client, which ends the connection and nothing else: its token stays good [TT-SESS-15].
func (s *session) goodbye(pdu.PDU) error {
	s.end(ending{reason: reasonClient})
	return nil
}
