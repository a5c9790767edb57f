package gateway

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// message is what travels in a PDU.
type message = proto.Message

// handler carries out one request. An error means that it was ignored; where the protocol has an answer for a failure, the handler has sent it.
type handler func(*session, pdu.PDU) error

// row says how one command is handled.
type row struct {
	handle      handler
	isSend      bool // a message: several may be on their way, and the rate counts
	anytime     bool // needs no order: carried out when read, whatever waits
	beforeLogin bool // [TT-LOGIN-1]
	received    prometheus.Counter
}

var errMalformed = errors.New("malformed body")

// on makes a handler of a method that takes the decoded message. A body that is none is ignored [TT-FRAME-5].
func on[T any, M interface {
	*T
	message
}](handle func(*session, pdu.Header, M) error) handler {
	return func(s *session, p pdu.PDU) error {
		m := M(new(T))
		if err := pdu.Unmarshal(p.Body, m); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		return handle(s, p.Header, m)
	}
}

// commands is the table of what clients may send; all else is ignored [TT-FRAME-6].
func commands() map[pdu.Command]*row {
	return map[pdu.Command]*row{
		pdu.CmdLoginReq:           {handle: on((*session).login), beforeLogin: true},
		pdu.CmdLogoutReq:          {handle: (*session).logout},
		pdu.CmdDeviceTokenReq:     {handle: on((*session).deviceToken)},
		pdu.CmdKickPCReq:          {handle: on((*session).kickPC)},
		pdu.CmdPushShieldReq:      {handle: on((*session).pushShield)},
		pdu.CmdQueryPushShieldReq: {handle: on((*session).queryPushShield)},

		pdu.CmdRecentSessionsReq: {handle: on((*session).recentSessions)},
		pdu.CmdUserInfoReq:       {handle: on((*session).userInfo)},
		pdu.CmdRemoveSessionReq:  {handle: on((*session).removeSession)},
		pdu.CmdRemoveSessionRes:  {handle: on((*session).removeSession)}, // COMPAT: iOS asks with the answer's id [TT-BUDDY-3]
		pdu.CmdAllUsersReq:       {handle: on((*session).allUsers)},
		pdu.CmdUsersStatusReq:    {handle: on((*session).usersStatus)},
		pdu.CmdChangeAvatarReq:   {handle: on((*session).changeAvatar)},
		pdu.CmdDepartmentsReq:    {handle: on((*session).departments)},
		pdu.CmdChangeSignReq:     {handle: on((*session).changeSign)},

		pdu.CmdMsgData:        {handle: on((*session).msgData), isSend: true},
		pdu.CmdMsgDataAck:     {handle: (*session).receipt, anytime: true},
		pdu.CmdReadAck:        {handle: on((*session).readAck)},
		pdu.CmdTimeReq:        {handle: (*session).time},
		pdu.CmdUnreadReq:      {handle: on((*session).unread)},
		pdu.CmdMsgListReq:     {handle: on((*session).msgList)},
		pdu.CmdLatestMsgIDReq: {handle: on((*session).latestMsgID)},
		pdu.CmdMsgByIDReq:     {handle: on((*session).msgByID)},

		pdu.CmdGroupListReq:   {handle: on((*session).groupList)},
		pdu.CmdGroupInfoReq:   {handle: on((*session).groupInfo)},
		pdu.CmdGroupCreateReq: {handle: on((*session).groupCreate)},
		pdu.CmdGroupChangeReq: {handle: on((*session).groupChange)},
		pdu.CmdGroupShieldReq: {handle: on((*session).groupShield)},

		pdu.CmdFileReq:         {handle: on((*session).fileRequest)},
		pdu.CmdOfflineFilesReq: {handle: on((*session).offlineFiles)},
		pdu.CmdAddOfflineFile:  {handle: on((*session).addOfflineFile)},
		pdu.CmdDelOfflineFile:  {handle: on((*session).delOfflineFile)},

		pdu.CmdP2P:        {handle: on((*session).p2p)},
		pdu.CmdHeartbeat:  {handle: (*session).heartbeat, anytime: true, beforeLogin: true},
		pdu.CmdCallReport: {handle: (*session).callReport},
	}
}

// ignoredFor is the metric label of a request that was not carried out.
func ignoredFor(err error) string {
	if errors.Is(err, errMalformed) {
		return "malformed"
	}
	return protocol.CodeOf(err).String()
}
