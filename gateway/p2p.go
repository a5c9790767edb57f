package gateway

import (
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// p2p is 0x0601: passed on to all nodes, neither stored nor acked. The sender is the session's user, whatever the packet says [TT-P2P-1] [TT-DIFF-20].
func (s *session) p2p(_ pdu.Header, m *pb.IMP2PCmdMsg) error {
	s.srv.signaler.Signal(protocol.P2PSent{From: s.user, To: protocol.UserID(m.GetToUserId()), Data: m.GetCmdMsgData(), Origin: s.id})
	return nil
}

// deliverP2P sends 0x0601 to the connections of the user addressed and to the sender's others.
func (srv *Server) deliverP2P(p protocol.P2PSent) {
	users := []protocol.UserID{p.To, p.From}
	if p.To == p.From {
		users = users[:1]
	}
	srv.push(srv.sessions.ofAll(nil, users), p.Origin, pdu.CmdP2P, &pb.IMP2PCmdMsg{
		FromUserId: new(uint32(p.From)),
		ToUserId:   new(uint32(p.To)),
		CmdMsgData: new(p.Data),
	})
}
