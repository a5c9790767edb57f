//go:build !linux

package peers

import (
	"net"
	"time"
)

// setUserTimeout does nothing where the system has no such option: pings and raft's own deadlines end such connections too.
func setUserTimeout(net.Conn, time.Duration) {}
