package transport

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// Retransmissions to clients come at most 2 s apart, where the system can do that.
func TestRetransmissionIsBounded(t *testing.T) {
	l, err := Listen(ListenerConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	var failed error
	if err := raw.Control(func(fd uintptr) { got, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, optRTOMax) }); err != nil {
		t.Fatal(err)
	}
	if errors.Is(failed, syscall.ENOPROTOOPT) {
		t.Skip("this system does not know TCP_RTO_MAX_MS")
	}
	if failed != nil || got != int(rtoMax.Milliseconds()) {
		t.Errorf("an accepted connection has %d ms (%v), want %v", got, failed, rtoMax)
	}
}
