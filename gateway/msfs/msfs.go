// Package msfs serves content over HTTP: pictures, voice and files. Legacy clients send forms and fetch by bare paths, as from the picture server of old;
// extended ones use addresses that were made for them, see Tickets.
package msfs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// Config says what a Handler is made of. Store, Tickets and Base are needed.
type Config struct {
	Store   Store
	Tickets *Tickets
	// Base is what clients put in front of the path of a blob: a URL that ends with a slash, like http://chat.example.com:8080/msfs/.
	Base func() string
	// Legacy says whether a client at an address may send forms and fetch by bare paths; nil: everybody may [TT-MSFS-6].
	Legacy func(context.Context, netip.Addr) bool
	// Owner is who is logged in from an address, if that is one user: what forms from there bring counts as his; nil, or user 0: as nobody's.
	Owner func(context.Context, netip.Addr) protocol.UserID
	// Active says whether a user may use addresses that were made for him; nil: everybody may [TT-MEDIA-2].
	Active func(protocol.UserID) bool
	// Client is where a request comes from; nil: RemoteAddr.
	Client func(*http.Request) netip.AddrPort

	MaxUpload uint64 // bytes of one upload; 0: 100 MiB [TT-MEDIA-6]
	MaxForm   uint64 // bytes of a file in a form; 0: 10 MiB [TT-MSFS-3]
	// Thumbs is the folder where pictures that were made smaller are kept, of this Handler alone; empty: the originals are served.
	Thumbs     string
	ThumbBytes uint64 // that they may have in all; 0: 256 MiB

	Tuning     Tuning
	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Tuning are numbers with good defaults; zero means the default.
type Tuning struct {
	Stall      time.Duration // in which a part of 16 KiB has to arrive, and one of 32 KiB to be taken; 30 s [TT-MSFS-9]
	Partial    time.Duration // for which the begin of an upload is kept after its last piece; 1 h [TT-MEDIA-6]
	Transfers  int           // uploads and downloads under way; 2,048
	PerClient  int           // of them of one user, or from one address; 256
	Partials   int           // uploads that are begun, of one user; 16
	AllPartial int           // uploads that are begun; 1,024
	ThumbTime  time.Duration // for making a picture smaller; 10 s
	KeepWithin time.Duration // for recording what has come in, besides the time for its size; 1 min
}

// keepWithin is how long recording so many bytes may take: a store elsewhere gets them only then.
func (t *Tuning) keepWithin(size uint64) time.Duration {
	return t.KeepWithin + time.Duration(size/keepSlowest)*time.Second
}

// keepSlowest is what a store has to take in a second, in bytes.
const keepSlowest = 256 << 10

func (c *Config) complete() error {
	if c.Store == nil || c.Tickets == nil || c.Base == nil {
		return errors.New("msfs: Store, Tickets and Base are needed")
	}
	if c.Client == nil {
		c.Client = remoteAddr
	}
	if c.Legacy == nil {
		c.Legacy = func(context.Context, netip.Addr) bool { return true }
	}
	if c.Owner == nil {
		c.Owner = func(context.Context, netip.Addr) protocol.UserID { return 0 }
	}
	if c.Active == nil {
		c.Active = func(protocol.UserID) bool { return true }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	orDefault(&c.MaxUpload, 100<<20)
	orDefault(&c.MaxForm, 10<<20)
	orDefault(&c.ThumbBytes, 256<<20)
	t := &c.Tuning
	orDefault(&t.Stall, 30*time.Second)
	orDefault(&t.Partial, time.Hour)
	orDefault(&t.Transfers, 2048)
	orDefault(&t.PerClient, 256)
	orDefault(&t.Partials, 16)
	orDefault(&t.AllPartial, 1024)
	orDefault(&t.ThumbTime, 10*time.Second)
	orDefault(&t.KeepWithin, time.Minute)
	return nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func remoteAddr(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Handler answers for the paths of Patterns.
type Handler struct {
	cfg     Config
	metrics *metrics
	gate    gate
	uploads uploads
	thumbs  *thumbs // nil: none are made
	origins *http.CrossOriginProtection
}

// New makes a Handler; Run removes what is left behind.
func New(cfg Config) (*Handler, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	h := &Handler{cfg: cfg, metrics: newMetrics(cfg.Registerer), origins: http.NewCrossOriginProtection()}
	h.gate.init(cfg.Tuning.Transfers, cfg.Tuning.PerClient)
	h.uploads.init(cfg.Tuning.Partials, cfg.Tuning.AllPartial)
	if cfg.Thumbs == "" {
		return h, nil
	}
	var err error
	h.thumbs, err = openThumbs(cfg.Thumbs, cfg.ThumbBytes, cfg.Tuning.ThumbTime)
	return h, err
}

// Patterns are where a Handler belongs in an http.ServeMux [TT-MSFS-1].
func Patterns() []string {
	return []string{"POST /{$}", "POST /upload/", "/g0/", "/msfs/", UploadPath}
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	switch {
	case strings.HasPrefix(path, UploadPath):
		h.serveUpload(w, r, strings.TrimPrefix(path, UploadPath))
	case r.Method == http.MethodPost:
		h.serveForm(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.serveBlob(w, r, strings.TrimPrefix(path, "/"))
	default:
		legacyStatus(w, http.StatusForbidden)
	}
}

// Guard refuses requests for content whose paths are not written as paths here are, instead of guessing what they mean; all others it passes on [TT-MSFS-8]
// [TT-DIFF-29].
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOurs(r.URL.Path) && !isPlain(r) {
			fail(w, protocol.Errorf(protocol.CodeInvalid, "a path with dots, escapes or signs that no path of this server has"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isOurs(path string) bool {
	path = "/" + strings.TrimLeft(path, "/")
	for _, folder := range []string{"/g0/", "/msfs/", "/media/", "/upload/"} {
		if strings.HasPrefix(path, folder) {
			return true
		}
	}
	return false
}

// isPlain reports whether the path is written as paths here are: without escapes, dots and the like [TT-MSFS-8].
func isPlain(r *http.Request) bool {
	p := r.URL.EscapedPath()
	return !strings.Contains(p, "..") && !strings.Contains(p, "/./") && !strings.Contains(p, "//") && !strings.ContainsAny(p, `%\`)
}
