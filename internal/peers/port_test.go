package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

func (p *Port) refusals(t *testing.T, reason string) int {
	t.Helper()
	return int(p.metric(t, `refused_total{reason="`+reason+`"}`))
}

func address(p *Port) string { return p.cfg.Listener.Addr().String() }

func TestNodesReachEachOther(t *testing.T) {
	w := newWorld(t)
	a, _ := w.open(t, "n1", nil)
	b, _ := w.open(t, "n2", nil)
	for _, want := range []protocol.NodeID{"n1", ""} {
		done := make(chan string, 1)
		go func() {
			c, err := a.RaftLayer().Accept()
			if err != nil {
				done <- err.Error()
				return
			}
			defer c.Close()
			got, _ := io.ReadAll(c)
			done <- string(got)
		}()
		c, err := b.Dial(within(t), address(a), want, alpnRaft)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		c.Close()
		if got := <-done; got != "hello" {
			t.Errorf("got %q", got)
		}
	}
	if _, err := b.Dial(within(t), address(a), "n3", alpnRaft); !errors.Is(err, ErrWrongNode) {
		t.Errorf("n1 taken for n3: %v", err)
	}
	if _, err := b.Dial(within(t), address(a), "n1", alpnNode); !errors.Is(err, ErrNotReady) {
		t.Errorf("without a mesh: %v", err)
	}
	for _, p := range []*Port{a, b} {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := a.metric(t, `connections{direction="in",protocol="teamtalk-raft/1"}`); n != 0 {
		t.Errorf("%v connections are left in the books", n)
	}
	if n := a.metric(t, `bytes_total{direction="in",peer="n2",protocol="teamtalk-raft/1"}`); n != 10 {
		t.Errorf("%v bytes came in", n)
	}
}

// stranger dials a port with what it has.
func stranger(t *testing.T, p *Port, cfg *tls.Config) error {
	t.Helper()
	cfg.MinVersion, cfg.InsecureSkipVerify = tls.VersionTLS12, true
	c, err := dialTLS(within(t), new(net.Dialer).DialContext, address(p), wait, cfg)
	if err == nil {
		c.Close()
	}
	return err
}

func certificates(id *authority.Identity) []tls.Certificate {
	return []tls.Certificate{*id.Certificate()}
}

func TestWhoIsRefused(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	short := w.identity(t, "n2", time.Hour)
	old := w.identity(t, "n4", time.Hour)
	p, l := w.open(t, "n1", nil)
	w.remove("n3")
	for _, c := range []struct {
		name   string
		cfg    *tls.Config
		pass   time.Duration
		reason string
		log    string
		err    error
	}{
		{name: "foreign", cfg: &tls.Config{NextProtos: []string{alpnRaft}, Certificates: certificates(foreign.identity(t, "n2", 0))}, reason: reasonForeign, log: "not of this cluster"},
		{name: "foreign, other cluster", cfg: &tls.Config{NextProtos: []string{alpnNode}, Certificates: certificates(foreign.identity(t, "n2", 0))}, reason: reasonForeign},
		{name: "removed", cfg: &tls.Config{NextProtos: []string{alpnRaft}, Certificates: certificates(w.identity(t, "n3", 0))}, reason: reasonRemoved, log: "node=n3", err: ErrRemoved},
		{name: "the same node", cfg: &tls.Config{NextProtos: []string{alpnNode}, Certificates: certificates(w.identity(t, "n1", 0))}, reason: reasonSelf, log: "node=n1", err: ErrWrongNode},
		{name: "no certificate", cfg: &tls.Config{NextProtos: []string{alpnNode}}, reason: reasonHandshake},
		{name: "unknown protocol", cfg: &tls.Config{NextProtos: []string{"h2"}, Certificates: certificates(short)}, reason: reasonProtocol, log: "h2"},
		{name: "no protocol", cfg: &tls.Config{NextProtos: []string{""}, Certificates: certificates(short)}, reason: ""},
		{name: "TLS 1.2", cfg: &tls.Config{NextProtos: []string{alpnNode}, MaxVersion: tls.VersionTLS12, Certificates: certificates(short)}, reason: ""},
		{name: "not yet joining", cfg: &tls.Config{NextProtos: []string{alpnJoin}}, reason: reasonNotReady, err: ErrNotReady},
		{name: "expired", cfg: &tls.Config{NextProtos: []string{alpnNode}, Certificates: certificates(old)}, pass: 2 * time.Hour, reason: reasonExpired, log: "node=n4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.pass(c.pass)
			before := p.refusals(t, c.reason)
			err := stranger(t, p, c.cfg)
			if err == nil || c.err != nil && !errors.Is(err, c.err) {
				t.Fatalf("let in, or refused with %v", err)
			}
			if c.reason == "" {
				return
			}
			eventually(t, "the refusal is counted", func() bool { return p.refusals(t, c.reason) == before+1 })
			eventually(t, "the refusal is logged: "+c.log, func() bool { return strings.Contains(l.String(), c.log) })
		})
	}
	if !strings.Contains(l.String(), "from=127.0.0.1:") {
		t.Error("the log does not say from where")
	}
}

