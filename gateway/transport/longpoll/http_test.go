package longpoll

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol/pdu"
)

// [TT-LP-1]: id and token of 128 random bits, the id with the node's number in front.
func TestOpen(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		w := st.do("POST", "/lp", nil)
		form := regexp.MustCompile(`^\{"id":"7\.[A-Za-z0-9_-]{22}","token":"[A-Za-z0-9_-]{22}","poll_s":25\}$`)
		if w.Code != 200 || !form.MatchString(w.Body.String()) || w.Header().Get("Content-Type") != "application/json" ||
			w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
		}
		st.desk.Next(t)
		a, b := st.open(), st.open()
		if a.ID == b.ID || a.Token == b.Token || a.ID[2:] == a.Token {
			t.Error("ids or tokens are alike")
		}
		if a.conn.Kind() != transport.KindLongPoll || a.conn.RemoteAddr() != netip.MustParseAddrPort("192.0.2.1:1234") {
			t.Errorf("a %q from %v", a.conn.Kind(), a.conn.RemoteAddr())
		}
	})
}

// [TT-LP-1]: a stolen id with a wrong token and an id that never was are the same, also when the session has ended; nothing happens to the session.
func TestTokens(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p, q := st.open(), st.open()
		random := q.ID[2:]
		wrong := map[string][]string{
			"no token":             nil,
			"another's token":      {"Authorization", "Bearer " + q.Token},
			"the id for a token":   {"Authorization", "Bearer " + p.ID[2:]},
			"an empty token":       {"Authorization", "Bearer "},
			"a short token":        {"Authorization", "Bearer " + p.Token[:21]},
			"a long token":         {"Authorization", "Bearer " + p.Token + "A"},
			"token and newlines":   {"Authorization", "Bearer " + p.Token[:20] + "\n\n"},
			"another scheme":       {"Authorization", "Basic " + p.Token},
			"the token by itself":  {"Authorization", p.Token},
			"a header of its own":  {"Teamtalk-Token", p.Token},
			"a proxy's credential": {"Proxy-Authorization", "Bearer " + p.Token},
		}
		requests := func(what, id string, header ...string) {
			for _, r := range [][2]string{{"POST", ""}, {"GET", "?after=0"}, {"POST", "/close"}, {"DELETE", ""}, {"GET", "?after=0&token=" + p.Token}} {
				w := st.do(r[0], "/lp/"+id+r[1], frame(1, "x"), append(header, "Teamtalk-Seq", "1")...)
				w.want(t, r[0]+" with "+what, 404, "", "")
				if len(w.Header()) != 3 {
					t.Errorf("%s: headers %v", what, w.Header())
				}
			}
		}
		for what, header := range wrong {
			requests(what, p.ID, header...)
		}
		for _, id := range []string{"7." + random[:21] + "!", "8." + p.ID[2:], p.ID[2:], "7." + p.ID[2:] + "A", "7." + random[1:] + random[:1], "7", ".", "7./x"} {
			requests("the id "+id, id, p.auth()...)
		}
		p.post("1", frame(1, "y")).is(t, "the owner's", 204)
		p.reads(frame(1, "y"))
		st.do("DELETE", "/lp/"+p.ID, nil, "Authorization", "bearer  "+p.Token).is(t, "the owner's", 204)
		for what, header := range wrong {
			requests(what, p.ID, header...)
		}
		p.poll("after=0").is(t, "the owner's", 410)
	})
}

func TestMethodsAndPaths(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		for _, c := range []struct {
			method, path string
			status       int
			allow        string
		}{
			{"GET", "/lp", 405, "POST"}, {"HEAD", "/lp/" + p.ID, 405, "GET, POST, DELETE"}, {"PUT", "/lp/" + p.ID, 405, "GET, POST, DELETE"},
			{"GET", "/lp/" + p.ID + "/close", 405, "POST"}, {"GET", "/lpx", 404, ""}, {"GET", "/", 404, ""}, {"GET", "/lp/", 404, ""},
			{"POST", "/lp/" + p.ID + "/", 404, ""}, {"POST", "/lp/" + p.ID + "/x", 404, ""}, {"OPTIONS", "/lp", 204, ""},
		} {
			w := st.do(c.method, c.path, nil, p.auth()...)
			w.is(t, c.method+" "+c.path, c.status)
			if w.Header().Get("Allow") != c.allow {
				t.Errorf("%s %s: Allow %q", c.method, c.path, w.Header().Get("Allow"))
			}
		}
	})
}

