package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	readBuffer   = 4 << 10
	loginTimeout = 30 * time.Second
)

// errKicked: the server ended the session because the user logged in elsewhere.
var errKicked = errors.New("kicked: the user has logged in elsewhere")

// Conn is one logged-in connection. One goroutine reads and writes it.
type Conn struct {
	// User is who logged in.
	User     protocol.UserID
	nc       net.Conn
	buf      []byte
	from, to int // what of buf has not been taken
	out      []byte
}

// login connects and logs in. The deadlines of the connection are the caller's again afterwards.
func login(ctx context.Context, t Target, name string) (*Conn, error) {
	dialer := net.Dialer{Timeout: loginTimeout}
	nc, err := dialer.DialContext(ctx, "tcp", t.Server)
	if err != nil {
		return nil, err
	}
	c := &Conn{nc: nc, buf: make([]byte, readBuffer)}
	release := c.bind(ctx)
	defer release()
	if err := c.login(t, name); err != nil {
		return nil, errors.Join(fmt.Errorf("login of %s: %w", name, err), nc.Close())
	}
	return c, nil
}

func (c *Conn) login(t Target, name string) error {
	if err := c.nc.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	req := &pb.IMLoginReq{
		UserName: proto.String(name), Password: proto.String(t.passwordHash()),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType(t.Client).Enum(),
		ClientVersion: proto.String("ttload"),
	}
	if err := c.send(pdu.CmdLoginReq, req); err != nil {
		return err
	}
	body, err := c.await(pdu.CmdLoginRes)
	if err != nil {
		return err
	}
	var res pb.IMLoginRes
	if err := proto.Unmarshal(body, &res); err != nil {
		return err
	}
	if res.GetResultCode() != pb.ResultType_REFUSE_REASON_NONE {
		return fmt.Errorf("refused: %v: %s", res.GetResultCode(), res.GetResultString())
	}
	c.User = protocol.UserID(res.GetUserInfo().GetUserId())
	return c.nc.SetDeadline(time.Time{})
}

// bind breaks the connection off when ctx ends, until release is called.
func (c *Conn) bind(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
}

// Close ends the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// send writes one request at once.
func (c *Conn) send(cmd pdu.Command, m proto.Message) error {
	var err error
	if c.out, err = pdu.Append(c.out, cmd, 1, m); err != nil {
		return err
	}
	return c.flush()
}

// flush writes what out holds.
func (c *Conn) flush() error {
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// await reads up to the first PDU of a command and drops what comes before it.
func (c *Conn) await(cmd pdu.Command) ([]byte, error) {
	for {
		h, body, err := c.next()
		if err != nil || h.Command == cmd {
			return body, err
		}
	}
}

// next returns the next PDU; its body is good until the next call. A kick is an error.
func (c *Conn) next() (pdu.Header, []byte, error) {
	for {
		h, whole, err := c.peek()
		if err != nil {
			return h, nil, err
		}
		if whole {
			body := c.buf[c.from+pdu.HeaderLen : c.from+int(h.Length)]
			c.from += int(h.Length)
			if h.Command == pdu.CmdKickUser {
				return h, nil, errKicked
			}
			return h, body, nil
		}
		if err := c.read(int(h.Length)); err != nil {
			return h, nil, err
		}
	}
}

// pending reports whether next can return without reading.
func (c *Conn) pending() bool {
	_, whole, err := c.peek()
	return whole || err != nil
}

func (c *Conn) peek() (h pdu.Header, whole bool, err error) {
	h, err = pdu.ParseHeader(c.buf[c.from:c.to])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return pdu.Header{Length: pdu.HeaderLen}, false, nil
	case err != nil:
		return h, false, err
	case h.Length > pdu.MaxLen:
		return h, false, pdu.ErrTooLarge
	}
	return h, c.to-c.from >= int(h.Length), nil
}

// read takes in more bytes; there has to be room for a PDU of size bytes.
func (c *Conn) read(size int) error {
	if c.from > 0 {
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
	}
	if size > len(c.buf) {
		grown := make([]byte, size)
		copy(grown, c.buf[:c.to])
		c.buf = grown
	}
	n, err := c.nc.Read(c.buf[c.to:])
	c.to += n
	if n > 0 {
		return nil
	}
	return err
}

// appendMessage puts a message into out. The fields are those of IMMsgData.
func (c *Conn) appendMessage(seq uint16, to protocol.Session, data []byte) {
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
	b = protowire.AppendTag(b, 6, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(data)))
	start := len(c.out)
	c.out = pdu.AppendRaw(c.out, pdu.Header{Version: 1, Service: pdu.CmdMsgData.Service(), Command: pdu.CmdMsgData, Seq: seq}, b)
	c.out = append(c.out, data...)
	size := len(c.out) - start
	c.out[start], c.out[start+1], c.out[start+2], c.out[start+3] = byte(size>>24), byte(size>>16), byte(size>>8), byte(size)
}

// messageFields reads message id (3) and data (6) of an IMMsgData or IMMsgDataAck.
func messageFields(body []byte) (id protocol.MsgID, data []byte, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return 0, nil, false
		}
		body = body[n:]
		switch {
		case num == 3 && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(body)
			if n < 0 {
				return 0, nil, false
			}
			id, body = protocol.MsgID(v), body[n:]
		case num == 6 && typ == protowire.BytesType:
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
