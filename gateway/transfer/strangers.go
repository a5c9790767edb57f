package transfer

import (
	"net/netip"
	"sync"

	"teamtalk/gateway/transport"
)

// strangers counts the connections that have not logged in, so that nobody fills the port with them [TT-FILE-7].
type strangers struct {
	most, perAddress int

	mu     sync.Mutex // guards what follows
	all    int
	places map[netip.Prefix]int
}

// enter counts one more; false: there are too many.
func (s *strangers) enter(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := transport.PlaceOf(a)
	if s.all >= s.most || s.places[place] >= s.perAddress {
		return false
	}
	s.all++
	s.places[place]++
	return true
}

// leave takes back what enter counted.
func (s *strangers) leave(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := transport.PlaceOf(a)
	s.all--
	if s.places[place]--; s.places[place] == 0 {
		delete(s.places, place)
	}
}