// Who dials looks as closely as who is dialled.
func TestWhomADialerRefuses(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	w.mu.Lock()
	w.removed["n3"] = true
	w.mu.Unlock()
	p, _ := w.open(t, "n1", nil)
	other, _ := foreign.open(t, "n2", nil)
	if _, err := p.Dial(within(t), address(other), "n2", alpnRaft); !errors.Is(err, authority.ErrForeign) {
		t.Errorf("a foreign node: %v", err)
	}
	gone, _ := w.open(t, "n3", nil)
	if _, err := p.Dial(within(t), address(gone), "n3", alpnRaft); !errors.Is(err, ErrRemoved) {
		t.Errorf("a removed node: %v", err)
	}
	old, _ := w.open(t, "n4", nil)
	w.pass(2 * authority.NodeLife)
	if _, err := p.Dial(within(t), address(old), "n4", alpnRaft); !errors.Is(err, authority.ErrExpired) {
		t.Errorf("an expired node: %v", err)
	}
}

func TestGarbageAndSlowHandshakes(t *testing.T) {
	w := newWorld(t)
	p, l := w.open(t, "n1", func(c *Config) { c.Tuning.Handshake = 300 * time.Millisecond })
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x00\x05hello", ""} {
		c, err := net.Dial("tcp", address(p))
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(text))
		c.SetReadDeadline(time.Now().Add(wait))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q is kept: %v", text, err)
		}
		c.Close()
	}
	eventually(t, "all are counted", func() bool { return p.refusals(t, reasonHandshake) == 3 })
	if !strings.Contains(l.String(), "reason=handshake") {
		t.Error("not logged")
	}
}

// A crowd that begins handshakes and does not end them keeps no node out, and the log stays readable.
func TestSlowCrowd(t *testing.T) {
	w := newWorld(t)
	const room, crowd = 8, 60
	a, l := w.open(t, "n1", func(c *Config) { c.Tuning.Handshakes, c.Tuning.Handshake = room, wait })
	b, _ := w.open(t, "n2", nil)
	var idle []net.Conn
	for range crowd {
		c, err := net.Dial("tcp", address(a))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		idle = append(idle, c)
	}
	go func() {
		c, err := a.RaftLayer().Accept()
		if err == nil {
			c.Close()
		}
	}()
	c, err := b.Dial(within(t), address(a), "n1", alpnRaft)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "those pushed out are counted", func() bool { return a.refusals(t, reasonPushed) == crowd+1-room })
	idle[0].SetReadDeadline(time.Now().Add(wait))
	if _, err := idle[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest was kept")
	}
	if lines := strings.Count(l.String(), "refused"); lines > limiterLines {
		t.Errorf("%d lines of log", lines)
	}
}

func TestCrowdOfOneNode(t *testing.T) {
	w := newWorld(t)
	a, _ := w.open(t, "n1", func(c *Config) { c.Tuning.PerNode = 3 })
	b, _ := w.open(t, "n2", nil)
	var accepted []net.Conn
	for n := range 4 {
		c, err := b.Dial(within(t), address(a), "n1", alpnRaft)
		if n < 3 {
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			s, err := a.RaftLayer().Accept()
			if err != nil {
				t.Fatal(err)
			}
			accepted = append(accepted, s)
		} else if !errors.Is(err, ErrCrowded) {
			t.Errorf("one too many: %v", err)
		}
	}
	accepted[0].Close()
	accepted[0].Close() // twice is once
	c, err := b.Dial(within(t), address(a), "n1", alpnRaft)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := a.RaftLayer().Accept(); err != nil {
		t.Fatal(err)
	}
	a.Disconnect("n2")
	accepted[1].SetReadDeadline(time.Now().Add(wait))
	if _, err := accepted[1].Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Disconnect: %v", err)
	}
}

func TestDialsEnd(t *testing.T) {
	w := newWorld(t)
	p, _ := w.open(t, "n1", func(c *Config) { c.Tuning.Handshake = 200 * time.Millisecond })
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := p.Dial(within(t), silent.Addr().String(), "", alpnRaft); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a side that says nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Dial(ctx, silent.Addr().String(), "", alpnRaft); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := p.RaftLayer().Dial("127.0.0.1:1", time.Second); err == nil {
		t.Error("nobody was reached")
	}
}

func TestConfigsThatDoNot(t *testing.T) {
	if _, err := Open(Config{}); err == nil {
		t.Error("opened without anything")
	}
	w := newWorld(t)
	p, _ := w.open(t, "n1", nil)
	if _, err := p.OpenMesh(MeshConfig{}); err == nil {
		t.Error("a mesh without a handler")
	}
	m, err := p.OpenMesh(MeshConfig{Handler: echo})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := p.OpenMesh(MeshConfig{Handler: echo}); err == nil {
		t.Error("two meshes")
	}
	if a := p.RaftLayer().Addr(); a.Network() != "tcp" || a.String() != address(p) {
		t.Errorf("address %s", a)
	}
}
