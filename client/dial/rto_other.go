//go:build !linux

package dial

import "syscall"

// boundRTO is for systems that have the option.
func boundRTO(string, string, syscall.RawConn) error { return nil }
