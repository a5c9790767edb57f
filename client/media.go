package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// Kinds of MEDIA_REQ [TT-MEDIA-1].
const (
	mediaUpload       = 1
	mediaDownload     = 2
	mediaTaskUpload   = 3
	mediaTaskDownload = 4
)

const (
	mediaPiece  = 4 << 20          // of an upload goes in one request, so that little is sent again
	mediaTries  = 8                // without any progress
	mediaPause  = time.Second      // after a failure, doubled with each
	mediaSilent = 30 * time.Second // without a byte
	mediaAnswer = 64 << 10         // of an answer that is no content
	mediaFresh  = time.Minute      // an address refused before that was not refused for its age
)

// ErrNoHTTP: pictures and files need the server's HTTP port, and neither the addresses nor Config.Media.HTTP nor the server say where that is.
var ErrNoHTTP = errors.New("client: no address of the server's HTTP port: give an https:// address, or Config.Media.HTTP")

// File is something to upload.
type File struct {
	Name    string
	Type    string // MIME, as far as known; the server looks for itself
	Size    int64  // bytes
	Content io.ReaderAt
	// Progress is told how many bytes the server has; nil: nobody is.
	Progress func(sent int64)
}

// Stored is what became of an upload.
type Stored struct {
	Path   string `json:"path"` // g0/…, for Download
	URL    string `json:"url"`  // for texts
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	Type   string `json:"type"`
	Width  int    `json:"width"` // pixels; 0: no picture
	Height int    `json:"height"`
}

// webDialer is a Dialer that knows where the HTTP port is, as dial.Dialer does.
type webDialer interface {
	Bases() []string
	HTTP(base string) (*http.Client, error)
}

var _ webDialer = (*dial.Dialer)(nil)

// Upload brings a file to the server, goes on where it was after a broken connection, and returns where the file is. It fails after eight attempts
// in a row that bring nothing. Refusals are *Error: TOO_LARGE, QUOTA, INVALID.
func (c *Client) Upload(ctx context.Context, f File) (Stored, error) {
	u, err := newUploading(f)
	if err != nil {
		return Stored{}, err
	}
	err = c.addressed(ctx, &chatpb.MediaReq{Kind: mediaUpload, Name: f.Name, Size: uint64(f.Size), ContentType: f.Type}, u.attempt)
	return u.stored, err
}

// UploadTask brings the file of an offline transfer that the server has given a task: beside the session if that goes over QUIC, else, or when that
// breaks, by HTTP.
func (c *Client) UploadTask(ctx context.Context, task string, f File) error {
	u, err := newUploading(f)
	if err != nil {
		return err
	}
	ask := &chatpb.MediaReq{Kind: mediaTaskUpload, TaskId: task, Size: uint64(f.Size)}
	return c.transfer(ctx, task, &u.at, u.beside, func() error { return c.addressed(ctx, ask, u.attempt) })
}

// Download writes a picture or a file to w, from an offset on; over broken connections it goes on where it was. The number is how much was written.
func (c *Client) Download(ctx context.Context, path string, offset int64, w io.Writer) (int64, error) {
	d := &downloading{from: offset, at: offset, w: w}
	err := c.addressed(ctx, &chatpb.MediaReq{Kind: mediaDownload, Paths: []string{path}}, d.attempt)
	return d.at - d.from, err
}

// DownloadTask writes a file that another user has left for this one, as FileOffered told; it comes by the ways of UploadTask.
func (c *Client) DownloadTask(ctx context.Context, task string, offset int64, w io.Writer) (int64, error) {
	d := &downloading{from: offset, at: offset, w: w}
	ask := &chatpb.MediaReq{Kind: mediaTaskDownload, TaskId: task}
	err := c.transfer(ctx, task, &d.at, d.beside, func() error { return c.addressed(ctx, ask, d.attempt) })
	return d.at - d.from, err
}

// addressed asks for an address and goes there, and again whenever one has expired on the way: it is refused after it has served, or for a while
// [TT-MEDIA-2].
func (c *Client) addressed(ctx context.Context, ask *chatpb.MediaReq, try attempt) error {
	for {
		urls, err := c.mediaURLs(ctx, ask)
		if err != nil {
			return err
		}
		given, served := time.Now(), false
		err = c.overHTTP(ctx, urls[0], func(ctx context.Context, web *http.Client, url string) (bool, bool, error) {
			moved, more, err := try(ctx, web, url)
			served = served || moved
			return moved, more, err
		})
		if !isCode(err, protocol.CodeForbidden) || !served && time.Since(given) < mediaFresh {
			return err
		}
	}
}

