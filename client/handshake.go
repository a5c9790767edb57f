package client

import (
	"context"
	"crypto/md5" //nolint:gosec // what the protocol calls the password is its MD5 [TT-LOGIN-3]
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	helloVersion = 1
	welcomeTime  = 2 * time.Second  // [TT-SESS-23]
	loginTime    = 20 * time.Second // without a word from the server
)

// greeted is what a handshake came to.
type greeted struct {
	verdict   sessionpb.Verdict
	welcome   *sessionpb.Welcome // nil: legacy
	replaying bool               // the replay is to come
	resumed   bool
}

// greet says HELLO and logs in or resumes, in the order that [TT-SESS-2] and [TT-SESS-3] give.
func (e *engine) greet(ctx context.Context, l *link) (*greeted, error) {
	if e.withoutHello(l.conn.Route()) {
		return e.greetLegacy(ctx, l)
	}
	state := e.keeper.look()
	hello := &sessionpb.Hello{
		Version: helloVersion, Client: e.cfg.Program, ClientVersion: e.cfg.Version, ClientType: uint32(e.cfg.ClientType),
		DeviceId: string(state.Device), Capabilities: capabilities(e.cfg.Media.Plays),
	}
	if len(state.Token) > 0 {
		hello.ResumeToken, hello.Cursor = state.Token, uint64(e.cursor)
	}
	l.send(pdu.CmdHello, l.number(nil), hello)
	g := &greeted{}
	err := l.await(ctx, welcomeTime, func(p pdu.PDU) (bool, bool, error) {
		w, err := expect[*sessionpb.Welcome](p, pdu.CmdWelcome)
		g.welcome = w
		return w != nil, false, err
	})
	if err != nil {
		return nil, e.noWelcome(l, err)
	}
	g.verdict = g.welcome.GetVerdict()
	return g, e.follow(ctx, l, g, state)
}

// capabilities tell the server what the app can play [TT-MEDIA-4].
func capabilities(plays []string) []string {
	all := make([]string, len(plays))
	for i, t := range plays {
		all[i] = "plays=" + t
	}
	return all
}

// noWelcome says what the missing answer to HELLO means; it notes servers that may be spoken to without.
func (e *engine) noWelcome(l *link, err error) error {
	var lost *lostError
	if !errors.Is(err, errSilent) && !errors.As(err, &lost) {
		return err
	}
	e.tries.unheard = time.Now()
	route := l.conn.Route()
	if e.cfg.mayFallBack(route) {
		e.log.Info("no answer to HELLO: going on without the session extension", "route", route)
		e.tries.legacy[route.URL] = true
	}
	return fmt.Errorf("%w (%w)", ErrNoHello, err)
}

// follow does what the verdict asks for.
func (e *engine) follow(ctx context.Context, l *link, g *greeted, state Saved) error {
	switch g.verdict {
	case sessionpb.Verdict_RESUMED:
		g.replaying, g.resumed = true, true
		e.seen.resuming()
		return nil
	case sessionpb.Verdict_GAP:
		return e.awaitCredential(ctx, l, protocol.Cursor(g.welcome.GetCursor()), "the server can't repeat what was missed")
	case sessionpb.Verdict_LOGIN_NEEDED, sessionpb.Verdict_REFUSED:
		if g.verdict == sessionpb.Verdict_REFUSED {
			e.log.Info("session not resumed", "reason", g.welcome.GetReason())
			e.keeper.with(func(s *Saved) { s.Token = nil })
		}
		gap := ""
		if state.User != 0 {
			gap = "logged in anew"
		}
		if err := e.login(ctx, l, beatOf(g.welcome)); err != nil {
			return err
		}
		return e.awaitCredential(ctx, l, 0, gap)
	}
	return &stopError{fmt.Errorf("client: verdict %d: this program is too old", g.verdict)}
}

// awaitCredential waits for what resumes the session. Events are complete from at on; 0: from what the CREDENTIAL says [TT-SESS-2].
func (e *engine) awaitCredential(ctx context.Context, l *link, at protocol.Cursor, gap string) error {
	return l.await(ctx, loginTime, func(p pdu.PDU) (bool, bool, error) {
		c, err := expect[*sessionpb.Credential](p, pdu.CmdCredential)
		if c == nil {
			return false, false, err
		}
		if at == 0 {
			at = protocol.Cursor(c.GetCursor())
		}
		e.newToken(c)
		e.restartAt(at, gap)
		return true, false, nil
	})
}

// newToken keeps what the server gave to resume with [TT-SESS-6].
func (e *engine) newToken(c *sessionpb.Credential) {
	e.keeper.with(func(s *Saved) {
		s.Token, s.Expires = c.GetResumeToken(), time.Now().Add(time.Duration(c.GetExpiresS())*time.Second)
	})
}

// restartAt begins anew at a cursor: nothing before it will be repeated. The app is told of a gap before the cursor is kept, so that it is
// told again if the program ends in between.
func (e *engine) restartAt(at protocol.Cursor, gap string) {
	if gap != "" {
		e.events.put(item{event: &Gap{Why: gap}})
	}
	if e.user != 0 {
		e.keeper.with(func(s *Saved) { s.User, s.Name = e.user, e.cfg.Name })
	}
	e.seen.reset()
	e.cursor = at
	e.events.put(item{cursor: &cursorMark{at: at, reset: true}})
}

