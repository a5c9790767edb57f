package web

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	sessionPath   = "/web/session"
	sessionCookie = "teamtalk_session"
	// sessionMost is how long what the page keeps may be: browsers take cookies of 4 KiB, name and attributes included.
	sessionMost = 2800
	// sessionAge is for how many seconds it is kept at most: as long as a resume token is good.
	sessionAge = 7 * 24 * 3600
	// csrfHeader is something that a form or a link of another site cannot send.
	csrfHeader = "Teamtalk-Web"
)

// kept is what the page wants to have again after a reload, in its own words. The server reads nothing of it.
type kept struct {
	Value  string `json:"value"`
	MaxAge int    `json:"max_age,omitempty"` // seconds
}

// keepSession keeps it where no script can read it, only ask for it [TT-WEB-2].
func (h *Handler) keepSession(w http.ResponseWriter, r *http.Request) {
	if !h.admit(w, r) {
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, sessionMost+256))
	var k kept
	if err != nil || json.Unmarshal(raw, &k) != nil || k.Value == "" || len(k.Value) > sessionMost || k.MaxAge <= 0 {
		http.Error(w, "what is to be kept is not understood, or too long", http.StatusBadRequest)
		return
	}
	h.setCookie(w, r, base64.RawURLEncoding.EncodeToString([]byte(k.Value)), min(k.MaxAge, sessionAge))
	w.WriteHeader(http.StatusNoContent)
}

// takeSession gives it back; 204: there is nothing.
func (h *Handler) takeSession(w http.ResponseWriter, r *http.Request) {
	if !h.admit(w, r) {
		return
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	value, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(value) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(kept{Value: string(value)}) // the browser has gone: nothing to do about that
}

// dropSession forgets it.
func (h *Handler) dropSession(w http.ResponseWriter, r *http.Request) {
	if !h.admit(w, r) {
		return
	}
	h.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// admit lets in what the page itself sent, and nobody else [TT-WEB-2].
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Header.Get(csrfHeader) != "1" || !ownOrigin(r) || site != "" && site != "same-origin" {
		http.Error(w, "only the web client may ask for this", http.StatusForbidden)
		return false
	}
	return true
}

// ownOrigin reports whether a request comes from a page of this very host. Browsers name the origin of every POST.
func ownOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// setCookie keeps a value for some seconds; a negative number removes it. On HTTPS it never travels without: whether the browser speaks it is
// in the origin, even where a proxy speaks it in our place.
func (h *Handler) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // over plain HTTP a Secure cookie would not come back
		Name: sessionCookie, Value: value, Path: sessionPath, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https:"),
	})
}
