package gateway

import (
	"context"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Groups keeps groups and who is in them.
type Groups interface {
	Normal(ctx context.Context, me protocol.UserID) ([]protocol.Group, error)
	Info(ctx context.Context, me protocol.UserID, want []protocol.GroupVersion) ([]protocol.GroupInfo, error)
	// Create refuses with Forbidden what only operators may make.
	Create(ctx context.Context, cmd protocol.CreateGroup) (protocol.CreateGroupResult, error)
	// ChangeMembers and Shield fail with NotFound if there is no such group.
	ChangeMembers(ctx context.Context, cmd protocol.ChangeMembers) (protocol.ChangeMembersResult, error)
	Shield(ctx context.Context, me protocol.UserID, g protocol.GroupID, on bool) error
}

// groupList is 0x0401; a failure looks like no groups [TT-GROUP-1].
func (s *session) groupList(h pdu.Header, _ *pb.IMNormalGroupListReq) error {
	groups, err := s.srv.services.Groups.Normal(s.requestContext(), s.user)
	s.answer(h, pdu.CmdGroupListRes, &pb.IMNormalGroupListRsp{
		UserId: new(uint32(s.user)),
		GroupVersionList: convert(groups, func(g protocol.Group) *pb.GroupVersionInfo {
			return &pb.GroupVersionInfo{GroupId: new(uint32(g.ID)), Version: new(g.Version)}
		}),
	})
	return wasAnswered(err)
}

// groupInfo is 0x0403; a failure looks like no groups [TT-GROUP-2].
func (s *session) groupInfo(h pdu.Header, m *pb.IMGroupInfoListReq) error {
	want := convert(m.GetGroupVersionList(), func(v *pb.GroupVersionInfo) protocol.GroupVersion {
		return protocol.GroupVersion{ID: protocol.GroupID(v.GetGroupId()), Version: v.GetVersion()}
	})
	groups, err := s.srv.services.Groups.Info(s.requestContext(), s.user, want)
	for i, part := range split(convert(groups, s.groupToWire()), frameLimit(s.client)) {
		s.answer(follows(h, i), pdu.CmdGroupInfoRes, &pb.IMGroupInfoListRsp{UserId: new(uint32(s.user)), GroupInfoList: part})
	}
	return wasAnswered(err)
}

// groupCreate is 0x0405. NORMAL groups are made by operators: asking for one is ignored [TT-GROUP-3].
func (s *session) groupCreate(h pdu.Header, m *pb.IMGroupCreateReq) error {
	if m.GetGroupType() != pb.GroupType_GROUP_TYPE_TMP {
		return protocol.Errorf(protocol.CodeForbidden, "a client may only make a temporary group")
	}
	made, err := s.srv.services.Groups.Create(s.requestContext(), protocol.CreateGroup{
		Actor:   s.user,
		Type:    protocol.GroupTemp,
		Name:    m.GetGroupName(),
		Avatar:  m.GetGroupAvatar(),
		Members: userIDsFromWire(m.GetMemberIdList()),
	})
	res := &pb.IMGroupCreateRsp{UserId: new(uint32(s.user)), ResultCode: resultToWire(err), GroupName: m.GroupName}
	if err == nil {
		res.GroupId = new(uint32(made.Group))
		res.UserIdList = userIDsToWire(made.Members)
	}
	s.answer(h, pdu.CmdGroupCreateRes, res)
	return wasAnswered(err)
}

// groupChange is 0x0407; of an unknown group it is ignored [TT-GROUP-4] [TT-GROUP-5].
func (s *session) groupChange(h pdu.Header, m *pb.IMGroupChangeMemberReq) error {
	ctx, cancel := s.groupContext(protocol.GroupID(m.GetGroupId()))
	defer cancel()
	changed, err := s.srv.services.Groups.ChangeMembers(ctx, protocol.ChangeMembers{
		Actor:   s.user,
		Group:   protocol.GroupID(m.GetGroupId()),
		Change:  protocol.MemberChange(m.GetChangeType()),
		Members: userIDsFromWire(m.GetMemberIdList()),
		Origin:  s.id,
	})
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return err
	}
	res := &pb.IMGroupChangeMemberRsp{UserId: new(uint32(s.user)), ChangeType: m.ChangeType, ResultCode: resultToWire(err), GroupId: m.GroupId}
	if err == nil {
		res.CurUserIdList = userIDsToWire(changed.Current)
		res.ChgUserIdList = userIDsToWire(changed.Changed)
	}
	s.answer(h, pdu.CmdGroupChangeRes, res)
	return wasAnswered(err)
}

// groupShield is 0x0409; of an unknown group it is ignored [TT-GROUP-8].
func (s *session) groupShield(h pdu.Header, m *pb.IMGroupShieldReq) error {
	err := s.srv.services.Groups.Shield(s.requestContext(), s.user, protocol.GroupID(m.GetGroupId()), m.GetShieldStatus() != 0)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return err
	}
	s.answer(h, pdu.CmdGroupShieldRes, &pb.IMGroupShieldRsp{UserId: new(uint32(s.user)), GroupId: m.GroupId, ResultCode: resultToWire(err)})
	return wasAnswered(err)
}
