//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The names and further addresses of the world that the doctor examines.
const (
	chatName = "chat.example.com"
	otherIP  = "10.99.0.3" // another machine beside the server: a web server, or a portal
	emptyIP  = "10.99.0.4" // nobody
)

// terminalBinary compiles cmd/teamtalk once per test process; the environment variable TEAMTALK names another executable.
var terminalBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TEAMTALK"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(os.Getenv(buildDirVariable), "teamtalk")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "teamtalk/cmd/teamtalk")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build teamtalk: %w\n%s", err, out)
	}
	return path, nil
})

// clinic is a client's host, the network it is on, and a server behind it.
type clinic struct {
	hosts
	dir   string
	names map[string]string // what the DNS knows; "*" is any name
	env   []string          // of the client
	flags []string          // of the doctor
	dns   string            // address of the client's DNS server
}

// newClinic is a network on which all is well, without a server yet.
func newClinic(t *testing.T) *clinic {
	t.Helper()
	c := &clinic{hosts: joined(t), dir: t.TempDir(), names: map[string]string{chatName: serverHost}, dns: serverHost}
	c.ip(t, c.server.Name(), "address", "add", otherIP+mask, "dev", "eth0")
	c.ip(t, c.client.Name(), "route", "add", "default", "via", serverHost) // which leads nowhere but looks like a way
	return c
}

// ip runs an ip command in a namespace.
func (c *clinic) ip(t *testing.T, name string, words ...string) {
	t.Helper()
	ctx, cancel := limited(t, Patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", append([]string{"-n", name}, words...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", words, err, out)
	}
}

// node runs the server. Without other flags its certificate is a development one for the name, which the doctor is told to trust.
func (c *clinic) node(t *testing.T, args ...string) *Server {
	t.Helper()
	s := Start(t, ServerConfig{Wrap: c.server.Wrap(), Args: append([]string{"--users", "2", "--public-host", chatName,
		"--tcp", serverTCP, "--tls", serverTLS, "--quic", serverTLS, "--http", serverHTTP}, args...)})
	if s.Addr.CA != "" {
		c.flags = append(c.flags, "--ca", s.Addr.CA)
	}
	return s
}

// answerNames is the DNS server. It ends with the test.
func (c *clinic) answerNames(t *testing.T) {
	t.Helper()
	var pc net.PacketConn
	err := c.server.Do(func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", "0.0.0.0:53") // for proxies on the same host too
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when the port is closed
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, err := c.answer(buf[:n]); err == nil {
				_, _ = pc.WriteTo(answer, from) // as lossy as any
			}
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
}

// answer is what the DNS says to a question (RFC 1035): addresses of version 4 are all it knows.
func (c *clinic) answer(question []byte) ([]byte, error) {
	const head, typeA = 12, 1
	var labels []string
	at := head
	for at < len(question) && question[at] != 0 {
		end := at + 1 + int(question[at])
		if end >= len(question) {
			return nil, errors.New("a name without end")
		}
		labels = append(labels, string(question[at+1:end]))
		at = end
	}
	if at+5 > len(question) {
		return nil, errors.New("no question")
	}
	name := strings.ToLower(strings.Join(labels, "."))
	address, known := c.names[name]
	if !known {
		address, known = c.names["*"]
	}
	kind := binary.BigEndian.Uint16(question[at+1:])
	out := append([]byte{question[0], question[1], 0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[head:at+5]...)
	switch {
	case !known:
		out[3] |= 3 // no such name
	case kind == typeA:
		out[7] = 1
		ip := netip.MustParseAddr(address).As4()
		out = append(out, 0xc0, head, 0, typeA, 0, 1, 0, 0, 0, 5, 0, 4)
		out = append(out, ip[:]...)
	}
	return out, nil
}

// setUp is a process of the client's host that sees its own DNS settings.
const setUp = `mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"`

// examine runs the doctor on the client's host.
func (c *clinic) examine(t *testing.T, flags ...string) (out string, status int, took time.Duration) {
	t.Helper()
	program, err := terminalBinary()
	if err != nil {
		t.Fatal(err)
	}
	resolv, known := c.write(t, "resolv.conf", "nameserver "+c.dns+"\noptions timeout:1 attempts:2\n"), c.write(t, "hosts", "127.0.0.1 localhost\n")
	line := append(c.client.Wrap(), "sh", "-c", setUp, "sh", resolv, known, program, "doctor", "--server", chatName, "--profile", filepath.Join(c.dir, "profile"))
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], append(append(line[1:], c.flags...), flags...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "GODEBUG=netdns=go"}, c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	took = time.Since(start)
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) || stderr.Len() > 0 {
		t.Fatalf("the doctor: %v\n%s%s", err, &stdout, &stderr)
	}
	return stdout.String(), cmd.ProcessState.ExitCode(), took
}

func (c *clinic) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
