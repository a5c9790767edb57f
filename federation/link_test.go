package federation

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// twoBranches are linked, each with one node.
func twoBranches(t *testing.T, n *simnet.Network) (a, b *branch, x, y *site) {
	a, b = newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b:443")
	befriend(a, b)
	x, y = a.open("a:443", false), b.open("b:443", false)
	return a, b, x, y
}

// stands reports whether two nodes have the link that stays.
func stands(x, y *site) bool {
	l, r := x.m.linkOf(y.branch.id), y.m.linkOf(x.branch.id)
	return l != nil && r != nil && l.preferred() && r.preferred()
}

// TestLink has two offices talk both ways, over one connection, which is that of the smaller id's dialling [FED-TR-2], and stays.
func TestLink(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		for i := range 20 {
			a.say(1, b, 2, "from a")
			b.say(2, a, 1, "from b")
			if i == 10 {
				<-time.After(time.Minute)
			}
		}
		a.until("all is there", func() bool { return a.acked(b) && b.acked(a) })
		want := 20
		if got := len(b.read(2, a, 1)); got != 2*want {
			t.Errorf("%d messages at b, want %d", got, 2*want)
		}
		if got := len(a.read(1, b, 2)); got != 2*want {
			t.Errorf("%d messages at a, want %d", got, 2*want)
		}
		<-time.After(3 * time.Minute)
		l, r := x.m.linkOf(b.id), y.m.linkOf(a.id)
		if l == nil || r == nil || !l.dialled || r.dialled {
			t.Fatalf("the link is not the one that a has dialled: %v, %v", l, r)
		}
		dials := x.count.dialled.Load() + y.count.dialled.Load()
		<-time.After(time.Hour) // pings keep it
		if x.m.linkOf(b.id) != l || y.m.linkOf(a.id) != r {
			t.Error("the link did not stay")
		}
		if now := x.count.dialled.Load() + y.count.dialled.Load(); now != dials || dials > 3 {
			t.Errorf("%d attempts to connect, then %d", dials, now)
		}
		v := x.m.linkViews()[b.id]
		if !v.Up || v.Sent == 0 || v.Received == 0 || v.Via != "tls" || v.RoundTrip < 90*time.Millisecond || v.RoundTrip > 200*time.Millisecond {
			t.Errorf("%+v", v)
		}
		if v.Skew < -time.Second || v.Skew > time.Second {
			t.Errorf("skew %v", v.Skew)
		}
	})
}

// TestDuplicates has connections come from both sides again and again: one stays, and no message comes twice [FED-TR-2].
func TestDuplicates(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		a.until("a link", func() bool { return stands(x, y) })
		for i := range 30 {
			a.say(1, b, 2, numbered("m", 30)[i])
			k := []*keeper{x.m.keeperOf(b.id), y.m.keeperOf(a.id)}[i%2]
			done := make(chan struct{})
			go func() { // ends with the link, which the test's end ends
				defer close(done)
				k.attemptAnyway()
			}()
			<-time.After(500 * time.Millisecond)
		}
		a.until("all is there", func() bool { return a.acked(b) })
		if got := b.read(2, a, 1); !slices.Equal(got, numbered("m", 30)) {
			t.Errorf("b has %q", got)
		}
		<-time.After(time.Minute)
		if l := x.m.linkOf(b.id); l == nil || !l.dialled {
			t.Error("a's link does not stand")
		}
		if r := y.m.linkOf(a.id); r == nil || r.dialled {
			t.Error("b's link is not the one that a has dialled")
		}
	})
}

// TestPeerThatForgot: a node lost power without a word; its successor dials. The link that is dead does not keep it out until it is noticed, whoever had dialled it [FED-TR-2].
func TestPeerThatForgot(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b1:443", "b2:443")
		befriend(a, b)
		x, y1 := a.open("a:443", false), b.open("b1:443", false)
		y2 := b.open("b2:443", true)
		a.until("a link", func() bool { return stands(x, y1) })
		<-time.After(time.Minute)
		y1.faded.Store(true)
		y1.follows.Store(true)
		y2.follows.Store(false)
		began := time.Now()
		b.until("a link with the successor", func() bool { return y2.up(a) && x.up(b) })
		a.say(1, b, 2, "m0")
		a.until("all is there", func() bool { return a.acked(b) })
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		<-time.After(time.Minute)
		if !stands(x, y2) && !y2.up(a) {
			t.Error("the link did not stay")
		}
	})
}

