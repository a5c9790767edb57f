package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/blobs"
	"teamtalk/bus"
	"teamtalk/gateway"
	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/quicport"
	"teamtalk/internal/admin"
	"teamtalk/internal/obs"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
	"teamtalk/service"
)

// Node is a running node.
type Node struct {
	cfg      *Config
	log      *slog.Logger
	registry *prometheus.Registry
	health   *obs.Health
	steps    steps
	running  sync.WaitGroup // accept loops
	failed   chan error     // holds the first reason why the node cannot go on
	departs  chan struct{}  // holds something when there is nothing more to do

	bus     *bus.Bus
	store   *state.Store
	admin   *service.Admin
	gateway *gateway.Server
	peering peering
	abroad  abroad
	blobs   *blobs.Keeper
	sockets sockets
	clients clients

	mu     sync.Mutex // guards serving
	isOpen bool       // clients are accepted
}

// sockets are the listeners; nil where the address is off.
type sockets struct {
	tcp, login, files *transport.TCP
	tls, http         *transport.Listener
	quic              atomic.Pointer[quicport.Port] // other nodes may ask for its address before it is there
	ops               net.Listener
}

// leaderTime is how long a start waits for a leader before it goes on without one (reads work, writes are refused).
const leaderTime = 10 * time.Second

// Start brings a node up, in this order, each step needing those before it. When it returns, clients are served and
// DIR/addresses.json is there. On an error everything is stopped again.
func Start(ctx context.Context, cfg *Config, log *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, log: log, registry: obs.NewRegistry(obs.BuildVersion()), health: &obs.Health{}, failed: make(chan error, 1), departs: make(chan struct{}, 1)}
	for _, start := range []func(context.Context) error{
		n.check,           // what is wrong with the configuration is said before anything is touched
		n.listenNode,      // known: where other nodes reach this one
		n.identify,        // known: which node this is; one that joins is let in
		n.openPort,        // what raft goes by
		n.openStore,       // takes the lock of the data directory, so that two processes never share one
		n.buildBlobs,      // subscribes to the bus before the first command
		n.buildFederation, // subscribes to the bus before the first command; knows what ports show to other clusters
		n.bind,            // a port that is taken is known before anything answers
		n.buildTransfer,   // knows the port that offers name
		n.buildGateway,    // subscribes to the bus before the first command
		n.openMesh,        // commands go to the leader, signals to all
		n.serveBlobs,      // needs the members
		n.serveOps,        // early: /readyz tells what a start waits for
		n.awaitLeader,     // writes work from here
		n.found,           // the secrets that all nodes share
		n.letJoin,         // needs them
		n.sharePasswords,  // needs one of them
		n.bindQUIC,        // needs one of them
		n.makeDemo,        // before anybody can log in
		n.linkClusters,    // before anybody connects
		n.serveClients,    // only now: everything behind is up
		n.noteAddresses,   // last: whoever waits for the file finds a node that is ready
	} {
		if err := start(ctx); err != nil {
			return nil, errors.Join(err, n.stopAfterFailure())
		}
	}
	log.Info("ready", "addresses", n.Addresses())
	return n, nil
}

func (n *Node) stopAfterFailure() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Shutdown.Timeout)
	defer cancel()
	return n.Close(ctx)
}

func (n *Node) check(context.Context) error {
	if err := errors.Join(n.cfg.CheckPublic(), n.cfg.checkPort(), n.cfg.checkTLS(), n.cfg.checkFiles()); err != nil {
		return err
	}
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	n.log.Info("starting", "version", obs.BuildVersion().String(), "node", n.cfg.Node.ID, "name", n.cfg.nodeName(), "data", n.cfg.Data)
	return nil
}

// explainDamage adds to an error about damaged data what to type.
func (n *Node) explainDamage(err error) error {
	if !errors.Is(err, raftstore.ErrDamaged) || n.peering.port == nil {
		return err
	}
	return fmt.Errorf("%w; among several nodes: `teamtalkd cluster remove %s` and `teamtalkd cluster token` on another one, then start this one with %s emptied and --join TOKEN",
		err, n.cfg.Node.ID, n.cfg.Data)
}

