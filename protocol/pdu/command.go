package pdu

import (
	"fmt"

	"teamtalk/protocol/pb"
)

// Command is the command id of a PDU: it alone selects the handler [TT-FRAME-2].
type Command uint16

// Service is the service id that belongs to the command: its high byte [TT-FRAME-1].
func (c Command) Service() uint16 { return uint16(c >> 8) }

// String is the legacy name (CID_…), that of the extension (HELLO …), or the number in hexadecimal when there is none.
func (c Command) String() string {
	if name := c.extensionName(); name != "" {
		return name
	}
	if name, ok := commandNames(pb.ServiceID(c.Service()))[int32(c)]; ok {
		return name
	}
	return fmt.Sprintf("0x%04x", uint16(c))
}

// extensionName is the name of a command that the legacy protocol does not have; empty for all others.
func (c Command) extensionName() string {
	switch c {
	case CmdHello:
		return "HELLO"
	case CmdWelcome:
		return "WELCOME"
	case CmdCredential:
		return "CREDENTIAL"
	case CmdCursor:
		return "CURSOR"
	case CmdAck:
		return "ACK"
	case CmdDrain:
		return "DRAIN"
	case CmdError:
		return "ERROR"
	case CmdQueue:
		return "QUEUE"
	case CmdBye:
		return "BYE"
	case CmdDeleteReq:
		return "DELETE_REQ"
	case CmdDeleteRsp:
		return "DELETE_RSP"
	case CmdDeleted:
		return "DELETED"
	case CmdMark:
		return "MARK"
	case CmdState:
		return "STATE"
	case CmdSearchReq:
		return "SEARCH_REQ"
	case CmdSearchRsp:
		return "SEARCH_RSP"
	case CmdMediaReq:
		return "MEDIA_REQ"
	case CmdMediaRsp:
		return "MEDIA_RSP"
	}
	return ""
}

// IsExtension reports whether the command belongs to the session extension or the chat extension.
func (c Command) IsExtension() bool { return c.Service() == 0x0009 || c.Service() == 0x000a }

func commandNames(service pb.ServiceID) map[int32]string {
	switch service {
	case pb.ServiceID_SID_LOGIN:
		return pb.LoginCmdID_name
	case pb.ServiceID_SID_BUDDY_LIST:
		return pb.BuddyListCmdID_name
	case pb.ServiceID_SID_MSG:
		return pb.MessageCmdID_name
	case pb.ServiceID_SID_GROUP:
		return pb.GroupCmdID_name
	case pb.ServiceID_SID_FILE:
		return pb.FileCmdID_name
	case pb.ServiceID_SID_SWITCH_SERVICE:
		return pb.SwitchServiceCmdID_name
	case pb.ServiceID_SID_OTHER:
		return pb.OtherCmdID_name
	case pb.ServiceID_SID_INTERNAL:
	}
	return nil
}

// Login service.
const (
	CmdAddressReq         Command = 0x0101 // CID_LOGIN_REQ_MSGSERVER
	CmdAddressRes         Command = 0x0102 // CID_LOGIN_RES_MSGSERVER
	CmdLoginReq           Command = 0x0103 // CID_LOGIN_REQ_USERLOGIN
	CmdLoginRes           Command = 0x0104 // CID_LOGIN_RES_USERLOGIN
	CmdLogoutReq          Command = 0x0105 // CID_LOGIN_REQ_LOGINOUT
	CmdLogoutRes          Command = 0x0106 // CID_LOGIN_RES_LOGINOUT
	CmdKickUser           Command = 0x0107 // CID_LOGIN_KICK_USER
	CmdDeviceTokenReq     Command = 0x0108 // CID_LOGIN_REQ_DEVICETOKEN
	CmdDeviceTokenRes     Command = 0x0109 // CID_LOGIN_RES_DEVICETOKEN
	CmdKickPCReq          Command = 0x010a // CID_LOGIN_REQ_KICKPCCLIENT
	CmdKickPCRes          Command = 0x010b // CID_LOGIN_RES_KICKPCCLIENT
	CmdPushShieldReq      Command = 0x010c // CID_LOGIN_REQ_PUSH_SHIELD
	CmdPushShieldRes      Command = 0x010d // CID_LOGIN_RES_PUSH_SHIELD
	CmdQueryPushShieldReq Command = 0x010e // CID_LOGIN_REQ_QUERY_PUSH_SHIELD
	CmdQueryPushShieldRes Command = 0x010f // CID_LOGIN_RES_QUERY_PUSH_SHIELD
)

