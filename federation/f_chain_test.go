package federation_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// places are what the office has of the malicious cluster's group, in order of the hub's places.
func (s *stage) places() (all []string) {
	s.Helper()
	o := s.office
	order, err := o.order(o.box(o.user(0), protocol.InGroup(s.aliasOfTheirs())))
	if err != nil {
		s.Fatal(err)
	}
	for _, p := range order {
		all = append(all, fmt.Sprintf("%d %s", p.seq, p.what))
	}
	return all
}

// ordered are events that put texts into the next places of the group's chain, which goes on behind them.
func (s *stage) ordered(texts ...string) (all []fed.SignedEvent) {
	for _, text := range texts {
		inner := s.event()
		inner.Author, inner.Group = s.user(1), s.theirsRef()
		post := s.next(s.sign(inner.Encode(fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte(text)})))
		e := s.event()
		e.Group = s.theirsRef()
		all = append(all, s.sign(e.Encode(fed.TypeHubPost, post)))
		s.chain = fed.Link{Group: s.theirsRef(), Seq: post.Seq, Previous: post.Previous, Inner: post.Hash}
	}
	return all
}

// question waits for a range that the office asks for.
func (s *stage) question() (q fed.GetRange) {
	s.Helper()
	s.until("the office asks for what is missing", 3*time.Minute, 50*time.Millisecond, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, f := range s.frames {
			if f.Kind == fed.KindGetRange {
				s.frames = slices.Delete(s.frames, i, i+1)
				return f.Into(&q)
			}
		}
		return errors.New("it does not")
	})
	return q
}

// TestF7Gap: places of a group that do not come are asked for, and are in order once the hub has answered; nothing else waits for them [F7] [FED-SIG-3] [FED-GET-1].
func TestF7Gap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		before := s.places()
		first := s.chain.Seq + 1
		all := s.ordered("a", "b", "c", "d", "e")
		last := s.send(fed.LaneFirst, all[0], all[3]) // b and c are lost on the way
		if r := s.await(last); r != nil {
			t.Errorf("a place that does not follow is refused: %s", r.Text)
		}
		q := s.question()
		if q.Group != s.theirsRef() || q.From != first+1 || q.To != 0 && q.To < first+2 {
			t.Errorf("the office asks for %+v, %d and %d are missing", q, first+1, first+2)
		}
		forged := s.ordered("forged")[0]
		forged.Signature.Sig[5] ^= 1
		s.write(fed.NewFrame(fed.KindRangePage, fed.RangePage{ID: q.ID + 1000, Events: all[1:2]})) // nobody has asked for that
		s.write(fed.NewFrame(fed.KindRangePage, fed.RangePage{ID: q.ID, Events: []fed.SignedEvent{all[1], all[2], all[3], all[4]}}))
		want := slices.Clone(before)
		for i, text := range []string{"a", "b", "c", "d", "e"} {
			want = append(want, fmt.Sprintf("%d %s", first+uint64(i), text))
		}
		s.until("all places are there", time.Minute, 50*time.Millisecond, func() error {
			if got := s.places(); !slices.Equal(got, want) {
				return fmt.Errorf("there are %q, want %q", got, want)
			}
			return nil
		})
		s.await(s.send(fed.LaneFirst, all[4])) // it comes once more, as it was on its way
		if got := s.places(); !slices.Equal(got, want) {
			t.Errorf("what came twice is there twice: %q", got)
		}
	})
}

