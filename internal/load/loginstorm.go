package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// LoginStormOptions shape a run in which many log in at once, more than the server can check passwords for.
type LoginStormOptions struct {
	// Logins of the session extension arrive together, each of its own user. Legacy ones by plain TCP are sprinkled in, half of them while the
	// others arrive and half while those are let in. Resumes are sessions from before that come back in the middle. Pairs of users chat throughout.
	Logins, Legacy, Resumes, Pairs int
	// Slots is how many passwords the server checks at the same time.
	Slots int
	// Before is how long the pairs are watched before the storm; Limit how long to wait for its end.
	Before, Limit time.Duration
	// Told is after how long a client has to be told of a change of its position, and LegacyWithin when a legacy one has to have its answer.
	Told, LegacyWithin time.Duration
	// Slack is by how much news may seem late: the clients, too, wait for a processor.
	Slack time.Duration
	// Native is the port for legacy clients and the pairs.
	Native Target
	// Sources is from how many addresses the clients come.
	Sources int
	// PID is the server's process, whose memory is read; 0 reads none.
	PID int
	// Flags are further ones of a server that is started for the run.
	Flags []string
}

const (
	// The protocol's promises [TT-QUEUE-2] [TT-QUEUE-3].
	queueTold    = 2 * time.Second
	legacyWithin = 4 * time.Second

	// arrivalsAtOnce bounds the connections that are being made, which need no password, so that listen queues do not overflow.
	arrivalsAtOnce = 128
	resumesAtOnce  = 256
	defaultSlack   = 500 * time.Millisecond
	stormLimit     = 30 * time.Minute
)

func (o *LoginStormOptions) complete() error {
	if o.Logins < 1 || o.Legacy < 0 || o.Resumes < 0 || o.Pairs < 1 {
		return errors.New("a storm needs a login and a pair of bystanders at least")
	}
	for d, standard := range map[*time.Duration]time.Duration{
		&o.Before: time.Second, &o.Limit: stormLimit, &o.Told: queueTold, &o.LegacyWithin: legacyWithin, &o.Slack: defaultSlack,
	} {
		if *d <= 0 {
			*d = standard
		}
	}
	o.Slots = max(1, o.Slots)
	return nil
}

// rush is what the clients of such a run share.
type rush struct {
	target Target
	opts   LoginStormOptions
	clock  clock // from the beginning of the storm

	sent, answered milestones
	entrants       []*entrant
	legacy         []*straggler
	comers         *storm // whose returners resume
	resumed        []comeback
	queued         int64 // of the returners, before they returned
}

// LoginStorm lets many log in at once and watches the queue that they wait in.
func LoginStorm(ctx context.Context, t Target, o LoginStormOptions) (*LoginStormResult, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	t.Extended, t.Sources = true, o.Sources
	o.Native.Sources, o.Native.Extended = o.Sources, false
	route, err := t.Via.route(t.Server)
	if err != nil {
		return nil, err
	}
	r := &rush{target: t, opts: o, comers: &storm{target: t, route: route, refusals: map[string]int{}}}
	defer r.comers.goodbyes.Wait()
	chat := o.Native
	chat.First = t.First + o.Logins + o.Legacy + o.Resumes
	pairs, err := connect(ctx, chat, 2*o.Pairs)
	if err != nil {
		return nil, fmt.Errorf("bystanders: %w", err)
	}
	returners, err := r.logInBefore(ctx)
	if err != nil {
		return nil, errors.Join(err, closeAll(pairs))
	}
	result, err := r.watch(ctx, returners, pairs)
	return result, errors.Join(err, closeAll(pairs))
}

// BenchLoginStorm is LoginStorm with a server of its own, in which each login costs the check of a password, though all are the same.
func BenchLoginStorm(ctx context.Context, binary, dir string, via Via, o LoginStormOptions) (out *LoginStormResult, err error) {
	users := o.Logins + o.Legacy + o.Resumes + 2*o.Pairs
	err = withServer(ctx, BenchOptions{
		Binary: binary, Dir: dir, Flags: append([]string{"--password-remembered", "0", "--password-concurrent", fmt.Sprint(o.Slots)}, o.Flags...),
	}, "storm-"+string(via), users, func(s *Server) error {
		t, err := s.Target(via, benchPassword)
		if err != nil {
			return err
		}
		if o.Native, err = s.Target(ViaTCP, benchPassword); err != nil {
			return err
		}
		o.PID = s.PID()
		out, err = LoginStorm(ctx, t, o)
		return err
	})
	return out, err
}

// logInBefore begins the sessions that are to be resumed, and leaves them.
func (r *rush) logInBefore(ctx context.Context) ([]*returner, error) {
	list := make([]*returner, r.opts.Resumes)
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(loginsAtOnce)
	for i := range list {
		n := r.opts.Logins + r.opts.Legacy + i
		list[i] = newReturner(r.comers, n)
		group.Go(func() error {
			if err := list[i].enter(within); err != nil {
				return fmt.Errorf("login of %s: %w", r.target.name(n), err)
			}
			list[i].link.leave()
			return nil
		})
	}
	return list, group.Wait()
}

