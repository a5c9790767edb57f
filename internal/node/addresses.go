package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"teamtalk/internal/admin"
)

// reachable is an address of this machine under which a listener can be dialled: for one on every interface, loopback.
func reachable(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return a.String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
}

func portOf(a net.Addr) uint16 {
	if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		return ap.Port()
	}
	return 0
}

// writeAddresses notes where the node listens, for the operator commands; pid tells a leftover from a living server.
func writeAddresses(dir string, at map[string]string) error {
	all := map[string]string{"pid": strconv.Itoa(os.Getpid())}
	for name, addr := range at {
		all[name] = addr
	}
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	if err := admin.WriteFile(filepath.Join(dir, admin.AddressesFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	return nil
}

func removeAddresses(dir string) error {
	if err := os.Remove(filepath.Join(dir, admin.AddressesFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("addresses: %w", err)
	}
	return nil
}
