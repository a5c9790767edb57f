package peers

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
)

func TestMeshOfThree(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex // guards got
	got := map[string]int{}
	who := func(self protocol.NodeID) Handler {
		return func(_ context.Context, from protocol.NodeID, method uint8, payload []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			got[fmt.Sprintf("%s to %s: %d %s", from, self, method, payload)]++
			return []byte(self), nil
		}
	}
	var nodes []*node
	for _, id := range []protocol.NodeID{"n1", "n2", "n3"} {
		nodes = append(nodes, w.join(t, id, who(id), nil, nil))
	}
	for _, n := range nodes {
		for range 2 {
			<-n.links
		}
	}
	for _, lane := range []Lane{LanePropose, LaneSignal, LaneControl} {
		if reply, err := nodes[0].Call(within(t), "n3", lane, 7, []byte(lane.String())); err != nil || string(reply) != "n3" {
			t.Errorf("%s: %q, %v", lane, reply, err)
		}
	}
	if missed := nodes[1].Broadcast(8, []byte("all")); len(missed) != 0 {
		t.Errorf("missed %v", missed)
	}
	if err := nodes[2].Send(within(t), "n1", LaneSignal, 9, []byte("one")); err != nil {
		t.Error(err)
	}
	if !nodes[2].TrySend("n2", 9, []byte("try")) || nodes[2].TrySend("n9", 9, nil) {
		t.Error("TrySend")
	}
	for _, want := range []string{"n1 to n3: 7 propose", "n1 to n3: 7 signal", "n1 to n3: 7 control", "n2 to n1: 8 all", "n2 to n3: 8 all", "n3 to n1: 9 one", "n3 to n2: 9 try"} {
		eventually(t, want, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return got[want] == 1
		})
	}
	for _, to := range []protocol.NodeID{"n1", "n9"} {
		if _, err := nodes[0].Call(within(t), to, LaneControl, 1, nil); asError(t, err).Code != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
			t.Errorf("a call to %s: %v", to, err)
		}
	}
	if _, err := nodes[0].Call(within(t), "n2", LaneControl, 255, nil); asError(t, err).Code != protocol.CodeInvalid {
		t.Errorf("a reserved method: %v", err)
	}
	if _, err := nodes[0].Call(within(t), "n2", 9, 1, nil); asError(t, err).Code != protocol.CodeInvalid {
		t.Errorf("a lane that is none: %v", err)
	}
	checkState(t, nodes[0])
}

func asError(t testing.TB, err error) *protocol.Error {
	t.Helper()
	e, ok := err.(*protocol.Error)
	if !ok {
		t.Fatalf("%T %v is no *protocol.Error", err, err)
	}
	return e
}