// login sends name and password and waits for the answer, with a heartbeat every so often.
func (e *engine) login(ctx context.Context, l *link, every time.Duration) error {
	if e.cfg.Password == "" {
		return &stopError{fmt.Errorf("%w: the session has ended, and there is no password", ErrCredentials)}
	}
	sum := md5.Sum([]byte(e.cfg.Password)) //nolint:gosec // see above
	l.send(pdu.CmdLoginReq, l.number(nil), &pb.IMLoginReq{
		UserName: proto.String(e.cfg.Name), Password: proto.String(hex.EncodeToString(sum[:])),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType(e.loginType(l)).Enum(),
		ClientVersion: proto.String(e.cfg.Program + "/" + e.cfg.Version),
	})
	answer, err := e.awaitLogin(ctx, l, every)
	if err != nil {
		return err
	}
	return e.loggedIn(answer)
}

// awaitLogin waits for the answer to a login. Once the server has said that it stands in the queue there is no hurry: it ends only when nothing at
// all is heard, answers to heartbeats included [TT-QUEUE-2].
func (e *engine) awaitLogin(ctx context.Context, l *link, every time.Duration) (answer *pb.IMLoginRes, err error) {
	queued, heard, beaten := false, time.Now(), time.Now()
	beat := func() {
		l.send(pdu.CmdHeartbeat, 0, &pb.IMHeartBeat{})
		beaten = time.Now()
	}
	accept := func(p pdu.PDU) (done, more bool, err error) {
		heard = time.Now()
		if p.Header.Command != pdu.CmdQueue {
			answer, err = expect[*pb.IMLoginRes](p, pdu.CmdLoginRes)
			return answer != nil, false, err
		}
		queued = true
		if heard.Sub(beaten) >= every {
			beat()
		}
		return false, true, e.queued(p)
	}
	for within := loginTime; ; within = min(loginTime, every) {
		err = l.await(ctx, within, accept)
		if !queued || !errors.Is(err, errSilent) || time.Since(heard) >= max(loginTime, 2*every) {
			return answer, err
		}
		beat()
	}
}

// queued tells the app where in the queue its login is.
func (e *engine) queued(p pdu.PDU) error {
	m, err := pdu.Decode(p, pdu.ServerToClient)
	if err != nil {
		return &lostError{cause: err}
	}
	if q, ok := m.(*sessionpb.Queue); ok {
		e.status.set(e.events, &StateChanged{
			State: Connecting, Position: max(1, q.GetPosition()), ETA: time.Duration(q.GetEtaS()) * time.Second,
		})
	}
	return nil
}

// beatOf is how often the server wants to hear of its clients; nil: a legacy one.
func beatOf(w *sessionpb.Welcome) time.Duration {
	if n := w.GetHeartbeatS(); n > 0 {
		return time.Duration(n) * time.Second
	}
	return defaultBeat
}

func (e *engine) loggedIn(answer *pb.IMLoginRes) error {
	text := answer.GetResultString()
	switch answer.GetResultCode() {
	case pb.ResultType_REFUSE_REASON_NONE:
	case pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED:
		return &stopError{fmt.Errorf("%w: %s", ErrCredentials, text)}
	case pb.ResultType_REFUSE_REASON_VERSION_TOO_OLD:
		return &stopError{fmt.Errorf("client: this program is too old for the server: %s", text)}
	default: // full, or its parts are missing: later
		return &byeError{Code: protocol.CodeUnavailable, Message: text}
	}
	user := protocol.UserID(answer.GetUserInfo().GetUserId())
	if user == 0 {
		return &stopError{errors.New("client: the server did not say who has logged in")}
	}
	e.user = user
	return nil
}

// expect reads a PDU of a handshake: nil for another one that may come in between. BYE and ERROR are errors.
func expect[M proto.Message](p pdu.PDU, want pdu.Command) (M, error) {
	var none M
	switch p.Header.Command {
	case want, pdu.CmdBye, pdu.CmdError, pdu.CmdKickUser:
	default:
		return none, nil
	}
	m, err := pdu.Decode(p, pdu.ServerToClient)
	if err != nil {
		return none, &lostError{cause: err}
	}
	switch m := m.(type) {
	case *sessionpb.Bye:
		return none, byeOf(m)
	case *sessionpb.Error:
		return none, &byeError{Code: protocol.Code(m.GetCode()), Message: m.GetMessage(), RetryAfter: millis(m.GetRetryAfterMs())}
	case *pb.IMKickUser:
		return none, &byeError{Code: protocol.CodeKicked, Message: "kicked"}
	case M:
		return m, nil
	}
	return none, nil
}

func byeOf(b *sessionpb.Bye) *byeError {
	return &byeError{Code: protocol.Code(b.GetCode()), Message: b.GetMessage(), RetryAfter: millis(b.GetRetryAfterMs())}
}

func millis(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
