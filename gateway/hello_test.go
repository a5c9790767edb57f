package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	web      = pb.ClientType(protocol.ClientWeb)
	terminal = pb.ClientType(protocol.ClientTerminal)
)

// device is an extended client: what it keeps from one connection to the next, and the connection.
type device struct {
	*client
	id     string
	kind   pb.ClientType
	token  []byte
	cursor uint64
}

func helloOf(id string, kind pb.ClientType) *sessionpb.Hello {
	return &sessionpb.Hello{Version: 1, Client: "test", ClientVersion: "1", ClientType: uint32(kind), DeviceId: id}
}

// enter connects, says HELLO and logs in, and throws away what comes with it, presence included.
func (s *stage) enter(u protocol.UserID, id string, kind pb.ClientType) *device {
	s.t.Helper()
	d := &device{client: s.dial(), id: id, kind: kind}
	d.user = u
	d.send(pdu.CmdHello, 1, helloOf(id, kind))
	if w := decoded[*sessionpb.Welcome](d.client, d.next()); w.GetVerdict() != sessionpb.Verdict_LOGIN_NEEDED {
		s.t.Fatalf("user %d: got %v", u, w)
	}
	d.send(pdu.CmdLoginReq, 2, loginReq(fmt.Sprintf("user%d", u), kind))
	got := d.take()
	if len(got) < 2 || got[0].Header.Command != pdu.CmdLoginRes {
		s.t.Fatalf("login of user %d got %v", u, got)
	}
	d.keep(decoded[*sessionpb.Credential](d.client, got[1]))
	return d
}

func (d *device) keep(c *sessionpb.Credential) { d.token, d.cursor = c.GetResumeToken(), c.GetCursor() }

// again connects and presents the token; what comes is for the caller to take.
func (d *device) again() {
	d.s.t.Helper()
	u := d.user
	d.client = d.s.dial()
	d.user = u
	m := helloOf(d.id, d.kind)
	m.ResumeToken, m.Cursor = d.token, d.cursor
	d.send(pdu.CmdHello, 9, m)
}

// next takes what has come, which must be one PDU.
func (c *client) next() pdu.PDU {
	c.s.t.Helper()
	got := c.take()
	if len(got) != 1 {
		c.s.t.Fatalf("user %d: got %d PDUs %v, want one", c.user, len(got), commandsOf(got))
	}
	return got[0]
}

func commandsOf(ps []pdu.PDU) (names []string) {
	for _, p := range ps {
		names = append(names, p.Header.Command.String())
	}
	return names
}

// expectCommands takes what has come and compares the commands; PDUs come back for a closer look.
func (c *client) expectCommands(wants ...pdu.Command) []pdu.PDU {
	c.s.t.Helper()
	got := c.take()
	names := commandsOf(got)
	var want []string
	for _, w := range wants {
		want = append(want, w.String())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		c.s.t.Fatalf("user %d: got %v, want %v", c.user, names, want)
	}
	return got
}

func decoded[M message](c *client, p pdu.PDU) M {
	c.s.t.Helper()
	m, err := pdu.Decode(p, pdu.ServerToClient)
	if err != nil {
		c.s.t.Fatal(err)
	}
	typed, ok := m.(M)
	if !ok {
		c.s.t.Fatalf("user %d: got %v %v, want a %T", c.user, p.Header.Command, m, typed)
	}
	return typed
}

func (c *client) expectBye(code protocol.Code) *sessionpb.Bye {
	c.s.t.Helper()
	got := c.take()
	if len(got) == 0 {
		c.s.t.Fatalf("user %d: got nothing, want BYE", c.user)
	}
	b := decoded[*sessionpb.Bye](c, got[len(got)-1])
	if b.GetCode() != sessionpb.Code(code) || b.GetMessage() == "" {
		c.s.t.Errorf("user %d: got %v, want %v", c.user, b, code)
	}
	return b
}

// [TT-SESS-1] [TT-SESS-2] [TT-SESS-21]
func TestExtendedLogin(t *testing.T) {
	play(t, func(c *Config) {
		c.Node, c.Domain, c.Endpoints = "3", func() string { return "example.com" }, func() []string { return []string{"tls://example.com:443"} }
	}, func(s *stage) {
		s.world.publish(protocol.DirectoryChanged{})
		s.world.publish(protocol.DirectoryChanged{})
		synctest.Wait()
		for _, kind := range []pb.ClientType{terminal, web, windows, ios} {
			c := s.dial()
			c.send(pdu.CmdHello, 5, helloOf("laptop", kind))
			c.expect(want{pdu.CmdWelcome, 5, &sessionpb.Welcome{Version: 1, Verdict: sessionpb.Verdict_LOGIN_NEEDED, Cursor: 2, HeartbeatS: 30, MaxPduBytes: 4 << 20,
				ServerTimeMs: 946684800000, Node: "3", Domain: "example.com", Endpoints: []string{"tls://example.com:443"}}})
			c.send(pdu.CmdLoginReq, 6, loginReq("user1", kind))
			got := c.take()
			if len(got) < 2 || got[0].Header.Command != pdu.CmdLoginRes || got[0].Header.Seq != 6 {
				t.Fatalf("got %v", commandsOf(got))
			}
			cred := decoded[*sessionpb.Credential](c, got[1])
			if cred.GetCursor() != 2 || cred.GetExpiresS() != 7*24*3600 || len(cred.GetResumeToken()) == 0 {
				t.Errorf("got %v", cred)
			}
			c.close()
		}
	})
}

