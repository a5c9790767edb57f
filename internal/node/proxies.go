package node

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of reverse proxies that are trusted to say whom they speak for.
type Proxies []netip.Prefix

// String is the form in which they are configured.
func (p Proxies) String() string {
	texts := make([]string, len(p))
	for i, network := range p {
		texts[i] = network.String()
		if network.IsSingleIP() {
			texts[i] = network.Addr().String()
		}
	}
	return strings.Join(texts, ",")
}

func (p Proxies) contain(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// trusted is contain, or nil if there are none: then nobody has to be looked at.
func (p Proxies) trusted() func(netip.Addr) bool {
	if len(p) == 0 {
		return nil
	}
	return p.contain
}

// Client is the address a request comes from. A trusted proxy appends whom it was asked by to X-Forwarded-For: so the header is read from its end,
// and only as long as the one who wrote an entry is trusted. What a client put there itself counts for nothing. The port is 0 for a client
// behind a proxy, and the address invalid if a trusted proxy says nothing sensible.
func (p Proxies) Client(r *http.Request) netip.AddrPort {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !p.contain(remote.Addr()) {
		return remote
	}
	entries := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, entry := range slices.Backward(entries) {
		entry = strings.TrimSpace(entry)
		if entry == "" && len(entries) == 1 {
			return remote // nobody was forwarded: the proxy itself asks
		}
		a, err := netip.ParseAddr(entry)
		if err != nil {
			return netip.AddrPort{}
		}
		remote = netip.AddrPortFrom(a.Unmap(), 0)
		if !p.contain(remote.Addr()) {
			return remote
		}
	}
	return remote
}
