package msfs

import (
	"net/netip"
	"strconv"
	"sync"

	"teamtalk/protocol"
)

// gate bounds the transfers that are under way, in all and of one client, which is a user or an address.
type gate struct {
	most, each int

	mu  sync.Mutex // guards what follows
	all int
	of  map[string]int
}

func (g *gate) init(most, each int) { g.most, g.each, g.of = most, each, make(map[string]int) }

// enter lets a transfer begin, or says why not; leave has to be called then.
func (g *gate) enter(client string) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most || g.of[client] >= g.each {
		return nil, protocol.Errorf(protocol.CodeRateLimited, "too many transfers at once: wait for some to end")
	}
	g.all++
	g.of[client]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all--
		if g.of[client]--; g.of[client] == 0 {
			delete(g.of, client)
		}
	}, nil
}

func userKey(u protocol.UserID) string { return strconv.FormatUint(uint64(u), 10) }

// addressKey is one client for IPv6 what has the first half in common, as a subscriber's machines do.
func addressKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
