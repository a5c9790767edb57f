package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// User is a directory entry. Of the fields that only the server keeps, Created, Updated, PushShield and Revoked, none is set.
type User struct {
	protocol.User
	Address string // user@domain; empty: this office has no domain
	Remote  bool   // of another office
}

// Users returns the directory entries of users, ascending; those that don't exist are left out.
func (c *Client) Users(ctx context.Context, ids ...protocol.UserID) (List[User], error) {
	resp, stale, err := ask[*pb.IMUsersInfoRsp](ctx, c, pdu.CmdUserInfoReq, pdu.CmdUserInfoRes,
		&pb.IMUsersInfoReq{UserId: c.meWire(), UserIdList: wireUserIDs(ids)}, true)
	if err != nil {
		return List[User]{}, err
	}
	return List[User]{users(resp.GetUserInfoList()), stale}, nil
}

// Search returns people whose login name, nick or address contains a text of up to 64 bytes, at most limit (0: 20, and never more than 50): those of this
// user's office first, then those of other offices that share their directory [TT-FED-6]. Whoever is found can be written to. More than one search a
// second is refused with RATE_LIMITED; legacy servers give ErrLegacyServer, servers of before an *Error.
func (c *Client) Search(ctx context.Context, text string, limit int) (List[User], error) {
	resp, stale, err := askFor[*pb.IMUsersInfoRsp](ctx, c, &request{
		command: pdu.CmdSearchReq, answer: pdu.CmdSearchRsp, repeat: true, extends: true,
		body: &chatpb.SearchReq{Text: text, Limit: uint32(max(limit, 0))},
	})
	if err != nil {
		return List[User]{}, err
	}
	return List[User]{users(resp.GetUserInfoList()), stale}, nil
}

// Directory is a part of the directory, and the time to ask with for what changes later.
type Directory struct {
	List[User]
	Latest time.Time
}

// AllUsers returns the entries changed at or after since, those who have left included; the zero time: everybody who has not. What is too large
// for one answer comes as More events.
func (c *Client) AllUsers(ctx context.Context, since time.Time) (Directory, error) {
	resp, stale, err := ask[*pb.IMAllUserRsp](ctx, c, pdu.CmdAllUsersReq, pdu.CmdAllUsersRes,
		&pb.IMAllUserReq{UserId: c.meWire(), LatestUpdateTime: wireSince(since)}, true)
	if err != nil {
		return Directory{}, err
	}
	return Directory{List[User]{users(resp.GetUserList()), stale}, wireTime(resp.GetLatestUpdateTime(), 0)}, nil
}

// Departments returns the departments changed after since, deleted ones included; the zero time: all.
func (c *Client) Departments(ctx context.Context, since time.Time) (List[protocol.Department], error) {
	resp, stale, err := ask[*pb.IMDepartmentRsp](ctx, c, pdu.CmdDepartmentsReq, pdu.CmdDepartmentsRes,
		&pb.IMDepartmentReq{UserId: c.meWire(), LatestUpdateTime: wireSince(since)}, true)
	if err != nil {
		return List[protocol.Department]{}, err
	}
	return List[protocol.Department]{departments(resp.GetDeptList()), stale}, nil
}

// Presence returns who of the users is online on a client of the PC class, and has changes told as Presence events from now on: of at most 1,000
// users, counted over all calls.
func (c *Client) Presence(ctx context.Context, ids ...protocol.UserID) (List[Presence], error) {
	if !c.engine.watch.add(ids) {
		return List[Presence]{}, &Error{Code: protocol.CodeQuota, Message: "presence of more than 1,000 users"}
	}
	resp, stale, err := ask[*pb.IMUsersStatRsp](ctx, c, pdu.CmdUsersStatusReq, pdu.CmdUsersStatusRes, statusRequest(c.Me(), ids), true)
	if err != nil {
		return List[Presence]{}, err
	}
	list := List[Presence]{make([]Presence, len(resp.GetUserStatList())), stale}
	for i, u := range resp.GetUserStatList() {
		p := presenceOf(u)
		c.engine.watch.told(p)
		list.Items[i] = *p
	}
	return list, nil
}

// Sign changes this user's signature, at most 128 bytes.
func (c *Client) Sign(ctx context.Context, text string) error {
	resp, _, err := ask[*pb.IMChangeSignInfoRsp](ctx, c, pdu.CmdChangeSignReq, pdu.CmdChangeSignRes,
		&pb.IMChangeSignInfoReq{UserId: c.meWire(), SignInfo: proto.String(text)}, true)
	if err != nil {
		return err
	}
	return refusedBy("signature", resp.GetResultCode())
}

// Avatar changes this user's picture to the one at a URL, at most 255 bytes.
func (c *Client) Avatar(ctx context.Context, url string) error {
	resp, _, err := ask[*pb.IMChangeAvatarRsp](ctx, c, pdu.CmdChangeAvatarReq, pdu.CmdChangeAvatarRes,
		&pb.IMChangeAvatarReq{UserId: c.meWire(), AvatarUrl: proto.String(url)}, true)
	if err != nil {
		return err
	}
	return refusedBy("avatar", resp.GetResultCode())
}

func users(list []*pb.UserInfo) []User {
	out := make([]User, len(list))
	for i, u := range list {
		out[i] = User{User: protocol.User{
			ID: protocol.UserID(u.GetUserId()), Name: u.GetUserRealName(), Nick: u.GetUserNickName(), Gender: uint8(u.GetUserGender()),
			Avatar: u.GetAvatarUrl(), Department: protocol.DeptID(u.GetDepartmentId()), Email: u.GetEmail(), Phone: u.GetUserTel(),
			Domain: u.GetUserDomain(), Status: protocol.UserStatus(u.GetStatus()), Sign: u.GetSignInfo(),
		}, Address: u.GetAddress(), Remote: u.GetRemote()}
	}
	return out
}

func departments(list []*pb.DepartInfo) []protocol.Department {
	out := make([]protocol.Department, len(list))
	for i, d := range list {
		out[i] = protocol.Department{
			ID: protocol.DeptID(d.GetDeptId()), Name: d.GetDeptName(), Parent: protocol.DeptID(d.GetParentDeptId()), Priority: d.GetPriority(),
			Deleted: d.GetDeptStatus() == pb.DepartmentStatusType_DEPT_STATUS_DELETE,
		}
	}
	return out
}