// [TT-SESS-1]
func TestBadHello(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, spoil := range map[string]func(*sessionpb.Hello){
		"version":      func(m *sessionpb.Hello) { m.Version = 2 },
		"no version":   func(m *sessionpb.Hello) { m.Version = 0 },
		"no device":    func(m *sessionpb.Hello) { m.DeviceId = "" },
		"long device":  func(m *sessionpb.Hello) { m.DeviceId = long },
		"line":         func(m *sessionpb.Hello) { m.DeviceId = "a\nb" },
		"client type":  func(m *sessionpb.Hello) { m.ClientType = 5 },
		"large type":   func(m *sessionpb.Hello) { m.ClientType = 0x101 },
		"client":       func(m *sessionpb.Hello) { m.Client = long + long },
		"version text": func(m *sessionpb.Hello) { m.ClientVersion = long + long },
		"capabilities": func(m *sessionpb.Hello) { m.Capabilities = make([]string, 33) },
		"capability":   func(m *sessionpb.Hello) { m.Capabilities = []string{long + long} },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				c := s.dial()
				m := helloOf("x", windows)
				spoil(m)
				c.send(pdu.CmdHello, 1, m)
				c.expectBye(protocol.CodeInvalid)
				c.expectEnd()
			})
		})
	}
	play(t, nil, func(s *stage) {
		c := s.dial()
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHello}, []byte{0xff}))
		c.expectBye(protocol.CodeInvalid)
		d := s.enter(1, "x", windows)
		d.send(pdu.CmdHello, 1, helloOf("x", windows)) // a second one
		d.expectBye(protocol.CodeInvalid)
	})
}

// A failed login of an extended client ends with BYE, whatever the cause [TT-SESS-2] [TT-SESS-21].
func TestExtendedLoginRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		req  *pb.IMLoginReq
		fail error
		code protocol.Code
	}{
		"password":    {loginReq("nobody", windows), nil, protocol.CodeUnauthenticated},
		"other type":  {loginReq("user1", mac), nil, protocol.CodeUnauthenticated},
		"unavailable": {loginReq("user1", windows), protocol.Errorf(protocol.CodeUnavailable, "no leader"), protocol.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				c := s.dial()
				c.send(pdu.CmdHello, 1, helloOf("x", windows))
				c.next()
				s.failWith(tc.fail)
				c.send(pdu.CmdLoginReq, 2, tc.req)
				got := c.expectCommands(pdu.CmdLoginRes, pdu.CmdBye)
				if r := decoded[*pb.IMLoginRes](c, got[0]); r.GetResultCode() == pb.ResultType_REFUSE_REASON_NONE {
					t.Errorf("got %v", r)
				}
				if b := decoded[*sessionpb.Bye](c, got[1]); b.GetCode() != sessionpb.Code(tc.code) {
					t.Errorf("got %v", b)
				}
				c.expectEnd()
			})
		})
	}
}

// Before the login nothing but it may come [TT-SESS-2], and not too late.
func TestHelloAndNoLogin(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.dial()
		c.send(pdu.CmdHello, 1, helloOf("x", windows))
		c.next()
		c.write(beat(3))
		c.next()
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdUnreadReq}, nil))
		c.expectBye(protocol.CodeUnauthenticated)

		late := s.dial()
		late.send(pdu.CmdHello, 1, helloOf("x", windows))
		late.next()
		pass(16 * time.Second)
		late.expectBye(protocol.CodeUnauthenticated)
	})
}

// Between the check of a password or a token and the moment a session is known, its kind may be revoked [TT-SESS-7].
func TestRevokedMeanwhile(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "x", windows)
		d.close()
		during := &duringJoin{}
		during.Presence = s.srv.presence
		s.srv.presence = during
		during.join = func() { s.ledger.change(func(l *ledger) { l.invalid = true }) }

		legacy := s.dial()
		legacy.send(pdu.CmdLoginReq, 1, loginReq("user1", windows))
		if r := decoded[*pb.IMLoginRes](legacy, legacy.next()); r.GetResultCode() == pb.ResultType_REFUSE_REASON_NONE {
			t.Errorf("got %v", r)
		}
		legacy.expectEnd()
		s.ledger.change(func(l *ledger) { l.invalid = false })
		d.again()
		d.expectBye(protocol.CodeUnauthenticated)
	})
}

// duringJoin is a presence table that does something at the moment in which a session becomes known.
type duringJoin struct {
	Presence
	join func()
}

func (d *duringJoin) Join(s protocol.LiveSession, instead ...protocol.ConnID) {
	d.Presence.Join(s, instead...)
	d.join()
}

// What a client may send at once is told to it: less by long-poll [TT-SESS-1].
func TestMaxPDU(t *testing.T) {
	if maxPDU(transport.KindLongPoll) != 1<<20 || maxPDU(transport.KindTLS) != pdu.MaxLen {
		t.Error("the sizes are not those of docs/PROTOCOL.md")
	}
}
