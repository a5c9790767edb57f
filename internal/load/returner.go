package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// How a client of the session extension comes back: as the SDK does.
const (
	firstBackoff  = 200 * time.Millisecond
	longestPause  = 30 * time.Second
	welcomeWithin = 2 * time.Second
	connectWithin = 15 * time.Second
)

var (
	errNoWelcome = fmt.Errorf("no WELCOME within %v", welcomeWithin)
	// errGivenUp: the server does not want to see this client again.
	errGivenUp = errors.New("given up")
)

// backoff is how long to wait after so many failures in a row: full jitter, so that those cut together do not come back together.
func backoff(failures int) time.Duration {
	longest := longestPause
	if failures < 8 {
		longest = min(longest, firstBackoff<<failures)
	}
	return rand.N(longest)
}

// returner is one client of the session extension that comes back when it is cut off. It speaks only what that takes.
type returner struct {
	storm *storm
	n     int // of its user

	resume    ticket
	heartbeat time.Duration
	cutOff    bool // in the cut

	tls *tls.Config // with the TLS session of the last connection, as a client has it that stays in memory

	mu   sync.Mutex // guards link
	link *link
}

func newReturner(s *storm, n int) *returner {
	r := &returner{storm: s, n: n, tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	if s.target.TLS != nil {
		r.tls = s.target.TLS.Clone()
	}
	r.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return r
}

// link is a connection with its sockets. Whoever has opened it lets it be left, once.
type link struct {
	dial.Conn
	roads *roads
	once  sync.Once
	left  *sync.WaitGroup
}

// leave closes the connection without waiting for that; a second time does nothing.
func (l *link) leave() {
	l.once.Do(func() {
		go func() { // ends within two seconds, by Close's promise; storm.goodbyes waits for it
			defer l.left.Done()
			_ = l.Close(protocol.CodeUnspecified, "") // it may have ended before
		}()
	})
}

// swap makes l the connection in use.
func (r *returner) swap(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link = l
}

// cut takes the network away from under the connection, and then tells the connection, for a QUIC one would wait for more.
func (r *returner) cut() {
	r.mu.Lock()
	l := r.link
	r.mu.Unlock()
	l.roads.cut()
	l.leave()
}

// live holds the connection, and comes back when it has ended, until ctx does.
func (r *returner) live(ctx context.Context) {
	for r.hold(ctx); ctx.Err() == nil; r.hold(ctx) {
		r.link.leave()
		cut := r.lost(ctx)
		if err := r.comeBack(ctx); err != nil {
			return
		}
		if cut {
			r.storm.returned(time.Since(r.storm.cutAt))
		}
	}
}

// lost counts a connection that has ended; true: it is the one that was cut, and all others have been too.
func (r *returner) lost(ctx context.Context) bool {
	switch {
	case !r.storm.cutting.Load():
		r.storm.early.Add(1)
		return false
	case r.cutOff:
		r.storm.again.Add(1)
		return false
	}
	r.cutOff = true
	select {
	case <-r.storm.cut:
	case <-ctx.Done():
	}
	return true
}

// hold reads and sends heartbeats until the connection ends.
func (r *returner) hold(ctx context.Context) {
	l := r.link
	release := context.AfterFunc(ctx, l.leave)
	defer release()
	beat := r.beat(l)
	defer beat()
	for {
		p, err := l.Read()
		if err == nil && p.Header.Command == pdu.CmdBye {
			err = readBye(p.Body)
		}
		if err == nil {
			_, err = r.resume.take(p)
		}
		if err != nil {
			return
		}
	}
}

// beat sends heartbeats until stop is called; one that fails is seen by who reads.
func (r *returner) beat(l *link) (stop func()) {
	frame, err := pdu.Append(nil, pdu.CmdHeartbeat, 0, nil)
	if err != nil || r.heartbeat <= 0 {
		return func() {}
	}
	t := time.NewTimer(r.heartbeat)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // until stop
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-done:
				return
			}
			if l.Write([][]byte{frame}) != nil {
				return
			}
			t.Reset(r.heartbeat)
		}
	})
	return func() { close(done); running.Wait() }
}

