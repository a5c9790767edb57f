package federation_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A person is one of those who speak.
type person struct {
	at *town
	n  int // of the office's people, from 0
}

func (p person) id() protocol.UserID { return p.at.user(p.n) }

// String is the login name.
func (p person) String() string { return fmt.Sprintf("%s%d", p.at.name, p.id()) }

// seenAt is what a person is called at an office, who is met by that if need be.
func (p person) seenAt(o *town) protocol.UserID {
	if p.at == o {
		return p.id()
	}
	g := o.globe
	g.Helper()
	alias, err := o.life().store.AliasOf(fed.UserRef{Cluster: p.at.papers.id, ID: p.id()})
	if err != nil {
		g.Fatal(err)
	}
	if alias == 0 {
		res, _ := o.do(&protocol.AddAlias{Cluster: p.at.papers.id, User: uint32(p.id()), Profile: o.pack(fed.Profile{Login: p.String(), Nick: "met"})}).(protocol.AddAliasResult)
		alias = res.User
	}
	return alias
}

// A room is a group with people of several offices. Those who founded it are in it for good; guests come and go.
type room struct {
	hub      *town
	id       protocol.GroupID
	founders []person
	guests   []person
}

// at is what the group is called at an office; 0: not known there.
func (r *room) at(o *town) protocol.GroupID {
	if o == r.hub {
		return r.id
	}
	groups, err := o.life().store.ListGroups(protocol.MaxLocalID-1, 1000)
	if err != nil {
		o.globe.Fatal(err)
	}
	for _, group := range groups {
		ref, err := o.life().store.GroupAbroad(group.ID)
		if err == nil && ref == (fed.GroupRef{Cluster: r.hub.papers.id, ID: r.id}) {
			return group.ID
		}
	}
	return 0
}

// offices are those that have founders in the room.
func (r *room) offices() (all []*town) {
	for _, p := range r.founders {
		if !slices.Contains(all, p.at) {
			all = append(all, p.at)
		}
	}
	return all
}

// gather makes a group at the office of its first member.
func (g *globe) gather(name string, members ...person) *room {
	g.Helper()
	r := &room{hub: members[0].at, founders: members}
	var ids []protocol.UserID
	for _, p := range members {
		ids = append(ids, p.seenAt(r.hub))
	}
	made, _ := r.hub.do(&protocol.CreateGroup{Actor: members[0].id(), Type: protocol.GroupTemp, Name: name, Members: ids}).(protocol.CreateGroupResult)
	r.id = made.Group
	g.rooms = append(g.rooms, r)
	return r
}

// admit and expel change the guests, at the hub.
func (r *room) admit(p person) { r.change(protocol.MembersAdd, p) }

func (r *room) expel(p person) { r.change(protocol.MembersDel, p) }

// has reports whether somebody is a member, at the hub.
func (r *room) has(p person) bool {
	is, err := r.hub.life().store.IsMember(r.id, p.seenAt(r.hub))
	return is && err == nil
}

func (r *room) change(how protocol.MemberChange, p person) {
	r.hub.do(&protocol.ChangeMembers{Actor: r.founders[0].id(), Group: r.id, Change: how, Members: []protocol.UserID{p.seenAt(r.hub)}})
	if !slices.Contains(r.guests, p) {
		r.guests = append(r.guests, p)
	}
}

// said is a message that its author's office has acknowledged.
type said struct {
	by       person
	to       person // of a message to one
	in       *room  // of a post
	what     string
	id       protocol.MsgID // at the author's office
	at       protocol.Position
	recalled bool
	// lost: the author's office has lost its disk since; the message counts only if it has reached others by then.
	lost bool
	// moved: it is not where it was said, as the office was restored from a backup of before.
	moved bool
	// mayFail: it may have been refused, as the author's right to say it went away meanwhile.
	mayFail bool
}

// session is where a message is, as its author sees it.
func (s *said) session() protocol.Session {
	if s.in != nil {
		return protocol.InGroup(s.in.at(s.by.at))
	}
	return protocol.WithUser(s.to.seenAt(s.by.at))
}

// say has somebody say something to somebody, and remembers it if it was acknowledged.
func (g *globe) say(by, to person) (*said, error) {
	g.Helper()
	return g.utter(&said{by: by, to: to})
}

