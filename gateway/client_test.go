package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a server in its world, with clients. In a synctest bubble its connections are pipes and its time is virtual.
type stage struct {
	*world
	t   testing.TB
	srv *Server
	reg *prometheus.Registry
	log *bytes.Buffer
}

// play runs a test in a bubble, with a server that ends with it.
func play(t *testing.T, configure func(*Config), test func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, stop := newStage(t, configure)
		defer stop()
		test(s)
	})
}

func newStage(t testing.TB, configure func(*Config)) (*stage, func()) {
	s := &stage{world: newWorld(), t: t, reg: prometheus.NewRegistry(), log: new(bytes.Buffer)}
	cfg := Config{Services: s.services(), Events: s.events, Signals: s.signals, Signaler: s.world, Presence: s.world, Replica: &s.ledger, Replay: &s.ledger,
		Node: "1", Registerer: s.reg, Limits: Limits{ConcurrentLogins: 4},
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: s.log}, nil))}
	if configure != nil {
		configure(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.srv = srv
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()
	return s, func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
		if err := <-ran; err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// metric sums a metric over the label values given, in the order of the labels' names; "*" is any.
func (s *stage) metric(name string, values ...string) (sum float64) {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "teamtalk_gateway_"+name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for i, v := range values {
				if v != "*" && m.GetLabel()[i].GetValue() != v {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// client is one connection, seen from the far end.
type client struct {
	s    *stage
	conn net.Conn
	user protocol.UserID

	mu     sync.Mutex // guards what follows
	got    []pdu.PDU
	err    error
	ended  time.Time
	served bool // ServeConn has returned
	resume chan struct{}
}

// dial connects by a pipe and collects what comes.
func (s *stage) dial() *client {
	near, far := net.Pipe()
	c := &client{s: s, conn: far}
	go func() {
		s.srv.ServeConn(context.Background(), transport.NewStream(near, transport.KindTCP))
		_ = near.Close()
		c.mu.Lock()
		c.served = true
		c.mu.Unlock()
	}()
	go c.collect()
	return c
}

func (c *client) collect() {
	r := pdu.NewReader(c.conn)
	for {
		c.mu.Lock()
		pause := c.resume
		c.mu.Unlock()
		if pause != nil {
			<-pause
		}
		p, err := r.Read(pdu.MaxLen)
		c.mu.Lock()
		if err != nil {
			c.err, c.ended = err, time.Now()
			c.mu.Unlock()
			_ = c.conn.Close()
			return
		}
		c.got = append(c.got, p)
		c.mu.Unlock()
	}
}

// stopReading lets one more PDU through and then nothing until the returned function is called.
func (c *client) stopReading() (resume func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gate := make(chan struct{})
	c.resume = gate
	return func() {
		c.mu.Lock()
		c.resume = nil
		c.mu.Unlock()
		close(gate)
	}
}

func (c *client) write(b []byte) {
	c.s.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.s.t.Errorf("client of user %d cannot write: %v", c.user, err)
	}
}

func (c *client) send(cmd pdu.Command, seq uint16, m proto.Message) {
	c.s.t.Helper()
	c.write(encode(c.s.t, cmd, seq, m))
}

func encode(t testing.TB, cmd pdu.Command, seq uint16, m proto.Message) []byte {
	t.Helper()
	b, err := pdu.Append(nil, cmd, seq, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// take returns what has come since the last time, once nothing moves any more.
func (c *client) take() []pdu.PDU {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

type want struct {
	cmd pdu.Command
	seq uint16
	msg proto.Message // nil: anything
}

// expect takes what has come and compares all of it.
func (c *client) expect(wants ...want) {
	c.s.t.Helper()
	got := c.take()
	for i, w := range wants {
		if i >= len(got) {
			c.s.t.Fatalf("user %d: got %d PDUs, the next should be %v %v", c.user, len(got), w.cmd, w.msg)
		}
		compare(c.s.t, got[i], w)
	}
	for _, p := range got[min(len(wants), len(got)):] {
		m, err := pdu.Decode(p, pdu.ServerToClient)
		c.s.t.Errorf("user %d: unexpected %v seq %d %v %v", c.user, p.Header.Command, p.Header.Seq, m, err)
	}
}

func compare(t testing.TB, p pdu.PDU, w want) proto.Message {
	t.Helper()
	m, err := pdu.Decode(p, pdu.ServerToClient)
	if err != nil {
		t.Fatal(err)
	}
	if p.Header.Command != w.cmd || p.Header.Seq != w.seq || w.msg != nil && !proto.Equal(m, w.msg) {
		t.Fatalf("got %v seq %d %v, want %v seq %d %v", p.Header.Command, p.Header.Seq, m, w.cmd, w.seq, w.msg)
	}
	if h := p.Header; h.Version != 1 || h.Flag != 0 || h.Reserved != 0 || h.Service != h.Command.Service() {
		t.Fatalf("header %+v", h) // [TT-FRAME-1]
	}
	return m
}

// expectEnd waits until the server has closed the connection, and returns when.
func (c *client) expectEnd() time.Time {
	c.s.t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.s.t.Fatalf("user %d is still connected", c.user)
	}
	return c.ended
}

func (c *client) isOpen() bool {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil
}

func (c *client) close() {
	_ = c.conn.Close()
	synctest.Wait()
}

func loginReq(name string, ct pb.ClientType) *pb.IMLoginReq {
	return &pb.IMLoginReq{UserName: new(name), Password: new(testPassword), OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: ct.Enum()}
}

// login connects and logs in, and throws away what comes with it, presence included.
func (s *stage) login(id protocol.UserID, ct pb.ClientType) *client {
	s.t.Helper()
	c := s.dial()
	c.user = id
	c.send(pdu.CmdLoginReq, 1, loginReq(fmt.Sprintf("user%d", id), ct))
	got := c.take()
	if len(got) == 0 || got[0].Header.Command != pdu.CmdLoginRes {
		s.t.Fatalf("login of user %d got %v", id, got)
	}
	return c
}

// settle lets presence be announced and throws away what the clients have got.
func (s *stage) settle(clients ...*client) {
	pass(time.Second)
	for _, c := range clients {
		c.take()
	}
}

// pass lets virtual time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