// comeBack tries until it succeeds; an error means that there is no point in going on.
func (r *returner) comeBack(ctx context.Context) error {
	after := time.Duration(0) // what the server asked for
	for failures := 0; ; failures++ {
		if err := wait(ctx, after+backoff(failures)); err != nil {
			return err
		}
		r.storm.attempts.Add(1)
		err := r.enter(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if after, err = r.refused(err); err != nil {
			return err
		}
	}
}

// refused notes a failed attempt, and says how long to wait at least before the next, or that there is no point in one.
func (r *returner) refused(err error) (after time.Duration, final error) {
	r.storm.refused(err)
	var bye *byeError
	if !errors.As(err, &bye) {
		return 0, nil
	}
	if bye.code == sessionpb.Code_KICKED || bye.code == sessionpb.Code_REPLACED {
		return 0, fmt.Errorf("%w: %w", errGivenUp, err)
	}
	return bye.after, nil
}

// enter connects and begins or resumes the session.
func (r *returner) enter(ctx context.Context) error {
	s := r.storm
	l := &link{roads: &roads{sockets: s.target.sockets()}, left: &s.goodbyes}
	connecting, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	var err error
	o := s.target.options(l.roads)
	o.TLS = r.tls
	if l.Conn, err = dial.DialRoute(connecting, s.route, o); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.left.Add(1)
	release := context.AfterFunc(ctx, l.leave)
	defer release()
	if err := r.handshake(l); err != nil {
		l.leave()
		return err
	}
	r.swap(l)
	return nil
}

// handshake goes from HELLO to CREDENTIAL.
func (r *returner) handshake(l *link) error {
	if err := send(l, pdu.CmdHello, r.storm.target.helloRequest(r.n, r.resume)); err != nil {
		return err
	}
	var late atomic.Bool
	limit := time.AfterFunc(welcomeWithin, func() { late.Store(true); l.leave() })
	defer limit.Stop()
	for {
		p, err := l.Read()
		if err == nil {
			var done bool
			if done, err = r.step(l, p, limit); done && err == nil {
				return nil
			}
		}
		switch {
		case err != nil && late.Load():
			return errNoWelcome
		case err != nil:
			return err
		}
	}
}

// step handles one PDU of the handshake; done tells that it was the last.
func (r *returner) step(l *link, p pdu.PDU, limit *time.Timer) (done bool, err error) {
	switch p.Header.Command {
	case pdu.CmdWelcome:
		limit.Reset(loginTimeout) // what follows has to wait for its turn, and for passwords
		return false, r.welcome(l, p.Body)
	case pdu.CmdLoginRes:
		_, err = loggedIn(p.Body)
		return false, err
	case pdu.CmdQueue:
		r.storm.queued.Add(1)
		limit.Reset(loginTimeout)
		return false, nil
	case pdu.CmdBye:
		return false, readBye(p.Body)
	}
	return r.resume.take(p)
}

func (r *returner) welcome(l *link, body []byte) error {
	var w sessionpb.Welcome
	if err := proto.Unmarshal(body, &w); err != nil {
		return err
	}
	r.heartbeat = time.Duration(w.GetHeartbeatS()) * time.Second
	switch w.GetVerdict() {
	case sessionpb.Verdict_RESUMED:
		return nil
	case sessionpb.Verdict_GAP:
		r.storm.gaps.Add(1)
		r.resume.cursor = protocol.Cursor(w.GetCursor())
		return nil
	case sessionpb.Verdict_REFUSED:
		r.storm.tokens.Add(1)
	case sessionpb.Verdict_LOGIN_NEEDED:
	}
	r.resume = ticket{}
	return send(l, pdu.CmdLoginReq, r.storm.target.loginRequest(r.n))
}

func send(c dial.Conn, cmd pdu.Command, m proto.Message) error {
	frame, err := pdu.Append(nil, cmd, 1, m)
	if err != nil {
		return err
	}
	return c.Write([][]byte{frame})
}

// kindOf says in few words why a client was not let in.
func kindOf(err error) string {
	var (
		bye    *byeError
		closed *dial.CloseError
	)
	switch {
	case errors.As(err, &bye):
		return "BYE " + bye.code.String()
	case errors.Is(err, errNoWelcome):
		return errNoWelcome.Error()
	case errors.As(err, &closed):
		return "closed: " + closed.Code.String()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "timed out"
	}
	return "other"
}
