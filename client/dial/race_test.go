package dial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// track is where fake connections are made: what opens, when, and what became of it.
type track struct {
	mu     sync.Mutex
	began  time.Time
	starts []string          // "quic 0s"
	opens  map[string]runner // by URL; others fail at once
	conns  []*fakeConn
}

// runner is how an attempt goes.
type runner struct {
	after time.Duration
	fails bool
	hangs bool // until it is called off
}

var errFake = errors.New("refused")

func (k *track) connect(ctx context.Context, r Route) (Conn, error) {
	k.mu.Lock()
	name, _, _ := strings.Cut(r.URL, "://")
	k.starts = append(k.starts, fmt.Sprintf("%s %v", name, time.Since(k.began)))
	run, known := k.opens[name]
	k.mu.Unlock()
	switch {
	case run.hangs:
		<-ctx.Done()
		return nil, ctx.Err()
	case run.after > 0:
		pass(run.after) // of virtual time; not called off, so that too late ones are seen
	}
	if !known || run.fails {
		return nil, errFake
	}
	c := &fakeConn{route: r}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, c)
	return c, nil
}

// left are the connections that nobody closed.
func (k *track) left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, c := range k.conns {
		if !c.isClosed() {
			n++
		}
	}
	return n
}

type fakeConn struct {
	route  Route
	mu     sync.Mutex
	closed bool
}

func (c *fakeConn) Read() (pdu.PDU, error) { return pdu.PDU{}, errFake }
func (c *fakeConn) Write([][]byte) error   { return errFake }
func (c *fakeConn) Close(protocol.Code, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}
func (c *fakeConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
func (c *fakeConn) Via() Transport       { return c.route.Transport }
func (c *fakeConn) Route() Route         { return c.route }
func (c *fakeConn) LastHeard() time.Time { return time.Time{} }
func (c *fakeConn) RemoteAddr() string   { return "" }

// newTrack is a Dialer whose connections are fake.
func newTrack(t *testing.T, o Options, opens map[string]runner, addresses ...string) (*Dialer, *track) {
	t.Helper()
	o.Proxy = direct
	if o.NetworkKey == nil {
		o.NetworkKey = func() string { return "test" }
	}
	d, err := New(addresses, o)
	if err != nil {
		t.Fatal(err)
	}
	k := &track{began: time.Now(), opens: opens}
	d.connect = k.connect
	return d, k
}

func (k *track) expectStarts(t *testing.T, want ...string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(k.starts, want) {
		t.Errorf("started %q, want %q", k.starts, want)
	}
}

// When each transport starts, and who wins [TT-SESS-23].
func TestRaceStaggers(t *testing.T) {
	const ms = time.Millisecond
	hang := runner{hangs: true}
	for _, c := range []struct {
		name   string
		plain  bool
		opens  map[string]runner
		winner Transport // empty: none
		took   time.Duration
		starts []string
	}{
		{"the first is quick", false, map[string]runner{"quic": {after: 10 * ms}, "tls": {}}, QUIC, 10 * ms, []string{"quic 0s"}},
		{"the first hangs", false, map[string]runner{"quic": hang, "tls": {after: 30 * ms}}, TLS, 280 * ms, []string{"quic 0s", "tls 250ms"}},
		{"the first is slow but wins", false, map[string]runner{"quic": {after: 300 * ms}, "tls": {after: 100 * ms}}, QUIC, 300 * ms,
			[]string{"quic 0s", "tls 250ms"}},
		{"a failure starts the next", false, map[string]runner{"quic": {after: 20 * ms, fails: true}, "tls": {after: 30 * ms}}, TLS, 50 * ms,
			[]string{"quic 0s", "tls 20ms"}},
		{"a failure of another than the last does not", false,
			map[string]runner{"quic": {after: 300 * ms, fails: true}, "tls": hang, "wss": {after: 10 * ms}}, WebSocket, 510 * ms,
			[]string{"quic 0s", "tls 250ms", "wss 500ms"}},
		{"only the last works", false, map[string]runner{"quic": hang, "tls": hang, "wss": hang, "https": {after: 5 * ms}}, LongPoll, 755 * ms,
			[]string{"quic 0s", "tls 250ms", "wss 500ms", "https 750ms"}},
		{"nothing works", false, nil, "", 0, []string{"quic 0s", "tls 0s", "wss 0s", "https 0s"}},
		{"plain is not tried because TLS failed", false, map[string]runner{"ws": {}, "tcp": {}}, "", 0,
			[]string{"quic 0s", "tls 0s", "wss 0s", "https 0s"}},
		{"plain when all else failed", true, map[string]runner{"https": {after: 100 * ms, fails: true}, "http": {after: 10 * ms}}, LongPoll, 110 * ms,
			[]string{"quic 0s", "tls 0s", "wss 0s", "https 0s", "ws 100ms", "http 100ms"}},
		{"plain waits for what hangs", true, map[string]runner{"quic": hang, "https": {after: 100 * ms, fails: true}, "ws": hang, "tcp": {after: 10 * ms}}, TCP,
			2510 * ms, []string{"quic 0s", "tls 250ms", "wss 250ms", "https 250ms", "ws 2.25s", "http 2.5s", "tcp 2.5s"}},
		{"encrypted wins over plain on a slow network", true, map[string]runner{"quic": {after: 1500 * ms}, "tls": hang, "wss": hang, "https": hang,
			"tcp": {after: 10 * ms}}, QUIC, 1500 * ms, []string{"quic 0s", "tls 250ms", "wss 500ms", "https 750ms"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, k := newTrack(t, Options{AllowPlain: c.plain}, c.opens, "h")
				conn, err := d.Race().Next(t.Context())
				took := time.Since(k.began)
				k.expectStarts(t, c.starts...)
				if e := (*Error)(nil); c.winner == "" {
					if !errors.As(err, &e) || len(e.Attempts) != len(c.starts) || !errors.Is(err, errFake) {
						t.Errorf("got %v, want what became of each", err)
					}
				} else if err != nil || conn.Via() != c.winner || took != c.took {
					t.Errorf("got %v, %v after %v", conn, err, took)
				}
				_ = d.Close()
				if n, want := k.left(), min(len(c.winner), 1); n != want {
					t.Errorf("%d connections are open, want %d", n, want)
				}
			})
		})
	}
}

