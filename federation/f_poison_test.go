package federation_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/federation"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestF5Poison: what an office can never accept does not hold up what comes after it, and its author is told [F5] [FED-IN-2].
func TestF5Poison(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		a, b := g.towns[0], g.towns[1]
		ann, bob := person{a, 0}, person{b, 0}
		left := person{b, 3}
		g.mustSay(ann, left)
		g.settle(time.Minute)
		b.do(&protocol.EditUser{User: left.id(), Status: new(protocol.StatusLeft)})
		b.rule(a.papers, func(p *fed.Peer) { p.In &^= fed.AllowGroups })
		poison := g.mustSay(ann, left)
		poison.mayFail = true
		g.mustSay(ann, bob)
		r := g.gather("not allowed", ann, bob)
		g.rooms = nil
		g.mustSay(ann, bob)
		g.settle(time.Minute)
		if got := a.states(poison); !slices.Equal(got, []fed.MessageState{fed.StatePending, fed.StateUndeliverable}) {
			t.Errorf("of what will never be accepted the author was told %v", got)
		}
		if f := a.fate(poison.at); f.State != fed.StateUndeliverable {
			t.Errorf("it is in state %d", f.State)
		}
		if r.at(b) != 0 {
			t.Error("a group came although groups are not allowed")
		}
		for _, o := range []struct {
			*town
			peer    *papers
			inbound bool
		}{{a, b.papers, false}, {b, a.papers, true}} {
			letters, err := o.life().manager.DeadLetters(t.Context(), o.peer.domain, 10)
			types := map[fed.Type]bool{}
			for _, l := range letters {
				types[l.Type] = true
				if l.Inbound != o.inbound || l.Text == "" || l.ID.IsZero() {
					t.Errorf("%s has the dead letter %+v", o.name, l)
				}
			}
			if err != nil || len(types) != 2 || !types[fed.TypeMessage] || !types[fed.TypeGroupState] {
				t.Errorf("%s has dead letters %v, %v", o.name, letters, err)
			}
		}
		g.judge()
	})
}

// TestF5PoisonOfOthers: events that are too large, can't be read, or are of a type of the future, each between two that are well [F5] [FED-IN-2].
func TestF5PoisonOfOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		to := func() fed.Event {
			e := s.event()
			e.Author, e.To = s.user(1), s.ann()
			return e
		}
		message := func(text string) fed.SignedEvent {
			e := to()
			return s.sign(e.Encode(fed.TypeMessage, fed.Message{Type: protocol.MsgSingleText, Data: []byte(text)}))
		}
		optional := to()
		unknown := s.sign(s.optional(&optional))
		must := to()
		for i, c := range []struct {
			name  string
			event fed.SignedEvent
			want  protocol.Code
		}{
			{"too large", s.sign(make([]byte, fed.MaxEvent+1)), protocol.CodeTooLarge},
			{"no event", s.sign([]byte("\xff\xff")), protocol.CodeInvalid},
			{"nothing", s.sign(nil), protocol.CodeInvalid},
			{"of an unknown type that has to be understood", s.sign(must.Encode(200, "?")), protocol.CodeInvalid},
			{"of an unknown type that need not be understood", unknown, 0},
		} {
			last := s.send(fed.LaneFirst, message(fmt.Sprint("before ", i)), c.event, message(fmt.Sprint("after ", i)))
			if r := s.await(last); r != nil {
				t.Errorf("%s: the event after it is refused: %s", c.name, r.Text)
			}
			r := s.await(place{last.lane, last.seq - 1})
			if c.want == 0 && r != nil || c.want != 0 && (r == nil || r.Code != c.want) {
				t.Errorf("%s: the answer is %+v, want %v", c.name, r, c.want)
			}
		}
		var got []string
		for _, m := range s.office.box(s.office.user(0), protocol.WithUser(s.mallory)) {
			if m.From == s.mallory {
				got = append(got, string(m.Data))
			}
		}
		want := []string{"honest"}
		for i := range 5 {
			want = append(want, fmt.Sprint("before ", i), fmt.Sprint("after ", i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("in the mailbox is %q, want %q", got, want)
		}
	})
}

// TestF6HubAway: people of an office go on in a room whose hub can't be reached; what they say is pending until then. Who was removed meanwhile learns that what he
// said will not be there for the others [F6].
func TestF6HubAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		hub, o := g.towns[0], g.towns[1]
		guest := person{o, 2}
		r := g.gather("room", person{hub, 0}, person{o, 0}, person{o, 1})
		r.admit(guest)
		g.settle(time.Minute)
		g.mustPost(guest, r)
		g.settle(time.Minute)
		g.part(hub, o, 20*time.Minute)
		before := g.mustPost(person{o, 0}, r)
		lost := g.mustPost(guest, r)
		if box := o.box(o.user(1), protocol.InGroup(r.at(o))); string(box[len(box)-1].Data) != lost.what {
			t.Error("what was said while the hub is away is not to be seen at once by those beside")
		}
		err := o.life().manager.ChangeMembers(t.Context(), o.user(0), r.at(o), protocol.MembersAdd, []protocol.UserID{o.user(3)})
		if protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("members can be changed although the hub is away: %v", err)
		}
		r.expel(guest)
		g.pass(20*time.Minute + time.Second)
		g.settle(3 * time.Minute)
		for _, c := range []struct {
			s    *said
			want []fed.MessageState
		}{{before, []fed.MessageState{fed.StatePending, fed.StateDelayed, fed.StateSent}}, {lost, []fed.MessageState{fed.StatePending, fed.StateDelayed, fed.StateUndeliverable}}} {
			if got := o.states(c.s); !slices.Equal(got, c.want) {
				t.Errorf("of %q its author was told %v, want %v", c.s.what, got, c.want)
			}
		}
		if _, err := g.post(guest, r); err == nil {
			t.Error("who was removed can still post")
		}
		g.judge()
	})
}

