package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// ReconnectOptions shape a run in which all clients lose their connections at once.
type ReconnectOptions struct {
	// Clients is how many, each of its own user. Two more users chat meanwhile.
	Clients int
	// Before is how long those two are watched before the cut; Limit how long to wait until all clients are back.
	Before, Limit time.Duration
	// Bystanders is how those two reach the server; their names are the next after the clients'.
	Bystanders Target
	// Sources is from how many addresses the clients come.
	Sources int
	// PID is the server's process, whose memory is read; 0 reads none.
	PID int
}

const (
	bystanderPace = 10 * time.Millisecond
	memoryEvery   = 50 * time.Millisecond
)

// storm is what the clients of such a run share.
type storm struct {
	target Target
	route  dial.Route

	cutting  atomic.Bool
	cut      chan struct{} // closed when all have been cut off: only then they begin to come back
	cutAt    time.Time     // set before that
	early    atomic.Int64  // lost before the cut
	again    atomic.Int64  // lost after they were back
	attempts atomic.Int64
	gaps     atomic.Int64
	tokens   atomic.Int64 // refused
	queued   atomic.Int64 // told to wait in the login queue
	goodbyes sync.WaitGroup

	mu       sync.Mutex // guards the rest
	times    []time.Duration
	refusals map[string]int
	errors   []string
	all      chan struct{} // closed when all are back
	want     int
}

// Reconnect logs in clients of the session extension, cuts them all off at once without a notice and watches them come back.
func Reconnect(ctx context.Context, t Target, o ReconnectOptions) (*ReconnectResult, error) {
	t.Extended, t.Sources = true, o.Sources
	route, err := t.Via.route(t.Server)
	if err != nil {
		return nil, err
	}
	s := &storm{target: t, route: route, cut: make(chan struct{}), refusals: map[string]int{}, all: make(chan struct{}), want: o.Clients}
	defer s.goodbyes.Wait()
	watchers := o.Bystanders
	watchers.First = t.First + o.Clients
	pair, err := connect(ctx, watchers, 2)
	if err != nil {
		return nil, fmt.Errorf("bystanders: %w", err)
	}
	clients, err := s.enterAll(ctx, o.Clients)
	if err != nil {
		return nil, errors.Join(err, closeAll(pair))
	}
	living, stop := context.WithCancel(ctx)
	var lives sync.WaitGroup
	for _, r := range clients {
		lives.Go(func() { r.live(living) }) // until stop
	}
	result, err := s.watch(ctx, clients, pair, o)
	stop()
	lives.Wait()
	return result, errors.Join(err, closeAll(pair))
}

// BenchReconnect is Reconnect with a server of its own.
func BenchReconnect(ctx context.Context, binary, dir string, via Via, o ReconnectOptions) (out *ReconnectResult, err error) {
	err = withServer(ctx, BenchOptions{Binary: binary, Dir: dir}, "reconnect-"+string(via), o.Clients+2, func(s *Server) error {
		t, err := s.Target(via, benchPassword)
		if err != nil {
			return err
		}
		if o.Bystanders, err = s.Target(ViaTCP, benchPassword); err != nil {
			return err
		}
		o.PID = s.PID()
		out, err = Reconnect(ctx, t, o)
		return err
	})
	return out, err
}

// enterAll logs in the first n users, all or nothing.
func (s *storm) enterAll(ctx context.Context, n int) ([]*returner, error) {
	clients := make([]*returner, n)
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(loginsAtOnce)
	pace := newPace(s.target.Via)
	defer pace.stop()
	for i := range clients {
		pace.wait(within)
		r := newReturner(s, i)
		clients[i] = r
		group.Go(func() error {
			if err := r.enter(within); err != nil {
				return fmt.Errorf("login of %s: %w", s.target.name(i), err)
			}
			return nil
		})
	}
	err := group.Wait()
	if err != nil {
		for _, r := range clients {
			if r.link != nil {
				r.link.leave()
			}
		}
	}
	return clients, err
}

// watch measures before the cut, cuts, and measures until all are back.
func (s *storm) watch(ctx context.Context, clients []*returner, pair []*Conn, o ReconnectOptions) (*ReconnectResult, error) {
	out := &ReconnectResult{Via: s.target.Via, Clients: o.Clients}
	var err error
	if out.MemoryBefore, err = memory(o.PID); err != nil {
		return nil, err
	}
	out.Before = bystand(ctx, pair, o.Before, nil)

	quiet := make(chan struct{})
	var during sync.WaitGroup
	during.Go(func() { out.During = bystand(ctx, pair, o.Limit, quiet) }) // until quiet
	during.Go(func() { out.MemoryPeak = peakMemory(o.PID, quiet) })       // until quiet
	out.Cut = s.cutAll(clients).Seconds()
	limit, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	select {
	case <-s.all:
	case <-limit.Done():
	}
	close(quiet)
	during.Wait()
	if out.MemoryAfter, err = memory(o.PID); err != nil {
		return nil, err
	}
	out.MemoryPeak = max(out.MemoryPeak, out.MemoryAfter)
	s.report(out)
	return out, ctx.Err()
}

