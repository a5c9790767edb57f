package gateway

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Accounts decides who may log in.
type Accounts interface {
	// Authenticate checks a name and the password as the client sends it. The message of an Unauthenticated or RateLimited error is
	// shown to the user; any other error means that it cannot be decided now.
	Authenticate(ctx context.Context, name, password string, from netip.Addr) (protocol.User, error)
	// Throttled is the RateLimited error that Authenticate would return, without an attempt; nil: it would not.
	Throttled(name string, from netip.Addr) error
}

// Devices keeps what push notifications need.
type Devices interface {
	// Register tells where the user's mobile is pushed to; an empty token unregisters.
	Register(ctx context.Context, me protocol.UserID, c protocol.ClientType, token string) error
	SetPushShield(ctx context.Context, me protocol.UserID, on bool) error
	PushShield(ctx context.Context, me protocol.UserID) (bool, error)
}

// What a refused login shows to the user [TT-LOGIN-3].
const (
	textWelcome     = "成功"
	textUnavailable = "服务器暂时不可用，请稍后再试"
	textFull        = "服务器已满，请稍后再试"
	textClient      = "不支持的客户端"
)

// login is 0x0103 [TT-LOGIN-3] [TT-LOGIN-4] [TT-LOGIN-12] [TT-DIFF-26]. It is carried out before others of the connection.
func (s *session) login(h pdu.Header, m *pb.IMLoginReq) error {
	if s.user != 0 { // [TT-LOGIN-5]
		return protocol.Errorf(protocol.CodeInvalid, "already logged in")
	}
	client := protocol.ClientType(m.GetClientType())
	if s.ext == nil && (client == protocol.ClientWeb || client == protocol.ClientTerminal) || s.ext != nil && client != s.ext.client { // [TT-LOGIN-7] [TT-SESS-21]
		s.refuseLogin(h, pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, textClient)
		return nil
	}
	if s.srv.sessions.isDraining() {
		s.refuseFull(h)
		return nil
	}
	return s.queueUp(h, m)
}

// authenticate checks the password when it is the login's turn, and welcomes the client. Others may begin as soon as the password is decided.
func (s *session) authenticate(h pdu.Header, m *pb.IMLoginReq, t *ticket, arrived time.Time) error {
	if s.srv.sessions.isDraining() { // since it was queued
		s.srv.admission.done(t)
		s.refuseFull(h)
		return nil
	}
	user, err := s.checkPassword(m, t, arrived)
	switch {
	case errors.Is(err, errTooLate):
		s.refuseCrowd(h, refusedWaited, s.srv.admission.crowd())
		return nil
	case err != nil:
		s.refuseCredentials(h, m, err)
		return nil
	}
	client := protocol.ClientType(m.GetClientType())
	epoch, err := s.srv.services.Sessions.Epoch(user, s.deviceID(), client) // of the time of the password: see welcome
	if err != nil {
		s.refuseLogin(h, pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable)
		return err
	}
	if s.ext != nil {
		return s.welcomeExtended(h, m, user, epoch)
	}
	return s.welcome(h, m, user, client, epoch)
}

var errTooLate = errors.New("the client no longer waits for the answer")

// checkPassword gives the ticket back, whatever the outcome.
func (s *session) checkPassword(m *pb.IMLoginReq, t *ticket, arrived time.Time) (protocol.User, error) {
	defer s.srv.admission.done(t)
	ctx, cancel := s.loginContext(arrived)
	defer cancel()
	user, err := s.srv.services.Accounts.Authenticate(ctx, m.GetUserName(), m.GetPassword(), s.addr)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && isUndecided(err) {
		return user, errTooLate
	}
	return user, err
}

// refuseCredentials says why a name and a password were not accepted.
func (s *session) refuseCredentials(h pdu.Header, m *pb.IMLoginReq, err error) {
	result, text := loginRefusal(err)
	s.srv.log.Info("login refused", "name", m.GetUserName(), "client", protocol.ClientType(m.GetClientType()), "remote", s.addr, "error", err)
	s.refuseLogin(h, result, text)
}

func (s *session) deviceID() protocol.DeviceID {
	if s.ext == nil {
		return ""
	}
	return s.ext.device
}

