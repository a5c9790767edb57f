package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// step is something that happens in TestResumeProperty.
type step struct {
	what  string
	n     int
	apart bool // what follows waits until nothing moves any more
}

// Whatever happens and wherever the connection is cut: a client that comes back with its last CURSOR gets all messages, each conversation in order, once
// those are left out that it has; and when it is told a CURSOR, it has everything up to there. What it then shows is what is stored, deleted or not
// [TT-DEL-4] [TT-DEL-6], what became of his messages abroad what was said last [TT-FED-4], and a legacy session beside it never gets what is to be burned [TT-DEL-5] [TT-SESS-3] [TT-SESS-4] [TT-SESS-5] [TT-SESS-20].
func TestResumeProperty(t *testing.T) {
	kinds := []string{"in", "in", "in", "out", "group", "sign", "entry", "cut", "cut", "resume", "resume", "pass", "jump", "race", "race",
		"burn", "burn", "delete", "delete", "delete", "due", "state", "state"}
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{rapid.SampledFrom(kinds).Draw(r, "what"), rapid.IntRange(0, 80).Draw(r, "n"), rapid.Bool().Draw(r, "apart")}
		}), 1, 40).Draw(r, "steps")
		var wrong string
		play(t, func(c *Config) { c.Limits.QueueBytes = 20_000 }, func(s *stage) {
			s.mu.Lock()
			s.members[7] = []protocol.UserID{1, 2}
			s.mu.Unlock()
			d := s.enter(1, "laptop", windows)
			d.close()
			c := &wanderer{s: s, token: d.token, cursor: d.cursor, last: map[string]uint32{}, picture: map[messageKey]left{}, states: map[uint32]uint64{}}
			legacy := s.login(1, mac)
			for _, st := range steps {
				c.take(st)
				if st.apart {
					synctest.Wait()
				}
			}
			for range 20 { // until a resume is not ended by something before it
				c.cut(0)
				c.resume()
				pass(3 * time.Second)
			}
			c.cut(0)
			pushes := legacy.take()
			legacy = s.login(1, mac)
			legacy.send(pdu.CmdUnreadReq, 1, &pb.IMUnreadMsgCntReq{UserId: new(uint32(1))})
			legacy.send(pdu.CmdMsgListReq, 2, &pb.IMGetMsgListReq{UserId: new(uint32(1)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), SessionId: new(uint32(2)),
				MsgIdBegin: new(uint32(0)), MsgCnt: new(uint32(1000))})
			wrong = c.verdict()
			for _, p := range append(pushes, legacy.take()...) {
				if bytes.Contains(p.Body, []byte(secret)) {
					wrong = fmt.Sprintf("a legacy session was sent what is to be burned, by %v", p.Header.Command)
				}
			}
		})
		if wrong != "" {
			r.Fatal(wrong)
		}
	})
}

// secret is in all that is to be burned.
const secret = "c2VjcmV0"

type messageKey struct {
	conversation string
	id           uint32
}

// left is what a client shows of a message.
type left struct {
	data string
	gone protocol.Deletion
}

// wanderer is a client that keeps losing its connection.
type wanderer struct {
	s     *stage
	conn  net.Conn
	ended chan struct{} // the reader has returned

	mu     sync.Mutex // guards what follows
	left   int        // PDUs until the connection is cut; negative: no end
	token  []byte
	cursor uint64
	last   map[string]uint32 // of each conversation
	at     protocol.Position // of the last message of this connection
	sign   string
	wrong  string

	picture map[messageKey]left
	states  map[uint32]uint64 // of messages to user 3: hub_seq, which is the index of the event here
}

