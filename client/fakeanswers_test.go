package client_test

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

func u32(n uint32) *uint32 { return proto.Uint32(n) }

// answer answers the requests of all families; to group 404 none that writes, but ERROR.
func (s *fakeServer) answer(c *fakeConn, seq uint16, m proto.Message) {
	me := u32(uint32(meID))
	switch m := m.(type) {
	case *pb.IMGetMsgListReq:
		c.push(pdu.CmdMsgListRes, seq, &pb.IMGetMsgListRsp{
			UserId: me, SessionType: m.SessionType, SessionId: m.SessionId, MsgIdBegin: m.MsgIdBegin, MsgList: s.history(m.GetSessionId()),
		})
	case *pb.IMGetMsgByIdReq:
		c.push(pdu.CmdMsgByIDRes, seq, &pb.IMGetMsgByIdRsp{
			UserId: me, SessionType: m.SessionType, SessionId: m.SessionId, MsgList: s.history(m.GetSessionId()),
		})
	case *pb.IMRecentContactSessionReq:
		c.push(pdu.CmdRecentSessionsRes, seq, &pb.IMRecentContactSessionRsp{UserId: me, ContactSessionList: []*pb.ContactSessionInfo{{
			SessionId: u32(uint32(aliceID)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), SessionStatus: pb.SessionStatusType_SESSION_STATUS_OK.Enum(),
			UpdatedTime: u32(5), LatestMsgId: u32(3), LatestMsgData: s.cipher.Encrypt("latest"), LatestMsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(),
			LatestMsgFromUserId: me,
		}}})
	case *pb.IMUnreadMsgCntReq:
		c.push(pdu.CmdUnreadRes, seq, &pb.IMUnreadMsgCntRsp{UserId: me, TotalCnt: u32(2), UnreadinfoList: []*pb.UnreadInfo{{
			SessionId: u32(9), SessionType: pb.SessionType_SESSION_TYPE_GROUP.Enum(), UnreadCnt: u32(2), LatestMsgId: u32(4),
			LatestMsgData: s.cipher.Encrypt("[语音]"), LatestMsgType: pb.MsgType_MSG_TYPE_GROUP_AUDIO.Enum(), LatestMsgFromUserId: u32(uint32(aliceID)),
		}}})
	case *pb.IMUsersInfoReq:
		c.push(pdu.CmdUserInfoRes, seq, &pb.IMUsersInfoRsp{UserId: me, UserInfoList: []*pb.UserInfo{user(aliceID, "alice")}})
	case *pb.IMAllUserReq:
		c.push(pdu.CmdAllUsersRes, seq, &pb.IMAllUserRsp{UserId: me, LatestUpdateTime: u32(50), UserList: []*pb.UserInfo{user(meID, "me")}})
		c.push(pdu.CmdAllUsersRes, 0, &pb.IMAllUserRsp{UserId: me, LatestUpdateTime: u32(50), UserList: []*pb.UserInfo{user(aliceID, "alice")}})
	case *pb.IMDepartmentReq:
		c.push(pdu.CmdDepartmentsRes, seq, &pb.IMDepartmentRsp{UserId: me, LatestUpdateTime: u32(5), DeptList: []*pb.DepartInfo{{
			DeptId: u32(3), Priority: u32(1), DeptName: proto.String("sales"), ParentDeptId: u32(1), DeptStatus: pb.DepartmentStatusType_DEPT_STATUS_DELETE.Enum(),
		}}})
	case *pb.IMUsersStatReq:
		rsp := &pb.IMUsersStatRsp{UserId: me}
		for _, u := range m.GetUserIdList() {
			rsp.UserStatList = append(rsp.UserStatList, &pb.UserStat{UserId: u32(u), Status: pb.UserStatType_USER_STATUS_ONLINE.Enum()})
		}
		c.push(pdu.CmdUsersStatusRes, seq, rsp)
	default:
		s.write(c, seq, m)
	}
}

