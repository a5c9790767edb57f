package federation

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestNotNow has a side that can commit nothing for a while: it acknowledges nothing, and gets all of it when it can again [FED-IN-3].
func TestNotNow(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		a.until("a link", func() bool { return stands(x, y) })
		y.stuck.Store(true)
		for _, m := range numbered("m", 30) {
			a.say(1, b, 2, m)
		}
		<-time.After(2 * time.Minute)
		if a.acked(b) || len(fromAuthor(t, b, 2, 0, a, 1)) != 0 {
			t.Error("something was acknowledged, or is there")
		}
		y.stuck.Store(false)
		a.until("all is there", func() bool { return a.acked(b) })
		if got := fromAuthor(t, b, 2, 0, a, 1); !slices.Equal(got, numbered("m", 30)) {
			t.Errorf("b has %q", got)
		}
	})
}

// A hub is a branch whose groups a puppet passes on, with what a test leaves out.
type hub struct {
	*puppet
	to    *branch
	group protocol.GroupID
	lane  fed.Lane
	sent  uint64
}

func newHub(t *testing.T, of, to *branch) *hub {
	t.Helper()
	res, _ := of.do(&protocol.CreateGroup{Type: protocol.GroupNormal, Name: "g", Members: []protocol.UserID{1, of.alias(to, 2)}}).(protocol.CreateGroupResult)
	h := &hub{puppet: newPuppet(t, of), to: to, group: res.Group}
	h.lane = fed.LaneOf(protocol.InGroup(h.group).Conversation(0))
	return h
}

func (h *hub) post(text string) {
	h.of.do(&protocol.SendMessage{From: 1, To: protocol.InGroup(h.group), Type: protocol.MsgGroupText, Data: []byte(text)})
}

// pass sends all that waits; of the places that are left out, and of all profiles, nothing comes.
func (h *hub) pass(w Wire, leaveOut ...uint64) {
	h.Helper()
	for {
		events, epoch, err := h.of.store.FedOut(h.to.id, h.lane, h.sent+1, 1, 1<<20)
		if err != nil {
			h.Fatal(err)
		}
		if len(events) == 0 {
			return
		}
		e, err := fed.DecodeEvent(events[0])
		if err != nil {
			h.Fatal(err)
		}
		if e.Type == fed.TypeHubPost {
			if post, err := fed.BodyOf[fed.HubPost](&e); err != nil || slices.Contains(leaveOut, post.Seq) {
				skip := fed.Event{ID: e.ID}
				events[0] = skip.Encode(fed.TypeSkip, fed.Skip{})
			}
		}
		b := fed.Batch{Epoch: epoch, Lane: h.lane, First: h.sent + 1, Events: []fed.SignedEvent{h.own.signer.SignEvent(events[0])}}
		h.own.signer.SignBatch(&b, h.to.id)
		if err := w.Write(h.lane, fed.NewFrame(fed.KindBatch, b)); err != nil {
			h.Fatal(err)
		}
		h.sent++
	}
}

// asked is the next range that the other side asks for.
func (h *hub) asked(w Wire) (q fed.GetRange) {
	h.Helper()
	f, err := h.next(w, fed.KindGetRange)
	if err == nil {
		err = f.Into(&q)
	}
	if err != nil {
		h.Fatalf("nothing is asked for: %v", err)
	}
	return q
}

// answer gives what was asked for, at most so many at a time, signed by whoever a test likes.
func (h *hub) answer(w Wire, q fed.GetRange, most int, by fed.Signer) {
	h.Helper()
	events, more, err := h.of.store.FedRange(h.group, h.to.id, q.From, q.To, most, 1<<20)
	if err != nil {
		h.Fatal(err)
	}
	p := fed.RangePage{ID: q.ID, More: more}
	for _, e := range events {
		p.Events = append(p.Events, by.SignEvent(e))
	}
	if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindRangePage, p)); err != nil {
		h.Fatal(err)
	}
}

// has is what the other side has of the group.
func (h *hub) has() (texts []string) {
	h.Helper()
	gaps, err := h.to.store.FedChains(h.of.id)
	if err != nil || len(gaps) != 1 {
		h.Fatalf("groups of the hub: %v, %v", gaps, err)
	}
	msgs, err := h.to.store.History(2, protocol.InGroup(gaps[0].Alias), 0, 100)
	if err != nil {
		h.Fatal(err)
	}
	for _, m := range msgs {
		texts = append(texts, string(m.Data))
	}
	slices.Reverse(texts)
	return texts
}

// TestGap has places of a group be missing: they are asked for at once, page by page; when nobody answered, with the next link; what is badly signed is not taken [FED-GET-1] [FED-GET-2].
func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		y := b.open("b:443", false, func(c *Config) { c.Timing.Tick = time.Second })
		h := newHub(t, a, b)
		for _, m := range numbered("m", 6) {
			h.post(m)
		}
		w, _, err := h.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		h.pass(w, 2, 3, 4)
		q := h.asked(w)
		if q.Group != (fed.GroupRef{Cluster: a.id, ID: h.group}) || q.From != 2 || q.To < 4 {
			t.Errorf("asked for %+v", q)
		}
		_ = w.Close() // no answer
		b.until("the link is down", func() bool { return !y.up(a) })
		h.hello.PeerEpoch = 1
		if w, _, err = h.connect(n, b, "b:443"); err != nil {
			t.Fatal(err)
		}
		q = h.asked(w)
		if q.From != 2 {
			t.Errorf("asked for %+v with the next link", q)
		}
		impostor := fed.Signer{Cluster: a.id, Key: ed25519.NewKeyFromSeed(make([]byte, 32))}
		h.answer(w, q, 1, h.own.signer)
		q = h.asked(w)
		if q.From != 3 {
			t.Errorf("asked for %+v after the first page", q)
		}
		h.answer(w, q, 100, h.own.signer)
		b.until("all is there", func() bool { return slices.Equal(h.has(), numbered("m", 6)) })
		h.post("m6")
		h.post("m7")
		h.pass(w, 7)
		q = h.asked(w)
		h.answer(w, q, 100, impostor)
		<-time.After(10 * time.Second)
		if got := h.has(); slices.Contains(got, "m6") {
			t.Errorf("what nobody has signed is taken: %q", got)
		}
		_ = w.Close()
	})
}

