package longpoll

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"time"

	"teamtalk/protocol"
)

// Peers are the other nodes of the cluster.
type Peers interface {
	// Forward hands a request to the node with a number, which answers it by Serve. An error means that the session there is out of reach.
	Forward(ctx context.Context, node string, request []byte) (answer []byte, err error)
}

const (
	forwardPatience = 15 * time.Second // for the owner to answer, besides what it may hold a poll
	briefWait       = time.Second      // between two looks for a batch when no more polls may be held on other nodes
	forwardVersion  = 1
)

// Requests as they travel between nodes.
const (
	wirePost  = 1
	wirePoll  = 2
	wireClose = 3
)

var errForward = errors.New("longpoll: malformed request or answer of another node")

// request is one of a session's requests, its token checked.
type request struct {
	kind byte
	id   ident
	n    uint64        // of a POST, or the batch after which a poll asks
	wait time.Duration // of a poll; whole milliseconds
	body []byte        // of a POST
}

func (q *request) name() string {
	switch q.kind {
	case wirePost:
		return requestPost
	case wirePoll:
		return requestPoll
	}
	return requestClose
}

func (q *request) encode() []byte {
	b := make([]byte, 0, 2+len(q.id)+2*binary.MaxVarintLen64+len(q.body))
	b = append(b, forwardVersion, q.kind)
	b = append(b, q.id[:]...)
	b = binary.AppendUvarint(b, q.n)
	b = binary.AppendUvarint(b, uint64(q.wait.Milliseconds()))
	return append(b, q.body...)
}

func decodeRequest(b []byte) (q request, err error) {
	if len(b) < 2+len(q.id) || b[0] != forwardVersion || b[1] < wirePost || b[1] > wireClose {
		return q, errForward
	}
	q.kind = b[1]
	b = b[2:]
	b = b[copy(q.id[:], b):]
	q.n, b, err = uvarint(b)
	if err != nil {
		return q, err
	}
	wait, b, err := uvarint(b)
	if err != nil || wait > uint64(time.Hour.Milliseconds()) || len(b) > maxBody {
		return q, errForward
	}
	q.wait, q.body = time.Duration(wait)*time.Millisecond, b
	return q, nil
}

func (a *answer) encode() []byte {
	b := binary.BigEndian.AppendUint16([]byte{forwardVersion}, uint16(a.status))
	seq := uint64(0)
	if a.hasSeq {
		seq = a.seq + 1
	}
	return append(binary.AppendUvarint(b, seq), a.body...)
}

func decodeAnswer(b []byte) (a answer, err error) {
	if len(b) < 3 || b[0] != forwardVersion {
		return a, errForward
	}
	a.status = int(binary.BigEndian.Uint16(b[1:]))
	seq, b, err := uvarint(b[3:])
	if err != nil || a.status < http.StatusOK || a.status > 599 {
		return a, errForward
	}
	if a.hasSeq = seq > 0; a.hasSeq {
		a.seq = seq - 1
	}
	a.body = b
	return a, nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errForward
	}
	return v, b[n:], nil
}

// Serve answers a request that came to another node for a session of this one. It returns soon after ctx ends.
func (h *Handler) Serve(ctx context.Context, forwarded []byte) ([]byte, error) {
	q, err := decodeRequest(forwarded)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeInvalid, "%w", err)
	}
	a := h.carryOut(ctx, &q)
	h.metrics.answers.WithLabelValues(q.name(), strconv.Itoa(a.status)).Inc()
	return a.encode(), nil
}

// carryOut is what is done for a request that came to another node.
func (h *Handler) carryOut(ctx context.Context, q *request) answer {
	s := h.find(q.id)
	switch {
	case s == nil:
		return answer{status: http.StatusGone}
	case q.kind == wireClose:
		s.closeByClient()
		return answer{status: http.StatusNoContent}
	case q.kind == wirePost:
		return h.carryOutPost(ctx, q, s)
	}
	turn, refused := s.beginPoll(q.n)
	if refused != 0 {
		return answer{status: refused}
	}
	defer s.endPoll()
	a, _ := s.hold(ctx, q.n, turn, min(q.wait, h.cfg.Poll))
	return a
}

