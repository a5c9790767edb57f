package federation_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestF8Lies: a cluster that is trusted and signs properly says what it may not. Each of it is refused with the reason that fits, counted, and nothing of it is seen; and
// what it may say is taken after all that [F8] [FED-AUTH-1].
func TestF8Lies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		refused := 0
		before := s.sight(s.office)
		for _, l := range s.lies() {
			e := s.event()
			l.edit(&e)
			r := s.tell(fed.LaneFirst, e, l.typ, l.body)
			switch {
			case r == nil && l.want != 0:
				t.Errorf("%s is not refused", l.name)
			case r != nil && r.Code != l.want:
				t.Errorf("%s is refused with %v (%s), want %v", l.name, r.Code, r.Text, l.want)
			}
			if r != nil {
				refused++
			}
			if after := s.sight(s.office); after != before {
				t.Errorf("%s has an effect: %s", l.name, cmp.Diff(before, after))
				before = after
			}
		}
		s.talkOn(before)
		letters, err := s.office.life().store.DeadLetters(s.papers.id, 1000)
		if err != nil || len(letters) != refused {
			t.Errorf("%d events were refused, %d are kept as dead letters, %v", refused, len(letters), err)
		}
		if got := len(bodies[fed.HubReject](s.double, fed.TypeHubReject)); got != 4 {
			t.Errorf("%d posts that the hub will not order were answered, want 4", got)
		}
		t.Logf("%d lies, %d of them refused", len(s.lies()), refused)
	})
}

// talkOn shows that an honest message is taken, and that nothing else came.
func (s *stage) talkOn(before string) {
	s.Helper()
	e := s.event()
	e.Author, e.To = s.user(1), fed.UserRef{Cluster: s.office.papers.id, ID: s.office.user(3)}
	if r := s.tell(fed.LaneFirst, e, fed.TypeMessage, fed.Message{Type: protocol.MsgSingleText, Data: []byte("the truth")}); r != nil {
		s.Errorf("after all that the truth is refused: %s", r.Text)
	}
	box := s.office.box(s.office.user(3), protocol.WithUser(s.mallory))
	if len(box) != 1 || string(box[0].Data) != "the truth" {
		s.Errorf("after all that there are %d messages", len(box))
	}
	if s.sight(s.office) == before {
		s.Error("what clients see does not change by a message: the comparison shows nothing")
	}
}

// truth is an event that is allowed, of each type.
type truth struct {
	name string
	typ  fed.Type
	edit func(*fed.Event)
	body func() any
}

func (s *stage) truths() []truth {
	to := func(e *fed.Event) { e.Author, e.To = s.user(1), s.ann() }
	in := func(e *fed.Event) { e.Author, e.Group = s.user(1), s.oursRef() }
	of := func(e *fed.Event) { e.Group = s.theirsRef() }
	is := func(v any) func() any { return func() any { return v } }
	return []truth{
		{"a profile", fed.TypeProfile, func(e *fed.Event) { e.Author = s.user(1) }, is(fed.Profile{Login: "mallory1", Nick: "New", Updated: 2000})},
		{"a message", fed.TypeMessage, to, is(words())},
		{"a mark", fed.TypeMark, to, is(fed.Mark{UpTo: s.met["to mallory"]})},
		{"a recall", fed.TypeDelete, to, is(fed.Delete{Target: s.met["from mallory"], Kind: protocol.Recalled})},
		{"a post", fed.TypePost, in, is(groupWords())},
		{"a recalled post", fed.TypeDelete, in, is(fed.Delete{Target: s.met["post of mallory"], Kind: protocol.Recalled})},
		{"the state of a group", fed.TypeGroupState, of, func() any { g := s.state(); g.Name = "renamed"; return g }},
		{"an ordered post", fed.TypeHubPost, of, func() any {
			e := s.event()
			e.Author, e.Group = s.user(1), s.theirsRef()
			return s.next(s.sign(e.Encode(fed.TypePost, groupWords())))
		}},
		{"a refusal", fed.TypeHubReject, of, func() any { return fed.HubReject{Target: s.met["refused"], Code: protocol.CodeForbidden, Text: "no"} }},
		{"a leaving", fed.TypeLeave, in, is(fed.Leave{})},
		{"nothing", fed.TypeSkip, func(*fed.Event) {}, is(fed.Skip{})},
	}
}

