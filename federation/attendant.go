package federation

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	roomFrames = 128       // of a peer that wait to be dealt with
	roomOut    = 256       // frames and signals that wait to be sent
	newsSecond = 50_000    // of a peer: changes of presence and signals; all people of a company may come at once
	mostFrame  = 512 << 10 // bytes of signals in a frame, about
)

// operations is what the manager has beside its links. Its zero value is ready.
type operations struct {
	queued  atomic.Bool // something waits for another cluster since it was swept
	edited  atomic.Bool // an operator has changed something
	asked   atomic.Uint64
	linked  atomic.Uint32 // numbers attendants
	dropped drops
	people  directory

	mu         sync.Mutex // guards what follows
	attendants map[*link]*attendant
	rate       perSecond[protocol.UserID] // of signals that go out
}

// attendant does what goes over one link and is not kept: presence, signals, and requests.
type attendant struct {
	m      *Manager
	l      *link
	peer   fed.ClusterID
	rules  struct{ in, out fed.Allow } // as of the link's beginning: a change renews the link
	number uint32
	inbox  chan fed.Frame // of the peer
	out    chan outgoing  // to the peer
	fresh  chan struct{}  // holds one token: the peer is interested in more
	work   chan struct{}  // holds a token for each request of the peer that is being carried out
	wg     sync.WaitGroup // of those
	rates  inbound

	mu      sync.Mutex // guards what follows
	ended   bool
	wanted  map[protocol.UserID]presence            // users of this cluster in whom the peer is interested, and what it was told last
	denied  []protocol.UserID                       // whom it may not know of yet
	moved   map[protocol.UserID]struct{}            // those of wanted who came or went
	waiting map[uint64]chan<- fed.Answer            // to requests of this side
	remote  map[protocol.UserID]protocol.ClientType // of the peer's people, as called here, those who are in the presence table
	asked   perSecond[struct{}]                     // requests that come in
}

// inbound is how much comes in, counted by the goroutine that deals with it.
type inbound struct {
	news    perSecond[struct{}]
	signals perSecond[protocol.UserID]
}

// outgoing is a frame or a signal for the peer.
type outgoing struct {
	lane   fed.Lane
	frame  fed.Frame
	signal *fed.Signal // instead of a frame: those that wait go together
}

// attendantOf is who attends to a link; nil once that has ended.
func (m *Manager) attendantOf(ctx context.Context, l *link) *attendant {
	o := &m.ops
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.attendants[l]; a != nil || ctx.Err() != nil {
		return a
	}
	a := &attendant{m: m, l: l, peer: l.peer, number: o.linked.Add(1), inbox: make(chan fed.Frame, roomFrames), out: make(chan outgoing, roomOut),
		fresh: make(chan struct{}, 1), work: make(chan struct{}, mostRequests),
		wanted: map[protocol.UserID]presence{}, moved: map[protocol.UserID]struct{}{}, waiting: map[uint64]chan<- fed.Answer{},
		remote: map[protocol.UserID]protocol.ClientType{}}
	a.rules.in, a.rules.out = l.record.In, l.record.Out
	if o.attendants == nil {
		o.attendants = map[*link]*attendant{}
	}
	o.attendants[l] = a
	return a
}

// attending are all attendants.
func (m *Manager) attending() []*attendant {
	m.ops.mu.Lock()
	defer m.ops.mu.Unlock()
	all := make([]*attendant, 0, len(m.ops.attendants))
	for _, a := range m.ops.attendants {
		all = append(all, a)
	}
	return all
}

// attend does what is not kept, as long as a link stands. When it ends, the peer's people are gone from the presence table [FED-EPH-1].
func (m *Manager) attend(ctx context.Context, l *link) {
	a := m.attendantOf(ctx, l)
	if a == nil {
		return
	}
	a.wg.Go(func() { a.receive(ctx) }) // ends with ctx
	if err := a.send(ctx); err != nil && ctx.Err() == nil {
		m.log.Debug("what is ephemeral can't be sent to a peer", "peer", l.peer.String(), "error", err)
	}
	<-ctx.Done()
	a.wg.Wait()
	a.end()
	m.ops.mu.Lock()
	delete(m.ops.attendants, l)
	m.ops.mu.Unlock()
}

