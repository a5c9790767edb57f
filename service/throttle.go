package service

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// throttle counts failed logins: by name and address, so that nobody can lock anybody else out, and more loosely by
// address, so that trying one password on many names gets nowhere [TT-LOGIN-6] [TT-DIFF-4].
type throttle struct {
	nameLimit int           // failures of a name from an address within the window after which it is refused
	addrLimit float64       // failures of an address that are forgiven over the window
	window    time.Duration // how long a failure counts
	now       func() time.Time
	seed      maphash.Seed

	mu    sync.Mutex // guards what follows
	names recentMap[nameKey, nameRecord]
	addrs recentMap[netip.Prefix, addrRecord]
}

// nameKey is a name as tried from an address. Names from the wire can be long; a hash of them is enough to count.
type nameKey struct {
	name uint64
	addr netip.Prefix
}

type nameRecord struct {
	failures []time.Time // within the window, oldest first
	pending  int         // attempts that are being checked: counted as failures until they are decided
}

// addrRecord is a bucket that leaks: level failures at the time at, less since then.
type addrRecord struct {
	level float64
	at    time.Time
}

// Bounds of the memory: who is not seen for longest is forgotten first.
const (
	maxThrottledNames = 50_000
	maxThrottledAddrs = 50_000
)

func newThrottle(nameLimit, addrLimit int, window time.Duration, now func() time.Time) *throttle {
	return &throttle{
		nameLimit: nameLimit, addrLimit: float64(addrLimit), window: window, now: now, seed: maphash.MakeSeed(),
		names: newRecentMap[nameKey, nameRecord](maxThrottledNames),
		addrs: newRecentMap[netip.Prefix, addrRecord](maxThrottledAddrs),
	}
}

// attempt is a login that was admitted and has to be decided: succeeded, failed or undecided, once.
type attempt struct {
	t   *throttle
	key nameKey
}

// admit says whether a login may be tried now.
func (t *throttle) admit(name string, addr netip.Addr) (attempt, bool) {
	key := nameKey{maphash.String(t.seed, name), network(addr)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.addressBlockedLocked(key.addr) {
		return attempt{}, false
	}
	r := t.names.findOrAdd(key)
	t.forgetLocked(r)
	if t.nameBlockedLocked(r) {
		return attempt{}, false
	}
	r.pending++
	return attempt{t, key}, true
}

// blocks reports whether admit would say no, and changes nothing but what is forgotten first.
func (t *throttle) blocks(name string, addr netip.Addr) bool {
	key := nameKey{maphash.String(t.seed, name), network(addr)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.addressBlockedLocked(key.addr) {
		return true
	}
	r, ok := t.names.find(key)
	if !ok {
		return false
	}
	t.forgetLocked(r)
	return t.nameBlockedLocked(r)
}

func (t *throttle) addressBlockedLocked(addr netip.Prefix) bool {
	a, ok := t.addrs.find(addr)
	return ok && t.levelLocked(a)+1 > t.addrLimit
}

func (t *throttle) nameBlockedLocked(r *nameRecord) bool {
	return len(r.failures)+r.pending > t.nameLimit
}

// failed counts the attempt.
func (a attempt) failed() {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.names.findOrAdd(a.key)
	r.pending = max(0, r.pending-1)
	r.failures = append(r.failures, t.now())
	addr := t.addrs.findOrAdd(a.key.addr)
	*addr = addrRecord{t.levelLocked(addr) + 1, t.now()}
}

// succeeded forgets the failures of the name from that address.
func (a attempt) succeeded() { a.settle(true) }

// undecided leaves everything as it was before the attempt.
func (a attempt) undecided() { a.settle(false) }

func (a attempt) settle(forget bool) {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.names.find(a.key)
	if !ok {
		return
	}
	r.pending = max(0, r.pending-1)
	if forget {
		r.failures = nil
	}
	if r.pending == 0 && len(r.failures) == 0 {
		t.names.remove(a.key)
	}
}

// forgetLocked drops the failures that are too old to count.
func (t *throttle) forgetLocked(r *nameRecord) {
	oldest := t.now().Add(-t.window)
	r.failures = slices.DeleteFunc(r.failures, func(at time.Time) bool { return !at.After(oldest) })
}

func (t *throttle) levelLocked(r *addrRecord) float64 {
	leaked := t.addrLimit * float64(t.now().Sub(r.at)) / float64(t.window)
	return max(0, r.level-leaked)
}

// network is whom an address stands for: of IPv6, one customer has 2^64 of them.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: a connection that is none of IP
	}
	return p
}

// recentMap is a map of bounded size that forgets what was not used for longest.
type recentMap[K comparable, V any] struct {
	limit   int
	entries map[K]*list.Element
	order   *list.List // of *recentEntry[K, V], most recently used first
}

type recentEntry[K comparable, V any] struct {
	key   K
	value V
}

func newRecentMap[K comparable, V any](limit int) recentMap[K, V] {
	return recentMap[K, V]{limit: limit, entries: make(map[K]*list.Element), order: list.New()}
}

func (m *recentMap[K, V]) find(k K) (*V, bool) {
	e, ok := m.entries[k]
	if !ok {
		return nil, false
	}
	m.order.MoveToFront(e)
	return &e.Value.(*recentEntry[K, V]).value, true //nolint:forcetypeassert // the list holds nothing else
}

func (m *recentMap[K, V]) findOrAdd(k K) *V {
	if v, ok := m.find(k); ok {
		return v
	}
	if len(m.entries) >= m.limit {
		m.remove(m.order.Back().Value.(*recentEntry[K, V]).key) //nolint:forcetypeassert // the list holds nothing else
	}
	entry := &recentEntry[K, V]{key: k}
	m.entries[k] = m.order.PushFront(entry)
	return &entry.value
}

func (m *recentMap[K, V]) remove(k K) {
	if e, ok := m.entries[k]; ok {
		m.order.Remove(e)
		delete(m.entries, k)
	}
}
