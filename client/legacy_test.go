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
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// legacyServer does not know HELLO: it ends the connection, or is silent.
func legacyServer(r *rig, closes bool) {
	r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
		if p.Header.Command != pdu.CmdHello {
			return false
		}
		if closes {
			c.breaks(io.EOF, false)
		}
		return true
	}
}

func TestLegacy(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   client.Legacy
		closes bool
		hellos int
	}{
		{"only", client.LegacyOnly, true, 0},
		{"fallback, closed", client.LegacyFallback, true, 1},
		{"fallback, silent", client.LegacyFallback, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, dial.TCP)
				legacyServer(r, c.closes)
				r.cfg.Legacy = c.mode
				r.open()
				if r.state(client.Online).Resumed {
					t.Error("resumed what can't be")
				}
				o := r.send("one")
				r.sent(o)
				r.server.says("hi")
				r.message("hi")
				r.server.cut(false)
				if _, ok := r.event().(*client.Gap); !ok {
					t.Error("no Gap")
				}
				r.state(client.Online)
				r.sent(r.send("two"))
				if n := r.server.count(pdu.CmdHello); n != c.hellos {
					t.Errorf("%d HELLOs", n)
				}
				var login pb.IMLoginReq
				r.server.do(func() {
					i := slices.IndexFunc(r.server.got, func(p pdu.PDU) bool { return p.Header.Command == pdu.CmdLoginReq })
					if err := proto.Unmarshal(r.server.got[i].Body, &login); err != nil || login.GetClientType() != pb.ClientType_CLIENT_TYPE_WINDOWS {
						t.Errorf("%v, %v", login.GetClientType(), err)
					}
				})
				r.close()
				if r.server.count(pdu.CmdBye) != 0 {
					t.Error("BYE to a legacy server")
				}
			})
		})
	}
}

// Without leave, and on anything but plain TCP, a server that does not know HELLO is an error that says what to do.
func TestNoFallback(t *testing.T) {
	for _, c := range []struct {
		via  dial.Transport
		mode client.Legacy
	}{{dial.TCP, client.LegacyOff}, {dial.TLS, client.LegacyFallback}} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, c.via)
			legacyServer(r, true)
			r.cfg.Legacy = c.mode
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := client.Open(ctx, r.cfg)
			is(t, err, client.ErrNoHello)
			if r.server.count(pdu.CmdLoginReq) != 0 {
				t.Error("logged in without HELLO")
			}
		})
	}
}

// A message whose ack is missing fails: a repeat would be another message. Nothing is sent faster than a legacy server takes.
func TestLegacyMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.TCP)
		r.cfg.Legacy = client.LegacyOnly
		r.open()
		r.drain()
		began := time.Now()
		var last *client.Outgoing
		for range 41 {
			last = r.send("x")
		}
		r.sent(last)
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("41 messages in %v", took)
		}
		var swallow, cut atomic.Bool
		swallow.Store(true)
		r.server.do(func() {
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdMsgData || !swallow.Load() {
					return false
				}
				if cut.Load() {
					c.breaks(io.EOF, true)
				}
				return true
			}
		})
		is(t, r.send("dropped").Wait(t.Context()), client.ErrInterrupted)
		cut.Store(true)
		o := r.send("cut")
		is(t, o.Wait(t.Context()), client.ErrInterrupted)
		swallow.Store(false)
		if err := o.Retry(); err != nil {
			t.Error(err)
		}
		r.sent(o)
	})
}

// 0x0107 is the end.
func TestLegacyKick(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.TCP)
		r.cfg.Legacy = client.LegacyOnly
		c := r.open()
		r.server.current().push(pdu.CmdKickUser, 0, &pb.IMKickUser{
			UserId: u32(uint32(meID)), KickReason: pb.KickReasonType_KICK_REASON_DUPLICATE_USER.Enum(),
		})
		<-c.Done()
		if err := c.Err(); !errors.Is(err, client.ErrKicked) {
			t.Error(err)
		}
	})
}
