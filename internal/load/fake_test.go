package load

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeServer does as little of a server as the load generator needs, and does it wrong where a test asks for it.
type fakeServer struct {
	listener net.Listener
	fault    fault
	all      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[uint32]net.Conn
	ids    map[uint32]uint32 // newest message id by receiver or group
	groups map[uint32][]uint32
	held   []byte
	extra  fakeSessions
	desk   *fakeDesk // nil: everybody comes in at once
}

// fault changes what a server does with message id.
type fault struct {
	dropDelivery, doubleDelivery, swapDelivery, dropAck, wrongAckID, kick uint32
}

func startFake(t *testing.T, f fault) Target {
	t.Helper()
	return startFakeSessions(t, f, sessionFault{}, nil)
}

// startFakeSessions is a server with faults of the session extension too, over TLS if there is a certificate.
func startFakeSessions(t *testing.T, f fault, sf sessionFault, certificate *tls.Config) Target {
	t.Helper()
	return startFakeDesk(t, f, sf, nil, certificate)
}

// startFakeDesk is a server where some have to wait to be let in.
func startFakeDesk(t *testing.T, f fault, sf sessionFault, desk *fakeDesk, certificate *tls.Config) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if certificate != nil {
		l = tls.NewListener(l, certificate)
	}
	s := &fakeServer{listener: l, fault: f, conns: map[uint32]net.Conn{}, ids: map[uint32]uint32{}, groups: map[uint32][]uint32{}, extra: newFakeSessions(sf), desk: desk}
	if desk != nil {
		desk.over = make(chan struct{})
		s.all.Go(func() { desk.work(s) }) // until over
	}
	s.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.all.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		if desk != nil {
			close(desk.over)
		}
		s.all.Wait()
	})
	return Target{Server: l.Addr().String(), Via: ViaTCP, UserPattern: "user%d", First: 1, Password: "12345", Client: protocol.ClientAndroid}
}

func (s *fakeServer) serve(c net.Conn) {
	defer c.Close()
	r := pdu.NewReader(c)
	var user uint32
	var device string // of a client that said HELLO
	for {
		p, err := r.Read(pdu.MaxLen)
		if err != nil {
			return
		}
		s.mu.Lock()
		switch p.Header.Command {
		case pdu.CmdHello:
			device = s.extra.hello(c, p)
		case pdu.CmdLoginReq:
			if s.desk.takes(s, c, p, device) {
				break
			}
			if user = s.login(c, p); user != 0 && device != "" {
				s.extra.credential(c, device)
			}
		case pdu.CmdMsgData:
			s.message(c, user, p)
		case pdu.CmdGroupCreateReq:
			s.group(c, p)
		case pdu.CmdHeartbeat:
			_, _ = c.Write(pdu.AppendRaw(nil, p.Header, p.Body))
		}
		s.mu.Unlock()
	}
}

func (s *fakeServer) login(c net.Conn, p pdu.PDU) uint32 {
	var req pb.IMLoginReq
	if err := proto.Unmarshal(p.Body, &req); err != nil {
		return 0
	}
	res := &pb.IMLoginRes{ServerTime: proto.Uint32(1), ResultCode: pb.ResultType_REFUSE_REASON_NONE.Enum()}
	user := uint32(0)
	if req.GetPassword() != "827ccb0eea8a706c4c34a16891f84e7b" {
		res.ResultCode, res.ResultString = pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED.Enum(), proto.String("wrong")
	} else {
		for _, digit := range strings.TrimPrefix(req.GetUserName(), "user") {
			user = 10*user + uint32(digit-'0')
		}
		res.UserInfo = &pb.UserInfo{UserId: &user, UserGender: proto.Uint32(0), UserNickName: proto.String(""), AvatarUrl: proto.String(""),
			DepartmentId: proto.Uint32(0), Email: proto.String(""), UserRealName: proto.String(""), UserTel: proto.String(""),
			UserDomain: proto.String(""), Status: proto.Uint32(0)}
		s.conns[user] = c
	}
	write(c, pdu.CmdLoginRes, p.Header.Seq, res)
	return user
}

func (s *fakeServer) group(c net.Conn, p pdu.PDU) {
	var req pb.IMGroupCreateReq
	if err := proto.Unmarshal(p.Body, &req); err != nil {
		return
	}
	s.groups[7] = req.GetMemberIdList()
	write(c, pdu.CmdGroupCreateRes, p.Header.Seq, &pb.IMGroupCreateRsp{UserId: req.UserId, ResultCode: proto.Uint32(0),
		GroupId: proto.Uint32(7), GroupName: req.GroupName, UserIdList: req.GetMemberIdList()})
}

func (s *fakeServer) message(c net.Conn, user uint32, p pdu.PDU) {
	var m pb.IMMsgData
	if err := proto.Unmarshal(p.Body, &m); err != nil {
		return
	}
	to := m.GetToSessionId()
	receivers := []uint32{to}
	if m.GetMsgType() == pb.MsgType_MSG_TYPE_GROUP_TEXT {
		receivers = s.groups[to]
	}
	s.ids[to]++
	id := s.ids[to]
	m.MsgId, m.FromUserId = &id, &user
	if id == s.fault.kick {
		write(c, pdu.CmdKickUser, 0, &pb.IMKickUser{UserId: &user, KickReason: pb.KickReasonType_KICK_REASON_DUPLICATE_USER.Enum()})
	}
	if id != s.fault.dropAck {
		acked := id
		if id == s.fault.wrongAckID {
			acked += 5
		}
		write(c, pdu.CmdMsgDataAck, p.Header.Seq, &pb.IMMsgDataAck{UserId: &user, SessionId: &to, MsgId: &acked,
			SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()})
	}
	frame, err := pdu.Append(nil, pdu.CmdMsgData, 0, &m)
	if err != nil {
		return
	}
	switch id {
	case s.fault.dropDelivery:
		return
	case s.fault.doubleDelivery:
		frame = append(frame, frame...)
	case s.fault.swapDelivery:
		s.held = frame
		return
	}
	frame = append(frame, s.held...)
	s.held = nil
	for _, u := range receivers {
		if u != user {
			_, _ = s.conns[u].Write(frame)
		}
	}
}

func write(c net.Conn, cmd pdu.Command, seq uint16, m proto.Message) {
	if b, err := pdu.Append(nil, cmd, seq, m); err == nil {
		_, _ = c.Write(b)
	}
}
