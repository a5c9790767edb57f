package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// The ports that addresses without one mean.
const (
	securePort = "443"
	httpPort   = "80"
	nativePort = "8000"
)

// maxHost is the longest host name that DNS has, in bytes.
const maxHost = 253

// scheme is what the scheme of an address stands for.
type scheme struct {
	transport Transport
	port      string
	path      string // what an empty path means; empty: there may be no path
	plain     bool
}

func schemeOf(name string) (scheme, bool) {
	switch name {
	case "quic":
		return scheme{transport: QUIC, port: securePort}, true
	case "tls":
		return scheme{transport: TLS, port: securePort}, true
	case "wss":
		return scheme{transport: WebSocket, port: securePort, path: "/ws"}, true
	case "https":
		return scheme{transport: LongPoll, port: securePort, path: "/lp"}, true
	case "ws":
		return scheme{transport: WebSocket, port: httpPort, path: "/ws", plain: true}, true
	case "http":
		return scheme{transport: LongPoll, port: httpPort, path: "/lp", plain: true}, true
	case "tcp":
		return scheme{transport: TCP, port: nativePort, plain: true}, true
	}
	return scheme{}, false
}

// Parse turns addresses into routes, the better transports first. An address is either a URL, whose scheme says the transport (quic://, tls://,
// wss://, https://…/lp, and the plain ws://, http://…/lp, tcp://), or a host with or without a port: that means QUIC, TLS, WebSocket and long-poll at
// this port, 443 if there is none, and with allowPlain also plain WebSocket and long-poll (80) and TCP (8000) [TT-SESS-23]. An address that is a plain
// URL needs no allowPlain.
func Parse(addresses []string, allowPlain bool) ([]Route, error) {
	var routes []Route
	var errs []error
	for _, a := range addresses {
		found, err := parseAddress(a, allowPlain)
		if err != nil {
			errs = append(errs, fmt.Errorf("address %q: %w", a, err))
			continue
		}
		routes = append(routes, found...)
	}
	return inOrder(routes, "", nil), errors.Join(errs...)
}

func parseAddress(address string, allowPlain bool) ([]Route, error) {
	address = strings.TrimSpace(address)
	if name, rest, isURL := strings.Cut(address, "://"); isURL {
		r, err := parseURL(strings.ToLower(name), rest)
		if err != nil {
			return nil, err
		}
		return []Route{r}, nil
	}
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		address = "[" + address + "]"
	}
	schemes := []string{"quic", "tls", "wss", "https"}
	if allowPlain {
		schemes = append(schemes, "ws", "http", "tcp")
	}
	routes := make([]Route, 0, len(schemes))
	for _, s := range schemes {
		if strings.ContainsAny(address, "/?#") {
			return nil, errors.New("a path needs a scheme in front, such as https://")
		}
		r, err := parseURL(s, address)
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	return routes, nil
}

func parseURL(name, rest string) (Route, error) {
	s, ok := schemeOf(name)
	if !ok {
		return Route{}, fmt.Errorf("no transport has the scheme %q", name)
	}
	u, err := url.Parse(name + "://" + rest)
	if err != nil {
		return Route{}, errors.New("not a URL")
	}
	switch {
	case u.User != nil:
		return Route{}, errors.New("a name or password does not belong here")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Route{}, errors.New("a query or fragment means nothing here")
	case s.path == "" && strings.Trim(u.Path, "/") != "":
		return Route{}, errors.New("this transport has no path")
	}
	host, err := canonicalHost(u.Hostname())
	if err != nil {
		return Route{}, err
	}
	port, err := canonicalPort(u.Port(), s.port)
	if err != nil {
		return Route{}, err
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if path == "" {
		path = s.path
	}
	return Route{Transport: s.transport, URL: name + "://" + net.JoinHostPort(host, port) + path, Plain: s.plain}, nil
}

func canonicalHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", errors.New("an address with a zone")
		}
		return ip.Unmap().String(), nil
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(host, "."))
	if err == nil { // its own result it does not always accept
		_, err = idna.Lookup.ToASCII(ascii)
	}
	labels := strings.Split(ascii, ".")
	if err != nil || !utf8.ValidString(host) || len(ascii) > maxHost || slices.Contains(labels, "") || strings.ContainsRune(ascii, ':') {
		return "", fmt.Errorf("%q is no host name", host)
	}
	return ascii, nil
}

func canonicalPort(port, byDefault string) (string, error) {
	if port == "" {
		return byDefault, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port", port)
	}
	return strconv.FormatUint(n, 10), nil
}
