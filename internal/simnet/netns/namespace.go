//go:build linux

package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Missing is what keeps this process from making namespaces and paths; nil: nothing.
func Missing() error {
	var missing []error
	if os.Geteuid() != 0 {
		missing = append(missing, errors.New("only root may make network namespaces"))
	}
	for _, command := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, fmt.Errorf("%w (Debian: apt-get install iproute2 nftables)", err))
		}
	}
	if _, err := os.Stat(tunDevice); err != nil {
		missing = append(missing, err)
	}
	return errors.Join(missing...)
}

// commandTime is the most that ip or nft may take.
const commandTime = 20 * time.Second

// run carries out a command; the error has what it said.
func run(ctx context.Context, input string, line ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...) //nolint:gosec // the lines are those of this package
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// A Namespace is a host: it has its own interfaces, addresses, ports and filters, and nothing leads out of it but what is put there.
type Namespace struct{ name string }

const prefix = "tt-"

// New makes a namespace with nothing but its loopback, which is up. The label, of letters and digits, is for people: several may have the same.
func New(ctx context.Context, label string) (*Namespace, error) {
	sweep(ctx)
	n := &Namespace{name: fmt.Sprintf("%s%d-%s-%08x", prefix, os.Getpid(), label, rand.Uint32())}
	if _, err := run(ctx, "", "ip", "netns", "add", n.name); err != nil {
		return nil, err
	}
	if _, err := run(ctx, "", "ip", "-n", n.name, "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// sweep removes what killed processes have left behind. What can't be removed is somebody else's trouble.
func sweep(ctx context.Context) {
	list, err := run(ctx, "", "ip", "netns", "list")
	if err != nil {
		return
	}
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		digits, _, ok := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		pid, err := strconv.Atoi(digits)
		if !ok || err != nil || !strings.HasPrefix(name, prefix) || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		_, _ = run(ctx, "", "ip", "netns", "delete", name) // another test process may have been faster
	}
}

// Close removes the namespace. Its interfaces go when the last process and socket in it have ended.
func (n *Namespace) Close() error {
	_, err := run(context.Background(), "", "ip", "netns", "delete", n.name)
	return err
}

// Name is how ip and nft call it.
func (n *Namespace) Name() string { return n.name }

// Wrap is the command to run a process in the namespace under: the words before its own.
func (n *Namespace) Wrap() []string { return []string{"ip", "netns", "exec", n.name} }

// Filter loads rules in the language of nft; those loaded before stay.
func (n *Namespace) Filter(ctx context.Context, rules string) error {
	_, err := run(ctx, rules, append(n.Wrap(), "nft", "-f", "-")...)
	return err
}

// Filters shows the rules with their counters.
func (n *Namespace) Filters(ctx context.Context) (string, error) {
	return run(ctx, "", append(n.Wrap(), "nft", "list", "ruleset")...)
}

// ip runs an ip command inside.
func (n *Namespace) ip(ctx context.Context, words ...string) error {
	_, err := run(ctx, "", append([]string{"ip", "-n", n.name}, words...)...)
	return err
}

// Do calls f on a thread that is in the namespace: what sockets f itself opens belong to it for good. Goroutines that f starts are outside.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f
		done <- n.do(f)
	}()
	return <-done
}

// do has the goroutine to itself: a thread that can't be brought home ends with it.
func (n *Namespace) do(f func() error) error {
	inside, err := os.Open("/run/netns/" + n.name)
	if err != nil {
		return err
	}
	defer inside.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", n.name, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave %s: %w", n.name, back))
	}
	runtime.UnlockOSThread()
	return err
}

// DialContext connects from inside the namespace. The address must be numeric: a name would be looked up outside.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.numeric(address, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// ListenPacket opens a UDP port inside the namespace.
func (n *Namespace) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, "udp", ":0")
		return err
	})
	return conn, err
}

// Listen opens a TCP port of a numeric address inside the namespace.
func (n *Namespace) Listen(ctx context.Context, address string) (net.Listener, error) {
	var l net.Listener
	err := n.numeric(address, func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
		return err
	})
	return l, err
}

func (n *Namespace) numeric(address string, f func() error) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if net.ParseIP(host) == nil {
		return fmt.Errorf("%q is not numeric", address)
	}
	return n.Do(f)
}
