package federation_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"teamtalk/federation"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A double is a cluster that consists of nothing but its papers: it says what a test wants, and signs it properly unless the test wants otherwise.
type double struct {
	globe  *globe
	papers *papers
	place  string
	hello  func(*fed.Hello) // changes what it says first; nil: nothing
	mute   bool             // it acknowledges nothing

	mu      sync.Mutex // guards what follows
	index   uint64     // of its last event
	sent    map[fed.Lane]uint64
	acked   map[fed.Lane]uint64
	rejects map[place]fed.Reject
	in      map[fed.Lane]uint64 // of the office's events
	heard   []fed.SignedEvent   // in batches, once each
	frames  []fed.Frame         // what was neither
	byes    []fed.Goodbye
}

// place is that of an event in a lane.
type place struct {
	lane fed.Lane
	seq  uint64
}

// newDouble makes one that offices have to be told to trust.
func (g *globe) newDouble(seed byte, name string) *double {
	return &double{globe: g, papers: newPapers(seed, name), place: name, sent: map[fed.Lane]uint64{}, acked: map[fed.Lane]uint64{},
		rejects: map[place]fed.Reject{}, in: map[fed.Lane]uint64{}}
}

// A talk is a connection of a double with an office.
type talk struct {
	*double
	with *town
	wire federation.Wire
	ctx  context.Context // over when the connection is
	once func()
}

// certificate is one of a link key's.
func certificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "double"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// dial connects with an office as far as the handshake of TLS.
func (d *double) dial(o *town) *talk {
	d.globe.Helper()
	t, err := d.tryDial(o)
	if err != nil {
		d.globe.Fatalf("%s with %s: %v", d.place, o.name, err)
	}
	return t
}

// tryDial is dial that may fail.
func (d *double) tryDial(o *town) (*talk, error) {
	cert, err := certificate(d.papers.signer.Key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := d.globe.net.Host(d.place).DialContext(ctx, "tcp", o.place+":443")
	if err != nil {
		return nil, err
	}
	wire, _, err := shake(ctx, tls.Client(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{fed.ALPN}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true})) // a liar does not care whom it talks to
	if err != nil {
		return nil, err
	}
	over, end := context.WithCancel(context.Background())
	t := &talk{double: d, with: o, wire: newTapped(wire, new(tap)), ctx: over}
	t.once = sync.OnceFunc(func() {
		_ = wire.Close()
		end()
	})
	d.globe.Cleanup(t.once)
	return t, nil
}

// shortly is a context that ends soon.
func shortly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 100*time.Millisecond)
}

// meet connects with an office and says hello; the office's hello has to come.
func (d *double) meet(o *town) *talk {
	d.globe.Helper()
	d.globe.pass(d.globe.timing.Tick + time.Second) // until the manager has looked around
	t := d.dial(o)
	t.greet()
	f, err := t.wire.Read()
	if err != nil {
		d.globe.Fatalf("%s waits for the hello of %s: %v", d.place, o.name, err)
	}
	var h fed.Hello
	if f.Kind != fed.KindHello || f.Into(&h) != nil {
		d.globe.Fatalf("%s answers %s with frame %d: %s", o.name, d.place, f.Kind, farewellOf(&f))
	}
	t.agree(&h)
	d.globe.ending.Go(t.hear) // ends with the connection
	return t
}

func farewellOf(f *fed.Frame) string {
	var bye fed.Goodbye
	if f.Kind != fed.KindGoodbye || f.Into(&bye) != nil {
		return ""
	}
	return fmt.Sprintf("goodbye %d: %s", bye.Reason, bye.Text)
}

// agree goes on where the office says that it is.
func (t *talk) agree(h *fed.Hello) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range h.Cursors {
		t.sent[c.Lane] = max(t.sent[c.Lane], c.Sequence)
	}
}

func (t *talk) greet() {
	t.mu.Lock()
	own := fed.Hello{Manifest: t.papers.identity.Manifest, Destination: t.with.papers.id, Versions: fed.Current(), Epoch: t.papers.identity.Epoch,
		PeerEpoch: 1, Time: protocol.TimeOf(time.Now()), Program: "double"}
	for lane, seq := range t.in {
		own.Cursors = append(own.Cursors, fed.Cursor{Lane: lane, Sequence: seq})
	}
	t.mu.Unlock()
	if t.double.hello != nil {
		t.double.hello(&own)
	}
	t.write(fed.NewFrame(fed.KindHello, own))
}

// write says something; that the office has hung up is for the reader to see.
func (t *talk) write(f fed.Frame) { _ = t.wire.Write(fed.LaneControl, f) }

