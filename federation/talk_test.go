package federation

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
	"teamtalk/raftstore/state"
)

// pair is two offices that are linked.
func (d *desks) pair(allow, allowThere fed.Allow) (a, b *desk) {
	d.Helper()
	a, b = d.desk("hangzhou", 1), d.desk("beijing", 11)
	a.init()
	b.init()
	a.meets(b, allow, allowThere)
	return a, b
}

func (o *desk) logsIn(who string, conn protocol.ConnID, c protocol.ClientType) {
	o.bus.Presence().Join(protocol.LiveSession{User: o.id(who), Conn: conn, Client: c})
	if !c.IsMobile() {
		o.bus.Signal(protocol.PresenceChanged{User: o.id(who), Online: true})
	}
}

func (o *desk) logsOut(who string, conn protocol.ConnID) {
	o.bus.Presence().Leave(o.id(who), conn)
	o.bus.Signal(protocol.PresenceChanged{User: o.id(who), Online: o.bus.Presence().PCOnline(o.id(who))})
}

// sees reports whether clients of this office see somebody of another one as online.
func (o *desk) sees(u protocol.UserID) bool {
	shown := heard[protocol.PresenceChanged](o)
	slices.Reverse(shown)
	i := slices.IndexFunc(shown, func(p protocol.PresenceChanged) bool { return p.User == u })
	return o.bus.Presence().PCOnline(u) && i >= 0 && shown[i].Online
}

// TestPresence: who is online is known at the other office within seconds, and nobody is any more when the link goes [FED-EPH-1].
func TestPresence(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		a.logsIn("ann", 1, protocol.ClientMac)
		a.logsIn("ben", 2, protocol.ClientAndroid)
		ann, ben, cas := b.finds(a, "ann"), b.finds(a, "ben"), b.finds(a, "cas")
		b.until("ann is online at the other office", func() bool { return b.sees(ann) })
		if b.bus.Presence().PCOnline(ben) || !b.bus.Presence().MobileOnline(ben) || b.bus.Presence().PCOnline(cas) {
			t.Error("ben is to be there by his mobile, cas not at all")
		}
		a.logsIn("cas", 3, protocol.ClientWindows)
		a.logsIn("ben", 4, protocol.ClientWeb)
		began := time.Now()
		b.until("cas and ben come", func() bool { return b.sees(cas) && b.sees(ben) })
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		a.logsOut("ann", 1)
		a.logsOut("ben", 4)
		b.until("ann and ben's PC go", func() bool {
			return !b.bus.Presence().PCOnline(ann) && !b.bus.Presence().PCOnline(ben) && b.bus.Presence().MobileOnline(ben) && b.sees(cas)
		})
		if shown := heard[protocol.PresenceChanged](b); shown[len(shown)-1].Online {
			t.Errorf("clients were told %v", shown)
		}
		if n := len(heard[protocol.PresenceChanged](a)); n != 5 { // those of this test's own making: nothing comes back
			t.Errorf("%d announcements at home", n)
		}
		b.ok(b.m.Pause(context.Background(), a.domain()))
		b.until("everybody is unknown", func() bool {
			return !b.bus.Presence().PCOnline(cas) && !b.bus.Presence().MobileOnline(ben) && !b.sees(cas)
		})
		b.ok(b.m.Resume(context.Background(), a.domain(), false))
		b.until("cas is there again", func() bool { return b.sees(cas) })
	})
}

// TestPresenceMissed: what no signal told is told with the next full look.
func TestPresenceMissed(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		ann := b.finds(a, "ann")
		<-time.After(10 * time.Second)
		a.bus.Presence().Join(protocol.LiveSession{User: a.id("ann"), Conn: 1, Client: protocol.ClientMac}) // and no signal
		b.until("ann is online", func() bool { return b.sees(ann) })
	})
}

