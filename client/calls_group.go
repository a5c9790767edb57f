package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Group is a group as this user sees it; Closed, Created and Updated are not set.
type Group struct {
	protocol.GroupInfo
	Address string // group@domain; empty: this office has no domain
	Remote  bool   // made at another office, which alone changes its members
}

// Groups returns the company's groups that this user is in, by id and version. Groups made by members are found through Recent and messages.
func (c *Client) Groups(ctx context.Context) (List[protocol.GroupVersion], error) {
	resp, stale, err := ask[*pb.IMNormalGroupListRsp](ctx, c, pdu.CmdGroupListReq, pdu.CmdGroupListRes, &pb.IMNormalGroupListReq{UserId: c.meWire()}, true)
	if err != nil {
		return List[protocol.GroupVersion]{}, err
	}
	list := List[protocol.GroupVersion]{make([]protocol.GroupVersion, len(resp.GetGroupVersionList())), stale}
	for i, g := range resp.GetGroupVersionList() {
		list.Items[i] = protocol.GroupVersion{ID: protocol.GroupID(g.GetGroupId()), Version: g.GetVersion()}
	}
	return list, nil
}

// GroupInfo returns, of the groups named, those that this user is in and that are newer than the version named; version 0: in any case.
func (c *Client) GroupInfo(ctx context.Context, of ...protocol.GroupVersion) (List[Group], error) {
	req := &pb.IMGroupInfoListReq{UserId: c.meWire()}
	for _, g := range of {
		req.GroupVersionList = append(req.GroupVersionList, &pb.GroupVersionInfo{GroupId: proto.Uint32(uint32(g.ID)), Version: proto.Uint32(g.Version)})
	}
	resp, stale, err := ask[*pb.IMGroupInfoListRsp](ctx, c, pdu.CmdGroupInfoReq, pdu.CmdGroupInfoRes, req, true)
	if err != nil {
		return List[Group]{}, err
	}
	return List[Group]{groups(resp.GetGroupInfoList()), stale}, nil
}

// CreateGroup makes a group of this user and others and returns its id. ErrInterrupted: it may have been made; Recent and GroupChanged tell.
func (c *Client) CreateGroup(ctx context.Context, name string, members ...protocol.UserID) (protocol.GroupID, error) {
	req := &pb.IMGroupCreateReq{
		UserId: c.meWire(), GroupType: pb.GroupType_GROUP_TYPE_TMP.Enum(), GroupName: proto.String(name), GroupAvatar: proto.String(""),
		MemberIdList: append(wireUserIDs(members), uint32(c.Me())),
	}
	resp, _, err := ask[*pb.IMGroupCreateRsp](ctx, c, pdu.CmdGroupCreateReq, pdu.CmdGroupCreateRes, req, false)
	if err != nil {
		return 0, err
	}
	return protocol.GroupID(resp.GetGroupId()), refusedBy("group", resp.GetResultCode())
}

// ChangeMembers adds users to a group or removes them and returns all members afterwards. ErrInterrupted: it may have happened. Those of a group of another
// office are changed there: it has 3 s, and a GroupChanged follows [TT-FED-5].
func (c *Client) ChangeMembers(
	ctx context.Context, g protocol.GroupID, change protocol.MemberChange, who ...protocol.UserID,
) ([]protocol.UserID, error) {
	resp, _, err := ask[*pb.IMGroupChangeMemberRsp](ctx, c, pdu.CmdGroupChangeReq, pdu.CmdGroupChangeRes, &pb.IMGroupChangeMemberReq{
		UserId: c.meWire(), ChangeType: pb.GroupModifyType(change).Enum(), GroupId: proto.Uint32(uint32(g)), MemberIdList: wireUserIDs(who),
	}, false)
	if err != nil {
		return nil, err
	}
	return userIDs(resp.GetCurUserIdList()), refusedBy("members", resp.GetResultCode())
}

// Leave ends this user's membership of a group.
func (c *Client) Leave(ctx context.Context, g protocol.GroupID) error {
	_, err := c.ChangeMembers(ctx, g, protocol.MembersDel, c.Me())
	return err
}

// ShieldGroup says whether this user wants no push notifications of a group.
func (c *Client) ShieldGroup(ctx context.Context, g protocol.GroupID, shield bool) error {
	req := &pb.IMGroupShieldReq{UserId: c.meWire(), GroupId: proto.Uint32(uint32(g)), ShieldStatus: proto.Uint32(0)}
	if shield {
		req.ShieldStatus = proto.Uint32(1)
	}
	resp, _, err := ask[*pb.IMGroupShieldRsp](ctx, c, pdu.CmdGroupShieldReq, pdu.CmdGroupShieldRes, req, true)
	if err != nil {
		return err
	}
	return refusedBy("shield", resp.GetResultCode())
}

func groups(list []*pb.GroupInfo) []Group {
	out := make([]Group, len(list))
	for i, g := range list {
		out[i] = Group{GroupInfo: protocol.GroupInfo{
			Group: protocol.Group{
				ID: protocol.GroupID(g.GetGroupId()), Name: g.GetGroupName(), Avatar: g.GetGroupAvatar(), Creator: protocol.UserID(g.GetGroupCreatorId()),
				Type: protocol.GroupType(g.GetGroupType()), Version: g.GetVersion(),
			},
			Members: userIDs(g.GetGroupMemberList()), Shielded: g.GetShieldStatus() == 1,
		}, Address: g.GetAddress(), Remote: g.GetRemote()}
	}
	return out
}
