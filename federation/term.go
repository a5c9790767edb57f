package federation

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// self is this cluster as it shows itself, as of some moment.
type self struct {
	cluster  fed.ClusterID
	identity fed.Identity
	manifest fed.Manifest
	signer   fed.Signer
	keys     fed.Keys
}

func selfOf(id *fed.Identity) (*self, error) {
	manifest, err := id.Manifest.Open()
	if err != nil {
		return nil, err
	}
	signer := id.Signer(manifest.Cluster)
	if signer == nil {
		return nil, protocol.Errorf(protocol.CodeInternal, "this cluster's identity has no active key")
	}
	return &self{cluster: manifest.Cluster, identity: *id, manifest: manifest, signer: *signer, keys: manifest.LinkKeys()}, nil
}

// opened is a manifest that was checked.
type opened struct {
	signed   fed.SignedManifest
	manifest fed.Manifest
}

// open reads a cluster's manifest, checking the signature of each once. looking is held.
func (m *Manager) open(c fed.ClusterID, s *fed.SignedManifest) (*fed.Manifest, error) {
	known, ok := m.opened[c]
	if ok && known.signed.Signature == s.Signature && bytes.Equal(known.signed.Manifest, s.Manifest) {
		return &known.manifest, nil
	}
	manifest, err := s.Open()
	if err != nil {
		return nil, err
	}
	m.opened[c] = opened{*s, manifest}
	m.seen.learned = true
	return &manifest, nil
}

// readSelf is this cluster now; nil: it has no identity.
func (m *Manager) readSelf() (*self, error) {
	id, err := m.cfg.State.FedIdentity()
	if err != nil || id == nil {
		return nil, err
	}
	return selfOf(id)
}

// selfNow is readSelf, from what is known already if it is the same.
func (m *Manager) selfNow() (*self, error) {
	id, err := m.cfg.State.FedIdentity()
	if err != nil || id == nil {
		return nil, err
	}
	if t := m.current(); t != nil {
		if known := t.self.Load(); known.identity.Manifest.Signature == id.Manifest.Signature && bytes.Equal(known.identity.Manifest.Manifest, id.Manifest.Manifest) {
			return known, nil // the identity changes with its serial
		}
	}
	return selfOf(id)
}

// A term is a time in which this node leads and keeps links as the same self. New keys or a new epoch begin another one.
type term struct {
	self    atomic.Pointer[self]
	keys    atomic.Pointer[map[fed.ClusterID]fed.Keys] // of all clusters that are known
	closing atomic.Bool

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup // of keepers and of connections that were accepted

	mu      sync.Mutex // guards keepers
	keepers map[fed.ClusterID]*keeper
}

func (t *term) keeper(peer fed.ClusterID) *keeper {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keepers[peer]
}

func (t *term) all() []*keeper {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.keepers))
}

// seen is what was looked at last.
type seen struct {
	head protocol.Cursor
	at   time.Time
	why  fed.Reason // that was logged
	// learned: a manifest is new, and what could not be checked may be now.
	learned bool
}

// rest is how long the state is taken for unchanged if the log's end has not moved: what was committed may have been applied since.
const rest = 5 * time.Second

// look compares what links there are with what the state wants, and mends it. now: whatever was seen last.
func (m *Manager) look(now bool) {
	m.looking <- struct{}{}
	defer func() { <-m.looking }()
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return
	}
	head, isLeader := m.cfg.State.Head()
	if !isLeader {
		m.seen = seen{}
		m.resign(notLeading())
		return
	}
	quiet := head == m.seen.head && time.Since(m.seen.at) < rest
	if quiet && !now {
		return
	}
	if head != m.seen.head { // what is at the end may not be applied yet: the next look is to see it
		m.seen.at = time.Time{}
	} else {
		m.seen.at = time.Now()
	}
	m.seen.head = head
	if err := m.compare(); err != nil && m.ctx.Err() == nil {
		m.seen.head = 0
		m.log.Warn("links with other clusters are not looked after", "error", err)
	}
}

