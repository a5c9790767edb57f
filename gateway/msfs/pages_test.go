package msfs

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestPages: pages of the origins that are named may read what addresses answer, and send to them; nobody else may, and nothing else [TT-MEDIA-11].
func TestPages(t *testing.T) {
	const friend = "https://two.example"
	h := Pages([]string{friend}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	for name, c := range map[string]struct {
		method, target, origin string
		status                 int
		allowed                bool
	}{
		"a download":                     {"GET", "/msfs/g0/000/000/x.png?u=1&e=2&s=3", friend, 200, true},
		"an upload":                      {"POST", "/media/up/ticket", friend, 200, true},
		"whether an upload may be":       {"OPTIONS", "/media/up/ticket", friend, 204, true},
		"a task":                         {"GET", "/media/task/1?s=2", friend, 200, true},
		"of another site":                {"GET", "/msfs/g0/000/000/x.png?s=3", "https://evil.example", 200, false},
		"whether another site may":       {"OPTIONS", "/media/up/ticket", "https://evil.example", 405, false},
		"of a page in a sandbox":         {"GET", "/msfs/g0/000/000/x.png?s=3", "null", 200, false},
		"without a browser":              {"GET", "/msfs/g0/000/000/x.png?s=3", "", 200, false},
		"a picture as old clients do it": {"GET", "/msfs/g0/000/000/x.png", friend, 200, false},
		"a form of old clients":          {"POST", "/", friend, 200, false},
		"whether a form may be":          {"OPTIONS", "/upload/", friend, 405, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "https://one.example"+c.target, nil)
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Header().Get("Access-Control-Allow-Origin")
			if w.Code != c.status || (got == c.origin && got != "") != c.allowed || !c.allowed && got != "" {
				t.Errorf("status %d, allowed %q; want %d and %v", w.Code, got, c.status, c.allowed)
			}
		})
	}
}
