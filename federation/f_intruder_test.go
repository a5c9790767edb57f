package federation_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// An impostor is somebody who says hello as he may not.
type impostor struct {
	name  string
	make  func(s *stage) *double
	hello func(*fed.Hello)
}

func impostors() []impostor {
	own := func(s *stage) *double { return s.twin() }
	later := func(change func(s *stage, d *double)) func(*stage) *double {
		return func(s *stage) *double {
			d := s.twin()
			change(s, d)
			return d
		}
	}
	return []impostor{
		{"a cluster that nobody knows", func(s *stage) *double { return s.newDouble(40, "nobody") }, nil},
		{"one with the manifest of another", later(func(s *stage, d *double) { d.papers.identity.Manifest = s.other.papers.identity.Manifest }), nil},
		{"one that wants another office", own, func(h *fed.Hello) { h.Destination = fed.ClusterID{7} }},
		{"one with a former manifest", later(func(_ *stage, d *double) { d.papers.publish(fed.Manifest{Serial: 1, Office: "mallory"}) }), nil},
		{"one with two manifests of a serial", later(func(_ *stage, d *double) { d.papers.publish(fed.Manifest{Serial: 5, Office: "another name"}) }), nil},
		{"one with another root key", later(func(_ *stage, d *double) {
			d.papers.identity.Root[0] ^= 1
			d.papers.publish(fed.Manifest{Serial: 9, Office: "mallory"})
		}), nil},
		{"one whose manifest is not signed", own, func(h *fed.Hello) { h.Manifest.Signature[0] ^= 1 }},
		{"one with a key that is not in its manifest", later(func(s *stage, d *double) { d.papers.signer = s.newDouble(41, "other").papers.signer }), nil},
		{"one with a version of the future", own, func(h *fed.Hello) { h.Versions = fed.Versions{Least: 3, Most: 7} }},
		{"one with no version at all", own, func(h *fed.Hello) { h.Versions = fed.Versions{Least: 1, Most: 0} }},
		{"one that has more than was ever sent", own, func(h *fed.Hello) { h.Cursors = []fed.Cursor{{Lane: 1, Sequence: 1 << 40}} }},
	}
}

// twin is the malicious cluster with another memory.
func (s *stage) twin() *double {
	d := s.newDouble(9, "mallory")
	d.papers.publish(fed.Manifest{Serial: 5, Office: "mallory"})
	return d
}

// TestF8Impostors: who is not who it says, or shows what is out of date, is turned away at the door; what is known of the real one stays [F8] [FED-ID-2] [FED-TR-6].
func TestF8Impostors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		s.close()
		s.pass(time.Second)
		s.papers.publish(fed.Manifest{Serial: 5, Office: "mallory"})
		s.talk = s.meet(s.office) // the office learns of the newer manifest
		s.pass(time.Second)
		s.close()
		record := s.office.peer(s.papers.id).Peer
		if m, err := record.Manifest.Open(); err != nil || m.Serial != 5 {
			t.Fatalf("the office knows manifest %d, %v", m.Serial, err)
		}
		before := s.sight(s.office)
		for _, x := range impostors() {
			d := x.make(s)
			d.hello = x.hello
			talk, err := d.tryDial(s.office)
			if err != nil {
				continue // turned away before a word was said
			}
			talk.greet()
			s.ending.Go(talk.hear) // ends with the connection
			e := d.event()
			e.Author, e.To = d.user(1), s.ann()
			talk.send(fed.LaneFirst+2, d.sign(e.Encode(fed.TypeMessage, words())))
			s.until(x.name+" is turned away", time.Minute, 50*time.Millisecond, func() error {
				if talk.ctx.Err() == nil {
					return errors.New("not yet")
				}
				return nil
			})
			if got := s.office.peer(s.papers.id).Peer; !cmp.Equal(got, record) {
				t.Errorf("%s changes what is known: %s", x.name, cmp.Diff(record, got))
			}
			if after := s.sight(s.office); after != before {
				t.Errorf("%s has an effect: %s", x.name, cmp.Diff(before, after))
			}
		}
		s.talk = s.meet(s.office)
		s.talkOn(before)
	})
}