// refuseFull says that there is no room, or no time any more [TT-LOGIN-12].
func (s *session) refuseFull(h pdu.Header) {
	result, text, why := pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL, textFull, refusedFull
	switch {
	case s.srv.sessions.isStopped():
		result, text, why = pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable, refusedStopping
	case s.srv.sessions.isDraining():
		text, why = textUnavailable, refusedDraining
	}
	s.srv.metrics.refused.WithLabelValues(string(why)).Inc()
	s.refuseLogin(h, result, text)
}

// welcome makes the session known and answers. Pushes are held back meanwhile, so that the answer precedes them; and a client that has
// it is certain to get whatever is sent from then on [TT-LOGIN-4].
// A password that was changed, or sessions that were kicked, between the check and that moment are noticed here; later, the event finds the session.
func (s *session) welcome(h pdu.Header, m *pb.IMLoginReq, user protocol.User, client protocol.ClientType, epoch protocol.Epoch) error {
	s.out.hold()
	defer s.out.release()
	if !s.srv.arrive(s, user.ID, client) {
		s.refuseFull(h)
		return nil
	}
	valid, err := s.srv.services.Sessions.Valid(protocol.Device{User: user.ID, Client: client}, epoch)
	if err != nil || !valid {
		s.refuseLogin(h, pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable)
		return err
	}
	s.answerLogin(h, m, user)
	return nil
}

// welcomeExtended does so for a client that said HELLO, which also gets what to resume with: the cursor is where the session is live from
// [TT-SESS-2].
func (s *session) welcomeExtended(h pdu.Header, m *pb.IMLoginReq, user protocol.User, epoch protocol.Epoch) error {
	s.out.hold()
	defer s.out.release()
	cred, err := s.join(user.ID, epoch)
	if errors.Is(err, errNoRoom) {
		s.refuseFull(h)
		return nil
	}
	if err != nil {
		s.refuseLogin(h, pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable)
		return err
	}
	from, ok := s.srv.hub.enliven(s, 0)
	if !ok {
		return nil // it has ended
	}
	s.answerLogin(h, m, user)
	s.answer(pdu.Header{}, pdu.CmdCredential, credentialToWire(cred, from))
	return nil
}

// answerLogin is 0x0104 to a client that is logged in [TT-LOGIN-4].
func (s *session) answerLogin(h pdu.Header, m *pb.IMLoginReq, user protocol.User) {
	info := s.userToWire()(user)
	info.Status = new(uint32(0)) // COMPAT: as the legacy servers
	s.answer(h, pdu.CmdLoginRes, &pb.IMLoginRes{
		ServerTime:   new(protocol.TimeOf(time.Now()).Unix()),
		ResultCode:   pb.ResultType_REFUSE_REASON_NONE.Enum(),
		ResultString: new(textWelcome),
		OnlineStatus: m.OnlineStatus,
		UserInfo:     info,
	})
	s.alive(s.idleTime())
	s.srv.metrics.logins.WithLabelValues(pb.ResultType_REFUSE_REASON_NONE.String()).Inc()
	s.srv.log.Info("logged in", "user", s.user, "client", s.client, "version", m.GetClientVersion(), "remote", s.addr, "conn", s.id)
}

// refuseLogin answers with a text, without which iOS shows nothing, and closes [TT-LOGIN-3].
func (s *session) refuseLogin(h pdu.Header, result pb.ResultType, text string) {
	s.srv.metrics.logins.WithLabelValues(result.String()).Inc()
	s.answer(h, pdu.CmdLoginRes, &pb.IMLoginRes{
		ServerTime:   new(protocol.TimeOf(time.Now()).Unix()),
		ResultCode:   result.Enum(),
		ResultString: new(text),
	})
	code := protocol.CodeUnauthenticated
	if s.ext != nil && result != pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED {
		code = protocol.CodeUnavailable // nothing is wrong with the password
		if s.srv.sessions.isDraining() {
			code = protocol.CodeDraining
		}
	}
	s.end(ending{reason: reasonRefused, code: code, hurry: true})
}

// loginRefusal is what a client is told: a wrong password and a throttled one look alike but for the text [TT-LOGIN-6].
func loginRefusal(err error) (pb.ResultType, string) {
	switch protocol.CodeOf(err) {
	case protocol.CodeUnauthenticated, protocol.CodeRateLimited, protocol.CodeForbidden, protocol.CodeInvalid:
		var e *protocol.Error
		errors.As(err, &e) // CodeOf found one
		return pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, e.Message
	default:
		return pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable
	}
}

