package dial

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/gateway/transport/ws"
	"teamtalk/protocol/pdu"
)

// proxyDouble is an HTTP proxy.
type proxyDouble struct {
	user     string // "name:password"; empty: anybody
	noTunnel bool   // refuses CONNECT
	offers   string // of authentication

	mu       sync.Mutex // guards what follows
	tunnels  int
	requests int
}

func (p *proxyDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.user != "" && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.user)) {
		w.Header().Set("Proxy-Authenticate", p.offers)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	switch {
	case r.Method == http.MethodConnect && p.noTunnel:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.Host == "":
		w.WriteHeader(http.StatusBadRequest)
	default:
		p.pass(w, r)
	}
}

func (p *proxyDouble) tunnel(w http.ResponseWriter, r *http.Request) {
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	p.mu.Lock()
	p.tunnels++
	p.mu.Unlock()
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(there, rw)
		_ = there.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(here, there)
	_ = here.Close()
	both.Wait()
	_ = there.Close()
}

func (p *proxyDouble) pass(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests++
	p.mu.Unlock()
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.Header.Del("Proxy-Authorization")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // it buffers
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body)
}

func (p *proxyDouble) counts() (tunnels, requests int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tunnels, p.requests
}

// start returns the proxy's URL.
func (p *proxyDouble) start(t testing.TB, overTLS bool) *url.URL {
	t.Helper()
	var s *httptest.Server
	if overTLS {
		s = serveHTTPS(t, p, false)
	} else {
		s = httptest.NewServer(p)
		t.Cleanup(s.Close)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func realWebSocketPlain(t testing.TB, handle func(transport.Conn)) string {
	h := ws.New(ws.Config{Handle: handle})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(h.Close)
	return "ws://" + strings.TrimPrefix(s.URL, "http://")
}

// roundTrip checks that a connection carries something both ways.
func roundTrip(t testing.TB, c Conn) {
	t.Helper()
	f := frame(pdu.CmdHeartbeat, 9, []byte("through"))
	write(t, c, f)
	expect(t, c, f)
}

// WebSocket and long-poll go through a proxy: by CONNECT, and long-poll over plain HTTP as plain requests [TT-SESS-23].
func TestThroughProxy(t *testing.T) {
	for _, tr := range []struct {
		name   string
		serve  func(testing.TB, func(transport.Conn)) string
		tunnel bool
	}{
		{"WebSocket", realWebSocket, true},
		{"WebSocketPlain", realWebSocketPlain, true},
		{"LongPoll", realLongPoll, true},
		{"LongPollPlain", realLongPollPlain, false},
	} {
		for _, kind := range []struct {
			name      string
			user      *url.Userinfo
			wants     string
			encrypted bool
		}{
			{"Open", nil, "", false},
			{"Password", url.UserPassword("jane", "s3:cret"), "jane:s3:cret", false},
			{"Encrypted", url.UserPassword("jane", ""), "jane:", true},
		} {
			t.Run(tr.name+"/"+kind.name, func(t *testing.T) {
				p := &proxyDouble{user: kind.wants, offers: "Basic"}
				at := p.start(t, kind.encrypted)
				shownAt := at.String()
				at.User = kind.user
				o := testOptions(t)
				o.Proxy = always(at)
				c := connect(t, o, tr.serve(t, echo))
				roundTrip(t, c)
				if c.Route().Proxy != shownAt {
					t.Errorf("the proxy is shown as %q", c.Route().Proxy)
				}
				if tunnels, requests := p.counts(); (tunnels > 0) != tr.tunnel || (requests > 0) == tr.tunnel {
					t.Errorf("%d tunnels, %d requests", tunnels, requests)
				}
				_ = c.Close(0, "")
			})
		}
	}
}

// What a proxy refuses with is told, and never with the password.
func TestProxyRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		proxy  *proxyDouble
		status int
		want   string
	}{
		{"password", &proxyDouble{user: "x:y", offers: `NTLM, Basic realm="a"`}, 407, "NTLM"},
		{"no tunnels", &proxyDouble{noTunnel: true}, 405, "the proxy answered 405"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := c.proxy.start(t, false)
			at.User = url.UserPassword("jane", "s3cret")
			o := testOptions(t)
			o.Proxy = always(at)
			d := newTestDialer(t, o, "wss://127.0.0.1:1", "https://127.0.0.1:1")
			_, err := d.Race().Next(within(t))
			e, s := (*Error)(nil), (*StatusError)(nil)
			if !errors.As(err, &e) || len(e.Attempts) != 2 {
				t.Fatalf("got %v", err)
			}
			for _, a := range e.Attempts {
				if !errors.As(a.Err, &s) || s.Status != c.status || s.By != "proxy" {
					t.Errorf("%v: %v", a.Route, a.Err)
				}
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// On a network where only plain requests pass, a plain long-poll address is what remains [TT-SESS-23].
func TestPlainOnlyProxy(t *testing.T) {
	h := longpoll.New(longpoll.Config{Handle: echo})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(h.Close)
	proxy := &proxyDouble{noTunnel: true}
	o := testOptions(t)
	o.Proxy = always(proxy.start(t, false))
	secured := "127.0.0.1:1" // nobody is there
	d := newTestDialer(t, o, secured, "ws"+strings.TrimPrefix(s.URL, "http"), s.URL)
	race := d.Race()
	c, err := race.Next(within(t))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
	if c.Via() != LongPoll || !c.Route().Plain {
		t.Errorf("connected by %v", c.Route())
	}
	for _, a := range race.Attempts() {
		if a.Route.Transport == WebSocket && a.Route.Proxy == "" {
			t.Errorf("%v went past the proxy", a.Route)
		}
	}
}

// A proxy that says nothing, or nothing sensible, does not hold anybody up.
func TestBadProxies(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(net.Conn)
		want string
	}{
		{"silent", func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }, "deadline"},
		{"gone", func(net.Conn) {}, "no answer"},
		{"endless", func(nc net.Conn) {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(nc, "X-Long: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, "no end"},
		{"not HTTP", func(nc net.Conn) {
			_, _ = io.WriteString(nc, "220 mail.example.com ESMTP\r\n\r\n")
			_, _ = io.Copy(io.Discard, nc)
		}, "no answer to CONNECT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := listen(t, c.do)
			o := testOptions(t)
			o.Timeout = 500 * time.Millisecond
			o.Proxy = always(&url.URL{Scheme: "http", Host: at.String()})
			_, err := newTestDialer(t, o, "wss://h").Race().Next(within(t))
			if e := (*Error)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	o := testOptions(t)
	o.Proxy = func(*url.URL) (*url.URL, error) { return nil, errFake }
	if _, err := newTestDialer(t, o, "wss://h").Race().Next(within(t)); !errors.Is(err, errFake) {
		t.Errorf("a proxy that can't be told: %v", err)
	}
	o.Proxy = always(&url.URL{Scheme: "gopher", Host: "p"})
	if _, err := newTestDialer(t, o, "wss://h").Race().Next(within(t)); err == nil || !strings.Contains(err.Error(), "no such kind") {
		t.Errorf("a proxy of an unknown kind: %v", err)
	}
}

// socksDouble is a SOCKS5 proxy that asks for a name and a password.
func socksDouble(t testing.TB) net.Addr {
	return listen(t, func(nc net.Conn) {
		in := bufio.NewReader(nc)
		take := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(in, b)
			return b
		}
		take(int(take(2)[1]))
		_, _ = nc.Write([]byte{5, 2})
		name := take(int(take(2)[1]))
		password := take(int(take(1)[0]))
		if string(name)+":"+string(password) != "jane:s3cret" {
			_, _ = nc.Write([]byte{1, 1})
			return
		}
		_, _ = nc.Write([]byte{1, 0})
		head := take(4)
		var host string
		switch head[3] {
		case 1:
			host = net.IP(take(4)).String()
		case 3:
			host = string(take(int(take(1)[0])))
		}
		port := take(2)
		there, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))))
		if err != nil {
			return
		}
		defer there.Close()
		_, _ = nc.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		go func() {
			_, _ = io.Copy(there, in)
			_ = there.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(nc, there)
	})
}

func TestThroughSOCKS(t *testing.T) {
	for _, serve := range []serveFunc{realWebSocket, realLongPollPlain} {
		o := testOptions(t)
		at := &url.URL{Scheme: "socks5", Host: socksDouble(t).String(), User: url.UserPassword("jane", "s3cret")}
		o.Proxy = always(at)
		address := serve(t, echo)
		c := connect(t, o, address)
		roundTrip(t, c)
		at.User = url.UserPassword("jane", "wrong")
		if _, err := newTestDialer(t, o, address).Race().Next(within(t)); err == nil || strings.Contains(err.Error(), "wrong") {
			t.Errorf("got %v", err)
		}
	}
}

// The environment says which proxy, and for whom none.
func TestProxyOfEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://jane:s3cret@proxy.example:3128")
	t.Setenv("HTTP_PROXY", "http://plain.example:3128")
	t.Setenv("NO_PROXY", "inside.example")
	d := newTestDialer(t, Options{AllowPlain: true}, "chat.example", "https://inside.example/lp")
	for _, r := range d.Routes() {
		want := ""
		switch {
		case !r.Transport.throughProxy() || strings.Contains(r.URL, "inside"):
		case r.Plain:
			want = "http://plain.example:3128"
		default:
			want = "http://proxy.example:3128"
		}
		if r.Proxy != want {
			t.Errorf("%v: the proxy is %q", r, r.Proxy)
		}
	}
}

// What a proxy sends right behind its answer is not lost, and no answer breaks anything.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nearly"))
	f.Add([]byte("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
	d := newDialer(Options{Proxy: direct, NetworkKey: func() string { return "" }})
	f.Fuzz(func(t *testing.T, answer []byte) {
		here, there := net.Pipe()
		var wait sync.WaitGroup
		wait.Go(func() {
			_, _ = http.ReadRequest(bufio.NewReader(there))
			_, _ = there.Write(answer)
			_ = there.Close()
		})
		nc, err := d.tunnel(here, &url.URL{Scheme: "http", Host: "p"}, "h:443")
		if err == nil {
			rest, _ := io.ReadAll(nc)
			if !strings.HasSuffix(string(answer), string(rest)) {
				t.Errorf("%q became %q", answer, rest)
			}
		}
		_ = here.Close()
		wait.Wait()
	})
}

// What comes together with the proxy's answer belongs to the tunnel.
func TestTunnelEarly(t *testing.T) {
	at := listen(t, func(nc net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(nc))
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\nearly")
	})
	d := newTestDialer(t, testOptions(t), "wss://h")
	nc, err := d.through(within(t), &url.URL{Scheme: "http", Host: at.String()}, "h:443")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got, err := io.ReadAll(nc); err != nil || string(got) != "early" {
		t.Errorf("got %q, %v", got, err)
	}
}

// An attempt that is called off while the proxy thinks ends at once.
func TestTunnelCalledOff(t *testing.T) {
	at := listen(t, func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) })
	o := testOptions(t)
	o.Proxy = always(&url.URL{Scheme: "http", Host: at.String()})
	d := newTestDialer(t, o, "wss://h")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Race().Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