// TestF8Whispers: presence and typing of people who are not the sender's, or whom nobody has met, are nothing; no alias comes of it [F8] [FED-EPH-1].
func TestF8Whispers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		before := s.sight(s.office)
		signals := s.office.life().bus.Signals("test")
		defer signals.Close()
		local, eve := s.office.user(0), person{s.other, 0}.seenAt(s.office)
		var all fed.Ephemeral
		for _, u := range []protocol.UserID{local, eve, s.mallory, 0, 500, 1 << 31, 0xffffffff} {
			all.Presence = append(all.Presence, fed.Presence{User: u, Status: 1, Client: 1})
			for _, to := range []protocol.UserID{local, eve, s.mallory, 999, 0} {
				all.Signals = append(all.Signals, fed.Signal{From: u, To: to, Kind: 1, Data: []byte("a lie")})
			}
		}
		all.Signals = append(all.Signals, fed.Signal{From: 1, To: local, Kind: 1, Data: make([]byte, 1<<20)})
		for range 3 {
			_ = s.wire.Write(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, all))
			s.pass(2 * time.Second)
		}
		_ = s.wire.Write(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, fed.Ephemeral{Signals: []fed.Signal{{From: 1, To: local, Kind: 1, Data: []byte("honest")}}}))
		s.pass(2 * time.Second)
		if s.ctx.Err() != nil {
			t.Error("the connection was ended: presence that nobody asked for is only passed over")
		}
		for _, u := range []protocol.UserID{local, eve} {
			if p := s.office.life().bus.Presence(); p.PCOnline(u) || p.MobileOnline(u) {
				t.Errorf("user %d is online by the word of a cluster that he is not of", u)
			}
		}
		honest := 0
		for {
			ctx, cancel := shortly()
			got, err := signals.Next(ctx)
			cancel()
			if err != nil {
				break
			}
			for _, sig := range got {
				p, is := sig.(protocol.P2PSent)
				switch {
				case is && p.From != s.mallory:
					t.Errorf("a signal of %d to %d: %q", p.From, p.To, p.Data)
				case is && p.Data == "honest":
					honest++
				}
			}
		}
		if honest != 1 {
			t.Errorf("%d honest signals came", honest)
		}
		if after := s.sight(s.office); after != before {
			t.Errorf("whispers have an effect: %s", cmp.Diff(before, after))
		}
	})
}

// ask asks the office for a range and returns its answer.
func (s *stage) ask(q fed.GetRange) (p fed.RangePage) {
	s.Helper()
	s.write(fed.NewFrame(fed.KindGetRange, q))
	s.until("a range is answered", time.Minute, 20*time.Millisecond, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, f := range s.frames {
			if f.Kind == fed.KindRangePage && f.Into(&p) == nil && p.ID == q.ID {
				s.frames = slices.Delete(s.frames, i, i+1)
				return nil
			}
		}
		return errors.New("not yet")
	})
	return p
}

// TestF8Prying: ranges of what is none of the asker's business are not answered; nothing of it is in what is [F8] [FED-GET-1].
func TestF8Prying(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		late := s.group("late", s.office.user(0), s.office.user(1), person{s.other, 0}.seenAt(s.office))
		s.say("before they came", s.office.user(0), protocol.InGroup(late))
		s.office.do(&protocol.ChangeMembers{Actor: s.office.user(0), Group: late, Change: protocol.MembersAdd, Members: []protocol.UserID{s.mallory}})
		s.say("after they came", s.office.user(0), protocol.InGroup(late))
		in := func(g protocol.GroupID) fed.GroupRef { return fed.GroupRef{Cluster: s.office.papers.id, ID: g} }
		var told bytes.Buffer
		id := uint64(1000)
		pry := func() {
			for _, q := range []fed.GetRange{
				{Group: in(s.ours), From: 1}, {Group: in(s.closed), From: 1}, {Group: in(late)}, {Group: in(late), From: 1}, {Group: in(late), From: 1, To: 1 << 60}, {Group: in(999), From: 1},
				{Group: s.othersRef(), From: 1}, {Group: s.theirsRef(), From: 1}, {Since: 1}, {Since: -1}, {Group: in(s.ours), From: 1 << 63, To: 1},
			} {
				id++
				q.ID = id
				for _, e := range s.ask(q).Events {
					told.Write(e.Event)
				}
			}
		}
		pry()
		if !bytes.Contains(told.Bytes(), []byte("secret after they came")) {
			t.Error("a range of what the asker was in is not answered: the test shows nothing")
		}
		s.office.do(&protocol.ChangeMembers{Actor: s.office.user(0), Group: late, Change: protocol.MembersDel, Members: []protocol.UserID{s.mallory}})
		s.say("after they went", s.office.user(0), protocol.InGroup(late))
		pry()
		s.mu.Lock()
		for _, e := range s.heard {
			told.Write(e.Event)
		}
		s.mu.Unlock()
		for _, name := range []string{"to eve", "local", "in closed", "before they came", "after they went"} {
			if bytes.Contains(told.Bytes(), []byte("secret "+name)) {
				t.Errorf("the malicious cluster has got %q", name)
			}
		}
		for _, name := range []string{"in ours", "after they came"} {
			if !bytes.Contains(told.Bytes(), []byte("secret "+name)) {
				t.Errorf("it has not got %q, which it may have: the test shows nothing", name)
			}
		}
	})
}

