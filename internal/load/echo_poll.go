package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// pollEcho serves long-poll as bare as it can be: what a POST brings, the next GET takes.
func pollEcho(l net.Listener, server *tls.Config, url string, client *tls.Config) *echoServer {
	s := &echoServer{}
	hs := &http.Server{ReadHeaderTimeout: loginTimeout, TLSConfig: server, Handler: &mailboxes{}}
	s.conns.Go(func() { // until stop
		if server == nil {
			_ = hs.Serve(l)
		} else {
			_ = hs.ServeTLS(l, "", "")
		}
	})
	s.stop = hs.Close
	var last atomic.Int64
	s.dial = func(context.Context) (io.ReadWriteCloser, error) {
		c := &pollEchoConn{url: url + "/" + strconv.FormatInt(last.Add(1), 10), tr: &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: true}}
		c.life, c.end = context.WithCancel(context.Background())
		return c, nil
	}
	return s
}

// mailboxes keep what was posted, by path.
type mailboxes struct{ all sync.Map }

// ServeHTTP puts in (POST) or takes out all there is (GET), for which it waits.
func (m *mailboxes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	made, _ := m.all.LoadOrStore(r.URL.Path, make(chan []byte, 64))
	box := made.(chan []byte) // nothing else is put in
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return
		}
		select {
		case box <- body:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
		return
	}
	select {
	case body := <-box:
		_, _ = w.Write(body)
	case <-r.Context().Done():
	}
}

// pollEchoConn is a client: a Write is a POST, a Read a GET.
type pollEchoConn struct {
	url  string
	tr   *http.Transport
	life context.Context
	end  context.CancelFunc
	rest []byte // of the answer read last
}

// Read takes what the server has.
func (c *pollEchoConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		var err error
		if c.rest, err = c.ask(http.MethodGet, nil, http.StatusOK); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write posts b.
func (c *pollEchoConn) Write(b []byte) (int, error) {
	_, err := c.ask(http.MethodPost, b, http.StatusNoContent)
	return len(b), err
}

func (c *pollEchoConn) ask(method string, body []byte, want int) ([]byte, error) {
	req, err := http.NewRequestWithContext(c.life, method, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		return nil, fmt.Errorf("%s: %s", method, res.Status)
	}
	return io.ReadAll(res.Body)
}

// Close breaks off what is under way.
func (c *pollEchoConn) Close() error {
	c.end()
	c.tr.CloseIdleConnections()
	return nil
}