// A winner that gave no WELCOME makes room for the next: those that were called off have their turn, those that failed do not [TT-SESS-23].
func TestRaceGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := runner{hangs: true}
		d, k := newTrack(t, Options{}, map[string]runner{"tls": {after: 100 * time.Millisecond}, "wss": hang, "https": {after: time.Millisecond}}, "h")
		k.opens["quic"] = runner{after: 200 * time.Millisecond, fails: true}
		race := d.Race()
		first, err := race.Next(t.Context())
		if err != nil || first.Via() != TLS {
			t.Fatal(first, err)
		}
		_ = first.Close(protocol.CodeUnspecified, "no WELCOME")
		k.began, k.starts = time.Now(), nil
		second, err := race.Next(t.Context())
		if err != nil || second.Via() != LongPoll {
			t.Fatal(second, err)
		}
		k.expectStarts(t, "wss 0s", "https 250ms")
		_ = second.Close(protocol.CodeUnspecified, "no WELCOME")

		k.opens["wss"] = runner{fails: true}
		_, err = race.Next(t.Context())
		e := (*Error)(nil)
		if !errors.As(err, &e) || len(e.Attempts) != 2 || e.Attempts[0].Route.Transport != QUIC || e.Attempts[0].Took != 200*time.Millisecond {
			t.Errorf("got %v", err)
		}
		if _, err = race.Next(t.Context()); !errors.As(err, &e) {
			t.Errorf("a race that is over: %v", err)
		}
		_ = d.Close()
	})
}

