package client_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// A connection that opens and brings no WELCOME in two seconds is closed before HELLO goes on the next [TT-SESS-23].
func TestNoWelcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.QUIC, dial.TLS, dial.WebSocket)
		r.server.deaf["quic"], r.server.deaf["tls"] = true, true
		began := time.Now()
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command == pdu.CmdHello {
				open := 0
				for _, other := range r.server.conns {
					other.mu.Lock()
					if other != c && !other.closed {
						open++
					}
					other.mu.Unlock()
				}
				if open > 0 {
					t.Error("two HELLOs outstanding")
				}
			}
			return false
		}
		r.open()
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		if online := r.state(client.Online); online.Route.Transport != dial.WebSocket {
			t.Errorf("online by %v", online.Route)
		}
		if !slices.Equal(r.net.remembered, []dial.Transport{dial.WebSocket}) {
			t.Errorf("remembered %v", r.net.remembered)
		}
	})
}

// A token that is refused is followed by a login on the same connection, and the app is told to refetch [TT-SESS-2].
func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.server.says("one")
		r.message("one")
		r.server.do(func() { clear(r.server.tokens) })
		r.server.cut(false)
		r.server.says("missed")
		if gap, ok := r.event().(*client.Gap); !ok || gap.Why == "" {
			t.Error("no Gap")
		}
		r.state(client.Online)
		r.server.says("two")
		r.message("two")
		if n := len(r.server.conns); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// Without a password a refused token is the end.
func TestRefusedWithoutPassword(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Storage = &client.MemoryStorage{}
		r.open()
		r.close()
		r.server.do(func() { clear(r.server.tokens) })
		r.cfg.Name, r.cfg.Password = "", ""
		c := r.open() // at once: there is a session to try
		<-c.Done()
		is(t, c.Err(), client.ErrCredentials)
		is(t, c.WaitOnline(t.Context()), client.ErrCredentials)
		if stopped := r.state(client.Offline); !stopped.RetryAt.IsZero() {
			t.Errorf("%+v", stopped)
		}
		if _, err := c.History(t.Context(), inAlice(), 0, 1); !errors.Is(err, client.ErrCredentials) {
			t.Error(err)
		}
		r.close()
		_, err := client.Open(t.Context(), r.cfg) // now there is none
		is(t, err, client.ErrCredentials)
	})
}

// After a GAP the client goes on from WELCOME's cursor, and the numbers of messages may begin anew [TT-SESS-5].
func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		for _, text := range []string{"one", "two", "three"} {
			r.server.says(text)
			r.message(text)
		}
		r.server.do(func() { // restored from a backup
			r.server.log, r.server.gap = r.server.log[:1], true
			r.server.ids[inAlice()] = 1
		})
		r.server.cut(false)
		if _, ok := r.event().(*client.Gap); !ok {
			t.Error("no Gap")
		}
		r.state(client.Online)
		r.server.says("two again")
		if m := r.message("two again"); m.ID != 2 {
			t.Errorf("number %d", m.ID)
		}
		r.server.cut(false)
		r.state(client.Online)
		r.nothing()
	})
}

// What the codes of BYE mean to the client [TT-SESS-22].
func TestBye(t *testing.T) {
	for _, c := range []struct {
		code sessionpb.Code
		want error // nil: comes back
	}{
		{sessionpb.Code_KICKED, client.ErrKicked},
		{sessionpb.Code_REPLACED, client.ErrReplaced},
		{sessionpb.Code_RATE_LIMITED, nil},
		{sessionpb.Code_UNAVAILABLE, nil},
		{sessionpb.Code_OVERLOADED, nil},
		{sessionpb.Code_DRAINING, nil},
		{sessionpb.Code_INTERNAL, nil},
		{sessionpb.Code_UNSPECIFIED, nil},
		{sessionpb.Code_INVALID, nil},
		{sessionpb.Code_UNAUTHENTICATED, nil}, // there is a password
	} {
		t.Run(c.code.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.open()
				r.state(client.Online)
				began := time.Now()
				r.server.current().push(pdu.CmdBye, 0, &sessionpb.Bye{Code: c.code, Message: "so", RetryAfterMs: 5000})
				if c.want != nil {
					if ev := r.state(client.Kicked); !errors.Is(ev.Why, c.want) {
						t.Errorf("%+v", ev)
					}
					<-r.c.Done()
					is(t, r.c.Err(), c.want)
					return
				}
				if ev := r.state(client.Offline); ev.RetryAt.Sub(began) < 5*time.Second {
					t.Errorf("%+v", ev)
				}
				r.state(client.Online)
				if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
					t.Errorf("came back after %v", took)
				}
			})
		})
	}
}