// Buddy service.
const (
	CmdRecentSessionsReq   Command = 0x0201 // CID_BUDDY_LIST_RECENT_CONTACT_SESSION_REQUEST
	CmdRecentSessionsRes   Command = 0x0202 // CID_BUDDY_LIST_RECENT_CONTACT_SESSION_RESPONSE
	CmdUserStatusNotify    Command = 0x0203 // CID_BUDDY_LIST_STATUS_NOTIFY
	CmdUserInfoReq         Command = 0x0204 // CID_BUDDY_LIST_USER_INFO_REQUEST
	CmdUserInfoRes         Command = 0x0205 // CID_BUDDY_LIST_USER_INFO_RESPONSE
	CmdRemoveSessionReq    Command = 0x0206 // CID_BUDDY_LIST_REMOVE_SESSION_REQ
	CmdRemoveSessionRes    Command = 0x0207 // CID_BUDDY_LIST_REMOVE_SESSION_RES
	CmdAllUsersReq         Command = 0x0208 // CID_BUDDY_LIST_ALL_USER_REQUEST
	CmdAllUsersRes         Command = 0x0209 // CID_BUDDY_LIST_ALL_USER_RESPONSE
	CmdUsersStatusReq      Command = 0x020a // CID_BUDDY_LIST_USERS_STATUS_REQUEST
	CmdUsersStatusRes      Command = 0x020b // CID_BUDDY_LIST_USERS_STATUS_RESPONSE
	CmdChangeAvatarReq     Command = 0x020c // CID_BUDDY_LIST_CHANGE_AVATAR_REQUEST
	CmdChangeAvatarRes     Command = 0x020d // CID_BUDDY_LIST_CHANGE_AVATAR_RESPONSE
	CmdPCStatusNotify      Command = 0x020e // CID_BUDDY_LIST_PC_LOGIN_STATUS_NOTIFY
	CmdRemoveSessionNotify Command = 0x020f // CID_BUDDY_LIST_REMOVE_SESSION_NOTIFY
	CmdDepartmentsReq      Command = 0x0210 // CID_BUDDY_LIST_DEPARTMENT_REQUEST
	CmdDepartmentsRes      Command = 0x0211 // CID_BUDDY_LIST_DEPARTMENT_RESPONSE
	CmdAvatarNotify        Command = 0x0212 // CID_BUDDY_LIST_AVATAR_CHANGED_NOTIFY
	CmdChangeSignReq       Command = 0x0213 // CID_BUDDY_LIST_CHANGE_SIGN_INFO_REQUEST
	CmdChangeSignRes       Command = 0x0214 // CID_BUDDY_LIST_CHANGE_SIGN_INFO_RESPONSE
	CmdSignNotify          Command = 0x0215 // CID_BUDDY_LIST_SIGN_INFO_CHANGED_NOTIFY
)

// Message service.
const (
	CmdMsgData        Command = 0x0301 // CID_MSG_DATA
	CmdMsgDataAck     Command = 0x0302 // CID_MSG_DATA_ACK
	CmdReadAck        Command = 0x0303 // CID_MSG_READ_ACK
	CmdReadNotify     Command = 0x0304 // CID_MSG_READ_NOTIFY
	CmdTimeReq        Command = 0x0305 // CID_MSG_TIME_REQUEST
	CmdTimeRes        Command = 0x0306 // CID_MSG_TIME_RESPONSE
	CmdUnreadReq      Command = 0x0307 // CID_MSG_UNREAD_CNT_REQUEST
	CmdUnreadRes      Command = 0x0308 // CID_MSG_UNREAD_CNT_RESPONSE
	CmdMsgListReq     Command = 0x0309 // CID_MSG_LIST_REQUEST
	CmdMsgListRes     Command = 0x030a // CID_MSG_LIST_RESPONSE
	CmdLatestMsgIDReq Command = 0x030b // CID_MSG_GET_LATEST_MSG_ID_REQ
	CmdLatestMsgIDRes Command = 0x030c // CID_MSG_GET_LATEST_MSG_ID_RSP
	CmdMsgByIDReq     Command = 0x030d // CID_MSG_GET_BY_MSG_ID_REQ
	CmdMsgByIDRes     Command = 0x030e // CID_MSG_GET_BY_MSG_ID_RES
)

// Group service.
const (
	CmdGroupListReq      Command = 0x0401 // CID_GROUP_NORMAL_LIST_REQUEST
	CmdGroupListRes      Command = 0x0402 // CID_GROUP_NORMAL_LIST_RESPONSE
	CmdGroupInfoReq      Command = 0x0403 // CID_GROUP_INFO_REQUEST
	CmdGroupInfoRes      Command = 0x0404 // CID_GROUP_INFO_RESPONSE
	CmdGroupCreateReq    Command = 0x0405 // CID_GROUP_CREATE_REQUEST
	CmdGroupCreateRes    Command = 0x0406 // CID_GROUP_CREATE_RESPONSE
	CmdGroupChangeReq    Command = 0x0407 // CID_GROUP_CHANGE_MEMBER_REQUEST
	CmdGroupChangeRes    Command = 0x0408 // CID_GROUP_CHANGE_MEMBER_RESPONSE
	CmdGroupShieldReq    Command = 0x0409 // CID_GROUP_SHIELD_GROUP_REQUEST
	CmdGroupShieldRes    Command = 0x040a // CID_GROUP_SHIELD_GROUP_RESPONSE
	CmdGroupChangeNotify Command = 0x040b // CID_GROUP_CHANGE_MEMBER_NOTIFY
)