// post has somebody say something to a room.
func (g *globe) post(by person, in *room) (*said, error) {
	g.Helper()
	return g.utter(&said{by: by, in: in, mayFail: !slices.Contains(in.founders, by)})
}

func (g *globe) utter(s *said) (*said, error) {
	g.Helper()
	if s.what == "" {
		s.what = fmt.Sprintf("%v/%d.", s.by, len(g.said)+1)
	}
	c := &protocol.SendMessage{From: s.by.id(), To: s.session(), Type: protocol.MsgSingleText, Data: []byte(s.what)}
	if s.in != nil {
		c.Type = protocol.MsgGroupText
	}
	res, err := s.by.at.try(c)
	if err != nil {
		return nil, err
	}
	sent, _ := res.(protocol.SendResult)
	s.id, s.at = sent.ID, sent.At
	g.said = append(g.said, s)
	return s, nil
}

// mustSay is say that has to be acknowledged.
func (g *globe) mustSay(by, to person) *said {
	g.Helper()
	s, err := g.say(by, to)
	if err != nil {
		g.Fatalf("%v to %v: %v", by, to, err)
	}
	return s
}

// mustPost is post that has to be acknowledged.
func (g *globe) mustPost(by person, in *room) *said {
	g.Helper()
	s, err := g.post(by, in)
	if err != nil {
		g.Fatalf("%v to a room of %s: %v", by, in.hub.name, err)
	}
	return s
}

// recall has the author take a message back.
func (g *globe) recall(s *said) {
	g.Helper()
	s.by.at.do(&protocol.DeleteMessage{Actor: s.by.id(), Session: s.session(), ID: s.id, Deletion: protocol.Recalled, Within: 1 << 50})
	s.recalled = true
}

// read has somebody read all that somebody else has said to him so far.
func (g *globe) read(by, from person) {
	g.Helper()
	by.at.do(&protocol.MarkRead{User: by.id(), Session: protocol.WithUser(from.seenAt(by.at))})
}

// box is all of a session that a user can see, the oldest first.
func (o *town) box(u protocol.UserID, s protocol.Session) (all []protocol.Message) {
	g := o.globe
	g.Helper()
	for begin := protocol.MsgID(0); ; {
		page, err := o.life().store.History(u, s, begin, 500)
		if err != nil {
			g.Fatalf("%s: what user %d has of %v: %v", o.name, u, s, err)
		}
		all = append(all, page...)
		if len(page) == 0 || page[len(page)-1].ID <= 1 {
			slices.Reverse(all)
			return all
		}
		begin = page[len(page)-1].ID - 1
	}
}

// fate is what an office knows of a message.
func (o *town) fate(at protocol.Position) fed.Fate {
	o.globe.Helper()
	f, _, err := o.life().store.FateOf(at)
	if err != nil {
		o.globe.Fatal(err)
	}
	return f
}

// speaker is whose message it is, by its author's name; an error if the author is not a user or an alias of the office.
func (o *town) speaker(m *protocol.Message) (string, error) {
	u, err := o.life().store.UserByID(m.From)
	if err != nil {
		return "", fmt.Errorf("message %d is of %d, who is nobody here: %w", m.ID, m.From, err)
	}
	name, domain, abroad := strings.Cut(u.Name, "@")
	if abroad != (m.From >= protocol.MaxLocalID) || abroad && !strings.HasSuffix(domain, ".example") {
		return "", fmt.Errorf("user %d is called %s", m.From, u.Name)
	}
	return name, nil
}

// judge compares every mailbox with what was said: all that was acknowledged is there, once, in its author's order, under his name; rooms have one
// order everywhere; what was recalled is gone; and the author knows what became of everything.
func (g *globe) judge() {
	g.Helper()
	var wrong []error
	for _, a := range g.towns {
		for _, b := range g.towns {
			if a.index >= b.index || !a.trusts(b) || !b.trusts(a) {
				continue
			}
			for n := range townUsers {
				for k := range townUsers {
					wrong = append(wrong, g.judgePair(person{a, n}, person{b, k}))
				}
			}
		}
	}
	for _, r := range g.rooms {
		wrong = append(wrong, g.judgeRoom(r))
	}
	for _, s := range g.said {
		wrong = append(wrong, g.judgeFate(s))
	}
	for _, o := range g.towns {
		wrong = append(wrong, o.judgeTold())
	}
	wrong = slices.DeleteFunc(wrong, func(err error) bool { return err == nil })
	if len(wrong) > 20 {
		wrong = append(wrong[:20], fmt.Errorf("and %d more", len(wrong)-20))
	}
	if err := errors.Join(wrong...); err != nil {
		g.Error(err)
	}
}

