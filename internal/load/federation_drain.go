package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"teamtalk/protocol"
)

// DrainResult is what happens when a link comes back for which much waits.
type DrainResult struct {
	// Queued messages were acked while the link was down, at Rate a second; they took Bytes in the outbox.
	Queued int     `json:"queued"`
	Rate   float64 `json:"stored_per_s"`
	Bytes  int64   `json:"outbox_bytes"`
	// Seconds is from the moment the link was allowed again until the last of them was delivered; Drained how many a second that is.
	Seconds float64 `json:"seconds"`
	Drained float64 `json:"drained_per_s"`
	// Best is the most that the outbox lost in one second.
	Best float64 `json:"best_per_s"`
	// New messages over the same link were sent meanwhile, Local ones within the office that takes the others in; Before is the latter with nothing going on.
	New    *MessageResult `json:"new"`
	Local  *MessageResult `json:"local"`
	Before *MessageResult `json:"local_before"`
	// The two offices, by what they have when all is queued and at most.
	Sender   MemoryRow `json:"sender"`
	Receiver MemoryRow `json:"receiver"`
}

// MemoryRow is what a server has of its own, without the pages of its files that the kernel keeps for it, in bytes.
type MemoryRow struct {
	Before int64 `json:"before"`
	Peak   int64 `json:"peak"`
	Data   int64 `json:"data_directory"` // on the disk, in the end
}

// newPairs say something new while the link drains, and as many chat within the office that takes it in.
const (
	newPairs  = 8
	freshPace = 100 * time.Millisecond
	lookPace  = time.Second
)

// benchFedDrain fills an outbox while the link is paused, and lets it go.
func benchFedDrain(ctx context.Context, f *offices, out *FederationResult, say func(string, ...any)) error {
	aliases, err := f.pair(ctx, f.o.Pairs+newPairs, say)
	if err != nil {
		return err
	}
	f.setDelay(f.o.RoundTrip)
	fill, err := f.connectPairs(ctx, aliases[:f.o.Pairs], 0)
	if err != nil {
		return err
	}
	d := &DrainResult{Queued: f.o.Queued}
	err = d.measure(ctx, f, fill, aliases[f.o.Pairs:], say)
	out.Drain = d
	return errors.Join(err, closeAll(fill.conns))
}

func (f *offices) pause(ctx context.Context, verb string) error {
	return f.all[0].call(ctx, http.MethodPost, verb, map[string]any{"peer": f.all[1].domain}, nil)
}

func (d *DrainResult) measure(ctx context.Context, f *offices, fill *pairsAbroad, others []protocol.UserID, say func(string, ...any)) error {
	if err := f.pause(ctx, "pause"); err != nil {
		return err
	}
	say("%d messages while the link is paused", d.Queued)
	filled := make(chan *MessageResult, 1)
	began := time.Now()
	filling, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with filling at the latest; what it comes to is taken below
		filled <- measure(filling, fill.lanes, MessageOptions{Window: fillWindow, Payload: f.o.Payload, Duration: farLimit, Count: d.Queued, Drain: farLimit})
	}()
	err := f.await(ctx, farLimit, func(s *fedStatus) bool { return s.depth() >= int64(d.Queued) })
	if err == nil {
		d.Rate = float64(d.Queued) / time.Since(began).Seconds()
		err = d.drain(ctx, f, others, filled, say)
	}
	stop()
	return err
}

// drain lets the link go on, and watches.
func (d *DrainResult) drain(ctx context.Context, f *offices, others []protocol.UserID, filled <-chan *MessageResult, say func(string, ...any)) error {
	neighbours, err := f.neighbours(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = closeAll(neighbours) }()
	fresh, err := f.connectPairs(ctx, others, f.o.Pairs)
	if err != nil {
		return err
	}
	defer func() { _ = closeAll(fresh.conns) }()
	d.Before = bystand(ctx, neighbours, bystandBefore, nil)
	s, err := f.all[0].status(ctx)
	if err != nil {
		return err
	}
	d.Bytes = s.Links[0].Bytes
	say("the link comes back, with a round trip of %v", f.o.RoundTrip)
	over := make(chan struct{})
	var beside sync.WaitGroup // all of these end when over is closed
	beside.Go(func() { d.Sender.watch(f.all[0].PID(), over) })
	beside.Go(func() { d.Receiver.watch(f.all[1].PID(), over) })
	beside.Go(func() { d.Local = bystand(ctx, neighbours, farLimit, over) })
	beside.Go(func() {
		d.New = measure(ctx, fresh.lanes, MessageOptions{Window: 1, Payload: f.o.Payload, Duration: farLimit, Pace: freshPace, Stop: over, Drain: farLimit})
	})
	beside.Go(func() { d.Best = f.fastest(ctx, over) })
	began := time.Now()
	if err = f.pause(ctx, "resume"); err != nil {
		close(over)
		beside.Wait()
		return err
	}
	all := <-filled
	d.Seconds = time.Since(began).Seconds()
	d.Drained = float64(d.Queued) / d.Seconds
	close(over)
	beside.Wait()
	d.Sender.Data, err = f.all[0].dataSize()
	var failed error
	d.Receiver.Data, failed = f.all[1].dataSize()
	err = errors.Join(err, failed)
	for what, m := range map[string]*MessageResult{"what waited": all, "what was new": d.New, "chat at the receiving office": d.Local} {
		if failed := m.Verdict(); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", what, failed))
		}
	}
	return err
}

// watch looks at a process's own memory until over.
func (m *MemoryRow) watch(pid int, over <-chan struct{}) {
	look := time.NewTicker(memoryEvery)
	defer look.Stop()
	for {
		if now, err := statusField(pid, "RssAnon"); err == nil {
			if m.Before == 0 {
				m.Before = now
			}
			m.Peak = max(m.Peak, now)
		}
		select {
		case <-look.C:
		case <-over:
			return
		}
	}
}

func (a *office) dataSize() (int64, error) { return dirSize(a.Place.dir) }

// neighbours are pairs within the second office.
func (f *offices) neighbours(ctx context.Context) ([]*Conn, error) {
	t, err := f.all[1].target()
	if err != nil {
		return nil, err
	}
	t.First = 1 // none of those who are looked for
	return connect(ctx, t, 2*bystanderPairs)
}

// fastest is the most events that the first office's outbox lost within a second, until over.
func (f *offices) fastest(ctx context.Context, over <-chan struct{}) (best float64) {
	tick := time.NewTicker(lookPace)
	defer tick.Stop()
	last, at := int64(-1), time.Now()
	for {
		select {
		case <-over:
			return best
		case <-ctx.Done():
			return best
		case <-tick.C:
		}
		s, err := f.all[0].status(ctx)
		if err != nil {
			continue
		}
		now := time.Now()
		if last >= 0 {
			best = max(best, float64(last-s.depth())/now.Sub(at).Seconds())
		}
		last, at = s.depth(), now
	}
}
