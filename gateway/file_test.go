package gateway

import (
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// [TT-FILE-1]
func TestFileRequest(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		online := pb.TransferFileType_FILE_TYPE_ONLINE.Enum()
		c.send(pdu.CmdFileReq, 3, &pb.IMFileReq{FromUserId: new(uint32(77)), ToUserId: new(uint32(2)), FileName: new("C:/x"), FileSize: new(uint32(5)), TransMode: online})
		c.expect(want{pdu.CmdFileRes, 3, &pb.IMFileRsp{ResultCode: new(uint32(1)), FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), FileName: new("C:/x"), TaskId: new(""), TransMode: online}})
	})
}

// [TT-FILE-2] [TT-FILE-3] [TT-FILE-4] [TT-DIFF-20]
func TestOfflineFiles(t *testing.T) {
	addresses := func(c *Config) { c.FileAddresses = []FileAddress{{"10.0.0.1", 8600}} }
	play(t, addresses, func(s *stage) {
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
	})
}
