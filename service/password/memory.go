package password

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"sync/atomic"
	"time"
)

// proof stands for one verified (stored form, secret): a keyed hash of both. The key is of this process, or the cluster's
// (Share): a proof alone is of no use. A changed password has another stored form and is forgotten by itself, everywhere.
type proof [sha256.Size]byte

// memory remembers proofs: a bounded number, least recently used first out, each for a limited time.
type memory struct {
	limit int
	ttl   time.Duration
	now   func() time.Time
	macs  atomic.Pointer[sync.Pool] // of hash.Hash, keyed

	mu      sync.Mutex // guards what follows
	entries map[proof]*list.Element
	order   *list.List // of remembered, most recently used first
	outbox  outbox
}

type remembered struct {
	proof proof
	until time.Time
}

func newMemory(limit int, ttl time.Duration, now func() time.Time) *memory {
	key := make([]byte, sha256.BlockSize)
	rand.Read(key) // never fails
	m := &memory{limit: limit, ttl: ttl, now: now, entries: make(map[proof]*list.Element), order: list.New()}
	m.useKey(key)
	return m
}

// useKey has proofs made under another key from now on; those made before are found no more.
func (m *memory) useKey(key []byte) {
	m.macs.Store(&sync.Pool{New: func() any { return hmac.New(sha256.New, key) }})
}

// prove makes the proof of a stored form and a canonical secret.
func (m *memory) prove(stored, secret string) proof {
	macs := m.macs.Load()
	mac := macs.Get().(hash.Hash) //nolint:forcetypeassert // the pool holds nothing else
	defer macs.Put(mac)
	mac.Reset()
	buf := make([]byte, 0, 256)
	buf = binary.AppendUvarint(buf, uint64(len(stored)))
	buf = append(buf, stored...)
	buf = append(buf, secret...)
	mac.Write(buf)
	var p proof
	mac.Sum(p[:0])
	return p
}

// holds reports whether p was remembered and has not expired.
func (m *memory) holds(p proof) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[p]
	if !ok {
		return false
	}
	if !m.now().Before(e.Value.(*remembered).until) { //nolint:forcetypeassert // the list holds nothing else
		m.dropLocked(e)
		return false
	}
	m.order.MoveToFront(e)
	return true
}

// add remembers p from now on for the whole time to live; it was verified here, which others may want to know.
func (m *memory) add(p proof) {
	if m.limit <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outbox.put(p)
	until := m.now().Add(m.ttl)
	if e, ok := m.entries[p]; ok {
		e.Value.(*remembered).until = until //nolint:forcetypeassert // the list holds nothing else
		m.order.MoveToFront(e)
		return
	}
	for len(m.entries) >= m.limit {
		m.dropLocked(m.order.Back())
	}
	m.entries[p] = m.order.PushFront(&remembered{proof: p, until: until})
}

// size is the number of proofs held.
func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

func (m *memory) dropLocked(e *list.Element) {
	m.order.Remove(e)
	delete(m.entries, e.Value.(*remembered).proof) //nolint:forcetypeassert // the list holds nothing else
}
