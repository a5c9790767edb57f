package gateway

import (
	"context"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Files knows the files that wait for their receivers.
type Files interface {
	Offline(ctx context.Context, me protocol.UserID) ([]protocol.OfflineFile, error)
	AddOffline(ctx context.Context, me, to protocol.UserID, taskID, name string, size uint32) error
	// DeleteOffline is for the sender and the receiver of the file.
	DeleteOffline(ctx context.Context, me, from, to protocol.UserID, taskID string) error
}

// fileRequest is 0x0506. There is no transfer service: the answer is a failure with what was asked [TT-FILE-1].
func (s *session) fileRequest(h pdu.Header, m *pb.IMFileReq) error {
	s.answer(h, pdu.CmdFileRes, &pb.IMFileRsp{
		ResultCode: new(uint32(1)),
		FromUserId: new(uint32(s.user)),
		ToUserId:   m.ToUserId,
		FileName:   m.FileName,
		TaskId:     new(""),
		TransMode:  m.TransMode,
	})
	return nil
}

// offlineFiles is 0x0509; a failure looks like no files [TT-FILE-2].
func (s *session) offlineFiles(h pdu.Header, _ *pb.IMFileHasOfflineReq) error {
	files, err := s.srv.services.Files.Offline(s.requestContext(), s.user)
	s.answer(h, pdu.CmdOfflineFilesRes, &pb.IMFileHasOfflineRsp{
		UserId:          new(uint32(s.user)),
		OfflineFileList: convert(files, offlineFileToWire),
		IpAddrList:      fileAddressesToWire(s.srv.files),
	})
	return wasAnswered(err)
}

// addOfflineFile is 0x050b; it has no answer [TT-FILE-3].
func (s *session) addOfflineFile(_ pdu.Header, m *pb.IMFileAddOfflineReq) error {
	return s.srv.services.Files.AddOffline(s.requestContext(), s.user, protocol.UserID(m.GetToUserId()), m.GetTaskId(), m.GetFileName(), m.GetFileSize())
}

// delOfflineFile is 0x050c; it has no answer [TT-FILE-4] [TT-DIFF-20].
func (s *session) delOfflineFile(_ pdu.Header, m *pb.IMFileDelOfflineReq) error {
	return s.srv.services.Files.DeleteOffline(s.requestContext(), s.user, protocol.UserID(m.GetFromUserId()), protocol.UserID(m.GetToUserId()), m.GetTaskId())
}
