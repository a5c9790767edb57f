package load

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	fieldMessageID   = 3
	fieldMessageData = 6
	fieldClientMsgID = 100 // of the session extension
)

// clientMsgID names a message of a run for the session extension.
type clientMsgID [16]byte

func newClientMsgID(run, lane uint32, n int) (id clientMsgID) {
	binary.BigEndian.PutUint32(id[0:], run)
	binary.BigEndian.PutUint32(id[4:], lane)
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// appendMessage puts a message into out. The fields are those of IMMsgData; id is left out by clients that do not know it.
func (c *Conn) appendMessage(seq uint16, to protocol.Session, data []byte, id clientMsgID) {
	msgType := pb.MsgType_MSG_TYPE_SINGLE_TEXT
	if to.Type == protocol.SessionGroup {
		msgType = pb.MsgType_MSG_TYPE_GROUP_TEXT
	}
	var body [64]byte
	b := body[:0]
	for field, value := range [...]uint64{uint64(c.User), uint64(to.ID), 0, 0, uint64(msgType)} {
		b = protowire.AppendTag(b, protowire.Number(field+1), protowire.VarintType)
		b = protowire.AppendVarint(b, value)
	}
	b = protowire.AppendTag(b, fieldMessageData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(data)))
	start := len(c.out)
	c.out = pdu.AppendRaw(c.out, pdu.Header{Version: 1, Service: pdu.CmdMsgData.Service(), Command: pdu.CmdMsgData, Seq: seq}, b)
	c.out = append(c.out, data...)
	if c.extended {
		c.out = protowire.AppendTag(c.out, fieldClientMsgID, protowire.BytesType)
		c.out = protowire.AppendBytes(c.out, id[:])
	}
	binary.BigEndian.PutUint32(c.out[start:], uint32(len(c.out)-start))
}

// messageFields reads message id and data of an IMMsgData or IMMsgDataAck.
func messageFields(body []byte) (id protocol.MsgID, data []byte, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return 0, nil, false
		}
		body = body[n:]
		switch {
		case num == fieldMessageID && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(body)
			if n < 0 {
				return 0, nil, false
			}
			id, body = protocol.MsgID(v), body[n:]
		case num == fieldMessageData && typ == protowire.BytesType:
			v, n := protowire.ConsumeBytes(body)
			if n < 0 {
				return 0, nil, false
			}
			data, body = v, body[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, body)
			if n < 0 {
				return 0, nil, false
			}
			body = body[n:]
		}
	}
	return id, data, true
}
