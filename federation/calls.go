package federation

import (
	"context"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// The versions of what nodes of one cluster say to each other: callVersion is what this program writes, callLeast the oldest version that can read it.
const (
	callVersion uint16 = 1
	callLeast   uint16 = 1
)

// operation is what the leader is asked; never reused.
type operation uint8

const (
	opStatus operation = 1
	opTrace  operation = 2
	opChange operation = 3
	opSearch operation = 4
	opFetch  operation = 5
)

// callHead is what every call and answer begins with.
type callHead struct {
	Version uint16          `cbor:"1,keyasint"`
	Least   uint16          `cbor:"2,keyasint"`
	Op      operation       `cbor:"3,keyasint,omitempty"` // calls
	Body    cbor.RawMessage `cbor:"4,keyasint,omitempty"`
	Code    protocol.Code   `cbor:"5,keyasint,omitempty"` // answers: 0 is success
	Text    string          `cbor:"6,keyasint,omitempty"`
	Unknown bool            `cbor:"7,keyasint,omitempty"` // protocol.Error.OutcomeUnknown
}

// The bodies. A field may be added at any time; what it means that it is missing is what it meant before there was it.
type (
	traceCall struct {
		Message string `cbor:"1,keyasint"`
	}
	changeCall struct {
		Actor  protocol.UserID       `cbor:"1,keyasint"`
		Group  protocol.GroupID      `cbor:"2,keyasint"` // as this cluster calls it
		Change protocol.MemberChange `cbor:"3,keyasint"`
		Users  []protocol.UserID     `cbor:"4,keyasint"` // as this cluster calls them
	}
	searchCall struct {
		Me    protocol.UserID `cbor:"1,keyasint"`
		Text  string          `cbor:"2,keyasint"`
		Limit int             `cbor:"3,keyasint"`
	}
	fetchCall struct {
		Peer   fed.ClusterID   `cbor:"1,keyasint"`
		Blob   protocol.BlobID `cbor:"2,keyasint"`
		Offset uint64          `cbor:"3,keyasint"`
		Length uint32          `cbor:"4,keyasint"`
	}
	nothing struct{}
)

// callCodec encodes what nodes of one cluster say to each other, and what goes into commands. It is safe to share and never changes.
type callCodec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var calls = newCallCodec()

// newCallCodec panics if the options contradict each other, which is a programmer's mistake.
func newCallCodec() callCodec {
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339Nano // views have times; records have none
	enc, err := opts.EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 8}.DecMode()
	if err != nil {
		panic(err)
	}
	return callCodec{enc, dec}
}

// encodeRecord encodes a fed.Identity, a fed.Peer or a fed.Profile for a command; the same value always gives the same bytes. It panics for what has no encoding,
// which only a programmer's mistake can bring about.
func encodeRecord(v any) []byte {
	b, err := calls.enc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return b
}

// onLeader has an operation carried out by the node that leads, which may be this one; into is for the answer.
func (m *Manager) onLeader(ctx context.Context, op operation, body, into any) error {
	b := encodeRecord(body)
	var answer []byte
	var err error
	_, isLeader := m.cfg.State.Head()
	switch {
	case isLeader || m.cfg.Leader == nil:
		answer, err = m.carryOut(ctx, op, b)
	default:
		answer, err = m.cfg.Leader(ctx, encodeRecord(callHead{Version: callVersion, Least: callLeast, Op: op, Body: b}))
		if err == nil {
			answer, err = openAnswer(answer)
		}
	}
	if err != nil {
		return err
	}
	return decodeCall(answer, into)
}

func openAnswer(b []byte) ([]byte, error) {
	var h callHead
	if err := decodeCall(b, &h); err != nil {
		return nil, err
	}
	if h.Code != protocol.CodeUnspecified {
		return nil, &protocol.Error{Code: h.Code, Message: h.Text, OutcomeUnknown: h.Unknown}
	}
	return h.Body, checkVersion(&h)
}

func checkVersion(h *callHead) error {
	if h.Least > callVersion {
		return protocol.Errorf(protocol.CodeUnavailable, "the other node of this cluster speaks format %d of federation's calls, known here is %d: update this node, too", h.Version, callVersion)
	}
	return nil
}

func decodeCall(b []byte, to any) error {
	if err := calls.dec.Unmarshal(b, to); err != nil {
		return protocol.Errorf(protocol.CodeInvalid, "the message of another node can't be read: %w", err)
	}
	return nil
}