// File service.
const (
	CmdFileLoginReq    Command = 0x0501 // CID_FILE_LOGIN_REQ
	CmdFileLoginRes    Command = 0x0502 // CID_FILE_LOGIN_RES
	CmdFileState       Command = 0x0503 // CID_FILE_STATE
	CmdFilePullReq     Command = 0x0504 // CID_FILE_PULL_DATA_REQ
	CmdFilePullRes     Command = 0x0505 // CID_FILE_PULL_DATA_RSP
	CmdFileReq         Command = 0x0506 // CID_FILE_REQUEST
	CmdFileRes         Command = 0x0507 // CID_FILE_RESPONSE
	CmdFileNotify      Command = 0x0508 // CID_FILE_NOTIFY
	CmdOfflineFilesReq Command = 0x0509 // CID_FILE_HAS_OFFLINE_REQ
	CmdOfflineFilesRes Command = 0x050a // CID_FILE_HAS_OFFLINE_RES
	CmdAddOfflineFile  Command = 0x050b // CID_FILE_ADD_OFFLINE_REQ
	CmdDelOfflineFile  Command = 0x050c // CID_FILE_DEL_OFFLINE_REQ
)

// Switch service.
const (
	CmdP2P Command = 0x0601 // CID_SWITCH_P2P_CMD
)

// Other.
const (
	CmdHeartbeat  Command = 0x0701 // CID_OTHER_HEARTBEAT
	CmdCallReport Command = 0x0735 // no legacy name; sent by iOS, ignored
)

// Session extension.
const (
	CmdHello      Command = 0x0901
	CmdWelcome    Command = 0x0902
	CmdCredential Command = 0x0903
	CmdCursor     Command = 0x0904
	CmdAck        Command = 0x0905
	CmdDrain      Command = 0x0906
	CmdError      Command = 0x0907
	CmdQueue      Command = 0x0908
	CmdBye        Command = 0x0909
)

// Chat extension.
const (
	CmdDeleteReq Command = 0x0a01
	CmdDeleteRsp Command = 0x0a02
	CmdDeleted   Command = 0x0a03
	CmdMark      Command = 0x0a04
	CmdState     Command = 0x0a05
	CmdSearchReq Command = 0x0a06
	CmdSearchRsp Command = 0x0a07
	CmdMediaReq  Command = 0x0a08
	CmdMediaRsp  Command = 0x0a09
)

// Between the servers of a legacy cluster.
const (
	CmdInnerStopReceive     Command = 0x0702 // CID_OTHER_STOP_RECV_PACKET
	CmdInnerValidateReq     Command = 0x0703 // CID_OTHER_VALIDATE_REQ
	CmdInnerValidateRes     Command = 0x0704 // CID_OTHER_VALIDATE_RSP
	CmdInnerDeviceTokenReq  Command = 0x0705 // CID_OTHER_GET_DEVICE_TOKEN_REQ
	CmdInnerDeviceTokenRes  Command = 0x0706 // CID_OTHER_GET_DEVICE_TOKEN_RSP
	CmdInnerRoleSet         Command = 0x0707 // CID_OTHER_ROLE_SET
	CmdInnerOnlineUsers     Command = 0x0708 // CID_OTHER_ONLINE_USER_INFO
	CmdInnerServerInfo      Command = 0x0709 // CID_OTHER_MSG_SERV_INFO
	CmdInnerUserStatus      Command = 0x070a // CID_OTHER_USER_STATUS_UPDATE
	CmdInnerUserCount       Command = 0x070b // CID_OTHER_USER_CNT_UPDATE
	CmdInnerKickUser        Command = 0x070d // CID_OTHER_SERVER_KICK_USER
	CmdInnerPCStatus        Command = 0x070e // CID_OTHER_LOGIN_STATUS_NOTIFY
	CmdInnerPushReq         Command = 0x070f // CID_OTHER_PUSH_TO_USER_REQ
	CmdInnerPushRes         Command = 0x0710 // CID_OTHER_PUSH_TO_USER_RSP
	CmdInnerShieldReq       Command = 0x0711 // CID_OTHER_GET_SHIELD_REQ
	CmdInnerShieldRes       Command = 0x0712 // CID_OTHER_GET_SHIELD_RSP
	CmdInnerFileTransferReq Command = 0x0731 // CID_OTHER_FILE_TRANSFER_REQ
	CmdInnerFileTransferRes Command = 0x0732 // CID_OTHER_FILE_TRANSFER_RSP
	CmdInnerFileAddressReq  Command = 0x0733 // CID_OTHER_FILE_SERVER_IP_REQ
	CmdInnerFileAddressRes  Command = 0x0734 // CID_OTHER_FILE_SERVER_IP_RSP
)
