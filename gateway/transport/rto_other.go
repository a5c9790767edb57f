//go:build !linux

package transport

import "net"

// boundRTO is for systems that have the option.
func boundRTO(net.Conn) {}
