package longpoll

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// [TT-LP-3]: numbers begin with 1; what was accepted before is not applied again, whatever it holds; a gap is told.
func TestPostsAreNumbered(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		a, b, c := frame(1, "a"), frame(2, "b"), frame(3, "")
		p.post("2", b).want(t, "a gap", 409, "0", "")
		p.post("1", a).want(t, "the first", 204, "", "")
		p.post("1", a).want(t, "its repeat", 204, "", "")
		p.post("1", join(b, c)).want(t, "its number with something else", 204, "", "")
		p.post("1", a[:5]).want(t, "its number with half a PDU", 204, "", "")
		p.post("3", c).want(t, "a gap", 409, "1", "")
		p.post("2", join(b, c)).want(t, "the second", 204, "", "")
		p.post("3", nil).want(t, "an empty one", 204, "", "")
		p.post("5", c).want(t, "a gap", 409, "3", "")
		p.post("2", b).want(t, "an old repeat", 204, "", "")
		for _, bad := range []string{"", "0", "-1", "x", "1.5", "4, 4", "18446744073709551616"} {
			p.post(bad, a).want(t, "the number "+bad, 400, "", "")
		}
		p.post("4", a).want(t, "the fourth", 204, "", "")
		p.reads(a, b, c, a)
	})
}

// [TT-LP-6]: what is not whole PDUs ends the session; what was accepted before is still read.
func TestCutPDUEndsTheSession(t *testing.T) {
	short := frame(1, "")
	short[3] = pdu.HeaderLen - 1
	for name, c := range map[string]struct {
		body []byte
		err  error
	}{
		"a cut body":        {frame(1, "0123456789")[:20], io.ErrUnexpectedEOF},
		"a cut header":      {join(frame(1, "x"), frame(2, "")[:7]), io.ErrUnexpectedEOF},
		"an endless PDU":    {[]byte("\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), io.ErrUnexpectedEOF},
		"a length below 16": {short, pdu.ErrLength},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, st *stage) {
				p := st.open()
				poll := p.held("after=0")
				p.post("1", frame(1, "x")).is(t, "a good one", 204)
				p.post("2", c.body).want(t, name, 400, "", "")
				(<-poll).is(t, "the poll held", 410)
				p.post("2", frame(2, "y")).is(t, "afterwards", 410)
				p.reads(frame(1, "x"))
				if _, err := p.conn.Read(pdu.MaxLen); !errors.Is(err, c.err) {
					t.Errorf("Read: %v, want %v", err, c.err)
				}
				if err := p.conn.Write([][]byte{short}); err == nil {
					t.Error("Write succeeds")
				}
			})
		})
	}
}

// endless is a body of unknown length.
type endless struct{ io.Reader }

// [TT-LP-6]: 1 MiB and not a byte more, announced or not; a body refused for that changes nothing.
func TestBodySize(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		_ = p.conn.SetReadDeadline(time.Time{})
		p.post("1", big(maxBody+1)).is(t, "a body of 1 MiB and a byte", 413)
		for i, known := range []bool{true, false} {
			r := func(n int) reply {
				b := big(n)
				seq := []string{"1", "2"}[i]
				if known {
					return p.post(seq, b)
				}
				return p.postReader(seq, endless{bytes.NewReader(b)})
			}
			r(maxBody+1).is(t, "too much", 413)
			r(maxBody).is(t, "1 MiB", 204)
			p.reads(big(maxBody))
		}
		if left := st.h.bodies.strangers.left.Load(); left != int64(st.h.cfg.Limits.BodyBytes/4) {
			t.Errorf("%d bytes left for strangers", left)
		}
		p.postReader("3", io.MultiReader(bytes.NewReader(frame(3, "x")[:10]), failing{})).is(t, "a body that breaks off", 408)
		p.post("3", frame(3, "x")).is(t, "again", 204)
		p.reads(frame(3, "x"))
	})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// postReader sends a body of unknown length.
func (p *peer) postReader(seq string, body io.Reader) reply {
	w := p.st.doReader("POST", "/lp/"+p.ID, body, append(p.auth(), "Teamtalk-Seq", seq)...)
	return w
}

// A POST waits while the session does not read; one refused for that, or given up by its client, may be repeated [TT-LP-3].
func TestPostWaitsForTheSession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		p.conn.(*session).up.limit = pdu.MaxLen
		first := big(200 << 10)
		p.post("1", first).is(t, "the first", 204)
		began := time.Now()
		w := p.post("2", first)
		w.is(t, "no room", 503)
		if d := time.Since(began); d != 10*time.Second || w.Header().Get("Retry-After") == "" {
			t.Errorf("refused after %v, Retry-After %q", d, w.Header().Get("Retry-After"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		st.doCtx(ctx, "POST", "/lp/"+p.ID, first, append(p.auth(), "Teamtalk-Seq", "2")...).is(t, "given up", 503)
		got := make(chan reply)
		for range 2 { // one and its repeat
			go func() { got <- p.post("2", first) }()
		}
		synctest.Wait()
		p.reads(first)
		(<-got).is(t, "the second", 204)
		(<-got).is(t, "the second again", 204)
		p.reads(first)
		p.post("3", frame(3, "x")).is(t, "the third", 204)
		p.reads(frame(3, "x"))
		if left := st.h.bodies.known.left.Load(); left != int64(st.h.cfg.Limits.BodyBytes) {
			t.Errorf("%d bytes left", left)
		}
	})
}

