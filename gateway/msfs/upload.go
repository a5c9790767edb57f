package msfs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"teamtalk/protocol"
)

// offsetHeader says where in the file a body begins [TT-MEDIA-5].
const offsetHeader = "Upload-Offset"

// resultsMost is how many complete uploads are remembered, for clients that did not get the answer.
const resultsMost = 4096

// uploads are those that are begun, by the ids of their tickets.
type uploads struct {
	each, most int // partial ones, of one user and in all

	mu sync.Mutex // guards what follows; taken after that of an upload
	by map[[nonceSize]byte]*upload
	of map[protocol.UserID]int // partial ones
	n  int                     // partial ones in all
}

// upload is one file on its way, in any number of requests.
type upload struct {
	ticket UploadTicket
	turn   chan struct{} // holds a token while nobody works on it

	mu     sync.Mutex   // guards what follows
	writer *pacedReader // who works on it; nil: nobody who could be interrupted
	used   time.Time    // last
	in     *intake      // belongs to who has the turn; nil: nothing came yet, or it is over
	done   *stored      // complete
	offset uint64       // bytes that came
	gone   bool         // no longer among the uploads
}

func (u *uploads) init(each, most int) {
	u.each, u.most, u.by, u.of = each, most, make(map[[nonceSize]byte]*upload), make(map[protocol.UserID]int)
}

// find is the upload of a ticket; nil: nothing of it came.
func (u *uploads) find(id [nonceSize]byte) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.by[id]
}

// open is the upload of a ticket, perhaps a new one.
func (u *uploads) open(k UploadTicket, now time.Time) (*upload, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := u.by[k.ID]; p != nil {
		return p, nil
	}
	if u.of[k.User] >= u.each {
		return nil, protocol.Errorf(protocol.CodeRateLimited, "%d uploads are begun and not complete: finish some", u.each)
	}
	if u.n >= u.most {
		return nil, protocol.Errorf(protocol.CodeOverloaded, "too many uploads are begun here: try again later")
	}
	p := &upload{ticket: k, turn: make(chan struct{}, 1), used: now}
	p.turn <- struct{}{}
	u.by[k.ID] = p
	u.of[k.User]++
	u.n++
	return p, nil
}

// completed no longer counts an upload among the partial ones.
func (u *uploads) completed(p *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	if u.of[p.ticket.User]--; u.of[p.ticket.User] == 0 {
		delete(u.of, p.ticket.User)
	}
}

// remove forgets an upload, of which its holder has the turn.
func (u *uploads) remove(p *upload) {
	p.mu.Lock()
	wasPartial := p.done == nil && !p.gone
	p.gone = true
	p.mu.Unlock()
	if wasPartial {
		u.completed(p)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.by, p.ticket.ID)
}

// list is all of them.
func (u *uploads) list() []*upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]*upload, 0, len(u.by))
	for _, p := range u.by {
		all = append(all, p)
	}
	return all
}

// state is how far an upload is.
func (p *upload) state() (offset uint64, done *stored) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offset, p.done
}

