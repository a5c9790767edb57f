package transfer

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// strangerEcho is how many bytes may wait for who has not logged in.
const strangerEcho = 64 << 10

// Why connections end.
var (
	errLogin     = errors.New("transfer: no such task for this user and role")
	errMany      = fmt.Errorf("%w: too many files are fetched for this user at once", errLogin)
	errForbidden = errors.New("transfer: a stream beside a session begins with 0x0501")
	errProtocol  = errors.New("transfer: not what was asked for")
	errStalled   = errors.New("transfer: the client does not take what it is sent")
)

// ServeConn serves a connection of the file port until it ends.
func (e *Engine) ServeConn(c transport.Conn) {
	from := c.RemoteAddr().Addr()
	if !e.unknown.enter(from) {
		e.metrics.refused.WithLabelValues("full").Inc()
		return // which closes it
	}
	l := &link{conn: c}
	l.known = sync.OnceFunc(func() { e.unknown.leave(from) })
	defer l.known()
	e.serve(l)
}

// ServeStream serves a stream beside a session of a user, for one file of his [TT-FILE-12].
func (e *Engine) ServeStream(u protocol.UserID, c transport.Conn) {
	e.serve(&link{conn: c, user: u, bulk: true, known: func() {}})
}

func (e *Engine) serve(l *link) {
	e.metrics.connections.Inc()
	defer e.metrics.connections.Dec()
	l.out.init()
	written := make(chan bool, 1)
	go func() { // ends when the outbox is closed or the connection breaks, both below; joined below
		all := l.out.run(l.conn.Write, func() {
			if t := l.takes.Load(); t != nil {
				t.forward()
			}
		})
		_ = l.conn.SetReadDeadline(time.Unix(1, 0)) // who can't be written to is not read from; before the parting, which sets its own
		written <- all
	}()
	loggedIn, err := e.talk(l)
	if why := refused(err, loggedIn); why != "" {
		e.metrics.refused.WithLabelValues(why).Inc()
	}
	l.out.close()
	if !errors.Is(err, errOver) && !errors.Is(err, errLogin) {
		_ = l.conn.Close(code(err)) // fails only if it has been
		<-written
		return
	}
	if <-written && l.conn.CloseWrite() == nil {
		l.conn.Discard(time.Now().Add(e.timing.Flush))
	}
	_ = l.conn.Close(protocol.CodeUnspecified)
}

// talk reads until the connection is done with, which is errOver or errLogin, or has to be broken.
func (e *Engine) talk(l *link) (loggedIn bool, err error) {
	until := time.Now().Add(e.timing.Login) // [TT-FILE-7]
	for {
		p, err := l.read(pdu.MaxLenBeforeLogin, until)
		switch {
		case err != nil:
			return false, err
		case p.Header.Command == pdu.CmdFileLoginReq:
			m := new(pb.IMFileLoginReq)
			if pdu.Unmarshal(p.Body, m) == nil {
				return e.login(l, p.Header.Seq, m)
			}
			if l.bulk {
				return false, errForbidden
			}
		case l.bulk:
			return false, errForbidden
		case p.Header.Command == pdu.CmdHeartbeat && !l.echo(p, strangerEcho):
			return false, errStalled
		}
	}
}

// login answers 0x0501 and carries the file [TT-FILE-7].
func (e *Engine) login(l *link, seq uint16, m *pb.IMFileLoginReq) (loggedIn bool, err error) {
	u, id := protocol.UserID(m.GetUserId()), m.GetTaskId()
	refuse := func() (bool, error) { return e.refuse(l, seq, id, errLogin) }
	if l.bulk && u != l.user || u == 0 {
		return refuse()
	}
	l.user = u
	if m.GetFileRole() == pb.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD {
		return e.fetch(l, seq, id)
	}
	if m.GetFileRole() == pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD && e.storedTask(id, u) != nil {
		l.send(pdu.CmdFileLoginRes, seq, loginRes(0, id))
		l.send(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_DONE, id, u))
		return true, errOver
	}
	t, s := e.find(id, u, m.GetFileRole())
	if t == nil {
		return refuse()
	}
	l.known()
	p := &party{kick: func() { _ = l.conn.Close(protocol.CodeReplaced) }, finish: l.finish, left: make(chan struct{}), link: l}
	if !t.enter(e.life, s, p, func() { l.send(pdu.CmdFileLoginRes, seq, loginRes(0, id)) }) {
		return refuse()
	}
	defer close(p.left)
	defer e.leave(t, s, p)
	if t.online {
		return true, e.carry(l, t, s)
	}
	return true, e.upload(l, t)
}

// refuse answers 0x0501 with a no.
func (e *Engine) refuse(l *link, seq uint16, task string, why error) (loggedIn bool, err error) {
	l.send(pdu.CmdFileLoginRes, seq, loginRes(1, task))
	return false, why
}

// fetch answers the 0x0501 of a receiver and gives him the file, if it waits for him.
func (e *Engine) fetch(l *link, seq uint16, task string) (loggedIn bool, err error) {
	f, err := e.waiting(l.user, task)
	if err != nil {
		e.log.Debug("file not fetched", "task", task, "user", l.user, "error", err)
		return e.refuse(l, seq, task, errLogin)
	}
	l.known()
	content, err := e.open(e.life, l.user, &f)
	if err != nil {
		e.log.Debug("file not fetched", "task", task, "user", l.user, "error", err)
		if !errors.Is(err, errMany) {
			err = errLogin
		}
		return e.refuse(l, seq, task, err)
	}
	defer func() { _ = content.Close() }() // it was only read
	if !l.send(pdu.CmdFileLoginRes, seq, loginRes(0, task)) {
		return true, errStalled
	}
	return true, e.download(l, f, content)
}

// next reads the next PDU of a connection that is logged in, and deals with heartbeats.
func (e *Engine) next(l *link, limit int) (pdu.PDU, error) {
	for {
		p, err := l.read(limit, time.Now().Add(e.timing.Idle))
		if err != nil || p.Header.Command != pdu.CmdHeartbeat {
			return p, err
		}
		if !l.echo(p, e.limits.Bytes+2*maxBlock) {
			return p, errStalled
		}
	}
}

func loginRes(result uint32, task string) *pb.IMFileLoginRsp {
	return &pb.IMFileLoginRsp{ResultCode: new(result), TaskId: new(task)}
}

func state(s pb.ClientFileState, task string, u protocol.UserID) *pb.IMFileState {
	return &pb.IMFileState{State: s.Enum(), TaskId: new(task), UserId: new(uint32(u))}
}

// stateFor decodes 0x0503 of a task; ok: it ends the task, and how says how.
func stateFor(p pdu.PDU, task string) (m *pb.IMFileState, how string, err error) {
	m = new(pb.IMFileState)
	if err := pdu.Unmarshal(p.Body, m); err != nil || m.GetTaskId() != task {
		return nil, "", errProtocol
	}
	switch m.GetState() {
	case pb.ClientFileState_CLIENT_FILE_DONE:
		how = endedDone
	case pb.ClientFileState_CLIENT_FILE_CANCEL:
		how = endedCancelled
	case pb.ClientFileState_CLIENT_FILE_REFUSE:
		how = endedRefused
	case pb.ClientFileState_CLIENT_FILE_PEER_READY: // the server's word
	}
	return m, how, nil
}