// TestPresenceRules: presence is told only where both sides' rules allow it, and of whom the other side may know.
func TestPresenceRules(t *testing.T) {
	for _, c := range []struct {
		name       string
		out, taken fed.Allow
		met, shown bool
	}{
		{"not sent", fed.AllowDirect | fed.AllowDirectory, fed.AllowAll, true, false},
		{"not taken", fed.AllowAll, fed.AllowAll &^ fed.AllowPresence, true, false},
		{"stranger", fed.AllowAll &^ fed.AllowDirectory, fed.AllowAll, false, false},
		{"met", fed.AllowAll &^ fed.AllowDirectory, fed.AllowAll, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			atDesks(t, func(d *desks) {
				a, b := d.pair(c.out, c.taken)
				a.logsIn("ann", 1, protocol.ClientMac)
				if c.met { // a word of ann's makes her known there
					bob := a.adds(b, "ben")
					a.do(&protocol.SendMessage{From: a.id("ann"), To: protocol.WithUser(bob), Type: protocol.MsgSingleText, Data: []byte("hi")})
					b.until("ann is known", func() bool { return b.alias(a, "ann") != 0 })
				} else {
					b.adds(a, "ann") // by guessing her number
				}
				<-time.After(3 * time.Minute)
				if got := b.sees(b.alias(a, "ann")); got != c.shown {
					t.Errorf("ann is seen: %v", got)
				}
				at := a.m.attending()[0]
				at.mu.Lock()
				wanted := len(at.wanted)
				at.mu.Unlock()
				if (wanted > 0) != c.shown {
					t.Errorf("the other side is told of %d people", wanted)
				}
				if !c.taken.Has(fed.AllowPresence) { // and if it is told all the same
					a.ok(at.l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, fed.Ephemeral{Presence: []fed.Presence{{User: a.id("ann"), Status: statusOnline}}})))
					b.until("it is dropped", func() bool { return b.m.ops.dropped[dropPolicy].Load() == 1 })
				}
				if got := b.bus.Presence().PCOnline(b.alias(a, "ann")); got != c.shown {
					t.Errorf("ann is in the table: %v", got)
				}
			})
		})
	}
}

// adds gives somebody of another office an alias without asking there.
func (o *desk) adds(p *desk, who string) protocol.UserID {
	o.Helper()
	id, err := fed.ParseClusterID(p.self().Cluster)
	o.ok(err)
	got, _ := o.do(&protocol.AddAlias{Cluster: id, User: uint32(p.id(who)), Profile: encodeRecord(fed.Profile{Login: who})}).(protocol.AddAliasResult)
	return got.User
}

// TestSignals: typing goes both ways under the right names, not too often, and not where direct messages are not allowed [FED-EPH-2].
func TestSignals(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		ben, ann := a.finds(b, "ben"), b.finds(a, "ann")
		says := func(o *desk, from, to protocol.UserID, what string) {
			o.bus.Signal(protocol.P2PSent{From: from, To: to, Data: what, Origin: 7})
		}
		arrived := func(o *desk, from protocol.UserID) (all []string) {
			for _, s := range heard[protocol.P2PSent](o) {
				if s.From == from {
					all = append(all, s.Data)
				}
			}
			return all
		}
		says(a, a.id("ann"), ben, "typing")
		b.until("it arrives", func() bool { return len(arrived(b, ann)) == 1 })
		if got := heard[protocol.P2PSent](b)[0]; got != (protocol.P2PSent{From: ann, To: b.id("ben"), Data: "typing"}) {
			t.Errorf("it arrives as %+v", got)
		}
		says(b, b.id("ben"), ann, "typing too")
		a.until("the answer arrives", func() bool { return len(arrived(a, ben)) == 1 })
		<-time.After(2 * time.Second)
		for i := range 50 {
			says(a, a.id("ann"), ben, fmt.Sprint(i))
		}
		says(a, a.id("cas"), ben, "of another user")
		says(a, a.id("dan"), ben, strings.Repeat("x", mostSignal+1))
		says(a, a.finds(b, "dan"), ben, "of somebody abroad") // as what came in looks: an alias is never sent [FED-AL-2]
		<-time.After(5 * time.Second)
		if got := arrived(b, ann); len(got) != 1+signalsSecond || got[20] != "19" {
			t.Errorf("%d arrived: %v", len(got), got)
		}
		if cas := b.alias(a, "cas"); cas != 0 && len(arrived(b, cas)) != 0 {
			t.Error("of somebody who is not known there")
		}
		if a.m.ops.dropped[dropRate].Load() != 31 || b.m.ops.dropped[dropUnknown].Load() != 1 {
			t.Errorf("%d and %d were dropped", a.m.ops.dropped[dropRate].Load(), b.m.ops.dropped[dropUnknown].Load())
		}
		if len(heard[protocol.P2PSent](a)) != 55 || len(heard[protocol.P2PSent](b)) != 22 {
			t.Errorf("%d and %d signals in all: one has come back", len(heard[protocol.P2PSent](a)), len(heard[protocol.P2PSent](b)))
		}
		in := fed.AllowAll &^ fed.AllowDirect
		b.ok(b.m.SetPolicy(context.Background(), a.domain(), Policy{In: &in}))
		<-time.After(time.Minute)
		says(a, a.id("ann"), ben, "not allowed")
		<-time.After(5 * time.Second)
		if got := arrived(b, ann); len(got) != 1+signalsSecond {
			t.Errorf("what is not allowed arrives: %v", got)
		}
	})
}

