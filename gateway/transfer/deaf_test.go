package transfer

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// deafConn sends heartbeats as fast as they are taken, behind what comes first, and reads nothing.
type deafConn struct {
	first  []pdu.PDU
	body   []byte
	closed chan struct{}
	once   sync.Once
	sent   int
}

func (c *deafConn) Read(limit int) (pdu.PDU, error) {
	select {
	case <-c.closed:
		return pdu.PDU{}, io.EOF
	default:
	}
	if len(c.first) > 0 {
		p := c.first[0]
		c.first = c.first[1:]
		return p, nil
	}
	if pdu.HeaderLen+len(c.body) > limit {
		return pdu.PDU{}, pdu.ErrTooLarge
	}
	c.sent++
	return pdu.PDU{Header: pdu.Header{Length: uint32(pdu.HeaderLen + len(c.body)), Command: pdu.CmdHeartbeat}, Body: bytes.Clone(c.body)}, nil
}

func (c *deafConn) Write([][]byte) error {
	<-c.closed
	return io.ErrClosedPipe
}

func (c *deafConn) Close(protocol.Code) error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *deafConn) Discard(time.Time)               {}
func (c *deafConn) CloseWrite() error               { return nil }
func (c *deafConn) SetReadDeadline(time.Time) error { return nil }
func (c *deafConn) RemoteAddr() netip.AddrPort      { return netip.MustParseAddrPort("192.0.2.1:5") }
func (c *deafConn) Kind() transport.Kind            { return transport.KindTCP }

// Heartbeats may be as large as what else a client may send; who sends many and reads nothing does not fill the memory with them.
func TestEchoesForTheDeaf(t *testing.T) {
	w := newWorld()
	e := New(Config{Store: w, Blobs: w, Presence: w})
	defer e.stop()
	id, _, err := e.Offer(t.Context(), 1, 2, "a", 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	login, err := pdu.Append(nil, pdu.CmdFileLoginReq, 1, &pb.IMFileLoginReq{UserId: new(uint32(1)), TaskId: new(id), FileRole: pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD.Enum()})
	if err != nil {
		t.Fatal(err)
	}
	h, err := pdu.ParseHeader(login)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		first []pdu.PDU
		body  int
		most  int // bytes that wait
	}{
		{"a stranger", nil, pdu.MaxLenBeforeLogin - pdu.HeaderLen, strangerEcho},
		{"a sender", []pdu.PDU{{Header: h, Body: login[pdu.HeaderLen:]}}, maxBlock, e.limits.Bytes + 2*maxBlock},
	} {
		conn := &deafConn{first: c.first, body: make([]byte, c.body), closed: make(chan struct{})}
		e.ServeConn(conn) // returns, for it closes the connection
		if got := (conn.sent - 1) * c.body; got > c.most || conn.sent < 2 {
			t.Errorf("%s: %d heartbeats were taken", c.name, conn.sent)
		}
	}
}

// Who takes the place of an upload by HTTP may be late: what it was answered by is by then another request's, or nobody's.
func TestKickedLate(t *testing.T) {
	w := newWorld()
	e := New(Config{Store: w, Blobs: w, Presence: w})
	defer e.stop()
	srv := httptest.NewUnstartedServer(e.Handler(func(r *http.Request) (Ticket, error) {
		return Ticket{User: 1, Upload: true, Task: r.URL.Path[1:]}, nil
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	id, _, err := e.Offer(t.Context(), 1, 2, "a", 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	task, side := e.find(id, 1, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD)
	body, more := io.Pipe()
	answered := make(chan error, 1)
	go func() { // ends with the request
		res, err := srv.Client().Post(srv.URL+"/"+id, "", body)
		if err == nil {
			err = res.Body.Close()
		}
		answered <- err
	}()
	if _, err := more.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	var old *party
	until(t, "the upload runs", func() bool {
		task.mu.Lock()
		defer task.mu.Unlock()
		old = task.sides[side]
		return old != nil
	})
	if err := more.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	srv.Client().CloseIdleConnections()
	srv.Close() // waits for the handler
	old.kick()
	old.finish()
}
