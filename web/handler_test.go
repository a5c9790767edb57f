package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func packed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// site is a server that has the page, and a catch-all as the public one has.
func site(t *testing.T, files fstest.MapFS) http.Handler {
	t.Helper()
	h, err := New(Config{Files: files, Connect: []string{"https://two.example", "http://three.example:8080"}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "others", http.StatusTeapot) })
	h.Mount(mux)
	return mux
}

func built(t *testing.T) fstest.MapFS {
	return fstest.MapFS{
		".gitkeep":              {},
		"index.html":            {Data: []byte("<!doctype html>")},
		"assets/app-1a2b.js":    {Data: []byte("let a = 1")},
		"assets/app-1a2b.js.gz": {Data: packed(t, "let a = 1")},
		"assets/style-3c4d.css": {Data: []byte("p{}")},
		"manifest.webmanifest":  {Data: []byte("{}")},
	}
}

func get(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "https://chat.example"+path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// [TT-WEB-1]
func TestPage(t *testing.T) {
	h := site(t, built(t))
	for _, test := range []struct {
		name, method, path string
		status             int
		kind, caching      string
	}{
		{"the page", "GET", "/", 200, "text/html; charset=utf-8", "no-cache"},
		{"its head", "HEAD", "/", 200, "text/html; charset=utf-8", "no-cache"},
		{"a script", "GET", "/assets/app-1a2b.js", 200, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"a style", "GET", "/assets/style-3c4d.css", 200, "text/css; charset=utf-8", "public, max-age=31536000, immutable"},
		{"what has no hash", "GET", "/manifest.webmanifest", 200, "application/manifest+json", "no-cache"},
		{"another path", "GET", "/chat", 418, "", ""},
		{"a folder", "GET", "/assets/", 418, "", ""},
		{"the name behind the root", "GET", "/index.html", 418, "", ""},
		{"what keeps the folder", "GET", "/.gitkeep", 418, "", ""},
		{"a packed file by its name", "GET", "/assets/app-1a2b.js.gz", 418, "", ""},
		{"an upload of an old client", "POST", "/", 418, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp := get(h, test.method, test.path)
			if resp.StatusCode != test.status {
				t.Fatalf("%s", resp.Status)
			}
			if test.status != 200 {
				return
			}
			if got := resp.Header.Get("Content-Type"); got != test.kind {
				t.Errorf("type %q", got)
			}
			if got := resp.Header.Get("Cache-Control"); got != test.caching {
				t.Errorf("caching %q", got)
			}
			if (body(t, resp) == "") != (test.method == "HEAD") {
				t.Error("a HEAD has no body, everything else has")
			}
		})
	}
}

// The policy is the whole protection against what somebody writes into a message [TT-WEB-1].
func TestPolicy(t *testing.T) {
	h := site(t, built(t))
	resp := get(h, "GET", "/")
	csp := map[string]string{}
	for _, rule := range strings.Split(resp.Header.Get("Content-Security-Policy"), "; ") {
		name, value, _ := strings.Cut(rule, " ")
		csp[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob: data:", "media-src": "'self' blob:",
		"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'", "require-trusted-types-for": "'script'",
		"connect-src": "'self' ws://chat.example wss://chat.example https://two.example wss://two.example http://three.example:8080 ws://three.example:8080",
	} {
		if csp[name] != want {
			t.Errorf("%s %q, want %q", name, csp[name], want)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	odd := httptest.NewRequest(http.MethodGet, "https://chat.example/", http.NoBody)
	odd.Host = "x; script-src *"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, odd)
	if got := w.Header().Get("Content-Security-Policy"); strings.Contains(got, "*") {
		t.Errorf("a host changes the policy: %s", got)
	}
}

func TestPackedAndHeld(t *testing.T) {
	h := site(t, built(t))
	const script = "/assets/app-1a2b.js"
	for accept, want := range map[string]string{"gzip, br": "gzip", "br, GZIP;q=0.5": "gzip", "br": "", "gzip;q=0": "", "": ""} {
		resp := get(h, "GET", script, "Accept-Encoding", accept)
		got := body(t, resp)
		if resp.Header.Get("Content-Encoding") != want || resp.Header.Get("Vary") != "Accept-Encoding" || resp.ContentLength != int64(len(got)) {
			t.Errorf("%q: %v", accept, resp.Header)
		}
		if want == "gzip" {
			r, err := gzip.NewReader(strings.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if got = string(b); err != nil {
				t.Fatal(err)
			}
		}
		if got != "let a = 1" {
			t.Errorf("%q: %q", accept, got)
		}
	}
	tag := get(h, "GET", "/").Header.Get("Etag")
	for held, want := range map[string]int{tag: 304, `W/"x", ` + tag: 304, `"x"`: 200, "": 200} {
		if resp := get(h, "GET", "/", "If-None-Match", held); resp.StatusCode != want || want == 304 && body(t, resp) != "" {
			t.Errorf("%q: %s", held, resp.Status)
		}
	}
}

// What is packed is another thing to caches than what is not.
func TestTagsOfPacked(t *testing.T) {
	h := site(t, built(t))
	const script = "/assets/app-1a2b.js"
	ask := func(accept, held string) *http.Response {
		return get(h, "GET", script, "Accept-Encoding", accept, "If-None-Match", held)
	}
	plain, gz := ask("", "").Header.Get("Etag"), ask("gzip", "").Header.Get("Etag")
	if plain == gz || !strings.HasPrefix(plain, `"`) || !strings.HasSuffix(gz, `"`) {
		t.Errorf("tags %s and %s", plain, gz)
	}
	for _, c := range []struct {
		accept, held string
		want         int
	}{{"", plain, 304}, {"", gz, 200}, {"gzip", gz, 304}, {"gzip", plain, 200}} {
		if resp := ask(c.accept, c.held); resp.StatusCode != c.want {
			t.Errorf("%q with %s: %s", c.accept, c.held, resp.Status)
		}
	}
}

// What the machine has in its tables does not matter.
func TestTypesOfThisMachine(t *testing.T) {
	if err := mime.AddExtensionType(".unheard", "text/html"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x.unheard": "application/octet-stream", "x.png": "image/png", "x.svg": "image/svg+xml", "x": "application/octet-stream"} {
		if got := contentType(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A server that was built without the page says how to build it.
func TestUnbuilt(t *testing.T) {
	resp := get(site(t, fstest.MapFS{".gitkeep": {}}), "GET", "/")
	if got := body(t, resp); resp.StatusCode != 200 || !strings.Contains(got, "make web") {
		t.Errorf("%s: %s", resp.Status, got)
	}
	if _, err := New(Config{}); err != nil {
		t.Errorf("what is built in: %v", err)
	}
}
