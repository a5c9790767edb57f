package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"teamtalk/gateway/msfs"
	"teamtalk/gateway/transfer"
	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/gateway/transport/quicport"
	"teamtalk/gateway/transport/tlscert"
	"teamtalk/gateway/transport/tlsport"
	"teamtalk/gateway/transport/ws"
)

// clients is what stands between the sockets and the gateway.
type clients struct {
	http  http.Handler // for all that speaks HTTP: plain, over TLS, HTTP/3
	ws    *ws.Handler
	polls *longpoll.Handler
	media media
	tls   *tlsport.Port // nil: off

	transfer *transfer.Engine // nil: clients have no way to it

	certificates *tls.Config // of both TLS ports

	ca      CA
	renewal func(context.Context) error // of an obtained certificate; nil: nothing to do
}

// bindTLS makes the certificates of both TLS ports, and opens the one on TCP with them.
func (n *Node) bindTLS() error {
	if n.cfg.Listen.TLS.Off() && n.cfg.Listen.QUIC.Off() {
		return nil
	}
	conf, err := n.certificates()
	if err != nil {
		return err
	}
	n.clients.certificates = conf
	if n.sockets.tls != nil {
		n.clients.tls = tlsport.New(tlsport.Config{Listener: n.sockets.tls, TLS: conf, Protocols: n.checkProtocols(), Peer: n.onTLS(),
			HandshakesPerAddress: n.cfg.Limits.UnauthenticatedPerAddress, Log: n.log, Registerer: n.registry})
		n.steps.started("tls port", func(context.Context) error { return n.clients.tls.Close() })
	}
	return nil
}

// bindQUIC opens the UDP port.
func (n *Node) bindQUIC(context.Context) error {
	at := n.cfg.Listen.QUIC
	if at.Off() {
		return nil
	}
	key, err := n.resetKey()
	if err != nil {
		return err
	}
	shared, err := n.store.Cluster()
	if err != nil {
		return err
	}
	l, err := quicport.Listen(quicport.Config{Address: string(at), TLS: n.clients.certificates, ResetKey: key, TokenKey: shared.AddressKey[:], Peer: n.onQUIC(), Bulk: n.clients.transfer.ServeStream, Origins: n.cfg.Public.Origins,
		Log: n.log, Registerer: n.registry,
		// What it serves is made when all ports are known; nothing is accepted before.
		HTTP:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.clients.http.ServeHTTP(w, r) }),
		Limits: quicport.Limits{Connections: n.cfg.Limits.MaxConnections + n.cfg.Limits.Unauthenticated},
		Timing: quicport.Timing{FirstStream: n.cfg.Limits.LoginDeadline, Idle: quicIdle(n.cfg.Limits)},
	})
	if err != nil {
		return portError("quic", at, err)
	}
	n.sockets.quic.Store(l)
	n.steps.started("quic listener", func(context.Context) error { l.Close(); return nil })
	return nil
}

// checkProtocols are the ALPN names by which an authority checks that a name is ours.
func (n *Node) checkProtocols() []string {
	if n.clients.renewal == nil {
		return nil
	}
	return []string{tlscert.ACMEProtocol}
}

// quicIdle is after how long without a datagram a QUIC connection is given up: later than any session on it would be.
func quicIdle(l LimitsConfig) time.Duration {
	return max(l.IdlePC, l.IdleMobile, l.LoginDeadline) + 30*time.Second
}

// serveClients accepts.
func (n *Node) serveClients(context.Context) error {
	if err := n.makeHandlers(); err != nil {
		return err
	}
	// In the order in which they are stopped, the last one first: when all sessions have ended, HTTP goes, which until then brought the clients
	// that poll their last answers; then what the handlers still hold.
	n.steps.started("web sessions", func(context.Context) error {
		n.clients.ws.Close()
		n.clients.polls.Close()
		return nil
	})
	n.serveNative()
	n.serveWeb()
	n.runRenewal()
	n.setServing(true)
	// The first step of a stop: nothing new is accepted, what was read is answered.
	n.steps.started("client sessions", func(ctx context.Context) error {
		n.setServing(false)
		n.acceptNoMore()
		return n.gateway.Shutdown(ctx)
	})
	return nil
}

// session serves one client. It ends by the gateway's Shutdown, not by a context: what was read is still answered.
func (n *Node) session(c transport.Conn) { n.gateway.ServeConn(context.Background(), c) }

