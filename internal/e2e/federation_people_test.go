//go:build linux

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// abroadPace is how long people of several offices wait between two messages: quicker, and a day's talk would be what a link lets one person say at once.
const abroadPace = 100 * time.Millisecond

// A correspondence is a conversation between people of several offices.
type correspondence struct {
	name   string
	group  bool
	sides  []*side
	before map[string]int // what was said before they all came, by author
	stop   chan struct{}  // closed: say no more

	talking sync.WaitGroup
	mu      sync.Mutex // guards err
	err     error
}

// A side is an office's part of it.
type side struct {
	office  *office
	session protocol.Session // the conversation, as it is called there
	user    int              // who takes part
	guest   *guest           // him, while he is there
	before  map[string]int   // how many messages of each author there were when he came
}

// letter begins a conversation of two users of two offices.
func (c *company) letter(ctx context.Context, t *testing.T, from *office, user int, to *office, friend int) *correspondence {
	t.Helper()
	with := func(o *office, user int, other *office) protocol.Session {
		return protocol.WithUser(protocol.UserID(o.findPerson(ctx, t, user, other)))
	}
	k := &correspondence{name: fmt.Sprintf("user%d@%s with user%d@%s", user, from.domain, friend, to.domain), sides: []*side{
		{office: from, user: user, session: with(from, friend, to)}, {office: to, user: friend, session: with(to, user, from)},
	}}
	k.enter(ctx, t)
	return k
}