// TestSearch: people of other offices are found by their names, where the directory is shared, and can be written to.
func TestSearch(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		c := d.desk("lisbon", 21)
		c.init()
		a.meets(c, fed.AllowAll&^fed.AllowDirectory, fed.AllowAll)
		found := func(o *desk, text string, limit int) (names []string) {
			users, err := o.m.Search(ctx, o.id("ann"), text, limit)
			o.ok(err)
			for _, u := range users {
				if !u.Remote || u.ID < protocol.MaxLocalID {
					t.Errorf("found %+v", u)
				}
				names = append(names, u.Address)
			}
			return names
		}
		if got := found(a, " Ben", 0); !slices.Equal(got, []string{"ben@beijing.example"}) {
			t.Errorf("found %v", got)
		}
		for text, want := range map[string]int{"ben@beijing.example": 1, "Ben@beij": 1, "ben@lisbon.example": 0, "@beijing.example": 0} {
			if got := found(a, text, 0); len(got) != want {
				t.Errorf("%q finds %v", text, got)
			}
		}
		if got := found(a, "k ca", 0); !slices.Equal(got, []string{"cas@beijing.example"}) { // a part of "Nick cas"
			t.Errorf("found %v", got)
		}
		if got := found(a, "nobody", 3); len(got) != 3 {
			t.Errorf("found %v", got)
		}
		if got := found(a, "nobody at all", 0); len(got) != 0 {
			t.Errorf("found %v", got)
		}
		if got := found(c, "ben", 0); len(got) != 0 { // a does not share with c
			t.Errorf("found %v", got)
		}
		_, err := a.m.Search(ctx, 1, "", 0)
		a.refuses(protocol.CodeInvalid, err)

		status := protocol.StatusLeft
		nick := "Benjamin"
		b.do(&protocol.EditUser{User: b.id("cas"), Status: &status})
		b.do(&protocol.EditUser{User: b.id("ben"), Nick: &nick})
		if got := found(a, "k cas", 0); len(got) != 0 {
			t.Errorf("who has left is found: %v", got)
		}
		if got := found(a, "benjam", 0); len(got) != 1 {
			t.Errorf("found %v by the new name", got)
		}
		head := a.store.Applied()
		found(a, "benjam", 0)
		if now := a.store.Applied(); now != head {
			t.Errorf("a search for whom is known wrote %d entries", now-head)
		}
		a.do(&protocol.SendMessage{From: a.id("ann"), To: protocol.WithUser(a.alias(b, "ben")), Type: protocol.MsgSingleText, Data: []byte("hello")})
		b.until("it arrives", func() bool {
			ann := b.alias(a, "ann")
			got, err := b.store.History(b.id("ben"), protocol.WithUser(ann), 0, 10)
			return ann != 0 && err == nil && len(got) == 1 && string(got[0].Data) == "hello"
		})
		shared := fed.AllowAll
		a.ok(a.m.SetPolicy(ctx, c.domain(), Policy{In: &shared, Out: &shared}))
		c.ok(c.m.SetPolicy(ctx, a.domain(), Policy{In: &shared, Out: &shared}))
		<-time.After(time.Minute)
		a.until("the links are up", func() bool { return a.isUp(b) && a.isUp(c) })
		d.net.Path("hangzhou", "beijing").Blackout(30 * time.Second)
		began := time.Now()
		if got := found(a, "ben", 0); !slices.Equal(got, []string{"ben@lisbon.example"}) || time.Since(began) != searchWait {
			t.Errorf("found %v after %v beside a peer that is silent", got, time.Since(began))
		}
		a.ok(a.m.Pause(ctx, b.domain()))
		a.until("the link is down", func() bool { return !a.isUp(b) })
		if got := found(a, "ben", 0); slices.Contains(got, "ben@beijing.example") {
			t.Errorf("found %v without a link", got)
		}
	})
}

