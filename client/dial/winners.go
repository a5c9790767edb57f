package dial

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// remembered is how long a winner is tried first [TT-SESS-23].
	remembered = time.Hour
	// maxNetworks bounds what is remembered in memory.
	maxNetworks = 64
)

// Winners remembers by which transport a network was left last. It may be called by several goroutines. What it can't load or store it forgets.
type Winners interface {
	// Load returns what was stored for a network, and when; "" for nothing.
	Load(network string) (Transport, time.Time)
	Store(network string, t Transport, at time.Time)
}

// memory is Winners without a disk.
type memory struct {
	mu   sync.Mutex // guards what follows
	won  map[string]victory
	keys []string // oldest first
}

type victory struct {
	by Transport
	at time.Time
}

// NewWinners remembers in memory, the last 64 networks.
func NewWinners() Winners { return &memory{won: make(map[string]victory)} }

func (m *memory) Load(network string) (Transport, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.won[network]
	return v.by, v.at
}

func (m *memory) Store(network string, t Transport, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(slices.DeleteFunc(m.keys, func(k string) bool { return k == network }), network)
	if len(m.keys) > maxNetworks {
		delete(m.won, m.keys[0])
		m.keys = m.keys[1:]
	}
	m.won[network] = victory{by: t, at: at}
}

// winner is what is worth trying first on this network; "" for nothing.
func (d *Dialer) winner() Transport {
	t, at := d.opts.Winners.Load(d.opts.NetworkKey())
	if age := time.Since(at); t.rank() < 0 || age < 0 || age >= remembered {
		return ""
	}
	return t
}

// Remember makes the transport of a route the first to be tried on this network for an hour [TT-SESS-23], and keeps the route among those to be tried,
// whatever the next Prefer names [TT-SESS-25]. It is called when the route has proved to lead to a server, which an open connection does not. A plain
// route's transport is not remembered, for it never goes before an encrypted one.
func (d *Dialer) Remember(r Route) {
	d.mu.Lock()
	d.worked = append([]Route{r}, slices.DeleteFunc(slices.Clone(d.worked), r.same)...)
	d.worked = d.worked[:min(len(d.worked), mostWorked)]
	d.mu.Unlock()
	if !r.Plain {
		d.opts.Winners.Store(d.opts.NetworkKey(), r.Transport, time.Now())
	}
}

// networkKey names the network that the machine is on: a hash of the subnets that its default routes leave from, or of all it has. Two networks with
// the same private subnet look alike; then what is remembered of the wrong one costs a few hundred milliseconds.
func networkKey() string {
	subnets := interfaceSubnets()
	var parts []string
	for _, probe := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // addresses of nobody; connecting a UDP socket sends nothing
		if from, ok := sourceOf(probe); ok {
			parts = append(parts, subnetOf(from, subnets))
		}
	}
	if len(parts) == 0 {
		for _, s := range subnets {
			parts = append(parts, s.Masked().String())
		}
		slices.Sort(parts)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, " ")))
	return hex.EncodeToString(sum[:8])
}

// sourceOf is the local address that packets to address leave from.
func sourceOf(address string) (netip.Addr, bool) {
	c, err := net.Dial("udp", address) //nolint:noctx // it sends nothing and so waits for nothing
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	a, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return a.AddrPort().Addr().Unmap(), true
}

func subnetOf(a netip.Addr, subnets []netip.Prefix) string {
	for _, s := range subnets {
		if s.Addr() == a {
			return s.Masked().String()
		}
	}
	return a.String()
}

// interfaceSubnets are the addresses of the machine with their prefix lengths, without those that say nothing about the network.
func interfaceSubnets() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := p.Addr().Unmap(); ip.IsGlobalUnicast() {
			out = append(out, netip.PrefixFrom(ip, min(p.Bits(), ip.BitLen())))
		}
	}
	return out
}
