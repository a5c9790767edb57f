package client_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	meID    protocol.UserID = 7
	aliceID protocol.UserID = 8
	md5Of1                  = "c4ca4238a0b923820dcc509a6f75849b" // of "1"
)

// fakeServer speaks the session extension to one user, me/1, and misbehaves as it is told. It has no goroutines.
type fakeServer struct {
	mu     sync.Mutex // guards the rest
	log    []entry    // what is durable, in order; the cursor of an entry is its place, from 1
	ids    map[protocol.Session]protocol.MsgID
	byID   map[protocol.ClientMsgID]stored
	stored []stored // messages of me, in order
	tokens map[string]bool
	issued int
	live   *fakeConn
	conns  []*fakeConn
	got    []pdu.PDU // all that arrived, without heartbeats
	acks   []protocol.Cursor
	cipher *crypt.Cipher

	habits
}

// habits are how the server misbehaves; set before, or with do.
type habits struct {
	hook      func(c *fakeConn, p pdu.PDU) bool // true: handled
	after     func(c *fakeConn, p pdu.PDU)      // once handled
	deaf      map[string]bool                   // transports on which HELLO is not answered
	welcome   func(w *sessionpb.Welcome)
	gap       bool
	noCursor  bool // no CURSOR by itself
	everyNth  int  // CURSOR after so many events; 0: each
	unsent    int
	heartbeat uint32
	endpoints []string
	beside    func() dial.Bulk // makes a stream beside the session; nil: there are none
	burnAfter *uint32          // of what alice says
}

type entry struct {
	cmd     pdu.Command
	m       proto.Message
	deleted protocol.Deletion // of a message
}

// in is the conversation of a message, as me sees it; the fake has none but with users.
func (e entry) in() (in protocol.Session, id protocol.MsgID) {
	m, ok := e.m.(*pb.IMMsgData)
	switch {
	case !ok:
		return in, 0
	case m.GetFromUserId() == uint32(meID):
		return protocol.WithUser(protocol.UserID(m.GetToSessionId())), protocol.MsgID(m.GetMsgId())
	}
	return protocol.WithUser(protocol.UserID(m.GetFromUserId())), protocol.MsgID(m.GetMsgId())
}

type stored struct {
	id   protocol.ClientMsgID
	in   protocol.Session
	num  protocol.MsgID
	text string
}

// session is what the server knows of a connection.
type session struct {
	hello, in, legacy, bye bool
}

func newFakeServer() *fakeServer {
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		panic(err)
	}
	return &fakeServer{
		ids: make(map[protocol.Session]protocol.MsgID), byID: make(map[protocol.ClientMsgID]stored), tokens: make(map[string]bool),
		cipher: cipher, habits: habits{deaf: make(map[string]bool), heartbeat: 30},
	}
}

// do changes the server, or looks at it, between two PDUs.
func (s *fakeServer) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fakeServer) opened(c *fakeConn) { s.do(func() { s.conns = append(s.conns, c) }) }

func (s *fakeServer) gone(c *fakeConn) {
	s.do(func() {
		if s.live == c {
			s.live = nil
		}
	})
}

func (s *fakeServer) received(c *fakeConn, p pdu.PDU) {
	s.mu.Lock()
	if p.Header.Command != pdu.CmdHeartbeat {
		s.got = append(s.got, p)
	}
	hook, after := s.hook, s.after
	s.mu.Unlock()
	if hook == nil || !hook(c, p) {
		s.do(func() { s.handle(c, p) })
	}
	if after != nil {
		after(c, p)
	}
}

func (s *fakeServer) handle(c *fakeConn, p pdu.PDU) {
	if p.Header.Command == pdu.CmdHeartbeat {
		c.push(pdu.CmdHeartbeat, p.Header.Seq, &pb.IMHeartBeat{})
		return
	}
	m, err := pdu.Decode(p, pdu.ClientToServer)
	if err != nil {
		panic(fmt.Sprintf("%v: %v", p.Header.Command, err))
	}
	switch m := m.(type) {
	case *sessionpb.Hello:
		s.greet(c, m)
	case *pb.IMLoginReq:
		s.login(c, p.Header.Seq, m)
	case *sessionpb.Ack:
		s.acks = append(s.acks, protocol.Cursor(m.GetCursor()))
	case *sessionpb.Bye:
		c.bye = true
	case *pb.IMMsgData:
		s.store(c, p.Header.Seq, m)
	default:
		s.answer(c, p.Header.Seq, m)
	}
}

