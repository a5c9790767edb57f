package client

import (
	"context"
	"errors"
	"slices"

	"teamtalk/client/dial"
)

// Dialer is where connections come from [TT-SESS-23]. What package dial makes fits through Config; a test may bring its own.
type Dialer interface {
	// Race begins to look for a connection; the routes to avoid are tried last.
	Race(avoid ...dial.Route) Race
	// Better looks for a connection by a better route than the one in use; it fails at once if there is none.
	Better(ctx context.Context, than dial.Route) (dial.Conn, error)
	// Remember notes the route that answered as this network's winner.
	Remember(r dial.Route)
	// Prefer puts the server's endpoints before the own addresses in the races to come.
	Prefer(endpoints []string) error
	// Close joins what the dialer runs.
	Close() error
}

// Race yields connections until no route is left. One that also has the methods Attempts and Trying of a dial.Race is asked what has failed, and what is
// being tried.
type Race interface {
	// Next is the next connection that opened.
	Next(ctx context.Context) (dial.Conn, error)
}

// network is a dial.Dialer as a Dialer.
type network struct {
	*dial.Dialer
	own []dial.Route // of the addresses in the Config
}

// Race begins to look for a connection.
func (n network) Race(avoid ...dial.Route) Race { return n.Dialer.Race(avoid...) }

// Prefer keeps to the transports that the addresses in the Config stand for: who names one transport has a reason.
func (n network) Prefer(endpoints []string) error {
	var usable []string
	var errs []error
	for _, e := range endpoints {
		routes, err := dial.Parse([]string{e}, false)
		errs = append(errs, err)
		if slices.ContainsFunc(routes, n.fits) {
			usable = append(usable, e)
		}
	}
	if len(usable) == 0 {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, n.Dialer.Prefer(usable))...)
}

func (n network) fits(r dial.Route) bool {
	return !r.Plain && slices.ContainsFunc(n.own, func(own dial.Route) bool { return own.Transport == r.Transport && !own.Plain })
}

// newDialer is the Dialer of a checked Config.
func newDialer(c *Config, winners dial.Winners) (Dialer, error) {
	if c.Dialer != nil {
		return c.Dialer, nil
	}
	d, err := dial.New(c.Addresses, dial.Options{
		TLS: c.TLS, Proxy: c.Proxy, AllowPlain: c.AllowPlain, Only: c.Only, Winners: winners,
		UserAgent: c.Program + "/" + c.Version, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	return network{d, d.Routes()}, nil
}
