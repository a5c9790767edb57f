package pdu

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
)

// Direction says who sends a command.
type Direction uint8

// Directions.
const (
	ClientToServer Direction = 1 << iota
	ServerToClient
	Both = ClientToServer | ServerToClient
)

// Has reports whether a command of direction d is sent in direction e.
func (d Direction) Has(e Direction) bool { return d&e != 0 }

// String is the direction as docs/PROTOCOL.md writes it.
func (d Direction) String() string {
	switch d {
	case ClientToServer:
		return "c→s"
	case ServerToClient:
		return "s→c"
	case Both:
		return "both"
	}
	return fmt.Sprintf("direction(%d)", uint8(d))
}

// Port is the kind of listener a command is spoken on.
type Port uint8

// Ports.
const (
	PortChat  Port = iota // messages and all else
	PortLogin             // the address of a server, legacy port 8008
	PortFile              // file transfer, legacy port 8600
)

// String is the port as docs/PROTOCOL.md writes it.
func (p Port) String() string {
	switch p {
	case PortChat:
		return "chat"
	case PortLogin:
		return "login"
	case PortFile:
		return "file"
	}
	return fmt.Sprintf("port(%d)", uint8(p))
}

// Family names the group of commands that are handled together, in files of the same name.
type Family string

// Families.
const (
	FamilyLogin Family = "login"
	FamilyBuddy Family = "buddy"
	FamilyMsg   Family = "msg"
	FamilyGroup Family = "group"
	FamilyFile  Family = "file"
	FamilyP2P   Family = "p2p"
	FamilyOther Family = "other"
	// FamilySession is the session extension and the chat extension.
	FamilySession Family = "session"
)

// Info is a row of the command table.
type Info struct {
	Command    Command
	Direction  Direction
	Port       Port
	Family     Family
	NeedsLogin bool                 // false only for what a client may send before login [TT-LOGIN-1]
	Ignored    bool                 // known, and not handled on purpose [TT-FRAME-6]
	SkipBody   bool                 // from a client the body is not looked at [TT-FRAME-5]
	New        func() proto.Message // an empty message of the kind sent; nil if Ignored
	FromServer func() proto.Message // where the server's message is not New
}

// Table returns the commands that clients see, ascending.
func Table() []Info { return slices.Clone(table) }

// Lookup finds a command's row. Commands that only legacy servers exchange have none.
func Lookup(c Command) (Info, bool) {
	i, ok := slices.BinarySearchFunc(table, c, func(row Info, c Command) int { return int(row.Command) - int(c) })
	if !ok {
		return Info{}, false
	}
	return table[i], true
}

func message[T any, M interface {
	*T
	proto.Message
}]() proto.Message {
	return M(new(T))
}

