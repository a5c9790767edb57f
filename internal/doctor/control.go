package doctor

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"
)

// nowhere is an address that is set aside for documentation (RFC 5737): nobody is there, so whoever answers for it stands on the way.
const nowhere = "http://192.0.2.1:80/"

// control is what questions brought that nobody can answer: whoever does, answers everything.
type control struct {
	nowhere plain        // a page of nowhere
	nobody  string       // a name that nobody has
	lies    []netip.Addr // its addresses
}

// askNowhere asks an address at which nobody is for a page.
func (e *exam) askNowhere(ctx context.Context) {
	e.control.nowhere = e.askPlain(ctx, "portal", nowhere)
}

// askNobody asks the DNS for a name that nobody can have (RFC 6761).
func (e *exam) askNobody(ctx context.Context) {
	e.control.nobody = "teamtalk-" + strings.ToLower(rand.Text()[:12]) + ".invalid."
	e.control.lies, _ = e.resolve(ctx, e.control.nobody) // an error is the right answer
}

// lied reports whether the DNS gives an address for a name although it gives the same for names that do not exist.
func (e *exam) lied() bool {
	for _, c := range e.dns {
		for word := range strings.SplitSeq(c.Detail, ", ") {
			ip, err := netip.ParseAddr(word)
			if c.OK && err == nil && slices.Contains(e.control.lies, ip) {
				return true
			}
		}
	}
	return false
}