// Who has not logged in may queue less.
func TestStrangersQueueLess(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		p.post("1", big(10<<10)).is(t, "the first", 204)
		p.post("2", big(10<<10)).is(t, "the second", 503)
		p.session().up.limit = pdu.MaxLen
		p.post("2", big(10<<10)).is(t, "the second of a friend", 204)
	})
}

func TestBodiesAreBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.BodyBytes = 4 << 20 }, func(t *testing.T, st *stage) {
		p, q, friend := st.open(), st.open(), st.open()
		friend.session().up.limit = pdu.MaxLen
		p.post("1", big(maxBody)).is(t, "the first", 204)
		q.post("1", big(maxBody)).is(t, "no room", 503)
		q.post("1", big(freeBody)).is(t, "a small one", 204)
		friend.post("1", big(maxBody)).is(t, "one who has logged in", 204)
		_ = p.conn.Close(protocol.CodeKicked)
		q.reads(big(freeBody))
		q.post("2", big(maxBody)).is(t, "with room again", 204)
	})
}

func TestPostsAtOnceAreBounded(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.Posts = 2 }, func(t *testing.T, st *stage) {
		p := st.open()
		r, w := io.Pipe()
		done := make(chan reply)
		for range 2 {
			go func() { done <- p.postReader("1", r) }()
		}
		synctest.Wait()
		p.post("1", frame(1, "")).is(t, "the third", 503)
		_ = w.CloseWithError(io.ErrUnexpectedEOF)
		(<-done).is(t, "a broken one", 408)
		(<-done).is(t, "a broken one", 408)
		p.post("1", frame(1, "")).is(t, "afterwards", 204)
	})
}

// After the end of reading POSTs are neither accepted nor refused, until Discard takes them or Close refuses them.
func TestEndOfReading(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		p.post("1", frame(1, "a")).is(t, "in time", 204)
		_ = p.conn.SetReadDeadline(time.Unix(1, 0))
		waiting := make(chan reply)
		go func() { waiting <- p.post("2", frame(2, "b")) }()
		synctest.Wait()
		p.reads(frame(1, "a"))
		if _, err := p.conn.Read(100); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
		go p.conn.Discard(time.Now().Add(time.Minute))
		(<-waiting).is(t, "thrown away", 204)
		p.post("3", frame(3, "c")).is(t, "thrown away", 204)
		if err := p.conn.Close(protocol.CodeKicked); err != nil {
			t.Error(err)
		}
		p.post("4", frame(4, "d")).is(t, "after Close", 410)

		q := st.open()
		_ = q.conn.SetReadDeadline(time.Unix(1, 0))
		go func() { waiting <- q.post("1", frame(2, "b")) }()
		synctest.Wait()
		_ = q.conn.Close(protocol.CodeKicked)
		(<-waiting).is(t, "refused by Close", 410)
	})
}

func TestReadDeadlineInTime(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		began := time.Now()
		_ = p.conn.SetReadDeadline(began.Add(time.Minute))
		go func() { // ends with the test's clock
			<-time.After(30 * time.Second)
			_ = p.conn.SetReadDeadline(began.Add(45 * time.Second))
		}()
		if _, err := p.conn.Read(100); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 45*time.Second {
			t.Errorf("Read: %v after %v", err, time.Since(began))
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		_ = p.conn.Close(protocol.CodeKicked)
		if err := p.conn.Close(protocol.CodeKicked); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close again: %v", err)
		}
		if _, err := p.conn.Read(100); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
		if err := p.conn.Write([][]byte{frame(1, "")}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		for _, err := range []error{p.conn.CloseWrite(), p.conn.SetReadDeadline(time.Time{})} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		p.conn.Discard(time.Now().Add(time.Minute))
		p.post("1", frame(1, "")).is(t, "afterwards", http.StatusGone)
	})
}

// A small PDU must not keep the body it came in.
func TestBodiesOfTheirOwn(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		p.post("1", join(frame(1, strings.Repeat("a", 40)), frame(2, strings.Repeat("b", 40)))).is(t, "two", 204)
		whole := &p.session().up.queue[0].rest[pdu.HeaderLen]
		got, err := p.conn.Read(100)
		if err != nil || &got.Body[0] == whole || cap(got.Body) > 64 {
			t.Errorf("%v, room for %d bytes", err, cap(got.Body))
		}
		if h, err := p.conn.Read(50); !errors.Is(err, pdu.ErrTooLarge) || h.Header.Seq != 2 {
			t.Errorf("%+v, %v", h, err)
		}
	})
}
