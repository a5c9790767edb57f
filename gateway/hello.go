package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// Sessions says which sessions of extended clients are good.
type Sessions interface {
	// Epoch is that of a session which begins now, of a user read together with his password; an empty device is a legacy client.
	Epoch(u protocol.User, d protocol.DeviceID, c protocol.ClientType) (protocol.Epoch, error)
	// Valid reports whether a session that began at an epoch may go on.
	Valid(d protocol.Device, e protocol.Epoch) (bool, error)
	Issue(d protocol.Device, e protocol.Epoch) (protocol.Credential, error)
	// Check says what a token of the device proves. The message of an Unauthenticated error is for the client's user.
	Check(token []byte, d protocol.Device) (protocol.Grant, error)
	// Revoke returns when the revocation is committed.
	Revoke(ctx context.Context, cmd protocol.RevokeSessions) error
}

const (
	helloVersion     = 1
	helloText        = 128 // most bytes of a client's name and version
	capabilitiesMost = 32
	longPollPDU      = 1 << 20 // bytes
)

// hello is 0x0901 [TT-SESS-1]. It comes first; a second one ends the session.
func (s *session) hello(p pdu.PDU) error {
	if s.ext != nil {
		s.endWith(reasonHello, protocol.CodeInvalid, "a second HELLO")
		return protocol.Errorf(protocol.CodeInvalid, "a second HELLO")
	}
	x := newExtension()
	s.mu.Lock()
	s.ext = x
	s.mu.Unlock()
	m := new(sessionpb.Hello)
	err := pdu.Unmarshal(p.Body, m)
	if err == nil {
		err = checkHello(m)
	}
	if err != nil {
		s.endWith(reasonHello, protocol.CodeInvalid, err.Error())
		return protocol.Errorf(protocol.CodeInvalid, "bad HELLO: %w", err)
	}
	x.device, x.client, x.version = protocol.DeviceID(m.GetDeviceId()), protocol.ClientType(m.GetClientType()), m.GetClientVersion()
	x.plays = playable(m.GetCapabilities())
	if s.srv.sessions.isDraining() {
		s.refuseDraining()
		return nil
	}
	if len(m.GetResumeToken()) == 0 {
		s.answerHello(p.Header, sessionpb.Verdict_LOGIN_NEEDED, s.srv.hub.head(), "")
		return nil
	}
	return s.present(p.Header, m)
}

// checkHello holds a HELLO to its limits [TT-SESS-1].
func checkHello(m *sessionpb.Hello) error {
	if m.GetVersion() != helloVersion {
		return fmt.Errorf("version %d: this server speaks %d", m.GetVersion(), helloVersion)
	}
	if m.GetClientType() > 0xff || !isKnownClient(protocol.ClientType(m.GetClientType())) {
		return fmt.Errorf("client type %d is not known", m.GetClientType())
	}
	if len(m.GetCapabilities()) > capabilitiesMost {
		return fmt.Errorf("%d capabilities: at most %d", len(m.GetCapabilities()), capabilitiesMost)
	}
	for _, c := range m.GetCapabilities() {
		if err := protocol.CheckLine("capability", c, helloText); err != nil {
			return err
		}
	}
	if err := protocol.CheckName("device id", m.GetDeviceId(), protocol.MaxDeviceID); err != nil {
		return err
	}
	if err := protocol.CheckLine("client", m.GetClient(), helloText); err != nil {
		return err
	}
	return protocol.CheckLine("client version", m.GetClientVersion(), helloText)
}

func isKnownClient(c protocol.ClientType) bool {
	switch c {
	case protocol.ClientWindows, protocol.ClientMac, protocol.ClientWeb, protocol.ClientTerminal, protocol.ClientIOS, protocol.ClientAndroid:
		return true
	}
	return false
}

// answerHello is 0x0902.
func (s *session) answerHello(to pdu.Header, v sessionpb.Verdict, head protocol.Cursor, why string) {
	h := s.srv.hub
	m := &sessionpb.Welcome{
		Version:      helloVersion,
		Verdict:      v,
		Cursor:       uint64(head),
		HeartbeatS:   uint32(heartbeat / time.Second),
		MaxPduBytes:  uint32(maxPDU(s.conn.Kind())),
		ServerTimeMs: uint64(time.Now().UnixMilli()),
		Node:         h.node,
		Domain:       h.domain(),
		Reason:       why,
	}
	if h.reach.endpoints != nil {
		s.ext.reach = h.reach.number.Load() // first: what is told is no older
		m.Endpoints = h.reach.endpoints()
	}
	s.srv.metrics.hellos.WithLabelValues(v.String()).Inc()
	s.answer(to, pdu.CmdWelcome, m)
}