// hear takes what the office says, and acknowledges its events.
func (t *talk) hear() {
	defer t.once()
	for {
		f, err := t.wire.Read()
		if err != nil {
			return
		}
		if answer := t.take(&f); answer != nil {
			t.write(*answer)
		}
	}
}

// take notes what the office says, and returns what is to be said to that; nil: nothing.
func (t *talk) take(f *fed.Frame) *fed.Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b fed.Batch
	var a fed.Ack
	var r fed.Reject
	var bye fed.Goodbye
	switch {
	case f.Kind == fed.KindBatch && f.Into(&b) == nil:
		return t.takeBatch(&b)
	case f.Kind == fed.KindAck && f.Into(&a) == nil:
		t.acked[a.Lane] = max(t.acked[a.Lane], a.Sequence)
	case f.Kind == fed.KindReject && f.Into(&r) == nil:
		t.rejects[place{r.Lane, r.Sequence}] = r
	case f.Kind == fed.KindPing:
		return &fed.Frame{Kind: fed.KindPong, Body: f.Body}
	case f.Kind == fed.KindGoodbye && f.Into(&bye) == nil:
		t.byes = append(t.byes, bye)
	default:
		t.frames = append(t.frames, *f)
	}
	return nil
}

func (t *talk) takeBatch(b *fed.Batch) *fed.Frame {
	if t.mute {
		return nil
	}
	for i := range b.Events {
		if seq := b.First + uint64(i); seq == t.in[b.Lane]+1 {
			t.in[b.Lane] = seq
			t.heard = append(t.heard, b.Events[i])
		}
	}
	ack := fed.NewFrame(fed.KindAck, fed.Ack{Epoch: b.Epoch, Lane: b.Lane, Sequence: t.in[b.Lane]})
	return &ack
}

// event is one of the double's with a new id.
func (d *double) event() fed.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index++
	return fed.Event{ID: fed.EventID{Cluster: d.papers.id, Index: d.index}, Time: protocol.TimeOf(time.Now())}
}

// user is one of the double's own people.
func (d *double) user(id protocol.UserID) fed.UserRef {
	return fed.UserRef{Cluster: d.papers.id, ID: id}
}

// send sends signed events in the next places of a lane, and returns the last place.
func (t *talk) send(lane fed.Lane, events ...fed.SignedEvent) place {
	t.mu.Lock()
	b := fed.Batch{Epoch: t.papers.identity.Epoch, Lane: lane, First: t.sent[lane] + 1, Events: events}
	t.sent[lane] = b.Last()
	t.mu.Unlock() // who waits for a lock does not let virtual time go by, and what follows may take long
	t.papers.signer.SignBatch(&b, t.with.papers.id)
	t.write(fed.NewFrame(fed.KindBatch, b))
	return place{lane, b.Last()}
}

// optional encodes an event of a type that nobody knows, and that need not be understood.
func (d *double) optional(e *fed.Event) []byte {
	e.Version, e.Type, e.Must, e.Body = fed.EventVersion, 201, false, d.globe.pack("from the future")
	return d.globe.pack(e)
}

// sign signs an event as the double's.
func (d *double) sign(event []byte) fed.SignedEvent { return d.papers.signer.SignEvent(event) }

// await waits until a place is acknowledged, and returns why it was refused; nil if it was not.
func (t *talk) await(p place) *fed.Reject {
	g := t.globe
	g.Helper()
	g.until(fmt.Sprintf("event %d of lane %d is acknowledged", p.seq, p.lane), 30*time.Second, 10*time.Millisecond, func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.acked[p.lane] >= p.seq {
			return nil
		}
		if len(t.byes) > 0 {
			return fmt.Errorf("the office said goodbye: %+v", t.byes)
		}
		return errors.New("it is not")
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, refused := t.rejects[p]; refused {
		return &r
	}
	return nil
}

// tell sends an event of a type and waits until it was dealt with.
func (t *talk) tell(lane fed.Lane, e fed.Event, typ fed.Type, body any) *fed.Reject {
	t.globe.Helper()
	return t.await(t.send(lane, t.sign(e.Encode(typ, body))))
}

// close hangs up.
func (t *talk) close() { t.once() }

// bodies are what the office has said to the double in events of a type.
func bodies[T any](d *double, typ fed.Type) (all []T) {
	d.globe.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.heard {
		e, err := fed.DecodeEvent(d.heard[i].Event)
		if err != nil {
			d.globe.Fatal(err)
		}
		if e.Type != typ {
			continue
		}
		body, err := fed.BodyOf[T](&e)
		if err != nil {
			d.globe.Fatal(err)
		}
		all = append(all, body)
	}
	return all
}