// A code of the transport is as good as a BYE.
func TestCloseCode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.server.current().breaks(&dial.CloseError{Code: protocol.CodeKicked}, false)
		<-c.Done()
		is(t, c.Err(), client.ErrKicked)
		r.close()

		r = newRig(t)
		r.open()
		r.state(client.Online)
		r.server.current().breaks(&dial.CloseError{}, false)
		r.state(client.Online)
	})
}

// A refusal of HELLO that would be the same each time is final; one for now is not.
func TestByeToHello(t *testing.T) {
	for code, final := range map[sessionpb.Code]bool{sessionpb.Code_INVALID: true, sessionpb.Code_FORBIDDEN: true, sessionpb.Code_UNAVAILABLE: false} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			n := 0
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if n++; n == 1 {
					c.push(pdu.CmdBye, 0, &sessionpb.Bye{Code: code, Message: "no"})
					return true
				}
				return false
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, err := client.Open(ctx, r.cfg)
			if (err != nil) != final {
				t.Errorf("%v: %v", code, err)
			}
			if err == nil {
				_ = c.Close() // the fake's never fails
			}
		})
	}
}

// The login may wait in the server's queue for longer than an answer may take.
func TestQueuedLogin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command != pdu.CmdLoginReq || time.Since(began) > 0 {
				return false
			}
			for i := range 5 {
				time.AfterFunc(time.Duration(i)*10*time.Second, func() { c.push(0x0908, 0, &sessionpb.Queue{Position: 1}) })
			}
			time.AfterFunc(50*time.Second, func() { r.server.received(c, p) })
			return true
		}
		r.open()
		if took := time.Since(began); took != 50*time.Second {
			t.Errorf("%v", took)
		}
	})
}

// Full, or without its leader: the client tries again.
func TestLoginLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		n := 0
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command != pdu.CmdLoginReq {
				return false
			}
			if n++; n > 3 {
				return false
			}
			c.push(pdu.CmdLoginRes, p.Header.Seq, &pb.IMLoginRes{
				ServerTime: u32(1), ResultCode: pb.ResultType_REFUSE_REASON_NO_DB_SERVER.Enum(), ResultString: proto.String("later"),
			})
			return true
		}
		r.open()
		if n != 4 {
			t.Errorf("%d logins", n)
		}
	})
}

// The connection breaks at each PDU of a login and of a resume, before or after it was handled: the client gets there all the same.
func TestCutEverywhere(t *testing.T) {
	for _, before := range []bool{true, false} {
		for _, lose := range []bool{true, false} {
			for at := range 6 {
				bubble(t, func(t *testing.T) {
					r := newRig(t)
					var n atomic.Int32
					strike := func(c *fakeConn, _ pdu.PDU) bool {
						if int(n.Add(1))-1 != at {
							return false
						}
						c.breaks(io.ErrUnexpectedEOF, lose)
						return true
					}
					if before {
						r.server.hook = strike
					} else {
						r.server.after = func(c *fakeConn, p pdu.PDU) { strike(c, p) }
					}
					r.open()
					r.server.says("one")
					o := r.send("two")
					r.message("one")
					r.sent(o)
					r.message("two")
					r.server.cut(true)
					r.server.says("three")
					r.message("three")
					r.nothing()
					if int(n.Load()) <= at {
						t.Errorf("%d PDUs, nothing was cut", n.Load())
					}
				})
			}
		}
	}
}

// A storage is one user's.
func TestOtherUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Storage = &client.MemoryStorage{}
		r.open()
		r.close()
		r.cfg.Name = "you"
		_, err := client.Open(t.Context(), r.cfg)
		is(t, err, client.ErrOtherUser)
	})
}

// A server that takes a HELLO late, after the client has given that connection up and gone on with another, ends the wrong one with REPLACED.
func TestLateHello(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.QUIC, dial.TLS)
		r.server.deaf["quic"] = true
		c := r.open()
		r.state(client.Online)
		replace := func() { r.server.current().push(pdu.CmdBye, 0, &sessionpb.Bye{Code: sessionpb.Code_REPLACED}) }
		r.server.do(func() { r.server.deaf["quic"] = false })
		replace()
		if !r.state(client.Online).Resumed {
			t.Error("not resumed")
		}
		replace() // by somebody else this time
		<-c.Done()
		is(t, c.Err(), client.ErrReplaced)
	})
}
