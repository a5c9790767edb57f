package federation

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// TestInit: a cluster founds its identity once, and may be called something else later; the serial rises [FED-ID-1] [FED-ID-2].
func TestInit(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a := d.desk("hangzhou", 1)
		_, err := a.m.Self()
		a.refuses(protocol.CodeNotFound, err)
		_, err = a.m.Invite(ctx, 0)
		a.refuses(protocol.CodeNotFound, err)
		for _, bad := range []Naming{{Domain: "Hangzhou", Office: "x"}, {Domain: "a.example"}, {Domain: "a.example", Office: "x", Endpoints: []string{"nowhere"}},
			{Domain: "a.example", Office: "x", Endpoints: []string{":443"}}, {Domain: "a.example", Office: "x", Endpoints: []string{"a:0"}}} {
			a.refuses(protocol.CodeInvalid, a.m.Init(ctx, bad))
		}
		a.init()
		first := a.self()
		if first.Serial != 1 || first.Epoch != 1 || first.Domain != "hangzhou.example" || !slices.Equal(first.Endpoints, []string{"hangzhou:443"}) || first.Restored {
			t.Errorf("founded as %+v", first)
		}
		if len(first.Keys) != 2 || first.Keys[0].Purpose != "active" || first.Keys[1].Purpose != "next" || first.Key != first.Keys[0].ID {
			t.Errorf("keys %+v", first.Keys)
		}
		a.ok(a.m.Init(ctx, Naming{Office: "Hangzhou West", Endpoints: []string{"west:8443"}}))
		next := a.self()
		var wg sync.WaitGroup
		for i := range 4 { // at the same time
			wg.Go(func() { a.ok(a.m.Init(ctx, Naming{Domain: fmt.Sprintf("d%d.example", i)})) })
		}
		wg.Wait()
		if got := a.self().Serial; got != 6 {
			t.Errorf("after four changes at once the serial is %d", got)
		}
		if next.Serial != 2 || next.Office != "Hangzhou West" || next.Domain != first.Domain || next.Fingerprint != first.Fingerprint || !slices.Equal(next.Endpoints, []string{"west:8443"}) {
			t.Errorf("renamed to %+v", next)
		}
	})
}

// TestEndpointsFollow: the manifest says where the configuration says that the cluster is reached, once that has settled, unless an operator has said so.
func TestEndpointsFollow(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.desk("hangzhou", 1), d.desk("beijing", 1)
		a.init()
		b.ok(b.m.Init(context.Background(), Naming{Domain: b.domain(), Office: "b", Endpoints: []string{"fixed:1"}}))
		var mu sync.Mutex
		now := []string{"z:2", "y:1"}
		reached := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
		a.reached, b.reached = reached, reached
		a.until("the manifest follows", func() bool { return a.self().Serial == 2 })
		if got := a.self().Endpoints; !slices.Equal(got, []string{"y:1", "z:2"}) {
			t.Errorf("reached at %v", got)
		}
		mu.Lock()
		now = nil // nothing is known for a moment
		mu.Unlock()
		<-time.After(10 * time.Minute)
		if a.self().Serial != 2 || b.self().Serial != 1 || b.self().Endpoints[0] != "fixed:1" {
			t.Errorf("%+v, %+v", a.self(), b.self())
		}
	})
}

// TestRotateKey: next becomes active, the former one is kept for 30 days; a compromised one goes at once [FED-ID-3].
func TestRotateKey(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a := d.desk("hangzhou", 1)
		a.init()
		purposes := func() (all []string) {
			for _, k := range a.self().Keys {
				all = append(all, k.Purpose)
			}
			slices.Sort(all)
			return all
		}
		before := a.self().Keys
		a.ok(a.m.RotateKey(ctx, false))
		if s := a.self(); s.Key != before[1].ID || s.Serial != 2 || !slices.Equal(purposes(), []string{"active", "next", "verify"}) {
			t.Errorf("after rotating: %+v", s)
		}
		stolen := a.self().Key
		a.ok(a.m.RotateKey(ctx, true))
		if s := a.self(); !slices.Equal(purposes(), []string{"active", "next", "verify"}) || slices.ContainsFunc(s.Keys, func(k KeyView) bool { return k.ID == stolen }) {
			t.Errorf("the stolen key is still there: %+v", s)
		}
		for range maxFormer - 1 {
			a.ok(a.m.RotateKey(ctx, false))
		}
		a.refuses(protocol.CodeRateLimited, a.m.RotateKey(ctx, false))
		a.ok(a.m.RotateKey(ctx, true))
		a.ok(a.m.tidy(ctx, &sweeper{}, time.Now().Add(verifyFor-time.Minute)))
		if !slices.Contains(purposes(), "verify") {
			t.Error("former keys went too early")
		}
		a.ok(a.m.tidy(ctx, &sweeper{}, time.Now().Add(verifyFor+time.Minute)))
		if got := purposes(); !slices.Equal(got, []string{"active", "next"}) {
			t.Errorf("after 30 days: %v", got)
		}
	})
}

