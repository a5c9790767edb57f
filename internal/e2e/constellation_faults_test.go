package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
)

// A tally counts what a schedule has done.
type tally struct {
	mu sync.Mutex // guards by
	by map[string]int
}

func (y *tally) note(what string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.by == nil {
		y.by = map[string]int{}
	}
	y.by[what]++
}

// String tells how often what has happened.
func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	var all []string
	for what, n := range y.by {
		all = append(all, fmt.Sprintf("%s %d", what, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// A trouble is something that happens to a constellation. All that is random about it was drawn before.
type trouble struct {
	name   string
	after  time.Duration // since the one before
	victim int           // of the stars, by turns; below 0: the leader
	other  int           // another one
	last   time.Duration
	degree float64 // 0 to 1
	do     func(*constellation, context.Context, trouble)
}

// troubles are what may happen, and how often one is drawn.
func troubles() []trouble {
	kind := func(times int, name string, do func(*constellation, context.Context, trouble)) []trouble {
		return slices.Repeat([]trouble{{name: name, do: do}}, times)
	}
	return slices.Concat(
		kind(3, "killed", (*constellation).kill), kind(1, "without power", (*constellation).unplug), kind(1, "restarted", (*constellation).restart), kind(1, "drained", (*constellation).drain),
		kind(2, "alone", (*constellation).isolate), kind(1, "deaf", (*constellation).deafen), kind(1, "mute", (*constellation).mute),
		kind(1, "bridge", (*constellation).bridge), kind(1, "flapping", (*constellation).flap), kind(1, "slow", (*constellation).slow),
		kind(1, "lossy", (*constellation).lose), kind(1, "paused", (*constellation).pause), kind(2, "clock jumps", (*constellation).jump),
		kind(1, "lead transferred", (*constellation).transfer), kind(1, "replaced", (*constellation).replace),
		kind(3, "clients cut", (*constellation).cutClient))
}

// schedule draws troubles for so long.
func schedule(rng *rand.Rand, length time.Duration) (all []trouble) {
	kinds := troubles()
	for at := time.Duration(0); ; {
		x := kinds[rng.IntN(len(kinds))]
		x.after = 200*time.Millisecond + time.Duration(rng.IntN(2800))*time.Millisecond
		x.victim, x.other = rng.IntN(60), rng.IntN(60)
		if rng.IntN(5) < 2 {
			x.victim = -1
		}
		x.last = 500*time.Millisecond + time.Duration(rng.IntN(9500))*time.Millisecond
		x.degree = rng.Float64()
		if at += x.after; at > length {
			return all
		}
		all = append(all, x)
	}
}

// suffer has the troubles happen, and returns when all are over but those who are down are up again.
func (c *constellation) suffer(ctx context.Context, all []trouble) error {
	var until time.Time
	for _, x := range all {
		if err := pass(ctx, x.after); err != nil {
			return err
		}
		c.log.Info("TROUBLE", "what", x.name, "victim", x.victim, "last", x.last)
		c.tally.note(x.name)
		x.do(c, ctx, x)
		if end := time.Now().Add(x.last); end.After(until) {
			until = end
		}
	}
	return pass(ctx, time.Until(until))
}

// victim is the star that a trouble is meant for.
func (c *constellation) victim(x trouble) *star {
	stars := c.members()
	if x.victim >= 0 {
		return stars[x.victim%len(stars)]
	}
	for _, s := range stars {
		if l := s.life(); l != nil && l.store.Engine().IsLeader() {
			return s
		}
	}
	return stars[x.other%len(stars)]
}

// others are all stars but one.
func (c *constellation) others(s *star) []*star {
	return slices.DeleteFunc(c.members(), func(o *star) bool { return o == s })
}

func (c *constellation) kill(ctx context.Context, x trouble) { c.crash(ctx, x, simnet.Reset) }

func (c *constellation) unplug(ctx context.Context, x trouble) { c.crash(ctx, x, simnet.Silence) }

// crash ends a life as kill -9 does, or a power cut. Then the next one begins.
func (c *constellation) crash(ctx context.Context, x trouble, how simnet.Cut) {
	s := c.victim(x)
	if !s.busy.TryLock() {
		return
	}
	if s.life() == nil {
		s.busy.Unlock()
		return
	}
	c.strike(s, how)
	c.revive(ctx, s, x.last)
}

// strike ends a life at once: from this moment on nothing of it reaches anybody, and what it still writes to its files is not what the next life finds.
func (c *constellation) strike(s *star, how simnet.Cut) {
	l := s.life()
	synctest.Wait() // nobody writes, and nobody will before what is done here is done
	former := s.dir
	s.dir += "x"
	if err := os.CopyFS(s.dir, os.DirFS(former)); err != nil {
		c.fail("copy of what %s has: %v", s.place, err)
	}
	l.host.Down(how)
	s.set(nil)
	c.ending.Go(func() { // ends when its parts have, a few seconds
		l.end()
		c.check(os.RemoveAll(former))
	})
}

// revive begins a star's next life some time from now, however often it has to be tried. The star is busy until then.
func (c *constellation) revive(ctx context.Context, s *star, after time.Duration) {
	c.ending.Go(func() { // ends with ctx
		defer s.busy.Unlock()
		err := pass(ctx, after)
		for err == nil {
			if _, err = c.begin(ctx, s, ""); err == nil {
				return
			}
			c.log.Info("a star could not start", "place", s.place, "error", err)
			err = pass(ctx, time.Second)
		}
		c.fail("%s does not come back: %v", s.place, err)
	})
}

// restart ends a life in good order.
func (c *constellation) restart(ctx context.Context, x trouble) {
	s := c.victim(x)
	if !s.busy.TryLock() {
		return
	}
	l := s.life()
	if l == nil {
		s.busy.Unlock()
		return
	}
	c.ending.Go(func() { // ends with its parts
		c.retire(ctx, s, l, x.last)
	})
}

func (c *constellation) retire(ctx context.Context, s *star, l *life, last time.Duration) {
	l.end()
	l.host.Down(simnet.Reset)
	s.set(nil)
	c.revive(ctx, s, last)
}

// drain has a star send its clients elsewhere, and restarts it when it has had time for that.
func (c *constellation) drain(ctx context.Context, x trouble) {
	s := c.victim(x)
	if !s.busy.TryLock() {
		return
	}
	l := s.life()
	if l == nil {
		s.busy.Unlock()
		return
	}
	c.ending.Go(func() { // ends with the time limit and its parts
		if err := l.manager.Load().Drain(ctx, "", ""); err != nil {
			c.tally.note("(refused)")
		}
		_ = pass(ctx, x.last)
		c.retire(ctx, s, l, time.Second)
	})
}

// isolate cuts a star off the others; clients still reach it.
func (c *constellation) isolate(_ context.Context, x trouble) {
	s := c.victim(x)
	for _, o := range c.others(s) {
		c.net.Path(s.place, o.place).Blackout(x.last)
	}
}

// deafen lets a star send but not receive.
func (c *constellation) deafen(_ context.Context, x trouble) {
	s := c.victim(x)
	for _, o := range c.others(s) {
		c.net.BlackoutOneWay(o.place, s.place, x.last)
	}
}

// mute lets a star receive but not send.
func (c *constellation) mute(_ context.Context, x trouble) {
	s := c.victim(x)
	for _, o := range c.others(s) {
		c.net.BlackoutOneWay(s.place, o.place, x.last)
	}
}

// bridge cuts two stars off each other; the others reach both.
func (c *constellation) bridge(_ context.Context, x trouble) {
	s := c.victim(x)
	others := c.others(s)
	c.net.Path(s.place, others[x.other%len(others)].place).Blackout(x.last)
}

// flap isolates a star again and again for a moment.
func (c *constellation) flap(ctx context.Context, x trouble) {
	s := c.victim(x)
	c.ending.Go(func() { // ends with ctx, or soon
		for gone := time.Duration(0); gone < x.last; gone += time.Second {
			for _, o := range c.others(s) {
				c.net.Path(s.place, o.place).Blackout(200*time.Millisecond + time.Duration(600*x.degree)*time.Millisecond)
			}
			if pass(ctx, time.Second) != nil {
				return
			}
		}
	})
}

// slow makes all paths between stars longer for a while.
func (c *constellation) slow(ctx context.Context, x trouble) {
	delay := 20*time.Millisecond + time.Duration(180*x.degree)*time.Millisecond
	c.worsen(ctx, x.last, func(l *simnet.Link) { l.SetDelay(delay, delay/2) }, func(l *simnet.Link) { l.SetDelay(5*time.Millisecond, time.Millisecond) })
}

// lose has segments get lost between stars for a while.
func (c *constellation) lose(ctx context.Context, x trouble) {
	c.worsen(ctx, x.last, func(l *simnet.Link) { l.SetLoss(0.05 + 0.3*x.degree) }, func(l *simnet.Link) { l.SetLoss(0) })
}

func (c *constellation) worsen(ctx context.Context, last time.Duration, worse, better func(*simnet.Link)) {
	stars := c.members()
	var paths []*simnet.Link
	for i, a := range stars {
		for _, b := range stars[i+1:] {
			paths = append(paths, c.net.Path(a.place, b.place))
		}
	}
	for _, l := range paths {
		worse(l)
	}
	c.ending.Go(func() { // ends with ctx, or soon
		_ = pass(ctx, last)
		for _, l := range paths {
			better(l)
		}
	})
}

// pause stalls all that goes to a star or comes from it, clients too.
func (c *constellation) pause(ctx context.Context, x trouble) {
	c.isolate(ctx, x)
	s := c.victim(x)
	for _, p := range c.people {
		c.net.Path(s.place, p.place).Blackout(x.last)
	}
}

// jump sets a star's clock up to three hours off.
func (c *constellation) jump(_ context.Context, x trouble) {
	c.victim(x).skew.Store(int64((2*x.degree - 1) * float64(3*time.Hour)))
}

// transfer has another star lead.
func (c *constellation) transfer(ctx context.Context, x trouble) {
	c.operate(ctx, x, func(ctx context.Context, l *life) error {
		_, err := l.manager.Load().Transfer(ctx, "")
		return err
	})
}

// operate does something at a star that is up, and does not wait for it.
func (c *constellation) operate(ctx context.Context, x trouble, do func(context.Context, *life) error) {
	l := c.victim(x).life()
	if l == nil {
		return
	}
	c.ending.Go(func() { // ends with the time limit
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := do(ctx, l); err != nil {
			c.log.Info("an operator was refused", "error", err)
			c.tally.note("(refused)")
		}
	})
}

// replace has a new star join and removes another one, which is then thrown away. It is refused when too few are well.
func (c *constellation) replace(ctx context.Context, x trouble) {
	old := c.victim(x)
	if !old.busy.TryLock() {
		return
	}
	if !c.replacing.CompareAndSwap(false, true) {
		old.busy.Unlock()
		return
	}
	c.ending.Go(func() { // ends with the time limits
		defer old.busy.Unlock()
		defer c.replacing.Store(false)
		joining, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		if err := c.join(joining); err != nil {
			c.fail("replace %s: %v", old.place, err)
			return
		}
		for c.remove(joining, old) != nil {
			if err := pass(joining, time.Second); err != nil {
				c.fail("%s can't be removed: %v", old.place, err)
				return
			}
		}
		c.tally.note("(removed)")
		c.drop(old)
		if l := old.life(); l != nil {
			l.host.Down(simnet.Reset)
			old.set(nil)
			l.end()
		}
	})
}

// remove takes a star out of the cluster, asked at another one.
func (c *constellation) remove(ctx context.Context, old *star) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, s := range c.others(old) {
		l := s.life()
		if l == nil || l.store.Ready() != nil {
			continue
		}
		err := l.manager.Load().Remove(ctx, old.id(), false)
		if protocol.CodeOf(err) == protocol.CodeNotFound { // an attempt before was carried out after all
			err = nil
		}
		c.log.Info("removing", "place", old.place, "error", err)
		return err
	}
	return errors.New("nobody is there to ask")
}

func (c *constellation) drop(old *star) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stars = slices.DeleteFunc(c.stars, func(s *star) bool { return s == old })
}

// cutClient takes a client's network away without notice; for a while it does not reach the star that it was on.
func (c *constellation) cutClient(_ context.Context, x trouble) {
	p := c.people[x.other%len(c.people)]
	on := p.sdk.Status().Node
	p.line.cut()
	for _, s := range c.members() {
		if s.identity != nil && string(s.id()) == on && x.degree < 0.7 {
			c.net.Path(s.place, p.place).Blackout(x.last)
		}
	}
}
