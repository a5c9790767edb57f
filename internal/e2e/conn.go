package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// A scriptConn is a connection of a script with what the runner knows about it.
type scriptConn struct {
	name     string
	client   *Client
	stream   stream
	deaf     bool // requests are not answered any more: kicked, logged out, or never were
	loggedIn bool
	left     bool   // the script closed it
	over     bool   // its end has been told
	fence    uint16 // the barrier that is out, 0 if none
}

func (c *scriptConn) gone() bool { return c.left || c.over }

// learn notes what a PDU says about the connection.
func (c *scriptConn) learn(p pdu.PDU) {
	switch p.Header.Command {
	case pdu.CmdKickUser, pdu.CmdLogoutRes, pdu.CmdBye:
		c.deaf, c.fence = true, 0
	case pdu.CmdWelcome:
		w := &sessionpb.Welcome{}
		if proto.Unmarshal(p.Body, w) == nil && (w.GetVerdict() == sessionpb.Verdict_RESUMED || w.GetVerdict() == sessionpb.Verdict_GAP) {
			c.loggedIn = true
		}
	case pdu.CmdLoginRes:
		res := &pb.IMLoginRes{}
		if proto.Unmarshal(p.Body, res) == nil && res.GetResultCode() == pb.ResultType_REFUSE_REASON_NONE {
			c.loggedIn = true
		}
	}
}

// canFence tells whether a request on this connection would be answered.
func (c *scriptConn) canFence() bool {
	return !c.gone() && !c.deaf && c.stream.aligned() && c.client.Ended() == nil
}

// stream follows what a script has sent, to know whether the server is waiting for the rest of a PDU.
type stream struct {
	need int // bytes missing of the PDU being sent
	head []byte
	lost bool // a length the server can't go on after
}

func (s *stream) aligned() bool { return !s.lost && s.need == 0 && len(s.head) == 0 }

func (s *stream) sent(b []byte) {
	for len(b) > 0 && !s.lost {
		if s.need > 0 {
			n := min(s.need, len(b))
			s.need, b = s.need-n, b[n:]
			continue
		}
		n := min(4-len(s.head), len(b))
		s.head, b = append(s.head, b[:n]...), b[n:]
		if len(s.head) == 4 {
			length := int(binary.BigEndian.Uint32(s.head))
			s.head, s.need = nil, length-4
			s.lost = length < pdu.HeaderLen || length > pdu.MaxLen
		}
	}
}

// frame builds what a script's send line stands for.
func (p *pduPattern) frame(vars Vars) ([]byte, error) {
	cmd, ok := commandNamed(p.name)
	if !ok {
		return nil, fmt.Errorf("no command %s", p.name)
	}
	body, err := p.encode(cmd, vars)
	if err != nil {
		return nil, err
	}
	h := rawHeader{length: uint32(pdu.HeaderLen + len(body)), version: 1, service: uint16(cmd) >> 8, command: uint16(cmd)}
	for name, v := range p.header {
		switch name {
		case "length":
			h.length = v
		case "version":
			h.version = uint16(v)
		case "flag":
			h.flag = uint16(v)
		case "service":
			h.service = uint16(v)
		case "seq":
			h.seq = uint16(v)
		case "reserved":
			h.reserve = uint16(v)
		}
	}
	if p.seqVar != "" {
		n, ok := vars[p.seqVar].(int64)
		if !ok {
			return nil, fmt.Errorf("$%s is not bound", p.seqVar)
		}
		h.seq = uint16(n)
	}
	return rawFrame(h, body), nil
}

func (p *pduPattern) encode(cmd pdu.Command, vars Vars) ([]byte, error) {
	if p.raw != nil {
		return p.raw, nil
	}
	m := sent(cmd)
	if m == nil {
		if len(p.body.Fields) > 0 {
			return nil, fmt.Errorf("%s has no message: write body=hex", p.name)
		}
		return nil, nil
	}
	if err := p.body.Build(m.ProtoReflect(), vars); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m)
}

// differences compares a received PDU with an expectation; none means that it is the one.
func (p *pduPattern) differences(got pdu.PDU, vars Vars) []Mismatch {
	var bad []Mismatch
	want := map[string]uint32{"version": 1, "flag": 0, "service": uint32(got.Header.Command) >> 8, "reserved": 0, "seq": 0}
	for k, v := range p.header {
		want[k] = v
	}
	h := got.Header
	values := map[string]uint32{"version": uint32(h.Version), "flag": uint32(h.Flag), "service": uint32(h.Service),
		"reserved": uint32(h.Reserved), "seq": uint32(h.Seq)}
	if p.seqVar != "" {
		delete(values, "seq")
	}
	for _, k := range []string{"version", "flag", "service", "seq", "reserved"} {
		if v, ok := values[k]; ok && v != want[k] {
			bad = append(bad, Mismatch{k, fmt.Sprint(want[k]), fmt.Sprint(v)})
		}
	}
	if len(bad) == 0 && p.seqVar != "" {
		bad = bindSeq(p.seqVar, h.Seq, vars)
	}
	return append(bad, p.bodyDifferences(got, vars)...)
}

func bindSeq(name string, seq uint16, vars Vars) []Mismatch {
	bound, ok := vars[name]
	if !ok {
		vars[name] = int64(seq)
		return nil
	}
	if bound != int64(seq) {
		return []Mismatch{{"seq", fmt.Sprintf("$%s = %v", name, bound), fmt.Sprint(seq)}}
	}
	return nil
}

func (p *pduPattern) bodyDifferences(got pdu.PDU, vars Vars) []Mismatch {
	if p.raw != nil {
		if !bytes.Equal(p.raw, got.Body) {
			return []Mismatch{{"body", hex.EncodeToString(p.raw), hex.EncodeToString(got.Body)}}
		}
		return nil
	}
	m := answered(got.Header.Command)
	if m == nil {
		if len(got.Body) > 0 {
			return []Mismatch{{"body", "empty", hex.EncodeToString(got.Body)}}
		}
		return nil
	}
	if err := proto.Unmarshal(got.Body, m); err != nil {
		return []Mismatch{{"body", "a " + string(m.ProtoReflect().Descriptor().Name()), err.Error()}}
	}
	return p.body.Match(m.ProtoReflect(), vars)
}

// renderPDU writes a received PDU as an expectation; like is the line it replaces, if any.
func renderPDU(got pdu.PDU, like *pduPattern, vars Vars) string {
	var b strings.Builder
	b.WriteString(got.Header.Command.String())
	h := got.Header
	fmt.Fprintf(&b, " seq=%d", h.Seq)
	for _, f := range []struct {
		name      string
		got, norm uint16
	}{{"version", h.Version, 1}, {"flag", h.Flag, 0}, {"service", h.Service, uint16(h.Command) >> 8}, {"reserved", h.Reserved, 0}} {
		if f.got != f.norm {
			fmt.Fprintf(&b, " %s=%d", f.name, f.got)
		}
	}
	m := answered(h.Command)
	switch {
	case len(got.Body) == 0 && m == nil:
	case m == nil || proto.Unmarshal(got.Body, m) != nil:
		fmt.Fprintf(&b, " body=%x", got.Body)
	default:
		var body *Pattern
		if like != nil {
			body = like.body
		}
		if text := Render(m, body, vars); text != "" {
			fmt.Fprintf(&b, " { %s }", text)
		}
	}
	return b.String()
}