func (m *Manager) compare() error {
	self, err := m.selfNow()
	if err != nil {
		return err
	}
	if self == nil {
		m.resign(fed.Goodbye{Reason: fed.ReasonNotConfirmed, Text: "this cluster knows no others"})
		return nil
	}
	cluster, err := m.cfg.State.Cluster()
	if err != nil {
		return err
	}
	if cluster.History != self.identity.History { // [FED-EP-1]
		m.resign(fed.Goodbye{Reason: fed.ReasonStateLost, Text: "this cluster was restored from a backup, and nobody has said yet that the former one is gone"})
		return nil
	}
	peers, err := m.cfg.State.FedPeers()
	if err != nil {
		return err
	}
	t := m.current()
	if t != nil {
		now := t.self.Load()
		if now.identity.Epoch != self.identity.Epoch || !now.signer.Key.Equal(self.signer.Key) {
			m.resign(fed.Goodbye{Reason: fed.ReasonMoved, Text: "this cluster has a new key, or began anew: connect again"})
			t = nil
		}
	}
	if t == nil {
		if t, err = m.lead(self); err != nil {
			return err
		}
	}
	m.follows(t, self, peers)
	return nil
}

// barrierWait is how long a new leader waits for its own state to have everything.
const barrierWait = 5 * time.Second

// lead begins a term. Before anything else all that is committed has to be applied here, or cursors would seem to lie behind what peers have.
func (m *Manager) lead(self *self) (*term, error) {
	ctx, cancel := context.WithTimeout(m.ctx, barrierWait)
	defer cancel()
	if _, err := m.cfg.State.Execute(ctx, &protocol.SweepFederation{}); err != nil {
		return nil, err
	}
	t := &term{keepers: map[fed.ClusterID]*keeper{}}
	t.ctx, t.stop = context.WithCancel(m.ctx)
	t.self.Store(self)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.term = t
	return t, nil
}

// resign ends all links and says why to their peers, and to who connects from now on [FED-TR-3].
func (m *Manager) resign(why fed.Goodbye) {
	m.mu.Lock()
	t := m.term
	m.term, m.why = nil, why
	m.mu.Unlock()
	if why.Reason == fed.ReasonStateLost && m.seen.why != why.Reason {
		m.log.Error("links with other clusters stay down: `teamtalkd federation resume --restored` once the former cluster is gone for good", "reason", why.Text)
	}
	m.seen.why = why.Reason
	if t == nil {
		return
	}
	if why.Reason == fed.ReasonElsewhere {
		why = fed.Goodbye{Reason: fed.ReasonMoved, Text: "this node does not lead any more"}
	}
	t.closing.Store(true)
	for _, k := range t.all() {
		if l := k.standing(); l != nil {
			l.end(why)
		}
	}
	for _, k := range t.all() {
		if l := k.standing(); l != nil {
			<-l.done
		}
	}
	t.stop()
	t.wg.Wait()
}

// follows has keepers for the peers that are confirmed, and for no others, each with the newest of its peer's record.
func (m *Manager) follows(t *term, now *self, peers []fed.PeerStatus) {
	former := t.self.Swap(now)
	keys := make(map[fed.ClusterID]fed.Keys, len(peers)+1)
	confirmed := map[fed.ClusterID]*fed.Peer{}
	for i := range peers {
		p := &peers[i]
		manifest, err := m.open(p.Cluster, &p.Peer.Manifest)
		if err != nil {
			m.log.Error("what is kept of a cluster can't be read", "cluster", p.Cluster.String(), "error", err)
			continue
		}
		keys[p.Cluster] = manifest.LinkKeys()
		if p.Peer.State != fed.PeerConfirmed {
			continue
		}
		confirmed[p.Cluster] = &p.Peer
		if k := t.keeper(p.Cluster); k != nil {
			k.update(&p.Peer, manifest)
			continue
		}
		m.keep(t, p.Cluster, &p.Peer, manifest)
	}
	keys[now.cluster] = now.keys
	t.keys.Store(&keys)
	if m.seen.learned {
		m.seen.learned = false
		for _, l := range m.links() {
			wake(l.asks.gaps)
		}
	}
	for _, k := range t.all() {
		if confirmed[k.peer] == nil {
			m.dismiss(t, k, peers)
		}
	}
	if former.manifest.Serial != now.manifest.Serial {
		for _, k := range t.all() {
			if l := k.standing(); l != nil {
				l.tellManifest(now.identity.Manifest)
			}
			k.hurry() // there may be a version in common now
		}
	}
}

// dismiss ends a link that the state does not want any more.
func (m *Manager) dismiss(t *term, k *keeper, peers []fed.PeerStatus) {
	why := fed.Goodbye{Reason: fed.ReasonNotConfirmed, Text: "the link was removed at this side"}
	for i := range peers {
		if peers[i].Cluster == k.peer && peers[i].Peer.State == fed.PeerPaused {
			why = fed.Goodbye{Reason: fed.ReasonPaused, Text: "the link is paused at this side"}
		}
	}
	t.mu.Lock()
	delete(t.keepers, k.peer)
	t.mu.Unlock()
	k.dismiss(why)
}
