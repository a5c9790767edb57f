package msfs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"teamtalk/blobs/picture"
	"teamtalk/protocol"
)

// cacheFor is what caches of the client itself are told. A name belongs to one content for good, but what was recalled should not lie there for long.
const cacheFor = "private, max-age=86400, immutable"

// serveBlob is a GET or HEAD of g0/… or msfs/g0/…, signed or by a legacy client [TT-MSFS-4] [TT-MEDIA-2].
func (h *Handler) serveBlob(w http.ResponseWriter, r *http.Request, path string) {
	err := h.sendBlob(w, r, strings.TrimPrefix(path, "msfs/"))
	h.metrics.requests.WithLabelValues("download", outcome(err)).Inc()
	switch {
	case err == nil:
	case isSigned(r):
		fail(w, err)
	default:
		status, _ := statusOf(err)
		legacyStatus(w, status)
	}
}

// sendBlob sends content, or says why it does not before anything is sent.
func (h *Handler) sendBlob(w http.ResponseWriter, r *http.Request, path string) error {
	a, err := parseAsked(path)
	if err != nil {
		return err
	}
	client, err := h.admit(r, a.ID)
	if err != nil {
		return err
	}
	leave, err := h.gate.enter(client)
	if err != nil {
		return err
	}
	defer leave()
	b, err := h.cfg.Store.Blob(a.ID)
	if err != nil {
		return err
	}
	if a.MaxWidth == 0 || a.MaxHeight == 0 || h.thumbs == nil || !picture.IsPicture(b.Type) {
		return h.sendOriginal(w, r, &a, &b)
	}
	small, err := h.thumbs.open(r.Context(), &b, a.MaxWidth, a.MaxHeight, h.cfg.Store.Open)
	switch {
	case errors.Is(err, picture.ErrNotSmaller):
		h.metrics.thumbs.WithLabelValues("original").Inc()
		return h.sendOriginal(w, r, &a, &b)
	case err != nil:
		return err
	}
	defer small.Close()
	if _, err := h.cfg.Store.Blob(a.ID); err != nil { // it went while the picture was made
		h.Forget([]protocol.BlobID{a.ID})
		return err
	}
	h.metrics.thumbs.WithLabelValues(small.how).Inc()
	h.send(w, r, content{name: a.BlobPath, contentType: small.contentType, tag: small.name, added: b.Added, body: small.File})
	return nil
}

// admit says who asks, if whoever it is may have it.
func (h *Handler) admit(r *http.Request, id protocol.BlobID) (client string, err error) {
	if isSigned(r) {
		u, err := h.cfg.Tickets.CheckDownload(id, r.URL.Query(), time.Now())
		if err == nil {
			err = h.checkUser(u)
		}
		return userKey(u), err
	}
	addr := h.cfg.Client(r).Addr()
	if !h.cfg.Legacy(r.Context(), addr) {
		return "", protocol.Errorf(protocol.CodeForbidden, "nobody is logged in from there")
	}
	return addressKey(addr), nil
}

func (h *Handler) sendOriginal(w http.ResponseWriter, r *http.Request, a *asked, b *protocol.Blob) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body, err := h.cfg.Store.Open(ctx, b.ID)
	if err != nil {
		return err
	}
	defer body.Close()
	h.send(w, r, content{name: a.BlobPath, contentType: b.Type, tag: b.ID.String(), added: b.Added, body: body})
	return nil
}

// content is what is sent.
type content struct {
	name        protocol.BlobPath
	contentType string
	tag         string
	added       protocol.Time
	body        io.ReadSeeker
}

// send sends content, or the ranges of it that were asked for, with a type that a browser can't take for a page [TT-MSFS-7].
func (h *Handler) send(w http.ResponseWriter, r *http.Request, c content) {
	header := w.Header()
	header.Set("Cache-Control", cacheFor)
	header.Set("ETag", `"`+c.tag+`"`)
	if isShownInline(c.contentType) {
		header.Set("Content-Type", c.contentType)
	} else {
		header.Set("Content-Type", unknownType)
		header.Set("Content-Disposition", disposition(r, c.name))
	}
	counted := &countedWriter{ResponseWriter: newPacedWriter(w, h.cfg.Tuning.Stall), count: func(n int) { h.metrics.bytes.WithLabelValues("out").Add(float64(n)) }}
	http.ServeContent(counted, r, "", c.added.Std(), c.body)
}

// disposition is for what is only saved. Extended clients know what it is called, and a name here would win over theirs.
func disposition(r *http.Request, p protocol.BlobPath) string {
	if isSigned(r) {
		return "attachment"
	}
	return `attachment; filename="` + p.ID.String()[:16] + "." + p.Ext + `"`
}

func isSigned(r *http.Request) bool { return r.URL.Query().Has("s") }

// countedWriter counts what is sent.
type countedWriter struct {
	http.ResponseWriter
	count func(int)
}

// Write sends and counts.
func (c *countedWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.count(n)
	return n, err
}
