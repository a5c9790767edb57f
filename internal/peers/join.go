package peers

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

const (
	joinVersion = 1
	// maxJoin bounds a request and maxJoinReply an answer, in bytes.
	maxJoin      = 16 << 10
	maxJoinReply = 1 << 20
)

// JoinRequest is what a node that wants to join says of itself.
type JoinRequest struct {
	Address string `cbor:"1,keyasint"`           // where the others will reach it, host:port
	Name    string `cbor:"2,keyasint,omitempty"` // what it would like to be called; "": whatever
	Version string `cbor:"3,keyasint,omitempty"` // of its program
	Request []byte `cbor:"4,keyasint"`           // for its certificate; Join fills it in
	// Level is the highest level that it may use; 0: it is of a time when there were no levels, or the node that passes this on is.
	Level protocol.Level `cbor:"5,keyasint,omitempty"`

	// What follows is not said but found out, for the JoinHandler.
	TokenID string          `cbor:"-"` // of the token, for those who let each be used once
	From    string          `cbor:"-"` // the address it really came from
	By      protocol.NodeID `cbor:"-"` // the node that forwarded it, which must not be done again; "": none
}

// JoinMember is a node that is in the cluster already.
type JoinMember struct {
	ID      protocol.NodeID `cbor:"1,keyasint"`
	Address string          `cbor:"2,keyasint"`
}

// JoinReply is what a node gets that was let in.
type JoinReply struct {
	Node        protocol.NodeID `cbor:"1,keyasint"` // what it is called from now on
	Certificate []byte          `cbor:"2,keyasint"` // PEM
	Root        []byte          `cbor:"3,keyasint"` // PEM of the authority's certificate; ServeJoin fills it in
	Members     []JoinMember    `cbor:"4,keyasint"`
	Extra       []byte          `cbor:"5,keyasint,omitempty"` // whatever else the caller needs
}

// JoinHandler decides whether a node is let in: adds it to the cluster and signs its certificate. The token has been checked.
type JoinHandler func(ctx context.Context, r JoinRequest) (JoinReply, error)

// joinCall and joinAnswer are what goes over the wire, with the length before it in four bytes.
type joinCall struct {
	Version uint16      `cbor:"1,keyasint"`
	Token   string      `cbor:"2,keyasint"`
	Request JoinRequest `cbor:"3,keyasint"`
}

type joinAnswer struct {
	Code    protocol.Code `cbor:"1,keyasint,omitempty"`
	Message string        `cbor:"2,keyasint,omitempty"`
	Unknown bool          `cbor:"3,keyasint,omitempty"`
	Reply   *JoinReply    `cbor:"4,keyasint,omitempty"`
}

// ServeJoin lets nodes join from now on: those who have a token made under key, which is asked for each time.
func (p *Port) ServeJoin(key func() []byte, h JoinHandler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lets = h
	p.join = func(c *conn) {
		defer func() { _ = c.Close() }()
		ctx, cancel := context.WithTimeout(p.ctx, p.cfg.Tuning.JoinTime)
		defer cancel()
		answer := p.letIn(ctx, c, key(), h)
		_ = c.SetWriteDeadline(time.Now().Add(p.cfg.Tuning.Handshake))
		if err := writeJoin(c, answer, maxJoinReply); err != nil {
			p.log.Warn("the answer to a node that wants to join got lost", "from", c.RemoteAddr().String(), "error", err)
		}
	}
}

// letIn reads a request and answers it.
func (p *Port) letIn(ctx context.Context, c *conn, key []byte, h JoinHandler) joinAnswer {
	_ = c.SetReadDeadline(time.Now().Add(p.cfg.Tuning.Handshake))
	var call joinCall
	if err := readJoin(c, &call, maxJoin); err != nil {
		return p.keepOut(c, reasonHandshake, protocol.Errorf(protocol.CodeInvalid, "the request can't be read: %w", err))
	}
	if call.Version != joinVersion {
		return p.keepOut(c, reasonProtocol, protocol.Errorf(protocol.CodeInvalid, "joining is done by version %d here, not %d", joinVersion, call.Version))
	}
	token, err := authority.ParseToken(call.Token)
	if err == nil {
		err = token.Verify(key, p.cfg.Clock())
	}
	if err == nil && token.Root != p.cfg.Identity.Root().Fingerprint() {
		err = authority.ErrTokenForged
	}
	if err != nil {
		return p.keepOut(c, reasonToken, protocol.Errorf(protocol.CodeForbidden, "%w", err))
	}
	call.Request.TokenID, call.Request.From = token.ID(), c.RemoteAddr().String()
	reply, err := h(ctx, call.Request)
	if err != nil {
		var e *protocol.Error
		if !errors.As(err, &e) {
			p.log.Error("a node can't be let in", "from", call.Request.From, "address", call.Request.Address, "error", err)
			return joinAnswer{Code: protocol.CodeInternal, Message: "the node asked failed; see its log", Unknown: true}
		}
		return joinAnswer{Code: e.Code, Message: e.Message, Unknown: e.OutcomeUnknown}
	}
	reply.Root = p.cfg.Identity.Root().PEM()
	p.log.Info("a node was let into the cluster", "node", reply.Node, "address", call.Request.Address, "from", call.Request.From, "token", token.ID())
	return joinAnswer{Reply: &reply}
}

// keepOut counts, logs and answers a refusal.
func (p *Port) keepOut(c *conn, reason string, e *protocol.Error) joinAnswer {
	p.refuse(c, &guest{alpn: alpnJoin, reason: reason}, e, true)
	return joinAnswer{Code: e.Code, Message: e.Message}
}

