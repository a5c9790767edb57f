package gateway

import (
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
)

// The words of package protocol and those on the wire. Every required field is set, whatever its value [TT-FRAME-7].

const (
	androidFrame = 400<<10 - 1 // bytes; Android discards larger ones [TT-LIMIT-4]
	otherFrame   = 4 << 20     // bytes, to the other clients [TT-LIMIT-4]
	frameReserve = 1 << 10     // bytes for all of a frame but its list
)

func sessionTypeToWire(t protocol.SessionType) *pb.SessionType { return pb.SessionType(t).Enum() }

func msgTypeToWire(t protocol.MsgType) *pb.MsgType { return pb.MsgType(t).Enum() }

func memberChangeToWire(c protocol.MemberChange) *pb.GroupModifyType {
	return pb.GroupModifyType(c).Enum()
}

func sessionFromWire(t pb.SessionType, id uint32) protocol.Session {
	return protocol.Session{Type: protocol.SessionType(t), ID: id}
}

func timeFromWire(seconds uint32) protocol.Time { return protocol.FromUnix(seconds) }

// resultToWire is 0 for success and 1 for any failure, as most answers have it.
func resultToWire(err error) *uint32 {
	if err != nil {
		return new(uint32(1))
	}
	return new(uint32(0))
}

func shieldToWire(on bool) *uint32 {
	if on {
		return new(uint32(1))
	}
	return new(uint32(0))
}

func userIDsToWire(ids []protocol.UserID) []uint32 {
	return convert(ids, func(u protocol.UserID) uint32 { return uint32(u) })
}

func userIDsFromWire(ids []uint32) []protocol.UserID {
	return convert(ids, func(u uint32) protocol.UserID { return protocol.UserID(u) })
}

func convert[A, B any](from []A, one func(A) B) []B {
	to := make([]B, len(from))
	for i, a := range from {
		to[i] = one(a)
	}
	return to
}

func userToWire(u protocol.User) *pb.UserInfo {
	return &pb.UserInfo{
		UserId:       new(uint32(u.ID)),
		UserGender:   new(uint32(u.Gender)),
		UserNickName: new(u.Nick),
		AvatarUrl:    new(u.Avatar),
		DepartmentId: new(uint32(u.Department)),
		Email:        new(u.Email),
		UserRealName: new(u.Name),
		UserTel:      new(u.Phone),
		UserDomain:   new(u.Domain),
		Status:       new(uint32(u.Status)),
		SignInfo:     new(u.Sign),
	}
}

func departmentToWire(d protocol.Department) *pb.DepartInfo {
	status := pb.DepartmentStatusType_DEPT_STATUS_OK
	if d.Deleted {
		status = pb.DepartmentStatusType_DEPT_STATUS_DELETE
	}
	return &pb.DepartInfo{
		DeptId:       new(uint32(d.ID)),
		Priority:     new(d.Priority),
		DeptName:     new(d.Name),
		ParentDeptId: new(uint32(d.Parent)),
		DeptStatus:   status.Enum(),
	}
}

func messageToWire(m protocol.Message) *pb.MsgInfo {
	return &pb.MsgInfo{
		MsgId:         new(uint32(m.ID)),
		FromSessionId: new(uint32(m.From)), // COMPAT: the name says session, it is the sender's user id
		CreateTime:    new(m.Time.Unix()),
		MsgType:       msgTypeToWire(m.Type),
		MsgData:       content(&m),
	}
}

// messageToWire is a message of a list. What came with the extension goes to extended sessions only [TT-SESS-12], as does what is to be burned
// [TT-DEL-5].
func (s *session) messageToWire(m protocol.Message) *pb.MsgInfo {
	if s.ext == nil {
		return messageToWire(s.srv.texts.legacy(m))
	}
	info := messageToWire(m)
	info.ClientMsgId = clientMsgIDToWire(m.ClientMsgID)
	info.CreateTimeMs = new(uint64(m.Time))
	info.ContentType, info.ReplyToMsgId, info.BurnAfterReadS = extrasToWire(s.told(m.Extras))
	info.State = new(uint32(m.Deleted)) // [TT-DEL-4]
	info.FromAddress, info.HubSeq = s.srv.hub.fromAbroad(&m)
	if m.From == s.user && m.Fate != 0 { // [TT-FED-4]
		info.Delivery = new(uint32(m.Fate))
	}
	return info
}

