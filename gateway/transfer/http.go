package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
)

// Ticket is what a request for a task has proved.
type Ticket struct {
	User   protocol.UserID
	Task   string
	Upload bool // to send the file; else to fetch it
}

// Handler carries offline files over HTTP, for clients that have no other way [TT-FILE-13]. check finds out whose request it is: an error is a 403.
func (e *Engine) Handler(check func(*http.Request) (Ticket, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, err := check(r)
		switch {
		case err != nil:
			deny(w, http.StatusForbidden, protocol.CodeForbidden, err.Error())
		case ticket.Upload && r.Method == http.MethodPost:
			e.post(w, r, ticket)
		case ticket.Upload && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			e.progress(w, ticket)
		case !ticket.Upload && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			e.get(w, r, ticket)
		default:
			deny(w, http.StatusMethodNotAllowed, protocol.CodeInvalid, "not for this ticket: "+r.Method)
		}
	})
}

// progress says how much of a file has come.
func (e *Engine) progress(w http.ResponseWriter, ticket Ticket) {
	t, _ := e.find(ticket.Task, ticket.User, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD)
	if t == nil {
		e.noTask(w, ticket)
		return
	}
	tell(w, http.StatusOK, map[string]any{"offset": t.stored(), "size": t.size})
}

// noTask answers for a task that is not under way: it may be done.
func (e *Engine) noTask(w http.ResponseWriter, ticket Ticket) {
	if t := e.storedTask(ticket.Task, ticket.User); t != nil {
		tellStored(w, t)
		return
	}
	deny(w, http.StatusNotFound, protocol.CodeNotFound, "no such file is to come: offer it anew")
}

func tellStored(w http.ResponseWriter, t *task) {
	tell(w, http.StatusOK, map[string]any{"offset": t.size, "size": t.size, "stored": true})
}

// stored is how much of the file has come.
func (t *task) stored() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draft == nil {
		return 0
	}
	return t.draft.Size()
}

// post takes a piece of a file, which begins where the one before ended.
func (e *Engine) post(w http.ResponseWriter, r *http.Request, ticket Ticket) {
	offset, err := strconv.ParseUint(cmp.Or(r.Header.Get("Upload-Offset"), "0"), 10, 32)
	if err != nil {
		deny(w, http.StatusBadRequest, protocol.CodeInvalid, "Upload-Offset is not a number of bytes")
		return
	}
	t, s := e.find(ticket.Task, ticket.User, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD)
	if t == nil {
		e.noTask(w, ticket)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	control := http.NewResponseController(w)
	var mu sync.Mutex
	returned := false // from then on w is nobody's, or another request's
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		returned = true
	}()
	kick := func() {
		mu.Lock()
		defer mu.Unlock()
		if !returned {
			cancel()
			_ = control.SetReadDeadline(time.Unix(1, 0)) // what can't do that ends with the idle time
		}
	}
	var answering atomic.Bool // by then it is no other's end that matters
	finish := func() {
		if !answering.Load() {
			kick()
		}
	}
	p := &party{kick: kick, finish: finish, left: make(chan struct{})}
	if !t.enter(ctx, s, p, func() {}) {
		e.noTask(w, ticket)
		return
	}
	defer close(p.left)
	defer e.leave(t, s, p)
	at, err := e.piece(ctx, control, t, offset, r.Body)
	answering.Store(true)
	switch {
	case errors.Is(err, errOffset):
		tell(w, http.StatusConflict, map[string]any{"offset": at, "error": err.Error(), "code": protocol.CodeInvalid.String()})
	case err != nil:
		e.failed(w, t, err)
	case at < uint64(t.size):
		tell(w, http.StatusAccepted, map[string]any{"offset": at})
	default:
		e.finish(t, endedDone) // or something else has ended it meanwhile: it is stored
		tellStored(w, t)
	}
}

// errOffset: a piece does not begin where the one before ended.
var errOffset = errors.New("the file goes on elsewhere")

// piece takes a piece, stores the file if it was the last one, and returns how much there is then.
func (e *Engine) piece(ctx context.Context, control *http.ResponseController, t *task, offset uint64, body io.Reader) (uint64, error) {
	if err := e.begin(t); err != nil {
		return 0, err
	}
	if at := t.draft.Size(); offset != at {
		return at, errOffset
	}
	if err := e.receive(ctx, control, t, body); err != nil {
		return 0, err
	}
	at := t.draft.Size()
	if at < uint64(t.size) {
		return at, nil
	}
	_ = control.SetWriteDeadline(time.Time{}) // storing takes its time
	return at, e.commit(e.life, t)
}