// TestNewerReplacesOlder: the side that has dialled dials again: it has forgotten the former connection [FED-TR-2].
func TestNewerReplacesOlder(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		y := b.open("b:443", false)
		p := newPuppet(t, a)
		first, _, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		b.until("a link", func() bool { return y.up(a) })
		old := y.m.linkOf(a.id)
		second, _, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		var bye *farewell
		if err := p.untilGoodbye(first); !errors.As(err, &bye) || bye.Reason != fed.ReasonDuplicate {
			t.Errorf("the first one ends with %v", err)
		}
		b.until("another link", func() bool { l := y.m.linkOf(a.id); return l != nil && l != old })
		_ = second.Close()
	})
}

// attemptAnyway dials though a link may stand.
func (k *keeper) attemptAnyway() {
	k.mu.Lock()
	endpoint := k.manifest.Endpoints[0]
	k.mu.Unlock()
	_, _ = k.dial(endpoint, "")
}

// TestCutInTheMiddle cuts the connection while many events are on their way: all arrive, once and in order [FED-IN-1].
func TestCutInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, _, _ := twoBranches(t, n)
		const messages = 600
		to, back := protocol.WithUser(a.alias(b, 2)), protocol.WithUser(b.alias(a, 1))
		for i := range messages {
			text := []byte(numbered("m", messages)[i])
			for _, c := range []struct {
				at *branch
				m  protocol.SendMessage
			}{{a, protocol.SendMessage{From: 1, To: to}}, {b, protocol.SendMessage{From: 2, To: back}}} {
				c.m.Type, c.m.Data = protocol.MsgSingleText, text
				c.at.do(&c.m)
			}
			if i%40 == 0 {
				n.Cut(simnet.Reset)
			}
			if i%7 == 0 {
				<-time.After(time.Duration(i%5) * 30 * time.Millisecond)
			}
		}
		a.until("all is there", func() bool { return a.acked(b) && b.acked(a) })
		for _, got := range [][]string{b.read(2, a, 1), a.read(1, b, 2)} {
			var from, to []string
			for _, s := range got {
				if s == numbered("m", messages)[len(from)%messages] && len(from) <= len(to) && len(from) < messages {
					from = append(from, s)
				} else {
					to = append(to, s)
				}
			}
			if len(got) != 2*messages {
				t.Errorf("%d messages, want %d", len(got), 2*messages)
			}
		}
		if d := cmp.Diff(numbered("m", messages), fromAuthor(t, b, 2, to.Peer(), a, 1)); d != "" {
			t.Errorf("what b has of a: %s", d)
		}
		if d := cmp.Diff(numbered("m", messages), fromAuthor(t, a, 1, back.Peer(), b, 2)); d != "" {
			t.Errorf("what a has of b: %s", d)
		}
	})
}

// fromAuthor is what a user has that the other one wrote, in order.
func fromAuthor(t *testing.T, at *branch, u protocol.UserID, _ protocol.UserID, of *branch, author protocol.UserID) (texts []string) {
	t.Helper()
	alias, err := at.store.AliasOf(fed.UserRef{Cluster: of.id, ID: author})
	if err != nil {
		t.Fatal(err)
	}
	if alias == 0 {
		return nil
	}
	var begin protocol.MsgID
	for {
		msgs, err := at.store.History(u, protocol.WithUser(alias), begin, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			if m.From == alias {
				texts = append(texts, string(m.Data))
			}
		}
		if len(msgs) == 0 || msgs[len(msgs)-1].ID == 1 {
			slices.Reverse(texts)
			return texts
		}
		begin = msgs[len(msgs)-1].ID - 1
	}
}

