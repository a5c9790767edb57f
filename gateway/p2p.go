package gateway

import (
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// mostP2P is how many bytes a command may have, as between offices.
const mostP2P = 16 << 10

// p2p is 0x0601: passed on to all nodes, neither stored nor acked. The sender is the session's user, whatever the packet says [TT-P2P-1] [TT-DIFF-20].
func (s *session) p2p(_ pdu.Header, m *pb.IMP2PCmdMsg) error {
	if n := len(m.GetCmdMsgData()); n > mostP2P {
		return protocol.Errorf(protocol.CodeTooLarge, "a command of %d bytes, at most %d are passed on", n, mostP2P)
	}
	s.srv.signaler.Signal(protocol.P2PSent{From: s.user, To: protocol.UserID(m.GetToUserId()), Data: m.GetCmdMsgData(), Origin: s.id})
	return nil
}

// deliverP2P sends 0x0601 to the connections of the user addressed and to the sender's others. Where much waits it is left out: anybody may send as many
// as he likes, and no session of somebody else is to end of it.
func (srv *Server) deliverP2P(p protocol.P2PSent) {
	users := []protocol.UserID{p.To, p.From}
	if p.To == p.From {
		users = users[:1]
	}
	to := srv.sessions.ofAll(nil, users)
	if len(to) == 0 {
		return
	}
	frame := srv.appendPush(nil, pdu.CmdP2P, &pb.IMP2PCmdMsg{
		FromUserId: new(uint32(p.From)),
		ToUserId:   new(uint32(p.To)),
		CmdMsgData: new(p.Data),
	})
	for _, s := range to {
		if s.id == p.Origin {
			continue
		}
		switch s.out.push(frame, passingRoom) {
		case queued:
			srv.metrics.out(pdu.CmdP2P, 1)
		case full:
			srv.metrics.dropped.WithLabelValues("p2p").Inc()
		case closed:
		}
	}
}
