package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// call is a request as the page makes it; change may make it another one.
func call(h http.Handler, path, text string, change func(r *http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "http://chat.example"+path, strings.NewReader(text))
	r.Header.Set("Teamtalk-Web", "1")
	r.Header.Set("Origin", "http://chat.example")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

const keep = `{"value":"what the page knows, \u00fc too","max_age":600}`

func cookieOf(t *testing.T, resp *http.Response) *http.Cookie {
	t.Helper()
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusNoContent || len(cookies) != 1 {
		t.Fatalf("%s, %d cookies", resp.Status, len(cookies))
	}
	return cookies[0]
}

// [TT-WEB-2]
func TestSessionIsKept(t *testing.T) {
	h := site(t, fstest.MapFS{})
	c := cookieOf(t, call(h, "/web/session", keep, nil))
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/web/session" || c.MaxAge != 600 || c.Secure || c.Domain != "" {
		t.Errorf("%+v", c)
	}
	with := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value}) }
	resp := call(h, "/web/session/take", "", with)
	if got := body(t, resp); got != `{"value":"what the page knows, ü too"}`+"\n" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %s", resp.Status, got)
	}
	if resp := call(h, "/web/session/take", "", nil); resp.StatusCode != http.StatusNoContent {
		t.Errorf("without a cookie: %s", resp.Status)
	}
	damaged := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: c.Name, Value: "***"}) }
	if resp := call(h, "/web/session/take", "", damaged); resp.StatusCode != http.StatusNoContent {
		t.Errorf("damaged: %s", resp.Status)
	}
	if c := cookieOf(t, call(h, "/web/session/drop", "", with)); c.MaxAge >= 0 || c.Value != "" || c.Path != "/web/session" {
		t.Errorf("dropped: %+v", c)
	}
	if c := cookieOf(t, call(h, "/web/session", `{"value":"x","max_age":99999999}`, nil)); c.MaxAge != 7*24*3600 {
		t.Errorf("kept for %d s", c.MaxAge)
	}
}

// On HTTPS the cookie never travels without, whoever speaks it [TT-WEB-2].
func TestSessionOnHTTPS(t *testing.T) {
	h := site(t, fstest.MapFS{})
	for name, change := range map[string]func(r *http.Request){
		"own":       func(r *http.Request) { r.TLS = &tls.ConnectionState{} },
		"a proxy's": func(r *http.Request) { r.Header.Set("Origin", "https://chat.example") },
	} {
		if c := cookieOf(t, call(h, "/web/session", keep, change)); !c.Secure {
			t.Errorf("%s TLS: %+v", name, c)
		}
	}
}

// Nobody but the page itself gets at it [TT-WEB-2].
func TestSessionIsForThePageAlone(t *testing.T) {
	h := site(t, fstest.MapFS{})
	for name, change := range map[string]func(r *http.Request){
		"no header":          func(r *http.Request) { r.Header.Del("Teamtalk-Web") },
		"no origin":          func(r *http.Request) { r.Header.Del("Origin") },
		"origin null":        func(r *http.Request) { r.Header.Set("Origin", "null") },
		"another site":       func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"a longer name":      func(r *http.Request) { r.Header.Set("Origin", "http://chat.example.evil") },
		"another port":       func(r *http.Request) { r.Header.Set("Origin", "http://chat.example:99") },
		"nobody at all":      func(r *http.Request) { r.Header.Del("Origin"); r.Host = "" },
		"the browser's word": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		for _, path := range []string{"/web/session", "/web/session/take", "/web/session/drop"} {
			withCookie := func(r *http.Request) {
				r.AddCookie(&http.Cookie{Name: "teamtalk_session", Value: "eA"})
				change(r)
			}
			if resp := call(h, path, keep, withCookie); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
				t.Errorf("%s, %s: %s", name, path, resp.Status)
			}
		}
	}
	for _, text := range []string{"", "x", `{"max_age":5}`, `{"value":"x"}`, `{"value":"x","max_age":-1}`, `{"value":"` + strings.Repeat("x", sessionMost+1) + `","max_age":5}`} {
		if resp := call(h, "/web/session", text, nil); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40q: %s", text, resp.Status)
		}
	}
	cookieOf(t, call(h, "/web/session", `{"value":"`+strings.Repeat("x", sessionMost)+`","max_age":5}`, nil))
	if resp := get(h, "GET", "/web/session/take", "Teamtalk-Web", "1"); resp.StatusCode == 200 {
		t.Errorf("GET: %s", resp.Status)
	}
}