func (c *wanderer) take(st step) {
	w := c.s.world
	switch st.what {
	case "in":
		for i := range 1 + st.n {
			w.say(2, 1, fmt.Sprintf("in %0*d", st.n, i))
		}
	case "out":
		w.say(1, 3, "out")
	case "group":
		_, _ = w.Begin(context.Background(), protocol.SendMessage{From: 2, To: protocol.InGroup(7), Type: protocol.MsgGroupText, Data: []byte("group")})
	case "sign", "entry":
		w.mu.Lock()
		w.publish(protocol.SignChanged{User: 3, Sign: fmt.Sprint(w.index)})
		w.mu.Unlock()
		if st.what == "entry" {
			w.sayTogether(1 + st.n)
		}
	case "burn":
		w.sayBurning(1 + st.n%5)
	case "delete":
		w.deleteOne(st.n)
	case "due":
		w.burnDue()
	case "state":
		w.stateOne(st.n)
	case "cut":
		c.cut(st.n)
	case "resume":
		c.cut(0)
		c.resume()
	case "race": // something happens whenever a replay has read
		var left atomic.Int64
		left.Store(int64(st.n / 10))
		w.ledger.change(func(l *ledger) {
			l.reading = func() {
				if left.Add(-1) >= 0 {
					w.say(2, 1, "meanwhile")
					<-time.After(time.Millisecond)
				}
			}
		})
	case "pass":
		<-time.After(time.Duration(st.n) * 50 * time.Millisecond)
	case "jump":
		w.mu.Lock()
		from := w.index
		w.mu.Unlock()
		c.s.quietly(func() { w.say(2, 1, "missed") })
		w.mu.Lock()
		w.events.put(protocol.Event{At: protocol.Position{Index: w.index}, Body: protocol.Jumped{From: protocol.Cursor(from), To: protocol.Cursor(w.index)}})
		w.mu.Unlock()
	}
}

// quietly does something whose events are not published.
func (s *stage) quietly(do func()) {
	lost := newFeed[protocol.Event]()
	s.mu.Lock()
	feed := s.events
	s.events = lost
	s.mu.Unlock()
	do()
	s.mu.Lock()
	s.events = feed
	s.mu.Unlock()
}

// sayBurning stores messages that are to be burned.
func (w *world) sayBurning(n int) {
	for range n {
		_, _ = w.Begin(context.Background(), protocol.SendMessage{From: 2, To: protocol.WithUser(1), Type: protocol.MsgSingleText, Data: []byte(secret),
			Extras: protocol.Extras{BurnAfter: 5}})
	}
}

// deleteOne recalls some message.
func (w *world) deleteOne(n int) {
	cmd := protocol.DeleteMessage{Actor: 1, Session: [...]protocol.Session{protocol.WithUser(2), protocol.WithUser(3), protocol.InGroup(7)}[n%3], Deletion: protocol.Recalled}
	w.mu.Lock()
	stored := len(w.stored[cmd.Session.Conversation(1)])
	w.mu.Unlock()
	cmd.ID = protocol.MsgID(n/3%max(stored, 1) + 1)
	_ = w.Delete(context.Background(), cmd) // or there is none
}

// stateOne tells what became of one of user 1's messages.
func (w *world) stateOne(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	conv := protocol.WithUser(3).Conversation(1)
	if stored := len(w.stored[conv]); stored > 0 {
		w.publish(protocol.MessageStateChanged{Conversation: conv, ID: protocol.MsgID(n%stored + 1), From: 1, State: uint8(n % 5), HubSeq: w.index + 1})
	}
}

// sayTogether stores messages in one log entry.
func (w *world) sayTogether(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	conv := protocol.WithUser(1).Conversation(4)
	w.index++
	var batch []protocol.Event
	for i := range n {
		m := protocol.Message{Conversation: conv, ID: protocol.MsgID(len(w.stored[conv]) + 1), From: 4, Type: protocol.MsgSingleText, Data: []byte("x"),
			At: protocol.Position{Index: w.index, Sub: uint16(i)}}
		w.stored[conv] = append(w.stored[conv], m)
		batch = append(batch, protocol.Event{At: m.At, Body: protocol.MessageSent{Message: m}})
	}
	w.ledger.change(func(l *ledger) { l.log = append(l.log, batch...) })
	w.events.put(batch...)
}

