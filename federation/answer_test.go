package federation

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestRefusalOf: a peer's answer can't end sessions here, have clients repeat for ever, or write on their screens what it likes.
func TestRefusalOf(t *testing.T) {
	for _, c := range []struct {
		answer fed.Answer
		code   protocol.Code
		text   string
	}{
		{fed.Answer{}, protocol.CodeUnspecified, ""},
		{fed.Answer{Code: protocol.CodeForbidden, Text: "no"}, protocol.CodeForbidden, "no"},
		{fed.Answer{Code: protocol.CodeKicked, Text: "no"}, protocol.CodeUnavailable, "no"},
		{fed.Answer{Code: protocol.CodeUnauthenticated}, protocol.CodeUnavailable, "the other office says no"},
		{fed.Answer{Code: 200, Text: "a\x1b[2J"}, protocol.CodeUnavailable, "the other office says no"},
		{fed.Answer{Code: protocol.CodeQuota, Text: strings.Repeat("ä", maxReason)}, protocol.CodeQuota, strings.Repeat("ä", maxReason/2)},
	} {
		err := refusalOf(&c.answer)
		if protocol.CodeOf(err) != c.code || err != nil && err.Error() != c.text {
			t.Errorf("%+v is %v", c.answer, err)
		}
	}
}

// TestTextFor: what the state says names ids of this cluster, and is not for others [FED-AL-2].
func TestTextFor(t *testing.T) {
	for c := range protocol.CodeReplaced + 1 {
		if got := textFor(protocol.Errorf(c, "user 1073741825 of group 7")); strings.ContainsAny(got, "0123456789") {
			t.Errorf("%v: %s", c, got)
		}
	}
	if got := textFor(says(protocol.CodeForbidden, "you are no member")); got != "you are no member" {
		t.Error(got)
	}
}

// TestManyRequests: those above what a peer may ask are refused at once, the others are answered.
func TestManyRequests(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		id, err := fed.ParseClusterID(b.self().Cluster)
		a.ok(err)
		<-time.After(time.Minute)
		var mu sync.Mutex
		answers := map[protocol.Code]int{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := a.m.ask(context.Background(), id, fed.Request{Author: 1, Search: &fed.Search{Text: "ben", Limit: 1}})
				mu.Lock()
				defer mu.Unlock()
				answers[protocol.CodeOf(err)]++
			})
		}
		wg.Wait()
		if answers[protocol.CodeUnspecified] == 0 || answers[protocol.CodeUnspecified] > requestRate || answers[protocol.CodeUnspecified]+answers[protocol.CodeRateLimited] != 50 {
			t.Errorf("answered %v", answers)
		}
		<-time.After(2 * time.Second)
		got := 0
		for range 30 { // one after the other, all within a second
			if _, err := a.m.ask(context.Background(), id, fed.Request{Author: 1}); protocol.CodeOf(err) == protocol.CodeInvalid {
				got++
			}
		}
		if got != requestRate {
			t.Errorf("%d were answered in a second", got)
		}
		<-time.After(2 * time.Second)
		if _, err = a.m.ask(context.Background(), id, fed.Request{Author: 1}); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("a request of an unknown kind: %v", err)
		}
	})
}

// TestLinkLost: who waits for an answer is told at once when the link goes.
func TestLinkLost(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		id, err := fed.ParseClusterID(b.self().Cluster)
		a.ok(err)
		d.net.Path("hangzhou", "beijing").Blackout(time.Second) // the request does not arrive
		began := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { _ = a.m.linkOf(id).wire.Close() })
		_, err = a.m.ask(context.Background(), id, fed.Request{Author: 1, Search: &fed.Search{Text: "ben", Limit: 1}})
		if took := time.Since(began); protocol.CodeOf(err) != protocol.CodeUnavailable || !protocol.IsOutcomeUnknown(err) || took != 500*time.Millisecond {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestFlood: a peer that sends more than can be dealt with loses some of it, or the link, and nothing else.
func TestFlood(t *testing.T) {
	atDesks(t, func(d *desks) {
		a, b := d.pair(fed.AllowAll, fed.AllowAll)
		ann := b.finds(a, "ann")
		id, err := fed.ParseClusterID(b.self().Cluster)
		a.ok(err)
		l := a.m.linkOf(id)
		<-time.After(time.Minute)
		flood := fed.Ephemeral{Presence: make([]fed.Presence, 8000)}
		for i := range flood.Presence {
			flood.Presence[i] = fed.Presence{User: protocol.UserID(1000 + i), Status: statusOnline}
		}
		for range 20 {
			a.ok(l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, flood)))
		}
		a.ok(l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, fed.Ephemeral{Presence: []fed.Presence{{User: a.id("ann"), Status: statusOnline}}})))
		<-time.After(2 * time.Second)
		if got := b.m.ops.dropped[dropRate].Load(); got < 10 {
			t.Errorf("%d frames were dropped", got)
		}
		if got := b.m.ops.dropped[dropUnknown].Load(); got == 0 || got > newsSecond*2 {
			t.Errorf("%d unknown people", got)
		}
		a.logsIn("ann", 1, protocol.ClientMac)
		b.until("what is true comes through", func() bool { return b.sees(ann) })
		many := fed.Interest{Users: make([]protocol.UserID, interestPage)}
		for i := range 2 * mostWanted / interestPage {
			for j := range many.Users {
				many.Users[j] = protocol.UserID(1 + i*interestPage + j)
			}
			if l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindInterest, many)) != nil {
				break
			}
		}
		<-time.After(30 * time.Second)
		for _, at := range b.m.attending() {
			at.mu.Lock()
			if n := len(at.wanted); n > mostWanted {
				t.Errorf("%d are kept", n)
			}
			at.mu.Unlock()
		}
		b.until("the link is up", func() bool { return a.isUp(b) && b.isUp(a) })
	})
}

// FuzzCalls: nothing that another node says makes this one panic.
func FuzzCalls(f *testing.F) {
	f.Add(encodeRecord(callHead{Version: 1, Least: 1, Op: opTrace, Body: encodeRecord(traceCall{"u1-2/3"})}))
	f.Add(encodeRecord(callHead{Version: 1, Least: 1, Code: protocol.CodeQuota, Text: "x", Unknown: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := openAnswer(b)
		if err != nil {
			return
		}
		var s Status
		var u []protocol.User
		_, _ = decodeCall(body, &s), decodeCall(body, &u)
	})
}

// FuzzMessageName: a name that is read is written the same way again.
func FuzzMessageName(f *testing.F) {
	f.Add("u1-2/3")
	f.Add("g5/42")
	f.Fuzz(func(t *testing.T, s string) {
		c, id, ok := parseMessage(s)
		if !ok {
			return
		}
		if again, n, ok := parseMessage(conversationName(c) + "/" + s[strings.Index(s, "/")+1:]); !ok || again != c || n != id || id == 0 {
			t.Errorf("%q is %+v/%d", s, c, id)
		}
	})
}