// judgePair looks at what two people have of each other, at both of their offices.
func (g *globe) judgePair(p, q person) error {
	alias, err := p.at.life().store.AliasOf(fed.UserRef{Cluster: q.at.papers.id, ID: q.id()})
	if err != nil {
		return err
	}
	back, err := q.at.life().store.AliasOf(fed.UserRef{Cluster: p.at.papers.id, ID: p.id()})
	if err != nil {
		return err
	}
	var here, there []protocol.Message
	if alias != 0 {
		here = p.at.box(p.id(), protocol.WithUser(alias))
	}
	if back != 0 {
		there = q.at.box(q.id(), protocol.WithUser(back))
	}
	between := func(s *said) bool { return s.in == nil && (s.by == p && s.to == q || s.by == q && s.to == p) }
	if err := g.compare(fmt.Sprintf("%v and %v, at %s", p, q, p.at.name), p.at, here, between); err != nil {
		return err
	}
	return g.compare(fmt.Sprintf("%v and %v, at %s", p, q, q.at.name), q.at, there, between)
}

// compare looks for what was said in a mailbox.
func (g *globe) compare(name string, o *town, box []protocol.Message, belongs func(*said) bool) error {
	want := map[string][]string{}
	optional := map[string]bool{}
	for _, s := range g.said {
		if !belongs(s) || s.recalled {
			continue
		}
		if s.lost || !s.moved && s.by.at != o && g.undelivered(s) {
			optional[s.what] = true
		}
		want[s.by.String()] = append(want[s.by.String()], s.what)
	}
	got := map[string][]string{}
	seen := map[string]bool{}
	for i := range box {
		m := &box[i]
		who, err := o.speaker(m)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if m.Deleted != 0 {
			if len(m.Data) > 0 {
				return fmt.Errorf("%s: a deleted message says %q", name, m.Data)
			}
			continue
		}
		what := string(m.Data)
		switch {
		case seen[what]:
			return fmt.Errorf("%s: %q is there twice", name, what)
		case !strings.HasPrefix(what, who+"/"):
			return fmt.Errorf("%s: %q is said to be of %s", name, what, who)
		}
		seen[what] = true
		got[who] = append(got[who], what)
	}
	for who, texts := range want {
		texts = slices.DeleteFunc(texts, func(what string) bool { return optional[what] && !seen[what] })
		if err := same(texts, got[who]); err != nil {
			return fmt.Errorf("%s: of %s %w", name, who, err)
		}
		delete(got, who)
	}
	for who, texts := range got {
		return fmt.Errorf("%s: nobody said %q of %s", name, texts, who)
	}
	return nil
}

// undelivered reports whether the author was told that a message will not arrive.
func (g *globe) undelivered(s *said) bool {
	return s.by.at.fate(s.at).State == fed.StateUndeliverable
}

// same says where two lists differ.
func same(want, got []string) error {
	if slices.Equal(want, got) {
		return nil
	}
	var missing, more []string
	for _, w := range want {
		if !slices.Contains(got, w) {
			missing = append(missing, w)
		}
	}
	for _, w := range got {
		if !slices.Contains(want, w) {
			more = append(more, w)
		}
	}
	if len(missing)+len(more) == 0 {
		return fmt.Errorf("the order is another one: %s, want %s", got, want)
	}
	return fmt.Errorf("%d are there of %d: %s are missing, %s too many", len(got), len(want), missing, more)
}

// placed is a message of a room as one office has it.
type placed struct {
	seq  uint64
	what string
}

