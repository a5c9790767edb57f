package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// talkers is how many pairs chat while the leader is killed.
	talkers = 8
	// failLimit is after when those who do not go on are given up.
	failLimit = 30 * time.Second
	goOnLook  = 5 * time.Millisecond
	// A kill comes so long after all go on, and up to as long again.
	breath = 500 * time.Millisecond
)

// FailoverResult is how long nothing was acked when the leader was killed. Times are from the last ack before to the first one after.
type FailoverResult struct {
	Kills    int `json:"kills"`
	Messages int `json:"messages"` // acked, each heard once
	// Anybody is the silence of the whole cluster; Elsewhere and There are each client's who was at another node, or at the one that was killed.
	Anybody   Summary `json:"anybody"`
	Elsewhere Summary `json:"elsewhere"`
	There     Summary `json:"at_the_killed"`
	// Back is how long it took from the start of the killed node until the cluster was whole.
	Back Summary `json:"whole_again"`
}

// failover is such a run.
type failover struct {
	*servers
	clock   clock
	talkers []*talker
	anybody *latency
	other   *latency
	there   *latency
	back    *latency
}

func benchFailover(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) (err error) {
	f := &failover{servers: c, clock: newClock(), anybody: newLatency(), other: newLatency(), there: newLatency(), back: newLatency()}
	defer func() {
		for _, t := range f.talkers {
			err = errors.Join(err, t.leave())
		}
	}()
	for i := range talkers {
		t, err := newTalker(ctx, c.targets(), 2*i, i, f.clock)
		if err != nil {
			return err
		}
		f.talkers = append(f.talkers, t)
	}
	talking, hush := context.WithCancel(ctx)
	defer hush()
	for _, t := range f.talkers {
		go t.talk(talking) // until finish or hush; both wait for ended
	}
	defer func() {
		hush()
		for _, t := range f.talkers {
			<-t.ended
		}
	}()
	for i := range o.Kills {
		if err := f.kill(ctx); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		say("kill %d of %d", i+1, o.Kills)
	}
	r := &FailoverResult{Kills: o.Kills, Anybody: f.anybody.summary(), Elsewhere: f.other.summary(), There: f.there.summary(), Back: f.back.summary()}
	for i, t := range f.talkers {
		n, err := t.finish(ctx)
		if err != nil {
			return fmt.Errorf("pair %d: %w", i+1, err)
		}
		r.Messages += n
	}
	if r.Anybody.Count == 0 || r.Elsewhere.Count == 0 || r.There.Count == 0 {
		return fmt.Errorf("nobody's silence was measured: %d kills, %d clients elsewhere, %d at the killed node", r.Anybody.Count, r.Elsewhere.Count, r.There.Count)
	}
	out.Failover = r
	return nil
}

// kill kills the leader, waits until everybody goes on, and has it come back.
func (f *failover) kill(ctx context.Context) error {
	if err := wait(ctx, breath+rand.N(breath)); err != nil {
		return err
	}
	victim, err := f.leader(ctx)
	if err != nil {
		return err
	}
	if err := f.goOn(ctx, f.clock.now()); err != nil {
		return err
	}
	var there []bool
	for _, t := range f.talkers {
		there = append(there, t.isAt(victim.host))
	}
	dies := f.clock.now()
	if err := victim.Kill(); err != nil {
		return err
	}
	victim.Server = nil
	if err := f.goOn(ctx, f.clock.now()); err != nil {
		return err
	}
	f.note(dies, there)
	starts := f.clock.now()
	if err := f.restart(ctx, victim); err != nil {
		return err
	}
	if err := f.whole(ctx); err != nil {
		return err
	}
	f.back.record(0, f.clock.now()-starts)
	return nil
}

// goOn waits until each has an ack for something that he sent after a moment.
func (f *failover) goOn(ctx context.Context, moment time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, failLimit)
	defer cancel()
	for i, t := range f.talkers {
		for {
			ok, err := t.ackedSince(moment)
			if err != nil {
				return err
			}
			if ok {
				break
			}
			if err := wait(ctx, goOnLook); err != nil {
				return fmt.Errorf("pair %d does not go on: %w; its sender is %+v", i+1, err, t.sdk.Status())
			}
		}
	}
	return nil
}

// note takes down the silences around the moment when a node died; everybody has gone on since.
func (f *failover) note(dies time.Duration, there []bool) {
	var all []time.Duration
	for i, t := range f.talkers {
		t.mu.Lock()
		var mine []time.Duration
		for _, a := range t.acks {
			mine = append(mine, a.came)
		}
		t.mu.Unlock()
		all = append(all, mine...)
		to := f.other
		if there[i] {
			to = f.there
		}
		to.record(i, longestSilence(mine, dies))
	}
	slices.Sort(all)
	f.anybody.record(0, longestSilence(all, dies))
}

// longestSilence is the longest time between two moments of a sorted list of which the later one is after another moment.
func longestSilence(at []time.Duration, dies time.Duration) (longest time.Duration) {
	for i := len(at) - 1; i > 0 && at[i] > dies; i-- {
		longest = max(longest, at[i]-at[i-1])
	}
	return longest
}