// mediaURLs asks where to go; the addresses begin with a slash.
func (c *Client) mediaURLs(ctx context.Context, ask *chatpb.MediaReq) ([]string, error) {
	resp, _, err := askFor[*chatpb.MediaRsp](ctx, c, &request{command: pdu.CmdMediaReq, answer: pdu.CmdMediaRsp, repeat: true, extends: true, body: ask})
	if err != nil {
		return nil, err
	}
	if code := protocol.Code(resp.GetCode()); code != 0 {
		return nil, &Error{Code: code, Message: resp.GetMessage()}
	}
	if len(resp.GetUrls()) == 0 || !strings.HasPrefix(resp.GetUrls()[0], "/") {
		return nil, &Error{Code: protocol.CodeInternal, Message: "the server gave no address"}
	}
	return resp.GetUrls(), nil
}

// attempt is one go at a server. More says that a next one may do better; moved that this one was not in vain.
type attempt func(ctx context.Context, web *http.Client, url string) (moved, more bool, err error)

// overHTTP tries the servers in turn, and goes on with one that works for as long as it does.
func (c *Client) overHTTP(ctx context.Context, path string, try attempt) error {
	bases, dialer, err := c.httpBases()
	if err != nil {
		return err
	}
	var failed error
	for failures, at := 0, 0; failures < mediaTries; {
		web, err := dialer.HTTP(bases[at])
		if err != nil {
			return err
		}
		moved, more, err := try(ctx, web, bases[at]+path)
		web.CloseIdleConnections()
		switch {
		case err == nil && !more:
			return nil
		case isCode(err, protocol.CodeNotFound) && len(bases) > 1: // tasks live on one node: another one may have what this one has not
			bases = slices.Delete(slices.Clone(bases), at, at+1)
			at %= len(bases)
		case !more || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case moved:
			failures = 0
		default:
			failures++
			at = (at + 1) % len(bases)
			if err := pauseFor(ctx, mediaPause<<min(failures-1, 4)); err != nil {
				return errors.Join(failed, err)
			}
		}
		failed = err
	}
	return fmt.Errorf("gave up after %d attempts: %w", mediaTries, failed)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// httpBases are where the HTTP port may be, as "https://host:port".
func (c *Client) httpBases() ([]string, webDialer, error) {
	d, ok := c.engine.dialer.(webDialer)
	if !ok {
		return nil, nil, ErrNoHTTP
	}
	if c.cfg.Media.HTTP != "" {
		u, err := url.Parse(c.cfg.Media.HTTP)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, nil, fmt.Errorf("client: Config.Media.HTTP is %q: give a URL such as https://chat.example.com", c.cfg.Media.HTTP)
		}
		return []string{u.Scheme + "://" + u.Host}, d, nil
	}
	bases := d.Bases()
	if len(bases) == 0 {
		return nil, nil, ErrNoHTTP
	}
	return c.engine.home.first(bases), d, nil
}

// uploading is an upload on its way.
type uploading struct {
	file   File
	size   int64
	at     int64 // what the server has
	asked  bool  // the server was asked what it has since the last trouble
	stored Stored

	complete bool // the server has said so
}

func newUploading(f File) (*uploading, error) {
	if f.Size <= 0 {
		return nil, &Error{Code: protocol.CodeInvalid, Message: "the file is empty"}
	}
	return &uploading{file: f, size: f.Size}, nil
}

// attempt sends the next piece; after trouble it asks first where to go on.
func (u *uploading) attempt(ctx context.Context, web *http.Client, url string) (moved, more bool, err error) {
	before := u.at
	if !u.asked {
		err = u.exchange(ctx, web, url, nil)
	}
	if u.asked = err == nil; u.asked && !u.done() {
		err = u.exchange(ctx, web, url, io.NewSectionReader(u.file.Content, u.at, min(mediaPiece, u.size-u.at)))
	}
	if err != nil {
		u.asked = false
	}
	if u.file.Progress != nil && u.at != before {
		u.file.Progress(u.at)
	}
	return u.at > before, err == nil && !u.done() || err != nil && isLater(err), err
}

// done reports whether the server has the whole file and has said where.
func (u *uploading) done() bool { return u.at == u.size && u.complete }