// TestOnboarding: an invitation, its acceptance, and both sides' confirmation; all that can go wrong with them [FED-ON-1] [FED-ON-3].
func TestOnboarding(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b, c := d.desk("hangzhou", 1), d.desk("beijing", 11), d.desk("lisbon", 21)
		a.init()
		inv, err := a.m.Invite(ctx, time.Hour)
		a.ok(err)
		_, err = b.m.AcceptInvitation(ctx, inv.Code(), "")
		b.refuses(protocol.CodeNotFound, err) // no identity yet
		b.init()
		c.init()
		_, err = b.m.AcceptInvitation(ctx, "ttf1-nonsense", "")
		b.refuses(protocol.CodeInvalid, err)
		_, err = a.m.AcceptInvitation(ctx, inv.Code(), "")
		if !strings.Contains(a.refuses(protocol.CodeInvalid, err), "very cluster") {
			t.Error(err)
		}
		_, err = b.m.AcceptInvitation(ctx, inv.Code(), "not a proxy")
		b.refuses(protocol.CodeInvalid, err)

		v, err := b.m.AcceptInvitation(ctx, inv.Code(), "proxy:3128")
		b.ok(err)
		if v.State != "introduced" || v.Domain != a.domain() || v.Proxy != "proxy:3128" || b.dialled != "proxy:3128" || a.view(b).State != "introduced" || len(v.In)+len(v.Out) != 0 {
			t.Errorf("introduced as %+v and %+v", v, a.view(b))
		}
		_, err = c.m.AcceptInvitation(ctx, inv.Code(), "") // it was used up
		c.refuses(protocol.CodeUnavailable, err)

		a.refuses(protocol.CodeForbidden, a.m.Confirm(ctx, b.domain(), a.self().Fingerprint, fed.AllowAll, fed.AllowAll))
		a.refuses(protocol.CodeInvalid, a.m.Confirm(ctx, b.domain(), b.self().Fingerprint, 0, 0))
		a.refuses(protocol.CodeInvalid, a.m.Confirm(ctx, b.domain(), b.self().Fingerprint, 1<<7, 0))
		if a.view(b).State != "introduced" {
			t.Errorf("confirmed with a wrong fingerprint: %+v", a.view(b))
		}
		a.refuses(protocol.CodeInvalid, a.m.Pause(ctx, b.domain()))
		typed := strings.ToLower(strings.ReplaceAll(b.self().Fingerprint, "-", " "))
		a.ok(a.m.Confirm(ctx, b.domain(), typed, fed.AllowAll, fed.AllowDirect))
		<-time.After(5 * time.Minute)
		if a.isUp(b) || b.isUp(a) {
			t.Error("the link is up and one side has not confirmed")
		}
		b.ok(b.m.SetPolicy(ctx, a.domain(), Policy{Proxy: new(string)}))
		b.ok(b.m.Confirm(ctx, a.domain(), a.self().Fingerprint, fed.AllowAll, fed.AllowAll))
		a.until("the link is up", func() bool { return a.isUp(b) && b.isUp(a) })
		if got := a.view(b); !slices.Equal(got.Out, []string{"direct"}) || len(got.In) != 5 || got.State != "confirmed" {
			t.Errorf("allowed %+v", got)
		}

		inv, err = a.m.Invite(ctx, time.Hour)
		a.ok(err)
		_, err = b.m.AcceptInvitation(ctx, inv.Code(), "")
		b.refuses(protocol.CodeInvalid, err) // linked already
		<-time.After(2 * time.Hour)
		_, err = c.m.AcceptInvitation(ctx, inv.Code(), "")
		if !strings.Contains(c.refuses(protocol.CodeInvalid, err), "expired") {
			t.Error(err)
		}
		for _, life := range []time.Duration{time.Second, 40 * 24 * time.Hour} {
			_, err = a.m.Invite(ctx, life)
			a.refuses(protocol.CodeInvalid, err)
		}
	})
}

