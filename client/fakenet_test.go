package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// fakeNet is a Dialer whose connections lead to a fakeServer.
type fakeNet struct {
	server *fakeServer

	mu         sync.Mutex // guards the rest
	routes     []dial.Route
	down       map[dial.Transport]bool // connecting fails
	races      []time.Time             // when each began
	avoided    []dial.Route
	better     []time.Time // when Better was asked
	remembered []dial.Transport
	preferred  []string
	closed     bool
}

func newFakeNet(s *fakeServer, transports ...dial.Transport) *fakeNet {
	n := &fakeNet{server: s, down: make(map[dial.Transport]bool)}
	if len(transports) == 0 {
		transports = []dial.Transport{dial.TLS}
	}
	for _, t := range transports {
		n.routes = append(n.routes, dial.Route{Transport: t, URL: string(t) + "://fake:1", Plain: t == dial.TCP})
	}
	return n
}

func (n *fakeNet) setDown(down bool, list ...dial.Transport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range list {
		n.down[t] = down
	}
}

func (n *fakeNet) isDown(t dial.Transport) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down[t]
}

func (n *fakeNet) look(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *fakeNet) Race(avoid ...dial.Route) client.Race {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.races = append(n.races, time.Now())
	n.avoided = avoid
	r := &fakeRace{net: n}
	for _, late := range []bool{false, true} {
		for _, route := range n.routes {
			if slices.Contains(avoid, route) == late {
				r.left = append(r.left, route)
			}
		}
	}
	return r
}

type fakeRace struct {
	net  *fakeNet
	left []dial.Route
}

var errUnreachable = errors.New("fake: unreachable")

func (r *fakeRace) Next(ctx context.Context) (dial.Conn, error) {
	for len(r.left) > 0 {
		route := r.left[0]
		r.left = r.left[1:]
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !r.net.isDown(route.Transport) {
			return newFakeConn(r.net.server, route), nil
		}
	}
	return nil, errUnreachable
}

func (n *fakeNet) Better(_ context.Context, than dial.Route) (dial.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.better = append(n.better, time.Now())
	for _, route := range n.routes {
		if route == than {
			return nil, errors.New("fake: nothing better")
		}
		if !n.down[route.Transport] {
			return newFakeConn(n.server, route), nil
		}
	}
	return nil, errUnreachable
}

func (n *fakeNet) Remember(r dial.Route) {
	n.look(func() { n.remembered = append(n.remembered, r.Transport) })
}

func (n *fakeNet) Prefer(list []string) error {
	n.look(func() { n.preferred = list })
	return nil
}

func (n *fakeNet) Close() error {
	n.look(func() { n.closed = true })
	return nil
}

// fakeConn is a connection to the fakeServer, which handles what is written at once, in the writer's goroutine.
type fakeConn struct {
	server *fakeServer
	route  dial.Route

	mu     sync.Mutex // guards the rest
	down   []pdu.PDU  // to the client
	ended  error      // what Read returns behind down
	cut    bool       // Write fails
	mute   bool       // nothing passes any more, either way
	heard  time.Time
	wake   chan struct{}
	code   protocol.Code // the client closed with
	closed bool

	session // the server's
}

func newFakeConn(s *fakeServer, route dial.Route) *fakeConn {
	c := &fakeConn{server: s, route: route, heard: time.Now(), wake: make(chan struct{}, 1)}
	s.opened(c)
	return c
}

func (c *fakeConn) Read() (pdu.PDU, error) {
	for {
		c.mu.Lock()
		switch {
		case c.closed:
			c.mu.Unlock()
			return pdu.PDU{}, net.ErrClosed
		case len(c.down) > 0 && !c.mute:
			p := c.down[0]
			c.down = c.down[1:]
			c.heard = time.Now()
			c.mu.Unlock()
			return p, nil
		case c.ended != nil:
			err := c.ended
			c.mu.Unlock()
			return pdu.PDU{}, err
		}
		c.mu.Unlock()
		<-c.wake
	}
}

func (c *fakeConn) Write(frames [][]byte) error {
	for _, f := range frames {
		p, err := pdu.NewReader(bytes.NewReader(f)).Read(pdu.MaxLen)
		if err != nil {
			return err
		}
		c.mu.Lock()
		cut, mute := c.cut || c.closed, c.mute
		c.mu.Unlock()
		if cut {
			return io.ErrClosedPipe
		}
		if !mute {
			c.server.received(c, p)
		}
	}
	return nil
}

func (c *fakeConn) Close(code protocol.Code, _ string) error {
	c.mu.Lock()
	c.closed, c.code = true, code
	c.mu.Unlock()
	c.poke()
	c.server.gone(c)
	return nil
}

// OpenBulk opens a stream beside the session, if the server takes any.
func (c *fakeConn) OpenBulk(context.Context) (dial.Bulk, error) {
	if c.server.beside == nil {
		return nil, errUnreachable
	}
	return c.server.beside(), nil
}

func (c *fakeConn) Via() dial.Transport { return c.route.Transport }
func (c *fakeConn) Route() dial.Route   { return c.route }
func (c *fakeConn) RemoteAddr() string  { return "fake" }

func (c *fakeConn) LastHeard() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

func (c *fakeConn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// push sends a PDU to the client.
func (c *fakeConn) push(cmd pdu.Command, seq uint16, m proto.Message) { c.pushFlag(cmd, seq, 0, m) }

func (c *fakeConn) pushFlag(cmd pdu.Command, seq, flag uint16, m proto.Message) {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	if c.ended == nil {
		c.down = append(c.down, pdu.PDU{Header: pdu.Header{Command: cmd, Seq: seq, Flag: flag}, Body: body})
	}
	c.mu.Unlock()
	c.poke()
}

// breaks ends the connection; what is on its way to the client arrives, or with lose does not.
func (c *fakeConn) breaks(err error, lose bool) {
	c.mu.Lock()
	c.cut = true
	if c.ended == nil {
		c.ended = err
	}
	if lose {
		c.down = nil
	}
	c.mu.Unlock()
	c.poke()
	c.server.gone(c)
}

// silence lets nothing pass any more.
func (c *fakeConn) silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = true
}
