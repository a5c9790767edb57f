package transport

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// OriginAllowed reports whether a request may come from where it comes from: no Origin means that no browser sent it, otherwise it is the
// host itself or one of allow, such as "https://chat.example". The origin "null" is neither, whatever allow says [TT-WS-2] [TT-LP-2].
func OriginAllowed(r *http.Request, allow []string) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	if len(origins) > 1 || err != nil || u.Host == "" || u.Scheme == "" {
		return false
	}
	return sameHost(u, r.Host) || slices.ContainsFunc(allow, func(a string) bool { return strings.EqualFold(a, origins[0]) })
}

// sameHost compares by host and port. The scheme is left out: a proxy in front may speak TLS in our place.
func sameHost(origin *url.URL, host string) bool {
	return strings.EqualFold(withPort(origin.Host, origin.Scheme), withPort(host, origin.Scheme))
}

// withPort adds the port that the scheme means; browsers leave it out.
func withPort(host, scheme string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	port := "80"
	if scheme == "https" || scheme == "wss" {
		port = "443"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
