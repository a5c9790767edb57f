package gateway

import (
	"context"
	"errors"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// unavailableAfter is how long an extended client waits at most to hear that there is no leader [TT-SESS-18].
const unavailableAfter = 2 * time.Second

// staleFlag in the header of an answer says that it may be old: no leader vouches for it [TT-SESS-18].
const staleFlag = 0x0001

const flagAt = 6 // in a header [TT-FRAME-1]

const textInternal = "internal error"

var errUnknownCommand = protocol.Errorf(protocol.CodeInvalid, "unknown command")

// answered is the failure of a request whose answer says so: nothing else has to be sent.
type answered struct{ error }

// Unwrap is the failure itself.
func (a answered) Unwrap() error { return a.error }

// wasAnswered marks a failure that the client has been told by the answer; nil stays nil.
func wasAnswered(err error) error {
	if err == nil {
		return nil
	}
	return answered{err}
}

// refuse tells an extended client by ERROR that a request failed which the legacy protocol leaves without an answer [TT-SESS-14].
func (s *session) refuse(to pdu.Header, err error) {
	if s.ext == nil || s.user == 0 || errors.As(err, new(answered)) {
		return
	}
	code := refusalCode(err)
	s.answer(to, pdu.CmdError, &sessionpb.Error{
		Command:      uint32(to.Command),
		Seq:          uint32(to.Seq),
		Code:         sessionpb.Code(code),
		Message:      errorText(err),
		RetryAfterMs: retryAfterMs(code),
	})
}

// refusalCode is what the client is told about an error. One that ran out of time has found no leader.
func refusalCode(err error) protocol.Code {
	switch {
	case errors.Is(err, errMalformed):
		return protocol.CodeInvalid
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.CodeUnavailable
	}
	return protocol.CodeOf(err)
}

// errorText is what the client is told about an error: what is our fault is for the log only.
func errorText(err error) string {
	var e *protocol.Error
	switch {
	case errors.Is(err, errMalformed):
		return "malformed body"
	case errors.Is(err, context.DeadlineExceeded):
		return "no leader in time"
	case errors.As(err, &e) && e.Code != protocol.CodeInternal:
		return e.Message
	}
	return textInternal
}