// maxPDU is the size of the longest PDU that the client may send, in bytes.
func maxPDU(k transport.Kind) int {
	if k == transport.KindLongPoll {
		return longPollPDU
	}
	return pdu.MaxLen
}

func (h *hub) head() protocol.Cursor { return protocol.Cursor(h.delivered.Load()) }

func credentialToWire(c protocol.Credential, at protocol.Cursor) *sessionpb.Credential {
	return &sessionpb.Credential{ResumeToken: c.Token, ExpiresS: uint32(c.Expires / time.Second), Cursor: uint64(at)}
}

// present is a HELLO with a token [TT-SESS-3] [TT-SESS-6].
func (s *session) present(h pdu.Header, m *sessionpb.Hello) error {
	grant, err := s.srv.services.Sessions.Check(m.GetResumeToken(), protocol.Device{ID: s.ext.device, Client: s.ext.client})
	if protocol.CodeOf(err) == protocol.CodeUnauthenticated {
		s.srv.log.Info("resume refused", "device", s.ext.device, "client", s.ext.client, "remote", s.addr, "error", err)
		s.answerHello(h, sessionpb.Verdict_REFUSED, s.srv.hub.head(), errorText(err))
		return nil
	}
	if err != nil {
		return s.cannotResume(err)
	}
	cursor := protocol.Cursor(m.GetCursor())
	why, err := s.srv.hub.gap(s.ctx, grant, cursor)
	if err != nil {
		return s.cannotResume(err)
	}
	return s.resume(h, grant, cursor, why)
}

// cannotResume ends a session that another node, or this one in a while, can take up.
func (s *session) cannotResume(err error) error {
	code := protocol.CodeUnavailable
	if s.srv.sessions.isStopped() || s.srv.sessions.isDraining() {
		code = protocol.CodeDraining
	}
	s.end(ending{reason: reasonBehind, code: code, hurry: true})
	return err
}

// gap says why what followed a cursor cannot be sent; "": it can [TT-SESS-5].
func (h *hub) gap(ctx context.Context, grant protocol.Grant, cursor protocol.Cursor) (why string, err error) {
	if !grant.SameHistory {
		return "the cluster was restored", nil
	}
	if cursor == math.MaxUint64 { // no node need wait until it has come there
		return "the client holds nothing to go on from", nil
	}
	if head, leads := h.replica.Head(); leads && cursor > head {
		return "the cursor is beyond the log", nil
	}
	if cursor > h.replica.Applied() {
		ctx, cancel := context.WithTimeout(ctx, unavailableAfter)
		defer cancel()
		if err := h.replica.WaitApplied(ctx, cursor); err != nil {
			return "", fmt.Errorf("wait for index %d: %w", cursor, err)
		}
	}
	ok, err := h.replay.Replayable(grant.Device.User, cursor)
	if err != nil {
		return "", err
	}
	if !ok {
		return "too much has happened since", nil
	}
	return "", nil
}

// device is what the session's tokens are for.
func (s *session) device() protocol.Device {
	return protocol.Device{User: s.user, ID: s.ext.device, Client: s.ext.client}
}

// join makes an extended session known in place of the former one of its device, which has stopped when join returns, and gets it a token. Pushes are
// held back by the caller meanwhile.
func (s *session) join(u protocol.UserID, epoch protocol.Epoch) (protocol.Credential, error) {
	s.ext.epoch = epoch
	if !s.srv.arrive(s, u, s.ext.client) {
		return protocol.Credential{}, errNoRoom
	}
	s.awaitFormer()
	sessions := s.srv.services.Sessions
	switch valid, err := sessions.Valid(s.device(), epoch); { // what was revoked before the session was known
	case err != nil:
		return protocol.Credential{}, err
	case !valid:
		return protocol.Credential{}, protocol.Errorf(protocol.CodeUnauthenticated, "revoked meanwhile")
	}
	return sessions.Issue(s.device(), epoch)
}

var errNoRoom = errors.New("no room for another session")

// endWith ends an extended session with a BYE that says more than its reason does.
func (s *session) endWith(why reason, code protocol.Code, text string) {
	s.end(ending{reason: why, code: code, hurry: true, last: bye(code, text)})
}
