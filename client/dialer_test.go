package client

import (
	"slices"
	"testing"

	"teamtalk/client/dial"
)

// Endpoints of the server are used by transports that the user's addresses stand for; nothing plain is learned from a server [TT-SESS-23].
func TestPrefer(t *testing.T) {
	endpoints := []string{"quic://n2:443", "tls://n2:443", "wss://n2:443", "https://n2:443/lp", "tcp://n2:8000"}
	for _, c := range []struct {
		address string
		more    []dial.Transport
	}{
		{"chat.example.com", []dial.Transport{dial.QUIC, dial.TLS, dial.WebSocket, dial.LongPoll}},
		{"wss://chat.example.com", []dial.Transport{dial.WebSocket}},
		{"tcp://chat.example.com:8000", nil},
		{"ws://chat.example.com", nil},
	} {
		d, err := newDialer(&Config{Addresses: []string{c.address}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Prefer(endpoints); err != nil {
			t.Errorf("%s: %v", c.address, err)
		}
		var got []dial.Transport
		n, ok := d.(network)
		if !ok {
			t.Fatalf("%T", d)
		}
		for _, r := range n.Routes() {
			if !slices.Contains(n.own, r) {
				got = append(got, r.Transport)
			}
		}
		if !slices.Equal(got, c.more) {
			t.Errorf("%s: learned %v, want %v", c.address, got, c.more)
		}
		if err := d.Prefer([]string{"nonsense://x"}); err == nil {
			t.Errorf("%s: nonsense accepted", c.address)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
