package gateway

import (
	"context"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Files knows the files that wait for their receivers.
type Files interface {
	// Request offers a file of size bytes; it tells the task that carries it, and whether that is done while both users are connected.
	Request(ctx context.Context, me, to protocol.UserID, name string, size uint32, online bool) (task string, isOnline bool, err error)
	Offline(ctx context.Context, me protocol.UserID) ([]protocol.OfflineFile, error)
	AddOffline(ctx context.Context, me, to protocol.UserID, taskID, name string, size uint32) error
	// DeleteOffline is for the sender and the receiver of the file.
	DeleteOffline(ctx context.Context, me, from, to protocol.UserID, taskID string) error
}

// fileRequest is 0x0506: the answer names the task and how it goes, and the receiver is told [TT-FILE-1] [TT-FILE-5].
func (s *session) fileRequest(h pdu.Header, m *pb.IMFileReq) error {
	offer := protocol.FileOffered{From: s.user, To: protocol.UserID(m.GetToUserId()), Name: m.GetFileName(), Size: m.GetFileSize(),
		Online: m.GetTransMode() == pb.TransferFileType_FILE_TYPE_ONLINE, Addresses: s.srv.files}
	err := s.offer(&offer)
	res := &pb.IMFileRsp{
		ResultCode: resultToWire(err),
		FromUserId: new(uint32(s.user)),
		ToUserId:   m.ToUserId,
		FileName:   m.FileName,
		TaskId:     new(offer.TaskID),
		TransMode:  transModeToWire(offer.Online),
	}
	if err == nil {
		res.IpAddrList = fileAddressesToWire(offer.Addresses)
	}
	s.answer(h, pdu.CmdFileRes, res)
	if err == nil {
		s.srv.signaler.Signal(offer)
	}
	return wasAnswered(err)
}

// offer has a task made. COMPAT: a legacy client knows no other way than the port of the transfer service.
func (s *session) offer(o *protocol.FileOffered) (err error) {
	if s.ext == nil && len(o.Addresses) == 0 {
		return protocol.Errorf(protocol.CodeUnavailable, "there is no port for files")
	}
	task, online, err := s.srv.services.Files.Request(s.requestContext(), s.user, o.To, o.Name, o.Size, o.Online)
	if err == nil {
		o.TaskID, o.Online = task, online
	}
	return err
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
