package quicport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"teamtalk/gateway/transport"
)

var noHTTP = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })

// browser is a client of HTTP/3 on the port.
func browser(t *testing.T, p *Port) *http.Client {
	t.Helper()
	c := newClient(t)
	rt := &http3.Transport{TLSClientConfig: c.tls, QUICConfig: c.cfg,
		Dial: func(ctx context.Context, _ string, tlsConf *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			return c.Dial(ctx, p.Addr(), tlsConf, cfg)
		}}
	c.tls.NextProtos = nil
	t.Cleanup(func() { _ = rt.Close() })
	return &http.Client{Transport: rt, Timeout: patience}
}

func get(t *testing.T, c *http.Client, path string) (string, error) {
	t.Helper()
	res, err := c.Get("https://localhost" + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// One port serves native clients and HTTP/3 [TT-QUIC-1].
func TestHTTP3BesideNative(t *testing.T) {
	p := start(t, Config{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.URL.Path)
	})}, echo)
	_, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	c := browser(t, p)
	for range 3 {
		if s, err := get(t, c, "/lp"); err != nil || s != "HTTP/3.0 /lp" {
			t.Fatalf("%q, %v", s, err)
		}
	}
	roundTrip(t, str, 2)
	p.Close()
	if _, err := get(t, c, "/"); err == nil {
		t.Error("served after Close")
	}
}

// Shutdown lets requests under way end, and Stop lets new ones come on the connections there are.
func TestShutdownEndsRequests(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	p := start(t, Config{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-leave
		}
		_, _ = io.WriteString(w, "done")
	})}, echo)
	_, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	c := browser(t, p)
	answer := make(chan error, 1)
	go func() {
		s, err := get(t, c, "/slow")
		if s != "done" {
			err = errors.Join(err, errors.New("answer "+s))
		}
		answer <- err
	}()
	<-entered
	p.Stop()
	if s, err := get(t, c, "/"); err != nil || s != "done" {
		t.Fatalf("after Stop: %q, %v", s, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(t.Context()) }()
	select {
	case err := <-ended:
		t.Fatalf("Shutdown did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	c.CloseIdleConnections()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	roundTrip(t, str, 2)
}

// Shutdown gives up when its time is over; the requests left are broken.
func TestShutdownGivesUp(t *testing.T) {
	entered, broken := make(chan struct{}), make(chan struct{})
	p := start(t, Config{HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(broken)
	})}, echo)
	go func() { _, _ = get(t, browser(t, p), "/") }()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-broken
}

// A request has to come, and its answer to be taken, in time.
func TestRequestDeadline(t *testing.T) {
	got := make(chan error, 1)
	p := start(t, Config{Timing: Timing{HTTPRequest: 50 * time.Millisecond}, HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		got <- err
	})}, func(transport.Conn) {})
	r, w := io.Pipe()
	defer w.Close()
	c := browser(t, p)
	go func() {
		res, err := c.Post("https://localhost/", "", r)
		if err == nil {
			_ = res.Body.Close()
		}
	}()
	if _, err := w.Write([]byte("never more than this")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if err == nil {
			t.Error("the body has ended")
		}
	case <-time.After(patience):
		t.Fatal("still reading")
	}
}
