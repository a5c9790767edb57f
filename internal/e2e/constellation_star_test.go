package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/bus"
	"teamtalk/gateway"
	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/gateway/transport/quicport"
	"teamtalk/gateway/transport/tlsport"
	"teamtalk/gateway/transport/ws"
	"teamtalk/internal/cluster"
	"teamtalk/internal/peers"
	nodeca "teamtalk/internal/peers/authority"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
	"teamtalk/service"
)

// A star is a node of a constellation: a place, a directory, a clock, and what it proves itself with. It has lives, one after the other.
type star struct {
	place    string // the name of its host
	dir      string
	identity *nodeca.Identity
	skew     atomic.Int64 // nanoseconds that its clock is wrong

	busy sync.Mutex // held by who begins or ends a life

	mu  sync.Mutex // guards now
	now *life      // nil: it is down
}

func (s *star) clock() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }

// life is the life that the star has; nil: none.
func (s *star) life() *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *star) set(l *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = l
}

func (s *star) id() protocol.NodeID { return s.identity.Node() }

// A life is a server from its start to its end. Its parts are wired as package node wires them, which needs sockets of the machine.
type life struct {
	c       *constellation
	star    *star
	host    *simnet.Host
	isGuest bool // let in by a token just now
	log     *slog.Logger

	bus     *bus.Bus
	store   *state.Store
	gateway *gateway.Server
	port    *peers.Port
	mesh    atomic.Pointer[peers.Mesh]
	manager atomic.Pointer[cluster.Manager]
	polls   atomic.Pointer[longpoll.Handler]

	running sync.WaitGroup
	stops   []func()
}

// The node port, that of the clients, and the methods of calls between nodes, as package node has them.
const (
	starPort            = "7000"
	starClients         = 443
	callPropose   uint8 = 1
	callBus       uint8 = 2
	callPoll      uint8 = 4
	starHeartbeat       = 600 * time.Millisecond
	starReminder        = 250 * time.Millisecond
	starPing            = 500 * time.Millisecond
)

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

// begin is a star's next life. With a token it joins, unless it has done so before.
func (c *constellation) begin(ctx context.Context, s *star, token string) (*life, error) {
	l := &life{c: c, star: s, host: c.net.Host(s.place), log: c.log.With("place", s.place)}
	for _, start := range []func(context.Context) error{
		func(ctx context.Context) error { return l.identify(ctx, token) },
		l.openPort, l.openStore, l.openGateway, l.openMesh, l.awaitLeader, l.awaitSecrets, l.serveClients,
	} {
		if err := start(ctx); err != nil {
			l.host.Down(simnet.Reset)
			l.end()
			return nil, fmt.Errorf("%s: %w", s.place, err)
		}
	}
	s.set(l)
	return l, nil
}

func (l *life) address() string { return net.JoinHostPort(l.star.place, starPort) }

func (l *life) identify(ctx context.Context, token string) error {
	if l.star.identity != nil {
		return nil
	}
	parsed, err := nodeca.ParseToken(token)
	if err != nil {
		return err
	}
	join := peers.Joining{Token: parsed, Dialer: l.host.DialContext}
	id, _, err := join.Join(ctx, peers.JoinRequest{Address: l.address(), Name: l.star.place, Version: "test"})
	if err != nil {
		return err
	}
	l.star.identity, l.isGuest = id, true
	return nil
}

func (l *life) openPort(context.Context) (err error) {
	listener, err := l.host.Listen(starPort)
	if err != nil {
		return err
	}
	l.port, err = peers.Open(peers.Config{
		Listener: listener, Advertise: l.address(), Identity: l.star.identity, Version: "test", Dialer: l.host.DialContext,
		Removed: func(id protocol.NodeID) bool { m := l.manager.Load(); return m != nil && m.Removed(id) },
		Resolve: l.addresses, Logger: l.log, Clock: l.star.clock, Tuning: peers.Tuning{Ping: starPing},
	})
	if err != nil {
		return err
	}
	l.later(func() { l.c.check(l.port.Close()) })
	return nil
}

func (l *life) addresses() map[protocol.NodeID]string {
	if l.manager.Load() == nil {
		return nil
	}
	members, err := l.store.Engine().Members()
	if err != nil {
		return nil
	}
	at := make(map[protocol.NodeID]string, len(members))
	for _, m := range members {
		at[m.ID] = m.Address
	}
	return at
}