func (h *Handler) carryOutPost(ctx context.Context, q *request, s *session) answer {
	from, refused := s.beginPost(q.n)
	if refused.status != 0 {
		return refused
	}
	defer s.endPost()
	b, err := receive(bytes.NewReader(q.body), int64(len(q.body)), from)
	if err != nil { // it is not too large, and was received whole
		h.metrics.refused.WithLabelValues(refusedBodies).Inc()
		return answer{status: http.StatusServiceUnavailable}
	}
	return s.accept(ctx, q.n, b)
}

// forward has the owner of a session answer a request. If it is out of reach so is the session: its client opens another one and resumes [TT-LP-9].
func (h *Handler) forward(ctx context.Context, owner string, q *request) answer {
	if h.cfg.Peers == nil {
		return answer{status: http.StatusGone}
	}
	limited, cancel := context.WithTimeout(ctx, q.wait+forwardPatience)
	defer cancel()
	var a answer
	b, err := h.cfg.Peers.Forward(limited, owner, q.encode())
	if err == nil {
		a, err = decodeAnswer(b)
	}
	switch {
	case err == nil:
		h.metrics.forwarded.WithLabelValues(q.name(), "answered").Inc()
		return a
	case protocol.CodeOf(err) == protocol.CodeOverloaded:
		h.metrics.forwarded.WithLabelValues(q.name(), "overloaded").Inc()
		return answer{status: http.StatusServiceUnavailable}
	case ctx.Err() != nil: // the client is gone, which the owner learns too; nobody reads the answer
		h.metrics.forwarded.WithLabelValues(q.name(), "given_up").Inc()
		return answer{status: http.StatusGone}
	}
	h.metrics.forwarded.WithLabelValues(q.name(), "out_of_reach").Inc()
	h.cfg.Log.Debug("long-poll session out of reach", "request", q.name(), "node", owner, "error", err)
	return answer{status: http.StatusGone}
}

// serveForward is a request for a session of another node.
func (h *Handler) serveForward(w http.ResponseWriter, r *http.Request, owner string, kind string, id ident) {
	q := request{id: id}
	var a answer
	switch kind {
	case requestClose:
		q.kind = wireClose
		a = h.forward(r.Context(), owner, &q)
	case requestPost:
		a = h.forwardPost(w, r, owner, &q)
	default:
		a = h.forwardPoll(w, r, owner, &q)
	}
	h.respond(w, kind, a)
}

func (h *Handler) forwardPost(w http.ResponseWriter, r *http.Request, owner string, q *request) answer {
	n, refused := postNumber(r)
	if refused != 0 {
		return answer{status: refused}
	}
	b, refused := h.receivePost(w, r, &h.bodies.strangers) // whether the client has logged in only the owner knows
	if refused != 0 {
		return answer{status: refused}
	}
	defer b.release()
	q.kind, q.n, q.body = wirePost, n, b.rest
	return h.forward(r.Context(), owner, q)
}

// forwardPoll has a poll held on its owner, as long as there are not too many. Otherwise it looks there twice.
func (h *Handler) forwardPoll(w http.ResponseWriter, r *http.Request, owner string, q *request) answer {
	after, wait, ok := h.pollQuery(r)
	if !ok {
		return answer{status: http.StatusBadRequest}
	}
	q.kind, q.n = wirePoll, after
	extend(http.NewResponseController(w).SetWriteDeadline, wait+forwardPatience+h.cfg.Timing.Body)
	select {
	case h.holding <- struct{}{}:
		defer func() { <-h.holding }()
		q.wait = wait
		return h.forward(r.Context(), owner, q)
	default:
	}
	a := h.forward(r.Context(), owner, q)
	if a.status != http.StatusNoContent || wait == 0 {
		return a
	}
	pause := time.NewTimer(min(wait, briefWait))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.Context().Done():
		return a
	}
	return h.forward(r.Context(), owner, q)
}
