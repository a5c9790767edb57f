package gateway

import (
	"context"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Buddies knows the directory and everybody's list of conversations.
type Buddies interface {
	RecentSessions(ctx context.Context, me protocol.UserID, after protocol.Time) ([]protocol.RecentSession, error)
	// RemoveSession fails with NotFound if there is nothing to remove.
	RemoveSession(ctx context.Context, cmd protocol.RemoveSession) error
	Users(ctx context.Context, me protocol.UserID, ids []protocol.UserID) ([]protocol.User, error)
	// AllUsers and Departments also return the time to ask from next; since if they return nothing.
	AllUsers(ctx context.Context, me protocol.UserID, since protocol.Time) ([]protocol.User, protocol.Time, error)
	Departments(ctx context.Context, me protocol.UserID, since protocol.Time) ([]protocol.Department, protocol.Time, error)
	ChangeSign(ctx context.Context, me protocol.UserID, sign string) error
	ChangeAvatar(ctx context.Context, me protocol.UserID, avatar string) error
	// Search finds people here and at other offices, at most limit.
	Search(ctx context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error)
}

// recentSessions is 0x0201 [TT-BUDDY-1].
func (s *session) recentSessions(h pdu.Header, m *pb.IMRecentContactSessionReq) error {
	recent, err := s.srv.services.Buddies.RecentSessions(s.requestContext(), s.user, timeFromWire(m.GetLatestUpdateTime()))
	if err != nil {
		return err
	}
	list := convert(recent, s.recentToWire)
	for i, part := range split(list, frameLimit(s.client)) {
		s.answer(follows(h, i), pdu.CmdRecentSessionsRes, &pb.IMRecentContactSessionRsp{UserId: new(uint32(s.user)), ContactSessionList: part})
	}
	return nil
}

// follows is the header that a part of a long answer goes by: the first carries the request's sequence number, the rest 0, since the client
// waits for one answer only [TT-LIMIT-4].
func follows(h pdu.Header, part int) pdu.Header {
	if part > 0 {
		h.Seq = 0
	}
	return h
}

// userInfo is 0x0204 [TT-BUDDY-2].
func (s *session) userInfo(h pdu.Header, m *pb.IMUsersInfoReq) error {
	users, err := s.srv.services.Buddies.Users(s.requestContext(), s.user, userIDsFromWire(m.GetUserIdList()))
	if err != nil {
		return err
	}
	for i, part := range split(convert(users, s.userToWire()), frameLimit(s.client)) {
		s.answer(follows(h, i), pdu.CmdUserInfoRes, &pb.IMUsersInfoRsp{UserId: new(uint32(s.user)), UserInfoList: part})
	}
	return nil
}

// removeSession is 0x0206, and 0x0207 from a client [TT-BUDDY-3] [TT-DIFF-9].
func (s *session) removeSession(h pdu.Header, m *pb.IMRemoveSessionReq) error {
	err := s.srv.services.Buddies.RemoveSession(s.requestContext(), protocol.RemoveSession{
		User:    s.user,
		Session: sessionFromWire(m.GetSessionType(), m.GetSessionId()),
		Origin:  s.id,
	})
	s.answer(h, pdu.CmdRemoveSessionRes, &pb.IMRemoveSessionRsp{
		UserId:      new(uint32(s.user)),
		ResultCode:  resultToWire(err),
		SessionType: m.SessionType,
		SessionId:   m.SessionId,
	})
	return wasAnswered(err)
}

// allUsers is 0x0208. A list too long for a frame goes in several, which clients merge [TT-BUDDY-4] [TT-LIMIT-4].
func (s *session) allUsers(h pdu.Header, m *pb.IMAllUserReq) error {
	users, newest, err := s.srv.services.Buddies.AllUsers(s.requestContext(), s.user, timeFromWire(m.GetLatestUpdateTime()))
	if err != nil {
		return err
	}
	latest := latestTime(len(users), newest, m.GetLatestUpdateTime())
	for i, part := range split(convert(users, s.userToWire()), frameLimit(s.client)) {
		s.answer(follows(h, i), pdu.CmdAllUsersRes, &pb.IMAllUserRsp{UserId: new(uint32(s.user)), LatestUpdateTime: latest, UserList: part})
	}
	return nil
}

// latestTime is the time that the client is to ask from next.
func latestTime(rows int, newest protocol.Time, asked uint32) *uint32 {
	if rows == 0 {
		return new(asked)
	}
	return new(newest.Unix())
}

// departments is 0x0210 [TT-BUDDY-5].
func (s *session) departments(h pdu.Header, m *pb.IMDepartmentReq) error {
	depts, newest, err := s.srv.services.Buddies.Departments(s.requestContext(), s.user, timeFromWire(m.GetLatestUpdateTime()))
	if err != nil {
		return err
	}
	latest := latestTime(len(depts), newest, m.GetLatestUpdateTime())
	for i, part := range split(convert(depts, departmentToWire), frameLimit(s.client)) {
		s.answer(follows(h, i), pdu.CmdDepartmentsRes, &pb.IMDepartmentRsp{UserId: new(uint32(s.user)), LatestUpdateTime: latest, DeptList: part})
	}
	return nil
}

// usersStatus is 0x020a [TT-PRES-1]. From an extended client it also asks for the changes to come [TT-SESS-10].
func (s *session) usersStatus(h pdu.Header, m *pb.IMUsersStatReq) error {
	if s.ext != nil {
		if err := s.srv.hub.watch.add(s, userIDsFromWire(m.GetUserIdList())); err != nil {
			return err
		}
	}
	s.answer(h, pdu.CmdUsersStatusRes, &pb.IMUsersStatRsp{
		UserId: new(uint32(s.user)),
		UserStatList: convert(m.GetUserIdList(), func(id uint32) *pb.UserStat {
			u := protocol.UserID(id)
			return userStat(u, s.srv.presence.PCOnline(u))
		}),
	})
	return nil
}

// changeAvatar is 0x020c [TT-BUDDY-7].
func (s *session) changeAvatar(h pdu.Header, m *pb.IMChangeAvatarReq) error {
	err := s.srv.services.Buddies.ChangeAvatar(s.requestContext(), s.user, m.GetAvatarUrl())
	s.answer(h, pdu.CmdChangeAvatarRes, &pb.IMChangeAvatarRsp{UserId: new(uint32(s.user)), ResultCode: resultToWire(err)})
	return wasAnswered(err)
}

// changeSign is 0x0213 [TT-BUDDY-8].
func (s *session) changeSign(h pdu.Header, m *pb.IMChangeSignInfoReq) error {
	err := s.srv.services.Buddies.ChangeSign(s.requestContext(), s.user, m.GetSignInfo())
	res := &pb.IMChangeSignInfoRsp{UserId: new(uint32(s.user)), ResultCode: resultToWire(err)}
	if err == nil {
		res.SignInfo = m.SignInfo
	}
	s.answer(h, pdu.CmdChangeSignRes, res)
	return wasAnswered(err)
}