// TestSameDomain: two clusters that are called the same can't be told apart by people, so the second is not let in [FED-ON-3].
func TestSameDomain(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b, c := d.desk("hangzhou", 1), d.desk("beijing", 11), d.desk("lisbon", 21)
		a.init()
		b.init()
		c.ok(c.m.Init(ctx, Naming{Domain: "beijing.example", Office: "Beijing"}))
		a.meets(b, fed.AllowAll, fed.AllowAll)
		inv, err := c.m.Invite(ctx, 0)
		c.ok(err)
		_, err = a.m.AcceptInvitation(ctx, inv.Code(), "")
		a.refuses(protocol.CodeInvalid, err)
		a.refuses(protocol.CodeInvalid, a.m.Init(ctx, Naming{Domain: "beijing.example"}))
		inv, err = a.m.Invite(ctx, 0)
		a.ok(err)
		_, err = c.m.AcceptInvitation(ctx, inv.Code(), "")
		said := c.refuses(protocol.CodeUnavailable, err)
		if !strings.Contains(said, "another office's domain") {
			t.Error(said)
		}
		// As long as none of the two is linked both may come: which one is let in is for the operator.
		a.ok(a.m.Remove(ctx, b.self().Cluster))
		b.ok(b.m.Remove(ctx, a.domain()))
		_, err = c.m.AcceptInvitation(ctx, inv.Code(), "")
		c.ok(err)
		inv, err = a.m.Invite(ctx, 0)
		a.ok(err)
		_, err = b.m.AcceptInvitation(ctx, inv.Code(), "")
		b.ok(err)
		said = a.refuses(protocol.CodeInvalid, a.m.Confirm(ctx, "beijing.example", c.self().Fingerprint, fed.AllowAll, fed.AllowAll))
		if !strings.Contains(said, b.self().Cluster) || !strings.Contains(said, c.self().Cluster) {
			t.Errorf("it does not name both: %s", said)
		}
		said = a.refuses(protocol.CodeInvalid, a.m.Confirm(ctx, c.self().Cluster, c.self().Fingerprint, fed.AllowAll, fed.AllowAll))
		if !strings.Contains(said, "already") {
			t.Error(said)
		}
		a.ok(a.m.Remove(ctx, c.self().Cluster))
		a.ok(a.m.Confirm(ctx, "beijing.example", b.self().Fingerprint, fed.AllowAll, fed.AllowAll)) // not ambiguous any more
		a.ok(a.m.Pause(ctx, b.self().Cluster[:9]))                                                  // the beginning of the id
		if said = a.refuses(protocol.CodeNotFound, a.m.Pause(ctx, "oslo.example")); !strings.Contains(said, "beijing.example") {
			t.Error(said)
		}
		a.refuses(protocol.CodeNotFound, a.m.Pause(ctx, b.self().Cluster[:7]))
		a.ok(a.m.Resume(ctx, "beijing.example", false))
	})
}