// TestF6KickRacesPost: a guest posts while he is removed, at every distance in time: it is in the room everywhere, or its author knows that it is not [F6].
func TestF6KickRacesPost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 3)
		hub, o := g.towns[0], g.towns[1]
		guest := person{o, 2}
		r := g.gather("room", person{hub, 0}, person{o, 0}, person{g.towns[2], 0})
		states := map[fed.MessageState]int{}
		var posts []*said
		for n := range 24 {
			r.admit(guest)
			g.until("the guest is in", time.Minute, 10*time.Millisecond, func() error {
				s, err := g.post(guest, r)
				if err == nil {
					posts = append(posts, s)
				}
				return err
			})
			kick := time.AfterFunc(time.Duration(n)*4*time.Millisecond, func() { r.expel(guest) })
			g.pass(48 * time.Millisecond)
			if s, err := g.post(guest, r); err == nil {
				posts = append(posts, s)
			}
			g.until("the guest is out", time.Minute, 10*time.Millisecond, func() error {
				if is, err := hub.life().store.IsMember(r.id, guest.seenAt(hub)); err != nil || is {
					return errors.Join(err, errors.New("he is in"))
				}
				return nil
			})
			kick.Stop()
			g.settle(time.Minute)
		}
		for _, s := range posts {
			states[o.fate(s.at).State]++
		}
		if states[fed.StateSent] == 0 || states[fed.StateUndeliverable] == 0 || len(states) != 2 {
			t.Errorf("the posts are in states %v: both ends of the race were wanted, and no others", states)
		}
		g.judge()
	})
}

// TestF5RefusalOnALostLine: that an event is refused is told when the line breaks before that has been heard, be it that either side's node dies of it: its author is never told that it
// was delivered [F5] [F3] [FED-IN-2].
func TestF5RefusalOnALostLine(t *testing.T) {
	for name, dies := range map[string]func(a, b *town) []*town{
		"the line":     func(_, _ *town) []*town { return nil },
		"the receiver": func(_, b *town) []*town { return []*town{b} },
		"the sender":   func(a, _ *town) []*town { return []*town{a} },
		"both":         func(a, b *town) []*town { return []*town{a, b} },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				g := newGlobe(t, 2)
				a, b := g.towns[0], g.towns[1]
				ann, bob, left := person{a, 0}, person{b, 0}, person{b, 3}
				g.mustSay(ann, left)
				g.mustSay(ann, bob)
				g.settle(time.Minute)
				b.do(&protocol.EditUser{User: left.id(), Status: new(protocol.StatusLeft)})
				var swallowed atomic.Int32
				b.tap.set(func(f *fed.Frame) bool {
					if f.Kind == fed.KindReject {
						swallowed.Add(1)
					}
					return f.Kind != fed.KindReject && f.Kind != fed.KindAck
				})
				var poison []*said
				for range 3 {
					g.mustSay(ann, left).mayFail = true
					poison = append(poison, g.said[len(g.said)-1])
					g.mustSay(ann, bob)
				}
				g.until("all are refused, which nobody hears", time.Minute, 5*time.Millisecond, func() error {
					if n := swallowed.Load(); n < 3 {
						return fmt.Errorf("%d of 3", n)
					}
					return nil
				})
				died := dies(a, b)
				for _, o := range died {
					o.strike()
				}
				b.tap.set(nil)
				g.net.Cut(simnet.Reset)
				g.pass(2 * time.Second)
				for _, o := range died {
					o.begin()
				}
				g.settle(time.Minute)
				for _, s := range poison {
					if got := a.fate(s.at).State; got != fed.StateUndeliverable {
						t.Errorf("of what was refused the author is told %d", got)
					}
				}
				again := a.life().manager // a line that breaks later tells nothing anew, and sends nothing again
				before := sentBy(t, again)
				g.net.Cut(simnet.Reset)
				g.pass(10 * time.Second)
				g.settle(time.Minute)
				if n := sentBy(t, again) - before; n != 0 {
					t.Errorf("%d events were sent again", n)
				}
				g.judge()
			})
		})
	}
}

// sentBy is how many events a manager has sent.
func sentBy(t *testing.T, m *federation.Manager) (n uint64) {
	t.Helper()
	status, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range status.Links {
		n += l.Sent
	}
	return n
}
