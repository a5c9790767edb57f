package gateway

import (
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// [TT-GROUP-1] [TT-GROUP-2] [TT-DIFF-21] [TT-DIFF-24]
func TestGroupListAndInfo(t *testing.T) {
	play(t, nil, func(s *stage) {
		c, stranger := s.login(1, windows), s.login(9, windows)
		s.settle(c, stranger)
		c.send(pdu.CmdGroupListReq, 1, &pb.IMNormalGroupListReq{UserId: new(uint32(0))})
		c.expect(want{pdu.CmdGroupListRes, 1, &pb.IMNormalGroupListRsp{UserId: new(uint32(1)), GroupVersionList: []*pb.GroupVersionInfo{{GroupId: new(uint32(7)), Version: new(uint32(3))}}}})
		shield := func(c *client, g, on uint32) {
			c.send(pdu.CmdGroupShieldReq, 2, &pb.IMGroupShieldReq{UserId: new(uint32(0)), GroupId: new(g), ShieldStatus: new(on)})
		}
		shield(c, 7, 1) // [TT-GROUP-8]
		c.expect(want{pdu.CmdGroupShieldRes, 2, &pb.IMGroupShieldRsp{UserId: new(uint32(1)), GroupId: new(uint32(7)), ResultCode: new(uint32(0))}})
		shield(stranger, 7, 1)
		stranger.expect(want{pdu.CmdGroupShieldRes, 2, &pb.IMGroupShieldRsp{UserId: new(uint32(9)), GroupId: new(uint32(7)), ResultCode: new(uint32(1))}})
		shield(c, 999, 1)
		c.expect()
		info := func(version uint32) *pb.IMGroupInfoListReq {
			return &pb.IMGroupInfoListReq{UserId: new(uint32(0)), GroupVersionList: []*pb.GroupVersionInfo{{GroupId: new(uint32(7)), Version: new(version)}}}
		}
		c.send(pdu.CmdGroupInfoReq, 3, info(0))
		c.expect(want{pdu.CmdGroupInfoRes, 3, &pb.IMGroupInfoListRsp{UserId: new(uint32(1)), GroupInfoList: []*pb.GroupInfo{{
			GroupId: new(uint32(7)), Version: new(uint32(3)), GroupName: new("seven"), GroupAvatar: new(""), GroupCreatorId: new(uint32(1)),
			GroupType: pb.GroupType_GROUP_TYPE_NORMAL.Enum(), ShieldStatus: new(uint32(1)), GroupMemberList: []uint32{1, 2, 3}}}}})
		c.send(pdu.CmdGroupInfoReq, 4, info(3))
		c.expect(want{pdu.CmdGroupInfoRes, 4, &pb.IMGroupInfoListRsp{UserId: new(uint32(1))}})
		stranger.send(pdu.CmdGroupInfoReq, 5, info(0))
		stranger.expect(want{pdu.CmdGroupInfoRes, 5, &pb.IMGroupInfoListRsp{UserId: new(uint32(9))}})
		s.failWith(protocol.Errorf(protocol.CodeUnavailable, "closing"))
		c.send(pdu.CmdGroupListReq, 6, &pb.IMNormalGroupListReq{UserId: new(uint32(0))})
		c.expect(want{pdu.CmdGroupListRes, 6, &pb.IMNormalGroupListRsp{UserId: new(uint32(1))}})
	})
}

// [TT-GROUP-3]
func TestGroupCreate(t *testing.T) {
	play(t, nil, func(s *stage) {
		c, member := s.login(1, windows), s.login(2, windows)
		s.settle(c, member)
		req := func(gt pb.GroupType, name string, members ...uint32) *pb.IMGroupCreateReq {
			return &pb.IMGroupCreateReq{UserId: new(uint32(0)), GroupType: gt.Enum(), GroupName: new(name), GroupAvatar: new("a"), MemberIdList: members}
		}
		c.send(pdu.CmdGroupCreateReq, 1, req(pb.GroupType_GROUP_TYPE_TMP, "trip", 2, 1))
		c.expect(want{pdu.CmdGroupCreateRes, 1, &pb.IMGroupCreateRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0)), GroupId: new(uint32(8)), GroupName: new("trip"), UserIdList: []uint32{1, 2}}})
		c.send(pdu.CmdGroupCreateReq, 2, req(pb.GroupType_GROUP_TYPE_TMP, "", 2, 1))
		c.expect(want{pdu.CmdGroupCreateRes, 2, &pb.IMGroupCreateRsp{UserId: new(uint32(1)), ResultCode: new(uint32(1)), GroupName: new("")}})
		c.send(pdu.CmdGroupCreateReq, 3, req(pb.GroupType_GROUP_TYPE_NORMAL, "trip", 2, 1))
		c.expect()
		member.expect()
	})
}

