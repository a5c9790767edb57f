package simnet

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// biggestPacket is the largest UDP payload.
const biggestPacket = 65_535

// UDPRelay passes datagrams between clients and one server as a link lets them.
type UDPRelay struct {
	link   *Link
	front  *net.UDPConn
	target *net.UDPAddr
	up     *Packets
	down   *Packets
	cancel context.CancelFunc
	joined sync.WaitGroup

	mu    sync.Mutex // guards all below
	flows map[netip.AddrPort]*udpFlow
	ended bool
}

// A udpFlow is what a NAT remembers of a client.
type udpFlow struct {
	client netip.AddrPort
	back   *net.UDPConn // nil once the flow was cut
}

// RelayUDP listens on a loopback port for datagrams to a server's address.
func RelayUDP(l *Link, target string) (*UDPRelay, error) {
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		return nil, err
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &UDPRelay{link: l, front: front, target: to, up: NewPackets(l, Up), down: NewPackets(l, Down), cancel: cancel, flows: map[netip.AddrPort]*udpFlow{}}
	r.joined.Go(func() { r.up.Run(ctx) })   // ends by Close
	r.joined.Go(func() { r.down.Run(ctx) }) // ends by Close
	r.joined.Go(r.readFront)                // ends when Close closes the port
	return r, nil
}

// Addr is the address clients send to.
func (r *UDPRelay) Addr() string { return r.front.LocalAddr().String() }

func (r *UDPRelay) readFront() {
	buf := make([]byte, biggestPacket)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.up.Send(append([]byte(nil), buf[:n]...), func(b []byte) {
			if back := r.backOf(from); back != nil {
				_, _ = back.Write(b) // a refusal is a lost packet
			}
		})
	}
}

// backOf is the socket towards the server of a client; nil if his flow was cut.
func (r *UDPRelay) backOf(client netip.AddrPort) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flows[client]
	if f == nil && !r.ended {
		f = &udpFlow{client: client}
		r.flows[client] = f
		r.openLocked(f)
	}
	if f == nil {
		return nil
	}
	return f.back
}

func (r *UDPRelay) openLocked(f *udpFlow) {
	back, err := net.DialUDP("udp", nil, r.target)
	if err != nil {
		return // no socket is a path that loses everything
	}
	f.back = back
	r.joined.Go(func() { r.readBack(f.client, back) }) // ends when the socket is closed
}

func (r *UDPRelay) readBack(client netip.AddrPort, back *net.UDPConn) {
	buf := make([]byte, biggestPacket)
	for {
		n, err := back.Read(buf)
		if err != nil {
			if r.uses(client, back) {
				continue // the server's port was closed for a moment
			}
			return
		}
		r.down.Send(append([]byte(nil), buf[:n]...), func(b []byte) {
			_, _ = r.front.WriteToUDPAddrPort(b, client) // a refusal is a lost packet
		})
	}
}

func (r *UDPRelay) uses(client netip.AddrPort, back *net.UDPConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flows[client]
	return !r.ended && f != nil && f.back == back
}

// Cut lets nothing of the clients pass any more that have sent something so far; who sends from a new port gets through. It returns how
// many there were.
func (r *UDPRelay) Cut() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, f := range r.flows {
		if f.back != nil {
			_ = f.back.Close() // nothing is left to lose
			f.back = nil
			n++
		}
	}
	return n
}

// Rebind gives every client another address on the server's side, as a NAT does that has forgotten them. It returns how many there were.
func (r *UDPRelay) Rebind() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, f := range r.flows {
		if f.back != nil && !r.ended {
			_ = f.back.Close() // what was on its way there is lost
			f.back = nil
			r.openLocked(f)
			n++
		}
	}
	return n
}

// Close ends the relay and waits for its goroutines.
func (r *UDPRelay) Close() error {
	r.mu.Lock()
	r.ended = true
	for _, f := range r.flows {
		if f.back != nil {
			_ = f.back.Close() // nothing is left to lose
		}
	}
	r.mu.Unlock()
	err := r.front.Close()
	r.cancel()
	r.joined.Wait()
	return err
}
