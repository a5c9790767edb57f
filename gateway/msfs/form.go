package msfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"

	"teamtalk/blobs/picture"
	"teamtalk/protocol"
)

// formCode is the error_code of the answer to a form. COMPAT: 0 to 11 are those of the picture server of old [TT-MSFS-2].
type formCode int

const (
	formDone        formCode = 0
	formTooLarge    formCode = 1
	formNoMultipart formCode = 2
	formNoBoundary  formCode = 3
	formNoFile      formCode = 5
	formNoType      formCode = 6
	formNoExtension formCode = 10
	formCut         formCode = 11
	formRefused     formCode = 12
	formNoRoom      formCode = 13
	formFailed      formCode = 14
)

// texts of the answers. COMPAT: the first two are those of old.
func (c formCode) String() string {
	switch c {
	case formDone:
		return "成功"
	case formTooLarge:
		return "文件过大"
	case formRefused:
		return "请先登录"
	case formNoRoom:
		return "存储空间不足"
	case formFailed:
		return "服务器暂时不可用"
	case formNoMultipart, formNoBoundary, formNoFile, formNoType, formNoExtension, formCut:
	}
	return "格式错误"
}

// formError is why a form is not taken.
type formError struct {
	code formCode
	err  error
}

// Error says it for the log.
func (e *formError) Error() string {
	return fmt.Sprintf("form refused with code %d: %v", e.code, e.err)
}

// Unwrap is the cause.
func (e *formError) Unwrap() error { return e.err }

func badForm(c formCode, format string, args ...any) error {
	return &formError{c, fmt.Errorf(format, args...)}
}

const (
	formOverhead = 64 << 10 // bytes of a form besides its file
	fieldsMost   = 32       // parts before the file
)

// serveForm takes the file of a form. COMPAT: status 200 whatever comes of it, and one line of JSON that says it is HTML: iOS takes no other type, Android
// reads no further line [TT-MSFS-2].
func (h *Handler) serveForm(w http.ResponseWriter, r *http.Request) {
	blob, name, err := h.takeForm(w, r)
	code := formCodeOf(err)
	h.metrics.requests.WithLabelValues("form", outcome(err)).Inc()
	if err != nil {
		h.cfg.Log.Debug("form refused", "remote", h.cfg.Client(r), "error", err)
	}
	p, url := "", ""
	if err == nil {
		p = pathOf(&blob, name).String()
		url = h.echo(r) + p
	}
	writeForm(w, r, code, p, url)
}

// takeForm stores the first file of a form.
func (h *Handler) takeForm(w http.ResponseWriter, r *http.Request) (b protocol.Blob, name string, err error) {
	addr := h.cfg.Client(r).Addr()
	if err := h.origins.Check(r); err != nil { // a page of another site, in the browser of somebody who is logged in
		return b, "", &formError{formRefused, err}
	}
	if !h.cfg.Legacy(r.Context(), addr) {
		return b, "", badForm(formRefused, "nobody is logged in from there")
	}
	leave, err := h.gate.enter(addressKey(addr))
	if err != nil {
		return b, "", err
	}
	defer leave()
	boundary, err := formBoundary(r)
	if err != nil {
		return b, "", err
	}
	most := int64(h.cfg.MaxForm + formOverhead)
	if r.ContentLength > most {
		return b, "", badForm(formTooLarge, "%d bytes", r.ContentLength)
	}
	body := newPacedReader(w, http.MaxBytesReader(w, r.Body, most), h.cfg.Tuning.Stall)
	part, name, err := filePart(multipart.NewReader(body, boundary))
	if err != nil {
		return b, "", err
	}
	b, err = h.takeFile(r, part, body)
	return b, name, err
}

func formBoundary(r *http.Request) (string, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind != "multipart/form-data" && !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data"):
		return "", badForm(formNoMultipart, "content type %q", kind)
	case err != nil || params["boundary"] == "":
		return "", badForm(formNoBoundary, "no boundary")
	}
	return params["boundary"], nil
}

