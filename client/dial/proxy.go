package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// maxConnectAnswer bounds what a proxy may answer to CONNECT.
const maxConnectAnswer = 64 << 10

// through connects to hostPort by way of a proxy; nil: directly.
func (d *Dialer) through(ctx context.Context, via *url.URL, hostPort string) (net.Conn, error) {
	if via == nil {
		return d.opts.Net.DialContext(ctx, "tcp", hostPort)
	}
	switch via.Scheme {
	case "http", "https":
		return d.connectHTTP(ctx, via, hostPort)
	case "socks5", "socks5h":
		return d.connectSOCKS(ctx, via, hostPort)
	}
	return nil, fmt.Errorf("proxy %s: no such kind of proxy", shown(via))
}

func proxyAddress(via *url.URL) string {
	port := via.Port()
	switch {
	case port != "":
	case via.Scheme == "https":
		port = securePort
	case via.Scheme == "http":
		port = httpPort
	default:
		port = "1080"
	}
	return net.JoinHostPort(via.Hostname(), port)
}

func (d *Dialer) connectSOCKS(ctx context.Context, via *url.URL, hostPort string) (net.Conn, error) {
	var auth *proxy.Auth
	if via.User != nil {
		password, _ := via.User.Password()
		auth = &proxy.Auth{User: via.User.Username(), Password: password}
	}
	socks, err := proxy.SOCKS5("tcp", proxyAddress(via), auth, onward{d.opts.Net})
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", shown(via), err)
	}
	dialer, ok := socks.(proxy.ContextDialer)
	if !ok {
		return nil, fmt.Errorf("proxy %s: can't be given a deadline", shown(via))
	}
	nc, err := dialer.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", shown(via), err)
	}
	return nc, nil
}

// onward is the network in the form that the SOCKS library asks for.
type onward struct{ Network }

func (o onward) Dial(network, address string) (net.Conn, error) {
	return o.DialContext(context.Background(), network, address)
}

// connectHTTP asks an HTTP proxy for a tunnel.
func (d *Dialer) connectHTTP(ctx context.Context, via *url.URL, hostPort string) (net.Conn, error) {
	nc, err := d.dialProxy(ctx, via)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", shown(via), err)
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := d.tunnel(nc, via, hostPort)
	if !stop() && err == nil { // the deadline may be in force
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("proxy %s: %w", shown(via), errors.Join(ctx.Err(), err))
	}
	return tunnel, nil
}

// dialProxy connects to the proxy itself.
func (d *Dialer) dialProxy(ctx context.Context, via *url.URL) (net.Conn, error) {
	nc, err := d.opts.Net.DialContext(ctx, "tcp", proxyAddress(via))
	if err != nil || via.Scheme == "http" {
		return nc, err
	}
	conf := d.opts.tlsConfig(via.Hostname(), d.tcpSessions, "http/1.1")
	conf.ServerName = via.Hostname()
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

// tunnel is the exchange of CONNECT.
func (d *Dialer) tunnel(nc net.Conn, via *url.URL, hostPort string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: hostPort}, Host: hostPort, Header: http.Header{}}
	req.Header.Set("User-Agent", d.opts.UserAgent)
	if via.User != nil {
		password, _ := via.User.Password()
		secret := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+secret)
	}
	if err := req.Write(nc); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: nc, N: maxConnectAnswer}
	in := bufio.NewReader(limited)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		if limited.N == 0 {
			return nil, errors.New("its answer to CONNECT has no end")
		}
		return nil, fmt.Errorf("no answer to CONNECT: %w", err)
	}
	_ = resp.Body.Close() // of a CONNECT it holds nothing
	if resp.StatusCode/100 != 2 {
		return nil, refusedByProxy(resp)
	}
	if in.Buffered() == 0 {
		return nc, nil
	}
	early, err := in.Peek(in.Buffered())
	if err != nil {
		return nil, err
	}
	return &earlyConn{Conn: nc, early: strings.NewReader(string(early))}, nil
}

func refusedByProxy(resp *http.Response) error {
	e := &StatusError{By: "proxy", Status: resp.StatusCode}
	if resp.StatusCode != http.StatusProxyAuthRequired {
		return e
	}
	var kinds []string
	for _, line := range resp.Header.Values("Proxy-Authenticate") {
		if kind, _, _ := strings.Cut(strings.TrimSpace(line), " "); kind != "" {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) > 0 {
		e.Detail = fmt.Sprintf("it wants authentication by %q; Basic is what we can, with name and password in the proxy's URL", kinds)
	}
	return e
}

// earlyConn gives out first what came together with the proxy's answer.
type earlyConn struct {
	net.Conn
	early *strings.Reader
}

func (c *earlyConn) Read(b []byte) (int, error) {
	if c.early.Len() > 0 {
		return c.early.Read(b)
	}
	return c.Conn.Read(b)
}
