package longpoll

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol/pdu"
)

// stage is a Handler that is called without a network, in virtual time if the test is in a bubble.
type stage struct {
	t    testing.TB
	h    *Handler
	desk *transporttest.Desk
}

func newStage(t testing.TB, change func(*Config)) *stage {
	st := &stage{t: t, desk: transporttest.NewDesk(t)}
	cfg := Config{Handle: st.desk.Handle, Node: "7", Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	st.h = New(cfg)
	return st
}

// end is what every test in a bubble does before it returns.
func (st *stage) end() {
	st.desk.Release()
	st.h.Close()
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, change func(*Config), test func(*testing.T, *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, change)
		defer st.end()
		test(t, st)
	})
}

type reply struct {
	*httptest.ResponseRecorder
}

func (w reply) seq() string { return w.Header().Get("Teamtalk-Seq") }

// do makes a request; header is pairs of name and value.
func (st *stage) do(method, target string, body []byte, header ...string) reply {
	return st.doCtx(context.Background(), method, target, body, header...)
}

func (st *stage) doCtx(ctx context.Context, method, target string, body []byte, header ...string) reply {
	return st.serve(httptest.NewRequestWithContext(ctx, method, target, bytes.NewReader(body)), header...)
}

// doReader leaves the length of the body open.
func (st *stage) doReader(method, target string, body io.Reader, header ...string) reply {
	return st.serve(httptest.NewRequestWithContext(context.Background(), method, target, body), header...)
}

func (st *stage) serve(r *http.Request, header ...string) reply {
	r.RemoteAddr = "[::ffff:192.0.2.1]:1234"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	st.h.ServeHTTP(w, r)
	if c := w.Header().Get("Cache-Control"); c != "no-store, no-transform" { // [TT-LP-2]
		st.t.Errorf("%s %s: Cache-Control %q", r.Method, r.URL, c)
	}
	return reply{w}
}

// peer is a session from both ends.
type peer struct {
	st *stage
	ticket
	conn transport.Conn
}

func (st *stage) open() *peer {
	st.t.Helper()
	return &peer{st: st, ticket: ticketOf(st.t, st.do("POST", "/lp", nil)), conn: st.desk.Next(st.t)}
}

func ticketOf(t testing.TB, w reply) (got ticket) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("POST /lp: %d %q, %v", w.Code, w.Body, err)
	}
	return got
}

func (p *peer) session() *session { return p.conn.(*session) }

func (p *peer) auth() []string { return []string{"Authorization", "Bearer " + p.Token} }

func (p *peer) post(seq string, body []byte) reply {
	return p.st.do("POST", "/lp/"+p.ID, body, append(p.auth(), "Teamtalk-Seq", seq)...)
}

func (p *peer) poll(query string) reply {
	return p.st.do("GET", "/lp/"+p.ID+"?"+query, nil, p.auth()...)
}

// held is a poll on its way.
func (p *peer) held(query string) <-chan reply {
	got := make(chan reply, 1)
	go func() { got <- p.poll(query) }() // ends with the poll
	synctest.Wait()
	return got
}

func (p *peer) write(frames ...[]byte) {
	p.st.t.Helper()
	if err := p.conn.Write(frames); err != nil {
		p.st.t.Fatalf("Write: %v", err)
	}
}

// reads reads PDUs and compares them.
func (p *peer) reads(want ...[]byte) {
	p.st.t.Helper()
	for i, w := range want {
		got, err := p.conn.Read(pdu.MaxLen)
		if err != nil {
			p.st.t.Fatalf("PDU %d: %v", i, err)
		}
		if raw := pdu.AppendRaw(nil, got.Header, got.Body); !bytes.Equal(raw, w) {
			p.st.t.Fatalf("PDU %d: %d bytes with sequence %d, want %d bytes", i, len(raw), got.Header.Seq, len(w))
		}
	}
}

func (w reply) want(t testing.TB, what string, status int, seq, body string) {
	t.Helper()
	if w.Code != status || w.seq() != seq || w.Body.String() != body {
		t.Errorf("%s: %d, Teamtalk-Seq %q, %d bytes; want %d, %q, %d bytes", what, w.Code, w.seq(), w.Body.Len(), status, seq, len(body))
	}
}

func (w reply) is(t testing.TB, what string, status int) {
	t.Helper()
	w.want(t, what, status, w.seq(), "")
}

func frame(seq int, body string) []byte {
	return transporttest.Frame(pdu.CmdMsgData, uint16(seq), []byte(body))
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func big(n int) []byte { return frame(1, strings.Repeat("x", n-pdu.HeaderLen)) }