// A caller that gives up gets its own error, and the routes keep their turn.
func TestRaceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newTrack(t, Options{}, map[string]runner{"quic": {hangs: true}, "tls": {hangs: true}}, "quic://h", "tls://h")
		race := d.Race()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := race.Next(ctx); !errors.Is(err, context.DeadlineExceeded) || len(race.Attempts()) != 0 {
			t.Errorf("got %v, attempts %v", err, race.Attempts())
		}
		k.opens["quic"] = runner{}
		if c, err := race.Next(t.Context()); err != nil || c.Via() != QUIC {
			t.Errorf("got %v, %v", c, err)
		}
		_ = d.Close()
	})
}

// One attempt must not last for ever.
func TestAttemptTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newTrack(t, Options{Timeout: 3 * time.Second}, map[string]runner{"tls": {hangs: true}}, "tls://h")
		if _, err := d.Race().Next(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(k.began) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(k.began))
		}
		_ = d.Close()
	})
}

// What won is tried first for an hour, on the network where it did; plain never is [TT-SESS-23].
func TestRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := "home"
		d, k := newTrack(t, Options{AllowPlain: true, NetworkKey: func() string { return network }}, nil, "h")
		order := func() string {
			k.starts = nil
			_, _ = d.Race().Next(t.Context())
			var names []string
			for _, s := range k.starts {
				name, _, _ := strings.Cut(s, " ")
				names = append(names, name)
			}
			return strings.Join(names, " ")
		}
		const usual, wssFirst = "quic tls wss https ws http tcp", "wss quic tls https ws http tcp"
		check := func(what, want string) {
			t.Helper()
			if got := order(); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		check("at first", usual)
		d.Remember(Route{Transport: WebSocket, URL: "wss://h:443/ws"})
		check("after WebSocket won", wssFirst)
		d.Remember(Route{Transport: TCP, URL: "tcp://h:8000", Plain: true})
		check("plain is not remembered", wssFirst)
		network = "office"
		check("elsewhere", usual)
		network = "home"
		pass(time.Hour - time.Second)
		check("within the hour", wssFirst)
		pass(time.Second)
		check("after an hour", usual)
		_ = d.Close()
	})
}

func TestInOrder(t *testing.T) {
	routes, err := Parse([]string{"a", "tcp://a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	names := func(rs []Route) string {
		var out []string
		for _, r := range rs {
			out = append(out, string(r.Transport))
		}
		return strings.Join(out, " ")
	}
	if got := names(inOrder(routes, LongPoll, nil)); got != "longpoll quic tls websocket tcp" {
		t.Error(got)
	}
	if got := names(inOrder(routes, QUIC, routes[:1])); got != "tls websocket longpoll quic tcp" {
		t.Errorf("a route to avoid that is remembered: %s", got)
	}
	if got := names(inOrder(routes, TCP, nil)); got != "quic tls websocket longpoll tcp" {
		t.Errorf("plain is never first: %s", got)
	}
}

// The endpoints of a server come first, and cannot make the client use plain ones.
func TestPrefer(t *testing.T) {
	d, _ := newTrack(t, Options{}, nil, "quic://a", "ws://a")
	defer d.Close()
	err := d.Prefer([]string{"quic://b", "tcp://b", "ws://a/ws", "nonsense://"})
	if err == nil {
		t.Error("nonsense is no error")
	}
	var got []string
	for _, r := range d.Routes() {
		got = append(got, r.URL)
	}
	if want := []string{"quic://b:443", "quic://a:443", "ws://a:80/ws"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := d.Prefer(nil); err != nil || len(d.Routes()) != 2 {
		t.Errorf("%v, %v", d.Routes(), err)
	}
}

// A race tells what it is trying at the moment, until one has won or all have failed.
func TestTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newTrack(t, Options{}, map[string]runner{"quic": {hangs: true}, "tls": {after: 600 * time.Millisecond, fails: true}, "wss": {after: time.Second}}, "h")
		defer d.Close()
		r := d.Race()
		look := func(want string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, route := range r.Trying() {
				got = append(got, string(route.Transport)+" "+route.Host())
			}
			if s := strings.Join(got, ", "); s != want {
				t.Errorf("after %v: %q, want %q", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), s, want)
			}
		}
		look("")
		done := make(chan struct{})
		go func() { // ends with the race
			defer close(done)
			if _, err := r.Next(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		pass(100 * time.Millisecond)
		look("quic h:443")
		pass(450 * time.Millisecond)
		look("quic h:443, tls h:443, websocket h:443")
		pass(310 * time.Millisecond) // TLS has failed, the last one is on its way and fails at once
		look("quic h:443, websocket h:443")
		<-done
		look("")
	})
}

