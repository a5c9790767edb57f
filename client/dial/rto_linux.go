package dial

import (
	"syscall"
	"time"
)

const (
	// optRTOMax is TCP_RTO_MAX_MS, which Linux has since 6.15.
	optRTOMax = 44
	// rtoMax is the longest pause between two retransmissions: what was sent into a blackout arrives soon after it.
	rtoMax = 2 * time.Second
)

// boundRTO sets rtoMax for a socket; older systems don't know the option, and do without.
func boundRTO(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, optRTOMax, int(rtoMax.Milliseconds()))
	})
}
