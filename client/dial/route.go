package dial

import (
	"cmp"
	"net"
	"net/url"
	"slices"
)

// Transport names how PDUs are carried.
type Transport string

// Transports.
const (
	QUIC      Transport = "quic"
	TLS       Transport = "tls"
	WebSocket Transport = "websocket"
	LongPoll  Transport = "longpoll"
	TCP       Transport = "tcp"
)

// rank orders transports, the best first [TT-SESS-23].
func (t Transport) rank() int {
	return slices.Index([]Transport{QUIC, TLS, WebSocket, LongPoll, TCP}, t)
}

// throughProxy reports whether a transport uses the HTTP proxy there may be.
func (t Transport) throughProxy() bool { return t == WebSocket || t == LongPoll }

// Route is one way to a server.
type Route struct {
	Transport Transport
	URL       string // with port and path, such as "wss://chat.example.com:443/ws"
	Proxy     string // URL of the proxy in between, without name and password; empty: none
	Plain     bool   // not encrypted
}

// String is the URL, and the proxy if there is one.
func (r Route) String() string {
	if r.Proxy == "" {
		return r.URL
	}
	return r.URL + " through " + r.Proxy
}

// Host is the host and port that it leads to, whatever is in between.
func (r Route) Host() string {
	u, err := url.Parse(r.URL)
	if err != nil {
		return r.URL
	}
	return u.Host
}

// same reports whether both lead to the same place; proxies come and go.
func (r Route) same(other Route) bool { return r.Transport == other.Transport && r.URL == other.URL }

// betterThan compares what the transports are worth: encryption counts before all else.
func (r Route) betterThan(other Route) bool { return compareRoutes(r, other) < 0 }

// address is the host and port to connect to.
func (r Route) address() (host, hostPort string, err error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return "", "", err
	}
	return u.Hostname(), net.JoinHostPort(u.Hostname(), u.Port()), nil
}

// compareRoutes puts the encrypted before the plain, and the better transport first.
func compareRoutes(a, b Route) int {
	if a.Plain != b.Plain {
		if b.Plain {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Transport.rank(), b.Transport.rank())
}

// inOrder returns the routes in the order to try them, each once: those of the remembered transport first and those to avoid last, but
// never a plain one before an encrypted one [TT-SESS-23].
func inOrder(routes []Route, remembered Transport, avoid []Route) []Route {
	place := func(r Route) int {
		switch {
		case slices.ContainsFunc(avoid, r.same):
			return 2
		case r.Transport == remembered:
			return 0
		}
		return 1
	}
	var out []Route
	for _, r := range routes {
		if !slices.ContainsFunc(out, r.same) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Route) int {
		if a.Plain != b.Plain {
			return compareRoutes(a, b)
		}
		return cmp.Or(cmp.Compare(place(a), place(b)), compareRoutes(a, b))
	})
	return out
}
