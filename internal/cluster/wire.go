package cluster

import (
	"context"
	"errors"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// The methods of this package on the control lane: those for which Owns is true.
const (
	FirstMethod uint8 = 32
	LastMethod  uint8 = 47

	methodStatus   uint8 = 32
	methodProgress uint8 = 33
	methodAdmit    uint8 = 34
	methodRemove   uint8 = 35
	methodTransfer uint8 = 36
	methodDrain    uint8 = 37
	methodSnapshot uint8 = 38
	methodMoved    uint8 = 39
)

// wireVersion is what this program writes; wireLeast is the oldest version that can read it.
const (
	wireVersion uint16 = 1
	wireLeast   uint16 = 1
)

// Owns reports whether a method is for Manager.Handle.
func Owns(method uint8) bool { return method >= FirstMethod && method <= LastMethod }

// message is what every call and answer is in.
type message struct {
	Version uint16          `cbor:"1,keyasint"`
	Least   uint16          `cbor:"2,keyasint"`
	Body    cbor.RawMessage `cbor:"3,keyasint,omitempty"`
}

// The bodies. A field may be added at any time; what it means that it is missing is what it meant before there was it.
type (
	// progress answers methodProgress.
	progress struct {
		Applied protocol.Cursor `cbor:"1,keyasint"`
	}
	// admission tells the members that a node is being let in by a token, or that it was not after all.
	admission struct {
		Node      protocol.NodeID `cbor:"1,keyasint"`
		TokenID   string          `cbor:"2,keyasint"`
		Withdrawn bool            `cbor:"3,keyasint,omitempty"`
	}
	// removal asks the leader to remove a node.
	removal struct {
		Node  protocol.NodeID `cbor:"1,keyasint"`
		Force bool            `cbor:"2,keyasint,omitempty"`
	}
	// leadership asks the leader to hand over ("": to anybody), and is the answer: who leads now.
	leadership struct {
		Node protocol.NodeID `cbor:"1,keyasint,omitempty"`
	}
	// moved tells the leader where the node that says so is reached.
	moved struct {
		Address string `cbor:"1,keyasint"`
	}
	// drainage asks a node to drain itself. One of a program that does not know Then stays.
	drainage struct {
		Then AfterDrain `cbor:"1,keyasint,omitempty"`
	}
	nothing struct{}
)

func encode(body any) ([]byte, error) {
	b, err := cbor.Marshal(body)
	if err != nil {
		return nil, err
	}
	return cbor.Marshal(message{Version: wireVersion, Least: wireLeast, Body: b})
}

// decode reads what encode of this version, or of one that cares for this one, has written.
func (m *Manager) decode(b []byte, to any) error {
	var msg message
	if err := cbor.Unmarshal(b, &msg); err != nil {
		return protocol.Errorf(protocol.CodeInvalid, "the message can't be read: %w", err)
	}
	if msg.Least > wireVersion {
		return protocol.Errorf(protocol.CodeInvalid, "message format %d is not known to version %s", msg.Version, m.cfg.Version)
	}
	if err := cbor.Unmarshal(msg.Body, to); err != nil {
		return protocol.Errorf(protocol.CodeInvalid, "the message can't be read: %w", err)
	}
	return nil
}

// Handle answers other nodes' calls, those of the methods that Owns tells.
func (m *Manager) Handle(ctx context.Context, from protocol.NodeID, method uint8, payload []byte) ([]byte, error) {
	peers.Accepted(ctx) // none of these has to wait for another
	body, err := m.handle(ctx, from, method, payload)
	if err != nil {
		return nil, asProtocol(err)
	}
	return encode(body)
}

func (m *Manager) handle(ctx context.Context, from protocol.NodeID, method uint8, payload []byte) (any, error) {
	switch method {
	case methodStatus:
		return m.report()
	case methodProgress:
		at, err := m.cfg.Store.Position()
		return progress{Applied: at.Applied}, err
	case methodAdmit:
		var a admission
		if err := m.decode(payload, &a); err != nil {
			return nil, err
		}
		return nothing{}, m.noteAdmission(from, a)
	case methodRemove:
		var r removal
		if err := m.decode(payload, &r); err != nil {
			return nil, err
		}
		m.cfg.Log.Info("a node passes on an operator's request", "from", from, "request", "remove", "node", r.Node, "force", r.Force)
		return nothing{}, m.lead(ctx, func() error { return m.removeMember(ctx, r) })
	case methodTransfer:
		var l leadership
		if err := m.decode(payload, &l); err != nil {
			return nil, err
		}
		m.cfg.Log.Info("a node passes on an operator's request", "from", from, "request", "transfer", "to", l.Node)
		err := m.lead(ctx, func() error { return m.handOver(ctx, &l) })
		return l, err
	case methodDrain:
		var d drainage
		if err := m.decode(payload, &d); err != nil {
			return nil, err
		}
		return nothing{}, m.drainHere(ctx, d.Then)
	case methodSnapshot:
		return nothing{}, m.cfg.Local.Snapshot(ctx)
	case methodMoved:
		var a moved
		if err := m.decode(payload, &a); err != nil {
			return nil, err
		}
		return nothing{}, m.lead(ctx, func() error { return m.moveMember(ctx, from, a.Address) })
	}
	return nil, protocol.Errorf(protocol.CodeInvalid, "method %d is not known to version %s", method, m.cfg.Version)
}

// call is a call to another node over the control lane.
func (m *Manager) call(ctx context.Context, to protocol.NodeID, method uint8, body, answer any) error {
	mesh := m.links()
	if mesh == nil {
		return protocol.Errorf(protocol.CodeUnavailable, "this node has no links to others")
	}
	payload, err := encode(body)
	if err != nil {
		return err
	}
	b, err := mesh.Call(ctx, to, peers.LaneControl, method, payload)
	if err != nil {
		return err
	}
	return m.decode(b, answer)
}

// asProtocol gives errors of nobody's fault a code and a text that may be shown; they come from disk and log, not from callers.
func asProtocol(err error) error {
	var e *protocol.Error
	switch {
	case errors.As(err, &e):
		return &protocol.Error{Code: e.Code, Message: err.Error(), OutcomeUnknown: e.OutcomeUnknown}
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return protocol.OutcomeUnknownf("no end in time: %w", err)
	}
	return protocol.Errorf(protocol.CodeInternal, "%w", err)
}
