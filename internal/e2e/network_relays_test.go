//go:build linux

package e2e

import (
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/internal/simnet"
)

// TestForgottenByNAT: a client whose NAT gives it another address, again and again, goes on with its QUIC connection as if nothing had happened
// [TT-QUIC-5].
func TestForgottenByNAT(t *testing.T) {
	t.Parallel()
	s := Start(t, ServerConfig{Args: []string{"--users", "2", "--password", "123456"}})
	relay, err := simnet.RelayUDP(simnet.NewLink(seed(t).Uint64(), simnet.Faults{Delay: 5 * time.Millisecond}), s.Addr.QUIC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	ctx, cancel := limited(t, Patience)
	defer cancel()
	moved, err := onHost{address: "quic://" + relay.Addr(), pinned: true}.open(ctx, t, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	friend, err := onHost{address: "tls://" + s.Addr.TLS, pinned: true}.open(ctx, t, s, 2)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 6 {
		if n := relay.Rebind(); n != 1 {
			t.Fatalf("round %d: %d clients were given another address, want 1", round, n)
		}
		exchange(t, moved, friend)
	}
	if n := moved.sdk.Status().Reconnects; n != 0 {
		t.Errorf("it connected again %d times", n)
	}
}

// TestCutWithoutNotice: whichever end learns that a connection is gone, the conversation goes on and loses nothing. An end that isn't told is found
// out when the other one is back; where neither is, the client has to be told that the network has changed.
func TestCutWithoutNotice(t *testing.T) {
	t.Parallel()
	s := Start(t, ServerConfig{Args: []string{"--users", "2", "--password", "123456"}})
	relay, err := simnet.RelayTCP(simnet.NewLink(seed(t).Uint64(), simnet.Faults{Delay: 5 * time.Millisecond, Loss: 0.02}), s.Addr.TLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	ctx, cancel := limited(t, Patience)
	defer cancel()
	cut, err := onHost{address: "tls://" + relay.Addr(), pinned: true}.open(ctx, t, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	friend, err := onHost{address: "tls://" + s.Addr.TLS, pinned: true}.open(ctx, t, s, 2)
	if err != nil {
		t.Fatal(err)
	}
	for n, how := range []simnet.Cut{simnet.Reset, simnet.ResetDialer, simnet.ResetListener, simnet.Silence} {
		exchange(t, cut, friend)
		if cuts := relay.Cut(how); cuts != 1 {
			t.Fatalf("%s: %d connections were cut, want 1", how, cuts)
		}
		start := time.Now()
		if how == simnet.ResetListener || how == simnet.Silence {
			cut.sdk.NetworkChanged()
		}
		exchange(t, cut, friend)
		Eventually(t, "it is online", func() bool { return cut.sdk.Status().State == client.Online })
		t.Logf("%s: back after %s", how, time.Since(start).Round(time.Millisecond))
		if got := cut.sdk.Status().Reconnects; got <= n {
			t.Errorf("%s: it has connected again %d times, want %d or more", how, got, n+1)
		}
	}
}
