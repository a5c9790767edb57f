package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/client/dial"
)

// certificates are for the fake server to speak the native protocol over TLS, and for its clients.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	server, client, err := echoCertificates()
	if err != nil {
		t.Fatal(err)
	}
	server.NextProtos = []string{"teamtalk/1"}
	return server, client
}

// TestPairsByLibrary: what goes by the client library is checked as what goes by bare sockets.
func TestPairsByLibrary(t *testing.T) {
	server, client := certificates(t)
	for name, via := range map[string]Via{"tcp": ViaTCP, "tls": ViaTLS} {
		for flow, extended := range map[string]bool{"legacy": false, "extended": true} {
			t.Run(name+" "+flow, func(t *testing.T) {
				certificate := server
				if via == ViaTCP {
					certificate = nil
				}
				target := startFakeSessions(t, fault{}, sessionFault{}, certificate)
				target.Via, target.TLS, target.Library, target.Extended, target.Sources = via, client, true, extended, 2
				r, err := Pairs(t.Context(), target, 3, brief(16, 500))
				if err != nil || r.Verdict() != nil || r.Acked != 500 || r.Delivered != 500 {
					t.Errorf("%v: %+v", err, r)
				}
				idle, err := Idle(t.Context(), target, IdleOptions{Connections: 5, Hold: time.Millisecond})
				if err != nil || idle.Dropped != 0 {
					t.Errorf("%v: %+v", err, idle)
				}
			})
		}
	}
}

func TestRoutes(t *testing.T) {
	for via, want := range map[Via]dial.Route{
		ViaTCP:         {Transport: dial.TCP, URL: "tcp://h:1", Plain: true},
		ViaTLS:         {Transport: dial.TLS, URL: "tls://h:1"},
		ViaQUIC:        {Transport: dial.QUIC, URL: "quic://h:1"},
		ViaWebSocket:   {Transport: dial.WebSocket, URL: "ws://h:1/ws", Plain: true},
		ViaWSS:         {Transport: dial.WebSocket, URL: "wss://h:1/ws"},
		ViaLongPoll:    {Transport: dial.LongPoll, URL: "http://h:1/lp", Plain: true},
		ViaLongPollTLS: {Transport: dial.LongPoll, URL: "https://h:1/lp"},
	} {
		if got, err := via.route("h:1"); err != nil || got != want {
			t.Errorf("%s: %v, %v", via, got, err)
		}
		if named, err := ViaNamed(string(via)); err != nil || named != via {
			t.Errorf("%s: %v, %v", via, named, err)
		}
		if _, err := (Addresses{}).Port(via); err == nil {
			t.Errorf("%s: a port of a server that has none", via)
		}
	}
	for _, err := range []error{second(ViaNamed("smoke")), second(Via("smoke").route("h:1")), second(Trust("/does/not/exist"))} {
		if err == nil {
			t.Error("no error")
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestFindServer reads what a server leaves in its data directory, and lets it collect its garbage.
func TestFindServer(t *testing.T) {
	asked := 0
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.String() != "/debug/pprof/heap?gc=1" {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		asked++
	}))
	defer ops.Close()
	dir := t.TempDir()
	server, _ := certificates(t)
	files := map[string]string{
		"ca.pem":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]})),
		addressesFile: `{"tcp":"127.0.0.1:1","tls":"127.0.0.1:2","quic":"127.0.0.1:3","http":"127.0.0.1:4","ops":"` + ops.Listener.Addr().String() + `","ca":"` + filepath.Join(dir, "ca.pem") + `"}`,
		tokenFile:     "secret\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := FindServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	for via, port := range map[Via]string{ViaTCP: "127.0.0.1:1", ViaWSS: "127.0.0.1:2", ViaQUIC: "127.0.0.1:3", ViaLongPoll: "127.0.0.1:4"} {
		if got, err := p.Target(via, "x"); err != nil || got.Server != port || got.TLS.RootCAs == nil || got.Via != via {
			t.Errorf("%s: %+v, %v", via, got, err)
		}
	}
	if err := p.Collect(t.Context()); err != nil || asked != 2 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	if err := os.WriteFile(filepath.Join(dir, tokenFile), []byte("stolen"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Collect(t.Context()); err == nil {
		t.Error("with another token")
	}
}

// TestRoads: what was cut is gone, and there is no way any more.
func TestRoads(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := &roads{sockets: sockets{sources: 1000}}
	c, err := r.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if ip := c.LocalAddr().(*net.TCPAddr).IP; !bytes.HasPrefix(ip.To4(), []byte{127, 1}) {
		t.Errorf("from %v", ip)
	}
	u, err := r.ListenPacket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.cut()
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("TCP: %v", err)
	}
	if err := u.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("UDP: %v", err)
	}
	if _, err := r.DialContext(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("TCP again: %v", err)
	}
	if _, err := r.ListenPacket(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("UDP again: %v", err)
	}
}

func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlarm()
		after := func() time.Duration {
			start := time.Now()
			select {
			case <-a.rung():
			case <-time.After(time.Hour):
			}
			return time.Since(start)
		}
		a.set(time.Now().Add(time.Minute))
		if d := after(); d != time.Minute {
			t.Errorf("rang after %v", d)
		}
		a.set(time.Now().Add(2 * time.Minute))
		if d := after(); d != 2*time.Minute {
			t.Errorf("set again, rang after %v", d)
		}
		a.set(time.Unix(1, 0))
		if d := after(); d != 0 {
			t.Errorf("a time that has passed: rang after %v", d)
		}
		a.set(time.Now().Add(time.Minute))
		a.set(time.Time{})
		if d := after(); d != time.Hour {
			t.Errorf("taken back, rang after %v", d)
		}
		a.set(time.Now().Add(time.Hour))
		waiting := make(chan time.Duration)
		go func() { waiting <- after() }()
		synctest.Wait()
		a.set(time.Now().Add(time.Second))
		if d := <-waiting; d != time.Second {
			t.Errorf("moved while somebody waits, rang after %v", d)
		}
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		for via, want := range map[Via]time.Duration{ViaTCP: 0, ViaLongPoll: 2 * time.Second} {
			p := newPace(via)
			for range 2 * pollLoginsPerSecond {
				p.wait(t.Context())
			}
			p.stop()
			if d := time.Since(start); d != want {
				t.Errorf("%s took %v", via, d)
			}
			start = time.Now()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p := newPace(ViaLongPoll)
		defer p.stop()
		p.wait(ctx)
		if d := time.Since(start); d != 0 {
			t.Errorf("after the end it took %v", d)
		}
	})
}

func TestTransportsPrint(t *testing.T) {
	m := &MessageResult{AckedPerSecond: 815, Ack: Summary{P50: 1500}}
	r := &TransportsResult{Machine: &Machine{Go: "go1.99"}, Rows: []TransportRow{
		{Via: ViaLongPollTLS, Idle: &IdleResult{Connections: 15000, PerConnection: 20 << 10, PerCollected: 12 << 10}, Logins: &LoginResult{PerSecond: 421},
			Cells: []BenchCell{{Pairs: 64, Window: 16, Messages: m, Echo: &EchoResult{PerSecond: 99}}}},
		{Via: ViaQUIC, Logins: &LoginResult{PerSecond: 333}},
	}}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"go1.99", "longpoll-tls", "15000", "20.0", "12.0", "421", "815", "1.50", "99", "quic", "333"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