// exchange asks what the server has, or sends a piece, and takes in what the server says.
func (u *uploading) exchange(ctx context.Context, web *http.Client, url string, piece *io.SectionReader) error {
	ctx, silence := watched(ctx)
	defer silence.stop()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if piece != nil {
		method, body = http.MethodPost, silence.reader(piece)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if piece != nil {
		req.ContentLength = piece.Size()
		req.Header.Set("Upload-Offset", strconv.FormatInt(u.at, 10))
	}
	resp, err := web.Do(req)
	if err != nil {
		return silence.why(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mediaAnswer))
	if err != nil {
		return silence.why(err)
	}
	var said struct {
		Stored
		Offset *int64 `json:"offset"`
		Done   bool   `json:"stored"` // the file of a task waits for its receiver
	}
	jsonErr := json.Unmarshal(b, &said)
	switch {
	case resp.StatusCode == http.StatusOK && jsonErr == nil && (said.Path != "" || said.Done): // all bytes may be there before that, and still be lost [TT-MEDIA-5]
		u.stored, u.at, u.complete = said.Stored, u.size, true
	case (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted || resp.StatusCode == http.StatusConflict) && jsonErr == nil && said.Offset != nil:
		if *said.Offset < 0 || *said.Offset > u.size {
			return &Error{Code: protocol.CodeInternal, Message: "the server has more than there is"}
		}
		u.at = *said.Offset
	default:
		return refusedByHTTP(resp.StatusCode, b)
	}
	return nil
}

// downloading is a download on its way.
type downloading struct {
	from, at int64
	w        io.Writer
}

// errWriting: the app's writer failed.
var errWriting = errors.New("writing failed")

func (d *downloading) attempt(ctx context.Context, web *http.Client, url string) (moved, more bool, err error) {
	ctx, silence := watched(ctx)
	defer silence.stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, false, err
	}
	if d.at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
	}
	resp, err := web.Do(req)
	if err != nil {
		return false, true, silence.why(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && d.at > 0:
		return false, false, d.atEnd(resp.Header.Get("Content-Range"))
	case resp.StatusCode == http.StatusOK && d.at > 0:
		if n, err := io.CopyN(io.Discard, silence.reader(resp.Body), d.at); err != nil { // from a server that knows no ranges
			if errors.Is(err, io.EOF) { // as it should end
				return false, false, d.atEnd(fmt.Sprintf("bytes */%d", n))
			}
			return false, true, silence.why(err)
		}
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		b, _ := io.ReadAll(io.LimitReader(resp.Body, mediaAnswer)) // what there is of it
		err = refusedByHTTP(resp.StatusCode, b)
		return false, isLater(err), err
	}
	n, err := io.Copy(guarded{d.w}, silence.reader(resp.Body))
	d.at += n
	if errors.Is(err, errWriting) {
		return n > 0, false, err
	}
	return n > 0, err != nil, silence.why(err)
}

// atEnd is for a server that has nothing from here on, and has said how much it has: the whole of it is here, or something else is.
func (d *downloading) atEnd(contentRange string) error {
	size, err := strconv.ParseInt(strings.TrimPrefix(contentRange, "bytes */"), 10, 64)
	if err == nil && size < d.at {
		return &Error{Code: protocol.CodeInvalid, Message: fmt.Sprintf("there are %d bytes, and %d are said to be here", size, d.at)}
	}
	return nil
}

// guarded tells errors of writing from those of reading.
type guarded struct{ io.Writer }

func (g guarded) Write(b []byte) (int, error) {
	n, err := g.Writer.Write(b)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errWriting, err)
	}
	return n, nil
}

// isCode reports whether the server has refused with a code.
func isCode(err error, code protocol.Code) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Code == code
}

// isLater reports whether the same may succeed another time, or elsewhere.
func isLater(err error) bool {
	var refused *Error
	if !errors.As(err, &refused) {
		return true
	}
	switch refused.Code {
	case protocol.CodeUnavailable, protocol.CodeRateLimited, protocol.CodeOverloaded, protocol.CodeDraining:
		return true
	default:
		return false
	}
}

// silence ends a request that brings nothing for a time.
type silence struct {
	timer *time.Timer
	end   context.CancelCauseFunc
	ctx   context.Context
}

// errQuiet is what ended such a request.
var errQuiet = errors.New("nothing came for 30 s")

func watched(ctx context.Context) (context.Context, *silence) {
	ctx, end := context.WithCancelCause(ctx)
	return ctx, &silence{timer: time.AfterFunc(mediaSilent, func() { end(errQuiet) }), end: end, ctx: ctx}
}

func (s *silence) stop() {
	s.timer.Stop()
	s.end(nil)
}

// why is the error, or what is behind it.
func (s *silence) why(err error) error {
	if err != nil && errors.Is(context.Cause(s.ctx), errQuiet) {
		return errQuiet
	}
	return err
}

// reader puts the end off with all that is read.
func (s *silence) reader(r io.Reader) io.Reader { return heeded{r, s} }

type heeded struct {
	io.Reader
	silence *silence
}

func (h heeded) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.silence.timer.Reset(mediaSilent)
	return n, err
}

// refusedByHTTP is what a status that is no success means.
func refusedByHTTP(status int, body []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &said) != nil || said.Error == "" {
		said.Error = http.StatusText(status)
	}
	code := protocol.CodeUnavailable
	switch status {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType:
		code = protocol.CodeInvalid
	case http.StatusForbidden, http.StatusUnauthorized:
		code = protocol.CodeForbidden
	case http.StatusNotFound, http.StatusGone:
		code = protocol.CodeNotFound
	case http.StatusRequestEntityTooLarge:
		code = protocol.CodeTooLarge
	case http.StatusTooManyRequests:
		code = protocol.CodeRateLimited
	case http.StatusInsufficientStorage:
		code = protocol.CodeQuota
	}
	return &Error{Code: code, Message: fmt.Sprintf("%s (HTTP %d)", said.Error, status)}
}