// TestDirectory: who is called so comes before whose name begins so, and that before whose holds it; a long pause frees the memory.
func TestDirectory(t *testing.T) {
	atDesks(t, func(d *desks) {
		a := d.desk("hangzhou", 1)
		var add protocol.AddUsers
		for _, n := range []string{"xbob", "bobby", "Bob", "carl"} {
			add.Users = append(add.Users, protocol.NewUser{User: protocol.User{Name: n, Domain: map[string]string{"carl": "bobo"}[n]}})
		}
		a.do(&add)
		var dir directory
		got, err := dir.find(a.store, "BOB ", 10)
		a.ok(err)
		if want := []protocol.UserID{a.id("Bob"), a.id("bobby"), a.id("carl"), a.id("xbob")}; !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
		if got, err := dir.find(a.store, "bob", 2); err != nil || len(got) != 2 {
			t.Error(got, err)
		}
		for range searchRate - 2 {
			_, err := dir.find(a.store, "bob", 2)
			a.ok(err)
		}
		_, err = dir.find(a.store, "bob", 2)
		a.refuses(protocol.CodeRateLimited, err)
		<-time.After(searchAfter)
		dir.forget(time.Now())
		if dir.entries != nil {
			t.Error("nothing is forgotten")
		}
		if got, err := dir.find(a.store, "bobby", 2); err != nil || len(got) != 1 {
			t.Error(got, err)
		}
	})
}

// TestChangeMembers: members abroad change a group through its hub, as far as they may [FED-HUB-1].
func TestChangeMembers(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		c := d.desk("lisbon", 21)
		c.init()
		a.meets(c, fed.AllowAll, fed.AllowAll)
		ben, dan := a.finds(b, "ben"), a.finds(c, "dan")
		make := func(kind protocol.GroupType) (protocol.GroupID, protocol.GroupID) { return lunch(a, b, ben, kind) }
		temp, there := make(protocol.GroupTemp)
		ask := func(who string, g protocol.GroupID, change protocol.MemberChange, users ...protocol.UserID) error {
			return b.m.ChangeMembers(ctx, b.id(who), g, change, users)
		}
		// Somebody of the asker's whom the hub has never met, and somebody of the hub's.
		b.ok(ask("ben", there, protocol.MembersAdd, b.id("cas"), b.finds(a, "cas")))
		if got := members(a, temp); len(got) != 4 || a.alias(b, "cas") == 0 || !slices.Contains(got, a.id("cas")) {
			t.Errorf("members at the hub: %v", got)
		}
		who, err := a.store.UserByID(a.alias(b, "cas"))
		a.ok(err)
		if who.Nick != "Nick cas (beijing)" {
			t.Errorf("he is shown as %q", who.Nick)
		}
		b.until("the others see them", func() bool { return len(members(b, there)) == 4 })
		b.refuses(protocol.CodeForbidden, ask("dan", there, protocol.MembersAdd, b.id("dan"))) // no member
		said := b.refuses(protocol.CodeForbidden, ask("ben", there, protocol.MembersDel, b.alias(a, "cas")))
		if strings.Contains(said, fmt.Sprint(uint32(ben))) || strings.Contains(said, fmt.Sprint(temp)) {
			t.Errorf("an id of the hub's is told: %s", said)
		}
		b.refuses(protocol.CodeInvalid, ask("ben", there, protocol.MembersAdd, b.id("cas"))) // is in
		b.refuses(protocol.CodeNotFound, ask("ben", 5, protocol.MembersAdd, b.id("cas")))
		b.refuses(protocol.CodeNotFound, ask("ben", there, protocol.MembersAdd, 999))

		asksUnchecked(a, b, temp)

		normal, thereToo := make(protocol.GroupNormal)
		b.refuses(protocol.CodeForbidden, ask("ben", thereToo, protocol.MembersAdd, b.id("nobody1")))
		if a.alias(b, "nobody1") != 0 {
			t.Error("a refused request has given somebody an alias")
		}
		a.do(&protocol.ChangeMembers{Actor: a.id("ann"), Group: temp, Change: protocol.MembersAdd, Members: []protocol.UserID{dan}})

		a.ok(a.m.Pause(ctx, b.domain()))
		b.until("the link is down", func() bool { return !b.isUp(a) })
		began := time.Now()
		if said := b.refuses(protocol.CodeUnavailable, ask("ben", there, protocol.MembersAdd, b.id("dan"))); !strings.Contains(said, "hangzhou") || time.Since(began) > time.Second {
			t.Errorf("after %v: %s", time.Since(began), said)
		}
		b.refuses(protocol.CodeForbidden, ask("dan", there, protocol.MembersAdd, b.id("dan"))) // the hub is not needed for that
		b.ok(ask("ben", thereToo, protocol.MembersDel, b.id("ben")))                           // leaving needs nobody
		a.ok(a.m.Resume(ctx, b.domain(), false))
		a.until("the hub hears of it", func() bool { return len(members(a, normal)) == 1 })

		in := fed.AllowDirect
		a.ok(a.m.SetPolicy(ctx, b.domain(), Policy{In: &in}))
		a.until("the rules are in force", func() bool {
			return strings.Contains(b.refuses(protocol.CodeOf(ask("ben", there, protocol.MembersAdd, b.id("dan"))), ask("ben", there, protocol.MembersAdd, b.id("dan"))), "don't allow groups")
		})
	})
}

