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
	"github.com/quic-go/webtransport-go"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// page opens a WebTransport session as a page of an origin.
func page(t testing.TB, p *Port, origin string) (*http.Response, *webtransport.Session, error) {
	t.Helper()
	c := newClient(t)
	c.tls.NextProtos = []string{"h3"}
	c.cfg.EnableDatagrams, c.cfg.EnableStreamResetPartialDelivery = true, true
	d := &webtransport.Transport{TLSClientConfig: c.tls, QUICConfig: c.cfg,
		DialAddr: func(ctx context.Context, _ string, conf *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			return c.Dial(ctx, p.Addr(), conf, cfg)
		}}
	t.Cleanup(func() { _ = d.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return d.Dial(ctx, "https://localhost/wt", http.Header{"Origin": {origin}})
}

// openPage is a session and its stream, which is not there until something comes.
func openPage(t testing.TB, p *Port) (*webtransport.Session, *webtransport.Stream) {
	t.Helper()
	_, s, err := page(t, p, "https://localhost")
	if err != nil {
		t.Fatal(err)
	}
	str, err := s.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := str.Write(frame(pdu.CmdHeartbeat, 0xffff, nil)); err != nil {
		t.Fatal(err)
	}
	return s, str
}

// pageClient is a page as the pack wants it.
type pageClient struct {
	session *webtransport.Session
	str     *webtransport.Stream
}

func (c pageClient) Read(b []byte) (int, error) {
	n, err := c.str.Read(b)
	var gone *webtransport.SessionError
	if errors.As(err, &gone) && gone.Remote {
		err = io.EOF
	}
	return n, err
}

func (c pageClient) Write(b []byte) (int, error) { return c.str.Write(b) }

func (c pageClient) Close() error {
	c.str.CancelRead(0)
	return c.str.Close()
}

// A session's first stream carries PDUs as TCP does [TT-WT-2].
func TestWebTransportConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Transport{Kind: transport.KindWebTransport, HalfClose: true, Dial: func(t testing.TB) (transporttest.Client, transport.Conn) {
		desk := transporttest.NewDesk(t)
		p := start(t, Config{HTTP: noHTTP}, desk.Handle)
		t.Cleanup(desk.Release)
		s, str := openPage(t, p)
		server := desk.Next(t)
		if _, err := server.Read(pdu.MaxLen); err != nil {
			t.Fatal(err)
		}
		return pageClient{s, str}, server
	}})
}

// A page of another site may not open a session, unless it is allowed to [TT-WT-1].
func TestWebTransportOrigin(t *testing.T) {
	p := start(t, Config{HTTP: noHTTP, Origins: []string{"https://chat.example"}}, echo)
	for origin, want := range map[string]int{"https://localhost": 200, "https://chat.example": 200, "https://evil.example": 403, "null": 403} {
		res, s, err := page(t, p, origin)
		switch {
		case res == nil:
			t.Errorf("%s: %v", origin, err)
		case res.StatusCode != want:
			t.Errorf("%s: status %d, not %d", origin, res.StatusCode, want)
		}
		if s != nil {
			_ = s.CloseWithError(0, "")
		}
	}
}

// The session is closed with the code; further streams are reset, and a session without a stream ends [TT-WT-2] [TT-WT-3].
func TestWebTransportEnds(t *testing.T) {
	p := start(t, Config{HTTP: noHTTP, Timing: Timing{FirstStream: 100 * time.Millisecond}}, func(c transport.Conn) {
		_, _ = c.Read(pdu.MaxLen)
		_ = c.Write([][]byte{numbered(1)})
		_, _ = c.Read(pdu.MaxLen)
		_ = c.Close(protocol.CodeKicked)
	})
	closed := func(s *webtransport.Session) protocol.Code {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := s.AcceptStream(ctx)
		var e *webtransport.SessionError
		if !errors.As(err, &e) || !e.Remote {
			t.Fatalf("closed with %v", err)
		}
		return protocol.Code(e.ErrorCode)
	}
	s, str := openPage(t, p)
	if _, err := io.ReadFull(str, make([]byte, len(numbered(1)))); err != nil { // it is the first one from here on: streams may overtake each other
		t.Fatal(err)
	}
	second, err := s.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	var reset *webtransport.StreamError
	if _, err := second.Write([]byte("x")); err != nil && !errors.As(err, &reset) { // it may be refused by now
		t.Fatal(err)
	}
	if _, err := second.Read(make([]byte, 1)); !errors.As(err, &reset) || protocol.Code(reset.ErrorCode) != protocol.CodeForbidden {
		t.Errorf("the second stream: %v", err)
	}
	if _, err := str.Write(frame(pdu.CmdHeartbeat, 1, nil)); err != nil {
		t.Fatal(err)
	}
	if code := closed(s); code != protocol.CodeKicked {
		t.Errorf("closed with %v", code)
	}
	_, idle, err := page(t, p, "https://localhost")
	if err != nil {
		t.Fatal(err)
	}
	if code := closed(idle); code != protocol.CodeUnauthenticated {
		t.Errorf("without a stream: closed with %v", code)
	}
}
