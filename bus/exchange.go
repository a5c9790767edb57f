package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Peers carries payloads to the other nodes.
type Peers interface {
	// Send hands a payload to a node, after what was sent to it before, and waits as long as that node is slow. With an error it may not arrive.
	Send(ctx context.Context, to protocol.NodeID, payload []byte) error
}

// ErrAlone is returned by Serve of a bus that has no node id.
var ErrAlone = errors.New("bus: no node id: this node is alone")

const (
	tickEvery    = time.Second            // what is missing on another node is noticed within this time
	lookEvery    = slotLength             // silent nodes and unsettled users are looked for
	hurryEvery   = 10 * time.Millisecond  // the same while many users wait to be announced
	roomPatience = 500 * time.Millisecond // a subscriber that makes no room for announcements holds the others up no longer
	crowdedMost  = 64                     // how many users are announced at a time from then on
)

// Serve exchanges signals and presence with the other nodes until ctx ends; once. When it returns, nothing is sent any more.
func (b *Bus) Serve(ctx context.Context, peers Peers) error {
	if b.presence.isAlone() {
		return ErrAlone
	}
	ctx, cancel := context.WithCancel(ctx)
	var senders sync.WaitGroup
	defer func() {
		cancel()
		senders.Wait()
	}()
	next := time.NewTimer(lookEvery)
	defer next.Stop()
	ticked, roomy := time.Now(), time.Now()
	for {
		for _, k := range b.links.unserved() {
			s := &sender{link: k, presence: b.presence, peers: peers, metrics: b.metrics}
			senders.Go(func() { s.run(ctx) }) // ends with ctx or the link
		}
		select {
		case <-b.links.changed:
			continue
		case <-b.presence.swept:
		case <-next.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		if now.Sub(ticked) >= tickEvery {
			ticked = now
			b.links.tick()
		}
		for _, d := range b.presence.dropSilent(now) {
			b.cfg.Log.Info("sessions of a silent node dropped", "node", d.node, "sessions", d.sessions, "silent", d.silent)
		}
		b.presence.sweepAll()
		next.Reset(b.announceDue(now, &roomy))
	}
}

// announceDue publishes what has to be corrected, no faster than the subscribers read, and returns when to look again.
func (b *Bus) announceDue(now time.Time, roomy *time.Time) time.Duration {
	most := b.room()
	switch {
	case most > 0:
		*roomy = now
	case now.Sub(*roomy) < roomPatience:
		return hurryEvery
	default:
		most = crowdedMost
	}
	if b.presence.settle(now, most) {
		return hurryEvery
	}
	return lookEvery
}

// room is how many signals every subscriber can take, half of its queue being left for those of others.
func (b *Bus) room() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	room := b.cfg.QueueSignals / 2
	for s := range b.signals {
		room = min(room, b.cfg.QueueSignals/2-s.queue.length())
	}
	return room
}

// Link says that the link with a node now stands, or is down. It never blocks; saying again that a link stands is harmless.
func (b *Bus) Link(peer protocol.NodeID, up bool) {
	if peer == b.cfg.Node || b.presence.isAlone() {
		return
	}
	b.links.set(peer, up)
	b.presence.linked(peer, up)
}

// Receive takes in a payload of another node. Those of one node are handed over in the order in which they were sent; it does not wait for anybody.
func (b *Bus) Receive(from protocol.NodeID, payload []byte) {
	if from == b.cfg.Node || b.presence.isAlone() {
		return
	}
	p, err := decode(payload)
	if err != nil { // what is lost of the table shows by its number
		why := "malformed"
		if errors.Is(err, errVersion) {
			why = "version"
		}
		b.metrics.skipped.WithLabelValues(why).Inc()
		b.cfg.Log.Warn("payload of another node not understood", "node", from, "error", err)
		if p.generation == 0 {
			return
		}
	}
	b.metrics.skipped.WithLabelValues("unknown_kind").Add(float64(p.unknown))
	if !b.presence.hear(from, p.generation, p.items) {
		b.metrics.skipped.WithLabelValues("former_life").Inc()
		return
	}
	for _, item := range p.items {
		if sig, ok := item.(protocol.Signal); ok {
			b.publish(sig) // here only: every node was told by its sender
		}
	}
}

// publish hands a signal to this node's subscribers.
func (b *Bus) publish(sig protocol.Signal) {
	if p, ok := sig.(protocol.PresenceChanged); ok {
		b.presence.show(p)
		return
	}
	b.deliver(sig)
}

func (b *Bus) deliver(sig protocol.Signal) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.signals {
		s.add(sig)
	}
}

// spread tells the other nodes of a signal.
func (b *Bus) spread(sig protocol.Signal) {
	item, err := encodeSignal(sig)
	if err != nil {
		b.metrics.skipped.WithLabelValues("not_encoded").Inc()
		return
	}
	b.links.tell(item, "signal")
}

// quiet is the log of who wants none.
func quiet(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