// TestF8Damaged: what a cluster may say, of each type, with one bit changed, signed by another key, said again, and said elsewhere: only the first undamaged one
// has an effect [F8] [FED-SIG-1] [FED-IN-1].
func TestF8Damaged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		s.say("refused", s.office.user(0), protocol.InGroup(s.aliasOfTheirs()))
		stranger := s.newDouble(33, "stranger")
		for _, x := range s.truths() {
			e := s.event()
			x.edit(&e)
			honest := s.sign(e.Encode(x.typ, x.body()))
			before := s.sight(s.office)
			damaged := map[string]fed.SignedEvent{"by another key": stranger.sign(honest.Event), "by the office's key": s.office.papers.signer.SignEvent(honest.Event),
				"unsigned": {Event: honest.Event}}
			for _, at := range []int{0, len(honest.Event) / 2, len(honest.Event) - 1} {
				d := fed.SignedEvent{Event: bytes.Clone(honest.Event), Signature: honest.Signature}
				d.Event[at] ^= 1 << (at % 8)
				damaged[fmt.Sprint("with a bit changed at ", at)] = d
			}
			d := honest
			d.Signature.Sig[10] ^= 4
			damaged["with another signature"] = d
			for how, d := range damaged {
				if r := s.await(s.send(fed.LaneFirst, d)); r == nil || r.Code != protocol.CodeForbidden && r.Code != protocol.CodeInvalid {
					t.Errorf("%s %s is answered by %+v", x.name, how, r)
				}
			}
			if after := s.sight(s.office); after != before {
				t.Fatalf("%s, damaged, has an effect: %s", x.name, cmp.Diff(before, after))
			}
			at := s.send(fed.LaneFirst, honest)
			if r := s.await(at); r != nil {
				t.Errorf("%s is refused: %s", x.name, r.Text)
			}
			once := s.sight(s.office)
			if once == before && x.typ != fed.TypeMark && x.typ != fed.TypeSkip {
				t.Errorf("%s has no effect", x.name)
			}
			s.await(s.send(fed.LaneFirst, honest)) // in another place
			s.await(s.send(fed.LaneFirst+1, honest))
			s.again(at, honest)
			if after := s.sight(s.office); after != once {
				t.Errorf("%s, said again, has another effect: %s", x.name, cmp.Diff(once, after))
			}
		}
	})
}

// again sends a batch once more as it was.
func (s *stage) again(at place, e fed.SignedEvent) {
	s.Helper()
	b := fed.Batch{Epoch: 1, Lane: at.lane, First: at.seq, Events: []fed.SignedEvent{e}}
	s.papers.signer.SignBatch(&b, s.office.papers.id)
	s.write(fed.NewFrame(fed.KindBatch, b))
	s.await(s.send(at.lane, s.nothing())) // what came before it was dealt with
}

// nothing is an event without any effect.
func (d *double) nothing() fed.SignedEvent {
	e := d.event()
	return d.sign(e.Encode(fed.TypeSkip, fed.Skip{}))
}

// A breach is something that ends a connection.
type breach struct {
	name string
	do   func(t *talk)
}

