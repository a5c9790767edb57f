package e2e

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// A Client is one connection to a server, speaking whole PDUs. What arrives is kept until it is asked for.
type Client struct {
	conn   wire
	joined chan struct{} // closed when the reader has ended
	fresh  chan struct{} // holds one token when something arrived

	mu     sync.Mutex // guards the rest
	inbox  []pdu.PDU
	ended  error // why nothing more will come
	seq    uint16
	closed bool
}

// Dial connects to a server's port.
func Dial(ctx context.Context, address string) (*Client, error) { return DialFrom(ctx, "", address) }

// DialFrom connects from a given local IP address, so that a test can be many hosts (127.0.0.0/8).
func DialFrom(ctx context.Context, local, address string) (*Client, error) {
	d := net.Dialer{}
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newClient(conn), nil
}

func newClient(w wire) *Client {
	c := &Client{conn: w, joined: make(chan struct{}), fresh: make(chan struct{}, 1)}
	go c.read() // ends when the connection does; Close waits for it
	return c
}

func (c *Client) read() {
	defer close(c.joined)
	r := pdu.NewReader(c.conn)
	for {
		p, err := r.Read(64 << 20)
		c.mu.Lock()
		if err != nil {
			c.ended = err
		} else {
			c.inbox = append(c.inbox, p)
		}
		c.mu.Unlock()
		select {
		case c.fresh <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// Close ends the connection and waits for its reader.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	_ = c.conn.Close() // the other side may have been first
	<-c.joined
}

// Write sends bytes as they are.
func (c *Client) Write(ctx context.Context, b []byte) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(b)
	return err
}

// Send sends one PDU.
func (c *Client) Send(ctx context.Context, cmd pdu.Command, seq uint16, m proto.Message) error {
	b, err := Frame(cmd, seq, m)
	if err != nil {
		return err
	}
	return c.Write(ctx, b)
}

// Frame is a PDU as a well-behaved client sends it; a nil message is an empty body.
func Frame(cmd pdu.Command, seq uint16, m proto.Message) ([]byte, error) {
	var body []byte
	if m != nil {
		b, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("marshal %s: %w", cmd, err)
		}
		body = b
	}
	return rawFrame(rawHeader{length: uint32(pdu.HeaderLen + len(body)), version: 1, service: uint16(cmd >> 8), command: uint16(cmd), seq: seq}, body), nil
}

// rawHeader is a header whose every field the test decides: it is written here and not by the code under test.
type rawHeader struct {
	length                                        uint32
	version, flag, service, command, seq, reserve uint16
}

func rawFrame(h rawHeader, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, h.length)
	for _, v := range []uint16{h.version, h.flag, h.service, h.command, h.seq, h.reserve} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, body...)
}

// Next waits for the next PDU that nobody has taken yet. The error is io.EOF when the server closed the connection.
func (c *Client) Next(ctx context.Context) (pdu.PDU, error) {
	return c.take(ctx, func(pdu.PDU) bool { return true })
}

// Await waits for the first PDU of a command and leaves everything else where it is.
func (c *Client) Await(ctx context.Context, cmd pdu.Command) (pdu.PDU, error) {
	return c.take(ctx, func(p pdu.PDU) bool { return p.Header.Command == cmd })
}

// Expect waits for the first PDU of the command and decodes it.
func (c *Client) Expect(ctx context.Context, cmd pdu.Command, into proto.Message) (pdu.Header, error) {
	p, err := c.Await(ctx, cmd)
	if err != nil {
		return pdu.Header{}, err
	}
	return p.Header, proto.Unmarshal(p.Body, into)
}

func (c *Client) take(ctx context.Context, wanted func(pdu.PDU) bool) (pdu.PDU, error) {
	for {
		p, ok, ended := c.poll(wanted)
		switch {
		case ok:
			return p, nil
		case ended != nil:
			return pdu.PDU{}, ended
		}
		select {
		case <-c.fresh:
		case <-c.joined: // poll once more: the reader's last word is in
			if p, ok, ended = c.poll(wanted); ok {
				return p, nil
			}
			return pdu.PDU{}, ended
		case <-ctx.Done():
			return pdu.PDU{}, fmt.Errorf("waiting for a PDU: %w", context.Cause(ctx))
		}
	}
}

func (c *Client) poll(wanted func(pdu.PDU) bool) (pdu.PDU, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range c.inbox {
		if wanted(p) {
			c.inbox = append(c.inbox[:i:i], c.inbox[i+1:]...)
			return p, true, nil
		}
	}
	return pdu.PDU{}, false, c.ended
}

// Ended tells whether and how the connection has ended; io.EOF is a close by the server.
func (c *Client) Ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// AwaitClose waits until the server closes the connection, dropping what still arrives.
func (c *Client) AwaitClose(ctx context.Context) error {
	select {
	case <-c.joined:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the close: %w", context.Cause(ctx))
	}
	if err := c.Ended(); !errors.Is(err, io.EOF) && !isReset(err) {
		return err
	}
	return nil
}

// Call sends a request with a sequence number of its own and waits for the PDU that carries it back.
func (c *Client) Call(ctx context.Context, cmd pdu.Command, m proto.Message) (pdu.PDU, error) {
	seq := c.nextSeq()
	if err := c.Send(ctx, cmd, seq, m); err != nil {
		return pdu.PDU{}, err
	}
	return c.take(ctx, func(p pdu.PDU) bool { return p.Header.Seq == seq })
}

// discard drops what has arrived.
func (c *Client) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox = nil
}

func (c *Client) nextSeq() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq = c.seq%0x7fff + 1
	return c.seq
}

// Login logs in as existing clients do; password is the clear one.
func (c *Client) Login(ctx context.Context, user, password string, client pb.ClientType) (*pb.IMLoginRes, error) {
	p, err := c.Call(ctx, pdu.CmdLoginReq, &pb.IMLoginReq{
		UserName: proto.String(user), Password: proto.String(PasswordOnWire(password)),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: client.Enum(), ClientVersion: proto.String("1.0"),
	})
	if err != nil {
		return nil, fmt.Errorf("login %s: %w", user, err)
	}
	res := &pb.IMLoginRes{}
	if err := proto.Unmarshal(p.Body, res); err != nil {
		return nil, fmt.Errorf("login %s: %w", user, err)
	}
	if res.GetResultCode() != pb.ResultType_REFUSE_REASON_NONE {
		return res, fmt.Errorf("login %s: %s %s", user, res.GetResultCode(), res.GetResultString())
	}
	return res, nil
}

// Hello opens the session extension for a device that has nothing to resume.
func (c *Client) Hello(ctx context.Context, device string, client pb.ClientType) error {
	p, err := c.Call(ctx, pdu.CmdHello, &sessionpb.Hello{Version: 1, Client: "e2e", ClientVersion: "1", ClientType: uint32(client), DeviceId: device})
	if err != nil {
		return fmt.Errorf("hello of %s: %w", device, err)
	}
	welcome := &sessionpb.Welcome{}
	if err := proto.Unmarshal(p.Body, welcome); err != nil || p.Header.Command != pdu.CmdWelcome || welcome.GetVerdict() != sessionpb.Verdict_LOGIN_NEEDED {
		return fmt.Errorf("hello of %s: %s %v (%w)", device, p.Header.Command, welcome, err)
	}
	return nil
}

// PasswordOnWire is what clients send for a password: its MD5 in lower-case hex.
func PasswordOnWire(password string) string {
	sum := md5.Sum([]byte(password))
	return hex.EncodeToString(sum[:])
}
