package longpoll

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"teamtalk/gateway/transport"
)

const (
	root      = "/lp"
	headerSeq = "Teamtalk-Seq"
	// answerPace is what a client has to take or send a second, in bytes, after the first.
	answerPace = 16 << 10
)

// pace is the time for size bytes.
func (t *Timing) pace(size int) time.Duration {
	return t.Body + time.Duration(size/answerPace)*time.Second
}

// answer is a response before it is written.
type answer struct {
	status int
	seq    uint64
	hasSeq bool
	json   bool
	body   []byte
}

// ServeHTTP serves the requests of docs/PROTOCOL.md; all others are not found.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !transport.OriginAllowed(r, h.cfg.Origins) { // [TT-LP-2]
		h.metrics.refused.WithLabelValues(refusedOrigin).Inc()
		h.respond(w, requestOther, answer{status: http.StatusForbidden})
		return
	}
	allowPage(w, r)
	rest, ok := strings.CutPrefix(r.URL.Path, root)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		h.respond(w, requestOther, answer{status: http.StatusNotFound})
	case r.Method == http.MethodOptions:
		h.respond(w, requestOther, answer{status: http.StatusNoContent})
	case rest == "" && r.Method == http.MethodPost:
		h.respond(w, requestOpen, h.openSession(r))
	case rest == "":
		h.refuseMethod(w, http.MethodPost)
	default:
		h.serveSession(w, r, rest[1:])
	}
}

// allowPage lets a page of an allowed site see the answers; that the site is allowed has been checked.
func allowPage(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	head := w.Header()
	head.Set("Access-Control-Allow-Origin", origin)
	head.Add("Vary", "Origin")
	head.Set("Access-Control-Expose-Headers", headerSeq)
	if r.Method == http.MethodOptions {
		head.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+headerSeq)
		head.Set("Access-Control-Max-Age", "600")
	}
}

func (h *Handler) refuseMethod(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	h.respond(w, requestOther, answer{status: http.StatusMethodNotAllowed})
}

// openSession is POST /lp [TT-LP-1].
func (h *Handler) openSession(r *http.Request) answer {
	addr := h.cfg.RemoteAddr(r)
	refuse := func(status int, why string) answer {
		h.metrics.refused.WithLabelValues(why).Inc()
		return answer{status: status}
	}
	switch {
	case h.tracker.Stopped():
		return refuse(http.StatusServiceUnavailable, refusedStopping)
	case !h.opening.allow(addr.Addr()):
		return refuse(http.StatusTooManyRequests, refusedRate)
	}
	id, text, token := h.tickets.issue()
	s := newSession(h, id, addr)
	if !h.add(s) {
		s.silent.Stop()
		return refuse(http.StatusServiceUnavailable, refusedFull)
	}
	if !h.tracker.Spawn(s, h.cfg.Handle) {
		return refuse(http.StatusServiceUnavailable, refusedStopping)
	}
	h.metrics.opened.Inc()
	h.cfg.Log.Debug("long-poll session opened", "remote", addr)
	body := `{"id":"` + text + `","token":"` + token + `","poll_s":` + strconv.Itoa(int(h.cfg.Poll/time.Second)) + `}`
	return answer{status: http.StatusOK, json: true, body: []byte(body)}
}

// serveSession is every request but the first.
func (h *Handler) serveSession(w http.ResponseWriter, r *http.Request, path string) {
	text, isClose := strings.CutSuffix(path, "/close")
	owner, id, ok := h.tickets.check(text, bearer(r))
	if !ok { // an unknown id and a wrong token alike
		h.metrics.refused.WithLabelValues(refusedToken).Inc()
		h.respond(w, requestOther, answer{status: http.StatusNotFound})
		return
	}
	var kind string
	switch {
	case isClose && r.Method == http.MethodPost, !isClose && r.Method == http.MethodDelete:
		kind = requestClose
	case isClose:
		h.refuseMethod(w, http.MethodPost)
		return
	case r.Method == http.MethodPost:
		kind = requestPost
	case r.Method == http.MethodGet:
		kind = requestPoll
	default:
		h.refuseMethod(w, "GET, POST, DELETE")
		return
	}
	if owner != h.cfg.Node {
		h.serveForward(w, r, owner, kind, id)
		return
	}
	s := h.find(id)
	if s == nil {
		h.respond(w, kind, answer{status: http.StatusGone})
		return
	}
	switch kind {
	case requestClose:
		s.closeByClient()
		h.respond(w, kind, answer{status: http.StatusNoContent})
	case requestPost:
		h.respond(w, kind, h.post(w, r, s))
	default:
		h.poll(w, r, s)
	}
}

