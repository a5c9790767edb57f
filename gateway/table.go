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

// handler carries out one request. An error means that it was not; if it is an answered, the client has been told.
type handler func(*session, pdu.PDU) error

// row says how one command is handled.
type row struct {
	handle      handler
	isSend      bool // a message: several may be on their way, and the rate counts
	reads       bool // tells what is known here
	anytime     bool // needs no order: carried out when read, whatever waits
	extended    bool // for extended sessions only
	opens       bool // makes a session that has not logged in an extended one
	beforeLogin bool // [TT-LOGIN-1]
	received    prometheus.Counter
}

// isFor reports whether the session's client may send the command: nothing of the extension exists for legacy sessions.
func (r *row) isFor(s *session) bool {
	return s.ext != nil || !r.extended && (!r.opens || s.user == 0)
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
		pdu.CmdQueryPushShieldReq: {handle: on((*session).queryPushShield), reads: true},

		pdu.CmdRecentSessionsReq: {handle: on((*session).recentSessions), reads: true},
		pdu.CmdUserInfoReq:       {handle: on((*session).userInfo), reads: true},
		pdu.CmdRemoveSessionReq:  {handle: on((*session).removeSession)},
		pdu.CmdRemoveSessionRes:  {handle: on((*session).removeSession)}, // COMPAT: iOS asks with the answer's id [TT-BUDDY-3]
		pdu.CmdAllUsersReq:       {handle: on((*session).allUsers), reads: true},
		pdu.CmdUsersStatusReq:    {handle: on((*session).usersStatus), reads: true},
		pdu.CmdChangeAvatarReq:   {handle: on((*session).changeAvatar)},
		pdu.CmdDepartmentsReq:    {handle: on((*session).departments), reads: true},
		pdu.CmdChangeSignReq:     {handle: on((*session).changeSign)},

		pdu.CmdMsgData:        {handle: on((*session).msgData), isSend: true},
		pdu.CmdMsgDataAck:     {handle: (*session).receipt, anytime: true},
		pdu.CmdReadAck:        {handle: on((*session).readAck)},
		pdu.CmdTimeReq:        {handle: (*session).time},
		pdu.CmdUnreadReq:      {handle: on((*session).unread), reads: true},
		pdu.CmdMsgListReq:     {handle: on((*session).msgList), reads: true},
		pdu.CmdLatestMsgIDReq: {handle: on((*session).latestMsgID), reads: true},
		pdu.CmdMsgByIDReq:     {handle: on((*session).msgByID), reads: true},
		pdu.CmdDeleteReq:      {handle: on((*session).deleteReq), extended: true},
		pdu.CmdSearchReq:      {handle: on((*session).searchReq), reads: true, extended: true},
		pdu.CmdMediaReq:       {handle: on((*session).mediaReq), extended: true},

		pdu.CmdGroupListReq:   {handle: on((*session).groupList), reads: true},
		pdu.CmdGroupInfoReq:   {handle: on((*session).groupInfo), reads: true},
		pdu.CmdGroupCreateReq: {handle: on((*session).groupCreate)},
		pdu.CmdGroupChangeReq: {handle: on((*session).groupChange)},
		pdu.CmdGroupShieldReq: {handle: on((*session).groupShield)},

		pdu.CmdFileReq:         {handle: on((*session).fileRequest)},
		pdu.CmdOfflineFilesReq: {handle: on((*session).offlineFiles), reads: true},
		pdu.CmdAddOfflineFile:  {handle: on((*session).addOfflineFile)},
		pdu.CmdDelOfflineFile:  {handle: on((*session).delOfflineFile)},

		pdu.CmdP2P:        {handle: on((*session).p2p)},
		pdu.CmdHeartbeat:  {handle: (*session).heartbeat, anytime: true, beforeLogin: true},
		pdu.CmdCallReport: {handle: (*session).callReport},

		pdu.CmdHello: {handle: (*session).hello, beforeLogin: true, opens: true},
		pdu.CmdAck:   {handle: on((*session).ack), anytime: true, extended: true},
		pdu.CmdBye:   {handle: (*session).goodbye, anytime: true, beforeLogin: true, extended: true},
	}
}

// ignoredFor is the metric label of a request that was not carried out.
func ignoredFor(err error) string {
	if errors.Is(err, errMalformed) {
		return "malformed"
	}
	return protocol.CodeOf(err).String()
}