// Handle answers a call that another node's Config.Leader has sent here. What is wrong is in the answer, too.
func (m *Manager) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	var h callHead
	err := decodeCall(payload, &h)
	if err == nil {
		err = checkVersion(&h)
	}
	if err == nil {
		if _, isLeader := m.cfg.State.Head(); !isLeader {
			err = protocol.Errorf(protocol.CodeUnavailable, "this node does not lead the cluster (any more): repeat it")
		}
	}
	answer := callHead{Version: callVersion, Least: callLeast}
	if err == nil {
		answer.Body, err = m.carryOut(ctx, h.Op, h.Body)
	}
	if err != nil {
		answer.Code, answer.Text, answer.Unknown = protocol.CodeOf(err), err.Error(), protocol.IsOutcomeUnknown(err)
	}
	return encodeRecord(answer), nil
}

// carryOut does on the leader what was asked on any node.
func (m *Manager) carryOut(ctx context.Context, op operation, body []byte) ([]byte, error) {
	switch op {
	case opStatus:
		return answer(m.status())
	case opTrace:
		var c traceCall
		if err := decodeCall(body, &c); err != nil {
			return nil, err
		}
		return answer(m.trace(c.Message))
	case opChange:
		var c changeCall
		if err := decodeCall(body, &c); err != nil {
			return nil, err
		}
		return answer(nothing{}, m.askForChange(ctx, &c))
	case opSearch:
		var c searchCall
		if err := decodeCall(body, &c); err != nil {
			return nil, err
		}
		return answer(m.askAround(ctx, &c))
	case opFetch:
		var c fetchCall
		if err := decodeCall(body, &c); err != nil {
			return nil, err
		}
		return answer(m.chunkHere(ctx, &c))
	}
	return nil, protocol.Errorf(protocol.CodeUnavailable, "the node that leads does not know operation %d: update it", op)
}

func answer(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return encodeRecord(v), nil
}

// Status is how all links are, by the node that leads.
func (m *Manager) Status(ctx context.Context) (s Status, err error) {
	err = m.onLeader(ctx, opStatus, nothing{}, &s)
	return s, err
}

const maxDeadLetters = 1000 // that Status counts of a peer, and DeadLetters returns

func (m *Manager) status() (Status, error) {
	s := Status{Leader: m.cfg.Node, Links: []LinkView{}}
	var err error
	if s.Self, err = m.Self(); err != nil {
		return s, err
	}
	peers, err := m.cfg.State.FedPeers()
	if err != nil {
		return s, err
	}
	live := m.linkViews()
	for i := range peers {
		v, err := m.linkView(&peers[i], live[peers[i].Cluster])
		if err != nil {
			return s, err
		}
		s.Links = append(s.Links, v)
	}
	forks, err := m.cfg.State.Forks()
	if err != nil {
		return s, err
	}
	for i := range forks {
		f := &forks[i]
		v := ForkView{Group: uint32(f.Alias), Seq: f.Seq, Found: f.Time.Std()}
		if v.Peer, err = m.domainOfCluster(f.Group.Cluster); err != nil {
			return s, err
		}
		s.Forks = append(s.Forks, v)
	}
	return s, nil
}

// linkView completes what the link knows of itself by what the state knows.
func (m *Manager) linkView(p *fed.PeerStatus, v LinkView) (LinkView, error) {
	var err error
	if v.PeerView, err = peerView(p); err != nil {
		return v, err
	}
	dead, err := m.cfg.State.DeadLetters(p.Cluster, maxDeadLetters)
	if err != nil {
		return v, err
	}
	v.Deadletters = len(dead)
	var oldest protocol.Time
	for _, l := range p.Lanes {
		v.Lanes = append(v.Lanes, LaneView{Lane: l.Lane, Sent: l.Sent, Acked: l.Acked, Waiting: l.Waiting, In: l.In})
		v.Depth += l.Sent - l.Acked
		v.Bytes += l.Waiting
		if l.Oldest != 0 && (oldest == 0 || l.Oldest < oldest) {
			oldest = l.Oldest
		}
	}
	if oldest != 0 {
		v.OldestAge = max(0, time.Since(oldest.Std()))
	}
	return v, nil
}

// DeadLetters are the newest events of a peer, or for it, that were not accepted, the newest first; limit 0 means 100, at most 1,000.
func (m *Manager) DeadLetters(_ context.Context, peer string, limit int) ([]fed.DeadLetter, error) {
	if limit <= 0 {
		limit = 100
	}
	p, err := m.peerNamed(peer)
	if err != nil {
		return nil, err
	}
	return m.cfg.State.DeadLetters(p.Cluster, min(limit, maxDeadLetters))
}
