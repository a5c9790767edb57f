//go:build linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"teamtalk/internal/simnet"
)

// Cable joins two namespaces by a pair of interfaces of the kernel, without faults. The addresses carry the length of their network:
// "10.99.0.1/24".
func Cable(ctx context.Context, a, b *Namespace, addressA, addressB string) error {
	const name = "eth0"
	if _, err := run(ctx, "", "ip", "link", "add", name, "netns", a.name, "type", "veth", "peer", "name", name, "netns", b.name); err != nil {
		return err
	}
	return errors.Join(a.open(ctx, name, addressA), b.open(ctx, name, addressB))
}

// open gives an interface its address and lets it work.
func (n *Namespace) open(ctx context.Context, name, address string) error {
	if err := n.ip(ctx, "address", "add", address, "dev", name); err != nil {
		return err
	}
	return n.ip(ctx, "link", "set", name, "up")
}

const (
	tunDevice = "/dev/net/tun"
	tunName   = "tun0"
	// tunMTU is what paths of the internet have.
	tunMTU = 1500
)

// A Path joins two namespaces. Every packet between them goes through this process, which delays and drops them as the link says: Up is from the
// first namespace to the second.
type Path struct {
	ends   [2]*os.File
	cancel context.CancelFunc
	joined sync.WaitGroup
}

// NewPath joins two namespaces over a link. The addresses carry the length of their network: "10.99.0.1/24".
func NewPath(ctx context.Context, link *simnet.Link, a, b *Namespace, addressA, addressB string) (*Path, error) {
	p := &Path{}
	for i, n := range []*Namespace{a, b} {
		end, err := n.tun(ctx, []string{addressA, addressB}[i])
		if err != nil {
			return nil, errors.Join(err, p.closeEnds())
		}
		p.ends[i] = end
	}
	running, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for direction, from := range p.ends {
		to := p.ends[1-direction]
		packets := simnet.NewPackets(link, simnet.Direction(direction))
		p.joined.Go(func() { packets.Run(running) })     // ends by Close
		p.joined.Go(func() { carry(from, to, packets) }) // ends when Close closes the device
	}
	return p, nil
}

func carry(from, to *os.File, packets *simnet.Packets) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		packets.Send(append([]byte(nil), buf[:n]...), func(b []byte) {
			_, _ = to.Write(b) // an interface that is going takes none: lost
		})
	}
}

// tun makes an interface whose packets this process reads and writes.
func (n *Namespace) tun(ctx context.Context, address string) (*os.File, error) {
	var file *os.File
	err := n.Do(func() (err error) { // the device belongs to the namespace it is opened in
		file, err = openTUN()
		return err
	})
	if err != nil {
		return nil, err
	}
	err = errors.Join(n.ip(ctx, "link", "set", tunName, "mtu", strconv.Itoa(tunMTU)), n.open(ctx, tunName, address))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func openTUN() (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunDevice, err)
	}
	request, err := unix.NewIfreq(tunName)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", tunName, err), unix.Close(fd))
	}
	// Only now, when it is an interface, can it be polled.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), tunName), nil
}

func (p *Path) closeEnds() error {
	var errs []error
	for _, end := range p.ends {
		if end != nil {
			errs = append(errs, end.Close())
		}
	}
	return errors.Join(errs...)
}

// Close takes the path away and waits for its goroutines. The namespaces stay.
func (p *Path) Close() error {
	err := p.closeEnds()
	p.cancel()
	p.joined.Wait()
	return err
}