// TestF8Demands: requests in the name of people who may not, are not the asker's or do not exist change nothing and tell nothing [F8] [FED-HUB-1].
func TestF8Demands(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		s.office.rule(s.papers, func(p *fed.Peer) { p.Out &^= fed.AllowDirectory })
		s.pass(s.timing.Tick + time.Second)
		s.close()
		s.talk = s.meet(s.office)
		before := s.sight(s.office)
		change := func(author protocol.UserID, group protocol.GroupID, how protocol.MemberChange, users ...fed.UserRef) fed.Request {
			return fed.Request{Author: author, Change: &fed.ChangeMembers{Group: group, Change: how, Users: users}}
		}
		demands := []fed.Request{
			change(2, s.ours, protocol.MembersAdd, s.user(2)),
			change(1, s.closed, protocol.MembersAdd, s.user(1)),
			change(1, s.closed, protocol.MembersDel, s.ann()),
			change(s.office.user(0), s.ours, protocol.MembersDel, s.bob()),
			change(s.mallory, s.ours, protocol.MembersDel, s.bob()),
			change(0, s.ours, protocol.MembersDel, s.bob()),
			change(1, s.ours, protocol.MembersDel, s.ann()),
			change(1, s.ours, 77, s.ann()),
			change(1, 999, protocol.MembersAdd, s.user(1)),
			change(1, s.ours, protocol.MembersAdd, fed.UserRef{Cluster: fed.ClusterID{0xee}, ID: 1}),
			change(1, s.ours, protocol.MembersAdd, fed.UserRef{Cluster: s.office.papers.id, ID: 999}),
			change(1, s.ours, protocol.MembersAdd),
			{Author: 1, Search: &fed.Search{Text: "hangzhou", Limit: 1000}},
			{Author: 1},
		}
		for i, d := range demands {
			d.ID = uint64(i + 1)
			s.write(fed.NewFrame(fed.KindRequest, d))
			a := s.answer(d.ID)
			if a.Code == protocol.CodeUnspecified || len(a.Found) > 0 {
				t.Errorf("demand %d, %+v, is answered by %+v", i, d, a)
			}
			if after := s.sight(s.office); after != before {
				t.Errorf("demand %d has an effect: %s", i, cmp.Diff(before, after))
				before = after
			}
		}
	})
}

// answer waits for the answer to a request.
func (s *stage) answer(id uint64) (a fed.Answer) {
	s.Helper()
	s.until(fmt.Sprint("request ", id, " is answered"), time.Minute, 20*time.Millisecond, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.frames {
			if f.Kind == fed.KindAnswer && f.Into(&a) == nil && a.ID == id {
				return nil
			}
		}
		return errors.New("not yet")
	})
	return a
}

// TestF8AliasFlood: a cluster that makes up people can't fill the directory: above the limit of an hour new ones are refused, those known go on [F8] [FED-AUTH-3].
func TestF8AliasFlood(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		for _, o := range []*town{s.office} {
			o.rule(s.papers, func(p *fed.Peer) { p.In &^= fed.AllowDirectory; p.Out &^= fed.AllowDirectory })
		}
		s.pass(s.timing.Tick + time.Second)
		s.close()
		s.talk = s.meet(s.office)
		users := func() int {
			all, err := s.office.life().store.ListUsers(protocol.MaxLocalID-1, 20_000)
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		before, refused := users(), 0
		for n, size := range []int{2400, 2400, 300} { // the last one goes beyond the number of an hour
			g := s.state()
			g.Name, g.Profiles = fmt.Sprint("crowd ", n), nil
			for k := range size {
				g.Members = append(g.Members, s.user(protocol.UserID(10_000+2400*n+k)))
			}
			e := s.event()
			e.Group = s.spare(n)
			if r := s.tell(fed.LaneFirst, e, fed.TypeGroupState, g); r != nil {
				refused++
			}
		}
		stranger := func(id protocol.UserID) *fed.Reject {
			e := s.event()
			e.Author, e.To = s.user(id), s.ann()
			return s.tell(fed.LaneFirst, e, fed.TypeMessage, words())
		}
		for n := range 300 { // what is left of the hour's number, and more
			if r := stranger(protocol.UserID(50_000 + n)); r != nil {
				refused++
				break
			}
		}
		if n := users() - before; refused != 2 || n < 4900 || n > 5000 {
			t.Errorf("there are %d more users, %d events were refused", n, refused)
		}
		if r := stranger(60_000); r == nil || r.Code != protocol.CodeRateLimited && r.Code != protocol.CodeQuota {
			t.Errorf("one more stranger is answered by %+v", r)
		}
		s.pass(61 * time.Minute)
		if r := stranger(60_001); r != nil {
			t.Errorf("an hour later a stranger is refused: %s", r.Text)
		}
		e := s.event()
		e.Author, e.To = s.user(1), s.bob()
		if r := s.tell(fed.LaneFirst, e, fed.TypeMessage, words()); r != nil {
			t.Errorf("somebody who is known is refused: %s", r.Text)
		}
	})
}