// bearer is the token of a request; it is nowhere but in this header [TT-LP-1].
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// post is POST /lp/{id}. Nothing of it is applied before all of it is there.
func (h *Handler) post(w http.ResponseWriter, r *http.Request, s *session) answer {
	n, status := postNumber(r)
	if status != 0 {
		return answer{status: status}
	}
	from, refused := s.beginPost(n)
	if refused.status != 0 {
		return refused
	}
	defer s.endPost()
	b, status := h.receivePost(w, r, from)
	if status != 0 {
		return answer{status: status}
	}
	return s.accept(r.Context(), n, b)
}

// postNumber is that of a POST; a status other than 0 refuses it.
func postNumber(r *http.Request) (n uint64, refused int) {
	n, err := strconv.ParseUint(r.Header.Get(headerSeq), 10, 64)
	switch {
	case err != nil || n == 0:
		return 0, http.StatusBadRequest
	case r.ContentLength > maxBody:
		return 0, http.StatusRequestEntityTooLarge
	}
	return n, 0
}

// receivePost reads the body of a POST; a status other than 0 refuses it.
func (h *Handler) receivePost(w http.ResponseWriter, r *http.Request, from *budget) (b body, refused int) {
	extend(http.NewResponseController(w).SetReadDeadline, h.cfg.Timing.pace(maxBody))
	b, err := receive(r.Body, r.ContentLength, from)
	switch {
	case errors.Is(err, errTooLarge):
		return b, http.StatusRequestEntityTooLarge
	case errors.Is(err, errNoRoom):
		h.metrics.refused.WithLabelValues(refusedBodies).Inc()
		return b, http.StatusServiceUnavailable
	case err != nil: // the connection broke, or was too slow
		return b, http.StatusRequestTimeout
	}
	return b, 0
}

// pollQuery is what a poll asks for; false: it is malformed.
func (h *Handler) pollQuery(r *http.Request) (after uint64, wait time.Duration, ok bool) {
	query := r.URL.Query()
	after, err := strconv.ParseUint(query.Get("after"), 10, 64)
	if err != nil {
		return 0, 0, false
	}
	wait = h.cfg.Poll
	if query.Has("wait") {
		seconds, err := strconv.ParseUint(query.Get("wait"), 10, 32)
		if err != nil {
			return 0, 0, false
		}
		wait = min(wait, time.Duration(seconds)*time.Second)
	}
	return after, wait, true
}

// poll is GET /lp/{id}.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request, s *session) {
	after, wait, ok := h.pollQuery(r)
	if !ok {
		h.respond(w, requestPoll, answer{status: http.StatusBadRequest})
		return
	}
	turn, refused := s.beginPoll(after)
	if refused != 0 {
		h.respond(w, requestPoll, answer{status: refused})
		return
	}
	// The server's own deadline may be shorter than a poll; over HTTP/2 it ends a request that has not been answered.
	extend(http.NewResponseController(w).SetWriteDeadline, wait+h.cfg.Timing.Body)
	first := min(wait, h.cfg.Timing.Park)
	a, ok := s.hold(r.Context(), after, turn, first)
	if rest := wait - first; !ok && rest > 0 {
		if p := takeOver(w, r); p != nil {
			p.after, p.turn = after, turn
			s.park(p, rest)
			return
		}
		a, _ = s.hold(r.Context(), after, turn, rest)
	}
	h.respond(w, requestPoll, a)
	s.endPoll()
}

// extend sets a deadline where there are any.
func extend(set func(time.Time) error, d time.Duration) {
	_ = set(time.Now().Add(d)) // an error means that there is no such deadline, or no connection, which writing will show
}

// respond writes a complete response [TT-LP-2].
func (h *Handler) respond(w http.ResponseWriter, request string, a answer) {
	h.metrics.answers.WithLabelValues(request, strconv.Itoa(a.status)).Inc()
	a.describe(w.Header())
	extend(http.NewResponseController(w).SetWriteDeadline, h.cfg.Timing.pace(len(a.body)))
	w.WriteHeader(a.status)
	if len(a.body) == 0 {
		return
	}
	if _, err := w.Write(a.body); err != nil { // it will be asked for again
		h.cfg.Log.Debug("long-poll answer not written", "request", request, "error", err)
	}
}

// describe sets the headers of a response.
func (a *answer) describe(head http.Header) {
	head.Set("Cache-Control", "no-store, no-transform")
	if a.json {
		head.Set("Content-Type", "application/json")
	} else {
		head.Set("Content-Type", "application/octet-stream")
	}
	if a.hasSeq {
		head.Set(headerSeq, strconv.FormatUint(a.seq, 10))
	}
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		head.Set("Retry-After", "1")
	}
	if a.status != http.StatusNoContent {
		head.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
}
