package gateway

import (
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
// those are left out that it has; and when it is told a CURSOR, it has everything up to there [TT-SESS-3] [TT-SESS-4] [TT-SESS-5] [TT-SESS-20].
func TestResumeProperty(t *testing.T) {
	kinds := []string{"in", "in", "in", "out", "group", "sign", "entry", "cut", "cut", "resume", "resume", "pass", "jump", "race", "race"}
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
			c := &wanderer{s: s, token: d.token, cursor: d.cursor, last: map[string]uint32{}}
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
			wrong = c.verdict()
		})
		if wrong != "" {
			r.Fatal(wrong)
		}
	})
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
		key := fmt.Sprint(m.GetMsgType()&0x10, with)
		if m.GetMsgType()&0x10 != 0 {
			key = fmt.Sprint("group ", m.GetToSessionId())
		}
		at := c.s.positionOf(m)
		if at.Index <= c.cursor || !c.at.Before(at) {
			c.wrong = fmt.Sprintf("message %d of %s at %v behind one at %v and CURSOR %d", m.GetMsgId(), key, at, c.at, c.cursor)
		}
		c.at = at
		switch id := m.GetMsgId(); {
		case id <= c.last[key]: // once more
		case id == c.last[key]+1:
			c.last[key] = id
		default:
			c.wrong = fmt.Sprintf("message %d of %s behind %d", id, key, c.last[key])
		}
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
		sent, ok := e.Body.(protocol.MessageSent)
		if !ok || e.At.Index > index || !concernsUser(e.Body, 1) {
			continue
		}
		seen := sent.Message.Conversation.Seen(1)
		key := fmt.Sprint(0, seen.ID)
		if seen.Type == protocol.SessionGroup {
			key = fmt.Sprint("group ", seen.ID)
		}
		if uint32(sent.Message.ID) > c.last[key] {
			c.wrong = fmt.Sprintf("CURSOR %d, but message %d of %s at %v has not come", index, sent.Message.ID, key, e.At)
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
