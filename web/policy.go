package web

import (
	"net/http"
	"net/url"
	"strings"
)

// policy is all that the page may do: run its own scripts and styles, show what it made or fetched itself, talk to its server. Whatever somebody
// manages to put into it as text stays text [TT-WEB-1].
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; " +
	"manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'; connect-src 'self'"

// protect sets the headers that hold the browser to it.
func (h *Handler) protect(head http.Header, r *http.Request) {
	head.Set("Content-Security-Policy", policy+socketSource(r.Host)+h.connect)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(self), payment=(), usb=()")
}

// socketSource names the WebSocket of the page's own host: not all browsers take it to be part of 'self'.
func socketSource(host string) string {
	odd := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(".-:[]", c))
	}
	if host == "" || strings.ContainsFunc(host, odd) {
		return ""
	}
	return " ws://" + host + " wss://" + host
}

// connectSources are further origins as the policy names them, with their WebSockets.
func connectSources(origins []string) string {
	var b strings.Builder
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" {
			continue // the configuration has been checked; this is about what a browser would not understand
		}
		socket := "wss://"
		if u.Scheme == "http" {
			socket = "ws://"
		}
		b.WriteString(" " + u.Scheme + "://" + u.Host + " " + socket + u.Host)
	}
	return b.String()
}