// TestF7GapAnsweredByLies: a hub that answers with what it never put into these places gets nowhere, and the group goes on with what follows [F7].
func TestF7GapAnsweredByLies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		all := s.ordered("a", "b", "c")
		s.await(s.send(fed.LaneFirst, all[0], all[2]))
		q := s.question()
		before := s.sight(s.office)
		wrong := all[1]
		wrong.Signature.Sig[5] ^= 1
		e := s.event()
		e.Author, e.To = s.bob(), s.ann()
		message := s.sign(e.Encode(fed.TypeMessage, words()))
		other := s.event()
		other.Group = s.othersRef()
		inner := s.event()
		inner.Author, inner.Group = s.user(1), s.othersRef()
		signed := s.sign(inner.Encode(fed.TypePost, groupWords()))
		place := s.sign(other.Encode(fed.TypeHubPost, fed.HubPost{Seq: 1, Inner: signed, Hash: sha256.Sum256(signed.Event)}))
		s.write(fed.NewFrame(fed.KindRangePage, fed.RangePage{ID: q.ID, Events: []fed.SignedEvent{wrong, message, place, s.sign([]byte("a lie")), {}}}))
		s.pass(10 * time.Second)
		if after := s.sight(s.office); after != before {
			t.Errorf("an answer full of lies has an effect: %s", cmp.Diff(before, after))
		}
		s.stillTalks()
	})
}

// stillTalks shows that the connection, or the next one, still works.
func (s *stage) stillTalks() {
	s.Helper()
	before := s.sight(s.office)
	if s.ctx.Err() != nil {
		s.talk = s.meet(s.office)
	}
	s.talkOn(before)
}

// TestF7Fork: a hub puts two events into one place. The group is stopped where that was seen, and it is reported; nothing else of that cluster's is [F7] [FED-SIG-3].
func TestF7Fork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		o := s.office
		good := s.chain
		if r := s.await(s.send(fed.LaneFirst, s.ordered("one")...)); r != nil {
			t.Fatalf("the first is refused: %s", r.Text)
		}
		s.chain = good
		before := s.sight(o)
		r := s.await(s.send(fed.LaneFirst, s.ordered("another")...))
		if r == nil || r.Code != protocol.CodeForbidden {
			t.Errorf("the second event in a place is answered by %+v", r)
		}
		if r := s.await(s.send(fed.LaneFirst, s.ordered("and on")...)); r == nil {
			t.Error("the group goes on after a fork")
		}
		if after := s.sight(o); after != before {
			t.Errorf("the fork has an effect: %s", cmp.Diff(before, after))
		}
		in := protocol.InGroup(s.aliasOfTheirs())
		_, err := o.try(&protocol.SendMessage{From: o.user(0), To: in, Type: protocol.MsgGroupText, Data: []byte("hello?")})
		if protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("a post into the stopped group: %v", err)
		}
		status, err := o.life().manager.Status(t.Context())
		if err != nil || len(status.Forks) != 1 {
			t.Errorf("the status tells of forks %+v, %v", status.Forks, err)
		}
		o.restart()
		if _, err = o.try(&protocol.SendMessage{From: o.user(0), To: in, Type: protocol.MsgGroupText, Data: []byte("hello?")}); protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("a post into the stopped group after a restart: %v", err)
		}
		s.pass(time.Second)
		s.stillTalks()
	})
}

// TestF7Expired: an office could not be reached for longer than what is queued is kept. What was said in rooms it gets by asking for it; of what was said to its people
// alone the authors are told that it did not arrive [F7] [FED-AGE-1] [FED-GET-1].
func TestF7Expired(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 3)
		a, b, c := g.towns[0], g.towns[1], g.towns[2]
		g.everywhere(a)
		g.settle(time.Minute)
		g.part(a, c, 8*24*time.Hour+10*time.Minute)
		g.part(b, c, 8*24*time.Hour+10*time.Minute)
		rng := rand.New(rand.NewPCG(20, 20))
		g.chatter(rng, 60, time.Second)
		g.settleBetween(a, b)
		g.idle(8 * 24 * time.Hour)
		g.pass(15 * time.Minute)
		for _, s := range g.said {
			s.mayFail = s.by.at == c || s.in == nil && s.to.at == c
		}
		g.settle(5 * time.Minute)
		g.pass(2 * time.Minute) // what is asked for
		g.judge()
		n := 0
		for _, s := range g.said {
			if s.mayFail && g.undelivered(s) {
				n++
			}
		}
		t.Logf("%d messages, %d of them did not arrive, which their authors know", len(g.said), n)
	})
}