// filePart is the first part of a form that has a file name; COMPAT: iOS puts a field before it.
func filePart(form *multipart.Reader) (part *multipart.Part, name string, err error) {
	for range fieldsMost {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, "", cutForm(err)
		}
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil || params["filename"] == "" {
			continue // NextRawPart passes over what is left of it
		}
		name := params["filename"]
		switch {
		case part.Header.Get("Content-Type") == "":
			return nil, "", badForm(formNoType, "the file has no content type")
		case !strings.Contains(name, "."):
			return nil, "", badForm(formNoExtension, "the file name has no extension")
		}
		return part, name, nil
	}
	return nil, "", badForm(formNoFile, "no file")
}

// cutForm is a form that can't be read to its end.
func cutForm(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &formError{formTooLarge, err}
	case errors.Is(err, errLate):
		return err
	}
	return &formError{formCut, err}
}

// takeFile stores the content of a part.
func (h *Handler) takeFile(r *http.Request, part *multipart.Part, body *pacedReader) (protocol.Blob, error) {
	owner := h.cfg.Owner(r.Context(), h.cfg.Client(r).Addr())
	in, err := newIntake(r.Context(), h.cfg.Store, owner, min(uint64(max(r.ContentLength, 0)), h.cfg.MaxForm))
	if err != nil {
		return protocol.Blob{}, err
	}
	if err := h.receive(in, part); err != nil {
		in.abort()
		return protocol.Blob{}, err
	}
	within := h.cfg.Tuning.keepWithin(in.size)
	body.answerIn(within)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), within)
	defer cancel()
	return in.finish(ctx, owner, part.Header.Get("Content-Type"))
}

// receive reads a part to its end, where the boundary stands: a form that was cut has none.
func (h *Handler) receive(in *intake, part io.Reader) error {
	b := make([]byte, readPart)
	for {
		n, err := part.Read(b)
		h.metrics.bytes.WithLabelValues("in").Add(float64(n))
		if in.size+uint64(n) > h.cfg.MaxForm {
			return badForm(formTooLarge, "more than %d bytes", h.cfg.MaxForm)
		}
		if _, err := in.Write(b[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return cutForm(err)
		}
	}
}

// formCodeOf is what a client is told about an error.
func formCodeOf(err error) formCode {
	var f *formError
	switch {
	case err == nil:
		return formDone
	case errors.As(err, &f):
		return f.code
	case errors.As(err, new(*picture.TooLargeError)):
		return formTooLarge
	case errors.Is(err, ErrNoSpace), protocol.CodeOf(err) == protocol.CodeQuota:
		return formNoRoom
	case errors.Is(err, errLate):
		return formCut
	}
	return formFailed
}

// writeForm is the answer, in the layout of old.
func writeForm(w http.ResponseWriter, r *http.Request, code formCode, path, url string) {
	quote := func(s string) string {
		b, _ := json.Marshal(s) // strings always can
		return string(b)
	}
	body := fmt.Sprintf(`{"error_code":%d,"error_msg": %s,"path":%s,"url":%s}`, code, quote(code.String()), quote(path), quote(url))
	h := w.Header()
	h.Set("Content-Type", "text/html;charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	_, _ = io.WriteString(w, body) // a client that is gone needs no answer
}

// echo is the base of a URL as the client came by it: that is known to reach this server [TT-MSFS-2].
func (h *Handler) echo(r *http.Request) string {
	scheme, folder := "http", "/"
	if r.TLS != nil {
		scheme = "https"
	}
	if strings.HasPrefix(r.URL.Path, DownloadPath) {
		folder = DownloadPath
	}
	return scheme + "://" + r.Host + folder
}

// outcome is an error as a label.
func outcome(err error) string {
	var f *formError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &f):
		return "refused"
	}
	status, _ := statusOf(err)
	return strconv.Itoa(status)
}