func (s *fakeServer) head() protocol.Cursor { return protocol.Cursor(len(s.log)) }

func (s *fakeServer) greet(c *fakeConn, h *sessionpb.Hello) {
	if c.hello || h.GetVersion() != 1 || h.GetDeviceId() == "" {
		panic("bad HELLO")
	}
	c.hello = true
	if s.deaf[string(c.route.Transport)] {
		return
	}
	w := &sessionpb.Welcome{Version: 1, Cursor: uint64(s.head()), HeartbeatS: s.heartbeat, MaxPduBytes: 1 << 20, Node: "n1", Endpoints: s.endpoints}
	switch token := h.GetResumeToken(); {
	case len(token) == 0:
		w.Verdict = sessionpb.Verdict_LOGIN_NEEDED
	case !s.tokens[string(token)]:
		w.Verdict, w.Reason = sessionpb.Verdict_REFUSED, "expired"
	case s.gap || protocol.Cursor(h.GetCursor()) > s.head():
		w.Verdict = sessionpb.Verdict_GAP
		s.gap = false
	default:
		w.Verdict = sessionpb.Verdict_RESUMED
	}
	if s.welcome != nil {
		s.welcome(w)
	}
	switch w.Verdict {
	case sessionpb.Verdict_RESUMED:
		s.enter(c)
		c.push(pdu.CmdWelcome, 0, w)
		for _, e := range s.log[h.GetCursor():] {
			c.push(e.cmd, 0, e.m)
		}
		c.push(pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: uint64(s.head())})
		s.credential(c)
	case sessionpb.Verdict_GAP:
		s.enter(c)
		c.push(pdu.CmdWelcome, 0, w)
		s.credential(c)
	default:
		c.push(pdu.CmdWelcome, 0, w)
	}
}

// enter makes c the live connection; the former one is replaced.
func (s *fakeServer) enter(c *fakeConn) {
	if old := s.live; old != nil && old != c {
		old.push(pdu.CmdBye, 0, &sessionpb.Bye{Code: sessionpb.Code_REPLACED})
		old.in = false
	}
	s.live, c.in, s.unsent = c, true, 0
}

func (s *fakeServer) credential(c *fakeConn) {
	s.issued++
	token := fmt.Sprintf("token-%d", s.issued)
	s.tokens[token] = true
	c.push(pdu.CmdCredential, 0, &sessionpb.Credential{ResumeToken: []byte(token), ExpiresS: 7 * 86400, Cursor: uint64(s.head())})
}

func (s *fakeServer) login(c *fakeConn, seq uint16, m *pb.IMLoginReq) {
	res := &pb.IMLoginRes{ServerTime: proto.Uint32(1), ResultCode: pb.ResultType_REFUSE_REASON_NONE.Enum(), ResultString: proto.String("")}
	if m.GetUserName() != "me" || m.GetPassword() != md5Of1 {
		res.ResultCode, res.ResultString = pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED.Enum(), proto.String("wrong name or password")
		c.push(pdu.CmdLoginRes, seq, res)
		c.push(pdu.CmdBye, 0, &sessionpb.Bye{Code: sessionpb.Code_UNAUTHENTICATED})
		return
	}
	res.UserInfo = user(meID, "me")
	c.legacy = !c.hello
	c.push(pdu.CmdLoginRes, seq, res)
	s.enter(c)
	if !c.legacy {
		s.credential(c)
	}
}

func user(id protocol.UserID, name string) *pb.UserInfo {
	return &pb.UserInfo{
		UserId: proto.Uint32(uint32(id)), UserGender: proto.Uint32(0), UserNickName: proto.String(name), AvatarUrl: proto.String(""),
		DepartmentId: proto.Uint32(0), Email: proto.String(""), UserRealName: proto.String(name), UserTel: proto.String(""),
		UserDomain: proto.String(""), Status: proto.Uint32(0),
	}
}

