package gateway

import (
	"fmt"
	"strings"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// [TT-FILE-1]: a legacy client without a port for files, and what is refused.
func TestFileRequestRefused(t *testing.T) {
	ask := func(c *client, seq uint16, size uint32) {
		online := pb.TransferFileType_FILE_TYPE_ONLINE.Enum()
		c.send(pdu.CmdFileReq, seq, &pb.IMFileReq{FromUserId: new(uint32(77)), ToUserId: new(uint32(2)), FileName: new("C:/x"), FileSize: new(size), TransMode: online})
		c.expect(want{pdu.CmdFileRes, seq, &pb.IMFileRsp{ResultCode: new(uint32(1)), FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), FileName: new("C:/x"), TaskId: new(""), TransMode: online}})
	}
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		ask(c, 3, 5)
	})
	play(t, filePort, func(s *stage) {
		c, other := s.login(1, windows), s.login(2, windows)
		s.settle(c, other)
		ask(c, 3, 1001)
		other.expect()
	})
}

func filePort(c *Config) { c.FileAddresses = []protocol.FileAddress{{Host: "10.0.0.1", Port: 8600}} }

// [TT-FILE-1] [TT-FILE-5] [TT-DIFF-30]: the answer says how it goes, and all of the receiver's connections are told.
func TestFileRequest(t *testing.T) {
	play(t, filePort, func(s *stage) {
		c, own, pc, phone, third := s.login(1, windows), s.login(1, ios), s.login(2, windows), s.login(2, android), s.login(3, windows)
		s.settle(c, own, pc, phone, third)
		ips := []*pb.IpAddr{{Ip: new("10.0.0.1"), Port: new(uint32(8600))}}
		for _, ask := range []struct {
			seq     uint16
			to      uint32
			mode    pb.TransferFileType
			becomes pb.TransferFileType
		}{{3, 2, 1, 1}, {4, 2, 2, 2}, {5, 3, 1, 2}} {
			task := fmt.Sprint("task 1 to ", ask.to)
			c.send(pdu.CmdFileReq, ask.seq, &pb.IMFileReq{FromUserId: new(uint32(77)), ToUserId: new(ask.to), FileName: new("C:/x"), FileSize: new(uint32(5)), TransMode: ask.mode.Enum()})
			c.expect(want{pdu.CmdFileRes, ask.seq, &pb.IMFileRsp{ResultCode: new(uint32(0)), FromUserId: new(uint32(1)), ToUserId: new(ask.to), FileName: new("C:/x"),
				TaskId: new(task), IpAddrList: ips, TransMode: ask.becomes.Enum()}})
			told := want{pdu.CmdFileNotify, 0, &pb.IMFileNotify{FromUserId: new(uint32(1)), ToUserId: new(ask.to), FileName: new("C:/x"), FileSize: new(uint32(5)), TaskId: new(task),
				IpAddrList: ips, TransMode: ask.becomes.Enum(), OfflineReady: new(uint32(0))}}
			if ask.to == 2 {
				pc.expect(told)
				phone.expect(told)
				third.expect()
			} else {
				third.expect(told)
				pc.expect()
			}
			own.expect()
		}
	})
}

// [TT-FILE-2] [TT-FILE-3] [TT-FILE-4] [TT-DIFF-20]
func TestOfflineFiles(t *testing.T) {
	play(t, filePort, func(s *stage) {
		a, b, third := s.login(1, windows), s.login(2, ios), s.login(3, windows)
		s.settle(a, b, third)
		ips := []*pb.IpAddr{{Ip: new("10.0.0.1"), Port: new(uint32(8600))}}
		a.send(pdu.CmdAddOfflineFile, 1, &pb.IMFileAddOfflineReq{FromUserId: new(uint32(77)), ToUserId: new(uint32(2)), TaskId: new("t"), FileName: new("f"), FileSize: new(uint32(9))})
		a.expect()
		b.expect(want{pdu.CmdFileNotify, 0, &pb.IMFileNotify{FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), FileName: new("f"), FileSize: new(uint32(9)), TaskId: new("t"),
			IpAddrList: ips, TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(), OfflineReady: new(uint32(1))}})
		waiting := []*pb.OfflineFileInfo{{FromUserId: new(uint32(1)), TaskId: new("t"), FileName: new("f"), FileSize: new(uint32(9))}}
		list := func(seq uint16, files []*pb.OfflineFileInfo) {
			t.Helper()
			b.send(pdu.CmdOfflineFilesReq, seq, &pb.IMFileHasOfflineReq{UserId: new(uint32(0)), AttachData: []byte("x")})
			b.expect(want{pdu.CmdOfflineFilesRes, seq, &pb.IMFileHasOfflineRsp{UserId: new(uint32(2)), OfflineFileList: files, IpAddrList: ips}})
		}
		list(2, waiting)
		del := &pb.IMFileDelOfflineReq{FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), TaskId: new("t")}
		third.send(pdu.CmdDelOfflineFile, 3, del)
		third.expect()
		list(4, waiting)
		b.send(pdu.CmdDelOfflineFile, 5, del)
		list(6, nil)
		s.failWith(protocol.Errorf(protocol.CodeUnavailable, "closing"))
		list(7, nil)
	})
}

// [TT-P2P-1] [TT-DIFF-20]
func TestP2P(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, own, b, other := s.login(1, windows), s.login(1, ios), s.login(2, windows), s.login(3, windows)
		s.settle(a, own, b, other)
		forged := &pb.IMP2PCmdMsg{FromUserId: new(uint32(3)), ToUserId: new(uint32(2)), CmdMsgData: new(`{"cmd_id":65537}`)}
		a.write(pdu.AppendRaw(nil, pdu.Header{Version: 9, Command: pdu.CmdP2P, Seq: 77, Reserved: 5}, encode(t, pdu.CmdP2P, 0, forged)[pdu.HeaderLen:]))
		told := want{pdu.CmdP2P, 0, &pb.IMP2PCmdMsg{FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), CmdMsgData: new(`{"cmd_id":65537}`)}}
		a.expect()
		own.expect(told)
		b.expect(told)
		other.expect()
		toMyself := &pb.IMP2PCmdMsg{FromUserId: new(uint32(1)), ToUserId: new(uint32(1)), CmdMsgData: new("x")}
		a.send(pdu.CmdP2P, 1, toMyself)
		a.expect()
		own.expect(want{pdu.CmdP2P, 0, toMyself}) // once
		a.send(pdu.CmdP2P, 2, &pb.IMP2PCmdMsg{FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), CmdMsgData: new(strings.Repeat("x", mostP2P+1))})
		b.expect()
		own.expect()
	})
}

// Whoever does not read loses commands, and not his session: anybody may send them [TT-P2P-1].
func TestP2PFlood(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		resume := b.stopReading()
		large := &pb.IMP2PCmdMsg{FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), CmdMsgData: new(strings.Repeat("x", mostP2P))}
		const sent = 200
		for i := range sent {
			a.send(pdu.CmdP2P, uint16(i), large)
		}
		a.expect()
		resume()
		n := len(b.take())
		if dropped := s.metric("dropped_total", "p2p"); n == 0 || dropped == 0 || float64(n)+dropped != sent || !b.isOpen() {
			t.Errorf("%d came, %v were dropped; open %v", n, dropped, b.isOpen())
		}
	})
}
