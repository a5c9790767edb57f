package dial

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// Whatever the network does to the requests, everything arrives once and in order, both ways [TT-SESS-23].
func TestLongPollLossy(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(rapid.IntRange(0, 2*int(faults)), 0, 30).Draw(rt, "faults")
		sizes := rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 40).Draw(rt, "sizes")
		synctest.Test(t, func(t *testing.T) {
			s := newDouble(t)
			var mu sync.Mutex
			row := 0
			s.faults = func() fault {
				mu.Lock()
				defer mu.Unlock()
				if len(plan) == 0 {
					return none
				}
				f := fault(plan[0])
				plan = plan[1:]
				if f == damaged { // given up when it goes on
					row++
				}
				if f >= faults || f == damaged && row > 2 {
					return none
				}
				return f
			}
			inBubble(t, s, func(t *testing.T, c Conn, err error) {
				if err != nil {
					t.Fatal(err)
				}
				lossy(t, s, c, sizes)
			})
		})
	})
}

// lossy sends frames of the sizes both ways.
func lossy(t *testing.T, s *lpDouble, c Conn, sizes []int) {
	var up []byte
	frames := make([][]byte, len(sizes))
	for i, n := range sizes {
		frames[i] = frame(pdu.CmdMsgData, uint16(i), bytes.Repeat([]byte{byte(i)}, n))
		up = append(up, frames[i]...)
	}
	var down sync.WaitGroup
	down.Go(func() {
		for _, f := range frames {
			s.say(f)
			pass(20 * time.Millisecond)
		}
	})
	down.Go(func() {
		for i, f := range frames {
			if err := c.Write([][]byte{f}); err != nil {
				t.Errorf("Write %d: %v", i, err)
				return
			}
			pass(7 * time.Millisecond)
		}
	})
	for i, want := range frames {
		p, err := c.Read()
		if err != nil {
			t.Errorf("Read %d: %v", i, err)
			break
		}
		if !bytes.Equal(pdu.AppendRaw(nil, p.Header, p.Body), want) {
			t.Errorf("number %d came as %d", i, p.Header.Seq)
		}
	}
	down.Wait()
	pass(10 * time.Minute) // of virtual time
	s.mu.Lock()
	if !bytes.Equal(s.up, up) {
		t.Errorf("%d bytes have arrived of %d", len(s.up), len(up))
	}
	s.mu.Unlock()
	if err := c.Close(protocol.CodeUnspecified, ""); err != nil {
		t.Error(err)
	}
	pass(goodbyeTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		t.Error("the server was not told")
	}
}

// What waits while a POST is under way goes with the next one.
func TestLongPollBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDouble(t)
		inBubble(t, s, func(t *testing.T, c Conn, err error) {
			if err != nil {
				t.Fatal(err)
			}
			const count = 1000
			for i := range count {
				write(t, c, frame(pdu.CmdHeartbeat, uint16(i), nil))
			}
			pass(time.Second)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.up) != count*pdu.HeaderLen || s.posts > 3 {
				t.Errorf("%d bytes in %d requests", len(s.up), s.posts)
			}
		})
	})
}

// A reader that takes its time pauses the server's batches and does not lose the session.
func TestLongPollSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDouble(t)
		inBubble(t, s, func(t *testing.T, c Conn, err error) {
			if err != nil {
				t.Fatal(err)
			}
			const count = 100
			for i := range count {
				s.say(frame(pdu.CmdMsgData, uint16(i), []byte("x")))
			}
			pass(10 * time.Minute)
			s.mu.Lock()
			if silence := max(s.silence, time.Since(s.lastPoll)); silence > 30*time.Second {
				t.Errorf("no poll for %v", silence)
			}
			s.mu.Unlock()
			for i := range count {
				if p, err := c.Read(); err != nil || p.Header.Seq != uint16(i) {
					t.Fatalf("number %d: %v, %v", i, p.Header, err)
				}
			}
		})
	})
}

// Where something cuts polls, they are made shorter.
func TestLongPollCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDouble(t)
		s.cut = 10 * time.Second
		inBubble(t, s, func(t *testing.T, c Conn, err error) {
			if err != nil {
				t.Fatal(err)
			}
			pass(10 * time.Minute)
			s.say(frame(pdu.CmdHeartbeat, 1, nil))
			expect(t, c, frame(pdu.CmdHeartbeat, 1, nil))
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.polls > 120 {
				t.Errorf("%d polls in 10 minutes", s.polls)
			}
			if heard := time.Since(c.LastHeard()); heard > time.Second {
				t.Errorf("heard %v ago", heard)
			}
		})
	})
}