// lunch makes a group with ann of a, which is its hub, and ben of b: its number at both.
func lunch(a, b *desk, ben protocol.UserID, kind protocol.GroupType) (here, there protocol.GroupID) {
	maker := a.id("ann")
	if kind == protocol.GroupNormal {
		maker = 0 // the operator
	}
	made, _ := a.do(&protocol.CreateGroup{Actor: maker, Type: kind, Name: "Lunch", Members: []protocol.UserID{a.id("ann"), ben}}).(protocol.CreateGroupResult)
	b.until("the group is known", func() bool {
		groups, err := b.store.GroupsOf(b.id("ben"))
		b.ok(err)
		if len(groups) > 0 {
			there = groups[len(groups)-1].ID
		}
		return there != 0 && len(groups) == int(made.Group)
	})
	return made.Group, there
}

func members(o *desk, g protocol.GroupID) []protocol.UserID {
	got, err := o.store.Members(g)
	o.ok(err)
	return got
}

// asksUnchecked has b ask a for changes of its group that b itself would refuse.
func asksUnchecked(a, b *desk, temp protocol.GroupID) {
	hub, err := fed.ParseClusterID(a.self().Cluster)
	b.ok(err)
	here, err := fed.ParseClusterID(b.self().Cluster)
	b.ok(err)
	for _, who := range []string{"dan", "nobody3"} { // a cluster that does not look itself
		_, err = b.m.ask(context.Background(), hub, fed.Request{Author: b.id(who), Change: &fed.ChangeMembers{Group: temp, Change: protocol.MembersAdd,
			Users: []fed.UserRef{{Cluster: here, ID: b.id("nobody2")}}, Profiles: []fed.Profile{{Login: "nobody2"}}}})
		if said := b.refuses(protocol.CodeForbidden, err); said != "you are no member of this group" || a.alias(b, "nobody2") != 0 {
			b.Errorf("%s: %s, alias %d", who, said, a.alias(b, "nobody2"))
		}
	}
	asksForTooMany(a, b, hub, here, temp)
}