// TestRules: what an operator changes is there at once, and changes at the same time don't undo each other [FED-ON-2].
func TestRules(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b := d.desk("hangzhou", 1), d.desk("beijing", 11)
		a.init()
		b.init()
		a.meets(b, fed.AllowAll, fed.AllowAll)
		var wg sync.WaitGroup
		out, quota, dialOnly := fed.AllowDirect|fed.AllowPresence, uint64(5<<20), true
		for _, p := range []Policy{{Out: &out}, {Quota: &quota}, {DialOnly: &dialOnly}} {
			wg.Go(func() { a.ok(a.m.SetPolicy(ctx, b.domain(), p)) })
		}
		wg.Wait()
		if v := a.view(b); !slices.Equal(v.Out, []string{"direct", "presence"}) || len(v.In) != 5 || v.Quota != quota || !v.DialOnly {
			t.Errorf("rules %+v", v)
		}
		dialOnly = false
		a.ok(a.m.SetPolicy(ctx, b.domain(), Policy{DialOnly: &dialOnly}))
		bad := fed.Allow(1 << 6)
		a.refuses(protocol.CodeInvalid, a.m.SetPolicy(ctx, b.domain(), Policy{In: &bad}))
		a.ok(a.m.Pause(ctx, b.domain()))
		a.until("the link is down", func() bool { return !a.isUp(b) && !b.isUp(a) })
		a.ok(a.m.Resume(ctx, b.domain(), false))
		a.until("the link is up", func() bool { return a.isUp(b) && b.isUp(a) })
		a.ok(a.m.Remove(ctx, b.domain()))
		a.refuses(protocol.CodeInvalid, a.m.Remove(ctx, b.domain()))
		a.refuses(protocol.CodeInvalid, a.m.Resume(ctx, b.domain(), false))
		a.refuses(protocol.CodeInvalid, a.m.SetPolicy(ctx, b.domain(), Policy{Out: &out}))
		a.refuses(protocol.CodeInvalid, a.m.Resume(ctx, "", true)) // it was not restored
		a.until("the link is down", func() bool { return !a.isUp(b) && !b.isUp(a) })
	})
}

// TestAllowNames: what operators write is what is shown.
func TestAllowNames(t *testing.T) {
	for a := range fed.AllowAll + 1 {
		if got, err := ParseAllow(AllowNames(a)); err != nil || got != a {
			t.Errorf("%05b is %v, read as %05b, %v", a, AllowNames(a), got, err)
		}
	}
	if all, err := ParseAllow([]string{"all"}); err != nil || all != fed.AllowAll {
		t.Error(all, err)
	}
	if none, err := ParseAllow([]string{"none"}); err != nil || none != 0 {
		t.Error(none, err)
	}
	if _, err := ParseAllow([]string{"everything"}); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Error(err)
	}
}

// TestResumeRestored: a cluster that was restored from a backup says so and does nothing abroad until an operator says that the former one is gone; then a new epoch begins,
// under a manifest that is later than any that was lost [FED-EP-1].
func TestResumeRestored(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		var backup bytes.Buffer
		_, err := a.store.Engine().Backup(ctx, &backup)
		a.ok(err)
		for range 3 { // what is lost
			a.ok(a.m.RotateKey(ctx, true))
		}
		lost := a.self()
		b.until("the lost manifest is known", func() bool { return b.view(a).Serial == lost.Serial })
		a.m.Close()
		dir := filepath.Join(d.dir, "restored")
		_, err = raftstore.RestoreBackup(dir, &backup, raftstore.Rebuild{Node: "n1", Address: "n1", Program: "test", Renew: state.RenewCluster})
		a.ok(err)
		a.host.Down(simnet.Reset)
		a.host = d.net.Host(a.name)
		a.open(dir)
		a.begin(Config{})
		<-time.After(10 * time.Minute)
		if s := a.self(); !s.Restored || s.Serial >= lost.Serial || a.isUp(b) || b.isUp(a) {
			t.Errorf("after the restore: %+v", s)
		}
		_, err = a.m.Invite(ctx, 0)
		a.refuses(protocol.CodeUnavailable, err)
		a.refuses(protocol.CodeUnavailable, a.m.Confirm(ctx, b.domain(), b.self().Fingerprint, fed.AllowAll, fed.AllowAll))
		a.refuses(protocol.CodeUnavailable, a.m.Resume(ctx, b.domain(), false))
		a.refuses(protocol.CodeInvalid, a.m.Resume(ctx, b.domain(), true))
		a.ok(a.m.Resume(ctx, "", true))
		if s := a.self(); s.Restored || s.Serial <= lost.Serial || s.Epoch < uint64(time.Now().Add(-time.Hour).UnixMilli()) || s.Fingerprint != lost.Fingerprint {
			t.Errorf("after the word of the operator: %+v", s)
		}
		a.refuses(protocol.CodeInvalid, a.m.Resume(ctx, "", true))
		a.until("the link is up", func() bool { return a.isUp(b) && b.isUp(a) })
	})
}
