package transport

import (
	"net"
	"syscall"
	"time"
)

const (
	// optRTOMax is TCP_RTO_MAX_MS, which Linux has since 6.15.
	optRTOMax = 44
	// rtoMax is the longest pause between two retransmissions. Without a bound they double: after a blackout of some seconds a phone that is back
	// hears nothing for as long again.
	rtoMax = 2 * time.Second
)

// boundRTO sets rtoMax for a connection; older systems don't know the option, and do without.
func boundRTO(nc net.Conn) {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // fails on a closed connection, which Read notices
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, optRTOMax, int(rtoMax.Milliseconds()))
	})
}
