package federation

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/bus"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// desks are offices as their operators see them: each a real state on its own node, a bus and a manager, on a network in memory and in virtual time.
type desks struct {
	*testing.T
	net    *simnet.Network
	dir    string
	timing Timing
}

type desk struct {
	*desks
	name    string
	store   *state.Store
	bus     *bus.Bus
	m       *Manager
	host    *simnet.Host
	reached func() []string // by the configuration
	dialled string          // the proxy by which it dialled last

	mu      sync.Mutex // guards what follows
	signals []protocol.Signal
}

// atDesks runs a test in virtual time.
func atDesks(t *testing.T, test func(*desks)) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		test(&desks{T: t, dir: dir, timing: Timing{Tick: time.Second}, net: simnet.NewNetwork(simnet.NewLink(1, simnet.Faults{Delay: 10 * time.Millisecond}))})
	})
}

// desk opens an office that is not known to others yet; its people are ann, ben, cas and dan and are numbered from first.
func (d *desks) desk(name string, first int) *desk {
	d.Helper()
	o := &desk{desks: d, name: name, host: d.net.Host(name), bus: bus.New(bus.Config{})}
	o.open(filepath.Join(d.dir, name))
	id := sha256.Sum256([]byte(name))
	o.do(&protocol.FoundCluster{Cluster: protocol.Cluster{ID: [16]byte(id[:16]), History: [16]byte(id[16:]), TokenKey: id, AddressKey: id}})
	o.do(&protocol.RaiseLevel{To: 3})
	var add protocol.AddUsers
	for i := range first + 3 {
		who := fmt.Sprintf("nobody%d", i)
		if i >= first-1 {
			who = []string{"ann", "ben", "cas", "dan"}[i-first+1]
		}
		add.Users = append(add.Users, protocol.NewUser{User: protocol.User{Name: who, Nick: "Nick " + who}})
	}
	o.do(&add)
	o.begin(Config{})
	return o
}

func (o *desk) open(dir string) {
	o.Helper()
	var err error
	o.store, err = state.Open(context.Background(), state.Config{Config: raftstore.Config{Dir: dir, NodeID: "n1", Publisher: o.bus, Version: "test",
		Fatal:  func(err error) { o.Errorf("%s: %v", o.name, err) },
		Tuning: raftstore.Tuning{Heartbeat: 20 * time.Second, CommitTimeout: 10 * time.Second, TrimInterval: time.Hour, MapSize: 1 << 26}}})
	if err != nil {
		o.Fatal(err)
	}
	store := o.store
	o.Cleanup(func() {
		if err := store.Close(); err != nil {
			o.Error(err)
		}
		o.bus.Close()
	})
	o.until("the state is ready", func() bool { return o.store.Ready() == nil })
}

// begin starts the office's manager; conf may say more than is usual.
func (o *desk) begin(conf Config) {
	o.Helper()
	conf.Node, conf.Dialer, conf.Signaler, conf.Timing = "n1", o, o.bus, o.timing
	if conf.State == nil {
		conf.State = o.store
	}
	conf.Presence, conf.Signals, conf.Events = o.bus.Presence(), o.bus.Signals("federation"), o.bus.Subscribe("federation")
	conf.Endpoints = func() []string {
		if o.reached == nil {
			return []string{o.name + ":443"}
		}
		return o.reached()
	}
	if os.Getenv("TT_LOG") != "" {
		conf.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("office", o.name)
	}
	var err error
	if o.m, err = New(conf); err != nil {
		o.Fatal(err)
	}
	l, err := o.host.Listen("443")
	if err != nil {
		o.Fatal(err)
	}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	serving.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { // ends with the connection or ctx
				tlsConf, err := o.m.ServerTLS()
				if err != nil {
					_ = c.Close()
					return
				}
				secure := tls.Server(c, tlsConf)
				if secure.HandshakeContext(ctx) != nil {
					_ = c.Close()
					return
				}
				o.m.Accept(ctx, NewStream(secure), secure.ConnectionState().PeerCertificates)
			})
		}
	})
	m, told := o.m, o.bus.Signals("test")
	m.Start()
	serving.Go(func() { o.hear(told) }) // ends with the subscription
	o.Cleanup(func() {
		m.Close()
		cancel()
		_ = l.Close()
		told.Close()
		serving.Wait()
	})
}