// How answers end a session, and as what Read tells it.
func TestLongPollEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		status int
		seq    string
		code   protocol.Code // of the CloseError
	}{
		{"poll: gone", http.MethodGet, http.StatusGone, "", protocol.CodeUnspecified},
		{"poll: not found", http.MethodGet, http.StatusNotFound, "", protocol.CodeUnspecified},
		{"poll: conflict", http.MethodGet, http.StatusConflict, "", protocol.CodeInternal},
		{"POST: gone", http.MethodPost, http.StatusGone, "", protocol.CodeUnspecified},
		{"POST: not found", http.MethodPost, http.StatusNotFound, "", protocol.CodeUnspecified},
		{"POST: another is missing", http.MethodPost, http.StatusConflict, "7", protocol.CodeUnspecified},
		{"POST: conflict without a number", http.MethodPost, http.StatusConflict, "", protocol.CodeInternal},
		{"POST: not understood", http.MethodPost, http.StatusBadRequest, "", protocol.CodeInvalid},
		{"POST: too large", http.MethodPost, http.StatusRequestEntityTooLarge, "", protocol.CodeTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newDouble(t)
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != c.method || r.URL.Path != "/lp/1-abc" {
						return false
					}
					if c.seq != "" {
						w.Header().Set(seqHeader, c.seq)
					}
					w.WriteHeader(c.status)
					return true
				}
				inBubble(t, s, func(t *testing.T, conn Conn, err error) {
					if err != nil {
						t.Fatal(err)
					}
					_ = conn.Write([][]byte{frame(pdu.CmdHeartbeat, 1, nil)})
					if c.seq != "" { // accepted before: nothing ends
						pass(time.Minute)
						write(t, conn, frame(pdu.CmdHeartbeat, 2, nil))
						return
					}
					err = expectEnd(t, conn)
					if e := (*CloseError)(nil); !errors.As(err, &e) || e.Code != c.code {
						t.Errorf("got %v", err)
					}
					if err := conn.Write([][]byte{frame(pdu.CmdHeartbeat, 1, nil)}); err == nil {
						t.Error("Write after the end")
					}
				})
			})
		})
	}
}

// A server that is not there any more is given up.
func TestLongPollGivesUp(t *testing.T) {
	for _, status := range []int{0, http.StatusOK, http.StatusNoContent, http.StatusBadGateway, http.StatusFound} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newDouble(t)
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/lp" {
						return false
					}
					if status == 0 {
						panic(http.ErrAbortHandler)
					}
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(status)
					return true
				}
				inBubble(t, s, func(t *testing.T, c Conn, err error) {
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					if err := c.Write([][]byte{frame(pdu.CmdHeartbeat, 1, nil)}); err != nil {
						t.Error(err)
					}
					_, err = c.Read() // in virtual time
					if took := time.Since(began); err == nil || took < patience || took > patience+2*maxPause {
						t.Errorf("%v after %v", err, took)
					}
				})
			})
		})
	}
}

// A server that reads slowly says so, and is waited for.
func TestLongPollBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDouble(t)
		until := time.Now().Add(5 * time.Minute)
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || r.URL.Path == "/lp" || time.Now().After(until) {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		inBubble(t, s, func(t *testing.T, c Conn, err error) {
			if err != nil {
				t.Fatal(err)
			}
			f := frame(pdu.CmdHeartbeat, 1, nil)
			write(t, c, f)
			pass(6 * time.Minute)
			s.mu.Lock()
			defer s.mu.Unlock()
			if !bytes.Equal(s.up, f) {
				t.Errorf("%d bytes have arrived", len(s.up))
			}
		})
	})
}

// Write waits when too much waits already, and for no longer than a server may take.
func TestLongPollFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDouble(t)
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || r.URL.Path != "/lp/1-abc" {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		inBubble(t, s, func(t *testing.T, c Conn, err error) {
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Write([][]byte{make([]byte, maxPost+1)}); !errors.Is(err, pdu.ErrTooLarge) {
				t.Errorf("a frame that no POST can carry: %v", err)
			}
			large := frame(pdu.CmdMsgData, 0, make([]byte, maxQueue))
			write(t, c, large) // being posted
			synctest.Wait()
			write(t, c, large) // waiting
			began := time.Now()
			if err := c.Write([][]byte{large}); err == nil || time.Since(began) < writeTime {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		})
	})
}

// What else may answer in a server's place opens no session.
func TestLongPollOpening(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"a page", 200, "<html>please pay</html>", "no long-poll server"},
		{"no token", 200, `{"id":"a","poll_s":25}`, "not usable"},
		{"an id that is a path", 200, `{"id":"../x","token":"t","poll_s":25}`, "not usable"},
		{"a token that is a header", 200, `{"id":"a","token":"t\r\nX: y","poll_s":25}`, "not usable"},
		{"too long", 200, `{"id":"` + strings.Repeat("a", 1<<20), "more than"},
		{"elsewhere", 307, "", "307"},
		{"too many", 429, "", "429"},
		{"through a proxy that wants to know us", 407, "", "the proxy answered 407"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newDouble(t)
				asked := 0
				s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
					asked++
					w.Header().Set("Location", "/lp2")
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
					return true
				}
				inBubble(t, s, func(t *testing.T, _ Conn, err error) {
					if e := (*Error)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
						t.Errorf("got %v", err)
					}
					if e := (*StatusError)(nil); c.status != 200 && (!errors.As(err, &e) || e.Status != c.status) {
						t.Errorf("got %v", err)
					}
				})
				if asked != 1 {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

func FuzzTicket(f *testing.F) {
	f.Add([]byte(`{"id":"1-abc","token":"x","poll_s":25}`))
	f.Add([]byte(`{"id":"..","token":"x","poll_s":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseTicket(b)
		if err != nil {
			return
		}
		if k.hold < time.Second || k.hold > 2*time.Minute {
			t.Errorf("hold %v", k.hold)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/lp/"+k.id+"?after=0", nil)
		if err != nil || req.URL.Path != "/lp/"+k.id || req.URL.RawQuery != "after=0" || strings.ContainsAny(k.token, "\r\n ") {
			t.Errorf("id %q, token %q: %v", k.id, k.token, err)
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add(slices.Concat(frame(pdu.CmdHeartbeat, 1, nil), frame(pdu.CmdMsgData, 2, []byte("abc"))))
	f.Add([]byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		pdus, err := splitBatch(b)
		if err != nil {
			return
		}
		var again []byte
		for _, p := range pdus {
			again = pdu.AppendRaw(again, p.Header, p.Body)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
