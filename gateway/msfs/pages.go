package msfs

import (
	"net/http"
	"strings"

	"teamtalk/gateway/transport"
)

// Pages lets pages of some origins, such as "https://chat.example", use addresses of content: they may read what is answered there, and send to it
// [TT-MEDIA-11]. Whatever else is asked for, and whoever else asks, is as without.
func Pages(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isAddress(r) {
			next.ServeHTTP(w, r)
			return
		}
		header := w.Header()
		header.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !transport.OriginAllowed(r, origins) {
			next.ServeHTTP(w, r)
			return
		}
		header.Set("Access-Control-Allow-Origin", origin)
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		header.Set("Access-Control-Allow-Methods", "GET, POST")
		header.Set("Access-Control-Allow-Headers", "Content-Type, Upload-Offset")
		header.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}

// isAddress reports whether a request is to an address that proves who may use it. What old clients use proves nothing: it is for no other site's pages.
func isAddress(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/media/") || strings.HasPrefix(r.URL.Path, DownloadPath) && isSigned(r)
}