// Dial implements Dialer.
func (o *desk) Dial(ctx context.Context, endpoint, proxy string, conf *tls.Config) (Wire, []*x509.Certificate, error) {
	o.mu.Lock()
	o.dialled = proxy
	o.mu.Unlock()
	c, err := o.host.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, nil, err
	}
	secure := tls.Client(c, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return NewStream(secure), secure.ConnectionState().PeerCertificates, nil
}

func (o *desk) hear(s *bus.SignalSubscription) {
	for {
		got, err := s.Next(context.Background())
		if err != nil {
			return
		}
		o.mu.Lock()
		o.signals = append(o.signals, got...)
		o.mu.Unlock()
	}
}

// heard are the signals of a kind that this office's clients have heard of, in order.
func heard[S protocol.Signal](o *desk) (all []S) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.signals {
		if is, ok := s.(S); ok {
			all = append(all, is)
		}
	}
	return all
}

// do executes a command that must not be refused.
func (o *desk) do(c protocol.Command) any {
	o.Helper()
	got, err := o.store.Execute(context.Background(), c)
	if err != nil {
		o.Fatalf("%s: %T: %v", o.name, c, err)
	}
	return got
}

func (o *desk) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatalf("%s: %v", o.name, err)
	}
}

// refuses checks that something is refused with a code, and returns what is said.
func (o *desk) refuses(code protocol.Code, err error) string {
	o.Helper()
	if protocol.CodeOf(err) != code {
		o.Fatalf("%s: %v, want %v", o.name, err, code)
	}
	return err.Error()
}

func (d *desks) until(what string, so func() bool) {
	d.Helper()
	for range 1200 {
		synctest.Wait()
		if so() {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	d.Fatalf("not within two minutes: %s", what)
}

func (o *desk) init() {
	o.Helper()
	o.ok(o.m.Init(context.Background(), Naming{Domain: o.name + ".example", Office: o.name}))
}

func (o *desk) domain() string { return o.name + ".example" }

func (o *desk) self() About {
	o.Helper()
	a, err := o.m.Self()
	o.ok(err)
	return a
}

// meets makes the two known to each other the way operators do it, each allowing something.
func (o *desk) meets(p *desk, allow, allowThere fed.Allow) {
	o.Helper()
	ctx := context.Background()
	inv, err := o.m.Invite(ctx, 0)
	o.ok(err)
	_, err = p.m.AcceptInvitation(ctx, inv.Code(), "")
	p.ok(err)
	o.ok(o.m.Confirm(ctx, p.domain(), p.self().Fingerprint, allow, allow))
	p.ok(p.m.Confirm(ctx, o.domain(), o.self().Fingerprint, allowThere, allowThere))
	o.until("the link is up", func() bool { return o.isUp(p) && p.isUp(o) })
}

func (o *desk) isUp(p *desk) bool {
	id, err := fed.ParseClusterID(p.self().Cluster)
	o.ok(err)
	return o.m.linkOf(id) != nil
}

// id is the number of one of this office's people.
func (o *desk) id(who string) protocol.UserID {
	o.Helper()
	u, _, err := o.store.Login(who)
	o.ok(err)
	return u.ID
}

// alias is what somebody of another office is called here, 0: not known.
func (o *desk) alias(p *desk, who string) protocol.UserID {
	o.Helper()
	id, err := fed.ParseClusterID(p.self().Cluster)
	o.ok(err)
	u, err := o.store.AliasOf(fed.UserRef{Cluster: id, ID: p.id(who)})
	o.ok(err)
	return u
}

// finds searches somebody of another office, who gets an alias by that.
func (o *desk) finds(p *desk, who string) protocol.UserID {
	o.Helper()
	_, err := o.m.Search(context.Background(), o.id("ann"), who, 0)
	o.ok(err)
	u := o.alias(p, who)
	if u == 0 {
		o.Fatalf("%s does not find %s of %s", o.name, who, p.name)
	}
	return u
}

func (o *desk) view(p *desk) PeerView {
	o.Helper()
	s, err := o.m.Status(context.Background())
	o.ok(err)
	for _, l := range s.Links {
		if l.Domain == p.domain() {
			return l.PeerView
		}
	}
	o.Fatalf("%s is not known at %s", p.name, o.name)
	return PeerView{}
}
