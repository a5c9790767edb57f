package federation

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Accept serves a connection of another cluster until it ends, and closes it [FED-TR-1].
func (m *Manager) Accept(ctx context.Context, w Wire, certs []*x509.Certificate) {
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := m.join()
	if t == nil && m.goodbye().Reason == fed.ReasonNotConfirmed { // its identity may be new
		t = m.awaitTerm(ctx)
	}
	if t == nil {
		part(w, m.goodbye())
		return
	}
	defer t.wg.Done()
	ended := context.AfterFunc(t.ctx, cancel)
	defer ended()
	closed := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer closed()
	if err := m.receive(ctx, t, w, certs); err != nil && ctx.Err() == nil {
		m.metrics.refused.Inc()
		m.log.Info("a connection of another cluster ended early", "remote", w.RemoteAddr().String(), "error", err)
	}
}

// join has the term wait for a connection that came in it; nil: no links are kept here.
func (m *Manager) join() *term {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.term == nil || m.term.closing.Load() {
		return nil
	}
	m.term.wg.Add(1)
	return m.term
}

// awaitTerm waits a moment for links to be kept here, and joins; nil: they are not.
func (m *Manager) awaitTerm(ctx context.Context) (t *term) {
	if own, err := m.readSelf(); own == nil || err != nil {
		return nil
	}
	m.poke()
	m.await(ctx, func() bool { t = m.join(); return t != nil })
	return t
}

// receive hears who it is, and serves the link.
func (m *Manager) receive(ctx context.Context, t *term, w Wire, certs []*x509.Certificate) error {
	cert, err := shownBy(certs)
	if err != nil {
		return err
	}
	own := t.self.Load()
	h, err := readHello(w, fed.Current(), cert.key)
	if errors.Is(err, errIntercepted) {
		part(w, fed.Goodbye{Reason: fed.ReasonIdentity, Text: err.Error()})
	}
	if err != nil {
		return err
	}
	record, err := m.readPeer(h.manifest.Cluster)
	if err != nil {
		return err
	}
	bye := h.check(own.cluster, record)
	if bye != nil && bye.Reason == fed.ReasonNotConfirmed {
		return m.hearIntroduction(ctx, own, w, h, record, *bye)
	}
	k := t.keeper(h.manifest.Cluster)
	if k == nil && bye == nil { // confirmed just now
		k = m.awaitKeeper(ctx, t, h.manifest.Cluster)
	}
	if k == nil && bye == nil {
		bye = &fed.Goodbye{Reason: fed.ReasonOverloaded, Text: "not ready yet"}
	}
	if bye == nil && record.DialOnly {
		bye = &fed.Goodbye{Reason: fed.ReasonElsewhere, Text: "this side dials, and takes no connections of yours"}
	}
	if bye != nil {
		part(w, *bye)
		return errors.New(bye.Text)
	}
	return m.welcome(k, own, w, h, cert)
}

// moment is how long is waited for what should be so any time.
const moment = 2 * time.Second

// awaitKeeper waits for the keeper of a peer; nil: there is none after a while.
func (m *Manager) awaitKeeper(ctx context.Context, t *term, peer fed.ClusterID) *keeper {
	m.poke()
	m.await(ctx, func() bool { return t.keeper(peer) != nil })
	return t.keeper(peer)
}

// await waits until something is so, a moment at most.
func (m *Manager) await(ctx context.Context, is func() bool) {
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	look := time.NewTicker(moment / 100)
	defer look.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// welcome says hello and serves the link.
func (m *Manager) welcome(k *keeper, own *self, w Wire, h *hello, cert shown) error {
	hi, err := m.helloFor(own, k.peer)
	if err != nil {
		return err
	}
	if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindHello, hi)); err != nil {
		return err
	}
	stood, err := k.serve(k.newLink(w, own, h, cert, false))
	if stood || errors.Is(err, errDuplicate) {
		return nil
	}
	k.blocked(err)
	return err
}

// helloFor is what this cluster says first to another one.
func (m *Manager) helloFor(own *self, peer fed.ClusterID) (fed.Hello, error) {
	h := fed.Hello{Manifest: own.identity.Manifest, Destination: peer, Versions: fed.Current(), Epoch: own.identity.Epoch, Time: protocol.TimeOf(time.Now()),
		Program: m.cfg.Program}
	lanes, err := m.cfg.State.FedLanes(peer)
	if err != nil {
		return h, err
	}
	for _, l := range lanes {
		h.PeerEpoch = max(h.PeerEpoch, l.EpochIn)
	}
	refused, err := m.refusals(peer, h.PeerEpoch) // later than the cursors: what they hold of it is among it
	if err != nil {
		return h, err
	}
	for _, l := range lanes {
		if l.EpochIn == h.PeerEpoch && l.In > 0 {
			c := fed.Cursor{Lane: l.Lane, Sequence: l.In}
			for at := range refused {
				if at.lane == l.Lane {
					c.Refused = max(c.Refused, at.seq)
				}
			}
			h.Cursors = append(h.Cursors, c)
		}
	}
	return h, nil
}

// slot is the place of an event in a lane of a peer's.
type slot struct {
	lane fed.Lane
	seq  uint64
}

// mostRefusals is how many refusals are told again: those of the events that a peer may have on its way in a lane, and as many again.
const mostRefusals = 2 * windowEvents

// refusals are the newest refusals of a peer's events in an epoch of its outbox: it may not have heard of them before the link broke.
func (m *Manager) refusals(peer fed.ClusterID, epoch uint64) (map[slot]*protocol.Refusal, error) {
	letters, err := m.cfg.State.DeadLetters(peer, mostRefusals)
	if err != nil {
		return nil, err
	}
	all := map[slot]*protocol.Refusal{}
	for _, d := range letters {
		if d.Inbound && d.Epoch == epoch {
			all[slot{d.Lane, d.Sequence}] = &protocol.Refusal{Sequence: d.Sequence, Code: d.Code, Text: d.Text}
		}
	}
	return all, nil
}

// readPeer is what the state has of a cluster; nil: nothing.
func (m *Manager) readPeer(id fed.ClusterID) (*fed.Peer, error) {
	peers, err := m.cfg.State.FedPeers()
	if err != nil {
		return nil, err
	}
	for i := range peers {
		if peers[i].Cluster == id {
			return &peers[i].Peer, nil
		}
	}
	return nil, nil
}

var errNotKnown = protocol.Errorf(protocol.CodeNotFound, "this cluster is not known here (any more)")

// putPeer writes what is kept of a cluster; after is the version that it follows.
func (m *Manager) putPeer(ctx context.Context, id fed.ClusterID, p *fed.Peer, after uint32, invitation [32]byte) error {
	_, err := m.cfg.State.Execute(ctx, &protocol.SetPeer{Cluster: id, Peer: encodeRecord(p), After: after, Invitation: invitation})
	return err
}

// partWait is how long a peer may take to hear goodbye.
const partWait = 2 * time.Second

// part says goodbye on a connection that is no link, and waits for the peer to close it: one that is closed at once may take the word with it.
func part(w Wire, g fed.Goodbye) {
	timer := time.AfterFunc(partWait, func() { _ = w.Close() })
	defer timer.Stop()
	if w.Write(fed.LaneControl, fed.NewFrame(fed.KindGoodbye, g)) != nil {
		return
	}
	for range maxParting {
		if _, err := w.Read(); err != nil {
			break
		}
	}
}

// maxParting bounds the frames that may come after goodbye.
const maxParting = 256
