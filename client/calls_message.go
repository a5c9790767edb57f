package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// Recent is a conversation in the user's list. Latest shows sound as a text in its place and has neither time nor client id.
type Recent struct {
	Session protocol.Session
	Updated time.Time // whole seconds
	Latest  Message
}

// Unread is a conversation with messages of others above the read position. Latest is as in Recent.
type Unread struct {
	Session protocol.Session
	Count   uint32
	Latest  Message
}

// Send queues a message and returns when it is safe to end the program: with a Storage, when that has it. It is sent when there is a connection,
// behind those queued before, and repeated with the same id until the cluster has stored it, which it does once [TT-SESS-11]. Outgoing tells what became of it.
// Errors: ErrOutboxFull, an *Error for what can't be sent, the storage's error, ctx's, or why the client has stopped.
func (c *Client) Send(ctx context.Context, to protocol.Session, content Content) (*Outgoing, error) {
	e := c.engine
	q, err := e.codec.seal(to, content)
	if err != nil {
		return nil, err
	}
	q.Made = time.Now().UTC()
	q.ID = newClientMsgID(q.Made)
	o, err := e.outbox.add(q)
	if err != nil {
		return nil, err
	}
	err = e.keeper.flush(ctx)
	e.outbox.release(o, err)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// Outbox lists the messages that are not acked, in order; after Open those of the last run.
func (c *Client) Outbox() []*Outgoing { return c.engine.outbox.waiting() }

// History returns the count newest messages up to and including number from, newest first; from 0 is the newest there is. The server gives at
// most 1,000 at a time.
func (c *Client) History(ctx context.Context, in protocol.Session, from protocol.MsgID, count int) (List[*Message], error) {
	resp, stale, err := ask[*pb.IMGetMsgListRsp](ctx, c, pdu.CmdMsgListReq, pdu.CmdMsgListRes, &pb.IMGetMsgListReq{
		UserId: c.meWire(), SessionType: sessionType(in), SessionId: proto.Uint32(in.ID), MsgIdBegin: proto.Uint32(uint32(from)),
		MsgCnt: proto.Uint32(uint32(max(count, 0))),
	}, true)
	if err != nil {
		return List[*Message]{}, err
	}
	return List[*Message]{c.engine.codec.messages(resp.GetMsgList(), in, c.Me()), stale}, nil
}

// MessagesByID returns messages by their numbers, at most 100, newest first; those that are not there are left out.
func (c *Client) MessagesByID(ctx context.Context, in protocol.Session, ids ...protocol.MsgID) (List[*Message], error) {
	list := make([]uint32, len(ids))
	for i, id := range ids {
		list[i] = uint32(id)
	}
	resp, stale, err := ask[*pb.IMGetMsgByIdRsp](ctx, c, pdu.CmdMsgByIDReq, pdu.CmdMsgByIDRes, &pb.IMGetMsgByIdReq{
		UserId: c.meWire(), SessionType: sessionType(in), SessionId: proto.Uint32(in.ID), MsgIdList: list,
	}, true)
	if err != nil {
		return List[*Message]{}, err
	}
	return List[*Message]{c.engine.codec.messages(resp.GetMsgList(), in, c.Me()), stale}, nil
}

func (c codec) messages(list []*pb.MsgInfo, in protocol.Session, me protocol.UserID) []*Message {
	out := make([]*Message, len(list))
	for i, m := range list {
		out[i] = c.listed(m, in, me)
	}
	return out
}

// Recent returns the conversations updated after since, newest first, at most 100; the zero time: all.
func (c *Client) Recent(ctx context.Context, since time.Time) (List[Recent], error) {
	resp, stale, err := ask[*pb.IMRecentContactSessionRsp](ctx, c, pdu.CmdRecentSessionsReq, pdu.CmdRecentSessionsRes,
		&pb.IMRecentContactSessionReq{UserId: c.meWire(), LatestUpdateTime: wireSince(since)}, true)
	if err != nil {
		return List[Recent]{}, err
	}
	return List[Recent]{c.engine.codec.recents(resp.GetContactSessionList(), c.Me()), stale}, nil
}

func (c codec) recents(list []*pb.ContactSessionInfo, me protocol.UserID) []Recent {
	out := make([]Recent, len(list))
	for i, r := range list {
		in := wireSession(r.GetSessionType(), r.GetSessionId())
		out[i] = Recent{
			Session: in, Updated: wireTime(r.GetUpdatedTime(), 0),
			Latest: c.latest(in, r.GetLatestMsgId(), r.GetLatestMsgFromUserId(), r.GetLatestMsgType(), r.GetLatestMsgData(), me),
		}
	}
	return out
}

// Unread returns the conversations with messages that the user has not read.
func (c *Client) Unread(ctx context.Context) (List[Unread], error) {
	resp, stale, err := ask[*pb.IMUnreadMsgCntRsp](ctx, c, pdu.CmdUnreadReq, pdu.CmdUnreadRes, &pb.IMUnreadMsgCntReq{UserId: c.meWire()}, true)
	if err != nil {
		return List[Unread]{}, err
	}
	return List[Unread]{c.engine.codec.unreads(resp.GetUnreadinfoList(), c.Me()), stale}, nil
}

func (c codec) unreads(list []*pb.UnreadInfo, me protocol.UserID) []Unread {
	out := make([]Unread, len(list))
	for i, u := range list {
		in := wireSession(u.GetSessionType(), u.GetSessionId())
		out[i] = Unread{
			Session: in, Count: u.GetUnreadCnt(),
			Latest: c.latest(in, u.GetLatestMsgId(), u.GetLatestMsgFromUserId(), u.GetLatestMsgType(), u.GetLatestMsgData(), me),
		}
	}
	return out
}

// MarkRead moves the read position of a conversation up to a message, never back. It does not wait: the server does not answer, and the client
// repeats the position after a reconnect until it can be taken for known.
func (c *Client) MarkRead(_ context.Context, in protocol.Session, upTo protocol.MsgID) error {
	if !in.Valid() || upTo == 0 {
		return &Error{Code: protocol.CodeInvalid, Message: "no such conversation or message"}
	}
	if err := c.Err(); err != nil {
		return err
	}
	c.engine.reads.move(in, upTo)
	return nil
}

// Recall takes a message back, for everybody in the conversation: the author may for some time after he sent it, two minutes unless the server
// has another rule, the creator of a group always [TT-DEL-1]. It returns nil once the cluster has deleted the content, also when it was deleted
// before; the MessageDeleted that tells the app comes by itself. Like all that may be done twice it is repeated when the connection
// breaks. Refusals are an *Error with the server's code [TT-DEL-8]; legacy servers give ErrLegacyServer.
func (c *Client) Recall(ctx context.Context, in protocol.Session, id protocol.MsgID) error {
	return c.deleteMessage(ctx, in, id, protocol.Recalled)
}

// Burn deletes a message with a BurnAfter before its time, for both; its author and its reader may [TT-DEL-2]. Else it is as Recall.
func (c *Client) Burn(ctx context.Context, in protocol.Session, id protocol.MsgID) error {
	return c.deleteMessage(ctx, in, id, protocol.Burned)
}

func (c *Client) deleteMessage(ctx context.Context, in protocol.Session, id protocol.MsgID, how protocol.Deletion) error {
	if !in.Valid() || id == 0 {
		return &Error{Code: protocol.CodeInvalid, Message: "no such conversation or message"}
	}
	resp, _, err := askFor[*chatpb.DeleteRsp](ctx, c, &request{
		command: pdu.CmdDeleteReq, answer: pdu.CmdDeleteRsp, repeat: true, extends: true,
		body: &chatpb.DeleteReq{SessionType: uint32(in.Type), SessionId: in.ID, MsgId: uint32(id), Kind: uint32(how)},
	})
	if err != nil {
		return err
	}
	if code := protocol.Code(resp.GetCode()); code != protocol.CodeUnspecified {
		return fmt.Errorf("%v: %w", pdu.CmdDeleteReq, &Error{Code: code, Message: resp.GetMessage()})
	}
	return nil
}

// Signal sends a command to a user's clients that are online, as typing notices are. It is neither stored nor acked; while there is no
// connection it waits, for as long as ctx says.
func (c *Client) Signal(ctx context.Context, to protocol.UserID, data string) error {
	if err := c.WaitOnline(ctx); err != nil {
		return err
	}
	return c.engine.requests.add(&request{command: pdu.CmdP2P, body: &pb.IMP2PCmdMsg{
		FromUserId: c.meWire(), ToUserId: proto.Uint32(uint32(to)), CmdMsgData: proto.String(data),
	}})
}

// wireSince is a time as lists are asked with.
func wireSince(t time.Time) *uint32 {
	if t.IsZero() {
		return proto.Uint32(0)
	}
	return proto.Uint32(protocol.TimeOf(t).Unix())
}