// openStore makes the bus, which the store publishes to, and opens the store.
func (n *Node) openStore(ctx context.Context) error {
	n.bus = bus.New(n.busConfig())
	n.steps.started("bus", func(context.Context) error { n.bus.Close(); return nil })
	config := n.storeConfig()
	store, err := state.Open(ctx, config)
	if err != nil {
		if transport, ok := config.Transport.(io.Closer); ok { // the store's only once it is open
			err = errors.Join(err, transport.Close())
		}
		return n.cfg.explainLevel(n.explainDamage(err))
	}
	n.store = store
	n.steps.started("store", func(context.Context) error { return store.Close() })
	n.health.Require("store", store.Ready)
	// Only now is it sure that a file that is there is a leftover and not that of another process.
	return removeAddresses(n.cfg.Data)
}

// bind opens the ports but QUIC's, those that need a certificate last.
func (n *Node) bind(ctx context.Context) (err error) {
	if n.sockets.tcp, err = n.listenPDU("tcp", n.cfg.Listen.TCP); err != nil {
		return err
	}
	if n.sockets.login, err = n.listenPDU("login", n.cfg.Listen.Login); err != nil {
		return err
	}
	if n.sockets.files, err = n.listenPDU("files", n.cfg.Listen.Files); err != nil {
		return err
	}
	if n.sockets.http, err = n.listenBounded("http", n.cfg.Listen.HTTP); err != nil {
		return err
	}
	if n.sockets.ops, err = n.listenOps(ctx); err != nil {
		return err
	}
	if n.sockets.tls, err = n.listenBounded("tls", n.cfg.Listen.TLS); err != nil {
		return err
	}
	return n.bindTLS()
}

func (n *Node) listenPDU(name string, at Address) (*transport.TCP, error) {
	if at.Off() {
		return nil, nil
	}
	l, err := transport.ListenTCP(transport.TCPConfig{Address: string(at), Listener: name, Trusted: n.cfg.Proxies.trusted(),
		Log: n.log, Registerer: n.registry})
	if err != nil {
		return nil, portError(name, at, err)
	}
	n.steps.started(name+" listener", func(context.Context) error { l.Close(); return nil })
	return l, nil
}

// listenBounded is for ports whose connections the gateway does not count, for not each is a session: they may be as many as sessions.
func (n *Node) listenBounded(name string, at Address) (*transport.Listener, error) {
	if at.Off() {
		return nil, nil
	}
	l, err := transport.Listen(transport.ListenerConfig{Address: string(at), Listener: name,
		Connections: n.cfg.Limits.MaxConnections + n.cfg.Limits.Unauthenticated, Trusted: n.cfg.Proxies.trusted(), Log: n.log, Registerer: n.registry})
	if err != nil {
		return nil, portError(name, at, err)
	}
	n.steps.started(name+" listener", closing(l))
	return l, nil
}

func (n *Node) listenOps(ctx context.Context) (net.Listener, error) {
	at := n.cfg.Listen.Ops
	if at.Off() {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", string(at))
	if err != nil {
		return nil, portError("ops", at, err)
	}
	n.steps.started("ops listener", closing(l))
	return l, nil
}

// closing closes a listener that its server may have closed before.
func closing(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func portError(name string, at Address, err error) error {
	return fmt.Errorf("listen.%s: cannot listen on %s (another process there? choose another with --%s, port 0 for any free one): %w", name, at, name, err)
}

// serveOps answers operators.
func (n *Node) serveOps(context.Context) error {
	n.health.Require("listeners", n.serving)
	token, err := admin.LoadToken(n.cfg.Data)
	if err != nil {
		return err
	}
	api := admin.Handler(admin.Config{Users: n.admin, Departments: n.admin, Groups: n.admin, Cluster: n.peering.manager.Load(),
		Backups: backups{n.store}, Federation: n.abroad.manager, Log: n.log})
	if n.sockets.ops == nil {
		return nil
	}
	n.serveHTTP("ops", n.sockets.ops, opsServer(opsHandler(n.health, n.registry, token, api)))
	return nil
}

// serveHTTP runs an HTTP server on a listener until its step is stopped.
func (n *Node) serveHTTP(name string, l net.Listener, s *http.Server) {
	n.startHTTP(name, l, s)
	n.steps.started(name+" server", func(ctx context.Context) error {
		if err := s.Shutdown(ctx); err != nil {
			return errors.Join(err, s.Close())
		}
		return nil
	})
}

// startHTTP runs an HTTP server on a listener until it is shut down.
func (n *Node) startHTTP(name string, l net.Listener, s *http.Server) {
	s.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
	n.running.Go(func() { // ends with Shutdown; joined by Close
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("%s listener: %w", name, err))
		}
	})
}