// forwardedJoin is a request on its way from the node that was asked to the one that decides.
type forwardedJoin struct {
	Request JoinRequest `cbor:"1,keyasint"`
	TokenID string      `cbor:"2,keyasint"`
	From    string      `cbor:"3,keyasint"`
}

// ForwardJoin lets another node's JoinHandler, the leader's, decide on a request whose token was checked here.
func (m *Mesh) ForwardJoin(ctx context.Context, to protocol.NodeID, r JoinRequest) (JoinReply, error) {
	body, err := cbor.Marshal(forwardedJoin{Request: r, TokenID: r.TokenID, From: r.From})
	if err != nil {
		return JoinReply{}, err
	}
	answer, err := m.Call(ctx, to, LaneControl, methodJoin, body)
	if err != nil {
		return JoinReply{}, err
	}
	var reply JoinReply
	if err := cbor.Unmarshal(answer, &reply); err != nil {
		return JoinReply{}, protocol.OutcomeUnknownf("the answer of node %s can't be read: %w", to, err)
	}
	return reply, nil
}

// letInFor answers a ForwardJoin. Letting in takes long: other calls of the lane need not wait for it.
func (m *Mesh) letInFor(ctx context.Context, from protocol.NodeID, body []byte) ([]byte, error) {
	Accepted(ctx)
	m.port.mu.Lock()
	h := m.port.lets
	m.port.mu.Unlock()
	var f forwardedJoin
	if err := cbor.Unmarshal(body, &f); err != nil {
		return nil, protocol.Errorf(protocol.CodeInvalid, "the request can't be read: %w", err)
	}
	if h == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this node lets nobody join yet")
	}
	f.Request.TokenID, f.Request.From, f.Request.By = f.TokenID, f.From, from
	reply, err := h(ctx, f.Request)
	if err != nil {
		return nil, err
	}
	return cbor.Marshal(reply)
}

// Joining is what somebody needs who wants to become a node. Token is needed.
type Joining struct {
	Token authority.Token
	// Dialer makes plain connections; nil is the system's.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	// Handshake is how long to try each address (5 s); the answer may take as long as the context allows.
	Handshake time.Duration
	// Clock is looked at for certificates' times; nil is time.Now.
	Clock func() time.Time
}

// Join asks the token's nodes, one after the other until one decides, to be let in, and returns the identity to open a Port with. A
// refusal is a *protocol.Error; with OutcomeUnknown the cluster may count this node in all the same.
func (j Joining) Join(ctx context.Context, r JoinRequest) (*authority.Identity, JoinReply, error) {
	if j.Dialer == nil {
		j.Dialer = new(net.Dialer).DialContext
	}
	if j.Clock == nil {
		j.Clock = time.Now
	}
	orDefault(&j.Handshake, 5*time.Second)
	key, err := authority.NewRequest()
	if err != nil {
		return nil, JoinReply{}, err
	}
	r.Request = key.DER()
	var errs []error
	for _, address := range j.Token.Addresses {
		reply, err := j.ask(ctx, address, r)
		if err == nil {
			return j.identify(key, reply)
		}
		errs = append(errs, fmt.Errorf("join by %s: %w", address, err))
		// An unreachable node, or one without a leader, may have a better neighbour. Any other word is final.
		var e *protocol.Error
		if errors.As(err, &e) && (e.Code != protocol.CodeUnavailable || e.OutcomeUnknown) || ctx.Err() != nil {
			break
		}
	}
	return nil, JoinReply{}, errors.Join(errs...)
}

func (j Joining) identify(key *authority.Request, reply JoinReply) (*authority.Identity, JoinReply, error) {
	identity, err := key.Identity(reply.Certificate, reply.Root)
	if err != nil {
		return nil, reply, fmt.Errorf("join: %w", err)
	}
	if identity.Root().Fingerprint() != j.Token.Root || identity.Node() != reply.Node {
		return nil, reply, errors.New("join: the certificate is not what the token and the answer promise")
	}
	return identity, reply, nil
}

func (j Joining) ask(ctx context.Context, address string, r JoinRequest) (JoinReply, error) {
	t, err := dialTLS(ctx, j.Dialer, address, j.Handshake, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Time:               j.Clock,
		NextProtos:         []string{alpnJoin},
		InsecureSkipVerify: true, //nolint:gosec // the token's fingerprint decides, in VerifyConnection
		VerifyConnection: func(cs tls.ConnectionState) error {
			root, err := authority.FindRoot(cs.PeerCertificates, j.Token.Root)
			if err != nil {
				return err
			}
			_, err = root.Verify(cs.PeerCertificates, j.Clock())
			return err
		},
	})
	if err != nil {
		return JoinReply{}, err
	}
	defer func() { _ = t.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = t.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := writeJoin(t, joinCall{Version: joinVersion, Token: j.Token.Line(), Request: r}, maxJoin); err != nil {
		return JoinReply{}, err
	}
	var a joinAnswer
	if err := readJoin(t, &a, maxJoinReply); err != nil {
		return JoinReply{}, protocol.OutcomeUnknownf("no answer: %w", err)
	}
	if a.Reply == nil {
		return JoinReply{}, &protocol.Error{Code: a.Code, Message: a.Message, OutcomeUnknown: a.Unknown}
	}
	return *a.Reply, nil
}

func writeJoin(w io.Writer, v any, most int) error {
	body, err := cbor.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > most {
		return fmt.Errorf("%d bytes are too many", len(body))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readJoin(r io.Reader, v any, most uint32) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > most {
		return fmt.Errorf("%d bytes are too many", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return cbor.Unmarshal(body, v)
}
