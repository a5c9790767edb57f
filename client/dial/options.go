package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"golang.org/x/net/http/httpproxy"
)

const (
	defaultStagger = 250 * time.Millisecond
	defaultTimeout = 15 * time.Second
	// plainGrace is the head start of the encrypted transports: a plain one needs fewer round trips, and would win on slow networks.
	plainGrace = 2 * time.Second
	// native is the ALPN name of the native protocol.
	native = "teamtalk/1"
)

// Options say how to connect. The zero value is good for most.
type Options struct {
	TLS        *tls.Config                      // roots and the like; ALPN is set here, and the server's name if there is none. nil: the system's roots
	Proxy      func(*url.URL) (*url.URL, error) // for an http or https URL; nil: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as they are when the Dialer is made
	AllowPlain bool                             // addresses without a scheme may be tried unencrypted, after all else
	Stagger    time.Duration                    // between the starts of two transports; 0: 250 ms
	Timeout    time.Duration                    // of one attempt; 0: 15 s
	Net        Network                          // nil: the machine's
	Only       []Transport                      // the transports to use; empty: all
	Winners    Winners                          // remembers what worked; nil: as long as the Dialer lives
	NetworkKey func() string                    // names the network the machine is on, for Winners; nil: made of its addresses
	UserAgent  string                           // of HTTP requests; empty: "teamtalk"
	Log        *slog.Logger                     // nil: slog.Default()
}

// Network opens sockets. One that also has net.Resolver's LookupNetIP is asked for the addresses of QUIC.
type Network interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	ListenPacket(ctx context.Context) (net.PacketConn, error) // a UDP socket at any port
}

// resolver finds the addresses of a host.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Machine is what a nil Options.Net stands for, for a Network that adds something to it.
func Machine() Network { return newMachine() }

// machine is the network of the machine itself.
type machine struct {
	dialer net.Dialer
}

func newMachine() *machine {
	return &machine{dialer: net.Dialer{Control: boundRTO, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}}
}

func (m *machine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return m.dialer.DialContext(ctx, network, address)
}

func (m *machine) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, "udp", ":0")
}

func (o *Options) complete() {
	if o.Proxy == nil {
		o.Proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	if o.Stagger <= 0 {
		o.Stagger = defaultStagger
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Net == nil {
		o.Net = newMachine()
	}
	if o.Winners == nil {
		o.Winners = NewWinners()
	}
	if o.NetworkKey == nil {
		o.NetworkKey = networkKey
	}
	if o.UserAgent == "" {
		o.UserAgent = "teamtalk"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// allows reports whether a transport may be used.
func (o *Options) allows(t Transport) bool { return len(o.Only) == 0 || slices.Contains(o.Only, t) }

// proxyFor is the proxy of a route; nil: none.
func (o *Options) proxyFor(r Route) (*url.URL, error) {
	if !r.Transport.throughProxy() {
		return nil, nil //nolint:nilnil // no proxy is no error
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	u.Scheme = "https" // of the WebSocket too: what proxies are configured for
	if r.Plain {
		u.Scheme = "http"
	}
	proxy, err := o.Proxy(u)
	if err != nil || proxy == nil {
		return nil, err
	}
	if proxy.Hostname() == "" {
		return nil, errors.New("the proxy's URL has no host")
	}
	return proxy, nil
}

// tlsConfig is for a connection to host by one of the protocols.
func (o *Options) tlsConfig(host string, sessions tls.ClientSessionCache, protocols ...string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		c = o.TLS.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = protocols
	if c.ServerName == "" {
		c.ServerName = host
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = sessions
	}
	return c
}
