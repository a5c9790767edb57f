package client_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"teamtalk/client"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// model drives a client through random breaks, restarts and refusals. Oracle: what Send accepted is stored once and in order, and the app gets
// what the server made durable once and in order [TT-SESS-3] [TT-SESS-4] [TT-SESS-11] [TT-SESS-20].
type model struct {
	t        *rapid.T
	server   *fakeServer
	cfg      client.Config
	c        *client.Client
	accepted []string

	mu     sync.Mutex // guards events
	events []string
	gone   sync.WaitGroup
}

func TestExactlyOnceModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func() {
			s := newFakeServer()
			s.everyNth = rapid.SampledFrom([]int{0, 3, 1000}).Draw(rt, "events per CURSOR")
			mode := rapid.SampledFrom([]client.Mode{client.Pipelined, client.SendWait}).Draw(rt, "mode")
			m := &model{t: rt, server: s, cfg: client.Config{
				Name: "me", Password: "1", Mode: mode, Storage: &client.MemoryStorage{}, Dialer: newFakeNet(s),
			}}
			m.open()
			defer m.end()
			rt.Repeat(map[string]func(*rapid.T){
				"send": m.send, "says": m.says, "happens": m.happens, "cut": m.cut, "cut later": m.cutLater, "wait": m.wait,
				"cursor": m.cursor, "restart": m.restart, "put off": m.putOff, "": m.orderHolds,
			})
			m.settle()
		})
	})
}

// inBubble runs one check in virtual time. rapid tells a failure by a panic, which has to come out of the bubble.
func inBubble(t *testing.T, check func()) {
	var failed any
	synctest.Test(t, func(*testing.T) {
		defer func() { failed = recover() }()
		check()
	})
	switch kind := fmt.Sprintf("%T", failed); { // rapid tells failures apart by the line they come from
	case failed == nil:
	case strings.Contains(kind, "invalidData"):
		panic(failed)
	default:
		panic(failed)
	}
}

func (m *model) open() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := client.Open(ctx, m.cfg)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	m.c = c
	m.gone.Go(func() {
		for ev := range c.Events() {
			if key := eventKey(ev); key != "" {
				m.mu.Lock()
				m.events = append(m.events, key)
				m.mu.Unlock()
			}
		}
	})
}

func (m *model) close() {
	if err := m.c.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.gone.Wait()
}

// end closes the client also when the check has failed.
func (m *model) end() {
	_ = m.c.Close() // the fake dialer's never fails
	m.gone.Wait()
}

// eventKey is what the oracle compares; that of entry below is the same for what the server has logged.
func eventKey(ev client.Event) string {
	switch ev := ev.(type) {
	case *client.Message:
		return fmt.Sprintf("m %v %d", ev.Session, ev.ID)
	case *client.MessageDeleted:
		return fmt.Sprintf("d %v %d %d", ev.Session, ev.ID, ev.Kind)
	case *client.MessageStateChanged:
		return fmt.Sprintf("s %v %d %d %d", ev.Session, ev.ID, ev.State, ev.HubSeq)
	case *client.ProfileChanged:
		return fmt.Sprintf("p %d %s", ev.User, *ev.Sign)
	case *client.GroupChanged:
		return fmt.Sprintf("g %d %d %v", ev.Group, ev.Change, ev.Changed)
	case *client.ReadMoved:
		return fmt.Sprintf("r %v %d", ev.Session, ev.UpTo)
	case *client.Gap:
		return "gap " + ev.Why
	}
	return ""
}

func (e entry) key() string {
	switch m := e.m.(type) {
	case *pb.IMMsgData:
		in, id := e.in()
		return fmt.Sprintf("m %v %d", in, id)
	case *chatpb.Deleted:
		return fmt.Sprintf("d %v %d %d", protocol.WithUser(protocol.UserID(m.GetSessionId())), m.GetMsgId(), m.GetKind())
	case *chatpb.State:
		return fmt.Sprintf("s %v %d %d %d", protocol.WithUser(protocol.UserID(m.GetSessionId())), m.GetMsgId(), m.GetState(), m.GetHubSeq())
	case *pb.IMSignInfoChangedNotify:
		return fmt.Sprintf("p %d %s", m.GetChangedUserId(), m.GetSignInfo())
	case *pb.IMGroupChangeMemberNotify:
		return fmt.Sprintf("g %d %d %v", m.GetGroupId(), m.GetChangeType(), m.GetChgUserIdList())
	case *pb.IMMsgDataReadNotify:
		return fmt.Sprintf("r %v %d", protocol.WithUser(protocol.UserID(m.GetSessionId())), m.GetMsgId())
	}
	return ""
}

func (m *model) send(t *rapid.T) {
	for range rapid.IntRange(1, 10).Draw(t, "messages") {
		text := fmt.Sprintf("message %d", len(m.accepted))
		to := protocol.WithUser(rapid.SampledFrom([]protocol.UserID{aliceID, 9}).Draw(t, "to"))
		if _, err := m.c.Send(context.Background(), to, client.Text(text)); err != nil {
			t.Fatal(err)
		}
		m.accepted = append(m.accepted, text)
	}
}

func (m *model) says(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "messages") {
		m.server.says("hi")
	}
}

