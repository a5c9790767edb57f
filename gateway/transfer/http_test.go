package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"teamtalk/protocol"
)

// web is an engine behind HTTP, where the ticket is in the address: /USER/up/TASK or /USER/down/TASK.
type web struct {
	*testing.T
	w   *world
	e   *Engine
	srv *httptest.Server
}

func newWeb(t *testing.T, limits Limits) *web {
	w := newWorld()
	e := New(Config{Store: w, Blobs: w, Presence: w, Limits: limits})
	srv := httptest.NewServer(e.Handler(func(r *http.Request) (Ticket, error) {
		parts := strings.Split(r.URL.Path, "/")
		user, err := strconv.Atoi(parts[1])
		if err != nil {
			return Ticket{}, errors.New("forged")
		}
		return Ticket{User: protocol.UserID(user), Upload: parts[2] == "up", Task: parts[3]}, nil
	}))
	t.Cleanup(func() {
		srv.Close()
		e.stop()
		if n := w.openDrafts(); n != 0 {
			t.Errorf("%d drafts are left open", n)
		}
	})
	return &web{T: t, w: w, e: e, srv: srv}
}

func (w *web) offer(size int) string {
	w.Helper()
	id, _, err := w.e.Offer(w.Context(), 1, 2, `C:\dir\a "b" 文件.bin`, uint32(size), false)
	if err != nil {
		w.Fatal(err)
	}
	return id
}

// do makes a request; the answer's JSON is decoded if it is some.
func (w *web) do(method, path string, header map[string]string, body io.Reader) (*http.Response, []byte, map[string]any) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.srv.URL+path, body)
	if err != nil {
		w.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := w.srv.Client().Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	var m map[string]any
	if res.Header.Get("Content-Type") == "application/json" && method != http.MethodHead {
		if err := json.Unmarshal(b, &m); err != nil {
			w.Fatalf("%s: %v", b, err)
		}
	}
	return res, b, m
}

func at(n int) map[string]string { return map[string]string{"Upload-Offset": strconv.Itoa(n)} }

// [TT-FILE-13]
func TestHTTP(t *testing.T) {
	w := newWeb(t, Limits{})
	file := content(300_000)
	task := w.offer(len(file))
	up, down := "/1/up/"+task, "/2/down/"+task
	for _, step := range []struct {
		name, method, path string
		header             map[string]string
		body               []byte
		status             int
		offset             any
	}{
		{"nothing has come", "GET", up, nil, nil, 200, 0.0},
		{"a piece", "POST", up, nil, file[:100_000], 202, 100_000.0},
		{"the same again", "POST", up, at(0), file[:100_000], 409, 100_000.0},
		{"none of it waits", "GET", down, nil, nil, 404, nil},
		{"how much has come", "GET", up, nil, nil, 200, 100_000.0},
		{"nothing more", "POST", up, at(100_000), nil, 202, 100_000.0},
		{"another user", "POST", "/2/up/" + task, at(100_000), file[100_000:], 404, nil},
		{"a forged ticket", "POST", "/x/up/" + task, at(100_000), file[100_000:], 403, nil},
		{"another method", "PUT", up, nil, nil, 405, nil},
		{"no number", "POST", up, map[string]string{"Upload-Offset": "-1"}, nil, 400, nil},
		{"the rest", "POST", up, at(100_000), file[100_000:], 200, 300_000.0},
		{"the answer was lost", "POST", up, at(100_000), file[100_000:], 200, 300_000.0},
		{"it is there", "GET", up, nil, nil, 200, 300_000.0},
		{"not for its sender", "GET", "/1/down/" + task, nil, nil, 404, nil},
		{"not to be written", "POST", down, nil, nil, 405, nil},
	} {
		res, b, m := w.do(step.method, step.path, step.header, bytes.NewReader(step.body))
		if res.StatusCode != step.status || m["offset"] != step.offset || step.status >= 400 && (m["error"] == "" || m["code"] == "") {
			t.Errorf("%s: %s %s", step.name, res.Status, b)
		}
	}
	for header, want := range map[string][]byte{"": file, "bytes=1000-1999": file[1000:2000], "bytes=-5": file[len(file)-5:]} {
		res, b, _ := w.do("GET", down, map[string]string{"Range": header}, nil)
		if !bytes.Equal(b, want) {
			t.Errorf("range %q: %s, %d bytes", header, res.Status, len(b))
		}
		if d := res.Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment; filename*=utf-8''a%20%22b%22%20") || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v", res.Header)
		}
	}
	if res, _, _ := w.do("HEAD", down, nil, nil); res.ContentLength != int64(len(file)) {
		t.Errorf("HEAD: %v", res.ContentLength)
	}
}

// [TT-FILE-13]: what breaks off counts as far as it came; what is too much, or can't be stored, ends the task.
func TestHTTPFailures(t *testing.T) {
	w := newWeb(t, Limits{})
	file := content(1000)
	task := w.offer(len(file))
	up := "/1/up/" + task
	conn := w.srv.Listener.Addr().String()
	raw, err := newRaw(w.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(raw, "POST "+up+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"+string(file[:400])); err != nil {
		t.Fatal(err)
	}
	until(t, "400 bytes there", func() bool {
		_, _, m := w.do("GET", up, nil, nil)
		return m["offset"] == 400.0
	})
	// It comes by another connection while the server still waits for the first one.
	res, b, _ := w.do("POST", up, at(400), bytes.NewReader(file[400:500]))
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("%s %s", res.Status, b)
	}
	_ = raw.Close()
	if res, b, _ := w.do("POST", up, at(500), bytes.NewReader(file)); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too much: %s %s", res.Status, b)
	}
	if res, b, _ := w.do("GET", up, nil, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("after that: %s %s", res.Status, b)
	}
	for cause, want := range map[error]int{protocol.Errorf(protocol.CodeUnavailable, "disk full"): 507, protocol.Errorf(protocol.CodeQuota, "no room"): 507, errors.New("bad"): 500} {
		task := w.offer(len(file))
		w.w.mu.Lock()
		w.w.full = cause
		w.w.mu.Unlock()
		if res, b, _ := w.do("POST", "/1/up/"+task, nil, bytes.NewReader(file)); res.StatusCode != want {
			t.Errorf("%v: %s %s", cause, res.Status, b)
		}
		if res, _, _ := w.do("GET", "/1/up/"+task, nil, nil); res.StatusCode != http.StatusNotFound {
			t.Errorf("%v: the task goes on", cause)
		}
		w.w.mu.Lock()
		w.w.full = nil
		w.w.mu.Unlock()
	}
}

func TestBaseName(t *testing.T) {
	for name, want := range map[string]string{"a": "a", "C:/x/a b": "a b", `C:\x\a`: "a", "/": "/", "x/..": ".."} {
		if got := baseName(name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}
