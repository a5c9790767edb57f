package transport

import "net/netip"

// prefixIPv6 is what a subscriber usually has to himself.
const prefixIPv6 = 64

// PlaceOf is what counts as one place when clients are counted by where they come from: an address, of IPv6 the network of 64 bits, in which one
// machine may have any number of addresses. The zero Prefix for the zero Addr.
func PlaceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = prefixIPv6
	}
	place, _ := a.Prefix(bits) // fails only for the zero Addr
	return place
}