// watch measures before the storm, and while it lasts.
func (r *rush) watch(ctx context.Context, returners []*returner, pairs []*Conn) (*LoginStormResult, error) {
	out := &LoginStormResult{Via: r.target.Via, Logins: r.opts.Logins, Slots: r.opts.Slots, Slack: r.opts.Slack.Seconds()}
	var err error
	if out.MemoryBefore, err = memory(r.opts.PID); err != nil {
		return nil, err
	}
	out.Before = bystand(ctx, pairs, r.opts.Before, nil)

	quiet := make(chan struct{})
	var during sync.WaitGroup
	during.Go(func() { out.During = bystand(ctx, pairs, r.opts.Limit, quiet) }) // until quiet
	during.Go(func() { out.MemoryPeak = peakMemory(r.opts.PID, quiet) })        // until quiet
	err = r.blow(ctx, returners)
	close(quiet)
	during.Wait()
	if err != nil {
		return nil, err
	}
	if out.MemoryAfter, err = memory(r.opts.PID); err != nil {
		return nil, err
	}
	out.MemoryPeak = max(out.MemoryPeak, out.MemoryAfter)
	r.judge(out)
	return out, nil
}

// blow is the storm: it returns when all have been answered, or it has lasted too long. Those who are in stay until then.
func (r *rush) blow(ctx context.Context, returners []*returner) error {
	limit, cancel := context.WithTimeout(ctx, r.opts.Limit)
	defer cancel()
	staying, leave := context.WithCancel(limit)
	defer leave()
	r.sent.want, r.answered.want = r.opts.Logins, r.opts.Logins
	r.clock = newClock()
	door := make(chan struct{}, arrivalsAtOnce)
	var clients, others sync.WaitGroup
	for i := range r.opts.Logins {
		e := &entrant{rush: r, n: i}
		r.entrants = append(r.entrants, e)
		clients.Go(func() { e.live(staying, door) }) // until leave
	}
	for i := range r.opts.Legacy {
		s := &straggler{n: r.opts.Logins + i}
		r.legacy = append(r.legacy, s)
		others.Go(func() { r.straggle(limit, s, i) }) // ends by itself
	}
	r.resumed = make([]comeback, len(returners))
	others.Go(func() { r.comeBack(limit, returners) }) // ends by itself
	r.answered.await(limit, r.opts.Logins)
	others.Wait()
	leave()
	clients.Wait()
	conns := make([]*Conn, len(r.entrants))
	for i, e := range r.entrants {
		conns[i] = e.conn
	}
	_ = closeAll(conns) // whoever was cut off is counted as such
	return ctx.Err()
}

// comeBack resumes the sessions when a third of the logins are through: the queue is long then.
func (r *rush) comeBack(ctx context.Context, list []*returner) {
	if !r.sent.await(ctx, r.opts.Logins) || !r.answered.await(ctx, r.opts.Logins/3) {
		return
	}
	r.queued = r.comers.queued.Load()
	var group errgroup.Group
	group.SetLimit(resumesAtOnce)
	for i, back := range list {
		group.Go(func() error {
			c := &r.resumed[i]
			c.from = r.clock.now()
			c.err = r.resume(ctx, back)
			c.to = r.clock.now()
			if c.err == nil {
				c.done = true
				back.link.leave()
			}
			return nil
		})
	}
	_ = group.Wait() // what went wrong is kept
}

// resume comes back at once, and as clients do when that fails.
func (r *rush) resume(ctx context.Context, back *returner) error {
	err := back.enter(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, err := back.refused(err); err != nil {
		return err
	}
	return back.comeBack(ctx)
}

// comeback is one session that was resumed.
type comeback struct {
	from, to time.Duration
	done     bool
	err      error
}

// milestones counts up and lets others wait for a number.
type milestones struct {
	want  int
	count atomic.Int64

	mu    sync.Mutex // guards waits
	waits map[int]chan struct{}
}

func (m *milestones) pass() {
	n := int(m.count.Add(1))
	m.mu.Lock()
	defer m.mu.Unlock()
	for at, c := range m.waits {
		if n >= at {
			close(c)
			delete(m.waits, at)
		}
	}
}

// await waits for the n-th; false: ctx has ended.
func (m *milestones) await(ctx context.Context, n int) bool {
	m.mu.Lock()
	if int(m.count.Load()) >= n {
		m.mu.Unlock()
		return true
	}
	c := m.waits[n]
	if c == nil {
		c = make(chan struct{})
		if m.waits == nil {
			m.waits = make(map[int]chan struct{})
		}
		m.waits[n] = c
	}
	m.mu.Unlock()
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}