func checkState(t *testing.T, n *node) {
	t.Helper()
	states := n.Peers()
	if len(states) != 2 || states[0].Node != "n2" || !states[0].Up || states[0].Version != "test" || states[0].Protocol != protocolMax || states[1].Node != "n3" {
		t.Errorf("peers: %+v", states)
	}
	for name, want := range map[string]float64{
		`up{peer="n2"}`: 1, `in_flight{lane="propose",peer="n3"}`: 0,
		`calls_total{lane="propose",peer="n3",result="answered"}`: 1, `calls_total{lane="control",peer="n2",result="failed"}`: 1,
		`dials_total{lane="signal",peer="n2",result="ok"}`: 1,
	} {
		if got := n.port.metric(t, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// A node that goes is down at once, and up again when it is back, at another address.
func TestLinksGoDownAndUp(t *testing.T) {
	w := newWorld(t)
	a := w.join(t, "n1", echo, nil, nil)
	b := w.join(t, "n2", echo, nil, nil)
	a.expect(t, "n2 up")
	b.expect(t, "n1 up")
	b.Close()
	b.expect(t, "n1 down")
	a.expect(t, "n2 down")
	if _, err := a.Call(within(t), "n2", LanePropose, 1, nil); err == nil || protocol.IsOutcomeUnknown(err) {
		t.Errorf("a call to nobody: %v", err)
	}
	if missed := a.Broadcast(1, nil); len(missed) != 1 || a.port.metric(t, `dropped_total{peer="n2",reason="down"}`) != 1 {
		t.Errorf("missed %v", missed)
	}
	if err := b.port.Close(); err != nil {
		t.Error(err)
	}
	again := w.join(t, "n2", echo, nil, nil)
	a.expect(t, "n2 up")
	again.expect(t, "n1 up")
	if _, err := a.Call(within(t), "n2", LanePropose, 1, nil); err != nil {
		t.Error(err)
	}
	w.mu.Lock()
	delete(w.members, "n2")
	w.mu.Unlock()
	a.Refresh()
	a.expect(t, "n2 down")
	if len(a.Peers()) != 0 {
		t.Errorf("peers: %+v", a.Peers())
	}
}

// Half-open: nothing passes any more and nobody is told. The dead host is found by its silence, calls end as unknown.
func TestSilentHost(t *testing.T) {
	w := newWorld(t)
	quick := func(c *Config) { c.Tuning.Ping = 300 * time.Millisecond }
	b := w.join(t, "n2", func(ctx context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
		if method == 2 {
			<-ctx.Done()
		}
		return nil, nil
	}, quick, nil)
	relay, err := simnet.RelayTCP(simnet.NewLink(1, simnet.Faults{}), address(b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	w.place("n2", relay.Addr())
	a := w.join(t, "n1", echo, quick, nil)
	a.expect(t, "n2 up")
	if _, err := a.Call(within(t), "n2", LanePropose, 1, nil); err != nil {
		t.Fatal(err)
	}
	call, err := a.Start(within(t), "n2", LanePropose, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	relay.Cut(simnet.Silence)
	a.expect(t, "n2 down")
	t.Logf("found after %s with pings every 300 ms", time.Since(begun))
	if _, err := call.Wait(within(t)); !protocol.IsOutcomeUnknown(err) {
		t.Errorf("a call under way: %v", err)
	}
	a.expect(t, "n2 up")
}

// The relay is cut again and again while one node calls: no call hangs, none is carried out twice, and what certainly was not is not.
func TestCallsOverCuts(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex // guards done
	done := map[uint64]int{}
	b := w.join(t, "n2", func(ctx context.Context, _ protocol.NodeID, _ uint8, p []byte) ([]byte, error) {
		mu.Lock()
		done[binary.BigEndian.Uint64(p)]++
		mu.Unlock()
		Accepted(ctx)
		return p, nil
	}, nil, nil)
	relay, err := simnet.RelayTCP(simnet.NewLink(1, simnet.Faults{}), address(b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	w.place("n2", relay.Addr())
	a := w.join(t, "n1", echo, nil, nil)
	a.expect(t, "n2 up")
	const calls = 600
	cut := make(chan struct{}) // asks for a cut, at the same time as the next call
	var wg sync.WaitGroup
	wg.Go(func() {
		for range cut {
			relay.Cut(simnet.Reset)
		}
	})
	var ended [3]int
	for n := range uint64(calls) {
		if n%20 == 0 {
			cut <- struct{}{}
		}
		_, err := a.Call(within(t), "n2", LanePropose, 1, binary.BigEndian.AppendUint64(nil, n))
		mu.Lock()
		times := done[n]
		mu.Unlock()
		switch {
		case err == nil:
			ended[0]++
		case protocol.IsOutcomeUnknown(err):
			ended[1]++
		default:
			ended[2]++
		}
		if times > 1 || err == nil && times != 1 || err != nil && !protocol.IsOutcomeUnknown(err) && times != 0 {
			t.Fatalf("call %d was carried out %d times: %v", n, times, err)
		}
	}
	close(cut)
	wg.Wait()
	if ended[0] == 0 || ended[1]+ended[2] == 0 {
		t.Errorf("the test tests nothing: %v", ended)
	}
	t.Logf("answered %d, unknown %d, unsent %d", ended[0], ended[1], ended[2])
}

// A lane that is dialled anew is served when the handlers of the one before have returned.
func TestOrderOverReconnects(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex // guards at
	at, overlap := 0, false
	entered := make(chan struct{}, 100)
	b := w.join(t, "n2", func(ctx context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
		mu.Lock()
		overlap = overlap || at > 0
		at++
		mu.Unlock()
		entered <- struct{}{}
		if method == 1 {
			<-ctx.Done()
			<-time.After(20 * time.Millisecond) // slow to notice
		}
		mu.Lock()
		at--
		mu.Unlock()
		return nil, nil
	}, nil, nil)
	relay, err := simnet.RelayTCP(simnet.NewLink(1, simnet.Faults{}), address(b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	w.place("n2", relay.Addr())
	a := w.join(t, "n1", echo, nil, nil)
	a.expect(t, "n2 up")
	for range 5 {
		call, err := a.Start(within(t), "n2", LanePropose, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-entered
		relay.Cut(simnet.ResetDialer) // the other side does not learn of it
		if _, err := call.Wait(within(t)); !protocol.IsOutcomeUnknown(err) {
			t.Fatalf("cut: %v", err)
		}
		if _, err := a.Call(within(t), "n2", LanePropose, 2, nil); err != nil {
			t.Fatal(err)
		}
		<-entered
	}
	if overlap {
		t.Error("handlers of two connections of one lane ran at once")
	}
}

func TestRemovedNodeIsCutOff(t *testing.T) {
	w := newWorld(t)
	a := w.join(t, "n1", echo, nil, nil)
	b := w.join(t, "n2", echo, nil, nil)
	a.expect(t, "n2 up")
	b.expect(t, "n1 up")
	w.remove("n2")
	a.port.Disconnect("n2")
	a.expect(t, "n2 down")
	b.expect(t, "n1 down")
	eventually(t, "the removed node learns why", func() bool {
		return b.Peers()[0].Error != "" && !b.Peers()[0].Up
	})
	if _, err := b.Call(within(t), "n1", LaneControl, 1, nil); err == nil {
		t.Error("a removed node was answered")
	}
}

// Connections end at any byte of the handshakes: nothing hangs, and the next try succeeds.
func TestHandshakeCutAtAnyByte(t *testing.T) {
	w := newWorld(t)
	b := w.join(t, "n2", echo, nil, nil)
	cut := &cutDialer{left: -1}
	a, _ := w.open(t, "n1", func(c *Config) { c.Dialer = cut.dial })
	for at := 0; at < 6000; at += 97 {
		cut.mu.Lock()
		cut.left = at
		cut.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		begun := time.Now()
		c, err := a.dial(ctx, address(b.port), "n2", alpnNode)
		if err == nil {
			c.Close()
		}
		if ctx.Err() != nil || time.Since(begun) > wait/2 {
			t.Fatalf("cut after %d bytes: hangs", at)
		}
		cancel()
	}
	cut.mu.Lock()
	cut.left = -1
	cut.mu.Unlock()
	c, err := a.dial(within(t), address(b.port), "n2", alpnNode)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// cutDialer makes connections that end after so many bytes, both ways counted together; -1 is never.
type cutDialer struct {
	mu   sync.Mutex // guards left
	left int
}

func (d *cutDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &cutConn{Conn: c, d: d}, err
}

type cutConn struct {
	net.Conn
	d *cutDialer
}

func (c *cutConn) take(n int) int {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.left < 0 {
		return n
	}
	n = min(n, c.d.left)
	c.d.left -= n
	return n
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if m := c.take(n); m < n {
		c.Conn.Close()
		return m, net.ErrClosed
	}
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	if m := c.take(len(b)); m < len(b) {
		n, _ := c.Conn.Write(b[:m])
		c.Conn.Close()
		return n, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// A process that is gone is told from one that is only not ready or slow: nobody listens any more, and what it had dialled has ended.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	news := make(chan string, 1000)
	a := w.join(t, "n1", echo, nil, func(c *MeshConfig) {
		c.Links = func(peer protocol.NodeID, up bool) { news <- fmt.Sprintf("%s %v", peer, up) }
		c.Refused = func(peer protocol.NodeID) { news <- string(peer) + " refused" }
	})
	b := w.join(t, "n2", echo, nil, nil)
	next := func() string {
		select {
		case n := <-news:
			return n
		case <-time.After(wait):
			t.Fatal("waited in vain for news")
			return ""
		}
	}
	if got := next(); got != "n2 true" {
		t.Fatal(got)
	}
	accepted := make(chan net.Conn, 1)
	go func() { // ends with the connection that is made next
		if c, err := a.port.RaftLayer().Accept(); err == nil {
			accepted <- c
		}
	}()
	dialled, err := b.port.RaftLayer().Dial(raft.ServerAddress(a.port.cfg.Advertise), wait)
	if err != nil {
		t.Fatal(err)
	}
	here := <-accepted
	if !a.port.Connected("n2") || a.port.Connected("n3") {
		t.Error("n2's connection is not seen, or one of n3 that it hasn't")
	}
	b.Close() // the process is there and answers that it is not ready
	if got := next(); got != "n2 false" {
		t.Fatal(got)
	}
	eventually(t, "a few attempts", func() bool { return a.port.metric(t, `dials_total{lane="control",peer="n2",result="failed"}`) > 3 })
	if len(news) > 0 {
		t.Errorf("news of a process that is there: %s", next())
	}
	dialled.Close()
	if err := b.port.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		if got := next(); got != "n2 refused" {
			t.Fatal(got)
		}
	}
	if err := here.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Error(err)
	}
	_, err = here.Read(make([]byte, 1))
	here.Close()
	if a.port.Connected("n2") {
		t.Errorf("still connected after %v", err)
	}
}