// judgeRoom looks at what the founders of a room have of it, everywhere, and whether it is in one order.
func (g *globe) judgeRoom(r *room) error {
	var first []placed
	for i, p := range r.founders {
		id := r.at(p.at)
		if id == 0 {
			return fmt.Errorf("%s does not know the room of %s", p.at.name, r.hub.name)
		}
		box := p.at.box(p.id(), protocol.InGroup(id))
		name := fmt.Sprintf("room %d of %s, as %v has it", r.id, r.hub.name, p)
		if err := g.compare(name, p.at, box, func(s *said) bool { return s.in == r }); err != nil {
			return err
		}
		order, err := p.at.order(box)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i == 0 {
			first = order
		} else if err := sameOrder(first, order); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	last := map[string]int{}
	for _, m := range first { // FIFO per author by the hub's order
		who, number, _ := strings.Cut(m.what, "/")
		var n int
		if _, err := fmt.Sscanf(number, "%d.", &n); err != nil {
			return err
		}
		if n < last[who] {
			return fmt.Errorf("room %d of %s: %s comes after his number %d", r.id, r.hub.name, m.what, last[who])
		}
		last[who] = n
	}
	return nil
}

// order is what the hub has given a place, in order of places.
func (o *town) order(box []protocol.Message) (all []placed, err error) {
	for i := range box {
		f := o.fate(box[i].At)
		if f.HubSeq != 0 && box[i].Deleted == 0 {
			all = append(all, placed{f.HubSeq, string(box[i].Data)})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.seq, b.seq) })
	for i := 1; i < len(all); i++ {
		if all[i].seq == all[i-1].seq {
			return nil, fmt.Errorf("%q and %q have place %d", all[i-1].what, all[i].what, all[i].seq)
		}
	}
	return all, nil
}

func sameOrder(a, b []placed) error {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Errorf("%q at place %d, elsewhere %q at %d", b[i].what, b[i].seq, a[i].what, a[i].seq)
		}
	}
	if len(a) != len(b) {
		return fmt.Errorf("%d messages have a place, elsewhere %d", len(b), len(a))
	}
	return nil
}

// judgeFate looks at what is known of a message where it was said.
func (g *globe) judgeFate(s *said) error {
	if s.lost || s.moved || s.recalled {
		return nil // it may be where it never was said now; or gone before it was sent
	}
	f := s.by.at.fate(s.at)
	want := fed.StateDelivered
	if s.in != nil {
		want = fed.StateSent
		if len(s.in.offices()) == 1 {
			return nil
		}
	}
	if f.State == want && (s.in == nil || f.HubSeq > 0) || s.mayFail && f.State == fed.StateUndeliverable {
		return nil
	}
	return fmt.Errorf("%q is in state %d with place %d, not %d, although all was carried", s.what, f.State, f.HubSeq, want)
}

// judgeTold looks at what authors were told: from pending on, never on after the end.
func (o *town) judgeTold() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for at, all := range o.told {
		over := false
		for i, c := range all {
			state := fed.MessageState(c.State)
			if over && !(state == fed.StateDelivered || state == fed.StateSent || state == fed.StateUndeliverable) {
				return fmt.Errorf("%s: of message %d of %v its author was told %d after the end", o.name, at.id, at.conversation, c.State)
			}
			if c.From >= protocol.MaxLocalID {
				return fmt.Errorf("%s: somebody abroad is told of message %d", o.name, at.id)
			}
			over = over || state == fed.StateDelivered || state == fed.StateSent
			_ = i
		}
	}
	return nil
}

// judgeMarks compares what somebody has not read with what the other's office thinks of that, once everybody has read everything.
func (g *globe) judgeMarks() {
	g.Helper()
	read := func(by, of person) {
		if alias, err := by.at.life().store.AliasOf(fed.UserRef{Cluster: of.at.papers.id, ID: of.id()}); err == nil && alias != 0 {
			g.read(by, of)
		}
	}
	pairs := map[[2]person]bool{}
	for _, s := range g.said {
		if s.in == nil && !pairs[[2]person{s.by, s.to}] {
			pairs[[2]person{s.by, s.to}] = true
			read(s.to, s.by)
		}
	}
	g.settle(time.Hour) // an outage may still go on
	for pair := range pairs {
		by, to := pair[0], pair[1]
		unread, err := by.at.life().store.Unread(to.seenAt(by.at))
		if err != nil {
			g.Fatal(err)
		}
		for _, u := range unread {
			if u.Session == protocol.WithUser(by.id()) && u.Latest.From == by.id() && u.Latest.Deleted == 0 {
				g.Errorf("%v has read all that %v has said to him; there %d are thought to be unread", to, by, u.Count)
			}
		}
	}
}