func (s *stage) breaches() []breach {
	batch := func(edit func(*fed.Batch), to fed.ClusterID) func(*talk) {
		return func(t *talk) {
			e := t.event()
			e.Author, e.To = t.user(1), s.ann()
			t.mu.Lock()
			b := fed.Batch{Epoch: 1, Lane: fed.LaneFirst, First: t.sent[fed.LaneFirst] + 1, Events: []fed.SignedEvent{t.sign(e.Encode(fed.TypeMessage, words()))}}
			t.mu.Unlock()
			if edit != nil {
				edit(&b)
			}
			t.papers.signer.SignBatch(&b, to)
			t.write(fed.NewFrame(fed.KindBatch, b))
		}
	}
	here := s.office.papers.id
	return []breach{
		{"a batch for another office", batch(nil, s.other.papers.id)},
		{"a batch whose signature is wrong", func(t *talk) {
			b := fed.Batch{Epoch: 1, Lane: 1, First: 1, Events: []fed.SignedEvent{t.nothing()}}
			t.papers.signer.SignBatch(&b, here)
			b.Signature.Sig[0] ^= 1
			t.write(fed.NewFrame(fed.KindBatch, b))
		}},
		{"a batch that was signed for another place", func(t *talk) {
			b := fed.Batch{Epoch: 1, Lane: 1, First: 1, Events: []fed.SignedEvent{t.nothing()}}
			t.papers.signer.SignBatch(&b, here)
			t.mu.Lock()
			b.First = t.sent[1] + 1
			t.mu.Unlock()
			t.write(fed.NewFrame(fed.KindBatch, b))
		}},
		{"a batch without events", batch(func(b *fed.Batch) { b.Events = nil }, here)},
		{"a batch of too many events", batch(func(b *fed.Batch) {
			for range fed.MaxBatchEvents {
				b.Events = append(b.Events, b.Events[0])
			}
		}, here)},
		{"a batch of a lane that is not kept", batch(func(b *fed.Batch) { b.Lane = fed.LaneEphemeral }, here)},
		{"a batch of a lane that does not exist", batch(func(b *fed.Batch) { b.Lane = 200 }, here)},
		{"a batch from place 0 on", batch(func(b *fed.Batch) { b.First = 0 }, here)},
		{"a batch at the end of all numbers", batch(func(b *fed.Batch) { b.First = 1<<64 - 1; b.Events = append(b.Events, b.Events[0]) }, here)},
		{"an acknowledgement of what was not sent", func(t *talk) {
			t.write(fed.NewFrame(fed.KindAck, fed.Ack{Epoch: 1, Lane: 1, Sequence: 1 << 40}))
		}},
		{"a refusal of what was not sent", func(t *talk) {
			r := fed.Reject{Epoch: 1, Lane: 1, Sequence: 1 << 40, Code: protocol.CodeForbidden}
			t.papers.signer.SignReject(&r, here)
			t.write(fed.NewFrame(fed.KindReject, r))
		}},
		{"a refusal that somebody else has signed", func(t *talk) {
			r := fed.Reject{Epoch: 1, Lane: 1, Sequence: 1, Code: protocol.CodeForbidden}
			s.other.papers.signer.SignReject(&r, here)
			t.write(fed.NewFrame(fed.KindReject, r))
		}},
		{"a frame whose body can't be read", func(t *talk) { t.write(fed.Frame{Kind: fed.KindBatch, Body: []byte("\x01")}) }},
		{"a frame of too many bytes", func(t *talk) {
			t.write(fed.NewFrame(fed.KindPing, struct {
				Big []byte `cbor:"9,keyasint"`
			}{make([]byte, fed.MaxFrame)}))
		}},
	}
}

// TestF8Breaches: what ends a connection has no effect but that, and the next connection works [F8] [FED-SIG-2].
func TestF8Breaches(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		before := s.sight(s.office)
		for _, b := range s.breaches() {
			s.close()
			s.pass(time.Second)
			s.talk = s.meet(s.office)
			b.do(s.talk)
			s.until(b.name+" ends the connection", time.Minute, 20*time.Millisecond, func() error {
				if s.ctx.Err() == nil {
					return fmt.Errorf("it goes on")
				}
				return nil
			})
			if after := s.sight(s.office); after != before {
				t.Errorf("%s has an effect: %s", b.name, cmp.Diff(before, after))
			}
		}
		s.pass(time.Second)
		s.talk = s.meet(s.office)
		s.talkOn(before)
	})
}

// TestF8Reordered: events that come before their turn have no effect until their turn comes [F8] [FED-IN-1].
func TestF8Reordered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		before := s.sight(s.office)
		e := s.event()
		e.Author, e.To = s.user(1), s.ann()
		s.mu.Lock()
		b := fed.Batch{Epoch: 1, Lane: fed.LaneFirst, First: s.sent[fed.LaneFirst] + 2, Events: []fed.SignedEvent{s.sign(e.Encode(fed.TypeMessage, words()))}}
		s.mu.Unlock()
		s.papers.signer.SignBatch(&b, s.office.papers.id)
		s.write(fed.NewFrame(fed.KindBatch, b))
		s.pass(5 * time.Second)
		if after := s.sight(s.office); after != before {
			t.Errorf("what came too early has an effect: %s", cmp.Diff(before, after))
		}
		s.close()
		s.pass(time.Second)
		s.talk = s.meet(s.office)
		s.talkOn(before)
	})
}