// awaitLeader waits until writes work. Without a leader the node starts all the same: it can read, and /readyz says what is missing.
func (n *Node) awaitLeader(ctx context.Context) error {
	deadline := time.NewTimer(leaderTime)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := n.store.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-deadline.C:
			n.log.Warn("starting although writes do not work yet", "reason", err)
			return nil
		case err := <-n.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("start was interrupted: %w", context.Cause(ctx))
		}
	}
}

func (n *Node) makeDemo(ctx context.Context) error {
	if n.cfg.Demo.Users == 0 {
		return nil
	}
	started := time.Now()
	if err := makeDemo(ctx, n.admin, service.NewMessages(n.store, service.MessageRules{}), n.cfg.Demo); err != nil {
		return err
	}
	n.log.Info("demo world is there", "users", n.cfg.Demo.Users, "took", time.Since(started))
	return nil
}

func (n *Node) noteAddresses(context.Context) error {
	at := n.Addresses()
	if n.clients.ca.File != "" {
		at["ca"] = n.clients.ca.File
	}
	if err := writeAddresses(n.cfg.Data, at); err != nil {
		// A full disk is no reason not to serve those who read.
		n.log.Warn("operator commands need --ops, for the addresses could not be noted", "error", err)
		return nil
	}
	n.steps.started("note of the addresses", func(context.Context) error { return removeAddresses(n.cfg.Data) })
	return nil
}

// Addresses tells by name (tcp, tls, quic, http, login, files, node, ops) where this node can be reached from this machine.
func (n *Node) Addresses() map[string]string {
	at := make(map[string]string)
	for name, a := range n.sockets.bound() {
		at[name] = reachable(a)
	}
	if n.peering.listener != nil {
		at["node"] = n.advertised()
	}
	return at
}

func (s *sockets) bound() map[string]net.Addr {
	at := make(map[string]net.Addr)
	if s.tcp != nil {
		at["tcp"] = s.tcp.Addr()
	}
	if s.login != nil {
		at["login"] = s.login.Addr()
	}
	if s.files != nil {
		at["files"] = s.files.Addr()
	}
	if s.tls != nil {
		at["tls"] = s.tls.Addr()
	}
	if quic := s.quic.Load(); quic != nil {
		at["quic"] = quic.Addr()
	}
	if s.http != nil {
		at["http"] = s.http.Addr()
	}
	if s.ops != nil {
		at["ops"] = s.ops.Addr()
	}
	return at
}

// Wait returns nil when ctx ends or the node was drained to end, or the reason why the node cannot go on; then the process must exit, and writing
// anything more, even for a good end, is not safe.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case err := <-n.failed:
		return err
	case <-n.departs:
		return nil
	case <-ctx.Done():
		return nil
	}
}

// depart has Wait return: the node was drained for that.
func (n *Node) depart() { n.departs <- struct{}{} }

// Close stops the node in the reverse order of its start: the note of the addresses, client sessions (what was read is
// answered), HTTP, what carries sessions, ops, the delivery of events, ports, store, bus. When ctx ends it no longer waits for clients.
func (n *Node) Close(ctx context.Context) error {
	err := n.steps.unwind(ctx)
	n.running.Wait()
	select {
	case failure := <-n.failed: // on the way out
		return errors.Join(failure, err)
	default:
		return err
	}
}

// fail notes the first reason why the node cannot go on.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

func (n *Node) setServing(open bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isOpen = open
}

func (n *Node) serving() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.isOpen {
		return errors.New("clients are not accepted (starting, or leaving)")
	}
	return nil
}