// store takes a message of me; a repeat is acked again and not stored.
func (s *fakeServer) store(c *fakeConn, seq uint16, m *pb.IMMsgData) {
	if !c.in {
		panic("a message before the login")
	}
	var id protocol.ClientMsgID
	copy(id[:], m.GetClientMsgId())
	if c.legacy {
		copy(id[:], hex.EncodeToString([]byte{byte(len(s.stored) >> 8), byte(len(s.stored))}))
	}
	was, ok := s.byID[id]
	if !ok {
		text, err := s.cipher.Decrypt(m.GetMsgData())
		if err != nil {
			panic(err)
		}
		in := protocol.Session{Type: protocol.MsgType(m.GetMsgType()).SessionType(), ID: m.GetToSessionId()}
		s.ids[in]++
		was = stored{id: id, in: in, num: s.ids[in], text: text}
		s.byID[id] = was
		s.stored = append(s.stored, was)
		event := proto.CloneOf(m)
		event.FromUserId, event.MsgId, event.CreateTimeMs = proto.Uint32(uint32(meID)), proto.Uint32(uint32(was.num)), proto.Uint64(1000)
		s.append(entry{cmd: pdu.CmdMsgData, m: event})
	}
	ack := &pb.IMMsgDataAck{
		UserId: proto.Uint32(uint32(meID)), SessionId: proto.Uint32(was.in.ID), MsgId: proto.Uint32(uint32(was.num)),
		SessionType: pb.SessionType(was.in.Type).Enum(),
	}
	if !c.legacy {
		ack.ClientMsgId, ack.CreateTimeMs = id[:], proto.Uint64(1000)
	}
	c.push(pdu.CmdMsgDataAck, seq, ack)
}

// append makes an entry durable and tells the live connection.
func (s *fakeServer) append(e entry) {
	s.log = append(s.log, e)
	c := s.live
	if c == nil {
		return
	}
	if m, ok := e.m.(*pb.IMMsgData); !ok || !c.legacy || m.GetFromUserId() != uint32(meID) {
		c.push(e.cmd, 0, e.m)
	}
	s.unsent++
	if !s.noCursor && !c.legacy && s.unsent > s.everyNth {
		s.cursor(c)
	}
}

func (s *fakeServer) cursor(c *fakeConn) {
	s.unsent = 0
	c.push(pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: uint64(s.head())})
}

// says lets alice write to me; the number is that of the message in their conversation.
func (s *fakeServer) says(text string) protocol.MsgID {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := protocol.WithUser(aliceID)
	s.ids[in]++
	s.append(entry{cmd: pdu.CmdMsgData, m: &pb.IMMsgData{
		FromUserId: proto.Uint32(uint32(aliceID)), ToSessionId: proto.Uint32(uint32(meID)), MsgId: proto.Uint32(uint32(s.ids[in])),
		CreateTime: proto.Uint32(1), MsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: s.cipher.Encrypt(text), BurnAfterReadS: s.burnAfter,
	}})
	return s.ids[in]
}

// event makes something else happen.
func (s *fakeServer) event(cmd pdu.Command, m proto.Message) {
	s.do(func() { s.append(entry{cmd: cmd, m: m}) })
}

// current is the live connection.
func (s *fakeServer) current() *fakeConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// cut breaks the live connection, if there is one; with lose, what is on its way is lost.
func (s *fakeServer) cut(lose bool) {
	if c := s.current(); c != nil {
		c.breaks(io.ErrUnexpectedEOF, lose)
	}
}

// commands lists what arrived.
func (s *fakeServer) commands() []pdu.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]pdu.Command, len(s.got))
	for i, p := range s.got {
		list[i] = p.Header.Command
	}
	return list
}

func (s *fakeServer) count(cmd pdu.Command) int {
	n := 0
	for _, c := range s.commands() {
		if c == cmd {
			n++
		}
	}
	return n
}

// texts lists what me wrote, as stored.
func (s *fakeServer) texts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]string, len(s.stored))
	for i, m := range s.stored {
		list[i] = m.text
	}
	return list
}

func (s *fakeServer) acked() []protocol.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acks)
}
