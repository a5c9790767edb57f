package quicport

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// startClients runs n idle clients in a process of its own.
func startClients(t *testing.T, to string, n int) (stop func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIdleMemory$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "TT_QUIC_IDLE_CLIENTS_OF="+to, "TT_QUIC_IDLE_CLIENTS="+strconv.Itoa(n))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// idleClients connects, says one thing on each connection, and stays until its input ends.
func idleClients(t *testing.T, to string) {
	n, err := strconv.Atoi(os.Getenv("TT_QUIC_IDLE_CLIENTS"))
	if err != nil {
		t.Fatal(err)
	}
	addr, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	c.tls = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPN}}
	c.cfg.MaxIdleTimeout = time.Hour
	c.cfg.KeepAlivePeriod = 0
	var wait sync.WaitGroup
	slots := make(chan struct{}, 32)
	for range n {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			for {
				err := stay(c, addr)
				if err == nil {
					return
				}
				t.Log(err) // refused for the moment, perhaps only after the handshake
			}
		})
	}
	wait.Wait()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// stay opens a connection and leaves it open.
func stay(c *client, to net.Addr) error {
	qc, err := c.Dial(context.Background(), to, c.tls, c.cfg)
	if err != nil {
		return err
	}
	str, err := qc.OpenStream()
	if err != nil {
		return err
	}
	if _, err := str.Write(numbered(1)); err != nil {
		return err
	}
	_, err = io.ReadFull(str, make([]byte, len(numbered(1))))
	return err
}