// cut lets n more PDUs through and then breaks the connection; 0 breaks it now and waits.
func (c *wanderer) cut(n int) {
	c.mu.Lock()
	c.left = n
	c.mu.Unlock()
	if n == 0 && c.conn != nil {
		_ = c.conn.Close()
		<-c.ended
	}
}

func (c *wanderer) resume() {
	near, far := net.Pipe()
	go func() {
		c.s.srv.ServeConn(context.Background(), transport.NewStream(near, transport.KindTCP))
		_ = near.Close()
	}()
	c.conn, c.ended = far, make(chan struct{})
	m := helloOf("laptop", windows)
	m.ResumeToken, m.Cursor = c.token, c.cursor
	c.left, c.at = -1, protocol.Position{}
	if _, err := far.Write(encode(c.s.t, pdu.CmdHello, 1, m)); err != nil {
		c.wrong = err.Error()
	}
	go c.read(far, c.ended)
}

func (c *wanderer) read(conn net.Conn, ended chan struct{}) {
	defer close(ended)
	defer conn.Close()
	r := pdu.NewReader(conn)
	for {
		p, err := r.Read(pdu.MaxLen)
		if err != nil {
			return
		}
		c.mu.Lock()
		if c.left == 0 {
			c.mu.Unlock()
			return
		}
		c.left--
		c.note(p)
		c.mu.Unlock()
	}
}

// note keeps what a client would.
func (c *wanderer) note(p pdu.PDU) {
	m, err := pdu.Decode(p, pdu.ServerToClient)
	if err != nil {
		c.wrong = err.Error()
	}
	switch m := m.(type) {
	case *sessionpb.Welcome:
		if m.GetVerdict() != sessionpb.Verdict_RESUMED {
			c.wrong = fmt.Sprint("the answer to HELLO is ", m)
		}
	case *pb.IMMsgData:
		with := m.GetFromUserId()
		if with == 1 {
			with = m.GetToSessionId()
		}
		key := keyOf(protocol.WithUser(protocol.UserID(with)))
		if m.GetMsgType()&0x10 != 0 {
			key = keyOf(protocol.Session{Type: protocol.SessionGroup, ID: m.GetToSessionId()})
		}
		c.reach(c.s.positionOf(m), fmt.Sprintf("message %d of %s", m.GetMsgId(), key))
		c.picture[messageKey{key, m.GetMsgId()}] = left{data: string(m.GetMsgData())}
		switch id := m.GetMsgId(); {
		case id <= c.last[key]: // once more
		case id == c.last[key]+1:
			c.last[key] = id
		default:
			c.wrong = fmt.Sprintf("message %d of %s behind %d", id, key, c.last[key])
		}
	case *chatpb.Deleted:
		seen := protocol.Session{Type: protocol.SessionType(m.GetSessionType()), ID: m.GetSessionId()}
		at := c.s.deletionOf(seen.Conversation(1), protocol.MsgID(m.GetMsgId()))
		c.reach(at, fmt.Sprintf("deletion %v", m))
		if m.GetMsgId() > c.last[keyOf(seen)] {
			c.wrong = fmt.Sprintf("deletion %v before its message", m)
		}
		c.picture[messageKey{keyOf(seen), m.GetMsgId()}] = left{gone: protocol.Deletion(m.GetKind())}
	case *chatpb.State:
		c.reach(protocol.Position{Index: m.GetHubSeq()}, fmt.Sprintf("state %v", m))
		if m.GetMsgId() > c.last[keyOf(protocol.WithUser(3))] {
			c.wrong = fmt.Sprintf("state %v before its message", m)
		}
		c.states[m.GetMsgId()] = m.GetHubSeq()
	case *pb.IMSignInfoChangedNotify:
		c.sign = m.GetSignInfo()
	case *sessionpb.Cursor:
		if m.GetCursor() < c.cursor {
			c.wrong = fmt.Sprintf("CURSOR %d behind %d", m.GetCursor(), c.cursor)
		}
		c.cursor = m.GetCursor()
		c.mustHave(c.cursor)
	}
}

