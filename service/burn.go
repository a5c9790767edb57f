package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

const (
	burnEvery = time.Second // [TT-DEL-3]
	// burnLimit is how many messages a command burns: few enough that it does not hold up what is behind it.
	burnLimit = 256
	// burnRounds is how many commands follow each other before the log is left to others for a while.
	burnRounds = 256
)

// BurnStore is what Burner needs of the store.
type BurnStore interface {
	Executor
	// NextBurn is when the next message has to be burned; false: none is waiting.
	NextBurn() (at protocol.Time, ok bool, err error)
	// Head is the end of this node's log and whether this node leads.
	Head() (head protocol.Cursor, isLeader bool)
}

// BurnerConfig says what a Burner is made of. Store is needed.
type BurnerConfig struct {
	Store BurnStore
	// Log gets what an operator should know; nil drops it.
	Log *slog.Logger
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
	// Every is how often the Burner looks at least (1 s); it is there when a time comes that it knows of.
	Every time.Duration
}

// Burner has messages burned whose time has come, while this node leads. Every node runs one: the times are in the
// replicated state, so whoever leads next goes on with them [TT-DEL-3].
type Burner struct {
	store   BurnStore
	log     *slog.Logger
	every   time.Duration
	burned  prometheus.Counter
	failed  prometheus.Counter
	failing bool // the last attempt failed: the log has it
}

// NewBurner makes a Burner; Run has it work.
func NewBurner(c BurnerConfig) (*Burner, error) {
	b := &Burner{
		store: c.Store, log: c.Log, every: c.Every,
		burned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "teamtalk_messages_burned_total", Help: "Messages burned because their time had come, by this node as the leader.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "teamtalk_burn_failures_total", Help: "Attempts to burn messages that failed; they are repeated.",
		}),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.every <= 0 {
		b.every = burnEvery
	}
	if c.Registerer == nil {
		return b, nil
	}
	for _, m := range []prometheus.Collector{b.burned, b.failed} {
		if err := c.Registerer.Register(m); err != nil {
			return nil, fmt.Errorf("burner: register metrics: %w", err)
		}
	}
	return b, nil
}

// Run burns until ctx ends, and returns nil then. What fails is tried again.
func (b *Burner) Run(ctx context.Context) error {
	t := time.NewTimer(b.every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		t.Reset(b.turn(ctx))
	}
}

// turn does what there is to do, and says when to look again.
func (b *Burner) turn(ctx context.Context) time.Duration {
	if _, leads := b.store.Head(); !leads {
		b.failing = false
		return b.every
	}
	wait, err := b.burn(ctx)
	if err == nil || ctx.Err() != nil {
		b.failing = false
		return wait
	}
	b.failed.Inc()
	if !b.failing {
		b.failing = true
		b.log.Warn("messages whose time has come could not be burned, trying again", "error", err)
	}
	return b.every
}

// burn burns what is due and returns how long nothing else will be, at most every: then something may have been read.
func (b *Burner) burn(ctx context.Context) (time.Duration, error) {
	for range burnRounds {
		if wait, err := b.next(); wait > 0 || err != nil {
			return wait, err
		}
		done, err := execute[protocol.BurnDueResult](ctx, b.store, "burn messages", &protocol.BurnDue{Limit: burnLimit})
		if err != nil {
			return b.every, err
		}
		b.burned.Add(float64(done.Burned))
		if !done.More {
			break
		}
	}
	wait, err := b.next()
	if wait == 0 {
		wait = b.every // the log is for others, too
	}
	return wait, err
}

// next is how long there is nothing to do, at most every.
func (b *Burner) next() (time.Duration, error) {
	at, waiting, err := b.store.NextBurn()
	if err != nil || !waiting {
		return b.every, wrap("next burn", err)
	}
	left := at - protocol.TimeOf(time.Now())
	return min(b.every, time.Duration(max(0, left))*time.Millisecond), nil
}