// asksForTooMany has b ask a for more people than a group has room for: none of them is given an alias.
func asksForTooMany(a, b *desk, hub, here fed.ClusterID, temp protocol.GroupID) {
	ask := fed.ChangeMembers{Group: temp, Change: protocol.MembersAdd}
	for u := range protocol.UserID(protocol.MaxGroupMembers) {
		ask.Users, ask.Profiles = append(ask.Users, fed.UserRef{Cluster: here, ID: 10_000 + u}), append(ask.Profiles, fed.Profile{Login: "x"})
	}
	_, err := b.m.ask(context.Background(), hub, fed.Request{Author: b.id("ben"), Change: &ask})
	b.refuses(protocol.CodeTooLarge, err)
	if got, err := a.store.AliasOf(ask.Users[0]); err != nil || got != 0 {
		b.Errorf("somebody who is not let in is called %d, %v", got, err)
	}
}

// TestSlowHub: a hub that does not answer costs 3 seconds, and nobody is told that nothing has happened.
func TestSlowHub(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		ben := a.finds(b, "ben")
		a.do(&protocol.CreateGroup{Actor: a.id("ann"), Type: protocol.GroupTemp, Name: "Lunch", Members: []protocol.UserID{a.id("ann"), ben}})
		b.until("the group is known", func() bool { g, err := b.store.GroupsOf(b.id("ben")); return err == nil && len(g) == 1 })
		g, err := b.store.GroupsOf(b.id("ben"))
		b.ok(err)
		d.net.Path("hangzhou", "beijing").Blackout(time.Minute)
		began := time.Now()
		err = b.m.ChangeMembers(context.Background(), b.id("ben"), g[0].ID, protocol.MembersAdd, []protocol.UserID{b.id("cas")})
		if b.refuses(protocol.CodeUnavailable, err); !protocol.IsOutcomeUnknown(err) || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// follower is a state of which this node is not the leader.
type follower struct{ *state.Store }

// Head says so.
func (f follower) Head() (protocol.Cursor, bool) { h, _ := f.Store.Head(); return h, false }

// TestForwarded: what needs the links is done by the node that leads, whichever is asked; refusals come back as they are.
func TestForwarded(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		var calls atomic.Int64
		other, err := New(Config{Node: "n2", State: follower{a.store}, Dialer: a, Leader: func(ctx context.Context, payload []byte) ([]byte, error) {
			calls.Add(1)
			return a.m.Handle(ctx, bytes.Clone(payload))
		}})
		a.ok(err)
		other.Start()
		defer other.Close()
		here, err := a.m.Status(ctx)
		a.ok(err)
		there, err := other.Status(ctx)
		a.ok(err)
		if len(there.Links) != 1 || !there.Links[0].Up || there.Leader != "n1" || !there.Links[0].Changed.Equal(here.Links[0].Changed) ||
			there.Self.Cluster != here.Self.Cluster || there.Links[0].Via != "tls" {
			t.Errorf("status %+v, at the leader %+v", there, here)
		}
		users, err := other.Search(ctx, a.id("ann"), "ben", 0)
		if err != nil || len(users) != 1 || users[0].Address != "ben@beijing.example" {
			t.Errorf("found %v, %v", users, err)
		}
		_, err = other.Trace(ctx, "g7/1")
		a.refuses(protocol.CodeNotFound, err)
		a.refuses(protocol.CodeNotFound, other.ChangeMembers(ctx, a.id("ann"), protocol.MaxLocalID+9, protocol.MembersAdd, nil))
		if calls.Load() != 4 {
			t.Errorf("%d calls", calls.Load())
		}
		a.ok(other.Pause(ctx, b.domain())) // by the log, and the leader follows
		a.until("the link is down", func() bool { return !a.isUp(b) })

		if _, err := other.Handle(ctx, encodeRecord(callHead{Version: 1, Least: 1, Op: opStatus})); err != nil {
			t.Error(err)
		}
		for _, c := range []struct {
			payload []byte
			code    protocol.Code
		}{
			{[]byte("nonsense"), protocol.CodeInvalid},
			{encodeRecord(callHead{Version: 9, Least: 9, Op: opStatus}), protocol.CodeUnavailable},
			{encodeRecord(callHead{Version: 1, Least: 1, Op: 200}), protocol.CodeUnavailable},
		} {
			got, err := a.m.Handle(ctx, c.payload)
			a.ok(err)
			_, err = openAnswer(got)
			a.refuses(c.code, err)
		}
		got, err := other.Handle(ctx, encodeRecord(callHead{Version: 1, Least: 1, Op: opStatus}))
		a.ok(err)
		_, err = openAnswer(got)
		a.refuses(protocol.CodeUnavailable, err) // it does not lead
	})
}

