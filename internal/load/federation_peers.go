package load

import "context"

// PeersResult is what idle links cost an office.
type PeersResult struct {
	Peers int `json:"peers"`
	// Share of a core and memory, alone and with all links up, in percent and bytes.
	CPUAlone  float64 `json:"cpu_percent_alone"`
	CPULinked float64 `json:"cpu_percent_linked"`
	RSSAlone  int64   `json:"rss_alone"`
	RSSLinked int64   `json:"rss_linked"`
	// Bytes go over a link each second, both ways, while nobody does anything.
	Bytes float64 `json:"bytes_per_second_and_link"`
}

// benchFedPeers watches an idle office, first alone and then with many links.
func benchFedPeers(ctx context.Context, f *offices, out *FederationResult, say func(string, ...any)) error {
	p := &PeersResult{Peers: len(f.all) - 1}
	say("idle for %v, without links", f.o.Idle)
	var err error
	if p.CPUAlone, p.RSSAlone, err = f.watch(ctx); err != nil {
		return err
	}
	say("linking %d offices", p.Peers)
	if err := f.linkAll(ctx); err != nil {
		return err
	}
	if err := f.quiet(ctx); err != nil {
		return err
	}
	f.setDelay(f.o.RoundTrip)
	say("idle for %v, with %d links", f.o.Idle, p.Peers)
	_, before, err := f.traffic(ctx)
	if err != nil {
		return err
	}
	if p.CPULinked, p.RSSLinked, err = f.watch(ctx); err != nil {
		return err
	}
	_, after, err := f.traffic(ctx)
	p.Bytes = float64(after-before) / f.o.Idle.Seconds() / float64(p.Peers)
	out.Peers = p
	return err
}

// watch sees what the first office needs while nobody does anything.
func (f *offices) watch(ctx context.Context) (cpu float64, rss int64, err error) {
	a := f.all[0]
	if err := a.Collect(ctx); err != nil {
		return 0, 0, err
	}
	if err := wait(ctx, settleFor); err != nil {
		return 0, 0, err
	}
	used, err := watchUsage(a.PID())
	if err != nil {
		return 0, 0, err
	}
	if err := wait(ctx, f.o.Idle); err != nil {
		return 0, 0, err
	}
	percent, err := used.percent()
	if err != nil {
		return 0, 0, err
	}
	rss, err = residentMemory(a.PID())
	return percent[0], rss, err
}
