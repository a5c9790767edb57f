package federation_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"teamtalk/bus"
	"teamtalk/federation"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// A town is an office: a place, papers, a directory, a clock. It has lives, one after the other.
type town struct {
	globe  *globe
	index  int
	name   string
	place  string // the name of its host
	papers *papers
	dir    string
	skew   atomic.Int64 // nanoseconds that its clock is wrong
	tap    tap          // what happens to frames on their way

	mu   sync.Mutex // guards what follows
	now  *life      // nil: it is down
	told map[tale][]protocol.MessageStateChanged
}

// tale names a message in what its author is told.
type tale struct {
	conversation protocol.Conversation
	id           protocol.MsgID
}

// A life is an office's server from its start to its end.
type life struct {
	town    *town
	host    *simnet.Host
	bus     *bus.Bus
	store   *state.Store
	manager *federation.Manager
	running sync.WaitGroup
	stops   []func()
}

func (o *town) life() *life {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *town) set(l *life) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = l
}

// first is the id of the first of those who speak.
func (o *town) first() int { return 10*o.index + 1 }

// user is the id of the n-th of those who speak, from 0.
func (o *town) user(n int) protocol.UserID { return protocol.UserID(o.first() + n) }

func (l *life) later(f func()) { l.stops = append(l.stops, f) }

// end stops all parts, the last one first.
func (l *life) end() {
	for len(l.stops) > 0 {
		last := l.stops[len(l.stops)-1]
		l.stops = l.stops[:len(l.stops)-1]
		last()
	}
	l.running.Wait()
}

// begin is the office's next life, on what is in its directory.
func (o *town) begin() {
	g := o.globe
	g.Helper()
	l := &life{town: o, host: g.net.Host(o.place), bus: bus.New(bus.Config{Log: g.log})}
	l.later(l.bus.Close)
	log := g.log.With("office", o.name)
	store, err := state.Open(context.Background(), state.Config{Config: raftstore.Config{
		Dir: o.dir, NodeID: "n1", Publisher: l.bus, Logger: log, Clock: o.clock, Version: "test",
		Fatal:  func(err error) { g.Errorf("%s: the store cannot go on: %v", o.name, err) },
		Tuning: raftstore.Tuning{Heartbeat: 20 * time.Second, CommitTimeout: 10 * time.Second, TrimInterval: time.Hour},
	}})
	if err != nil {
		l.end()
		g.Fatalf("%s: %v", o.name, err)
	}
	l.store = store
	l.later(func() {
		if err := store.Close(); err != nil {
			g.Errorf("%s: close: %v", o.name, err)
		}
	})
	g.until(o.name+" leads", time.Minute, 50*time.Millisecond, store.Ready)
	l.listen(l.bus.Subscribe("test"))
	events, signals := l.bus.Subscribe("federation"), l.bus.Signals("federation")
	l.later(func() {
		events.Close()
		signals.Close()
	})
	l.manager, err = federation.New(federation.Config{Node: "n1", State: store, Events: events, Presence: l.bus.Presence(), Signals: signals, Signaler: l.bus,
		Dialer: dialer{l}, Program: "test", Timing: g.timing, Log: log})
	if err != nil {
		l.end()
		g.Fatalf("%s: %v", o.name, err)
	}
	l.serve()
	l.manager.Start()
	l.later(l.manager.Close)
	o.set(l)
}

func (o *town) clock() time.Time { return time.Now().Add(time.Duration(o.skew.Load())) }

// listen keeps what authors are told.
func (l *life) listen(events *bus.Subscription) {
	l.running.Go(func() { // ends with the subscription
		for {
			all, err := events.Next(context.Background())
			if err != nil {
				return
			}
			for _, e := range all {
				l.town.hear(l, e)
			}
		}
	})
	l.later(events.Close)
}

func (o *town) hear(l *life, e protocol.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now != l && o.now != nil {
		return // said by one that is over
	}
	if c, ok := e.Body.(protocol.MessageStateChanged); ok {
		at := tale{c.Conversation, c.ID}
		o.told[at] = append(o.told[at], c)
	}
}

// serve takes connections of other clusters.
func (l *life) serve() {
	g := l.town.globe
	listener, err := l.host.Listen("443")
	if err != nil {
		g.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.running.Go(func() { // ends with the listener
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.running.Go(func() { l.accept(ctx, c) }) // ends with ctx or the connection
		}
	})
	l.later(func() {
		cancel()
		_ = listener.Close()
	})
}