func (l *life) openStore(ctx context.Context) error {
	own := l.star.id()
	l.bus = bus.New(bus.Config{Node: own, Generation: uint64(l.star.clock().UnixMicro()), Log: l.log})
	l.later(l.bus.Close)
	conf := raftstore.Config{
		Dir: l.star.dir, NodeID: own, Publisher: l.bus, Logger: l.log, Clock: l.star.clock, Version: "test",
		Transport: raftstore.NetworkTransport(l.port.RaftLayer(), l.log), Advertise: l.address(), Forwarder: starCalls{l},
		Fatal:  func(err error) { l.c.fail("%s: the store cannot go on: %v", l.star.place, err) },
		Tuning: l.c.tuning,
	}
	conf.Tuning.Heartbeat, conf.Tuning.CommitTimeout = starHeartbeat, starReminder
	if !l.isGuest {
		conf.Bootstrap = []raftstore.Member{{ID: own, Address: l.address()}}
	}
	store, err := state.Open(ctx, state.Config{Config: conf})
	if err != nil {
		return err
	}
	l.store = store
	l.later(func() { l.c.check(store.Close()) })
	return nil
}

func (l *life) openGateway(context.Context) error {
	accounts, err := service.NewAccounts(service.AccountsConfig{Store: l.store, Verifier: l.c.verifier, Now: l.star.clock})
	if err != nil {
		return err
	}
	happened, signals, displaced := l.bus.Subscribe("gateway"), l.bus.Signals("gateway"), l.bus.Presence().Displaced()
	l.later(func() {
		happened.Close()
		signals.Close()
		displaced.Close()
	})
	l.gateway, err = gateway.New(gateway.Config{
		Services: gateway.Services{
			Accounts: accounts,
			Devices:  service.NewDevices(l.store),
			Buddies:  service.NewBuddies(l.store, l.star.clock),
			Messages: service.NewMessages(l.store, service.MessageRules{}),
			Groups:   service.NewGroups(l.store),
			Files:    service.NewFiles(l.store, nil),
			Sessions: service.NewSessions(l.store, l.star.clock),
		},
		Events: happened, Signals: signals, Signaler: l.bus, Presence: l.bus.Presence(), Displaced: displaced,
		Log: l.log, Replica: l.store, Replay: l.store, Node: string(l.star.id()), Endpoints: l.endpoints,
	})
	if err != nil {
		return err
	}
	l.background("delivery of events", l.gateway.Run)
	burner, err := service.NewBurner(service.BurnerConfig{Store: l.store, Log: l.log})
	if err != nil {
		return err
	}
	l.background("burning of messages", burner.Run)
	return nil
}

// background runs a part until its step is stopped.
func (l *life) background(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ended and joined by the step below
		defer close(done)
		if err := run(ctx); ctx.Err() == nil {
			l.c.fail("%s: %s ended: %v", l.star.place, name, err)
		}
	}()
	l.later(func() {
		cancel()
		<-done
	})
}

func (l *life) openMesh(context.Context) error {
	shared := starPapers{l.store}
	manager, err := cluster.New(cluster.Config{
		Node: l.star.id(), Name: l.star.place, Version: "test", Address: l.address(), Store: starMembers{l.store.Engine()},
		Local: starLocal{l}, Papers: shared, Log: l.log, Clock: l.star.clock,
		Ousted: func() { l.log.Info("removed") },
	})
	if err != nil {
		return err
	}
	l.manager.Store(manager)
	mesh, err := l.port.OpenMesh(peers.MeshConfig{
		Handler: l.answer, Links: l.bus.Link, Renewed: func(*nodeca.Identity) error { return nil },
		Sign: func(_ context.Context, node protocol.NodeID, request []byte) ([]byte, error) {
			return shared.Sign(request, node)
		},
	})
	if err != nil {
		return err
	}
	l.mesh.Store(mesh)
	l.later(func() {
		l.mesh.Store(nil)
		mesh.Close()
	})
	l.background("signals between nodes", func(ctx context.Context) error { return l.bus.Serve(ctx, starCalls{l}) })
	manager.Start(mesh, l.port)
	l.later(manager.Close)
	l.port.ServeJoin(shared.Key, manager.Join)
	return nil
}

