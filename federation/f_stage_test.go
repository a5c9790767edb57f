package federation_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A stage is where a malicious cluster meets an office: they share a group of each, and some people talk one to one. Another office, an honest one, shares with
// the first what is none of the malicious one's business.
type stage struct {
	*globe
	office, other *town
	*talk                          // of the malicious cluster with the office
	ours          protocol.GroupID // of the office, with people of both others
	closed        protocol.GroupID // of the office, with people of the other one only
	others        protocol.GroupID // of the other one, with people of the office
	chain         fed.Link         // its end
	version       uint32           // of its state

	met     map[string]fed.EventID // what was said, by name
	mallory protocol.UserID        // what the malicious cluster's user 1 is called at the office
}

// theirGroup is the id of the malicious cluster's group there; the spare ones have those from spareGroup on.
const (
	theirGroup  = 77
	spareGroup  = 100
	spareGroups = 12
)

// newStage has all of them meet and talk.
func newStage(t *testing.T) *stage {
	t.Helper()
	g := newGlobe(t, 2)
	s := &stage{globe: g, office: g.towns[0], other: g.towns[1], met: map[string]fed.EventID{}}
	d := g.newDouble(9, "mallory")
	s.office.befriend(d.papers, fed.AllowAll)
	s.talk = d.meet(s.office)
	s.introduce(1)
	s.introduce(2)
	ann, bob, eve := person{s.office, 0}, person{s.office, 1}, person{s.other, 0}
	s.mallory = s.alias(1)
	s.ours = s.group("ours", ann.id(), bob.id(), eve.seenAt(s.office), s.mallory)
	s.closed = s.group("closed", ann.id(), bob.id(), eve.seenAt(s.office))
	g.settle(time.Minute)
	r := g.gather("others", eve, ann)
	s.others = r.id
	s.chain.Group = s.theirsRef()
	s.founded(s.theirsRef())
	for i := range spareGroups {
		s.founded(s.spare(i))
	}
	s.say("local", ann.id(), protocol.WithUser(bob.id()))
	s.say("to mallory", ann.id(), protocol.WithUser(s.mallory))
	s.say("to eve", ann.id(), protocol.WithUser(eve.seenAt(s.office)))
	s.say("in ours", ann.id(), protocol.InGroup(s.ours))
	s.say("in closed", ann.id(), protocol.InGroup(s.closed))
	g.mustPost(eve, r)
	g.mustSay(eve, ann)
	s.honest("from mallory", fed.LaneFirst, s.user(1), fed.TypeMessage, fed.Message{Type: protocol.MsgSingleText, Data: []byte("honest")})
	s.honest("post of mallory", fed.LaneFirst, s.user(1), fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte("honest post")})
	g.settle(time.Minute)
	s.say("in theirs", ann.id(), protocol.InGroup(s.aliasOfTheirs()))
	s.orderPosts()
	return s
}

// introduce tells the office of one of the malicious cluster's people.
func (s *stage) introduce(id protocol.UserID) {
	e := s.event()
	e.Author = s.user(id)
	if r := s.tell(fed.LaneControl, e, fed.TypeProfile, fed.Profile{Login: fmt.Sprintf("mallory%d", id), Nick: "M", Updated: 1000}); r != nil {
		s.Fatalf("a profile is refused: %s", r.Text)
	}
}

// alias is what one of the malicious cluster's people is called at the office.
func (s *stage) alias(id protocol.UserID) protocol.UserID {
	u, err := s.office.life().store.AliasOf(s.user(id))
	if err != nil {
		s.Fatal(err)
	}
	return u
}

func (s *stage) group(name string, members ...protocol.UserID) protocol.GroupID {
	made, _ := s.office.do(&protocol.CreateGroup{Actor: members[0], Type: protocol.GroupTemp, Name: name, Members: members}).(protocol.CreateGroupResult)
	return made.Group
}

// say has somebody of the office say something that the malicious cluster may try to reach.
func (s *stage) say(name string, by protocol.UserID, to protocol.Session) {
	c := &protocol.SendMessage{From: by, To: to, Type: protocol.MsgSingleText, Data: []byte("secret " + name)}
	if to.Type == protocol.SessionGroup {
		c.Type = protocol.MsgGroupText
	}
	sent, _ := s.office.do(c).(protocol.SendResult)
	s.met[name] = fed.NewEventID(s.office.papers.id, 0, sent.At)
}

// honest has the malicious cluster say what it may.
func (s *stage) honest(name string, lane fed.Lane, author fed.UserRef, typ fed.Type, body any) {
	s.Helper()
	e := s.event()
	e.Author = author
	if typ == fed.TypeMessage {
		e.To = s.ann()
	} else {
		e.Group = s.oursRef()
	}
	s.met[name] = e.ID
	if r := s.tell(lane, e, typ, body); r != nil {
		s.Fatalf("%s is refused: %s", name, r.Text)
	}
}

// References, as they are in events.
func (s *stage) ann() fed.UserRef {
	return fed.UserRef{Cluster: s.office.papers.id, ID: s.office.user(0)}
}
func (s *stage) bob() fed.UserRef {
	return fed.UserRef{Cluster: s.office.papers.id, ID: s.office.user(1)}
}
func (s *stage) eve() fed.UserRef {
	return fed.UserRef{Cluster: s.other.papers.id, ID: s.other.user(0)}
}
func (s *stage) oursRef() fed.GroupRef { return fed.GroupRef{Cluster: s.office.papers.id, ID: s.ours} }
func (s *stage) closedRef() fed.GroupRef {
	return fed.GroupRef{Cluster: s.office.papers.id, ID: s.closed}
}
func (s *stage) othersRef() fed.GroupRef {
	return fed.GroupRef{Cluster: s.other.papers.id, ID: s.others}
}
func (s *stage) theirsRef() fed.GroupRef { return fed.GroupRef{Cluster: s.papers.id, ID: theirGroup} }