func (m *model) happens(t *rapid.T) {
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 4:
		m.server.event(pdu.CmdState, stateOf(inAlice(), protocol.MsgID(rapid.IntRange(1, 3).Draw(t, "id")), rapid.Uint32Range(0, 4).Draw(t, "state"), "",
			rapid.Uint64Range(0, 1).Draw(t, "hub_seq")))
	case 3:
		m.server.do(func() {
			if n := len(m.server.log); n > 0 {
				i := rapid.IntRange(max(0, n-5), n-1).Draw(t, "entry")
				if _, id := m.server.log[i].in(); id != 0 && m.server.log[i].deleted == 0 {
					m.server.remove(i, protocol.Burned, 0)
				}
			}
		})
	case 0:
		m.server.event(pdu.CmdSignNotify, &pb.IMSignInfoChangedNotify{
			ChangedUserId: u32(rapid.Uint32Range(1, 2).Draw(t, "user")), SignInfo: proto.String(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "sign")),
		})
	case 1:
		m.server.event(pdu.CmdGroupChangeNotify, &pb.IMGroupChangeMemberNotify{
			UserId: u32(1), ChangeType: pb.GroupModifyType_GROUP_MODIFY_TYPE_ADD.Enum(), GroupId: u32(9),
			ChgUserIdList: []uint32{rapid.Uint32Range(1, 3).Draw(t, "member")},
		})
	case 2:
		m.server.do(func() {
			last := m.server.ids[inAlice()]
			for _, e := range m.server.log {
				if r, ok := e.m.(*pb.IMMsgDataReadNotify); ok && r.GetMsgId() == uint32(last) {
					return // only what moves is told
				}
			}
			if last > 0 {
				m.server.append(entry{cmd: pdu.CmdReadNotify, m: &pb.IMMsgDataReadNotify{
					UserId: u32(uint32(meID)), SessionId: u32(uint32(aliceID)), MsgId: u32(uint32(last)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(),
				}})
			}
		})
	}
}

func (m *model) cut(t *rapid.T) { m.server.cut(rapid.Bool().Draw(t, "lose")) }

// cutLater breaks the connection at one of the next PDUs, before or after it is handled.
func (m *model) cutLater(t *rapid.T) {
	n := rapid.IntRange(0, 6).Draw(t, "PDUs")
	before, lose := rapid.Bool().Draw(t, "before"), rapid.Bool().Draw(t, "lose")
	strike := func(c *fakeConn) bool {
		fire := false
		m.server.do(func() {
			n--
			fire = n == -1
		})
		if fire {
			c.breaks(io.ErrUnexpectedEOF, lose)
		}
		return fire
	}
	m.server.do(func() {
		m.server.hook, m.server.after = nil, nil
		if before {
			m.server.hook = func(c *fakeConn, _ pdu.PDU) bool { return strike(c) }
			return
		}
		m.server.after = func(c *fakeConn, _ pdu.PDU) { strike(c) }
	})
}

// putOff refuses a few messages for now, where the order does not suffer from it.
func (m *model) putOff(t *rapid.T) {
	if m.cfg.Mode != client.SendWait {
		t.Skip("those behind it may be stored before it")
	}
	n := rapid.IntRange(1, 3).Draw(t, "times")
	m.server.do(func() {
		m.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			refuse := false
			m.server.do(func() {
				if refuse = n > 0 && p.Header.Command == pdu.CmdMsgData; refuse {
					n--
				}
			})
			if refuse {
				c.push(pdu.CmdError, 0, &sessionpb.Error{
					Command: uint32(p.Header.Command), Seq: uint32(p.Header.Seq), Code: sessionpb.Code_UNAVAILABLE, RetryAfterMs: 300,
				})
			}
			return refuse
		}
	})
}

func (m *model) wait(t *rapid.T) {
	<-time.After(time.Duration(rapid.SampledFrom([]int{0, 1, 100, 3000, 40000}).Draw(t, "ms")) * time.Millisecond)
}

func (m *model) cursor(*rapid.T) {
	m.server.do(func() {
		if c := m.server.live; c != nil {
			m.server.cursor(c)
		}
	})
}

func (m *model) restart(*rapid.T) {
	m.close()
	m.open()
}

func (m *model) got() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// orderHolds: what has happened so far is a beginning of what has to.
func (m *model) orderHolds(t *rapid.T) {
	texts, events := m.server.texts(), m.got()
	if len(texts) > len(m.accepted) || !slices.Equal(texts, m.accepted[:len(texts)]) {
		t.Fatalf("stored %q of %q", texts, m.accepted)
	}
	want := m.logged()
	if len(events) > len(want) || !slices.Equal(events, want[:len(events)]) {
		t.Fatalf("got  %q\nwant %q", events, want)
	}
}

func (m *model) logged() []string {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	list := make([]string, len(m.server.log))
	for i, e := range m.server.log {
		list[i] = e.key()
	}
	return list
}

// settle: in the end, everything has happened.
func (m *model) settle() {
	for range 600 {
		if len(m.server.texts()) == len(m.accepted) && len(m.got()) == len(m.logged()) && len(m.c.Outbox()) == 0 {
			m.orderHolds(m.t)
			return
		}
		<-time.After(time.Second)
	}
	m.t.Fatalf("stored %d of %d, events %d of %d, %d in the outbox, %+v",
		len(m.server.texts()), len(m.accepted), len(m.got()), len(m.logged()), len(m.c.Outbox()), m.c.Status())
}
