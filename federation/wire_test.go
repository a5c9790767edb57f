package federation

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol/fed"
)

// received is a connection of which bytes come, and nothing more.
type received struct {
	net.Conn
	from io.Reader
}

func (r received) Read(b []byte) (int, error) { return r.from.Read(b) }

// FuzzStream reads frames out of anything: what is read is what was there, and the rest is an error [FED-TR-5].
func FuzzStream(f *testing.F) {
	hello := fed.NewFrame(fed.KindHello, fed.Hello{Versions: fed.Current(), Epoch: 1})
	ping := fed.NewFrame(fed.KindPing, fed.Ping{ID: 7})
	both := ping.Append(hello.Append(nil))
	f.Add(both)
	f.Add(both[:len(both)-1])
	f.Add([]byte{0, 0x20, 0, 1, 0xa1})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := NewStream(received{from: iotest(b)})
		rest := b
		for {
			frame, err := w.Read()
			if err != nil {
				return
			}
			n := 4 + int(uint32(rest[0])<<24|uint32(rest[1])<<16|uint32(rest[2])<<8|uint32(rest[3]))
			var same fed.Frame
			if same, err = fed.ReadFrame(bytes.NewReader(rest[:n])); err != nil || same.Kind != frame.Kind || !bytes.Equal(same.Body, frame.Body) {
				t.Fatalf("%v came as %v, %v", rest[:n], frame, err)
			}
			rest = rest[n:]
		}
	})
}

// iotest gives out bytes a few at a time.
func iotest(b []byte) io.Reader { return &dripping{b} }

type dripping struct{ rest []byte }

func (d *dripping) Read(b []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, d.rest[:min(3, len(d.rest))])
	d.rest = d.rest[n:]
	return n, nil
}

// pairOfLanes are both ends of a QUIC connection.
func pairOfLanes(t *testing.T) (a, b Wire) {
	t.Helper()
	branch := newBranch(t, nil, 1)
	own, err := selfOf(&branch.identity)
	if err != nil {
		t.Fatal(err)
	}
	var papers certificates
	client, err := papers.client(own)
	if err != nil {
		t.Fatal(err)
	}
	server, err := papers.base(own)
	if err != nil {
		t.Fatal(err)
	}
	server.ClientAuth = tls.RequireAnyClientCert
	l, err := quic.ListenAddr("127.0.0.1:0", server, QUICConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	there := make(chan *quic.Conn, 1)
	go func() { // ends with the connection, which is waited for
		c, err := l.Accept(ctx)
		if err != nil {
			t.Error(err)
		}
		there <- c
	}()
	here, err := quic.DialAddr(ctx, l.Addr().String(), client, QUICConfig())
	if err != nil {
		t.Fatal(err)
	}
	a, b = NewLanes(here), NewLanes(<-there)
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
		_ = l.Close()
	})
	return a, b
}

// TestHelloComesFirst writes on another lane before the control lane: what was said first there is read first all the same [FED-TR-6].
func TestHelloComesFirst(t *testing.T) {
	a, b := pairOfLanes(t)
	for lane := fed.LaneFirst; lane <= fed.LaneEphemeral; lane++ {
		if err := a.Write(lane, fed.NewFrame(fed.KindBatch, fed.Batch{Lane: lane})); err != nil {
			t.Fatal(err)
		}
	}
	came := make(chan fed.Kind, 10)
	go func() { // ends with the connection, or when all has come
		defer close(came)
		for range 10 {
			f, err := b.Read()
			if err != nil {
				return
			}
			came <- f.Kind
		}
	}()
	select {
	case k := <-came:
		t.Errorf("a frame of kind %d came before hello", k)
	case <-time.After(200 * time.Millisecond): // long for loopback; were it too short, nothing would be found
	}
	if err := a.Write(fed.LaneControl, fed.NewFrame(fed.KindHello, fed.Hello{Epoch: 5})); err != nil {
		t.Fatal(err)
	}
	var kinds []fed.Kind
	for k := range came {
		kinds = append(kinds, k)
	}
	if len(kinds) != 10 {
		t.Fatalf("%d frames", len(kinds))
	}
	if kinds[0] != fed.KindHello || slices.Contains(kinds[1:], fed.KindHello) {
		t.Errorf("frames came as %v", kinds)
	}
}

// TestLanesKeepTheirOrder reads all that was written, each lane in its order.
func TestLanesKeepTheirOrder(t *testing.T) {
	a, b := pairOfLanes(t)
	const frames = 200
	done := make(chan error, 1)
	go func() { // ends when all is written
		for i := range frames {
			lane := fed.Lane(i % 9)
			if err := a.Write(lane, fed.NewFrame(fed.KindBatch, fed.Batch{Lane: lane, First: uint64(i), Events: []fed.SignedEvent{{Event: []byte(strings.Repeat("x", 10_000))}}})); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	next := map[fed.Lane]uint64{}
	for range frames {
		f, err := b.Read()
		if err != nil {
			t.Fatal(err)
		}
		var batch fed.Batch
		if err := f.Into(&batch); err != nil {
			t.Fatal(err)
		}
		want, begun := next[batch.Lane]
		if !begun {
			want = uint64(batch.Lane)
		}
		if batch.First != want {
			t.Fatalf("lane %d: %d came, want %d", batch.Lane, batch.First, want)
		}
		next[batch.Lane] = want + 9
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a.Via() != "quic" || b.RemoteAddr() == nil {
		t.Errorf("%s, %v", a.Via(), b.RemoteAddr())
	}
	_ = a.Close()
	if _, err := b.Read(); err == nil {
		t.Error("a connection that is closed is read from")
	}
}