func (l *life) accept(ctx context.Context, c net.Conn) {
	conf, err := l.manager.ServerTLS()
	if err != nil {
		_ = c.Close()
		return
	}
	secure := tls.Server(c, conf)
	wire, certs, err := shake(ctx, secure)
	if err != nil {
		return
	}
	l.manager.Accept(ctx, newTapped(wire, &l.town.tap), certs)
}

// shake has the two sides show their certificates; the connection is closed if that fails.
func shake(ctx context.Context, c *tls.Conn) (federation.Wire, []*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return federation.NewStream(c), c.ConnectionState().PeerCertificates, nil
}

// dialer connects over the network in memory.
type dialer struct{ *life }

// Dial implements federation.Dialer.
func (d dialer) Dial(ctx context.Context, endpoint, _ string, conf *tls.Config) (federation.Wire, []*x509.Certificate, error) {
	c, err := d.host.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, nil, err
	}
	wire, certs, err := shake(ctx, tls.Client(c, conf))
	if err != nil {
		return nil, nil, err
	}
	return newTapped(wire, &d.town.tap), certs, nil
}

// tap looks at the frames that an office writes, and may change or drop them (false), or wait.
type tap struct {
	write atomic.Pointer[func(*fed.Frame) bool]
}

// set puts a look in place; nil takes it away.
func (t *tap) set(look func(*fed.Frame) bool) {
	if look == nil {
		t.write.Store(nil)
		return
	}
	t.write.Store(&look)
}

// tapped is a wire with a tap. Writers wait for their turn on a channel, not on the wire's own lock: who waits for a lock does not let virtual time go by.
type tapped struct {
	federation.Wire
	tap  *tap
	turn chan struct{}
}

func newTapped(w federation.Wire, t *tap) *tapped { return &tapped{w, t, make(chan struct{}, 1)} }

// Write implements federation.Wire.
func (w *tapped) Write(lane fed.Lane, f fed.Frame) error {
	if look := w.tap.write.Load(); look != nil && !(*look)(&f) {
		return nil
	}
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	return w.Wire.Write(lane, f)
}

// strike ends a life as kill -9 does: from this moment on nothing of it reaches anybody, and what it still writes is not what the next life finds.
func (o *town) strike() {
	g := o.globe
	l := o.life()
	synctest.Wait() // nobody writes, and nobody will before what is done here is done
	former := o.dir
	o.dir += "x"
	if err := os.CopyFS(o.dir, os.DirFS(former)); err != nil {
		g.Fatal(err)
	}
	l.host.Down(simnet.Reset)
	o.set(nil)
	g.ending.Go(func() { // ends when its parts have, a few seconds
		l.end()
		if err := os.RemoveAll(former); err != nil {
			g.Error(err)
		}
	})
}

// copyOf copies what is on an office's disk at this moment, and returns where to.
func (g *globe) copyOf(o *town) string {
	synctest.Wait() // nobody writes, and nobody will before this is done
	to := o.dir + "c"
	if err := os.CopyFS(to, os.DirFS(o.dir)); err != nil {
		g.Fatal(err)
	}
	return to
}

// restart ends a life in good order and begins the next.
func (o *town) restart() {
	l := o.life()
	l.end()
	l.host.Down(simnet.Reset)
	o.begin()
}

// backup is what an operator would keep of the office now.
func (o *town) backup() []byte {
	var b bytes.Buffer
	if _, err := o.life().store.Engine().Backup(context.Background(), &b); err != nil {
		o.globe.Fatal(err)
	}
	return b.Bytes()
}

// restore has the office's disk lost and a backup take its place. Its links stay down until an operator says that the former cluster is gone.
func (o *town) restore(backup []byte) {
	if l := o.life(); l != nil {
		o.strike()
	}
	o.dir += "r"
	clear(o.told) // numbers are used again
	_, err := raftstore.RestoreBackup(o.dir, bytes.NewReader(backup), raftstore.Rebuild{Node: "n1", Address: "n1", Program: "test", Renew: state.RenewCluster})
	if err != nil {
		o.globe.Fatal(err)
	}
	o.begin()
}