// end takes the peer's people out of the presence table and lets those go who wait for answers.
func (a *attendant) end() {
	a.mu.Lock()
	a.ended = true
	for _, c := range a.waiting {
		close(c)
	}
	a.waiting = nil
	remote := a.remote
	a.remote = nil
	a.mu.Unlock()
	for u, client := range remote {
		a.m.cfg.Presence.Leave(u, a.conn(u))
		if !client.IsMobile() {
			a.announce(u)
		}
	}
}

// takeFrame takes a frame that is not about events. It never waits; an error ends the link.
func (m *Manager) takeFrame(ctx context.Context, l *link, f fed.Frame) error {
	switch f.Kind {
	case fed.KindAnswer, fed.KindInterest, fed.KindEphemeral, fed.KindRequest:
	default:
		return nil // of a newer version
	}
	a := m.attendantOf(ctx, l)
	if a == nil {
		return nil
	}
	if f.Kind == fed.KindAnswer {
		return a.answered(f)
	}
	select {
	case a.inbox <- f:
		return nil
	default:
	}
	if f.Kind == fed.KindInterest {
		return protocol.Errorf(protocol.CodeOverloaded, "the peer asks for more presence than can be looked at")
	}
	m.ops.dropped.add(dropInbox)
	return nil
}

// receive deals with what the peer sends.
func (a *attendant) receive(ctx context.Context) {
	for {
		select {
		case f := <-a.inbox:
			if err := a.take(ctx, f); err != nil && ctx.Err() == nil {
				a.m.log.Warn("a frame of a peer is passed over", "peer", a.peer.String(), "kind", f.Kind, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (a *attendant) take(ctx context.Context, f fed.Frame) error {
	switch f.Kind {
	case fed.KindInterest:
		var i fed.Interest
		if err := f.Into(&i); err != nil {
			return err
		}
		return a.interested(&i)
	case fed.KindEphemeral:
		var e fed.Ephemeral
		if err := f.Into(&e); err != nil {
			return err
		}
		if !a.rates.news.take(time.Now(), struct{}{}, len(e.Presence)+len(e.Signals), newsSecond) {
			a.m.ops.dropped.add(dropRate)
			return nil
		}
		if err := a.present(e.Presence); err != nil {
			return err
		}
		return a.signalled(e.Signals)
	case fed.KindRequest:
		var r fed.Request
		if err := f.Into(&r); err != nil {
			return err
		}
		a.serve(ctx, &r)
	default: // takeFrame lets no others in
	}
	return nil
}

// send tells the peer whom this side wants to know of, who of this side is there, and what waits in out. It ends with ctx or the link.
func (a *attendant) send(ctx context.Context) error {
	shown, err := a.show(ctx, 0, true)
	if err != nil {
		return err
	}
	t := time.NewTicker(a.m.cfg.Timing.Presence)
	defer t.Stop()
	for round := 1; ; {
		select {
		case o := <-a.out:
			err = a.write(o)
		case <-a.fresh:
			err = a.tell(false)
		case <-t.C:
			if shown, err = a.show(ctx, shown, false); err == nil {
				err = a.tell(round%fullEvery == 0)
			}
			round++
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// write sends what waits; signals that wait together go together.
func (a *attendant) write(o outgoing) error {
	var e fed.Ephemeral
	for size := 0; ; {
		if o.signal == nil {
			if err := a.flush(&e); err != nil {
				return err
			}
			if err := a.l.say(o.lane, o.frame); err != nil {
				return err
			}
		} else {
			e.Signals = append(e.Signals, *o.signal)
			if size += len(o.signal.Data); len(e.Signals) == roomOut || size >= mostFrame {
				return a.flush(&e)
			}
		}
		select {
		case o = <-a.out:
		default:
			return a.flush(&e)
		}
	}
}

func (a *attendant) flush(e *fed.Ephemeral) error {
	if len(e.Signals) == 0 {
		return nil
	}
	err := a.l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, *e))
	e.Signals = nil
	return err
}

// put hands something to the sender; false: there is too much already.
func (a *attendant) put(o outgoing) bool {
	select {
	case a.out <- o:
		return true
	default:
		return false
	}
}