// table is sorted by command; nothing changes it.
var table = []Info{
	{Command: CmdAddressReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMMsgServReq], Port: PortLogin},
	{Command: CmdAddressRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMMsgServRsp], NeedsLogin: true, Port: PortLogin},
	{Command: CmdLoginReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMLoginReq]},
	{Command: CmdLoginRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMLoginRes], NeedsLogin: true},
	{Command: CmdLogoutReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMLogoutReq], NeedsLogin: true, SkipBody: true},
	{Command: CmdLogoutRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMLogoutRsp], NeedsLogin: true},
	{Command: CmdKickUser, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMKickUser], NeedsLogin: true},
	{Command: CmdDeviceTokenReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMDeviceTokenReq], NeedsLogin: true},
	{Command: CmdDeviceTokenRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMDeviceTokenRsp], NeedsLogin: true},
	{Command: CmdKickPCReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMKickPCClientReq], NeedsLogin: true},
	{Command: CmdKickPCRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMKickPCClientRsp], NeedsLogin: true},
	{Command: CmdPushShieldReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMPushShieldReq], NeedsLogin: true},
	{Command: CmdPushShieldRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMPushShieldRsp], NeedsLogin: true},
	{Command: CmdQueryPushShieldReq, Direction: ClientToServer, Family: FamilyLogin, New: message[pb.IMQueryPushShieldReq], NeedsLogin: true},
	{Command: CmdQueryPushShieldRes, Direction: ServerToClient, Family: FamilyLogin, New: message[pb.IMQueryPushShieldRsp], NeedsLogin: true},
	{Command: CmdRecentSessionsReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMRecentContactSessionReq], NeedsLogin: true},
	{Command: CmdRecentSessionsRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMRecentContactSessionRsp], NeedsLogin: true},
	{Command: CmdUserStatusNotify, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMUserStatNotify], NeedsLogin: true},
	{Command: CmdUserInfoReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMUsersInfoReq], NeedsLogin: true},
	{Command: CmdUserInfoRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMUsersInfoRsp], NeedsLogin: true},
	{Command: CmdRemoveSessionReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMRemoveSessionReq], NeedsLogin: true},
	// COMPAT: iOS asks with the id of the answer [TT-BUDDY-3].
	{Command: CmdRemoveSessionRes, Direction: Both, Family: FamilyBuddy, New: message[pb.IMRemoveSessionReq], FromServer: message[pb.IMRemoveSessionRsp], NeedsLogin: true},
	{Command: CmdAllUsersReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMAllUserReq], NeedsLogin: true},
	{Command: CmdAllUsersRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMAllUserRsp], NeedsLogin: true},
	{Command: CmdUsersStatusReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMUsersStatReq], NeedsLogin: true},
	{Command: CmdUsersStatusRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMUsersStatRsp], NeedsLogin: true},
	{Command: CmdChangeAvatarReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMChangeAvatarReq], NeedsLogin: true},
	{Command: CmdChangeAvatarRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMChangeAvatarRsp], NeedsLogin: true},
	{Command: CmdPCStatusNotify, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMPCLoginStatusNotify], NeedsLogin: true},
	{Command: CmdRemoveSessionNotify, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMRemoveSessionNotify], NeedsLogin: true},
	{Command: CmdDepartmentsReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMDepartmentReq], NeedsLogin: true},
	{Command: CmdDepartmentsRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMDepartmentRsp], NeedsLogin: true},
	{Command: CmdAvatarNotify, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMAvatarChangedNotify], NeedsLogin: true},
	{Command: CmdChangeSignReq, Direction: ClientToServer, Family: FamilyBuddy, New: message[pb.IMChangeSignInfoReq], NeedsLogin: true},
	{Command: CmdChangeSignRes, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMChangeSignInfoRsp], NeedsLogin: true},
	{Command: CmdSignNotify, Direction: ServerToClient, Family: FamilyBuddy, New: message[pb.IMSignInfoChangedNotify], NeedsLogin: true},
	{Command: CmdMsgData, Direction: Both, Family: FamilyMsg, New: message[pb.IMMsgData], NeedsLogin: true},
	{Command: CmdMsgDataAck, Direction: Both, Family: FamilyMsg, New: message[pb.IMMsgDataAck], NeedsLogin: true},
	{Command: CmdReadAck, Direction: ClientToServer, Family: FamilyMsg, New: message[pb.IMMsgDataReadAck], NeedsLogin: true},
	{Command: CmdReadNotify, Direction: ServerToClient, Family: FamilyMsg, New: message[pb.IMMsgDataReadNotify], NeedsLogin: true},
	{Command: CmdTimeReq, Direction: ClientToServer, Family: FamilyMsg, New: message[pb.IMClientTimeReq], NeedsLogin: true, SkipBody: true},
	{Command: CmdTimeRes, Direction: ServerToClient, Family: FamilyMsg, New: message[pb.IMClientTimeRsp], NeedsLogin: true},
	{Command: CmdUnreadReq, Direction: ClientToServer, Family: FamilyMsg, New: message[pb.IMUnreadMsgCntReq], NeedsLogin: true},
	{Command: CmdUnreadRes, Direction: ServerToClient, Family: FamilyMsg, New: message[pb.IMUnreadMsgCntRsp], NeedsLogin: true},
	{Command: CmdMsgListReq, Direction: ClientToServer, Family: FamilyMsg, New: message[pb.IMGetMsgListReq], NeedsLogin: true},
	{Command: CmdMsgListRes, Direction: ServerToClient, Family: FamilyMsg, New: message[pb.IMGetMsgListRsp], NeedsLogin: true},
	{Command: CmdLatestMsgIDReq, Direction: ClientToServer, Family: FamilyMsg, New: message[pb.IMGetLatestMsgIdReq], NeedsLogin: true},
	{Command: CmdLatestMsgIDRes, Direction: ServerToClient, Family: FamilyMsg, New: message[pb.IMGetLatestMsgIdRsp], NeedsLogin: true},
	{Command: CmdMsgByIDReq, Direction: ClientToServer, Family: FamilyMsg, New: message[pb.IMGetMsgByIdReq], NeedsLogin: true},
	{Command: CmdMsgByIDRes, Direction: ServerToClient, Family: FamilyMsg, New: message[pb.IMGetMsgByIdRsp], NeedsLogin: true},
	{Command: CmdGroupListReq, Direction: ClientToServer, Family: FamilyGroup, New: message[pb.IMNormalGroupListReq], NeedsLogin: true},
	{Command: CmdGroupListRes, Direction: ServerToClient, Family: FamilyGroup, New: message[pb.IMNormalGroupListRsp], NeedsLogin: true},
	{Command: CmdGroupInfoReq, Direction: ClientToServer, Family: FamilyGroup, New: message[pb.IMGroupInfoListReq], NeedsLogin: true},
	{Command: CmdGroupInfoRes, Direction: ServerToClient, Family: FamilyGroup, New: message[pb.IMGroupInfoListRsp], NeedsLogin: true},
	{Command: CmdGroupCreateReq, Direction: ClientToServer, Family: FamilyGroup, New: message[pb.IMGroupCreateReq], NeedsLogin: true},
	{Command: CmdGroupCreateRes, Direction: ServerToClient, Family: FamilyGroup, New: message[pb.IMGroupCreateRsp], NeedsLogin: true},
	{Command: CmdGroupChangeReq, Direction: ClientToServer, Family: FamilyGroup, New: message[pb.IMGroupChangeMemberReq], NeedsLogin: true},
	{Command: CmdGroupChangeRes, Direction: ServerToClient, Family: FamilyGroup, New: message[pb.IMGroupChangeMemberRsp], NeedsLogin: true},
	{Command: CmdGroupShieldReq, Direction: ClientToServer, Family: FamilyGroup, New: message[pb.IMGroupShieldReq], NeedsLogin: true},
	{Command: CmdGroupShieldRes, Direction: ServerToClient, Family: FamilyGroup, New: message[pb.IMGroupShieldRsp], NeedsLogin: true},
	{Command: CmdGroupChangeNotify, Direction: ServerToClient, Family: FamilyGroup, New: message[pb.IMGroupChangeMemberNotify], NeedsLogin: true},
	{Command: CmdFileLoginReq, Direction: ClientToServer, Family: FamilyFile, New: message[pb.IMFileLoginReq], Port: PortFile},
	{Command: CmdFileLoginRes, Direction: ServerToClient, Family: FamilyFile, New: message[pb.IMFileLoginRsp], NeedsLogin: true, Port: PortFile},
	{Command: CmdFileState, Direction: Both, Family: FamilyFile, New: message[pb.IMFileState], NeedsLogin: true, Port: PortFile},
	{Command: CmdFilePullReq, Direction: Both, Family: FamilyFile, New: message[pb.IMFilePullDataReq], NeedsLogin: true, Port: PortFile},
	{Command: CmdFilePullRes, Direction: Both, Family: FamilyFile, New: message[pb.IMFilePullDataRsp], NeedsLogin: true, Port: PortFile},
	{Command: CmdFileReq, Direction: ClientToServer, Family: FamilyFile, New: message[pb.IMFileReq], NeedsLogin: true},
	{Command: CmdFileRes, Direction: ServerToClient, Family: FamilyFile, New: message[pb.IMFileRsp], NeedsLogin: true},
	{Command: CmdFileNotify, Direction: ServerToClient, Family: FamilyFile, New: message[pb.IMFileNotify], NeedsLogin: true},
	{Command: CmdOfflineFilesReq, Direction: ClientToServer, Family: FamilyFile, New: message[pb.IMFileHasOfflineReq], NeedsLogin: true},
	{Command: CmdOfflineFilesRes, Direction: ServerToClient, Family: FamilyFile, New: message[pb.IMFileHasOfflineRsp], NeedsLogin: true},
	{Command: CmdAddOfflineFile, Direction: ClientToServer, Family: FamilyFile, New: message[pb.IMFileAddOfflineReq], NeedsLogin: true},
	{Command: CmdDelOfflineFile, Direction: ClientToServer, Family: FamilyFile, New: message[pb.IMFileDelOfflineReq], NeedsLogin: true},
	{Command: CmdP2P, Direction: Both, Family: FamilyP2P, New: message[pb.IMP2PCmdMsg], NeedsLogin: true},
	{Command: CmdHeartbeat, Direction: Both, Family: FamilyOther, New: message[pb.IMHeartBeat], SkipBody: true},
	{Command: CmdCallReport, Direction: ClientToServer, Family: FamilyOther, NeedsLogin: true, Ignored: true, SkipBody: true},
	{Command: CmdHello, Direction: ClientToServer, Family: FamilySession, New: message[sessionpb.Hello]},
	{Command: CmdWelcome, Direction: ServerToClient, Family: FamilySession, New: message[sessionpb.Welcome], NeedsLogin: true},
	{Command: CmdCredential, Direction: ServerToClient, Family: FamilySession, New: message[sessionpb.Credential], NeedsLogin: true},
	{Command: CmdCursor, Direction: ServerToClient, Family: FamilySession, New: message[sessionpb.Cursor], NeedsLogin: true},
	{Command: CmdAck, Direction: ClientToServer, Family: FamilySession, New: message[sessionpb.Ack], NeedsLogin: true},
	{Command: CmdDrain, Direction: ServerToClient, Family: FamilySession, New: message[sessionpb.Drain], NeedsLogin: true},
	{Command: CmdError, Direction: ServerToClient, Family: FamilySession, New: message[sessionpb.Error], NeedsLogin: true},
	{Command: CmdQueue, Direction: ServerToClient, Family: FamilySession, New: message[sessionpb.Queue]},
	{Command: CmdBye, Direction: Both, Family: FamilySession, New: message[sessionpb.Bye]},
	{Command: CmdDeleteReq, Direction: ClientToServer, Family: FamilySession, New: message[chatpb.DeleteReq], NeedsLogin: true},
	{Command: CmdDeleteRsp, Direction: ServerToClient, Family: FamilySession, New: message[chatpb.DeleteRsp], NeedsLogin: true},
	{Command: CmdDeleted, Direction: ServerToClient, Family: FamilySession, New: message[chatpb.Deleted], NeedsLogin: true},
	{Command: CmdMark, Direction: ServerToClient, Family: FamilySession, New: message[chatpb.Mark], NeedsLogin: true},
	{Command: CmdState, Direction: ServerToClient, Family: FamilySession, New: message[chatpb.State], NeedsLogin: true},
	{Command: CmdSearchReq, Direction: ClientToServer, Family: FamilySession, New: message[chatpb.SearchReq], NeedsLogin: true},
	{Command: CmdSearchRsp, Direction: ServerToClient, Family: FamilySession, New: message[pb.IMUsersInfoRsp], NeedsLogin: true},
	{Command: CmdMediaReq, Direction: ClientToServer, Family: FamilySession, New: message[chatpb.MediaReq], NeedsLogin: true},
	{Command: CmdMediaRsp, Direction: ServerToClient, Family: FamilySession, New: message[chatpb.MediaRsp], NeedsLogin: true},
}