// write answers the requests that change something.
func (s *fakeServer) write(c *fakeConn, seq uint16, m proto.Message) {
	me, ok := u32(uint32(meID)), u32(0)
	switch m := m.(type) {
	case *pb.IMChangeSignInfoReq:
		c.push(pdu.CmdChangeSignRes, seq, &pb.IMChangeSignInfoRsp{UserId: me, ResultCode: u32(uint32(len(m.GetSignInfo()) / 129))})
	case *pb.IMChangeAvatarReq:
		c.push(pdu.CmdChangeAvatarRes, seq, &pb.IMChangeAvatarRsp{UserId: me, ResultCode: ok})
	case *pb.IMNormalGroupListReq:
		c.pushFlag(pdu.CmdGroupListRes, seq, 1, &pb.IMNormalGroupListRsp{UserId: me, GroupVersionList: []*pb.GroupVersionInfo{{GroupId: u32(9), Version: u32(2)}}})
	case *pb.IMGroupInfoListReq:
		c.push(pdu.CmdGroupInfoRes, seq, &pb.IMGroupInfoListRsp{UserId: me, GroupInfoList: []*pb.GroupInfo{{
			GroupId: u32(9), Version: u32(2), GroupName: proto.String("team"), GroupAvatar: proto.String(""), GroupCreatorId: me,
			GroupType: pb.GroupType_GROUP_TYPE_TMP.Enum(), ShieldStatus: u32(1), GroupMemberList: []uint32{7, 8},
		}}})
	case *pb.IMGroupCreateReq:
		c.push(pdu.CmdGroupCreateRes, seq, &pb.IMGroupCreateRsp{
			UserId: me, ResultCode: ok, GroupId: u32(9), GroupName: m.GroupName, UserIdList: m.GetMemberIdList(),
		})
	case *pb.IMGroupChangeMemberReq:
		if m.GetGroupId() == 404 {
			c.push(pdu.CmdError, 0, &sessionpb.Error{
				Command: uint32(pdu.CmdGroupChangeReq), Seq: uint32(seq), Code: sessionpb.Code_NOT_FOUND, Message: "no such group",
			})
			return
		}
		c.push(pdu.CmdGroupChangeRes, seq, &pb.IMGroupChangeMemberRsp{
			UserId: me, ChangeType: m.ChangeType, ResultCode: ok, GroupId: m.GroupId, CurUserIdList: []uint32{7}, ChgUserIdList: m.GetMemberIdList(),
		})
	case *pb.IMGroupShieldReq:
		c.push(pdu.CmdGroupShieldRes, seq, &pb.IMGroupShieldRsp{UserId: me, GroupId: m.GroupId, ResultCode: ok})
	case *pb.IMRemoveSessionReq:
		c.push(pdu.CmdRemoveSessionRes, seq, &pb.IMRemoveSessionRsp{UserId: me, ResultCode: ok, SessionType: m.SessionType, SessionId: m.SessionId})
	case *pb.IMKickPCClientReq:
		c.push(pdu.CmdKickPCRes, seq, &pb.IMKickPCClientRsp{UserId: me, ResultCode: ok})
	case *chatpb.SearchReq:
		c.push(pdu.CmdSearchRsp, seq, &pb.IMUsersInfoRsp{UserId: me, UserInfoList: []*pb.UserInfo{user(aliceID, "alice"), lin()}})
	case *chatpb.MediaReq:
		rsp := &chatpb.MediaRsp{Urls: []string{fmt.Sprintf("/media/%d", m.GetKind())}}
		if m.GetName() == "forbidden.exe" {
			rsp = &chatpb.MediaRsp{Code: uint32(protocol.CodeForbidden), Message: "no programs"}
		}
		c.push(pdu.CmdMediaRsp, seq, rsp)
	case *chatpb.DeleteReq:
		rsp := &chatpb.DeleteRsp{Code: uint32(s.mayDelete(m))}
		if rsp.Code != 0 {
			rsp.Message = "no"
		}
		c.push(pdu.CmdDeleteRsp, seq, rsp)
	case *pb.IMLogoutReq:
		clear(s.tokens)
		c.push(pdu.CmdLogoutRes, seq, &pb.IMLogoutRsp{ResultCode: ok})
		c.push(pdu.CmdBye, 0, &sessionpb.Bye{Code: sessionpb.Code_KICKED})
	}
}

// history is all of a conversation with a user, newest first.
func (s *fakeServer) history(with uint32) []*pb.MsgInfo {
	var list []*pb.MsgInfo
	for i := len(s.log) - 1; i >= 0; i-- {
		m, ok := s.log[i].m.(*pb.IMMsgData)
		if !ok || m.GetToSessionId() != with && m.GetFromUserId() != with {
			continue
		}
		list = append(list, &pb.MsgInfo{
			MsgId: m.MsgId, FromSessionId: m.FromUserId, CreateTime: u32(1), MsgType: m.MsgType, MsgData: m.MsgData, ClientMsgId: m.ClientMsgId,
			BurnAfterReadS: m.BurnAfterReadS, State: u32(uint32(s.log[i].deleted)),
		})
	}
	return list
}

// mayDelete carries out a deletion, or says why not [TT-DEL-1] [TT-DEL-2] [TT-DEL-8].
func (s *fakeServer) mayDelete(r *chatpb.DeleteReq) protocol.Code {
	in := protocol.Session{Type: protocol.SessionType(r.GetSessionType()), ID: r.GetSessionId()}
	for i := range s.log {
		at, id := s.log[i].in()
		if at != in || id != protocol.MsgID(r.GetMsgId()) {
			continue
		}
		m, how := s.log[i].m.(*pb.IMMsgData), protocol.Deletion(r.GetKind())
		switch {
		case s.log[i].deleted != 0:
			return 0
		case how == protocol.Recalled && m.GetFromUserId() != uint32(meID):
			return protocol.CodeForbidden
		case how == protocol.Burned && m.GetBurnAfterReadS() == 0:
			return protocol.CodeInvalid
		}
		s.remove(i, how, meID)
		return 0
	}
	return protocol.CodeNotFound
}

// remove takes the content of a logged message away.
func (s *fakeServer) remove(i int, how protocol.Deletion, by protocol.UserID) {
	in, id := s.log[i].in()
	m := proto.CloneOf(s.log[i].m.(*pb.IMMsgData))
	m.MsgData, m.ContentType, m.ReplyToMsgId = []byte{}, nil, nil
	s.log[i].m, s.log[i].deleted = m, how
	s.append(entry{cmd: pdu.CmdDeleted, m: &chatpb.Deleted{
		SessionType: uint32(in.Type), SessionId: in.ID, MsgId: uint32(id), Kind: uint32(how), ByUserId: uint32(by),
	}})
}

// dialTLS is the transport of a fakeNet that was not given any.
const dialTLS = dial.TLS

func inAlice() protocol.Session { return protocol.WithUser(aliceID) }