// conference begins a conversation of a user of each office in a group that the first office's makes.
func (c *company) conference(ctx context.Context, t *testing.T, user int) *correspondence {
	t.Helper()
	home := c.offices[0]
	maker := home.enter(ctx, t, user, 0, protocol.Session{}, client.Config{})
	members := []protocol.UserID{protocol.UserID(user)}
	for _, other := range c.offices[1:] {
		members = append(members, protocol.UserID(home.findPerson(ctx, t, user, other)))
	}
	name := fmt.Sprintf("conference of user%d", user)
	id, err := maker.sdk.CreateGroup(ctx, name, members...)
	if err != nil {
		t.Fatal(err)
	}
	k := &correspondence{name: name, group: true, before: map[string]int{"hello": 1}, sides: []*side{{office: home, user: user, session: protocol.InGroup(id)}}}
	// Abroad it shows when it is written in.
	hello, err := maker.sdk.Send(ctx, protocol.InGroup(id), client.Text("hello 1"))
	if err == nil {
		err = hello.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range c.offices[1:] {
		k.sides = append(k.sides, &side{office: other, user: user, session: other.findGroup(ctx, t, user, name)})
	}
	if err := maker.sdk.Close(); err != nil {
		t.Fatal(err)
	}
	k.enter(ctx, t)
	return k
}

// findGroup waits until a user of the office has a conversation in a group of another office.
func (o *office) findGroup(ctx context.Context, t *testing.T, user int, name string) (in protocol.Session) {
	t.Helper()
	g := o.enter(ctx, t, user, 0, protocol.Session{}, client.Config{})
	defer g.sdk.Close()
	Eventually(t, name+" to be known in "+o.name, func() bool {
		recent, err := g.sdk.Recent(ctx, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recent.Items {
			if r.Session.Type != protocol.SessionGroup {
				continue
			}
			info, err := g.sdk.GroupInfo(ctx, protocol.GroupVersion{ID: protocol.GroupID(r.Session.ID)})
			if err != nil {
				t.Fatal(err)
			}
			if len(info.Items) == 1 && strings.HasPrefix(info.Items[0].Name, name) && info.Items[0].Remote {
				in = r.Session
				return true
			}
		}
		return false
	})
	return in
}

// author is what the messages of a side begin with: no two people of the company have it in common.
func (k *correspondence) author(s *side) string {
	return fmt.Sprintf("user%d@%s", s.user, s.office.domain)
}

// enter logs everybody in.
func (k *correspondence) enter(ctx context.Context, t *testing.T) {
	t.Helper()
	for i, s := range k.sides {
		k.enterAt(ctx, t, s, i%len(s.office.Nodes))
	}
}

// enterAt logs the one of a side in, at the node of a place first.
func (k *correspondence) enterAt(ctx context.Context, t *testing.T, s *side, place int) {
	t.Helper()
	s.guest = s.office.enter(ctx, t, s.user, place, s.session, client.Config{})
	s.guest.as, s.guest.pace = k.author(s), abroadPace
}

// begin has them talk: all, or those at some offices only.
func (k *correspondence) begin(ctx context.Context, random *rand.Rand, at ...*office) {
	k.stop = make(chan struct{})
	for _, s := range k.sides {
		if len(at) > 0 && !slices.Contains(at, s.office) {
			continue
		}
		ahead := random.IntN(4)
		k.talking.Go(func() { // ends after stop, or with ctx
			if err := s.guest.talk(ctx, k.stop, ahead); err != nil {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.err = errors.Join(k.err, err)
			}
		})
	}
}

// silence ends the talk: all that was said is acked then.
func (k *correspondence) silence(t *testing.T) {
	t.Helper()
	close(k.stop)
	k.talking.Wait()
	if k.err != nil {
		t.Fatalf("%s: %v", k.name, k.err)
	}
}

// said is how many messages each author has said since they came.
func (k *correspondence) said() map[string]int {
	all := map[string]int{}
	for _, s := range k.sides {
		s.guest.mu.Lock()
		all[s.guest.as] = len(s.guest.said)
		s.guest.mu.Unlock()
	}
	return all
}

// arrived waits until everybody has heard so much of each author. The silence may have begun before.
func (k *correspondence) arrived(ctx context.Context, said map[string]int) error {
	for _, s := range k.sides {
		what := fmt.Sprintf("%v in %s", said, s.office.name)
		if err := s.guest.until(ctx, what, func() bool { return s.guest.hasHeard(said, s.before) }); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// hasHeard tells whether a guest has heard so much of each author but himself, where so much was there when he came. mu is held.
func (g *guest) hasHeard(said, before map[string]int) bool {
	heard := map[string]int{}
	maps.Copy(heard, before)
	for _, l := range g.heard {
		who, _, _ := strings.Cut(l.text, " ")
		heard[who]++
	}
	for who, n := range said {
		if heard[who] < n && who != g.as {
			return false
		}
	}
	return true
}

// check judges what everybody has heard and what each node of each office has stored, after the silence. It returns how many messages there were.
func (k *correspondence) check(ctx context.Context, t *testing.T) (total int) {
	t.Helper()
	said := k.said()
	for _, n := range said {
		total += n
	}
	if err := k.arrived(ctx, said); err != nil {
		t.Fatal(err)
	}
	stored := maps.Clone(said)
	maps.Copy(stored, k.before)
	var first []line // of a group: the conversation as the first office has it
	for _, s := range k.sides {
		s.guest.mu.Lock()
		err := judgeHeard(slices.DeleteFunc(slices.Clone(s.guest.heard), k.isOlder), s.before, said)
		s.guest.mu.Unlock()
		if err != nil {
			t.Errorf("%s, what %s has heard: %v", k.name, s.guest.as, err)
		}
		s.office.WaitEqual(t)
		for _, n := range s.office.live() {
			log := k.placed(ctx, t, s, n)
			if err := judgeMailbox(log, stored); err != nil {
				t.Errorf("%s, node %s of %s: %v; by number (and place): %s", k.name, n.ID, s.office.name, err, inShort(log))
			}
			if !k.group {
				continue
			}
			ordered, err := byHub(log)
			if first == nil {
				first = ordered
			}
			if err = errors.Join(err, sameOrder(ordered, first)); err != nil {
				t.Errorf("%s, the order at node %s of %s: %v", k.name, n.ID, s.office.name, err)
			}
		}
	}
	return total
}

// isOlder tells of a message from before they all came, which whoever came first may have heard.
func (k *correspondence) isOlder(l line) bool {
	who, _, _ := strings.Cut(l.text, " ")
	return k.before[who] > 0
}

// placed is the conversation as a node has it, in a group when the hub's word on the last of it has come back.
func (k *correspondence) placed(ctx context.Context, t *testing.T, s *side, n *ClusterNode) (log []line) {
	t.Helper()
	waitFor(ctx, t, "the places of "+k.name+" in "+s.office.name, func() bool {
		log = s.office.history(ctx, t, n, s.user, s.session)
		return !k.group || !slices.ContainsFunc(log, func(l line) bool { return l.hub == 0 })
	})
	return log
}

// judgeHeard wants every author's messages once and in his order, from what was there before.
func judgeHeard(heard []line, before, said map[string]int) error {
	next := map[string]int{}
	maps.Copy(next, before)
	for i, l := range heard {
		who, _, _ := strings.Cut(l.text, " ")
		next[who]++
		if l.text != fmt.Sprintf("%s %d", who, next[who]) || next[who] > said[who] {
			return fmt.Errorf("%q is in place %d, where message %d of %d of %s was due", l.text, i+1, next[who], said[who], who)
		}
	}
	return nil
}

// judgeMailbox wants all messages once, each author's in his order, with dense ids.
func judgeMailbox(log []line, said map[string]int) error {
	if err := judgeHeard(log, nil, said); err != nil {
		return err
	}
	have := map[string]int{}
	for i, l := range log {
		if l.id != protocol.MsgID(i+1) {
			return fmt.Errorf("%q in place %d has id %d", l.text, i+1, l.id)
		}
		who, _, _ := strings.Cut(l.text, " ")
		have[who]++
	}
	if !maps.Equal(have, said) {
		return fmt.Errorf("%v are there, %v were said and acked", have, said)
	}
	return nil
}

// inShort is a conversation in a line.
func inShort(log []line) string {
	var out strings.Builder
	for _, l := range log {
		fmt.Fprintf(&out, "%d(%d) %s, ", l.id, l.hub, l.text)
	}
	return out.String()
}

// byHub sorts a conversation of a group as its hub has ordered it: every message has one place.
func byHub(log []line) ([]line, error) {
	ordered := slices.SortedFunc(slices.Values(log), func(a, b line) int { return cmp.Compare(a.hub, b.hub) })
	for i, l := range ordered {
		if l.hub == 0 {
			return ordered, fmt.Errorf("%q has no place", l.text)
		}
		if i > 0 && l.hub == ordered[i-1].hub {
			return ordered, fmt.Errorf("%q and %q have the same place %d", ordered[i-1].text, l.text, l.hub)
		}
	}
	return ordered, nil
}

// sameOrder compares what two offices have at each place.
func sameOrder(got, want []line) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d messages, %d elsewhere", len(got), len(want))
	}
	for i, l := range got {
		if l.hub != want[i].hub || l.text != want[i].text {
			return fmt.Errorf("place %d has %q, which is %d: %q elsewhere", l.hub, l.text, want[i].hub, want[i].text)
		}
	}
	return nil
}

// talkOf begins conversations of all kinds between the offices: each office's with the next one, and a group of all.
func (c *company) talkOf(ctx context.Context, t *testing.T, random *rand.Rand) []*correspondence {
	t.Helper()
	all := []*correspondence{c.conference(ctx, t, 1)}
	for i, o := range c.offices {
		if next := (i + 1) % len(c.offices); next > i || len(c.offices) > 2 {
			all = append(all, c.letter(ctx, t, o, 2, c.offices[next], 3))
		}
	}
	for _, k := range all {
		k.begin(ctx, random)
	}
	return all
}

// allArrived waits until everybody has heard what was said until now.
func allArrived(ctx context.Context, t *testing.T, all []*correspondence) {
	t.Helper()
	for _, k := range all {
		if err := k.arrived(ctx, k.said()); err != nil {
			t.Fatal(err)
		}
	}
}

// checkAll ends all talk, waits until nothing is on its way any more, and judges.
func (c *company) checkAll(ctx context.Context, t *testing.T, all []*correspondence) (total int) {
	t.Helper()
	for _, k := range all {
		k.silence(t)
	}
	for _, k := range all {
		total += k.check(ctx, t)
	}
	c.waitSent(t)
	return total
}

// TestFederationJudgeSeesFaults: what these tests go by finds what it is there for.
func TestFederationJudgeSeesFaults(t *testing.T) {
	at := func(id protocol.MsgID, hub uint64, text string) line { return line{id: id, hub: hub, text: text} }
	said := map[string]int{"a": 2, "b": 1}
	right := []line{at(1, 1, "a 1"), at(2, 3, "b 1"), at(3, 2, "a 2")}
	for name, c := range map[string]struct {
		log  []line
		want string
	}{
		"right":        {right, ""},
		"lost":         {right[:2], "were said"},
		"lost within":  {[]line{at(1, 1, "a 2"), at(2, 2, "b 1")}, "was due"},
		"twice":        {append(slices.Clone(right), at(4, 4, "a 2")), "was due"},
		"too many":     {append(slices.Clone(right), at(4, 4, "a 3")), "of 2 of a was due"},
		"out of order": {[]line{at(1, 1, "a 2"), at(2, 2, "a 1"), at(3, 3, "b 1")}, "was due"},
		"of nobody":    {append(slices.Clone(right), at(4, 4, "c 1")), "of 0 of c was due"},
		"hole":         {[]line{right[0], right[1], at(4, 2, "a 2")}, "has id 4"},
	} {
		if err := judgeMailbox(c.log, said); err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q is not in: %v", name, c.want, err)
		}
	}
	ordered, err := byHub(right)
	if err != nil || ordered[1].text != "a 2" || sameOrder(ordered, ordered) != nil {
		t.Errorf("%v: %v", ordered, err)
	}
	if sameOrder(ordered[:2], ordered) == nil || sameOrder(right, ordered) == nil {
		t.Error("another order counts as the same")
	}
	for name, log := range map[string][]line{"no place": {at(1, 0, "a 1")}, "the same place": {at(1, 1, "a 1"), at(2, 1, "b 1")}} {
		if _, err := byHub(log); err == nil {
			t.Errorf("%s was not seen", name)
		}
	}
}
