package federation

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol/fed"
)

// QUICConfig is how QUIC connections between clusters behave: what one takes fits the windows of nine lanes [FED-TR-1].
func QUICConfig() *quic.Config {
	return &quic.Config{KeepAlivePeriod: 15 * time.Second, MaxIdleTimeout: 45 * time.Second, HandshakeIdleTimeout: 5 * time.Second,
		MaxIncomingStreams: -1, MaxIncomingUniStreams: int64(maxStreams), InitialStreamReceiveWindow: 1 << 20, MaxStreamReceiveWindow: 6 << 20,
		InitialConnectionReceiveWindow: 4 << 20, MaxConnectionReceiveWindow: 24 << 20}
}

// network dials real endpoints.
type network struct {
	race time.Duration
	tcp  net.Dialer
}

// NewDialer dials with QUIC, and with TLS over TCP so much later; the first whose handshake is done wins [FED-TR-2]. Through a proxy there is only TLS.
func NewDialer(race time.Duration) Dialer { return &network{race: race} }

// reached is how an attempt came out.
type reached struct {
	wire  Wire
	certs []*x509.Certificate
	err   error
}

// Dial connects with an endpoint.
func (n *network) Dial(ctx context.Context, endpoint, proxy string, conf *tls.Config) (Wire, []*x509.Certificate, error) {
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, nil, err
	}
	conf = conf.Clone()
	conf.ServerName = host
	if proxy != "" {
		r := n.dialTLS(ctx, endpoint, proxy, conf)
		return r.wire, r.certs, r.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan reached, 2)
	tried := make(chan struct{}) // QUIC has failed: TLS need not wait
	go func() {                  // ends with ctx at the latest; the loop below takes its result
		r := n.dialQUIC(ctx, endpoint, conf)
		if r.err != nil {
			close(tried)
		}
		results <- r
	}()
	go func() { // likewise
		select {
		case <-time.After(n.race):
		case <-tried:
		case <-ctx.Done():
		}
		results <- n.dialTLS(ctx, endpoint, "", conf)
	}()
	var won reached
	var all []error
	for range 2 {
		r := <-results
		switch {
		case r.err != nil:
			all = append(all, r.err)
		case won.wire == nil:
			won = r
			cancel() // the other one is called off
		default:
			_ = r.wire.Close() // it came too late, and nothing was said on it
		}
	}
	if won.wire == nil {
		return nil, nil, errors.Join(all...)
	}
	return won.wire, won.certs, nil
}

func (n *network) dialQUIC(ctx context.Context, endpoint string, conf *tls.Config) reached {
	c, err := quic.DialAddr(ctx, endpoint, conf, QUICConfig())
	if err != nil {
		return reached{err: fmt.Errorf("quic: %w", cleared(err))}
	}
	return reached{NewLanes(c), c.ConnectionState().TLS.PeerCertificates, nil}
}

func (n *network) dialTLS(ctx context.Context, endpoint, proxy string, conf *tls.Config) reached {
	fail := func(err error) reached { return reached{err: fmt.Errorf("tls: %w", cleared(err))} }
	address := endpoint
	if proxy != "" {
		address = proxy
	}
	raw, err := n.tcp.DialContext(ctx, "tcp", address)
	if err != nil {
		return fail(err)
	}
	c := raw
	if proxy != "" {
		if c, err = tunnel(ctx, raw, endpoint); err != nil {
			_ = raw.Close()
			return fail(fmt.Errorf("proxy %s: %w", proxy, err))
		}
	}
	t := tls.Client(c, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return fail(err)
	}
	state := t.ConnectionState()
	if state.NegotiatedProtocol != fed.ALPN {
		_ = raw.Close()
		return fail(errIntercepted)
	}
	return reached{NewStream(t), state.PeerCertificates, nil}
}

// cleared replaces what libraries say of a certificate that is not a cluster's.
func cleared(err error) error {
	switch {
	case errors.Is(err, errIntercepted) || strings.Contains(err.Error(), errIntercepted.Error()): // QUIC passes on the text only
		return errIntercepted
	case strings.Contains(err.Error(), noProtocol):
		return fmt.Errorf("at that port nobody speaks %s: the other cluster has no identity yet, or something between intercepts the connection", fed.ALPN)
	}
	return err
}

// noProtocol is how crypto/tls calls the alert of RFC 7301; it has no type of its own for those that the other side sends.
const noProtocol = "no application protocol"

// maxConnectAnswer bounds what a proxy may answer to CONNECT.
const maxConnectAnswer = 64 << 10

// tunnel asks an HTTP proxy to pass on what follows to an endpoint.
func tunnel(ctx context.Context, c net.Conn, endpoint string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: endpoint}, Host: endpoint, Header: http.Header{"User-Agent": {"teamtalkd"}}}
	err := req.Write(c)
	var through net.Conn
	if err == nil {
		through, err = connected(c, req)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return through, err
}

// connected reads the proxy's answer.
func connected(c net.Conn, req *http.Request) (net.Conn, error) {
	in := bufio.NewReader(io.LimitReader(c, maxConnectAnswer))
	answer, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("no answer to CONNECT: %w", err)
	}
	_ = answer.Body.Close() // of a CONNECT it has nothing
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("it answers CONNECT with %s", answer.Status)
	}
	early, err := in.Peek(in.Buffered())
	if err != nil || len(early) == 0 {
		return c, err
	}
	return &earlyConn{c, strings.NewReader(string(early))}, nil
}

// earlyConn gives out first what came together with the proxy's answer.
type earlyConn struct {
	net.Conn
	early *strings.Reader
}

// Read reads.
func (c *earlyConn) Read(b []byte) (int, error) {
	if c.early.Len() > 0 {
		return c.early.Read(b)
	}
	return c.Conn.Read(b)
}
