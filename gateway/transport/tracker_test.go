package transport

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// closed notes with which codes a connection is closed.
type closed struct {
	Conn
	mu    sync.Mutex // guards codes
	codes []protocol.Code
}

func (c *closed) Close(code protocol.Code) error {
	c.mu.Lock()
	c.codes = append(c.codes, code)
	c.mu.Unlock()
	return c.Conn.Close(code)
}

func pipe(t *testing.T) (*closed, net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _ = b.Close() })
	return &closed{Conn: NewStream(a, KindTLS)}, b
}

func TestTrackerEndsWhatItSpawned(t *testing.T) {
	tr := NewTracker(slog.New(slog.DiscardHandler))
	returning, _ := pipe(t)
	done := make(chan struct{})
	if !tr.Spawn(returning, func(c Conn) { close(done) }) {
		t.Fatal("not taken")
	}
	<-done
	staying, _ := pipe(t)
	read := make(chan error, 1)
	tr.Spawn(staying, func(c Conn) {
		_, err := c.Read(100)
		read <- err
	})
	if tr.Stopped() || !tr.Stop() || tr.Stop() || !tr.Stopped() {
		t.Error("Stop does not tell the first call from others")
	}
	late, client := pipe(t)
	if tr.Spawn(late, func(Conn) { t.Error("a handler ran after Stop") }) {
		t.Error("taken after Stop")
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the late one reads %v", err)
	}
	select {
	case err := <-read:
		t.Errorf("Stop ended a connection: %v", err)
	default:
	}
	tr.Close()
	if err := <-read; err == nil {
		t.Error("Close let a connection live")
	}
	for _, test := range []struct {
		name string
		conn *closed
		want protocol.Code
	}{{"returning", returning, protocol.CodeUnspecified}, {"staying", staying, protocol.CodeDraining}, {"late", late, protocol.CodeDraining}} {
		if len(test.conn.codes) == 0 || test.conn.codes[0] != test.want {
			t.Errorf("%s was closed with %v", test.name, test.conn.codes)
		}
	}
}

// One connection too many is closed on arrival; each that ends, however often it is closed, makes room for one.
func TestListenerBoundsConnections(t *testing.T) {
	registry := prometheus.NewRegistry()
	l, err := Listen(ListenerConfig{Address: "127.0.0.1:0", Listener: "test", Connections: 2, Registerer: registry, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	go func() { // ends when the listener is closed
		defer close(accepted)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- nc
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var open []net.Conn
	for range 2 {
		dial()
		open = append(open, <-accepted)
	}
	third := dial()
	_ = third.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := third.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("one too many reads %v", err)
	}
	for range 2 {
		_ = open[0].Close()
	}
	dial()
	open = append(open, <-accepted)
	fourth := dial()
	_ = fourth.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := fourth.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("closing twice made room for two: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing again: %v", err)
	}
	<-accepted
	for _, c := range open {
		_ = c.Close()
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if got["teamtalk_transport_full_total"] != 2 || got["teamtalk_transport_accepted_total"] != 3 {
		t.Errorf("metrics %v", got)
	}
}

func isTimeout(err error) bool {
	var nerr net.Error
	return errors.As(err, &nerr) && nerr.Timeout()
}

// pieces is a connection without writev; it notes the sizes of its writes.
type pieces struct {
	net.Conn
	sizes []int
	bytes []byte
}

func (p *pieces) Write(b []byte) (int, error) {
	p.sizes, p.bytes = append(p.sizes, len(b)), append(p.bytes, b...)
	return len(b), nil
}

func (p *pieces) SetWriteDeadline(time.Time) error { return nil }

// Where there is no writev, frames travel in as few pieces as fit into a TLS record, and in their order.
func TestFramesAreJoined(t *testing.T) {
	for _, test := range []struct {
		name  string
		sizes []int // of the bodies
		want  []int // of the writes
	}{
		{"one", []int{100}, []int{116}},
		{"small ones", []int{100, 200, 300}, []int{648}},
		{"more than a record", []int{9000, 7000, 1000}, []int{16032, 1016}},
		{"a large one between", []int{10, 20000, 10}, []int{26, 20016, 26}},
		{"only large ones", []int{20000, 20000}, []int{20016, 20016}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &pieces{}
			var frames [][]byte
			var want []byte
			for i, n := range test.sizes {
				frames = append(frames, frame(0x0301, uint16(i), string(make([]byte, n))))
				want = append(want, frames[i]...)
			}
			if err := NewStream(p, KindTLS).Write(frames); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.sizes, test.want) {
				t.Errorf("writes of %v bytes, want %v", p.sizes, test.want)
			}
			if !slices.Equal(p.bytes, want) {
				t.Error("other bytes, or in another order")
			}
		})
	}
}
