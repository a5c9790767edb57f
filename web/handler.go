package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Config is what Handler needs; the zero value serves what was built, to be used on its own origin.
type Config struct {
	Files fs.FS // nil: what was built
	// Connect are further origins, "https://chat.example", that the page may talk to: other nodes of the cluster, which allow it.
	Connect []string
}

// Handler serves the page and what belongs to it, by exact names. It never reads from disk: everything is in memory, packed once.
type Handler struct {
	files   map[string]*file // by the path of the request
	connect string           // for the policy
}

// file is something that was built.
type file struct {
	kind    string // content type
	tag     string
	caching string
	plain   []byte
	packed  []byte // gzip; nil: no smaller
}

const (
	// Names under assets carry a hash of the content, so they never change.
	assets  = "assets/"
	forGood = "public, max-age=31536000, immutable"
	// What keeps its name is asked for again each time, which costs a 304.
	asked = "no-cache"
)

// New reads what was built. An error means that the build is damaged.
func New(cfg Config) (*Handler, error) {
	files := cfg.Files
	if files == nil {
		built, err := fs.Sub(dist, "dist")
		if err != nil {
			return nil, fmt.Errorf("web client: %w", err)
		}
		files = built
	}
	h := &Handler{files: make(map[string]*file), connect: connectSources(cfg.Connect)}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path.Base(name), ".") || strings.HasSuffix(name, ".gz") {
			return err
		}
		f, err := load(files, name)
		if err != nil {
			return err
		}
		if name == "index.html" {
			name = ""
		}
		h.files["/"+name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("web client: %w", err)
	}
	if h.files["/"] == nil {
		h.files["/"] = newFile("index.html", []byte(unbuilt), nil)
	}
	return h, nil
}

// unbuilt is the page of a server that was built without one.
const unbuilt = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>TeamTalk</title>
<h1>TeamTalk</h1>
<p>This server was built without its web client. <code>make web</code> builds it, and <code>make build</code> then a server that has it.</p>
</html>
`

func load(files fs.FS, name string) (*file, error) {
	plain, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	packed, err := fs.ReadFile(files, name+".gz")
	if err != nil {
		packed = nil // small things are not packed
	}
	return newFile(name, plain, packed), nil
}

func newFile(name string, plain, packed []byte) *file {
	sum := sha256.Sum256(plain)
	f := &file{kind: contentType(name), tag: `"` + hex.EncodeToString(sum[:12]) + `"`, caching: asked, plain: plain, packed: packed}
	if strings.HasPrefix(name, assets) {
		f.caching = forGood
	}
	return f
}

// contentType knows what a build holds; the tables of the machine it runs on do not matter.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".webmanifest":
		return "application/manifest+json"
	case ".woff2":
		return "font/woff2"
	case ".png":
		return "image/png"
	case ".json":
		return "application/json"
	default:
		return "application/octet-stream"
	}
}

// Mount makes the page part of what a server has. Only the names that were built are taken, for GET and HEAD: everything else stays with others
// [TT-WEB-1].
func (h *Handler) Mount(mux *http.ServeMux) {
	for name := range h.files {
		pattern := name
		if name == "/" {
			pattern = "/{$}"
		}
		mux.Handle("GET "+pattern, h)
	}
	mux.Handle("POST "+sessionPath, http.HandlerFunc(h.keepSession))
	mux.Handle("POST "+sessionPath+"/take", http.HandlerFunc(h.takeSession))
	mux.Handle("POST "+sessionPath+"/drop", http.HandlerFunc(h.dropSession))
}

// ServeHTTP answers GET and HEAD.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := h.files[r.URL.Path]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	head := w.Header()
	h.protect(head, r)
	head.Set("Content-Type", f.kind)
	head.Set("Cache-Control", f.caching)
	body, tag := f.plain, f.tag
	if f.packed != nil {
		head.Set("Vary", "Accept-Encoding")
		if takesGzip(r) {
			head.Set("Content-Encoding", "gzip")
			body, tag = f.packed, packedTag(f.tag)
		}
	}
	head.Set("Etag", tag)
	if holds(r, tag) {
		head.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the browser has gone: nothing to do about that
	}
}

// packedTag tells what is packed from what is not: other bytes have another tag, or a cache that many share could put parts of both together.
func packedTag(tag string) string { return strings.TrimSuffix(tag, `"`) + `-gz"` }

// holds reports whether the browser has it already.
func holds(r *http.Request, tag string) bool {
	for _, held := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(held), "W/") == tag {
			return true
		}
	}
	return false
}

// takesGzip reports whether the browser unpacks what it gets.
func takesGzip(r *http.Request) bool {
	for _, offer := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(offer, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(params), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
}
