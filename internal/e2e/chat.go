package e2e

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// A Chat is a conversation as one of its members names it: the peer's user id, or a group's id.
type Chat struct {
	Type pb.SessionType
	ID   uint32
}

// Single is the conversation with a user.
func Single(peer uint32) Chat { return Chat{pb.SessionType_SESSION_TYPE_SINGLE, peer} }

// Group is the conversation of a group.
func Group(id uint32) Chat { return Chat{pb.SessionType_SESSION_TYPE_GROUP, id} }

// TextMessage is what a client sends to say something; the text goes as it is, not encrypted.
func (c Chat) TextMessage(text string) *pb.IMMsgData {
	kind := pb.MsgType_MSG_TYPE_SINGLE_TEXT
	if c.Type == pb.SessionType_SESSION_TYPE_GROUP {
		kind = pb.MsgType_MSG_TYPE_GROUP_TEXT
	}
	return &pb.IMMsgData{FromUserId: proto.Uint32(0), ToSessionId: proto.Uint32(c.ID), MsgId: proto.Uint32(0), CreateTime: proto.Uint32(0),
		MsgType: kind.Enum(), MsgData: []byte(text)}
}

// Say sends a text and waits for its ack; the answer is the message's id.
func (c *Client) Say(ctx context.Context, chat Chat, text string) (uint32, error) {
	p, err := c.Call(ctx, pdu.CmdMsgData, chat.TextMessage(text))
	if err != nil {
		return 0, err
	}
	ack := &pb.IMMsgDataAck{}
	if err := proto.Unmarshal(p.Body, ack); err != nil {
		return 0, err
	}
	return ack.GetMsgId(), nil
}

// History fetches a whole conversation, oldest first.
func (c *Client) History(ctx context.Context, chat Chat) ([]*pb.MsgInfo, error) {
	const page = 500
	var all []*pb.MsgInfo
	for begin := uint32(0); ; {
		p, err := c.Call(ctx, pdu.CmdMsgListReq, &pb.IMGetMsgListReq{UserId: proto.Uint32(0), SessionType: chat.Type.Enum(),
			SessionId: proto.Uint32(chat.ID), MsgIdBegin: proto.Uint32(begin), MsgCnt: proto.Uint32(page)})
		if err != nil {
			return nil, err
		}
		res := &pb.IMGetMsgListRsp{}
		if err := proto.Unmarshal(p.Body, res); err != nil {
			return nil, err
		}
		all = append(all, res.GetMsgList()...)
		if len(res.GetMsgList()) == 0 {
			break
		}
		begin = res.GetMsgList()[len(res.GetMsgList())-1].GetMsgId() - 1
		if begin == 0 {
			break
		}
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all, nil
}

// CheckDense tells whether the ids of a history are 1, 2, 3, …
func CheckDense(history []*pb.MsgInfo) error {
	for i, m := range history {
		if m.GetMsgId() != uint32(i+1) {
			return fmt.Errorf("message %d of the history has id %d", i+1, m.GetMsgId())
		}
	}
	return nil
}
