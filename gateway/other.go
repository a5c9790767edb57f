package gateway

import (
	"slices"

	"teamtalk/protocol/pdu"
)

// heartbeat is 0x0701, sent back byte for byte [TT-HB-1].
func (s *session) heartbeat(p pdu.PDU) error {
	s.answerFrame(pdu.CmdHeartbeat, slices.Clip(pdu.AppendRaw(make([]byte, 0, pdu.HeaderLen+len(p.Body)), p.Header, p.Body)))
	return nil
}

// callReport is 0x0735, which iOS sends after a call: ignored [TT-FRAME-6].
func (s *session) callReport(pdu.PDU) error {
	s.srv.metrics.ignored.WithLabelValues("call_report").Inc()
	return nil
}