// What led to a server is tried behind all others when the server names it no longer, the last few of it [TT-SESS-25].
func TestWhatWorkedIsKept(t *testing.T) {
	d, _ := newTrack(t, Options{}, nil, "tls://a")
	defer d.Close()
	var want []string
	for i := range 2 * mostWorked {
		at := fmt.Sprintf("tls://n%d:443", i)
		if err := d.Prefer([]string{at}); err != nil {
			t.Fatal(err)
		}
		d.Remember(d.Routes()[0])
		want = append([]string{at}, want[:min(len(want), mostWorked-1)]...)
	}
	d.Remember(Route{Transport: TLS, URL: want[3]})
	want = slices.Insert(slices.Delete(slices.Clone(want), 3, 4), 0, want[3])
	if err := d.Prefer([]string{"tls://b"}); err != nil {
		t.Fatal(err)
	}
	want = append([]string{"tls://b:443", "tls://a:443"}, want...)
	var got []string
	for _, r := range d.Routes() {
		got = append(got, r.URL)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Better tries only what is better than the transport in use [TT-SESS-23].
func TestBetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := newTrack(t, Options{}, map[string]runner{"tls": {}}, "h")
		c, err := d.Better(t.Context(), Route{Transport: WebSocket, URL: "wss://h:443/ws"})
		if err != nil || c.Via() != TLS {
			t.Fatal(c, err)
		}
		k.expectStarts(t, "quic 0s", "tls 0s")
		e := (*Error)(nil)
		if _, err := d.Better(t.Context(), Route{Transport: TLS}); !errors.As(err, &e) || len(e.Attempts) != 1 {
			t.Errorf("got %v", err)
		}
		if _, err := d.Better(t.Context(), Route{Transport: QUIC}); !errors.Is(err, ErrNoBetter) {
			t.Errorf("got %v", err)
		}
		k.starts = nil
		if c, err = d.Better(t.Context(), Route{Transport: WebSocket, Plain: true}); err != nil || c.Via() != TLS {
			t.Errorf("from plain: %v, %v", c, err)
		}
		_ = d.Close()
	})
}

func TestOnly(t *testing.T) {
	d, _ := newTrack(t, Options{Only: []Transport{TLS, LongPoll}}, nil, "h")
	defer d.Close()
	if r := d.Routes(); len(r) != 2 || r[0].Transport != TLS || r[1].Transport != LongPoll {
		t.Errorf("got %v", r)
	}
	if _, err := New([]string{"quic://h"}, Options{Only: []Transport{TLS}}); err == nil {
		t.Error("a Dialer without a route")
	}
}

func TestWinnersForget(t *testing.T) {
	w := NewWinners()
	at := time.Now()
	for i := range maxNetworks + 1 {
		w.Store(fmt.Sprint(i), TLS, at)
	}
	if by, _ := w.Load("0"); by != "" {
		t.Error("the oldest is still known")
	}
	if by, when := w.Load(fmt.Sprint(maxNetworks)); by != TLS || !when.Equal(at) {
		t.Error("the newest is not known")
	}
}

func TestNetworkKey(t *testing.T) {
	if a, b := networkKey(), networkKey(); a == "" || a != b {
		t.Errorf("%q and %q", a, b)
	}
}