// TestLeadershipMoves has another node of an office lead: the link ends there with a word, and stands at the other node soon [FED-TR-3].
func TestLeadershipMoves(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a1:443", "a2:443"), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		x1, x2, y := a.open("a1:443", false), a.open("a2:443", true), b.open("b:443", false)
		b.until("a link with the first", func() bool { return x1.up(b) && y.up(a) })
		a.say(1, b, 2, "m0")
		a.until("it is there", func() bool { return a.acked(b) })
		x1.follows.Store(true)
		a.until("the first has none any more", func() bool { return !x1.up(b) })
		b.until("b was told", func() bool { return strings.Contains(y.m.linkViews()[a.id].Error, "does not lead any more") })
		x2.follows.Store(false)
		began := time.Now()
		b.until("a link with the second", func() bool { return x2.up(b) && y.up(a) })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v until the link stood again", took)
		}
		a.say(1, b, 2, "m1")
		b.say(2, a, 1, "back")
		a.until("all is there", func() bool { return a.acked(b) && b.acked(a) })
		if got := fromAuthor(t, b, 2, 0, a, 1); !slices.Equal(got, numbered("m", 2)) {
			t.Errorf("b has %q", got)
		}
	})
}

// TestElsewhere has a dialler go to the next endpoint if a node does not lead, and stay with the one that worked [FED-TR-3].
func TestElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b1:443", "b2:443")
		befriend(a, b)
		x, y1, y2 := a.open("", false), b.open("b1:443", true), b.open("b2:443", false)
		a.until("a link", func() bool { return x.up(b) && y2.up(a) })
		if y1.count.accepted.Load() != 1 {
			t.Errorf("the first node was asked %d times", y1.count.accepted.Load())
		}
		n.Cut(simnet.Reset)
		a.until("no link", func() bool { return !x.up(b) })
		a.until("a link", func() bool { return x.up(b) && y2.up(a) })
		if y1.count.accepted.Load() != 1 {
			t.Errorf("the first node was asked again")
		}
	})
}

// TestLinkRules ends and renews links as operators change what is kept of a peer [FED-ON-1] [FED-ON-2].
func TestLinkRules(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		a.until("a link", func() bool { return stands(x, y) })
		before := x.m.linkOf(b.id)
		a.rule(b, func(p *fed.Peer) { p.In = fed.AllowDirect })
		a.until("a new link", func() bool { l := x.m.linkOf(b.id); return l != nil && l != before && l.record.In == fed.AllowDirect })
		for _, c := range []struct {
			state fed.PeerState
			says  string
		}{{fed.PeerPaused, "paused"}, {fed.PeerIntroduced, "not confirmed"}} {
			a.rule(b, func(p *fed.Peer) { p.State = c.state })
			a.until("no link", func() bool { return !x.up(b) && !y.up(a) })
			b.until("b is told that it is "+c.says, func() bool { return strings.Contains(y.m.linkViews()[a.id].Error, c.says) })
			<-time.After(5 * time.Minute)
			if x.up(b) || y.up(a) {
				t.Errorf("%v: a link stands", c.state)
			}
			b.say(2, a, 1, "waits")
			a.rule(b, func(p *fed.Peer) { p.State = fed.PeerConfirmed })
			a.until("a link again", func() bool { return x.up(b) && y.up(a) && b.acked(a) })
		}
		b.rule(a, func(p *fed.Peer) { p.DialOnly = true })
		<-time.After(time.Minute)
		if r := y.m.linkOf(a.id); r == nil || !r.dialled {
			t.Error("no link that b has dialled")
		}
	})
}

// TestRestoredKeepsQuiet keeps all links down when the cluster's history is not the one of its identity [FED-EP-1].
func TestRestoredKeepsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		a.identity.History, a.identity.Epoch = [16]byte{77}, 2
		a.publish(fed.Manifest{Endpoints: []string{"a:443"}})
		x, y := a.open("a:443", false), b.open("b:443", false)
		b.until("b was told", func() bool { return strings.Contains(y.m.linkViews()[a.id].Error, "restored from a backup") })
		<-time.After(10 * time.Minute)
		if x.up(b) || y.up(a) || x.count.dialled.Load() != 0 {
			t.Error("a link stands, or a has dialled")
		}
		a.identity.History, a.identity.Epoch = [16]byte{1}, 1000
		a.publish(fed.Manifest{Endpoints: []string{"a:443"}})
		a.until("a link", func() bool { return stands(x, y) })
	})
}

