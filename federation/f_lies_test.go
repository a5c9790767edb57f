package federation_test

import (
	"crypto/sha256"
	"strings"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A lie is an event that a cluster may not send, although it signs it properly.
type lie struct {
	name string
	typ  fed.Type
	edit func(*fed.Event)
	body any
	// want is the code of the refusal; 0: the event is passed over, or answered by an event, and has no effect.
	want protocol.Code
}

// words is a text that must not be seen anywhere.
func words() fed.Message {
	return fed.Message{Type: protocol.MsgSingleText, Data: []byte("a lie")}
}

func groupWords() fed.Message {
	return fed.Message{Type: protocol.MsgGroupText, Data: []byte("a lie")}
}

// lies are all but those about chains, signatures and form.
func (s *stage) lies() []lie {
	var all []lie
	for _, some := range [][]lie{s.liesInMessages(), s.liesInPosts(), s.liesInDeletions(), s.liesInMarks(), s.liesOfHubs(), s.liesAboutGroups(), s.liesAboutPeople(), s.liesInForm()} {
		all = append(all, some...)
	}
	return all
}

func (s *stage) liesInMessages() []lie {
	to := func(author, to fed.UserRef) func(*fed.Event) {
		return func(e *fed.Event) { e.Author, e.To = author, to }
	}
	mine, typ := s.user(1), fed.TypeMessage
	nobody := fed.UserRef{Cluster: s.office.papers.id, ID: 999}
	alias := fed.UserRef{Cluster: s.office.papers.id, ID: s.mallory}
	return []lie{
		{"a message by a user of the office", typ, to(s.bob(), s.ann()), words(), protocol.CodeForbidden},
		{"a message by a user of a third cluster", typ, to(s.eve(), s.ann()), words(), protocol.CodeForbidden},
		{"a message by nobody", typ, to(fed.UserRef{}, s.ann()), words(), protocol.CodeForbidden},
		{"a message to a user of a third cluster", typ, to(mine, s.eve()), words(), protocol.CodeForbidden},
		{"a message to a user of the sender's", typ, to(mine, s.user(2)), words(), protocol.CodeForbidden},
		{"a message to nobody", typ, to(mine, nobody), words(), protocol.CodeNotFound},
		{"a message to an alias", typ, to(mine, alias), words(), protocol.CodeNotFound},
		{"a message without an addressee", typ, to(mine, fed.UserRef{}), words(), protocol.CodeInvalid},
		{"a message to a group", typ, func(e *fed.Event) { e.Author, e.Group = mine, s.oursRef() }, groupWords(), protocol.CodeForbidden},
		{"a message to a user and a group", typ, func(e *fed.Event) { e.Author, e.To, e.Group = mine, s.ann(), s.oursRef() }, words(), protocol.CodeInvalid},
		{"a message under an id of the office's", typ, func(e *fed.Event) { to(mine, s.ann())(e); e.ID.Cluster = s.office.papers.id }, words(), protocol.CodeForbidden},
		{"a message under an id of a third cluster's", typ, func(e *fed.Event) { to(mine, s.ann())(e); e.ID.Cluster = s.other.papers.id }, words(), protocol.CodeForbidden},
		{"a message under an id that was used", typ, func(e *fed.Event) { to(mine, s.ann())(e); e.ID = s.met["from mallory"] }, words(), 0},
		{"a message without an id", typ, func(e *fed.Event) { to(mine, s.ann())(e); e.ID = fed.EventID{} }, words(), protocol.CodeInvalid},
		{"a message of a group's type", typ, to(mine, s.ann()), groupWords(), protocol.CodeInvalid},
		{"a message of no type", typ, to(mine, s.ann()), fed.Message{Type: 0x77, Data: []byte("a lie")}, protocol.CodeInvalid},
		{"a message of too many bytes", typ, to(mine, s.ann()), fed.Message{Type: protocol.MsgSingleText, Data: []byte(strings.Repeat("a lie", 100_000))}, protocol.CodeTooLarge},
		{"a message with a bad content type", typ, to(mine, s.ann()), fed.Message{Type: protocol.MsgSingleText, Data: []byte("a lie"), ContentType: "text/plain\r\nx: y"}, protocol.CodeInvalid},
		{"a message that came through here", typ, func(e *fed.Event) { to(mine, s.ann())(e); e.Via = []string{s.office.papers.id.String()} }, words(), 0},
		{"a message through nine bridges", typ, func(e *fed.Event) { to(mine, s.ann())(e); e.Via = strings.Split("123456789", "") }, words(), protocol.CodeInvalid},
		{"an offer of a file", fed.TypeFileOffer, to(mine, s.ann()), fed.FileOffer{Name: "http://evil.example/a lie", Size: 1}, protocol.CodeInvalid},
	}
}

func (s *stage) liesInPosts() []lie {
	in := func(author fed.UserRef, group fed.GroupRef) func(*fed.Event) {
		return func(e *fed.Event) { e.Author, e.Group = author, group }
	}
	typ := fed.TypePost
	return []lie{
		{"a post by a user of the office", typ, in(s.ann(), s.oursRef()), groupWords(), protocol.CodeForbidden},
		{"a post by a member of a third cluster", typ, in(s.eve(), s.oursRef()), groupWords(), protocol.CodeForbidden},
		{"a post by one who is no member", typ, in(s.user(2), s.oursRef()), groupWords(), 0},
		{"a post by one nobody knows", typ, in(s.user(500), s.oursRef()), groupWords(), 0},
		{"a post to a group without the sender's people", typ, in(s.user(1), s.closedRef()), groupWords(), 0},
		{"a post to a group that does not exist", typ, in(s.user(1), fed.GroupRef{Cluster: s.office.papers.id, ID: 999}), groupWords(), 0},
		{"a post to a third cluster's group", typ, in(s.user(1), s.othersRef()), groupWords(), protocol.CodeForbidden},
		{"a post to the sender's own group", typ, in(s.user(1), s.theirsRef()), groupWords(), protocol.CodeForbidden},
		{"a post to a user", typ, func(e *fed.Event) { e.Author, e.To = s.user(1), s.ann() }, words(), protocol.CodeForbidden},
		{"a post of a single chat's type", typ, in(s.user(1), s.oursRef()), words(), protocol.CodeInvalid},
		{"a post under an id that was used", typ, func(e *fed.Event) { in(s.user(1), s.oursRef())(e); e.ID = s.met["post of mallory"] }, groupWords(), 0},
		{"the leaving of a user of the office", fed.TypeLeave, in(s.bob(), s.oursRef()), fed.Leave{}, protocol.CodeForbidden},
		{"the leaving of a member of a third cluster", fed.TypeLeave, in(s.eve(), s.oursRef()), fed.Leave{}, protocol.CodeForbidden},
		{"the leaving of one who is no member", fed.TypeLeave, in(s.user(2), s.oursRef()), fed.Leave{}, 0},
		{"the leaving out of a closed group", fed.TypeLeave, in(s.user(1), s.closedRef()), fed.Leave{}, 0},
		{"the leaving out of a third cluster's group", fed.TypeLeave, in(s.user(1), s.othersRef()), fed.Leave{}, protocol.CodeForbidden},
	}
}

func (s *stage) liesInDeletions() []lie {
	typ := fed.TypeDelete
	one := func(author, to fed.UserRef) func(*fed.Event) {
		return func(e *fed.Event) { e.Author, e.To = author, to }
	}
	in := func(author fed.UserRef, group fed.GroupRef) func(*fed.Event) {
		return func(e *fed.Event) { e.Author, e.Group = author, group }
	}
	of := func(name string) fed.Delete { return fed.Delete{Target: s.met[name], Kind: protocol.Recalled} }
	return []lie{
		{"a recall by a user of the office", typ, one(s.ann(), s.bob()), of("local"), protocol.CodeForbidden},
		{"a recall of what is the office's own", typ, one(s.user(1), s.ann()), of("local"), protocol.CodeForbidden},
		{"a recall of what was said to a third one", typ, one(s.user(1), s.ann()), of("to eve"), protocol.CodeForbidden},
		{"a recall of what the other one has said", typ, one(s.user(1), s.ann()), of("to mallory"), protocol.CodeForbidden},
		{"a recall by one who has not said it", typ, one(s.user(2), s.ann()), of("from mallory"), protocol.CodeForbidden},
		{"a recall with the wrong conversation", typ, one(s.user(1), s.bob()), of("from mallory"), protocol.CodeForbidden},
		{"a burning of what does not burn", typ, one(s.user(1), s.ann()), fed.Delete{Target: s.met["from mallory"], Kind: protocol.Burned}, protocol.CodeInvalid},
		{"a deletion of no kind", typ, one(s.user(1), s.ann()), fed.Delete{Target: s.met["from mallory"], Kind: 99}, protocol.CodeInvalid},
		{"a recall of another member's post", typ, in(s.user(1), s.oursRef()), of("in ours"), protocol.CodeForbidden},
		{"a recall in a group without the sender's people", typ, in(s.user(1), s.closedRef()), of("in closed"), protocol.CodeForbidden},
		{"a recall in a group by way of another", typ, in(s.user(1), s.oursRef()), of("in closed"), protocol.CodeForbidden},
		{"a recall in a third cluster's group", typ, in(s.user(1), s.othersRef()), of("in ours"), protocol.CodeForbidden},
		{"a recall of what never was", typ, one(s.user(1), s.ann()), fed.Delete{Target: fed.EventID{Cluster: s.papers.id, Index: 1 << 40}, Kind: protocol.Recalled}, 0},
	}
}

func (s *stage) liesInMarks() []lie {
	typ := fed.TypeMark
	one := func(author, to fed.UserRef) func(*fed.Event) {
		return func(e *fed.Event) { e.Author, e.To = author, to }
	}
	of := func(name string) fed.Mark { return fed.Mark{UpTo: s.met[name]} }
	return []lie{
		{"a mark by a user of the office", typ, one(s.bob(), s.ann()), of("local"), protocol.CodeForbidden},
		{"a mark by a user of a third cluster", typ, one(s.eve(), s.ann()), of("to eve"), protocol.CodeForbidden},
		{"a mark in a conversation of others", typ, one(s.user(1), s.ann()), of("local"), protocol.CodeForbidden},
		{"a mark in a group", typ, one(s.user(1), s.ann()), of("in ours"), protocol.CodeForbidden},
		{"a mark up to what never was", typ, one(s.user(1), s.ann()), fed.Mark{UpTo: fed.EventID{Cluster: s.office.papers.id, Index: 1 << 40}}, protocol.CodeNotFound},
		{"a mark for a third cluster's user", typ, one(s.user(1), s.eve()), of("to eve"), protocol.CodeForbidden},
	}
}

// liesOfHubs are about what only a hub may say.
func (s *stage) liesOfHubs() []lie {
	in := func(group fed.GroupRef) func(*fed.Event) { return func(e *fed.Event) { e.Group = group } }
	post := func(author fed.UserRef, id fed.ClusterID, group fed.GroupRef, typ fed.Type, edit func(*fed.SignedEvent)) fed.HubPost {
		e := s.event()
		e.ID.Cluster, e.Author, e.Group = id, author, group
		inner := s.sign(e.Encode(typ, groupWords()))
		if edit != nil {
			edit(&inner)
		}
		return fed.HubPost{Seq: 1, Inner: inner, Hash: sha256.Sum256(inner.Event)}
	}
	me := s.papers.id
	unsigned := func(e *fed.SignedEvent) { e.Signature = fed.Signature{} }
	wrong := post(s.user(1), me, s.spare(8), fed.TypePost, nil)
	wrong.Hash[0] ^= 1
	typ := fed.TypeHubPost
	return []lie{
		{"an ordered post of the office's group", typ, in(s.oursRef()), post(s.user(1), me, s.oursRef(), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered post of a third cluster's group", typ, in(s.othersRef()), post(s.user(1), me, s.othersRef(), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered post of a group nobody knows", typ, in(fed.GroupRef{Cluster: me, ID: 3}), post(s.user(1), me, fed.GroupRef{Cluster: me, ID: 3}, fed.TypePost, nil), protocol.CodeNotFound},
		{"an ordered post by a user of the office, signed by the hub", typ, in(s.spare(0)), post(s.ann(), s.office.papers.id, s.spare(0), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered post by a user of the office, unsigned", typ, in(s.spare(1)), post(s.ann(), s.office.papers.id, s.spare(1), fed.TypePost, unsigned), protocol.CodeForbidden},
		{"an ordered post by a user of a third cluster, signed by the hub", typ, in(s.spare(2)), post(s.eve(), s.other.papers.id, s.spare(2), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered post by a user of a third cluster, unsigned", typ, in(s.spare(3)), post(s.eve(), s.other.papers.id, s.spare(3), fed.TypePost, unsigned), protocol.CodeForbidden},
		{"an ordered post by a user of a third cluster under an id of the hub's", typ, in(s.spare(4)), post(s.eve(), me, s.spare(4), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered post by a cluster nobody knows", typ, in(s.spare(5)), post(fed.UserRef{Cluster: fed.ClusterID{0xee}, ID: 1}, fed.ClusterID{0xee}, s.spare(5), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered post of another group inside", typ, in(s.spare(6)), post(s.user(1), me, s.oursRef(), fed.TypePost, nil), protocol.CodeForbidden},
		{"an ordered message", typ, in(s.spare(7)), post(s.user(1), me, s.spare(7), fed.TypeMessage, nil), protocol.CodeInvalid},
		{"an ordered post with another hash", typ, in(s.spare(8)), wrong, protocol.CodeInvalid},
		{"an ordered post to a user", typ, func(e *fed.Event) { e.To = s.ann() }, post(s.user(1), me, s.spare(9), fed.TypePost, nil), protocol.CodeForbidden},
		{"a refusal of a post of the office's group", fed.TypeHubReject, in(s.oursRef()), fed.HubReject{Target: s.met["in ours"], Code: 3, Text: "a lie"}, protocol.CodeForbidden},
		{"a refusal of what went to a third hub", fed.TypeHubReject, in(s.theirsRef()), fed.HubReject{Target: s.met["in ours"], Code: 3, Text: "a lie"}, protocol.CodeNotFound},
		{"a refusal of what has its place", fed.TypeHubReject, in(s.theirsRef()), fed.HubReject{Target: s.met["in theirs"], Code: 3, Text: "a lie"}, protocol.CodeNotFound},
		{"a refusal of what was said to one", fed.TypeHubReject, in(s.theirsRef()), fed.HubReject{Target: s.met["to mallory"], Code: 3, Text: "a lie"}, protocol.CodeForbidden},
		{"a refusal of what the office never sent", fed.TypeHubReject, in(s.theirsRef()), fed.HubReject{Target: s.met["local"], Code: 3, Text: "a lie"}, protocol.CodeNotFound},
		{"a refusal of a third cluster's post", fed.TypeHubReject, in(s.theirsRef()), fed.HubReject{Target: fed.EventID{Cluster: s.other.papers.id, Index: 5}, Code: 3}, protocol.CodeForbidden},
	}
}

func (s *stage) liesAboutGroups() []lie {
	in := func(group fed.GroupRef) func(*fed.Event) { return func(e *fed.Event) { e.Group = group } }
	typ := fed.TypeGroupState
	state := func(edit func(*fed.GroupState)) fed.GroupState {
		g := s.state()
		g.Name = "a lie"
		edit(&g)
		return g
	}
	forged := newPapers(2, "forged") // the id of the honest office
	forged.identity.Root[0] ^= 1
	forged.publish(fed.Manifest{Serial: 9, Office: "forged"})
	old := state(func(g *fed.GroupState) { g.Version = 1 })
	return []lie{
		{"the state of the office's group", typ, in(s.oursRef()), state(func(*fed.GroupState) {}), protocol.CodeForbidden},
		{"the state of a third cluster's group", typ, in(s.othersRef()), state(func(*fed.GroupState) {}), protocol.CodeForbidden},
		{"the state of no group", typ, func(*fed.Event) {}, state(func(*fed.GroupState) {}), protocol.CodeInvalid},
		{"a former state", typ, in(s.theirsRef()), old, 0},
		{"a group of too many", typ, in(s.theirsRef()), state(func(g *fed.GroupState) {
			for i := range protocol.MaxGroupMembers + 1 {
				g.Members = append(g.Members, s.user(protocol.UserID(1000+i)))
			}
			g.Profiles = nil
		}), protocol.CodeTooLarge},
		{"a group with more profiles than members", typ, in(s.theirsRef()), state(func(g *fed.GroupState) { g.Members = g.Members[:1] }), protocol.CodeInvalid},
		{"a group of no type", typ, in(s.theirsRef()), state(func(g *fed.GroupState) { g.Kind = 9 }), protocol.CodeInvalid},
		{"a group with a name of two lines", typ, in(s.theirsRef()), state(func(g *fed.GroupState) { g.Name = "a\nlie" }), protocol.CodeInvalid},
		{"another root key of a third cluster", typ, in(s.theirsRef()), state(func(g *fed.GroupState) { g.Manifests = []fed.SignedManifest{forged.identity.Manifest} }), protocol.CodeForbidden},
		{"a manifest that its root has not signed", typ, in(s.theirsRef()), state(func(g *fed.GroupState) {
			m := s.other.papers.identity.Manifest
			m.Signature[3] ^= 1
			g.Manifests = []fed.SignedManifest{m}
		}), protocol.CodeForbidden},
	}
}

func (s *stage) liesAboutPeople() []lie {
	of := func(author fed.UserRef) func(*fed.Event) { return func(e *fed.Event) { e.Author = author } }
	typ := fed.TypeProfile
	profile := func(login string, updated protocol.Time) fed.Profile {
		return fed.Profile{Login: login, Nick: "a lie", Updated: updated}
	}
	return []lie{
		{"the profile of a user of the office", typ, of(s.ann()), profile("ann", 1<<50), protocol.CodeForbidden},
		{"the profile of a user of a third cluster", typ, of(s.eve()), profile("eve", 1<<50), protocol.CodeForbidden},
		{"the profile of an alias", typ, of(fed.UserRef{Cluster: s.office.papers.id, ID: s.mallory}), profile("x", 1<<50), protocol.CodeForbidden},
		{"the profile of nobody", typ, of(fed.UserRef{}), profile("x", 1<<50), protocol.CodeForbidden},
		{"a profile with a name of two lines", typ, of(s.user(1)), profile("a\nlie", 1<<50), protocol.CodeInvalid},
		{"a profile without a name", typ, of(s.user(1)), profile("", 1<<50), protocol.CodeInvalid},
		{"a former profile", typ, of(s.user(1)), profile("mallory1", 1), 0},
	}
}

// liesInForm are events that can't be read, or of a future version.
func (s *stage) liesInForm() []lie {
	to := func(e *fed.Event) { e.Author, e.To = s.user(1), s.ann() }
	return []lie{
		{"a message with another body", fed.TypeMessage, to, []string{"a", "lie"}, protocol.CodeInvalid},
		{"a mark with another body", fed.TypeMark, to, 7, protocol.CodeInvalid},
		{"a deletion with another body", fed.TypeDelete, to, "a lie", protocol.CodeInvalid},
		{"a post with another body", fed.TypePost, func(e *fed.Event) { e.Author, e.Group = s.user(1), s.oursRef() }, "a lie", protocol.CodeInvalid},
		{"an ordered post with another body", fed.TypeHubPost, func(e *fed.Event) { e.Group = s.spare(10) }, "a lie", protocol.CodeInvalid},
		{"a group with another body", fed.TypeGroupState, func(e *fed.Event) { e.Group = s.theirsRef() }, "a lie", protocol.CodeInvalid},
		{"a profile with another body", fed.TypeProfile, func(e *fed.Event) { e.Author = s.user(1) }, "a lie", protocol.CodeInvalid},
		{"an event of type 200", 200, to, "a lie", protocol.CodeInvalid},
		{"presence as an event", 64, to, "a lie", protocol.CodeInvalid},
	}
}