// [TT-GROUP-4] [TT-GROUP-5] [TT-GROUP-6] [TT-DIFF-22] [TT-DIFF-23]
func TestGroupChange(t *testing.T) {
	play(t, nil, func(s *stage) {
		c, own, member, added, stranger := s.login(1, windows), s.login(1, ios), s.login(2, windows), s.login(4, windows), s.login(9, windows)
		s.settle(c, own, member, added, stranger)
		change := func(c *client, seq uint16, ct pb.GroupModifyType, g uint32) {
			c.send(pdu.CmdGroupChangeReq, seq, &pb.IMGroupChangeMemberReq{UserId: new(uint32(0)), ChangeType: ct.Enum(), GroupId: new(g), MemberIdList: []uint32{4}})
		}
		add, del := pb.GroupModifyType_GROUP_MODIFY_TYPE_ADD, pb.GroupModifyType_GROUP_MODIFY_TYPE_DEL
		change(c, 1, add, 7)
		c.expect(want{pdu.CmdGroupChangeRes, 1, &pb.IMGroupChangeMemberRsp{UserId: new(uint32(1)), ChangeType: add.Enum(), ResultCode: new(uint32(0)), GroupId: new(uint32(7)),
			CurUserIdList: []uint32{1, 2, 3, 4}, ChgUserIdList: []uint32{4}}})
		told := want{pdu.CmdGroupChangeNotify, 0, &pb.IMGroupChangeMemberNotify{UserId: new(uint32(1)), ChangeType: add.Enum(), GroupId: new(uint32(7)),
			CurUserIdList: []uint32{1, 2, 3, 4}, ChgUserIdList: []uint32{4}}}
		own.expect(told)
		member.expect(told)
		added.expect(told) // once, although in both lists
		change(c, 2, del, 7)
		c.expect(want{pdu.CmdGroupChangeRes, 2, nil})
		added.expect(want{pdu.CmdGroupChangeNotify, 0, nil})
		change(member, 3, add, 7)
		s.settle(own)
		if got := member.take(); len(got) != 2 {
			t.Errorf("got %d PDUs", len(got))
		} else {
			compare(t, got[1], want{pdu.CmdGroupChangeRes, 3, &pb.IMGroupChangeMemberRsp{UserId: new(uint32(2)), ChangeType: add.Enum(), ResultCode: new(uint32(1)), GroupId: new(uint32(7))}})
		}
		change(c, 4, add, 999)
		c.expect()
		stranger.expect()
		s.mu.Lock()
		s.publish(protocol.MembersChanged{Group: 7, Change: protocol.MembersAdd, Current: []protocol.UserID{1}, Changed: []protocol.UserID{1}}) // by the operator
		s.mu.Unlock()
		c.expect(want{pdu.CmdGroupChangeNotify, 0, &pb.IMGroupChangeMemberNotify{UserId: new(uint32(0)), ChangeType: add.Enum(), GroupId: new(uint32(7)),
			CurUserIdList: []uint32{1}, ChgUserIdList: []uint32{1}}})
	})
}