// TestManifests has both sides learn of new manifests while they are linked, and keeps what was agreed if a key is rotated [FED-ID-2] [FED-ID-3].
func TestManifests(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		a.until("a link", func() bool { return stands(x, y) })
		before := x.m.linkOf(b.id)
		a.publish(fed.Manifest{Endpoints: []string{"a:443", "elsewhere:443"}})
		serial := func() uint64 {
			m, err := b.peer(a.id).Peer.Manifest.Open()
			if err != nil {
				t.Fatal(err)
			}
			return m.Serial
		}
		b.until("b knows", func() bool { return serial() == 2 })
		if x.m.linkOf(b.id) != before {
			t.Error("the link was renewed for it")
		}
		k := a.identity.Keys
		k[0].Purpose, k[1].Purpose = fed.KeyVerify, fed.KeyActive
		a.publish(fed.Manifest{Endpoints: []string{"a:443"}})
		b.until("b knows", func() bool { return serial() == 3 })
		a.until("a new link", func() bool { l := x.m.linkOf(b.id); return l != nil && l != before && y.up(a) })
		a.say(1, b, 2, "signed by the new key")
		a.until("it is there", func() bool { return a.acked(b) })
		a.identity.Keys = k[1:2] // the former one was compromised
		a.publish(fed.Manifest{Endpoints: []string{"a:443"}})
		b.until("b knows", func() bool { return serial() == 4 && y.up(a) })
		if keys := y.m.linkOf(a.id).keeper.newestKeys(); len(keys) != 1 {
			t.Errorf("b takes signatures of %d keys", len(keys))
		}
	})
}

// TestStateLost stops the link when a peer has more of this side's events than this side [FED-EP-2].
func TestStateLost(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		y := b.open("b:443", false)
		p := newPuppet(t, a)
		p.hello.PeerEpoch, p.hello.Cursors = 1, []fed.Cursor{{Lane: 3, Sequence: 5}}
		w, h, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		if h.Epoch != 1 {
			t.Errorf("hello %+v", h)
		}
		var bye *farewell
		if err := p.untilGoodbye(w); !errors.As(err, &bye) || bye.Reason != fed.ReasonStateLost {
			t.Errorf("the link ends with %v", err)
		}
		b.until("it is known", func() bool { return strings.Contains(y.m.linkViews()[a.id].Error, "its state was lost") })
	})
}

// TestMetrics reads what is measured of a link.
func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		r := prometheus.NewRegistry()
		x := a.open("a:443", false, func(c *Config) { c.Registerer = r })
		a.say(1, b, 2, "waits")
		<-time.After(2 * time.Minute)
		if m := gathered(t, r); m["up"] != 0 || m["queue_events"] != 2 || m["queue_bytes"] == 0 || m["queue_oldest_seconds"] < 110 || m["dials_total/failed"] < 3 {
			t.Errorf("without a link: %v", m)
		}
		y := b.open("b:443", false)
		a.until("a link", func() bool { return x.up(b) && y.up(a) && a.acked(b) })
		m := gathered(t, r)
		if m["up"] != 1 || m["queue_events"] != 0 || m["queue_oldest_seconds"] != 0 || m["events_sent_total"] != 2 || m["links_total"] == 0 {
			t.Errorf("with a link: %v", m)
		}
		if left := m["certificate_seconds"]; left < 360*24*3600 || left > 366*24*3600 {
			t.Errorf("the certificate is good for %v s", left)
		}
		x.stop()
		if m := gathered(t, r); len(m) != 0 {
			t.Errorf("after the end: %v", m)
		}
	})
}

func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		name, is := strings.CutPrefix(f.GetName(), "teamtalk_federation_")
		for _, m := range f.GetMetric() {
			if !is {
				continue
			}
			key := name
			for _, l := range m.GetLabel() {
				if l.GetName() != "peer" {
					key += "/" + l.GetValue()
				}
			}
			all[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}
