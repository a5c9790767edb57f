package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

const (
	subprotocol = "teamtalk.v1"
	closeBase   = 4000 // plus a protocol.Code
	// idleRequests is how long a connection is kept for the next request: beside a poll that waits a second one would cost the server as much again.
	idleRequests = 5 * time.Second
	// maxHeaders bounds the head of an HTTP answer.
	maxHeaders = 64 << 10
)

var (
	errText = errors.New("a text message")
	errCut  = errors.New("a message that ends inside a PDU")
)

// webSocket is a Conn of binary messages of whole PDUs.
type webSocket struct {
	*link
	ws       *websocket.Conn
	raw      net.Conn // under it and under TLS
	inbox    inbox
	received chan struct{}   // closed when the receiving goroutine has ended
	life     context.Context // of Writes; ends with Close
	endLife  context.CancelFunc

	message io.Reader // the one being received, nil between two
	given   uint64    // bytes of messages that went into the PDU reader
	taken   uint64    // bytes of PDUs that came out

	writing chan struct{} // holds one thing while somebody writes or says goodbye
	torn    bool          // a write has failed; belongs to whom writing belongs
}

// openWebSocket connects, through the proxy if there is one, and upgrades.
func (d *Dialer) openWebSocket(ctx context.Context, r Route) (guest, error) {
	heard := newClock()
	w := &webSocket{inbox: newInbox(), received: make(chan struct{}), writing: make(chan struct{}, 1)}
	t, err := d.httpTransport(r, func(nc net.Conn) net.Conn {
		w.raw = nc
		return &heardConn{Conn: nc, heard: heard}
	}, "http/1.1")
	if err != nil {
		return nil, err
	}
	ws, resp, err := websocket.Dial(ctx, r.URL, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: t, CheckRedirect: noRedirect},
		HTTPHeader:      http.Header{"User-Agent": {d.opts.UserAgent}},
		Subprotocols:    []string{subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	t.CloseIdleConnections()
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, statusError(resp.StatusCode, "no WebSocket")
		}
		return nil, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close() // the connection is not in it any more
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.CloseNow() // nothing was said on it
		return nil, fmt.Errorf("what answers there does not speak %s", subprotocol)
	}
	ws.SetReadLimit(-1) // PDUs are what is limited: messages are never held whole
	w.ws = ws
	w.link = newLink(d, r, w.raw.RemoteAddr().String(), heard)
	w.life, w.endLife = context.WithCancel(context.Background())
	go w.receive() // ends with the connection; joined by Close
	return w, nil
}

// httpTransport makes requests for a route, whose connections go through its proxy and then through wrap.
func (d *Dialer) httpTransport(r Route, wrap func(net.Conn) net.Conn, protocols ...string) (*http.Transport, error) {
	proxy, err := d.opts.proxyFor(r)
	if err != nil {
		return nil, err
	}
	host, _, err := r.address()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		TLSClientConfig:        d.opts.tlsConfig(host, d.tcpSessions, protocols...),
		DisableCompression:     true,
		IdleConnTimeout:        idleRequests,
		MaxResponseHeaderBytes: maxHeaders,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: keepAlive, PingTimeout: keepAlive / 3},
		ForceAttemptHTTP2:      len(protocols) > 1,
	}
	if len(protocols) == 1 {
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // HTTP/1.1 only
	}
	if proxy != nil && r.Plain && r.Transport == LongPoll && strings.HasPrefix(proxy.Scheme, "http") {
		t.TLSClientConfig.ServerName = "" // the proxy's, if that speaks TLS
		forward := proxy
		t.Proxy = func(*http.Request) (*url.URL, error) { return forward, nil }
		proxy = nil // connections to it are direct
	}
	t.DialContext = func(ctx context.Context, _, hostPort string) (net.Conn, error) {
		nc, err := d.through(ctx, proxy, hostPort)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoWay, err)
		}
		return wrap(nc), nil
	}
	return t, nil
}

// noRedirect keeps what belongs to one server from another.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// receive takes PDUs from messages until the connection ends.
func (w *webSocket) receive() {
	defer close(w.received)
	reader := pdu.NewReader(source{w})
	for {
		p, err := reader.Read(pdu.MaxLen)
		if err != nil {
			w.inbox.finish(w.explain(err))
			return
		}
		w.taken += uint64(p.Header.Length)
		select {
		case w.inbox.pdus <- p:
		case <-w.closed: // the goodbye reads what still comes
			w.inbox.finish(net.ErrClosed)
			return
		}
	}
}

// source is the messages as a byte stream, which the PDU reader asks for more only when it has used up what it was given.
type source struct{ *webSocket }

func (s source) Read(b []byte) (int, error) {
	for {
		if s.message == nil {
			if s.given != s.taken {
				return 0, errCut
			}
			kind, message, err := s.ws.Reader(context.Background()) // ends with the connection
			if err != nil {
				return 0, err
			}
			if kind != websocket.MessageBinary {
				return 0, errText
			}
			s.message = message
		}
		n, err := s.message.Read(b)
		s.given += uint64(n)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// explain turns the end of a WebSocket into that of a Conn, and tells the server what it did wrong.
func (w *webSocket) explain(err error) error {
	closed, ok := errors.AsType[websocket.CloseError](err)
	switch {
	case ok && (closed.Code == websocket.StatusNormalClosure || closed.Code == websocket.StatusGoingAway ||
		closed.Code == websocket.StatusNoStatusRcvd || closed.Code == closeBase):
		return io.EOF
	case ok && closed.Code > closeBase:
		return &CloseError{Code: codeOf(uint64(closed.Code - closeBase)), Message: closed.Reason}
	case ok:
		return &CloseError{Message: fmt.Sprintf("WebSocket status %d %s", int(closed.Code), closed.Reason)}
	}
	return err
}

func (w *webSocket) Read() (pdu.PDU, error) { return w.inbox.next(w.link) }

// Write joins frames to messages of up to 8 KiB, which is what a server takes of a client that has not logged in.
func (w *webSocket) Write(frames [][]byte) error {
	select {
	case w.writing <- struct{}{}:
	case <-w.life.Done():
		return w.errClosed()
	}
	defer func() { <-w.writing }()
	ctx, cancel := context.WithTimeout(w.life, timeFor(sizeOf(frames)))
	defer cancel()
	if w.isClosed() {
		return w.errClosed()
	}
	err := joined(frames, pdu.MaxLenBeforeLogin, func(piece []byte) error {
		return w.ws.Write(ctx, websocket.MessageBinary, piece)
	})
	if err == nil {
		return nil
	}
	w.torn = true
	if w.isClosed() {
		return w.errClosed()
	}
	return err
}

// Close does the closing handshake with status 4000 + code.
func (w *webSocket) Close(code protocol.Code, reason string) error {
	return w.end(w, func() { w.goodbye(code, reason) })
}

func (w *webSocket) abort() { _ = w.end(w, w.sever) } // it may have been closed

func (w *webSocket) goodbye(code protocol.Code, reason string) {
	w.endLife() // interrupts Write
	w.writing <- struct{}{}
	defer func() { <-w.writing }()
	given := time.AfterFunc(goodbyeTime, func() { _ = w.raw.Close() }) // the library would wait longer
	if !w.torn {
		_ = w.ws.Close(websocket.StatusCode(closeBase+int(code)), clipped(strings.ToValidUTF8(reason, ""))) // fails if the server has gone
	}
	given.Stop()
	w.sever()
}

// sever ends it at once.
func (w *webSocket) sever() {
	w.endLife()
	_ = w.raw.Close()
	_ = w.ws.CloseNow() // it has no connection any more
	<-w.received
}