// [TT-LP-2]: only pages of the host itself and of the sites allowed, and these see the answers.
func TestOrigins(t *testing.T) {
	inBubble(t, func(c *Config) { c.Origins = []string{"https://chat.example"} }, func(t *testing.T, st *stage) {
		for origin, status := range map[string]int{"": 200, "http://example.com": 200, "https://EXAMPLE.com": 200, "http://example.com:80": 200, "https://chat.example": 200,
			"https://Chat.Example": 200, "null": 403, "http://chat.example": 403, "https://chat.example:444": 403, "http://example.com:81": 403, "https://evil.example": 403,
			"https://example.com.evil.example": 403, "example.com": 403, "https://": 403, "::": 403} {
			var header []string
			if origin != "" {
				header = []string{"Origin", origin}
			}
			w := st.do("POST", "/lp", nil, header...)
			seen := w.Header().Get("Access-Control-Allow-Origin")
			if w.Code != status || status == 200 && seen != origin || status == 403 && seen != "" {
				t.Errorf("%q: %d, allowed to see it: %q", origin, w.Code, seen)
			}
			if status == 200 {
				st.desk.Next(t)
			}
			pre := st.do("OPTIONS", "/lp/x", nil, append(header, "Access-Control-Request-Method", "POST")...)
			if ok := pre.Code == 204; ok != (status == 200) || ok && origin != "" && !strings.Contains(pre.Header().Get("Access-Control-Allow-Headers"), "Teamtalk-Seq") {
				t.Errorf("%q: asking first: %d %v", origin, pre.Code, pre.Header())
			}
		}
		w := st.do("POST", "/lp", nil, "Origin", "null")
		w.is(t, "null", 403)
	})
}

func TestOpeningIsBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.OpenRate, c.Limits.OpenBurst, c.Limits.Sessions = 1, 2, 3 }, func(t *testing.T, st *stage) {
		st.open()
		st.open()
		w := st.do("POST", "/lp", nil)
		if w.is(t, "too fast", 429); w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		<-time.After(time.Second)
		p := st.open()
		<-time.After(time.Second)
		st.do("POST", "/lp", nil).is(t, "too many", 503)
		st.do("DELETE", "/lp/"+p.ID, nil, p.auth()...).is(t, "closing", 204)
		<-time.After(time.Second)
		p = st.open()
		st.h.Stop()
		<-time.After(time.Second)
		st.do("POST", "/lp", nil).is(t, "after Stop", 503)
		p.post("1", frame(1, "x")).is(t, "a session after Stop", 204)
		p.reads(frame(1, "x"))
	})
}

func TestOpeningByNetwork(t *testing.T) {
	o := newOpening(Limits{OpenRate: 0.001, OpenBurst: 1})
	if !o.allow(netip.MustParseAddr("2001:db8::1")) || o.allow(netip.MustParseAddr("2001:db8::2")) {
		t.Error("addresses of one network are not counted together")
	}
	others := 0
	for i := range 20 {
		if o.allow(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})) {
			others++
		}
	}
	if others < 15 {
		t.Errorf("only %d others may open sessions", others)
	}
}

// Old proxies ask in HTTP/1.0. Every answer is complete [TT-LP-2].
func TestHTTP10(t *testing.T) {
	desk := transporttest.NewDesk(t)
	h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler)})
	srv := startServer(t, h, false, false, 30*time.Second)
	t.Cleanup(func() {
		desk.Release()
		h.Close()
	})
	c, err := dialClient(t.Context(), srv.Client(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := desk.Next(t)
	ask := func(format string, args ...any) (*http.Response, string) {
		nc, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		if _, err := fmt.Fprintf(nc, format, args...); err != nil {
			t.Fatal(err)
		}
		w, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		b, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if len(w.TransferEncoding) > 0 || w.StatusCode != 204 && w.ContentLength != int64(len(b)) {
			t.Errorf("not complete: %+v", w)
		}
		return w, string(b)
	}
	if w, _ := ask("POST /lp/%s HTTP/1.0\r\nAuthorization: Bearer %s\r\nTeamtalk-Seq: 1\r\nContent-Length: 17\r\n\r\n%s", c.ID, c.Token, frame(1, "x")); w.StatusCode != 204 {
		t.Errorf("POST: %v", w.Status)
	}
	if p, err := conn.Read(100); err != nil || string(p.Body) != "x" {
		t.Errorf("%v, %v", p, err)
	}
	large := bytes.Repeat(frame(2, strings.Repeat("y", 84)), 500)
	if err := conn.Write([][]byte{large}); err != nil {
		t.Fatal(err)
	}
	if w, b := ask("GET /lp/%s?after=0 HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n", c.ID, c.Token); w.StatusCode != 200 || b != string(large) || w.Header.Get("Teamtalk-Seq") != "1" {
		t.Errorf("GET: %v, %d bytes", w.Status, len(b))
	}
	if w, _ := ask("GET /lp/%s?after=1&wait=0 HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n", c.ID, c.Token); w.StatusCode != 204 || w.Header.Get("Cache-Control") != "no-store, no-transform" {
		t.Errorf("GET: %v", w.Status)
	}
}

// A poll outlives the deadlines that its server gives other requests, and leaves none behind.
func TestServersDeadlines(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2=%v", http2), func(t *testing.T) {
			t.Parallel()
			desk := transporttest.NewDesk(t)
			h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: time.Hour}})
			srv := startServer(t, h, http2, http2, 2*time.Second) // enough for a handshake on a busy machine
			t.Cleanup(func() {
				desk.Release()
				h.Close()
			})
			c, err := dialClient(t.Context(), srv.Client(), srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			desk.Next(t)
			began := time.Now()
			if status, _, _, err := c.do("GET", "/lp/"+c.ID+"?after=0&wait=4", nil, 0); err != nil || status != 204 || time.Since(began) < 4*time.Second {
				t.Errorf("%d, %v after %v", status, err, time.Since(began))
			}
		})
	}
}