// TestStatusAndTrace: what waits, what was sent and what arrived is shown, and found again from both sides.
func TestStatusAndTrace(t *testing.T) {
	atDesks(t, func(d *desks) {
		ctx := context.Background()
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		ben := a.finds(b, "ben")
		a.ok(a.m.Pause(ctx, b.domain()))
		a.until("the link is down", func() bool { return !a.isUp(b) })
		a.do(&protocol.SendMessage{From: a.id("ann"), To: protocol.WithUser(ben), Type: protocol.MsgSingleText, Data: []byte("hello")})
		<-time.After(time.Minute)
		s, err := a.m.Status(ctx)
		a.ok(err)
		l := s.Links[0]
		if l.Up || l.State != "paused" || l.Depth != 2 || l.Bytes == 0 || l.OldestAge < time.Minute || l.OldestAge > 2*time.Minute { // her profile and her word
			t.Errorf("status %+v", l)
		}
		name := fmt.Sprintf("u%d-%d/1", ben, a.id("ann"))
		v, err := a.m.Trace(ctx, name)
		a.ok(err)
		if v.State != "pending" || len(v.Steps) != 1 || v.Steps[0].State != "waiting" || v.Steps[0].Peer != b.domain() || v.Origin != a.domain() || v.Author != uint32(a.id("ann")) {
			t.Errorf("traced as %+v", v)
		}
		a.ok(a.m.Resume(ctx, b.domain(), false))
		a.until("it is delivered", func() bool {
			v, err = a.m.Trace(ctx, v.Event)
			a.ok(err)
			return v.State == "delivered" && v.Steps[0].State == "acknowledged"
		})
		got, err := b.m.Trace(ctx, v.Event)
		b.ok(err)
		if got.State != "received" || got.Origin != a.domain() || got.Author != uint32(b.alias(a, "ann")) || got.Conversation != fmt.Sprintf("u%d-%d", b.id("ben"), b.alias(a, "ann")) {
			t.Errorf("traced there as %+v", got)
		}
		for _, bad := range []string{"", "x", "u1/2", "u1-1/2", "g1-2/3", "g1/0", "u1-2/", "/3", "1.2@x"} {
			_, err := a.m.Trace(ctx, bad)
			a.refuses(protocol.CodeInvalid, err)
		}
		letters, err := a.m.DeadLetters(ctx, b.domain(), 0)
		if err != nil || len(letters) != 0 {
			t.Error(letters, err)
		}
	})
}

// TestLate: authors are told after 15 minutes, though nothing else happens, or something else is due much later [FED-AGE-1].
func TestLate(t *testing.T) {
	for name, before := range map[string][]string{"nothing else": nil, "something else": {"is kept for a day"}} {
		t.Run(name, func(t *testing.T) { atDesks(t, func(d *desks) { isLate(d, before) }) })
	}
}

// isLate has somebody say something that arrives, and then something that does not.
func isLate(d *desks, before []string) {
	ctx := context.Background()
	a, b := d.pair(fed.AllowAll, fed.AllowAll)
	ben := a.finds(b, "ben")
	say := func(text string) {
		a.do(&protocol.SendMessage{From: a.id("ann"), To: protocol.WithUser(ben), Type: protocol.MsgSingleText, Data: []byte(text)})
	}
	for _, text := range before {
		say(text)
	}
	<-time.After(20 * time.Minute) // nothing is waiting
	a.ok(a.m.Pause(ctx, b.domain()))
	<-time.After(time.Minute)
	say("hello")
	state := func() string {
		v, err := a.m.Trace(ctx, fmt.Sprintf("u%d-%d/%d", a.id("ann"), ben, len(before)+1))
		a.ok(err)
		return v.State
	}
	<-time.After(14 * time.Minute)
	if got := state(); got != "pending" {
		d.Errorf("after 14 minutes: %s", got)
	}
	<-time.After(90 * time.Second)
	if got := state(); got != "delayed" {
		d.Errorf("after 15 minutes: %s", got)
	}
}
