package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"

	"teamtalk/client/dial"
)

const proxySettings = "check HTTPS_PROXY and HTTP_PROXY in the environment"

// proxies are those that don't let anybody through.
func (e *exam) proxies() []Finding {
	var found []Finding
	for _, g := range e.gates {
		if !g.OK {
			found = append(found, Finding{ProxyForbid, "the proxy " + g.Target + " can't be reached: " + g.Detail, proxySettings})
		}
	}
	for _, d := range e.dialled {
		if f, ok := e.ofProxy(d); ok {
			found = append(found, f)
		}
	}
	return found
}

func (e *exam) ofProxy(d dialled) (Finding, bool) {
	if d.OK || d.Proxy == "" || !e.gateOpen(d.Proxy) {
		return Finding{}, false
	}
	_, host := d.place()
	status, ok := errors.AsType[*dial.StatusError](d.Err)
	switch {
	case ok && status.By != "proxy":
		return Finding{}, false
	case ok && status.Status == http.StatusProxyAuthRequired:
		return Finding{ProxyLogin, fmt.Sprintf("the proxy %s wants a name and password (407)", d.Proxy),
			"put them into the proxy's URL: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"}, true
	case ok && (status.Status == http.StatusBadGateway || status.Status == http.StatusServiceUnavailable || status.Status == http.StatusGatewayTimeout):
		return Finding{ProxyForbid, fmt.Sprintf("the proxy %s does not reach %s either (%d %s)", d.Proxy, host, status.Status, http.StatusText(status.Status)),
			"the server is down, or the proxy does not know its name: ask the server's operator, and then whoever runs the proxy"}, true
	case ok:
		return Finding{ProxyForbid, fmt.Sprintf("the proxy %s refuses %s (%d %s)", d.Proxy, host, status.Status, http.StatusText(status.Status)),
			"ask whoever runs the proxy to allow CONNECT to the server, or reach it without: NO_PROXY=" + host}, true
	case isTimeout(d.Err):
		return Finding{ProxyForbid, fmt.Sprintf("the proxy %s takes connections, but none to %s comes about", d.Proxy, host),
			"the server is down, or the proxy does not know its name or may not reach it: ask the server's operator, and then whoever runs the proxy"}, true
	}
	return Finding{}, false
}

// gateOpen reports whether a proxy takes connections.
func (e *exam) gateOpen(proxy string) bool {
	return slices.ContainsFunc(e.gates, func(g Check) bool { return g.OK && g.Target == proxy })
}

// closed are hosts and ports that don't take connections. Where proxies are to be used, that is as it should be.
func (e *exam) closed() []Finding {
	if slices.ContainsFunc(e.gates, func(g Check) bool { return g.OK }) {
		return nil
	}
	var found []Finding
	for _, c := range e.tcp {
		switch {
		case c.OK || isUnnamed(c.Err) || !e.named(c.Target):
		case errors.Is(c.Err, syscall.ECONNREFUSED):
			found = append(found, Finding{Refused, "the machine at " + e.where(c.Target) + " is there, but nothing listens at that port",
				"the server is down, or at another port or address: ask its operator, and give the port as HOST:PORT if it is another"})
		case isTimeout(c.Err) || errors.Is(c.Err, syscall.EHOSTUNREACH):
			found = append(found, Finding{Silent, "no answer at all from " + e.where(c.Target),
				"the machine is off, the address is wrong, or a firewall drops everything: try from another network; if that works, ask for the proxy of this one (HTTPS_PROXY)"})
		case isUnreached(c.Err):
			found = append(found, Finding{NoRoute, "this machine has a network, but no way to " + e.where(c.Target),
				"turn on the VPN if the server is behind one; or the machine's network settings (address, default gateway) are wrong: ask the IT department"})
		default:
			found = append(found, Finding{Other, "no connection to " + e.where(c.Target) + ": " + c.Detail, "check the network connection, and tell the server's operator"})
		}
	}
	return found
}

// named reports whether a host has an address.
func (e *exam) named(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	return err != nil || !slices.ContainsFunc(e.dns, func(c Check) bool { return !c.OK && c.Target == host })
}

// cutOff are ports that take connections on which no TLS comes about.
func (e *exam) cutOff() []Finding {
	var found []Finding
	for _, p := range e.papers {
		if p.Proxy != "" || p.leaf() != nil || !e.connects(p.Target) {
			continue
		}
		how := p.Detail
		if isTimeout(p.Err) {
			how = "no answer"
		}
		found = append(found, Finding{NoTLS, e.where(p.Target) + " takes connections, but no TLS comes about: " + how,
			"the port may be one without TLS, or a firewall cuts what is encrypted: check the address, and try from another network"})
	}
	return found
}

// connects reports whether TCP reaches a port.
func (e *exam) connects(hostPort string) bool {
	return slices.ContainsFunc(e.tcp, func(c Check) bool { return c.OK && c.Target == hostPort })
}