// TestRangesOfOthers: who is not in a group gets nothing of it, nor of a group of somebody else's [FED-GET-1].
func TestRangesOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, c := newBranch(t, n, 1), newBranch(t, n, 2, "b:443"), newBranch(t, n, 3)
		befriend(a, b, c)
		b.open("b:443", false, func(c *Config) { c.Timing.Tick = time.Second })
		h := newHub(t, b, c) // of b and c
		h.post("secret")
		shared := newHub(t, b, a).group
		p := newPuppet(t, a)
		w, _, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		for i, g := range []fed.GroupRef{{Cluster: b.id, ID: h.group}, {Cluster: c.id, ID: shared}, {Cluster: b.id, ID: 999}} {
			if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindGetRange, fed.GetRange{ID: uint64(i) + 1, Group: g, From: 1})); err != nil {
				t.Fatal(err)
			}
			f, err := p.next(w, fed.KindRangePage)
			if err != nil {
				t.Fatal(err)
			}
			var page fed.RangePage
			if err := f.Into(&page); err != nil || page.ID != uint64(i)+1 || page.Code != protocol.CodeForbidden || len(page.Events) != 0 {
				t.Errorf("group %v: %+v, %v", g, page, err)
			}
		}
		for i := range maxQuestions * 4 {
			if w.Write(fed.LaneControl, fed.NewFrame(fed.KindGetRange, fed.GetRange{ID: uint64(i) + 10})) != nil {
				break // it was enough
			}
		}
		_ = w.Close()
	})
}

// TestInnerSignatures checks what a hub passes on: by the keys of the origin, unless it is of the hub's own users; a key that is not known may come [FED-SIG-1] [FED-SIG-4].
func TestInnerSignatures(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, c := newBranch(t, n, 1), newBranch(t, n, 2, "b:443"), newBranch(t, n, 3)
		befriend(a, b, c)
		y := b.open("b:443", false, func(c *Config) { c.Timing.Tick = time.Second })
		p := newPuppet(t, a)
		w, _, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		b.until("a link", func() bool { return y.up(a) })
		l := y.m.linkOf(a.id)
		signer := func(o *branch) fed.Signer {
			s, err := selfOf(&o.identity)
			if err != nil {
				t.Fatal(err)
			}
			return s.signer
		}
		event := func(o *branch) []byte {
			e := fed.Event{ID: fed.EventID{Cluster: o.id, Index: 5}, Author: fed.UserRef{Cluster: o.id, ID: 1}, Group: fed.GroupRef{Cluster: a.id, ID: 1}}
			return e.Encode(fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte("x")})
		}
		stranger := fed.Signer{Cluster: c.id, Key: ed25519.NewKeyFromSeed(make([]byte, 32))}
		changed := signer(c).SignEvent(event(c))
		changed.Event = slices.Clone(changed.Event)
		changed.Event[len(changed.Event)-1] ^= 1
		waited := 0
		for _, k := range []struct {
			what    string
			inner   fed.SignedEvent
			bad     bool
			unknown bool
		}{
			{"nothing is left of it", fed.SignedEvent{}, false, false},
			{"of the hub's own", fed.SignedEvent{Event: event(a)}, false, false},
			{"of a third cluster", signer(c).SignEvent(event(c)), false, false},
			{"of this cluster", signer(b).SignEvent(event(b)), false, false},
			{"of a third cluster, not signed", fed.SignedEvent{Event: event(c)}, true, true},
			{"of a third cluster, with another key", stranger.SignEvent(event(c)), true, true},
			{"of a third cluster, signed by the hub", signer(a).SignEvent(event(c)), true, true},
			{"of a third cluster, changed", changed, true, false},
			{"of this cluster, signed by the hub", signer(a).SignEvent(event(b)), true, true},
			{"no event", fed.SignedEvent{Event: []byte{1, 2, 3}}, true, false},
		} {
			err := l.verifyInner(context.Background(), a.id, &k.inner, func() error { waited++; return nil })
			if (err != nil) != k.bad || isUnknownKey(err) != k.unknown {
				t.Errorf("%s: %v", k.what, err)
			}
		}
		if waited != 5 {
			t.Errorf("the state was looked at anew %d times", waited)
		}
		sentinel := errors.New("the link ends")
		inner := stranger.SignEvent(event(c))
		if err := l.verifyInner(context.Background(), a.id, &inner, func() error { return sentinel }); !errors.Is(err, sentinel) {
			t.Errorf("a link that ends meanwhile: %v", err)
		}
	})
}
