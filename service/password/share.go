package password

import (
	"container/list"
	"slices"
	"time"
)

// A Proof stands for a password that was verified somewhere, as nodes tell each other: a keyed hash of the stored form and
// the secret, and how long it is good for.
type Proof struct {
	Sum  [32]byte
	Left time.Duration // more than 0; never prolonged by being told
}

// maxUntold bounds the proofs that wait to be told; those that find no room are verified again elsewhere.
const maxUntold = 4096

// outbox holds what was verified here and nobody else knows yet. It is shut, and drops all, until Share.
type outbox struct {
	open  bool
	wake  chan struct{} // holds something while there is something
	fresh []proof
	lost  int
}

func (o *outbox) put(p proof) {
	if !o.open {
		return
	}
	if len(o.fresh) >= maxUntold {
		o.lost++
		return
	}
	o.fresh = append(o.fresh, p)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Share has all proofs made under a key that other nodes have too, before the first password is checked; Learn takes those
// of others, Held and Fresh give this node's. The channel holds something when Fresh may have something; it is nil if
// nothing is remembered here. It is called once.
func (v *Verifier) Share(key []byte) <-chan struct{} {
	m := v.memory
	if m.limit <= 0 {
		return nil
	}
	m.useKey(slices.Clone(key))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outbox = outbox{open: true, wake: make(chan struct{}, 1)}
	return m.outbox.wake
}

// Fresh are the proofs of what was verified here since it was last asked, and how many more were forgotten because nobody asked.
func (v *Verifier) Fresh() (proofs []Proof, lost int) {
	m := v.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, p := range m.outbox.fresh {
		if e, ok := m.entries[p]; ok {
			proofs = appendGood(proofs, e, now)
		}
	}
	lost = m.outbox.lost
	m.outbox.fresh, m.outbox.lost = nil, 0
	return proofs, lost
}

// Held are all proofs that are good, here or elsewhere made, the last used first.
func (v *Verifier) Held() []Proof {
	m := v.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	proofs := make([]Proof, 0, len(m.entries))
	for e := m.order.Front(); e != nil; e = e.Next() {
		proofs = appendGood(proofs, e, now)
	}
	return proofs
}

func appendGood(proofs []Proof, e *list.Element, now time.Time) []Proof {
	r := e.Value.(*remembered) //nolint:forcetypeassert // the list holds nothing else
	if left := r.until.Sub(now); left > 0 {
		proofs = append(proofs, Proof{Sum: r.proof, Left: left})
	}
	return proofs
}

// Learn remembers proofs of another node and returns how many of them were new. Recent ones are remembered like those of this
// node; others, in the order of Held, only where there is room behind what is used here. None is good for longer than one of this node would be.
func (v *Verifier) Learn(proofs []Proof, recent bool) (learnt int) {
	m := v.memory
	if m.limit <= 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, p := range proofs {
		if p.Left <= 0 {
			continue
		}
		until := now.Add(min(p.Left, m.ttl))
		if e, ok := m.entries[p.Sum]; ok {
			r := e.Value.(*remembered) //nolint:forcetypeassert // the list holds nothing else
			if until.After(r.until) {
				r.until = until
			}
			continue
		}
		r := &remembered{proof: p.Sum, until: until}
		switch {
		case recent:
			for len(m.entries) >= m.limit {
				m.dropLocked(m.order.Back())
			}
			m.entries[p.Sum] = m.order.PushFront(r)
		case len(m.entries) < m.limit:
			m.entries[p.Sum] = m.order.PushBack(r)
		default:
			continue
		}
		learnt++
	}
	return learnt
}