// errBody is inside the errors of a request's body: what came of it is good.
var errBody = errors.New("the body ended early")

// receive writes a body to the draft, as long as bytes come in time.
func (e *Engine) receive(ctx context.Context, control *http.ResponseController, t *task, body io.Reader) error {
	buf := make([]byte, bulkSegment)
	for {
		until := time.Now().Add(e.timing.Idle)
		_ = control.SetReadDeadline(until) // what can't do that keeps the deadline it has
		_ = control.SetWriteDeadline(until)
		if err := ctx.Err(); err != nil { // behind the deadline, which kick sets behind this
			return fmt.Errorf("%w: %w", errBody, err)
		}
		n, err := body.Read(buf)
		if left := uint64(t.size) - t.draft.Size(); uint64(n) > left {
			return protocol.Errorf(protocol.CodeTooLarge, "the file has %d bytes, as was said", t.size)
		}
		if n > 0 {
			if _, err := t.draft.Write(buf[:n]); err != nil {
				return err
			}
			e.metrics.bytes.WithLabelValues("stored").Add(float64(n))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBody, err)
		}
	}
}

// failed answers a piece that was not taken. What can't be stored can't be later: the task is over then.
func (e *Engine) failed(w http.ResponseWriter, t *task, err error) {
	switch {
	case errors.Is(err, errBody):
		deny(w, http.StatusRequestTimeout, protocol.CodeUnavailable, err.Error())
		return
	case protocol.CodeOf(err) == protocol.CodeTooLarge:
		e.finish(t, endedCancelled)
		deny(w, http.StatusRequestEntityTooLarge, protocol.CodeTooLarge, err.Error())
		return
	}
	e.log.Warn("file not stored", "task", t.id, "from", t.from, "to", t.to, "size", t.size, "error", err)
	e.finish(t, endedFailed)
	status, code := http.StatusInternalServerError, protocol.CodeOf(err)
	if code == protocol.CodeQuota || code == protocol.CodeUnavailable {
		status = http.StatusInsufficientStorage
	}
	deny(w, status, code, "the file could not be stored")
}

// get sends a file that waits, or a part of it.
func (e *Engine) get(w http.ResponseWriter, r *http.Request, ticket Ticket) {
	f, err := e.waiting(ticket.User, ticket.Task)
	var content io.ReadSeekCloser
	if err == nil {
		content, err = e.open(r.Context(), ticket.User, &f)
	}
	switch code := protocol.CodeOf(err); {
	case err == nil:
	case errors.Is(err, errMany):
		e.metrics.refused.WithLabelValues("many").Inc()
		w.Header().Set("Retry-After", "1")
		deny(w, http.StatusTooManyRequests, protocol.CodeRateLimited, "too many files are fetched at once: wait for some to end")
		return
	case code == protocol.CodeUnavailable:
		deny(w, http.StatusServiceUnavailable, code, "the file is out of reach")
		return
	default:
		deny(w, http.StatusNotFound, protocol.CodeNotFound, "no such file waits")
		return
	}
	defer func() { _ = content.Close() }() // it was only read
	h := w.Header()
	h.Set("Content-Type", fileType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": baseName(f.Name)}))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "private, no-store")
	h.Set("ETag", `"`+f.Blob.String()+`"`)
	control := http.NewResponseController(w)
	http.ServeContent(&paced{ResponseWriter: w, control: control, e: e}, r, "", time.Time{}, content)
}

// paced lets an answer take as long as the client goes on taking it.
type paced struct {
	http.ResponseWriter
	control *http.ResponseController
	e       *Engine
}

// Unwrap is for http.ResponseController.
func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Write moves the deadline and writes.
func (p *paced) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.e.timing.Idle)) // what can't do that keeps the deadline it has
	n, err := p.ResponseWriter.Write(b)
	p.e.metrics.bytes.WithLabelValues("fetched").Add(float64(n))
	return n, err
}

// baseName is the name without the folders. COMPAT: Windows sends the whole local path.
func baseName(name string) string { return path.Base(strings.ReplaceAll(name, `\`, "/")) }

func tell(w http.ResponseWriter, status int, body map[string]any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone, or will ask again
}

func deny(w http.ResponseWriter, status int, code protocol.Code, why string) {
	tell(w, status, map[string]any{"error": why, "code": code.String()})
}