// Other requests on the same connection do not meet the deadlines of polls.
func TestDeadlinesAreTakenBack(t *testing.T) {
	for _, park := range []time.Duration{1, time.Hour} {
		desk := transporttest.NewDesk(t)
		h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: park, Body: 2 * time.Second}})
		mux := http.NewServeMux()
		mux.Handle("/lp/", h)
		mux.Handle("/lp", h)
		mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(3 * time.Second)
			_, _ = io.WriteString(w, "late")
		})
		srv := startServer(t, mux, false, false, 0)
		c, err := dialClient(t.Context(), srv.Client(), srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		conn := desk.Next(t)
		one := dialRaw(t, srv.Listener.Addr().String())
		one.poll(c, "after=0&wait=10")
		if park == 1 {
			h.parking(t)
		}
		if err := conn.Write([][]byte{frame(1, "a")}); err != nil {
			t.Fatal(err)
		}
		one.want("the batch", 200, "1", string(frame(1, "a")))
		if _, err := io.WriteString(one.nc, "GET /late HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		w, err := http.ReadResponse(one.r, nil)
		if err != nil {
			t.Fatalf("parked after %v: %v", park, err)
		}
		if b, err := io.ReadAll(w.Body); string(b) != "late" || err != nil {
			t.Errorf("parked after %v: %q, %v", park, b, err)
		}
		_ = w.Body.Close()
		_ = one.nc.Close()
		desk.Release()
		h.Close()
	}
}

// Neither token nor contents are logged; the counters tell what happened.
func TestLogsAndMetrics(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewPedanticRegistry()
	inBubble(t, func(c *Config) {
		c.Log, c.Registerer = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), reg
	}, func(t *testing.T, st *stage) {
		p := st.open()
		p.post("1", frame(1, "secret")).is(t, "a POST", 204)
		p.post("1", frame(1, "secret")).is(t, "a repeat", 204)
		p.write(frame(1, "secret"))
		p.poll("after=0")
		p.poll("after=0")
		poll := p.held("after=1")
		p.poll("after=1&wait=0")
		<-poll
		st.do("GET", "/lp/"+p.ID+"?after=1", nil)
		st.do("DELETE", "/lp/"+p.ID, nil, p.auth()...)
		if s := log.String(); !strings.Contains(s, "reason=client") || strings.Contains(s, p.Token) || strings.Contains(s, "secret") {
			t.Errorf("log: %s", s)
		}
	})
	got := gather(t, reg)
	for name, n := range map[string]float64{"teamtalk_transport_accepted_total longpoll": 1, "teamtalk_longpoll_repeats_total post": 1,
		"teamtalk_longpoll_repeats_total poll": 1, "teamtalk_longpoll_superseded_total": 1, "teamtalk_longpoll_refused_total token": 1,
		"teamtalk_longpoll_ended_total client": 1, "teamtalk_longpoll_requests_total post 204": 2, "teamtalk_longpoll_sessions": 0} {
		if v, ok := got[name]; !ok || v != n {
			t.Errorf("%s: %v, want %v", name, v, n)
		}
	}
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}

// The handler that returns ends the session; what it wrote last is fetched.
func TestHandleReturns(t *testing.T) {
	inBubble(t, func(c *Config) {
		c.Handle = func(conn transport.Conn) {
			if p, err := conn.Read(pdu.MaxLen); err == nil {
				_ = conn.Write([][]byte{pdu.AppendRaw(nil, p.Header, []byte("bye"))})
			}
		}
	}, func(t *testing.T, st *stage) {
		w := st.do("POST", "/lp", nil)
		p := &peer{st: st, ticket: ticketOf(t, w)}
		poll := p.held("after=0")
		p.post("1", frame(9, "hello")).is(t, "a POST", 204)
		(<-poll).want(t, "the answer", 200, "1", string(frame(9, "bye")))
		p.poll("after=1").is(t, "then", 410)
	})
}