// spare is a group of the malicious cluster's in which nothing was said.
func (s *stage) spare(i int) fed.GroupRef {
	return fed.GroupRef{Cluster: s.papers.id, ID: spareGroup + protocol.GroupID(i)}
}

// founded has the malicious cluster found a group with people of the office.
func (s *stage) founded(group fed.GroupRef) {
	s.Helper()
	e := s.event()
	e.Group = group
	if r := s.tell(fed.LaneFirst, e, fed.TypeGroupState, s.state()); r != nil {
		s.Fatalf("a group is refused: %s", r.Text)
	}
}

// state is the next one of the malicious cluster's group.
func (s *stage) state() fed.GroupState {
	s.version++
	members := []fed.UserRef{s.ann(), s.bob(), s.eve(), s.user(1)}
	g := fed.GroupState{Version: s.version, Seq: s.chain.Seq, Name: "theirs", Kind: protocol.GroupTemp, Creator: s.user(1), Members: members,
		Manifests: []fed.SignedManifest{s.other.papers.identity.Manifest}}
	if s.chain.Seq > 0 {
		g.Previous = s.chain.Hash()
	}
	for range members {
		g.Profiles = append(g.Profiles, fed.Profile{Login: "somebody", Nick: "S", Updated: 1})
	}
	return g
}

// aliasOfTheirs is what the malicious cluster's group is called at the office.
func (s *stage) aliasOfTheirs() protocol.GroupID {
	r := &room{hub: &town{papers: s.papers}, id: theirGroup}
	return r.at(s.office)
}

// next is the place after the chain's end for an inner event.
func (s *stage) next(inner fed.SignedEvent) fed.HubPost {
	p := fed.HubPost{Seq: s.chain.Seq + 1, Inner: inner, Hash: sha256.Sum256(inner.Event)}
	if s.chain.Seq > 0 {
		p.Previous = s.chain.Hash()
	}
	return p
}

// order has the malicious cluster's group go on by an event.
func (s *stage) order(inner fed.SignedEvent) {
	s.Helper()
	post := s.next(inner)
	e := s.event()
	e.Group = s.theirsRef()
	if r := s.tell(fed.LaneFirst, e, fed.TypeHubPost, post); r != nil {
		s.Fatalf("what the hub has ordered is refused: %s", r.Text)
	}
	s.chain = fed.Link{Group: s.theirsRef(), Seq: post.Seq, Previous: post.Previous, Inner: post.Hash}
}

// orderPosts gives places to what the office's people have said to the malicious cluster's group.
func (s *stage) orderPosts() {
	s.Helper()
	var posts []fed.SignedEvent
	s.until("the post arrives", time.Minute, 50*time.Millisecond, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.heard {
			if e, err := fed.DecodeEvent(s.heard[i].Event); err == nil && e.Type == fed.TypePost {
				posts = append(posts, s.heard[i])
			}
		}
		if len(posts) == 0 {
			return fmt.Errorf("none of %d events is one", len(s.heard))
		}
		return nil
	})
	for _, p := range posts {
		s.order(p)
	}
	mine := s.event()
	mine.Author, mine.Group = s.user(1), s.theirsRef()
	s.order(s.sign(mine.Encode(fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte("of the hub")})))
}

// sight is all that clients of an office can see of it, in words.
func (s *stage) sight(o *town) string {
	s.Helper()
	var b strings.Builder
	users, err := o.life().store.ListUsers(0, 10_000)
	if err != nil {
		s.Fatal(err)
	}
	for _, u := range users {
		fmt.Fprintf(&b, "user %d %q %q %q %q %q status %d in %d\n", u.ID, u.Name, u.Nick, u.Address, u.Sign, u.Avatar, u.Status, u.Department)
	}
	groups, err := o.life().store.ListGroups(0, 10_000)
	if err != nil {
		s.Fatal(err)
	}
	for _, g := range groups {
		members, err := o.life().store.Members(g.ID)
		if err != nil {
			s.Fatal(err)
		}
		fmt.Fprintf(&b, "group %d %q %q by %d closed %v: %v\n", g.ID, g.Name, g.Avatar, g.Creator, g.Closed, members)
	}
	for n := range townUsers {
		s.sightOf(&b, o, o.user(n))
	}
	return b.String()
}

// sightOf is what one user has.
func (s *stage) sightOf(b *strings.Builder, o *town, u protocol.UserID) {
	s.Helper()
	sessions, err := o.life().store.RecentSessions(u, 0, 1000)
	if err != nil {
		s.Fatal(err)
	}
	for _, in := range sessions {
		fmt.Fprintf(b, "user %d has %v\n", u, in.Session)
		for _, m := range o.box(u, in.Session) {
			f := o.fate(m.At)
			fmt.Fprintf(b, "  %d of %d: %q deleted %d, state %d, place %d, to %d\n", m.ID, m.From, m.Data, m.Deleted, f.State, f.HubSeq, m.Extras.ReplyTo)
		}
	}
	unread, err := o.life().store.Unread(u)
	if err != nil {
		s.Fatal(err)
	}
	for _, in := range unread {
		fmt.Fprintf(b, "user %d has not read %d of %v\n", u, in.Count, in.Session)
	}
}