func (l *life) answer(ctx context.Context, from protocol.NodeID, method uint8, payload []byte) ([]byte, error) {
	switch {
	case method == callPropose:
		commands, err := raftstore.DecodeTagged(payload)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeInvalid, "commands of %s: %w", from, err)
		}
		return nil, l.store.Engine().Accept(ctx, from, commands, func() { peers.Accepted(ctx) })
	case method == callBus:
		l.bus.Receive(from, payload)
		return nil, nil
	case method == callPoll:
		peers.Accepted(ctx)
		if polls := l.polls.Load(); polls != nil {
			return polls.Serve(ctx, payload)
		}
		return nil, errLifeless()
	case cluster.Owns(method):
		return l.manager.Load().Handle(ctx, from, method, payload)
	}
	return nil, protocol.Errorf(protocol.CodeInvalid, "call %d is not known", method)
}

func errLifeless() error {
	return protocol.Errorf(protocol.CodeUnavailable, "this node is starting, or leaving")
}

// awaitLeader waits until writes work, but not for ever: nodes start without a leader too.
func (l *life) awaitLeader(ctx context.Context) error {
	until := time.Now().Add(10 * time.Second)
	for l.store.Ready() != nil && time.Now().Before(until) {
		if err := pass(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// awaitSecrets waits for the cluster's name: the first star writes it down, the others get it with the state.
func (l *life) awaitSecrets(ctx context.Context) error {
	if founding := l.c.founding; founding != nil {
		if _, err := l.store.Execute(ctx, &protocol.FoundCluster{Cluster: *founding}); err != nil {
			return err
		}
		l.c.founding = nil
	}
	for {
		if _, err := l.store.Cluster(); protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
		if err := pass(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// derive is a key for one purpose.
func (l *life) derive(purpose string) ([]byte, error) {
	shared, err := l.store.Cluster()
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, shared.TokenKey[:])
	_, _ = mac.Write([]byte(purpose))
	return mac.Sum(nil), nil
}

// serveClients opens the ports of the clients: native TLS, WebSocket and long-poll on one, QUIC on the other.
func (l *life) serveClients(context.Context) error {
	key, err := l.derive("long-poll sessions")
	if err != nil {
		return err
	}
	listener, err := l.host.Listen(fmt.Sprint(starClients))
	if err != nil {
		return err
	}
	datagrams, err := l.openQUIC()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	serve := func(c transport.Conn) { l.gateway.ServeConn(context.Background(), c) }
	sockets := ws.New(ws.Config{Handle: serve, Log: l.log})
	polls := longpoll.New(longpoll.Config{Handle: serve, Node: string(l.star.id()), Peers: starPolls{l}, Key: key, Log: l.log})
	l.polls.Store(polls)
	mux := http.NewServeMux()
	mux.Handle("/ws", sockets)
	mux.Handle("/lp", polls)
	mux.Handle("/lp/", polls)
	native := tlsport.New(tlsport.Config{Listener: transport.NewListener(listener, transport.ListenerConfig{Log: l.log}), TLS: l.c.certificates, Log: l.log})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)}
	l.running.Go(func() { _ = native.Serve(serve) })      // ends with Close
	l.running.Go(func() { _ = datagrams.Serve(serve) })   // ends with Close
	l.running.Go(func() { _ = web.Serve(native.HTTP()) }) // ends with Close
	l.later(func() {
		_ = web.Close()
		l.c.check(native.Close())
		datagrams.Close()
		sockets.Close()
		polls.Close()
	})
	l.later(func() {
		native.Stop()
		datagrams.Stop()
		sockets.Stop()
		polls.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := l.gateway.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			l.c.fail("%s: shutdown: %v", l.star.place, err)
		}
	})
	return nil
}

// openQUIC lets clients of former lives know that their connections are gone.
func (l *life) openQUIC() (*quicport.Port, error) {
	shared, err := l.derive("addresses")
	if err != nil {
		return nil, err
	}
	own, err := l.derive("resets of " + l.star.place)
	if err != nil {
		return nil, err
	}
	udp, err := l.host.ListenUDP(starClients)
	if err != nil {
		return nil, err
	}
	return quicport.Listen(quicport.Config{Conn: udp, TLS: l.c.certificates, TokenKey: shared, ResetKey: own, Log: l.log})
}