// reach notes that something has come, which must be in order.
func (c *wanderer) reach(at protocol.Position, what string) {
	if at.Index <= c.cursor || !c.at.Before(at) {
		c.wrong = fmt.Sprintf("%s at %v behind what was at %v and CURSOR %d", what, at, c.at, c.cursor)
	}
	c.at = at
}

// keyOf names a conversation of user 1.
func keyOf(seen protocol.Session) string { return fmt.Sprint(seen.Type, " ", seen.ID) }

// deletionOf is where in the log a message's deletion is.
func (s *stage) deletionOf(conv protocol.Conversation, id protocol.MsgID) (at protocol.Position) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	for _, e := range s.ledger.log {
		if d, ok := e.Body.(protocol.MessageDeleted); ok && d.Conversation == conv && d.ID == id {
			at = e.At
		}
	}
	return at
}

// positionOf is where in the log a message is that user 1 was sent.
func (s *stage) positionOf(m *pb.IMMsgData) (at protocol.Position) {
	target := protocol.Session{Type: protocol.MsgType(m.GetMsgType()).SessionType(), ID: m.GetToSessionId()}
	conv := target.Conversation(protocol.UserID(m.GetFromUserId()))
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	for _, e := range s.ledger.log {
		if sent, ok := e.Body.(protocol.MessageSent); ok && sent.Message.Conversation == conv && uint32(sent.Message.ID) == m.GetMsgId() {
			at = e.At
		}
	}
	return at
}

// mustHave checks that nothing is missing up to an index.
func (c *wanderer) mustHave(index uint64) {
	w := c.s.world
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, e := range w.ledger.log {
		if e.At.Index > index || !concernsUser(e.Body, 1) {
			continue
		}
		switch body := e.Body.(type) {
		case protocol.MessageSent:
			key := keyOf(body.Message.Conversation.Seen(1))
			if uint32(body.Message.ID) > c.last[key] {
				c.wrong = fmt.Sprintf("CURSOR %d, but message %d of %s at %v has not come", index, body.Message.ID, key, e.At)
			}
		case protocol.MessageDeleted:
			key := messageKey{keyOf(body.Conversation.Seen(1)), uint32(body.ID)}
			if c.picture[key].gone != body.Kind {
				c.wrong = fmt.Sprintf("CURSOR %d, but the deletion of %v at %v has not come", index, key, e.At)
			}
		case protocol.MessageStateChanged:
			if c.states[uint32(body.ID)] < body.HubSeq {
				c.wrong = fmt.Sprintf("CURSOR %d, but the state of %d at %v has not come", index, body.ID, e.At)
			}
		}
	}
}

// mustShow checks that the client shows what is stored.
func (c *wanderer) mustShow(stored map[protocol.Conversation][]protocol.Message) {
	for conv, ms := range stored {
		for _, m := range ms {
			key := messageKey{keyOf(conv.Seen(1)), uint32(m.ID)}
			if want := (left{string(m.Data), m.Deleted}); c.picture[key] != want {
				c.wrong = fmt.Sprintf("of %v is shown %v, not %v", key, c.picture[key], want)
			}
		}
	}
}

// verdict is what was wrong in the end.
func (c *wanderer) verdict() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong != "" {
		return c.wrong
	}
	w := c.s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	c.mustHave(w.index)
	c.mustShow(w.stored)
	for _, e := range w.ledger.log {
		if sign, ok := e.Body.(protocol.SignChanged); ok && e.At.Index == uint64(lastSign(w)) && sign.Sign != c.sign {
			c.wrong = fmt.Sprintf("the last signature is %s, not %s", sign.Sign, c.sign)
		}
	}
	return c.wrong
}

func lastSign(w *world) (index protocol.Cursor) {
	for _, e := range w.ledger.log {
		if _, ok := e.Body.(protocol.SignChanged); ok {
			index = protocol.Cursor(e.At.Index)
		}
	}
	return index
}
