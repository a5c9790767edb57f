package dial

import (
	"net"
	"net/http"
	"net/url"
	"slices"
)

// Bases are the HTTP servers at a Dialer's addresses, as "https://host:port", the encrypted ones first; those of plain addresses only where these are
// used anyway.
func (d *Dialer) Bases() []string {
	var bases []string
	for _, r := range d.Routes() {
		u, err := url.Parse(r.URL)
		if err != nil || r.Transport != WebSocket && r.Transport != LongPoll {
			continue
		}
		scheme := "https"
		if r.Plain {
			scheme = "http"
		}
		if base := scheme + "://" + u.Host; !slices.Contains(bases, base) {
			bases = append(bases, base)
		}
	}
	return bases
}

// HTTP makes requests to a base as long-polling does: over the same network, by the same proxy, with the same TLS. It follows no redirects.
// Its CloseIdleConnections is to be called when it is not needed any more.
func (d *Dialer) HTTP(base string) (*http.Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	direct := func(nc net.Conn) net.Conn { return nc }
	t, err := d.httpTransport(Route{Transport: LongPoll, URL: u.String(), Plain: u.Scheme == "http"}, direct, "h2", "http/1.1")
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t, CheckRedirect: noRedirect}, nil
}
