package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const loginTimeout = 30 * time.Second

// errKicked: the server ended the session because the user logged in elsewhere.
var errKicked = errors.New("kicked: the user has logged in elsewhere")

// wire carries PDUs both ways. One goroutine uses it; only setDeadline may be called by others.
type wire interface {
	// next returns the next PDU; its body is good until the next call.
	next() (pdu.Header, []byte, error)
	// pending reports whether next can return without reading.
	pending() bool
	// write sends whole PDUs.
	write(frames []byte) error
	// setDeadline bounds next and write; one that has passed ends those under way.
	setDeadline(t time.Time)
	close() error
}

// Conn is one logged-in connection. One goroutine reads and writes it.
type Conn struct {
	// User is who logged in.
	User     protocol.UserID
	wire     wire
	out      []byte
	extended bool
}

// login connects and logs in the n-th user. The deadlines of the connection are the caller's again afterwards.
func login(ctx context.Context, t Target, n int) (c *Conn, err error) {
	err = unlessRefused(ctx, func() error {
		c, err = loginOnce(ctx, t, n)
		return err
	})
	return c, err
}

func loginOnce(ctx context.Context, t Target, n int) (*Conn, error) {
	w, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	c := &Conn{wire: w, extended: t.Extended}
	release := c.bind(ctx)
	defer release()
	if err := c.login(t, n); err != nil {
		return nil, errors.Join(fmt.Errorf("login of %s: %w", t.name(n), err), w.close())
	}
	return c, nil
}

// open connects, by the client library unless that is not needed.
func (t Target) open(ctx context.Context) (wire, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	if t.Via == ViaTCP && !t.Library {
		nc, err := t.sockets().DialContext(ctx, "tcp", t.Server)
		if err != nil {
			return nil, err
		}
		return newStream(nc), nil
	}
	route, err := t.Via.route(t.Server)
	if err != nil {
		return nil, err
	}
	conn, err := dial.DialRoute(ctx, route, t.options(t.sockets()))
	if err != nil {
		return nil, err
	}
	return newPump(conn), nil
}

func (c *Conn) login(t Target, n int) error {
	c.setDeadline(time.Now().Add(loginTimeout))
	if t.Extended {
		if err := c.hello(t, n); err != nil {
			return err
		}
	}
	if err := c.send(pdu.CmdLoginReq, t.loginRequest(n)); err != nil {
		return err
	}
	body, err := c.await(pdu.CmdLoginRes)
	if err != nil {
		return err
	}
	if c.User, err = loggedIn(body); err != nil {
		return err
	}
	if t.Extended {
		if _, err := c.await(pdu.CmdCredential); err != nil {
			return err
		}
	}
	c.setDeadline(time.Time{})
	return nil
}

func (t Target) loginRequest(n int) *pb.IMLoginReq {
	return &pb.IMLoginReq{
		UserName: proto.String(t.name(n)), Password: proto.String(t.passwordHash()),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType(t.Client).Enum(),
		ClientVersion: proto.String(clientName),
	}
}

// loggedIn reads the answer to a login.
func loggedIn(body []byte) (protocol.UserID, error) {
	var res pb.IMLoginRes
	if err := proto.Unmarshal(body, &res); err != nil {
		return 0, err
	}
	if res.GetResultCode() != pb.ResultType_REFUSE_REASON_NONE {
		return 0, &refusedError{res.GetResultCode(), res.GetResultString()}
	}
	return protocol.UserID(res.GetUserInfo().GetUserId()), nil
}

// refusedError is a login that was not accepted.
type refusedError struct {
	code pb.ResultType
	text string
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused: %v: %s", e.code, e.text) }

// bind breaks the connection off when ctx ends, until release is called.
func (c *Conn) bind(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { c.setDeadline(time.Unix(1, 0)) })
}

// Close ends the connection.
func (c *Conn) Close() error { return c.wire.close() }

func (c *Conn) setDeadline(t time.Time) { c.wire.setDeadline(t) }

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
	err := c.wire.write(c.out)
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

// next returns the next PDU; its body is good until the next call. A kick and a goodbye are errors.
func (c *Conn) next() (pdu.Header, []byte, error) {
	h, body, err := c.wire.next()
	if err != nil {
		return h, nil, err
	}
	switch h.Command {
	case pdu.CmdKickUser:
		return h, nil, errKicked
	case pdu.CmdBye:
		return h, nil, readBye(body)
	}
	return h, body, nil
}

// pending reports whether next can return without reading.
func (c *Conn) pending() bool { return c.wire.pending() }
