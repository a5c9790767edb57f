package transfer

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// message is what travels in a PDU.
type message = proto.Message

// maxPulls is how many blocks a receiver may have asked for that it has not got.
const maxPulls = 64

// relay is what is between the two sides of an online task.
type relay struct {
	waiting []pull // not yet passed on to the sender
	asked   []pull // passed on, not yet answered; the oldest first
	ready   bool   // the receiver that is connected knows that the sender is
}

// pull is a block that the receiver asked for.
type pull struct {
	seq          uint16
	offset, size uint32
	stale        bool // who asked has gone
}

// carry serves one side of an online task [TT-FILE-9].
func (e *Engine) carry(l *link, t *task, s side) error {
	if s == receiving {
		l.takes.Store(t)
	}
	for {
		p, err := e.next(l, maxBlock+frameReserve)
		if err != nil {
			return err
		}
		switch cmd := p.Header.Command; {
		case cmd == pdu.CmdFilePullReq && s == receiving:
			err = t.pulled(p)
		case cmd == pdu.CmdFilePullRes && s == sending:
			err = e.answered(t, p)
		case cmd == pdu.CmdFileState:
			err = e.stated(t, s, p)
		}
		if err != nil {
			return err
		}
	}
}

// pulled is 0x0504 of the receiver.
func (t *task) pulled(p pdu.PDU) error {
	m := new(pb.IMFilePullDataReq)
	if err := pdu.Unmarshal(p.Body, m); err != nil || m.GetTaskId() != t.id || m.GetOffset() > t.size {
		return errProtocol
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.relay.waiting)+len(t.relay.asked) >= maxPulls {
		return errProtocol
	}
	t.relay.waiting = append(t.relay.waiting, pull{seq: p.Header.Seq, offset: m.GetOffset(), size: min(m.GetDataSize(), maxBlock)})
	t.forwardLocked()
	return nil
}

// forward passes on what waits for the receiver to take what it has asked for.
func (t *task) forward() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forwardLocked()
}

// forwardLocked passes pulls on to the sender, as long as there is room for their answers: so it is read at any time, and yet a receiver that takes nothing
// does not fill the memory.
func (t *task) forwardLocked() {
	r := &t.relay
	from, to := t.sides[sending], t.sides[receiving]
	if from == nil || to == nil {
		return
	}
	between := to.link.out.waiting()
	for _, q := range r.asked {
		if !q.stale {
			between += int(q.size)
		}
	}
	for len(r.waiting) > 0 {
		q := r.waiting[0]
		if between > 0 && between+int(q.size) > t.limit {
			return
		}
		if !from.link.send(pdu.CmdFilePullReq, q.seq, pullReq(t, t.to, q.offset, q.size)) {
			from.kick()
			return
		}
		between += int(q.size)
		r.waiting, r.asked = r.waiting[1:], append(r.asked, q)
	}
}

// answered is 0x0505 of the sender: for the receiver, with the sequence number of the pull.
func (e *Engine) answered(t *task, p pdu.PDU) error {
	m := new(pb.IMFilePullDataRsp)
	if err := pdu.Unmarshal(p.Body, m); err != nil || m.GetTaskId() != t.id {
		return errProtocol
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.relay
	i := slices.IndexFunc(r.asked, func(q pull) bool { return q.offset == m.GetOffset() })
	if i < 0 || len(m.GetFileData()) > int(r.asked[i].size) {
		return errProtocol
	}
	q := r.asked[i]
	r.asked = slices.Delete(r.asked, i, i+1)
	if q.stale {
		return nil
	}
	m.UserId = new(uint32(t.from))
	e.metrics.bytes.WithLabelValues("relayed").Add(float64(len(m.GetFileData())))
	if to := t.sides[receiving]; to != nil && !to.link.send(pdu.CmdFilePullRes, q.seq, m) {
		to.kick()
	}
	return nil
}

// stated is 0x0503: the other side is told, and both are done.
func (e *Engine) stated(t *task, s side, p pdu.PDU) error {
	m, how, err := stateFor(p, t.id)
	if err != nil || how == "" {
		return err
	}
	m.UserId = new(uint32(t.user(s)))
	t.mu.Lock()
	t.tellLocked(1-s, pdu.CmdFileState, p.Header.Seq, m)
	t.mu.Unlock()
	e.finish(t, how)
	return nil
}

// metLocked is told that somebody has come to a side. When both are there the receiver is told, once [TT-FILE-9].
func (t *task) metLocked(s side) {
	if !t.online {
		return
	}
	if s == receiving {
		t.relay.ready = false
	}
	if t.sides[sending] == nil || t.sides[receiving] == nil {
		return
	}
	if !t.relay.ready {
		t.relay.ready = t.tellLocked(receiving, pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_PEER_READY, t.id, t.from))
	}
	t.forwardLocked()
}

// partedLocked is told that whoever was on a side has gone: what the sender was asked for the next one is asked for, and what the receiver asked for nobody
// wants any more.
func (t *task) partedLocked(s side) {
	r := &t.relay
	if s == receiving {
		r.waiting = nil
		for i := range r.asked {
			r.asked[i].stale = true
		}
		return
	}
	again := slices.DeleteFunc(r.asked, func(q pull) bool { return q.stale })
	r.waiting, r.asked = append(again, r.waiting...), nil
}