// makeHandlers makes what answers HTTP.
func (n *Node) makeHandlers() error {
	login := http.NotFoundHandler()
	if n.tellsPort() {
		m, err := n.msgServer()
		if err != nil {
			return err
		}
		login = m
		if n.sockets.login != nil {
			n.serve("login listener", n.sockets.login.Serve, m.ServeConn)
		}
	}
	n.clients.ws = ws.New(ws.Config{Handle: n.session, Origins: n.cfg.Public.Origins, RemoteAddr: n.cfg.Proxies.Client,
		Log: n.log, Registerer: n.registry})
	polls := longpoll.Config{Handle: n.session, Node: n.cfg.Node.ID, Origins: n.cfg.Public.Origins,
		RemoteAddr: n.cfg.Proxies.Client, Log: n.log, Registerer: n.registry}
	if n.peering.port != nil {
		key, err := n.pollKey()
		if err != nil {
			return err
		}
		polls.Peers, polls.Key = forwardPolls{&n.peering}, key
	}
	n.clients.polls = longpoll.New(polls)
	n.peering.polls.Store(n.clients.polls)
	if err := n.buildMedia(); err != nil {
		return err
	}
	page, err := n.webClient()
	if err != nil {
		return err
	}
	n.clients.http = msfs.Pages(n.cfg.Public.Origins, publicMux(login, n.clients.ws, n.clients.polls, page.Mount, n.mountMedia, n.mountTransfer))
	return nil
}

// tellsPort reports whether there is a native port to tell the clients that ask.
func (n *Node) tellsPort() bool {
	return (n.sockets.tcp != nil || n.cfg.Public.TCPPort != 0) && n.publicHost() != ""
}

// serveNative accepts what speaks PDUs from the first byte.
func (n *Node) serveNative() {
	if n.sockets.tcp != nil {
		n.serve("tcp listener", n.sockets.tcp.Serve, n.session)
	}
	if n.sockets.files != nil {
		n.serve("files listener", n.sockets.files.Serve, n.clients.transfer.ServeConn)
	}
	if n.clients.tls != nil {
		n.serve("tls listener", n.clients.tls.Serve, n.session)
	}
	if quic := n.sockets.quic.Load(); quic != nil {
		n.serve("quic listener", quic.Serve, n.session)
	}
}

// serveWeb answers HTTP.
func (n *Node) serveWeb() {
	var leave []func(context.Context)
	start := func(name string, l net.Listener, h http.Handler) {
		s := publicServer(h)
		n.startHTTP(name, l, s)
		leave = append(leave, func(ctx context.Context) {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // breaks what is left, which is all there is to do
			}
		})
	}
	if n.sockets.http != nil {
		start("http", n.sockets.http, n.clients.http)
	}
	if n.clients.tls != nil {
		h := n.clients.http
		if port := n.quicPort(); port != 0 {
			h = advertiseHTTP3(h, port)
		}
		start("https", n.clients.tls.HTTP(), h)
	}
	if quic := n.sockets.quic.Load(); quic != nil {
		leave = append(leave, func(ctx context.Context) { _ = quic.Shutdown(ctx) }) // its Close breaks what is left
	}
	n.steps.started("web servers", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, leaveTime)
		defer cancel()
		var all sync.WaitGroup
		for _, f := range leave {
			all.Go(func() { f(ctx) }) // ends with ctx
		}
		all.Wait()
		return nil
	})
}

func (n *Node) quicPort() uint16 {
	quic := n.sockets.quic.Load()
	if quic == nil {
		return 0
	}
	return toldPort(n.cfg.Public.QUICPort, quic.Addr())
}

// toldPort is the port that clients are told: the configured one, or that listened on.
func toldPort(configured uint16, bound net.Addr) uint16 {
	if configured != 0 {
		return configured
	}
	return portOf(bound)
}

// ownEndpoints is where clients of the session extension may connect to on this node, the best way first.
func (n *Node) ownEndpoints() []string {
	var all []string
	host := n.publicHost()
	if host == "" {
		return nil
	}
	at := func(scheme, path string, port uint16) {
		all = append(all, scheme+"://"+net.JoinHostPort(host, strconv.Itoa(int(port)))+path)
	}
	if port := n.quicPort(); port != 0 {
		at("quic", "", port)
	}
	if n.sockets.tls != nil {
		port := toldPort(n.cfg.Public.TLSPort, n.sockets.tls.Addr())
		at("tls", "", port)
		at("wss", "/ws", port)
		at("https", "/lp", port)
	}
	return all
}

// acceptNoMore keeps new sessions out, whatever they come by.
func (n *Node) acceptNoMore() {
	for _, l := range []*transport.TCP{n.sockets.tcp, n.sockets.login, n.sockets.files} {
		if l != nil {
			l.Stop()
		}
	}
	if n.clients.tls != nil {
		n.clients.tls.Stop()
	}
	if quic := n.sockets.quic.Load(); quic != nil {
		quic.Stop()
	}
	n.clients.ws.Stop()
	n.clients.polls.Stop()
}

// serve runs an accept loop, which ends when its port is stopped.
func (n *Node) serve(name string, loop func(func(transport.Conn)) error, handle func(transport.Conn)) {
	n.running.Go(func() { // ends when the port is stopped or closed; joined by Node.Close
		if err := loop(handle); err != nil {
			n.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}
