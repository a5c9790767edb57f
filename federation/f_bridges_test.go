package federation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A bridge is a cluster of programs that carry what is said in one room into another one, with the names of all clusters whose rooms it came through.
type bridge struct {
	*double
	from, to *talk
	source   fed.GroupRef
	target   fed.GroupRef
	done     int // of heard
}

// join makes the bridge's user 1 a member of an office's group.
func (d *double) join(o *town, t *talk, g protocol.GroupID) {
	d.globe.Helper()
	e := d.event()
	e.Author = d.user(1)
	if r := t.tell(fed.LaneControl, e, fed.TypeProfile, fed.Profile{Login: d.place, Nick: d.place, Updated: 1}); r != nil {
		d.globe.Fatal(r.Text)
	}
	alias, err := o.life().store.AliasOf(d.user(1))
	if err != nil {
		d.globe.Fatal(err)
	}
	o.do(&protocol.ChangeMembers{Actor: o.user(0), Group: g, Change: protocol.MembersAdd, Members: []protocol.UserID{alias}})
}

// carry brings what was newly said in the one room into the other, and returns how many events that were.
func (b *bridge) carry() (n int) {
	b.globe.Helper()
	b.mu.Lock()
	fresh := slices.Clone(b.heard[b.done:])
	b.done = len(b.heard)
	b.mu.Unlock()
	for i := range fresh {
		e, err := fed.DecodeEvent(fresh[i].Event)
		if err != nil || e.Type != fed.TypeHubPost || e.Group != b.source {
			continue
		}
		post, err := fed.BodyOf[fed.HubPost](&e)
		if err != nil {
			b.globe.Fatal(err)
		}
		inner, err := fed.DecodeEvent(post.Inner.Event)
		if err != nil || inner.Author.Cluster == b.papers.id {
			continue // its own words
		}
		text, err := fed.BodyOf[fed.Message](&inner)
		if err != nil {
			b.globe.Fatal(err)
		}
		next := b.event()
		next.Author, next.Group = b.user(1), b.target
		next.Via = append(slices.Clone(inner.Via), e.Group.Cluster.String())
		if r := b.to.tell(fed.LaneFirst, next, fed.TypePost, text); r != nil {
			b.globe.Fatalf("what a bridge carries is refused: %s", r.Text)
		}
		n++
	}
	return n
}

// TestF13Ring: three offices with a room each, and bridges from each room to the next one, in a ring; besides, another ring the other way round. What is said in one room is in
// each of the others once by each way around, and does not come back [F13] [FED-AUTH-2].
func TestF13Ring(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprint("both ways ", both), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				g := newGlobe(t, 3)
				var rooms []fed.GroupRef
				for _, o := range g.towns {
					made, _ := o.do(&protocol.CreateGroup{Actor: o.user(0), Type: protocol.GroupTemp, Name: "bridged", Members: []protocol.UserID{o.user(0)}}).(protocol.CreateGroupResult)
					rooms = append(rooms, fed.GroupRef{Cluster: o.papers.id, ID: made.Group})
				}
				var bridges []*bridge
				for i := range 3 {
					bridges = append(bridges, g.bridge(byte(50+i), i, (i+1)%3, rooms))
					if both {
						bridges = append(bridges, g.bridge(byte(60+i), i, (i+2)%3, rooms))
					}
				}
				for i, o := range g.towns {
					o.do(&protocol.SendMessage{From: o.user(0), To: protocol.InGroup(rooms[i].ID), Type: protocol.MsgGroupText, Data: fmt.Append(nil, "of ", o.name)})
				}
				carried := 0
				for range 20 {
					g.pass(time.Second)
					for _, b := range bridges {
						carried += b.carry()
					}
				}
				for i, o := range g.towns {
					count := map[string]int{}
					for _, m := range o.box(o.user(0), protocol.InGroup(rooms[i].ID)) {
						count[string(m.Data)]++
					}
					for k, other := range g.towns {
						want := 1
						if both && i != k { // both ways around are different ways
							want = 2
						}
						if got := count["of "+other.name]; got != want {
							t.Errorf("in the room of %s what was said in that of %s is %d times, want %d", o.name, other.name, got, want)
						}
					}
				}
				t.Logf("%d events were carried", carried)
			})
		})
	}
}

// bridge makes one between the rooms of two offices.
func (g *globe) bridge(seed byte, from, to int, rooms []fed.GroupRef) *bridge {
	g.Helper()
	d := g.newDouble(seed, fmt.Sprintf("bridge%d", seed))
	b := &bridge{double: d, source: rooms[from], target: rooms[to]}
	for i, at := range []int{from, to} {
		o := g.towns[at]
		o.befriend(d.papers, fed.AllowAll)
		e := g.newDouble(seed, d.place) // cursors are an office's own
		e.papers = d.papers
		t := e.meet(o)
		e.join(o, t, rooms[at].ID)
		if i == 0 {
			b.double, b.from = e, t
		} else {
			b.to = t
		}
	}
	return b
}

// TestF13TwoBridges: two bridges carry from one room into another. Each of them is a way of its own; an event that says it was here already ends quietly, and one through nine is
// refused [F13] [FED-AUTH-2].
func TestF13TwoBridges(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t)
		before := s.sight(s.office)
		for name, c := range map[string]struct {
			via  []string
			want protocol.Code
			is   bool // to be seen
		}{
			"none":             {nil, 0, true},
			"others":           {[]string{s.other.papers.id.String(), "irc:#lunch"}, 0, true},
			"itself":           {[]string{s.office.papers.id.String()}, 0, false},
			"itself amidst":    {[]string{"irc:#lunch", s.office.papers.id.String(), s.other.papers.id.String()}, 0, false},
			"eight":            {strings.Split("1 2 3 4 5 6 7 8", " "), 0, true},
			"nine":             {strings.Split("1 2 3 4 5 6 7 8 9", " "), protocol.CodeInvalid, false},
			"eight and itself": {append(strings.Split("1 2 3 4 5 6 7", " "), s.office.papers.id.String()), 0, false},
		} {
			e := s.event()
			e.Author, e.Group, e.Via = s.user(1), s.oursRef(), c.via
			r := s.tell(fed.LaneFirst, e, fed.TypePost, groupWords())
			if c.want == 0 && r != nil || c.want != 0 && (r == nil || r.Code != c.want) {
				t.Errorf("through %s: the answer is %+v, want %v", name, r, c.want)
			}
			after := s.sight(s.office)
			if (after != before) != c.is {
				t.Errorf("through %s: it is seen: %v", name, after != before)
			}
			before = after
		}
	})
}
