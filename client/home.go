package client

import (
	"context"
	"net/url"
	"slices"
	"sync"

	"teamtalk/client/dial"
)

// home is the node that the session is on, for what goes beside the session: the file of a task comes to that node only [TT-FILE-13].
type home struct {
	mu    sync.Mutex // guards what follows
	bases []string   // where its HTTP port may be, "https://host:port", the likeliest first; behind it come other nodes
	conn  dial.Conn  // of the session that is online; nil: none is
}

// online notes the connection of the session that is live; nil: none is any more.
func (h *home) online(conn dial.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = conn
}

// bulk opens a stream for a file beside the session; nil if its connection has none, or there is no connection.
func (h *home) bulk(ctx context.Context) (dial.Bulk, error) {
	h.mu.Lock()
	conn := h.conn
	h.mu.Unlock()
	if b, ok := conn.(dial.Bulker); ok {
		return b.OpenBulk(ctx)
	}
	return nil, nil //nolint:nilnil // there is none, which is no error
}

// moved notes where the session is now: WELCOME names the node itself first [TT-SESS-25]; where it names none that may be used, the route led there.
func (h *home) moved(endpoints []string, route dial.Route) {
	var bases []string
	for _, e := range append(slices.Clone(endpoints), route.URL) {
		u, err := url.Parse(e)
		if err != nil {
			continue
		}
		switch u.Scheme {
		case "https", "wss":
			bases = append(bases, "https://"+u.Host)
		case "http", "ws":
			bases = append(bases, "http://"+u.Host)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bases = bases
}

// first puts the session's node before all others.
func (h *home) first(bases []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, own := range h.bases {
		if i := slices.Index(bases, own); i >= 0 {
			return slices.Concat(bases[i:i+1], bases[:i], bases[i+1:])
		}
	}
	return bases
}
