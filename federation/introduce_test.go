package federation

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// invitation is one of a branch's, known to its state unless secret is only the test's.
func (b *branch) invitation(life time.Duration, endpoint string) fed.Invitation {
	b.Helper()
	m := b.manifest()
	inv := fed.Invitation{Cluster: b.id, Root: fed.FingerprintOf(m.Root), Endpoints: []string{endpoint}, Expires: protocol.TimeOf(time.Now().Add(life)), Domain: m.Domain}
	_, _ = rand.Read(inv.Secret[:])
	b.do(&protocol.AddInvitation{Hash: inv.SecretHash(), Expires: inv.Expires})
	return inv
}

// TestIntroduction uses an invitation once, in time, with its secret; anything else is refused and leaves no trace [FED-ON-3] [FED-ON-1].
func TestIntroduction(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, c := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b:443"), newBranch(t, n, 3)
		a.open("a:443", false)
		y, z := b.open("b:443", false), c.open("", false)
		inv := a.invitation(time.Hour, "a:443")
		refused := func(s *site, inv fed.Invitation, says string) {
			t.Helper()
			_, err := s.m.introduce(context.Background(), inv, "")
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("an introduction ends with %v, want %q", err, says)
			}
			if p := a.peer(s.branch.id); p != nil && p.Peer.State >= fed.PeerConfirmed {
				t.Errorf("a keeps the cluster as %v", p.Peer.State)
			}
		}
		wrong := inv
		wrong.Secret[5] ^= 1
		refused(y, wrong, "there is no such invitation")
		impostor := inv
		impostor.Root[0] ^= 1
		refused(z, impostor, "is not the one that gave the invitation") // and used it up for nothing
		if p := a.peer(b.id); p != nil {
			t.Fatalf("a knows b: %+v", p)
		}
		refused(y, inv, "there is no such invitation")
		inv = a.invitation(time.Hour, "a:443")
		signed, err := y.m.introduce(context.Background(), inv, "")
		if err != nil || string(signed.Manifest) != string(a.identity.Manifest.Manifest) {
			t.Fatalf("an introduction: %v", err)
		}
		if p := a.peer(b.id); p == nil || p.Peer.State != fed.PeerIntroduced || p.Peer.In != 0 || p.Peer.Out != 0 {
			t.Fatalf("a keeps %+v", p)
		}
		refused(y, inv, "there is no such invitation")
		refused(z, inv, "there is no such invitation")
		late := a.invitation(time.Hour, "a:443")
		a.skew.Store(int64(2 * time.Hour))
		refused(y, late, "there is no such invitation")
	})
}

// TestStrangers are told that they are not known, or not confirmed yet, and get nothing else [FED-ON-1].
func TestStrangers(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2)
		a.open("a:443", false)
		y := b.open("", false)
		b.rule(a, func(*fed.Peer) {}) // b trusts a
		b.say(2, a, 1, "waits")
		told := func(says string) {
			t.Helper()
			b.until(says, func() bool { return strings.Contains(y.m.linkViews()[a.id].Error, says) })
		}
		told("an invitation comes first")
		a.rule(b, func(p *fed.Peer) { p.State = fed.PeerIntroduced })
		told("not confirmed at this side yet")
		if y.up(a) || b.acked(a) {
			t.Error("something went over")
		}
		a.rule(b, func(p *fed.Peer) { p.State = fed.PeerConfirmed })
		b.until("a link, and all there", func() bool { return y.up(a) && b.acked(a) })
	})
}

// TestVersions has a peer with which no version is in common: it is tried again in an hour, or when a manifest changes [FED-TR-6].
func TestVersions(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2)
		befriend(a, b)
		listener, err := n.Listen("a:443")
		if err != nil {
			t.Fatal(err)
		}
		p := newPuppet(t, a)
		p.hello.Versions, p.hello.Destination = fed.Versions{Least: 7, Most: 9}, b.id
		served := make(chan int, 1)
		go func() { served <- p.serve(listener) }() // ends with the listener
		y := b.open("", false, func(c *Config) { c.Timing.Tick = time.Second })
		told := func() bool { return strings.Contains(y.m.linkViews()[a.id].Error, "speaks versions 1 to 2") }
		b.until("b knows", told)
		if d := y.count.dialled.Load(); d != 1 {
			t.Errorf("b has dialled %d times", d)
		}
		<-time.After(55 * time.Minute)
		if d := y.count.dialled.Load(); d != 1 {
			t.Errorf("b has dialled %d times within an hour", d)
		}
		<-time.After(10 * time.Minute)
		if d := y.count.dialled.Load(); d != 2 {
			t.Errorf("b has dialled %d times after an hour", d)
		}
		b.publish(fed.Manifest{Endpoints: []string{"b:443"}})
		<-time.After(10 * time.Second)
		if d := y.count.dialled.Load(); d != 3 {
			t.Errorf("b has dialled %d times after its manifest had changed", d)
		}
		_ = listener.Close()
		if got := <-served; got != 3 {
			t.Errorf("%d connections", got)
		}
		a.open("a:443", false)
		<-time.After(2 * time.Hour)
		if !y.up(a) {
			t.Error("no link although both speak the same now")
		}
	})
}
