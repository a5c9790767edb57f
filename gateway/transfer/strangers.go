package transfer

import (
	"net/netip"
	"sync"
)

// strangers counts the connections that have not logged in, so that nobody fills the port with them [TT-FILE-7].
type strangers struct {
	most, perAddress int

	mu        sync.Mutex // guards what follows
	all       int
	addresses map[netip.Addr]int
}

// placeOf is what connections are counted by: of IPv6 the network of 64 bits, in which one machine may have any number of addresses.
func placeOf(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); !a.Is6() {
		return a
	}
	network, _ := a.Prefix(64) // always so many
	return network.Addr()
}

// enter counts one more; false: there are too many.
func (s *strangers) enter(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a = placeOf(a)
	if s.all >= s.most || s.addresses[a] >= s.perAddress {
		return false
	}
	s.all++
	s.addresses[a]++
	return true
}

// leave takes back what enter counted.
func (s *strangers) leave(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a = placeOf(a)
	s.all--
	if s.addresses[a]--; s.addresses[a] == 0 {
		delete(s.addresses, a)
	}
}
