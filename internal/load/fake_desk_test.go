package load

import (
	"fmt"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// deskFault is what a server does wrong with those who wait to be let in.
type deskFault struct {
	lifo, silent, rising, forgetsLegacy, muteLegacy bool
	cutsOff                                         bool // one of the extended ones
	refuses                                         int  // user
}

// fakeDesk lets the first users in one after the other, with time in between; legacy ones only if nobody waits.
type fakeDesk struct {
	first, last uint32 // users who are checked; others come in at once
	check, tell time.Duration
	fault       deskFault
	over        chan struct{}

	waiting []fakeLogin // guarded by the server's mutex
	served  int
}

// fakeLogin is one that waits.
type fakeLogin struct {
	c      net.Conn
	p      pdu.PDU
	device string
	told   int
}

// takes reports whether the desk answers a login.
func (d *fakeDesk) takes(s *fakeServer, c net.Conn, p pdu.PDU, device string) bool {
	var req pb.IMLoginReq
	var user uint32
	if d == nil || proto.Unmarshal(p.Body, &req) != nil {
		return false
	}
	if _, err := fmt.Sscanf(req.GetUserName(), "user%d", &user); err != nil || user < d.first || user > d.last {
		return false
	}
	switch {
	case int(user) == d.fault.refuses:
		write(c, pdu.CmdLoginRes, p.Header.Seq, &pb.IMLoginRes{
			ServerTime: proto.Uint32(1), ResultCode: pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED.Enum(), ResultString: proto.String("wrong"),
		})
	case device != "" || len(d.waiting) == 0:
		d.waiting = append(d.waiting, fakeLogin{c: c, p: p, device: device})
		d.inform(len(d.waiting) - 1)
	case d.fault.forgetsLegacy:
	default:
		text := "too many"
		if d.fault.muteLegacy {
			text = ""
		}
		write(c, pdu.CmdLoginRes, p.Header.Seq, &pb.IMLoginRes{
			ServerTime: proto.Uint32(1), ResultCode: pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL.Enum(), ResultString: proto.String(text),
		})
	}
	return true
}

// inform tells one that waits where he stands.
func (d *fakeDesk) inform(i int) {
	l := &d.waiting[i]
	if d.fault.silent || l.device == "" || l.told == i+1 {
		return
	}
	l.told = i + 1
	at := uint32(i + 1)
	if d.fault.rising {
		at += uint32(10 * d.served)
	}
	write(l.c, pdu.CmdQueue, 0, &sessionpb.Queue{Position: at, EtaS: at})
}

// work lets one in after the other, until the desk closes.
func (d *fakeDesk) work(s *fakeServer) {
	check, tell := time.NewTicker(d.check), time.NewTicker(d.tell)
	defer check.Stop()
	defer tell.Stop()
	for {
		select {
		case <-d.over:
			return
		case <-tell.C:
			s.mu.Lock()
			for i := range d.waiting {
				d.inform(i)
			}
			s.mu.Unlock()
		case <-check.C:
			s.mu.Lock()
			d.next(s)
			s.mu.Unlock()
		}
	}
}

func (d *fakeDesk) next(s *fakeServer) {
	if len(d.waiting) == 0 {
		return
	}
	at := 0
	if d.fault.lifo {
		at = len(d.waiting) - 1
	}
	l := d.waiting[at]
	d.waiting = append(d.waiting[:at:at], d.waiting[at+1:]...)
	d.served++
	s.login(l.c, l.p)
	if l.device != "" {
		s.extra.credential(l.c, l.device)
	}
	if d.fault.cutsOff && l.device != "" {
		d.fault.cutsOff = false
		_ = l.c.Close()
	}
}