// bystand lets pairs chat until the time is over or stop is closed.
func bystand(ctx context.Context, pairs []*Conn, d time.Duration, stop <-chan struct{}) *MessageResult {
	var lanes []*lane
	for pair := range slices.Chunk(pairs, 2) {
		lanes = append(lanes, &lane{number: len(lanes), to: protocol.WithUser(pair[1].User), sender: pair[0], receivers: pair[1:]})
	}
	return measure(ctx, lanes, MessageOptions{Window: 1, Payload: MinPayload, Duration: d, Pace: bystanderPace, Stop: stop, Drain: loginTimeout})
}

// cutAll cuts them off, and lets them come back when that is done; it returns how long it took.
func (s *storm) cutAll(clients []*returner) time.Duration {
	start := time.Now()
	s.cutting.Store(true)
	for _, r := range clients {
		r.cut()
	}
	s.cutAt = time.Now()
	close(s.cut)
	return s.cutAt.Sub(start)
}

// returned notes that a client is back.
func (s *storm) returned(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, after)
	if len(s.times) == s.want {
		close(s.all)
	}
}

// refused notes a failed attempt.
func (s *storm) refused(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[kindOf(err)]++
	if len(s.errors) < maxErrors {
		s.errors = append(s.errors, err.Error())
	}
}

func (s *storm) report(out *ReconnectResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.times)
	at := func(share float64) float64 {
		i := int(share*float64(s.want)+0.999999) - 1
		if i < 0 || i >= len(s.times) {
			return 0
		}
		return s.times[i].Seconds()
	}
	out.Back, out.Half, out.Most, out.All = len(s.times), at(0.5), at(0.99), at(1)
	out.Attempts, out.Refusals, out.Errors = int(s.attempts.Load()), maps.Clone(s.refusals), slices.Clone(s.errors)
	out.Gaps, out.BadTokens, out.Early, out.Again = int(s.gaps.Load()), int(s.tokens.Load()), int(s.early.Load()), int(s.again.Load())
}

func memory(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	return residentMemory(pid)
}

// peakMemory looks at a process's memory until stop is closed.
func peakMemory(pid int, stop <-chan struct{}) (peak int64) {
	look := time.NewTicker(memoryEvery)
	defer look.Stop()
	for {
		if now, err := memory(pid); err == nil {
			peak = max(peak, now)
		}
		select {
		case <-look.C:
		case <-stop:
			return peak
		}
	}
}

// ReconnectResult is what a run of Reconnect came to. Times are seconds after the last client was cut off.
type ReconnectResult struct {
	Via     Via     `json:"via"`
	Clients int     `json:"clients"`
	Cut     float64 `json:"cut_s"` // how long cutting took
	Back    int     `json:"back"`
	Half    float64 `json:"half_back_s"`
	Most    float64 `json:"p99_back_s"`
	All     float64 `json:"all_back_s"`

	Attempts  int            `json:"attempts"`
	Refusals  map[string]int `json:"refusals"` // attempts that failed, by why
	Errors    []string       `json:"errors,omitempty"`
	Gaps      int            `json:"gaps"`       // resumed without what was missed
	BadTokens int            `json:"bad_tokens"` // logged in by password again
	Early     int            `json:"lost_before"`
	Again     int            `json:"lost_again"` // after they were back

	MemoryBefore int64          `json:"rss_before"`
	MemoryPeak   int64          `json:"rss_peak"`
	MemoryAfter  int64          `json:"rss_after"`
	Before       *MessageResult `json:"bystanders_before"`
	During       *MessageResult `json:"bystanders_during"`
}

// Verdict is nil if all came back by resuming and the bystanders lost nothing.
func (r *ReconnectResult) Verdict() error {
	var errs []error
	if r.Back != r.Clients || r.Gaps+r.BadTokens+r.Early+r.Again != 0 {
		errs = append(errs, fmt.Errorf("%d of %d clients are back, %d with a gap, %d by password; %d were lost before the cut, %d again after it",
			r.Back, r.Clients, r.Gaps, r.BadTokens, r.Early, r.Again))
	}
	return errors.Join(append(errs, r.Before.Verdict(), r.During.Verdict())...)
}

// Print writes the result as a table.
func (r *ReconnectResult) Print(w io.Writer) error {
	t := newTable(w)
	t.line("via", "clients", "cut within s", "50 % back s", "99 %", "all", "back", "attempts", "retries", "RSS before MiB", "peak", "after")
	t.line(r.Via, r.Clients, seconds(r.Cut), seconds(r.Half), seconds(r.Most), seconds(r.All), r.Back, r.Attempts, max(0, r.Attempts-r.Clients),
		mib(r.MemoryBefore), mib(r.MemoryPeak), mib(r.MemoryAfter))
	t.line()
	t.line("bystanders", "acked", "p50 ms", "p99", "max")
	t.line("before", r.Before.Acked, ms(r.Before.Ack.P50), ms(r.Before.Ack.P99), ms(r.Before.Ack.Max))
	t.line("during", r.During.Acked, ms(r.During.Ack.P50), ms(r.During.Ack.P99), ms(r.During.Ack.Max))
	t.line()
	t.line("refusals", "")
	for _, why := range slices.Sorted(maps.Keys(r.Refusals)) {
		t.line(why, r.Refusals[why])
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, e := range r.Errors {
		if _, err := fmt.Fprintln(w, "  for example:", e); err != nil {
			return err
		}
	}
	return nil
}

func seconds(s float64) string { return fmt.Sprintf("%.2f", s) }