// msgData is 0x0301 with what every client is told; a legacy one is given it of what placeholders.legacy leaves of the message.
func msgData(m *protocol.Message) *pb.IMMsgData {
	return &pb.IMMsgData{
		FromUserId:  new(uint32(m.From)),
		ToSessionId: new(m.Conversation.Seen(m.From).ID),
		MsgId:       new(uint32(m.ID)),
		CreateTime:  new(m.Time.Unix()),
		MsgType:     msgTypeToWire(m.Type),
		MsgData:     content(m),
	}
}

// extendedMsgData is 0x0301 to an extended client [TT-SESS-12].
func (s *session) extendedMsgData(m *protocol.Message) *pb.IMMsgData {
	data := msgData(m)
	data.ClientMsgId = clientMsgIDToWire(m.ClientMsgID)
	data.CreateTimeMs = new(uint64(m.Time))
	data.ContentType, data.ReplyToMsgId, data.BurnAfterReadS = extrasToWire(s.told(m.Extras))
	data.FromAddress, data.HubSeq = s.srv.hub.fromAbroad(m)
	return data
}

func clientMsgIDToWire(id protocol.ClientMsgID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func extrasToWire(x protocol.Extras) (contentType *string, replyTo, burnAfter *uint32) {
	if x.ContentType != "" {
		contentType = &x.ContentType
	}
	if x.ReplyTo != 0 {
		replyTo = new(uint32(x.ReplyTo))
	}
	if x.BurnAfter != 0 {
		burnAfter = &x.BurnAfter
	}
	return contentType, replyTo, burnAfter
}

func readNotify(e protocol.ReadMoved) *pb.IMMsgDataReadNotify {
	return &pb.IMMsgDataReadNotify{
		UserId:      new(uint32(e.User)),
		SessionId:   new(e.Session.ID),
		MsgId:       new(uint32(e.UpTo)),
		SessionType: sessionTypeToWire(e.Session.Type),
	}
}

func removeNotify(e protocol.SessionRemoved) *pb.IMRemoveSessionNotify {
	return &pb.IMRemoveSessionNotify{
		UserId:      new(uint32(e.User)),
		SessionType: sessionTypeToWire(e.Session.Type),
		SessionId:   new(e.Session.ID),
	}
}

func membersNotify(e protocol.MembersChanged) *pb.IMGroupChangeMemberNotify {
	return &pb.IMGroupChangeMemberNotify{
		UserId:        new(uint32(e.Actor)),
		ChangeType:    memberChangeToWire(e.Change),
		GroupId:       new(uint32(e.Group)),
		CurUserIdList: userIDsToWire(e.Current),
		ChgUserIdList: userIDsToWire(e.Changed),
	}
}

// createdNotify tells of a new group as if all its members had been added to it [TT-SESS-19].
func createdNotify(e protocol.GroupCreated) *pb.IMGroupChangeMemberNotify {
	return membersNotify(protocol.MembersChanged{Actor: e.Actor, Group: e.Group, Change: protocol.MembersAdd, Current: e.Members, Changed: e.Members})
}

func signNotify(e protocol.SignChanged) *pb.IMSignInfoChangedNotify {
	return &pb.IMSignInfoChangedNotify{ChangedUserId: new(uint32(e.User)), SignInfo: new(e.Sign)}
}

func avatarNotify(e protocol.AvatarChanged) *pb.IMAvatarChangedNotify {
	return &pb.IMAvatarChangedNotify{ChangedUserId: new(uint32(e.User)), AvatarUrl: new(e.Avatar)}
}

// fileOffer is 0x0508 for a file that is to come.
func fileOffer(o protocol.FileOffered) *pb.IMFileNotify {
	return &pb.IMFileNotify{
		FromUserId:   new(uint32(o.From)),
		ToUserId:     new(uint32(o.To)),
		FileName:     new(o.Name),
		FileSize:     new(o.Size),
		TaskId:       new(o.TaskID),
		IpAddrList:   fileAddressesToWire(o.Addresses),
		TransMode:    transModeToWire(o.Online),
		OfflineReady: new(uint32(0)),
	}
}

func transModeToWire(online bool) *pb.TransferFileType {
	if online {
		return pb.TransferFileType_FILE_TYPE_ONLINE.Enum()
	}
	return pb.TransferFileType_FILE_TYPE_OFFLINE.Enum()
}

// fileNotify is 0x0508 for a file that waits.
func (srv *Server) fileNotify(f protocol.OfflineFile) *pb.IMFileNotify {
	return &pb.IMFileNotify{
		FromUserId:   new(uint32(f.From)),
		ToUserId:     new(uint32(f.To)),
		FileName:     new(f.Name),
		FileSize:     new(f.Size),
		TaskId:       new(f.TaskID),
		IpAddrList:   fileAddressesToWire(srv.files),
		TransMode:    pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(),
		OfflineReady: new(uint32(1)),
	}
}

// latest is a message as a list of conversations shows it [TT-MSG-14]. A deleted one has no data and the type it had, as the list has no field for its
// state [TT-DEL-4]; a legacy session is given a text instead [TT-DEL-5].
func (s *session) latest(m protocol.Message) ([]byte, *pb.MsgType) {
	if s.ext == nil {
		m = s.srv.texts.legacy(m)
	}
	if m.Type.IsAudio() && m.Deleted == 0 {
		return s.srv.texts.audio, msgTypeToWire(m.Type)
	}
	return content(&m), msgTypeToWire(m.Type)
}

func (s *session) recentToWire(r protocol.RecentSession) *pb.ContactSessionInfo {
	data, kind := s.latest(r.Latest)
	return &pb.ContactSessionInfo{
		SessionId:           new(r.Session.ID),
		SessionType:         sessionTypeToWire(r.Session.Type),
		SessionStatus:       pb.SessionStatusType_SESSION_STATUS_OK.Enum(),
		UpdatedTime:         new(r.Updated.Unix()),
		LatestMsgId:         new(uint32(r.Latest.ID)),
		LatestMsgData:       data,
		LatestMsgType:       kind,
		LatestMsgFromUserId: new(uint32(r.Latest.From)), // [TT-DIFF-10]
	}
}

func (s *session) unreadToWire(u protocol.Unread) *pb.UnreadInfo {
	data, kind := s.latest(u.Latest)
	return &pb.UnreadInfo{
		SessionId:           new(u.Session.ID),
		SessionType:         sessionTypeToWire(u.Session.Type),
		UnreadCnt:           new(u.Count),
		LatestMsgId:         new(uint32(u.Latest.ID)),
		LatestMsgData:       data,
		LatestMsgType:       kind,
		LatestMsgFromUserId: new(uint32(u.Latest.From)), // [TT-DIFF-10]
	}
}

func groupToWire(g protocol.GroupInfo) *pb.GroupInfo {
	return &pb.GroupInfo{
		GroupId:         new(uint32(g.ID)),
		Version:         new(g.Version),
		GroupName:       new(g.Name),
		GroupAvatar:     new(g.Avatar),
		GroupCreatorId:  new(uint32(g.Creator)),
		GroupType:       pb.GroupType(g.Type).Enum(),
		ShieldStatus:    shieldToWire(g.Shielded), // [TT-GROUP-2] [TT-DIFF-24]
		GroupMemberList: userIDsToWire(g.Members),
	}
}

func offlineFileToWire(f protocol.OfflineFile) *pb.OfflineFileInfo {
	return &pb.OfflineFileInfo{FromUserId: new(uint32(f.From)), TaskId: new(f.TaskID), FileName: new(f.Name), FileSize: new(f.Size)}
}

func fileAddressesToWire(as []protocol.FileAddress) []*pb.IpAddr {
	return convert(as, func(a protocol.FileAddress) *pb.IpAddr { return &pb.IpAddr{Ip: new(a.Host), Port: new(uint32(a.Port))} })
}

// frameLimit is the size of the largest frame for the client, header included [TT-LIMIT-4] [TT-DIFF-12].
func frameLimit(c protocol.ClientType) int {
	if c == protocol.ClientAndroid {
		return androidFrame
	}
	return otherFrame
}

// split cuts a list into parts that fit a frame each, at least one item in a part. There is always a first part.
func split[M message](items []M, limit int) [][]M {
	var parts [][]M
	start, size := 0, frameReserve
	for i, m := range items {
		n := proto.Size(m) + 6 // its tag and length
		if i > start && size+n > limit {
			parts = append(parts, items[start:i:i])
			start, size = i, frameReserve
		}
		size += n
	}
	return append(parts, items[start:])
}
