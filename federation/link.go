package federation

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// link is one connection with a peer after both said hello, for as long as it lasts.
type link struct {
	m       *Manager
	keeper  *keeper
	log     *slog.Logger
	tally   *tally
	wire    Wire
	state   State
	self    fed.Signer
	own     *self // this cluster as it was shown in the hello
	peer    fed.ClusterID
	record  fed.Peer // the peer's as the link began: other rules renew the link
	hello   *hello   // the peer's
	shown   shown    // the peer's certificate
	dialled bool     // by this side

	out    outlet
	in     intake
	asks   asks
	media  media
	clock  clock
	ending chan fed.Goodbye // why the link is to end
	done   chan struct{}    // closed when another one may take its place
}

// clock is when things happened last, in Unix nanoseconds.
type clock struct {
	heard atomic.Int64  // anything of the peer
	asked atomic.Int64  // a ping that is not answered; 0: none
	busy  atomic.Bool   // nothing is read for want of room
	probe chan struct{} // holds one token: ask now whether the peer is there
	pings chan pinged   // that are to be answered
}

// newLink is a link that is not in use yet.
func (k *keeper) newLink(w Wire, own *self, h *hello, cert shown, dialled bool) *link {
	l := &link{m: k.m, keeper: k, log: k.log, tally: k.tally, wire: w, state: k.m.cfg.State, self: own.signer, own: own, peer: k.peer,
		hello: h, shown: cert, dialled: dialled, out: newOutlet(), asks: newAsks(), media: newMedia(), ending: make(chan fed.Goodbye, 1),
		done: make(chan struct{})}
	l.clock.probe, l.clock.pings = make(chan struct{}, 1), make(chan pinged, 4)
	l.in.author.init(k.m.cfg.Limits)
	l.in.room.init(k.m.room, linkReceived)
	l.in.commits.init(k.m.commits, linkCommits)
	l.in.refused = sync.OnceValues(func() (map[slot]*protocol.Refusal, error) { return k.m.refusals(k.peer, h.Epoch) })
	l.clock.heard.Store(time.Now().UnixNano())
	return l
}

// preferred reports whether the link is the one that stays if both sides have dialled [FED-TR-2].
func (l *link) preferred() bool {
	return l.dialled == (string(l.self.Cluster[:]) < string(l.peer[:]))
}

// end has the link say goodbye and end soon. The first reason counts.
func (l *link) end(why fed.Goodbye) {
	select {
	case l.ending <- why:
	default:
	}
}

// queued tells the link, if there is one, that something new is in the outbox.
func (l *link) queued() {
	if l != nil {
		wake(l.out.more)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// say hands a frame to the network.
func (l *link) say(lane fed.Lane, f fed.Frame) error { return l.wire.Write(lane, f) }

// tellManifest tells the peer who this cluster is now.
func (l *link) tellManifest(s fed.SignedManifest) {
	if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindManifest, s)); err != nil {
		l.log.Info("the peer was not told of a new manifest: it learns it with the next link", "error", err)
	}
}

// errEnded is a link that this side has ended for a reason that it has said.
type errEnded struct{ fed.Goodbye }

// Error is the reason.
func (e *errEnded) Error() string { return e.Text }

// run sends, receives and acknowledges until the connection or ctx ends, or somebody ends the link.
func (l *link) run(ctx context.Context) error {
	l.noteClock(l.hello.Time, 0)
	if now := l.keeper.term.self.Load(); now.manifest.Serial != l.own.manifest.Serial {
		l.tellManifest(now.identity.Manifest) // it has changed since hello
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.send(ctx) })
	group.Go(func() error { return l.note(ctx) })
	group.Go(func() error { return l.receive(ctx, group) })
	group.Go(func() error { return l.listen(ctx) })
	group.Go(func() error { return l.catchUp(ctx) })
	group.Go(func() error { return l.answerRanges(ctx) })
	group.Go(func() error { return l.refuse(ctx) })
	group.Go(func() error { l.m.attend(ctx, l); return nil })
	group.Go(func() error { return l.finish(ctx) })
	err := group.Wait()
	l.media.asks.end()
	l.in.room.giveAll()
	l.in.commits.giveAll()
	var ended *errEnded
	switch {
	case errors.As(err, &ended):
		return ended
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return nil
	case errors.Is(err, io.EOF):
		return errors.New("the peer has closed the connection")
	}
	return err
}

// goodbyeWait is how long a link that says goodbye waits for the peer to close it.
const goodbyeWait = time.Second

// finish ends the link with its context, or with a goodbye: then acknowledgements may still come until the peer closes.
func (l *link) finish(ctx context.Context) error {
	defer func() { _ = l.wire.Close() }() // it wakes the reader
	select {
	case <-ctx.Done():
		return ctx.Err()
	case why := <-l.ending:
		l.out.stop()
		timer := time.AfterFunc(goodbyeWait, func() { _ = l.wire.Close() })
		defer timer.Stop()
		if l.say(fed.LaneControl, fed.NewFrame(fed.KindGoodbye, why)) == nil {
			select {
			case <-ctx.Done():
			case <-time.After(goodbyeWait):
			}
		}
		return &errEnded{why}
	}
}

// listen asks a silent peer whether it is there, and answers when it asks [FED-TR-7].
func (l *link) listen(ctx context.Context) error {
	every, most := l.m.cfg.Timing.Ping, l.m.cfg.Timing.Silence
	t := time.NewTicker(every)
	defer t.Stop()
	asked := uint64(0)
	ask := func(now time.Time) error {
		asked++
		l.clock.asked.Store(now.UnixNano())
		return l.say(fed.LaneControl, fed.NewFrame(fed.KindPing, fed.Ping{ID: asked, Time: protocol.TimeOf(now)}))
	}
	if err := ask(time.Now()); err != nil {
		return err
	}
	for {
		select {
		case p := <-l.clock.pings:
			for _, a := range p.acks {
				if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindAck, a)); err != nil {
					return err
				}
			}
			if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindPong, fed.Ping{ID: p.ID, Time: protocol.TimeOf(time.Now())})); err != nil {
				return err
			}
		case <-l.clock.probe:
			if err := ask(time.Now()); err != nil {
				return err
			}
		case now := <-t.C:
			silent := now.Sub(time.Unix(0, l.clock.heard.Load()))
			if silent >= most && !l.clock.busy.Load() {
				return protocol.Errorf(protocol.CodeUnavailable, "the peer has been silent for %v", most)
			}
			if silent >= every {
				if err := ask(now); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answers asks whether the peer is still at the other end: one whose machine died has forgotten the link, and dials.
func (l *link) answers(ctx context.Context) bool {
	since := time.Now().UnixNano()
	wake(l.clock.probe)
	l.m.await(ctx, func() bool { return l.clock.heard.Load() > since || l.clock.busy.Load() })
	return l.clock.heard.Load() > since || l.clock.busy.Load()
}

// noteClock notes how far the peer's clock is from ours; it was read half a round trip ago.
func (l *link) noteClock(there protocol.Time, roundTrip time.Duration) {
	l.tally.skew.Store(int64(time.Until(there.Std().Add(roundTrip / 2))))
}