// take waits for the turn. Whoever has it is interrupted: the client has begun anew, so the former connection is dead, whatever it looks like.
func (p *upload) take(ctx context.Context, me *pacedReader) error {
	p.mu.Lock()
	if p.writer != nil {
		p.writer.interrupt()
	}
	p.mu.Unlock()
	select {
	case <-p.turn:
	case <-ctx.Done():
		return protocol.Errorf(protocol.CodeUnavailable, "another request is at work on this upload")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writer = me
	return nil
}

// leave hands the turn on.
func (p *upload) leave(now time.Time) {
	p.mu.Lock()
	p.writer, p.used = nil, now
	p.mu.Unlock()
	p.turn <- struct{}{}
}

// serveUpload is /media/up/<ticket> [TT-MEDIA-5].
func (h *Handler) serveUpload(w http.ResponseWriter, r *http.Request, ticket string) {
	k, err := h.cfg.Tickets.CheckUpload(ticket, time.Now())
	if err == nil {
		err = h.checkUser(k.User)
	}
	switch {
	case err != nil:
		fail(w, err)
	case r.Method == http.MethodGet:
		h.tellUpload(w, k)
	case r.Method == http.MethodPost:
		err = h.takeUpload(w, r, k)
	default:
		w.Header().Set("Allow", "GET, POST")
		answer(w, http.StatusMethodNotAllowed, failure{Error: "GET or POST", Code: protocol.CodeInvalid.String()})
	}
	h.metrics.requests.WithLabelValues("upload", outcome(err)).Inc()
}

// checkUser refuses those who were let in once, and are no more.
func (h *Handler) checkUser(u protocol.UserID) error {
	if !h.cfg.Active(u) {
		return protocol.Errorf(protocol.CodeForbidden, "this user may not use the server any more")
	}
	return nil
}

func (h *Handler) tellUpload(w http.ResponseWriter, k UploadTicket) {
	p := h.uploads.find(k.ID)
	if p == nil {
		answer(w, http.StatusOK, progress{Size: k.Size})
		return
	}
	offset, done := p.state()
	if done != nil {
		answer(w, http.StatusOK, done)
		return
	}
	answer(w, http.StatusOK, progress{Offset: offset, Size: k.Size})
}

// takeUpload takes a piece of a file. The error has been told.
func (h *Handler) takeUpload(w http.ResponseWriter, r *http.Request, k UploadTicket) error {
	leave, offset, err := h.admitUpload(r, k)
	if err != nil {
		fail(w, err)
		return err
	}
	defer leave()
	p, err := h.uploads.open(k, time.Now())
	if err != nil {
		fail(w, err)
		return err
	}
	body := newPacedReader(w, r.Body, h.cfg.Tuning.Stall)
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Tuning.keepWithin(p.ticket.Size)) // that is how long another one may take at most
	defer cancel()
	if err := p.take(ctx, body); err != nil {
		fail(w, err)
		return err
	}
	defer func() { p.leave(time.Now()) }()
	if isGone := h.check(w, p, offset, r.ContentLength); isGone {
		return nil
	}
	return h.piece(w, r, p, body)
}

// admitUpload refuses what can't be, and counts the rest.
func (h *Handler) admitUpload(r *http.Request, k UploadTicket) (leave func(), offset uint64, err error) {
	if s := r.Header.Get(offsetHeader); s != "" {
		if offset, err = strconv.ParseUint(s, 10, 64); err != nil {
			return nil, 0, protocol.Errorf(protocol.CodeInvalid, "%s is no number of bytes", offsetHeader)
		}
	}
	if k.Size > h.cfg.MaxUpload {
		return nil, 0, protocol.Errorf(protocol.CodeTooLarge, "%d bytes: at most %d", k.Size, h.cfg.MaxUpload)
	}
	leave, err = h.gate.enter(userKey(k.User))
	return leave, offset, err
}

// check answers a piece that is not to be taken; true: it has.
func (h *Handler) check(w http.ResponseWriter, p *upload, offset uint64, length int64) bool {
	have, done := p.state()
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	switch {
	case done != nil:
		answer(w, http.StatusOK, done)
	case gone:
		fail(w, protocol.Errorf(protocol.CodeUnavailable, "this upload was given up: begin anew"))
	case offset != have:
		answer(w, http.StatusConflict, progress{Offset: have, Size: p.ticket.Size, Code: protocol.CodeInvalid.String(),
			Error: "the upload is at another offset"})
	case length > 0 && uint64(length) > p.ticket.Size-have:
		fail(w, protocol.Errorf(protocol.CodeTooLarge, "the body goes beyond the %d bytes that were announced", p.ticket.Size))
	default:
		return false
	}
	return true
}