// strangers are servers with the right name that are not TeamTalk's.
func (e *exam) strangers() []Finding {
	var found []Finding
	for _, p := range e.papers {
		if !p.OK || p.speaks() || e.served(p) {
			continue
		}
		said := ""
		for _, d := range e.dialled {
			if hostPort, _ := d.place(); hostPort == p.Target && d.Proxy == p.Proxy && (d.route.Transport == dial.WebSocket || d.route.Transport == dial.LongPoll) {
				said = ": " + d.What + " fails, " + d.Detail
			}
		}
		found = append(found, Finding{NotTeamTalk, "a server is at " + e.where(p.Target) + " whose certificate is right, but TeamTalk's it is not" + said,
			"ask the operator for the right name and port; if they are right, the web server or gateway there has to pass on /ws and /lp"})
	}
	return found
}

// served reports whether a way in leads to where papers are from.
func (e *exam) served(p papers) bool {
	return e.in(func(d dialled) bool {
		hostPort, _ := d.place()
		return hostPort == p.Target && d.Proxy == p.Proxy && d.route.Transport != dial.QUIC
	})
}

// detours are ways in beside the direct one, of which people should know.
func (e *exam) detours() []Finding {
	var found []Finding
	for _, p := range e.papers {
		if p.OK && !p.speaks() && e.served(p) && e.opened(p) == "" {
			found = append(found, Finding{OnlyWeb, "what ends TLS" + p.to() + " passes only HTTP: a reverse proxy of the operator's, or a firewall that opens TLS (its certificate is issued by " + p.issuer() + ")",
				"nothing needs to be done; if you do not know that issuer, compare the certificate's SHA-256 (--json) with the operator's"})
		}
	}
	if e.in(proxied) && !e.in(direct) {
		found = append(found, Finding{OnlyProxy, "the server is reached only through the proxy, which lets it pass",
			"nothing needs to be done; if you move to another network, take the proxy out of the environment"})
	}
	for _, d := range e.dialled {
		if hostPort, _ := d.place(); !d.OK && d.route.Transport == dial.WebSocket && e.polls(hostPort, d) {
			found = append(found, Finding{NoWebSocket, "WebSocket does not pass at " + hostPort + ", while long-poll does: " + d.Detail,
				"nothing needs to be done, long-poll serves; the proxy or gateway in between could be told to pass on WebSocket"})
		}
	}
	return found
}

// polls reports whether long-poll works where a WebSocket doesn't.
func (e *exam) polls(hostPort string, ws dialled) bool {
	return e.in(func(d dialled) bool {
		other, _ := d.place()
		return d.route.Transport == dial.LongPoll && other == hostPort && d.Proxy == ws.Proxy
	})
}

// withoutUDP is QUIC that fails where TCP passes. It matters to who is in, and to whom QUIC would take past what opens TLS; others have worse to mend.
func (e *exam) withoutUDP() []Finding {
	if !e.in(anyhow) && len(e.inspected()) == 0 {
		return nil
	}
	var found []Finding
	for _, d := range e.dialled {
		if hostPort, _ := d.place(); d.route.Transport == dial.QUIC && isTimeout(d.Err) && e.connects(hostPort) {
			next := "let UDP to this port pass the firewall, or have the server listen there (listen.quic)"
			if e.in(anyhow) {
				next = "nothing needs to be done, TCP serves; to have QUIC, " + next
			}
			found = append(found, Finding{NoUDP, "UDP gets no answer at " + hostPort + ", while TCP does", next})
		}
	}
	return found
}

// rest is what no other rule has explained.
func (e *exam) rest() []Finding {
	var found []Finding
	for _, d := range e.dialled {
		if !d.OK && !e.explained(d) {
			found = append(found, Finding{Other, fmt.Sprintf("%s does not work at %s: %s", d.What, d.Target, d.Detail),
				"another web server or a gateway may answer there: tell the operator"})
		}
	}
	return found
}

// explained reports whether a failure of a route follows from one of its name, port, certificate or proxy.
func (e *exam) explained(d dialled) bool {
	hostPort, _ := d.place()
	_, told := e.ofProxy(d)
	switch {
	case told || isUnnamed(d.Err) || isMistrust(d.Err):
		return true
	case d.Proxy != "" && !e.gateOpen(d.Proxy):
		return true
	case d.route.Transport == dial.QUIC && isTimeout(d.Err): // by closed or withoutUDP, if TCP was tried
		return len(e.tcp) > 0
	case d.Proxy == "" && slices.ContainsFunc(e.tcp, func(c Check) bool { return !c.OK && c.Target == hostPort }):
		return true
	case d.route.Transport == dial.WebSocket && e.polls(hostPort, d):
		return true
	}
	return slices.ContainsFunc(e.papers, func(p papers) bool {
		if p.Target != hostPort || p.Proxy != d.Proxy || d.route.Transport == dial.QUIC {
			return false
		}
		return p.leaf() == nil && p.Proxy == "" || p.leaf() != nil && !p.OK || p.OK && !p.speaks() && (d.route.Transport == dial.TLS || !e.served(p))
	})
}
