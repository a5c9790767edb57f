package transfer

import (
	"net/netip"
	"testing"
)

// [TT-FILE-7]: whoever has a network of IPv6 addresses is one.
func TestStrangersOfANetwork(t *testing.T) {
	s := strangers{most: 100, perAddress: 2, places: map[netip.Prefix]int{}}
	for from, want := range map[string][]bool{
		"one": {true, true, false}, "two": {true},
	} {
		at := map[string][]string{"one": {"2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"}, "two": {"2001:db8:0:1::1"}}[from]
		for i, a := range at {
			if got := s.enter(netip.MustParseAddr(a)); got != want[i] {
				t.Errorf("%s: %v", a, got)
			}
		}
	}
	s.leave(netip.MustParseAddr("2001:db8::2"))
	if !s.enter(netip.MustParseAddr("2001:db8::4")) {
		t.Error("no place after one has left")
	}
}
