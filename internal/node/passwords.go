package node

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
	"teamtalk/service/password"
)

// passwords tells the other nodes which passwords were verified here, as keyed hashes, and learns theirs: whoever has to log in again
// because a node is gone does not cost another one the hash again. It is all in memory, here and there.
type passwords struct {
	verifier *password.Verifier
	mesh     func() *peers.Mesh
	wake     chan struct{} // holds something while owed does
	stats    *prometheus.CounterVec

	mu   sync.Mutex               // guards owed
	owed map[protocol.NodeID]bool // nodes that have come and were not told yet what is known here
}

const (
	// proofsEvery lets what is verified at once travel at once.
	proofsEvery = 100 * time.Millisecond
	// proofsMost keeps a message within one slot of a lane: nothing else has to wait behind it.
	proofsMost  = 400
	proofsWait  = 5 * time.Second
	proofBytes  = 32 + 4
	proofsHead  = 2
	proofsForm  = 1 // version of what is sent
	proofsFresh = 1 // verified a moment ago
	proofsKnown = 2 // all that is remembered, the last used first
)

func newPasswords(v *password.Verifier, mesh func() *peers.Mesh, r prometheus.Registerer) *passwords {
	p := &passwords{verifier: v, mesh: mesh, wake: make(chan struct{}, 1), owed: map[protocol.NodeID]bool{},
		stats: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_password_proofs_total",
			Help: "Proofs of verified passwords between nodes: sent, learnt (new here), known (before), unsent (a link was down or busy) and lost (too many at once)."}, []string{"what"})}
	if r != nil {
		r.MustRegister(p.stats)
	}
	return p
}

// link notes that a node has come, which knows nothing of what is known here, or went.
func (p *passwords) link(peer protocol.NodeID, up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !up {
		delete(p.owed, peer)
		return
	}
	p.owed[peer] = true
	p.poke()
}

func (p *passwords) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next is a node that is owed what is known here.
func (p *passwords) next() (peer protocol.NodeID, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for peer = range p.owed {
		delete(p.owed, peer)
		return peer, true
	}
	return "", false
}

// run tells the others until ctx ends; fresh says when there is something new.
func (p *passwords) run(ctx context.Context, fresh <-chan struct{}) error {
	var comers sync.WaitGroup
	defer comers.Wait()
	comers.Go(func() { p.tellComers(ctx) }) // ends with ctx
	pause := time.NewTicker(proofsEvery)
	defer pause.Stop()
	for {
		select {
		case <-fresh:
			p.tellFresh()
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tellFresh tells all nodes that are there what was verified here. Whoever misses it hashes once more.
func (p *passwords) tellFresh() {
	proofs, lost := p.verifier.Fresh()
	p.stats.WithLabelValues("lost").Add(float64(lost))
	mesh := p.mesh()
	if mesh == nil {
		return // it is starting, and whoever comes is told all; or leaving
	}
	nodes := len(mesh.Peers())
	for page := range slices.Chunk(proofs, proofsMost) {
		missed := len(mesh.Broadcast(methodProofs, encodeProofs(proofsFresh, page)))
		p.stats.WithLabelValues("unsent").Add(float64(missed * len(page)))
		p.stats.WithLabelValues("sent").Add(float64(max(0, nodes-missed) * len(page)))
	}
}

// tellComers tells nodes that have come all that is known, one node and one page after the other so that it is in nobody's way.
func (p *passwords) tellComers(ctx context.Context) {
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		for peer, ok := p.next(); ok && ctx.Err() == nil; peer, ok = p.next() {
			p.tellAll(ctx, peer)
		}
	}
}

// tellAll ends early when the node does not take it: when it comes again it gets all again.
func (p *passwords) tellAll(ctx context.Context, peer protocol.NodeID) {
	for page := range slices.Chunk(p.verifier.Held(), proofsMost) {
		mesh := p.mesh()
		if mesh == nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, proofsWait)
		_, err := mesh.Call(ctx, peer, peers.LaneControl, methodProofs, encodeProofs(proofsKnown, page))
		cancel()
		if err != nil {
			p.stats.WithLabelValues("unsent").Add(float64(len(page)))
			return
		}
		p.stats.WithLabelValues("sent").Add(float64(len(page)))
	}
}

// receive is the other side of both.
func (p *passwords) receive(payload []byte) error {
	what, proofs, err := decodeProofs(payload)
	if err != nil {
		return err
	}
	learnt := p.verifier.Learn(proofs, what == proofsFresh)
	p.stats.WithLabelValues("learnt").Add(float64(learnt))
	p.stats.WithLabelValues("known").Add(float64(len(proofs) - learnt))
	return nil
}

// encodeProofs writes version, kind, and for each proof its bytes and for how many seconds it is good.
func encodeProofs(what byte, proofs []password.Proof) []byte {
	b := append(make([]byte, 0, proofsHead+len(proofs)*proofBytes), proofsForm, what)
	for _, p := range proofs {
		b = append(b, p.Sum[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(min(p.Left/time.Second, 1<<31)))
	}
	return b
}

func decodeProofs(b []byte) (what byte, proofs []password.Proof, err error) {
	if len(b) < proofsHead || b[0] != proofsForm || (len(b)-proofsHead)%proofBytes != 0 || len(b) > proofsHead+proofsMost*proofBytes {
		return 0, nil, protocol.Errorf(protocol.CodeInvalid, "proofs of passwords in %d bytes can't be read", len(b))
	}
	proofs = make([]password.Proof, 0, len(b)/proofBytes)
	for rest := b[proofsHead:]; len(rest) > 0; rest = rest[proofBytes:] {
		proofs = append(proofs, password.Proof{Sum: [32]byte(rest), Left: time.Duration(binary.BigEndian.Uint32(rest[32:])) * time.Second})
	}
	return b[1], proofs, nil
}

// sharePasswords begins to exchange proofs: the cluster has its secrets, one of which their key comes from.
func (n *Node) sharePasswords(context.Context) error {
	p := n.peering.passwords
	if n.peering.port == nil {
		return nil
	}
	key, err := n.clusterKey("verified passwords")
	if err != nil {
		return err
	}
	if fresh := p.verifier.Share(key); fresh != nil {
		n.background("proofs of verified passwords", func(ctx context.Context) error { return p.run(ctx, fresh) })
	}
	return nil
}