// isUndecided reports whether an error says neither yes nor no to a name and a password.
func isUndecided(err error) bool {
	if err == nil {
		return false
	}
	result, _ := loginRefusal(err)
	return result != pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED
}

// logout is 0x0105. Only that of a mobile unregisters the device token [TT-LOGIN-8] [TT-DIFF-6]. An extended session's resume tokens are no good any
// more; if that can't be committed it stays [TT-SESS-7].
func (s *session) logout(p pdu.PDU) error {
	if err := s.revokeOwn(); err != nil {
		s.answer(p.Header, pdu.CmdLogoutRes, &pb.IMLogoutRsp{ResultCode: new(uint32(1))})
		return wasAnswered(err)
	}
	var err error
	if s.client.IsMobile() {
		err = s.srv.services.Devices.Register(s.requestContext(), s.user, s.client, "")
	}
	s.answer(p.Header, pdu.CmdLogoutRes, &pb.IMLogoutRsp{ResultCode: new(uint32(0))})
	s.end(ending{reason: reasonLogout, hurry: true})
	return wasAnswered(err)
}

// deviceToken is 0x0108 [TT-LOGIN-9].
func (s *session) deviceToken(h pdu.Header, m *pb.IMDeviceTokenReq) error {
	if !s.client.IsMobile() {
		return protocol.Errorf(protocol.CodeForbidden, "a device token from a PC")
	}
	err := s.srv.services.Devices.Register(s.requestContext(), s.user, s.client, m.GetDeviceToken())
	if err != nil {
		return err
	}
	s.answer(h, pdu.CmdDeviceTokenRes, &pb.IMDeviceTokenRsp{UserId: new(uint32(s.user))}) // [TT-DIFF-6]
	return nil
}

// kickPC is 0x010a. It goes through the log, so that it reaches all nodes and outlasts the sessions [TT-KICK-3] [TT-SESS-9].
func (s *session) kickPC(h pdu.Header, _ *pb.IMKickPCClientReq) error {
	if !s.client.IsMobile() {
		return protocol.Errorf(protocol.CodeForbidden, "a kick from a PC")
	}
	err := s.srv.services.Sessions.Revoke(s.requestContext(), protocol.RevokeSessions{User: s.user, Scope: protocol.RevokePC})
	s.answer(h, pdu.CmdKickPCRes, &pb.IMKickPCClientRsp{UserId: new(uint32(s.user)), ResultCode: resultToWire(err)})
	return wasAnswered(err)
}

// kickFrame is 0x0107 with the user's own id [TT-KICK-1].
func kickFrame(srv *Server, u protocol.UserID, why reason) []byte {
	code := pb.KickReasonType_KICK_REASON_DUPLICATE_USER
	if why == reasonByMobile {
		code = pb.KickReasonType_KICK_REASON_MOBILE_KICK
	}
	srv.metrics.out(pdu.CmdKickUser, 1)
	return srv.appendPush(nil, pdu.CmdKickUser, &pb.IMKickUser{UserId: new(uint32(u)), KickReason: code.Enum()})
}

// pushShield is 0x010c [TT-LOGIN-10].
func (s *session) pushShield(h pdu.Header, m *pb.IMPushShieldReq) error {
	on := m.GetShieldStatus() != 0
	err := s.srv.services.Devices.SetPushShield(s.requestContext(), s.user, on)
	res := &pb.IMPushShieldRsp{UserId: new(uint32(s.user)), ResultCode: resultToWire(err)}
	if err == nil {
		res.ShieldStatus = shieldToWire(on)
	}
	s.answer(h, pdu.CmdPushShieldRes, res)
	return wasAnswered(err)
}

// queryPushShield is 0x010e [TT-LOGIN-10].
func (s *session) queryPushShield(h pdu.Header, _ *pb.IMQueryPushShieldReq) error {
	on, err := s.srv.services.Devices.PushShield(s.requestContext(), s.user)
	res := &pb.IMQueryPushShieldRsp{UserId: new(uint32(s.user)), ResultCode: resultToWire(err)}
	if err == nil {
		res.ShieldStatus = shieldToWire(on)
	}
	s.answer(h, pdu.CmdQueryPushShieldRes, res)
	return wasAnswered(err)
}
