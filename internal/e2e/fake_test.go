package e2e

import (
	"net"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// fake is a server small enough to be seen right: it logs everybody in, echoes heartbeats, acks messages and passes them to all
// other connections; a logout closes. It is there to test the runner.
type fake struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex // guards the rest
	conns   map[net.Conn]bool
	stopped bool
	next    uint32
}

func startFake(t *testing.T) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{listener: l, conns: map[net.Conn]bool{}}
	f.serving.Go(f.accept) // ends when the listener is closed
	t.Cleanup(f.stop)
	return &Server{Addr: Addresses{TCP: l.Addr().String()}}
}

func (f *fake) stop() {
	_ = f.listener.Close()
	f.mu.Lock()
	f.stopped = true
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.serving.Wait()
}

func (f *fake) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		if f.stopped { // accepted just before
			_ = c.Close()
		}
		f.conns[c] = true
		f.mu.Unlock()
		f.serving.Go(func() { f.serve(c) }) // ends with the connection
	}
}

func (f *fake) serve(c net.Conn) {
	defer func() {
		f.mu.Lock()
		delete(f.conns, c)
		f.mu.Unlock()
		_ = c.Close()
	}()
	r := pdu.NewReader(c)
	for {
		p, err := r.Read(pdu.MaxLen)
		if err != nil || !f.answer(c, p) {
			return
		}
	}
}

func (f *fake) answer(c net.Conn, p pdu.PDU) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch p.Header.Command {
	case pdu.CmdHeartbeat:
		_, _ = c.Write(rawFrame(rawHeader{uint32(16 + len(p.Body)), p.Header.Version, p.Header.Flag, p.Header.Service, 0x0701, p.Header.Seq, 0}, p.Body))
	case pdu.CmdLoginReq:
		f.write(c, pdu.CmdLoginRes, p.Header.Seq, &pb.IMLoginRes{ServerTime: proto.Uint32(1), ResultCode: pb.ResultType_REFUSE_REASON_NONE.Enum()})
	case pdu.CmdTimeReq:
		f.write(c, pdu.CmdTimeRes, p.Header.Seq, &pb.IMClientTimeRsp{ServerTime: proto.Uint32(1)})
	case pdu.CmdLogoutReq:
		f.write(c, pdu.CmdLogoutRes, p.Header.Seq, &pb.IMLogoutRsp{ResultCode: proto.Uint32(0)})
		return false
	case pdu.CmdMsgData:
		m := &pb.IMMsgData{}
		if proto.Unmarshal(p.Body, m) != nil {
			return true
		}
		f.next++
		m.MsgId, m.CreateTime = proto.Uint32(f.next), proto.Uint32(1700000000+f.next)
		for other := range f.conns {
			if other != c {
				f.write(other, pdu.CmdMsgData, 0, m)
			}
		}
		f.write(c, pdu.CmdMsgDataAck, p.Header.Seq, &pb.IMMsgDataAck{UserId: m.FromUserId, SessionId: m.ToSessionId, MsgId: m.MsgId,
			SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()})
	}
	return true
}

func (f *fake) write(c net.Conn, cmd pdu.Command, seq uint16, m proto.Message) {
	if b, err := Frame(cmd, seq, m); err == nil {
		_, _ = c.Write(b)
	}
}
