package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"teamtalk/bus"
	"teamtalk/gateway"
	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/gateway/transport/quicport"
	"teamtalk/gateway/transport/tlscert"
	"teamtalk/gateway/transport/tlsport"
	"teamtalk/gateway/transport/ws"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
	"teamtalk/service"
	"teamtalk/service/password"
)

const (
	worldHost     = "chat.example"
	worldPassword = "123456"
)

// world is a server in this process whose clients come over a network in memory, so that its time may be virtual. Its parts are those of the real
// one; only the sockets and the configuration are not.
type world struct {
	net     *simnet.Network
	trust   *tls.Config // what clients need
	quic    *net.UDPAddr
	store   *state.Store
	gateway *gateway.Server

	running sync.WaitGroup
	stops   []func()
}

// newWorld starts a server with so many users, user1 …; call stop before the bubble ends. The network takes 20 ms each way: without that, people who answer
// at once would keep the bubble busy, and its time would stand still.
func newWorld(t *testing.T, users int) *world {
	t.Helper()
	w := &world{net: simnet.NewNetwork(simnet.NewLink(1, simnet.Faults{Delay: 20 * time.Millisecond}))}
	log := slog.New(slog.DiscardHandler)
	events := bus.New(bus.Config{})
	w.later(events.Close)
	store, err := state.Open(t.Context(), state.Config{Config: raftstore.Config{Dir: memoryDir(t), NodeID: "1", Publisher: events, Logger: log,
		Fatal: func(err error) { t.Errorf("the store cannot go on: %v", err) }}})
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	w.later(func() { w.check(t, store.Close()) })
	w.founded(t)
	verifier, err := password.NewVerifier(password.Config{Params: password.Params{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	w.populate(t, service.NewAdmin(store, store, verifier), users)
	w.serveGateway(t, events, verifier, log)
	w.listen(t, log)
	return w
}

func (w *world) later(f func()) { w.stops = append(w.stops, f) }

func (w *world) check(t *testing.T, err error) {
	if err != nil {
		t.Errorf("stop: %v", err)
	}
}

// stop ends everything, the last part first.
func (w *world) stop() {
	for len(w.stops) > 0 {
		last := w.stops[len(w.stops)-1]
		w.stops = w.stops[:len(w.stops)-1]
		last()
	}
	w.running.Wait()
}

func (w *world) founded(t *testing.T) {
	t.Helper()
	var c protocol.Cluster
	for _, secret := range [][]byte{c.ID[:], c.History[:], c.TokenKey[:], c.AddressKey[:]} {
		if _, err := rand.Read(secret); err != nil {
			t.Fatal(err)
		}
	}
	for { // until there is a leader, which is a matter of milliseconds
		_, err := w.store.Execute(t.Context(), &protocol.FoundCluster{Cluster: c})
		if err == nil {
			w.check(t, w.store.RaiseLevel(t.Context(), state.Level))
			return
		}
		if protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Fatal(err)
		}
	}
}

func (w *world) populate(t *testing.T, admin *service.Admin, users int) {
	t.Helper()
	var all []protocol.User
	for n := range users {
		all = append(all, protocol.User{Name: fmt.Sprintf("user%d", n+1)})
	}
	if err := admin.AddDemoUsers(t.Context(), all, worldPassword); err != nil {
		t.Fatal(err)
	}
}

func (w *world) serveGateway(t *testing.T, events *bus.Bus, verifier *password.Verifier, log *slog.Logger) {
	t.Helper()
	accounts, err := service.NewAccounts(service.AccountsConfig{Store: w.store, Verifier: verifier})
	if err != nil {
		t.Fatal(err)
	}
	happened, signals := events.Subscribe("gateway"), events.Signals("gateway")
	w.gateway, err = gateway.New(gateway.Config{
		Services: gateway.Services{
			Accounts: accounts,
			Devices:  service.NewDevices(w.store),
			Buddies:  service.NewBuddies(w.store, nil),
			Messages: service.NewMessages(w.store, service.MessageRules{}),
			Groups:   service.NewGroups(w.store),
			Files:    service.NewFiles(w.store, nil),
			Sessions: service.NewSessions(w.store, nil),
		},
		Events: happened, Signals: signals, Signaler: events, Presence: events.Presence(),
		Log: log, Replica: w.store, Replay: w.store, Node: "n1",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.running.Go(func() { _ = w.gateway.Run(ctx) }) // ends with ctx
	w.later(func() {
		cancel()
		happened.Close()
		signals.Close()
	})
}

// listen opens the ports: TLS and QUIC on 443, plain HTTP on 80, plain TCP on 8000.
func (w *world) listen(t *testing.T, log *slog.Logger) {
	t.Helper()
	authority, err := tlscert.NewDevelopment(tlscert.DevelopmentConfig{Dir: t.TempDir(), Hosts: []string{worldHost}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	conf := tlscert.ServerConfig(authority)
	w.trust = trustIn(t, authority.CAFile())

	serve := func(c transport.Conn) { w.gateway.ServeConn(context.Background(), c) }
	sockets := ws.New(ws.Config{Handle: serve, Log: log})
	polls := longpoll.New(longpoll.Config{Handle: serve, Log: log})
	mux := http.NewServeMux()
	mux.Handle("/ws", sockets)
	mux.Handle("/lp", polls)
	mux.Handle("/lp/", polls)

	native := tlsport.New(tlsport.Config{Listener: transport.NewListener(w.port(t, 443), transport.ListenerConfig{Log: log}), TLS: conf, Log: log})
	w.running.Go(func() { _ = native.Serve(serve) }) // ends with Close
	for _, l := range []net.Listener{native.HTTP(), w.port(t, 80)} {
		s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
		w.running.Go(func() { _ = s.Serve(l) }) // ends with Close
		w.later(func() { _ = s.Close() })
	}
	udp, err := w.net.ListenUDP(net.JoinHostPort(worldHost, "443"))
	if err != nil {
		t.Fatal(err)
	}
	w.quic = udp.LocalAddr().(*net.UDPAddr)
	datagrams, err := quicport.Listen(quicport.Config{Conn: udp, TLS: conf, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.running.Go(func() { _ = datagrams.Serve(serve) }) // ends with Close
	w.later(func() {
		w.check(t, native.Close())
		datagrams.Close()
		sockets.Close()
		polls.Close()
	})
	w.later(func() {
		native.Stop()
		datagrams.Stop()
		sockets.Stop()
		polls.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		w.check(t, w.gateway.Shutdown(ctx))
	})
}

func (w *world) port(t *testing.T, n int) net.Listener {
	t.Helper()
	l, err := w.net.Listen(net.JoinHostPort(worldHost, fmt.Sprint(n)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func trustIn(t *testing.T, file string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", file)
	}
	return &tls.Config{RootCAs: pool}
}

// LookupNetIP makes the network resolve the server's name.
func (w *world) lookup(host string) ([]netip.Addr, error) {
	if host != worldHost {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{w.quic.AddrPort().Addr()}, nil
}

// memoryDir is a directory in memory if the machine has such: what is tested here is not the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir := "/dev/shm/teamtalk-test-" + rand.Text()
	if os.Mkdir(dir, 0o700) != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