// piece reads the body, and completes the upload if that was all. The caller has the turn.
func (h *Handler) piece(w http.ResponseWriter, r *http.Request, p *upload, body *pacedReader) error {
	err := h.begin(r.Context(), p)
	if err == nil {
		err = h.fill(p, body)
	}
	offset, _ := p.state()
	var done *stored
	if err == nil && offset == p.ticket.Size {
		body.answerIn(h.cfg.Tuning.keepWithin(p.ticket.Size))
		done, err = h.complete(r.Context(), p)
	}
	switch {
	case done != nil:
		answer(w, http.StatusOK, done)
	case err == nil:
		answer(w, http.StatusAccepted, progress{Offset: offset, Size: p.ticket.Size})
	case errors.Is(err, errCut):
		answer(w, http.StatusRequestTimeout, progress{Offset: offset, Size: p.ticket.Size, Error: errorText(errLate), Code: protocol.CodeUnavailable.String()})
	default:
		h.giveUp(p)
		h.cfg.Log.Info("upload refused", "user", p.ticket.User, "size", p.ticket.Size, "offset", offset, "error", err)
		fail(w, err)
	}
	return err
}

// begin makes room for the first piece.
func (h *Handler) begin(ctx context.Context, p *upload) error {
	if p.in != nil {
		return nil
	}
	in, err := newIntake(ctx, h.cfg.Store, p.ticket.User, p.ticket.Size)
	if err != nil {
		return err
	}
	p.in = in
	h.metrics.partial.Inc()
	return nil
}

// errCut is a body that ended, or became too slow, before all had come; what came stays.
var errCut = errors.New("the body was cut")

// fill reads what the body has.
func (h *Handler) fill(p *upload, body io.Reader) error {
	b := make([]byte, readPart)
	for {
		n, err := body.Read(b)
		h.metrics.bytes.WithLabelValues("in").Add(float64(n))
		if uint64(n) > p.ticket.Size-p.in.size {
			return protocol.Errorf(protocol.CodeTooLarge, "the body goes beyond the %d bytes that were announced", p.ticket.Size)
		}
		if _, err := p.in.Write(b[:n]); err != nil {
			return err
		}
		p.mu.Lock()
		p.offset = p.in.size
		p.mu.Unlock()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Join(errCut, err)
		}
	}
}

// complete records the content.
func (h *Handler) complete(ctx context.Context, p *upload) (*stored, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.Tuning.keepWithin(p.ticket.Size))
	defer cancel()
	b, err := p.in.finish(ctx, p.ticket.User, p.ticket.Type)
	if err != nil {
		return nil, err
	}
	path := pathOf(&b, p.ticket.Name)
	done := &stored{Path: path.String(), URL: h.cfg.Base() + path.String(), SHA256: b.ID.String(), Size: b.Size, Type: b.Type, Width: b.Width, Height: b.Height}
	p.in = nil
	h.metrics.partial.Dec()
	h.uploads.completed(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	return done, nil
}

// giveUp removes what came of an upload. The caller has the turn.
func (h *Handler) giveUp(p *upload) {
	if p.in != nil {
		p.in.abort()
		p.in = nil
		h.metrics.partial.Dec()
	}
	h.uploads.remove(p)
}

// sweepEvery is how often uploads are looked for that nobody goes on with.
const sweepEvery = time.Minute

// Run gives up uploads that nobody goes on with, until ctx ends; then all of them [TT-MEDIA-6].
func (h *Handler) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.sweep(time.Now().Add(-h.cfg.Tuning.Partial))
		case <-ctx.Done():
			h.sweep(time.Now().Add(h.cfg.Tuning.Partial))
			return ctx.Err()
		}
	}
}

// sweep gives up what was last used before a time, except what is being worked on, and results that are too many.
func (h *Handler) sweep(before time.Time) {
	all := h.uploads.list()
	for i, p := range all {
		select {
		case <-p.turn:
		default:
			continue
		}
		p.mu.Lock()
		isOld := p.used.Before(before) || p.done != nil && len(all)-i > resultsMost
		p.mu.Unlock()
		if isOld {
			h.giveUp(p)
		}
		p.turn <- struct{}{}
	}
}
