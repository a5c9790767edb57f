package load

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const loggedInResult = "logged in"

// entrant is one login of the session extension. It belongs to its goroutine until that has ended.
type entrant struct {
	rush *rush
	n    int // of its user
	conn *Conn

	isSent   bool
	sent     time.Duration // 0x0103 was written
	decided  bool
	answered time.Duration // 0x0104 came, or the connection ended before
	result   string
	err      error
	lost     bool // logged in, and cut off later

	tells    int
	heard    time.Duration // the last word: 0x0103, QUEUE
	first    time.Duration // after which the first word came
	position uint32        // told last
	longest  uint32        // told ever
	eta      time.Duration // told first
	rises    int
	repeats  int
	silences []silence // that were longer than it may take to be told
}

// silence is a time in which a client that waits was told nothing.
type silence struct{ from, to time.Duration }

// live connects, logs in, and stays until ctx ends. The door bounds how many connect.
func (e *entrant) live(ctx context.Context, door chan struct{}) {
	select {
	case door <- struct{}{}:
	case <-ctx.Done():
		e.over(ctx.Err())
		return
	}
	err := e.arrive(ctx)
	<-door
	if err == nil {
		release := e.conn.bind(ctx)
		defer release()
		err = e.wait(ctx)
	}
	e.over(err)
	if err == nil {
		e.lost = e.conn.idle(ctx) != nil
	}
}

// arrive connects, says HELLO and asks to be let in.
func (e *entrant) arrive(ctx context.Context) error {
	t := e.rush.target
	var w wire
	err := unlessRefused(ctx, func() (err error) {
		w, err = t.open(ctx)
		return err
	})
	if err == nil {
		e.conn = &Conn{wire: w, extended: true}
		release := e.conn.bind(ctx)
		defer release()
		e.conn.setDeadline(time.Now().Add(loginTimeout))
		err = e.conn.hello(t, e.n)
	}
	if err == nil {
		e.sent = e.rush.clock.now()
		e.heard = e.sent
		err = e.conn.send(pdu.CmdLoginReq, t.loginRequest(e.n))
	}
	e.isSent = err == nil
	e.rush.sent.pass() // also if it came to nothing: others wait for it
	return err
}

// wait reads until the login is decided.
func (e *entrant) wait(ctx context.Context) error {
	for beat := time.Now().Add(heartbeatEvery); ; {
		e.conn.setDeadline(beat)
		if ctx.Err() != nil { // looked at after the deadline was set, which may have undone what bind did
			return ctx.Err()
		}
		h, body, err := e.conn.next()
		now := e.rush.clock.now()
		switch {
		case isTimeout(err):
		case err != nil:
			return err
		case h.Command == pdu.CmdQueue:
			if err := e.told(body, now); err != nil {
				return err
			}
		case h.Command == pdu.CmdLoginRes:
			e.word(now)
			e.conn.User, err = loggedIn(body)
			return err
		}
		if time.Until(beat) <= 0 && ctx.Err() == nil {
			beat = time.Now().Add(heartbeatEvery)
			e.conn.setDeadline(beat)
			if err := e.conn.send(pdu.CmdHeartbeat, nil); err != nil {
				return err
			}
		}
	}
}

// told takes a QUEUE.
func (e *entrant) told(body []byte, now time.Duration) error {
	var q sessionpb.Queue
	if err := proto.Unmarshal(body, &q); err != nil {
		return err
	}
	e.word(now)
	switch at := q.GetPosition(); {
	case at == 0:
		return errors.New("QUEUE without a position")
	case e.tells == 0:
		e.eta = time.Duration(q.GetEtaS()) * time.Second
	case at > e.position:
		e.rises++
	case at == e.position:
		e.repeats++
	}
	e.tells++
	e.position = q.GetPosition()
	e.longest = max(e.longest, e.position)
	return nil
}

// word notes that the client has heard something.
func (e *entrant) word(now time.Duration) {
	if e.tells == 0 {
		e.first = now - e.sent
	}
	if now-e.heard > e.rush.opts.Told {
		e.silences = append(e.silences, silence{e.heard, now})
	}
	e.heard = now
}

// over notes how the login was decided.
func (e *entrant) over(err error) {
	e.decided, e.answered, e.err = true, e.rush.clock.now(), err
	if e.result = loggedInResult; err != nil {
		e.result = outcome(err)
	}
	e.rush.answered.pass()
}

// outcome says in few words why a login failed.
func outcome(err error) string {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.code.String()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "not answered"
	}
	return kindOf(err)
}

// straggler is one legacy login.
type straggler struct {
	n      int // of its user
	sent   time.Duration
	took   time.Duration
	result string
	in     bool
	mute   bool // refused without a text
	err    error
}

// straggle logs in by the legacy protocol when its time has come: those with even numbers when their share of the others has arrived, those with
// odd ones when it has been let in.
func (r *rush) straggle(ctx context.Context, s *straggler, i int) {
	m, share := &r.sent, i*r.opts.Logins/r.opts.Legacy
	if i%2 == 1 {
		m = &r.answered
	}
	if !m.await(ctx, share) {
		s.err = ctx.Err()
	} else {
		s.err = s.login(ctx, r)
	}
	switch {
	case s.err == nil:
		s.result, s.in = loggedInResult, true
	default:
		s.result = outcome(s.err)
	}
}

func (s *straggler) login(ctx context.Context, r *rush) (err error) {
	t := r.opts.Native
	w, err := t.open(ctx)
	if err != nil {
		return err
	}
	c := &Conn{wire: w}
	release := c.bind(ctx)
	defer release()
	defer func() { _ = c.Close() }() // after a refusal the server has closed it
	c.setDeadline(time.Now().Add(loginTimeout))
	s.sent = r.clock.now()
	if err := c.send(pdu.CmdLoginReq, t.loginRequest(s.n)); err != nil {
		return err
	}
	body, err := c.await(pdu.CmdLoginRes)
	s.took = r.clock.now() - s.sent
	if err != nil {
		return err
	}
	_, err = loggedIn(body)
	if refused, ok := errors.AsType[*refusedError](err); ok {
		s.mute = refused.text == ""
	}
	return err
}
