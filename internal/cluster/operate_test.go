package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// longCut is a mesh whose broken links are broken since long.
type longCut struct {
	mesh
	since time.Time
}

func (l longCut) Peers() []peers.PeerState {
	states := l.mesh.Peers()
	for i := range states {
		if !states[i].Up {
			states[i].Since = l.since
		}
	}
	return states
}

func TestRemove(t *testing.T) {
	for _, c := range []struct {
		name    string
		asked   protocol.NodeID
		remove  protocol.NodeID
		force   bool
		dead    []protocol.NodeID
		want    string
		code    protocol.Code
		message string
	}{
		{name: "a dead one", asked: "n1", remove: "n3", dead: []protocol.NodeID{"n3"}, want: "remove n3"},
		{name: "by a follower", asked: "n2", remove: "n3", want: "remove n3"},
		{name: "itself", asked: "n3", remove: "n3", want: "remove n3"},
		{name: "the leader by itself", asked: "n1", remove: "n1", want: "transfer, remove n1"},
		{name: "the leader by a follower", asked: "n3", remove: "n1", want: "transfer, remove n1"},
		{name: "a living one of two", asked: "n1", remove: "n2", dead: []protocol.NodeID{"n3"}, code: protocol.CodeForbidden, message: "answer now (node n1) are no majority"},
		{name: "passed on and refused", asked: "n2", remove: "n2", dead: []protocol.NodeID{"n3"}, code: protocol.CodeForbidden, message: "--force"},
		{name: "by force", asked: "n1", remove: "n2", force: true, dead: []protocol.NodeID{"n3"}, want: "remove n2"},
		{name: "nobody", asked: "n2", remove: "n9", code: protocol.CodeNotFound, message: "n9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGroup("n1", "n2", "n3")
			all := g.nodes(t, nil)
			g.kill(c.dead...)
			err := all[c.asked].Remove(within(t), c.remove, c.force)
			if c.code != 0 {
				wantCode(t, "remove", err, c.code, c.message)
			} else if err != nil {
				t.Error(err)
			}
			wantHistory(t, g, c.want)
			if c.want != "" && all[g.leader].metric(t, `removals_total{reason="operator"}`) != 1 {
				t.Error("not counted")
			}
		})
	}
	g := newGroup("n1")
	wantCode(t, "the last one", g.nodes(t, nil)["n1"].Remove(within(t), "n1", true), protocol.CodeInvalid, "all there is")
}

// An operator does not have to ask again because the lead was just changing hands, whoever of those asked has noticed that.
func TestRemoveWaitsForALeader(t *testing.T) {
	for _, c := range []struct {
		name   string
		before protocol.NodeID // who leads, as the asked one knows
		after  protocol.NodeID // who leads in the end
		took   time.Duration
		want   string
	}{
		{name: "none", after: "n1", took: 3 * time.Second, want: "remove n3"},
		{name: "none, then the asked one", after: "n2", took: 3 * time.Second, want: "remove n3"},
		{name: "none, then the one to be removed", after: "n3", took: 3 * time.Second, want: "transfer, remove n3"},
		{name: "one that is gone", before: "n1", after: "n2", took: 3 * time.Second, want: "remove n3"},
		{name: "none for long", after: "n1", took: time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup("n1", "n2", "n3")
				all := g.nodes(t, nil)
				g.lead(c.before)
				if c.before != "" {
					g.kill(c.before)
				}
				done := make(chan error, 1)
				go func() { done <- all["n2"].Remove(t.Context(), "n3", c.before != "") }() // ends by what it waits for, received below
				<-time.After(c.took)
				g.lead(c.after)
				synctest.Wait()
				err := <-done
				if c.want == "" {
					wantCode(t, "without a leader", err, protocol.CodeUnavailable, "no leader")
				} else if err != nil {
					t.Error(err)
				}
				wantHistory(t, g, c.want)
			})
		})
	}
}

func TestRemovedNodeIsCutOff(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	for _, n := range all {
		n.look()
	}
	if all["n1"].Removed("n3") || all["n1"].Removed("n9") {
		t.Error("refused are a member, or one that may be a newcomer")
	}
	if err := all["n1"].Remove(within(t), "n3", false); err != nil {
		t.Fatal(err)
	}
	for _, by := range []protocol.NodeID{"n1", "n2"} {
		all[by].look()
		if !all[by].Removed("n3") || len(all[by].port.cut) != 1 || <-all[by].port.cut != "n3" {
			t.Errorf("%s has not cut it off", by)
		}
	}
	if all["n3"].Removed("n1") {
		t.Error("a node outside refuses those inside")
	}
	reply, err := all["n1"].Join(within(t), request("d:7000", "token"))
	if err != nil {
		t.Fatal(err)
	}
	all["n2"].look()
	if err := all["n1"].Remove(within(t), reply.Node, false); err != nil {
		t.Fatal(err)
	}
	if !all["n1"].Removed(reply.Node) || !all["n2"].Removed(reply.Node) {
		t.Error("a node that was removed soon after it joined is let in")
	}
}

func TestNodeLearnsThatItWasRemoved(t *testing.T) {
	told := make(chan struct{}, 2)
	ousted := func(c *Config) { c.Ousted = func() { told <- struct{}{} } }
	g := newGroup("n1", "n2", "n3")
	n3 := g.node(t, "n3", ousted)
	g.nodes(t, nil)
	g.managers["n3"] = n3.Manager
	n3.look()
	g.members = g.members[:2]
	n3.look()
	n3.look()
	if len(told) != 1 || !strings.Contains(n3.logs.String(), "the log says so") {
		t.Errorf("told %d times; log: %s", len(told), n3.logs)
	}
	// It was away when that happened, so in its own log it is a member.
	g = newGroup("n1", "n2", "n3")
	n3 = g.node(t, "n3", ousted)
	<-told
	g.kill("n1")
	g.refusal = "dial: " + peers.ErrRemoved.Error()
	g.managers["n2"] = n3.Manager // is up
	g.lookFor(n3.Manager, time.Minute)
	if len(told) != 0 {
		t.Error("believes one of two")
	}
	g.kill("n2")
	g.lookFor(n3.Manager, 9*time.Second)
	if len(told) != 0 {
		t.Error("believes too early")
	}
	g.lookFor(n3.Manager, 3*time.Second)
	if len(told) != 1 {
		t.Error("does not believe")
	}
}

func TestTransfer(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	for _, c := range []struct{ asked, to, want protocol.NodeID }{{"n1", "n3", "n3"}, {"n1", "n2", "n2"}, {"n2", "n2", "n2"}, {"n3", "", "n1"}} {
		if leader, err := all[c.asked].Transfer(within(t), c.to); err != nil || leader != c.want || g.leader != c.want {
			t.Errorf("%+v: %s leads, %v", c, leader, err)
		}
	}
	g.leader = ""
	_, err := all["n1"].Transfer(within(t), "")
	wantCode(t, "without a leader", err, protocol.CodeUnavailable, "no leader")
	_, err = all["n1"].Handle(within(t), "n2", methodTransfer, mustEncode(t, leadership{}))
	wantCode(t, "passed on to a follower", err, protocol.CodeUnavailable, "no leader")
	g.leader = "n3"
	_, err = all["n1"].Handle(within(t), "n2", methodRemove, mustEncode(t, removal{Node: "n2"}))
	wantCode(t, "passed on to a follower", err, protocol.CodeUnavailable, "does not lead, node n3 does")
}

func mustEncode(t testing.TB, body any) []byte {
	t.Helper()
	b, err := encode(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDrain(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	begun, end := make(chan struct{}, 5), make(chan error, 1)
	for _, n := range all {
		n.self.drain = func(context.Context) error {
			begun <- struct{}{}
			return <-end
		}
	}
	state := func() (draining, drained bool) {
		s := all["n2"].Status(within(t))
		return s.Members[0].Report.Draining, s.Members[0].Report.Drained
	}
	for range 2 { // the second time it is under way
		if err := all["n2"].Drain(within(t), "n1", DrainStays); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	if draining, drained := state(); !draining || drained || all["n1"].metric(t, "draining") != 1 {
		t.Error("not shown")
	}
	all["n1"].look()
	all["n1"].look()
	if g.leader == "n1" {
		t.Error("a node that is drained keeps the lead")
	}
	g.leader = "n1" // it is elected all the same
	g.lookFor(all["n1"].Manager, time.Second)
	if g.leader != "n1" {
		t.Error("hands over without a pause")
	}
	g.lookFor(all["n1"].Manager, leaderPatience)
	if g.leader == "n1" {
		t.Error("hands over only once")
	}
	end <- errors.New("interrupted")
	eventually(t, "given up", func() bool { draining, drained := state(); return !draining && !drained })
	if err := all["n1"].Drain(within(t), "", DrainStays); err != nil {
		t.Fatal(err)
	}
	<-begun
	g.leader = "n1"
	end <- nil
	eventually(t, "no client is left", func() bool { return strings.Contains(all["n1"].logs.String(), "drained: no client") })
	if draining, drained := state(); !draining || drained {
		t.Error("is done although it leads")
	}
	g.lookFor(all["n1"].Manager, 2*leaderPatience)
	eventually(t, "drained", func() bool { _, drained := state(); return drained })
	if len(begun) != 0 {
		t.Error("drained twice at once")
	}
	g.kill("n1", "n2")
	wantCode(t, "with nobody to take them", all["n3"].Drain(within(t), "", DrainStays), protocol.CodeInvalid, "no other node")
	wantCode(t, "a stranger", all["n3"].Drain(within(t), "n7", DrainStays), protocol.CodeNotFound, "n7")
}

func TestSnapshot(t *testing.T) {
	g := newGroup("n1", "n2")
	all := g.nodes(t, nil)
	for _, to := range []protocol.NodeID{"", "n1", "n2"} {
		if err := all["n1"].Snapshot(within(t), to); err != nil {
			t.Error(err)
		}
	}
	if len(all["n1"].self.cuts) != 2 || len(all["n2"].self.cuts) != 1 {
		t.Error("not done where it was asked for")
	}
}

// N beside N-1 and N+1.
func TestOtherVersions(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	_, err := all["n1"].Handle(within(t), "n2", LastMethod, nil)
	wantCode(t, "a method of the future", err, protocol.CodeInvalid, "not known to version v1")
	newer, _ := cbor.Marshal(message{Version: 7, Least: 6})
	_, err = all["n1"].Handle(within(t), "n2", methodRemove, newer)
	wantCode(t, "a message of the future", err, protocol.CodeInvalid, "not known to version v1")
	_, err = all["n1"].Handle(within(t), "n2", methodRemove, []byte("x"))
	wantCode(t, "no message", err, protocol.CodeInvalid, "can't be read")

	body, _ := cbor.Marshal(map[int]any{1: "n9", 9: "added later"})
	careful, _ := cbor.Marshal(message{Version: 7, Least: 1, Body: body})
	_, err = all["n1"].Handle(within(t), "n2", methodRemove, careful)
	wantCode(t, "a newer message that cares for this version", err, protocol.CodeNotFound, "n9")

	// A node that knows none of the methods is there all the same, and counts as alive.
	all["n1"].mesh = older{mesh{g, "n1"}}
	s := all["n1"].Status(within(t))
	if m := s.Members[1]; !m.Reachable || m.Report != nil || !strings.Contains(m.Error, "does not know") {
		t.Errorf("an older node: %+v", m)
	}
	if err := all["n1"].Remove(within(t), "n3", false); err != nil {
		t.Error(err)
	}
}

// older is a mesh to nodes of a program that knows no methods.
type older struct{ mesh }

func (older) Call(context.Context, protocol.NodeID, peers.Lane, uint8, []byte) ([]byte, error) {
	return nil, protocol.Errorf(protocol.CodeInvalid, "this node does not know the method")
}

func TestStatus(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	g.follower("n4", 990)
	all := g.nodes(t, nil)
	g.kill("n3")
	all["n2"].past.note(g.clock(), 980)
	g.pass(time.Second)
	all["n2"].past.note(g.clock(), 1000)
	g.pass(300 * time.Millisecond)
	s := all["n2"].Status(within(t))
	if s.Asked != "n2" || s.Leader != "n1" || len(s.Members) != 4 {
		t.Fatalf("%+v", s)
	}
	for i, want := range []struct {
		role  string
		there bool
		lag   uint64
		ms    int64
		rtt   float64
	}{{roleLeader, true, 0, 0, 1.5}, {roleVoter, true, 0, 0, 0}, {roleVoter, false, 0, 0, 0}, {roleNonvoter, true, 10, 300, 1.5}} {
		m := s.Members[i]
		if m.ID != id(i+1) || m.Address != string(m.ID)+":7000" || m.Role != want.role || m.Reachable != want.there || m.RTTMillis != want.rtt || (m.Report != nil) != want.there {
			t.Errorf("%+v, want %+v", m, want)
			continue
		}
		if !want.there {
			if m.Error != "connection refused" || m.Lag != nil {
				t.Errorf("one that is gone: %+v", m)
			}
			continue
		}
		r := m.Report
		if m.Lag.Entries != want.lag || m.Lag.Millis == nil || *m.Lag.Millis != want.ms || r.Name != "host-"+string(m.ID) || r.Version != "v1" || r.Sessions != 3 || r.FreeDisk != 5<<30 ||
			r.Term != 1 || r.Commit != 1000 || r.UptimeMS != 1300 || len(r.Links) != 3 {
			t.Errorf("%+v: %+v, lag %+v", m, r, m.Lag)
		}
	}
	if by := s.reachedBy("n4"); by == "" {
		t.Error("n4 is reached")
	}
	if by := s.reachedBy("n3"); by != "" {
		t.Errorf("n3 is reached by %s", by)
	}
}

func TestLagBeyondMemory(t *testing.T) {
	var p past
	begin := time.Unix(0, 0)
	if _, ok := p.since(begin, 5); ok {
		t.Error("knows without a memory")
	}
	for n := range 1000 {
		p.note(begin.Add(time.Duration(n)*pastEvery), protocol.Cursor(n))
		p.note(begin.Add(time.Duration(n)*pastEvery+time.Millisecond), protocol.Cursor(n)) // too soon
	}
	end := begin.Add(1000 * pastEvery)
	for _, want := range []struct {
		has protocol.Cursor
		ms  int64
		ok  bool
	}{{999, 0, true}, {998, 250, true}, {900, 24750, true}, {10, 0, false}} {
		if ms, ok := p.since(end, want.has); ms != want.ms || ok != want.ok {
			t.Errorf("%+v: %d, %t", want, ms, ok)
		}
	}
	if len(p.marks) > pastMarks {
		t.Errorf("%d marks", len(p.marks))
	}
}

// The node asked is behind itself, and the entries of an election are nobody's lag.
func TestLagSeenFromBehind(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	g.commit = 1001
	for at, want := range map[protocol.Cursor][2]uint64{1000: {0, 0}, 990: {0, 10}} {
		g.apply("n2", at)
		s := all["n2"].Status(within(t))
		for i, entries := range want {
			m := s.Members[i]
			if m.Lag.Entries != entries || (m.Lag.Millis != nil) != (entries == 0) {
				t.Errorf("%s: %+v, want %d", m.ID, m.Lag, entries)
			}
		}
	}
}

func FuzzHandle(f *testing.F) {
	for _, body := range []any{nothing{}, removal{Node: "n9"}, leadership{}, admission{Node: "n4", TokenID: "t"}, moved{Address: "a:1"}} {
		b, err := encode(body)
		if err != nil {
			f.Fatal(err)
		}
		for method := FirstMethod; method <= methodMoved; method++ {
			f.Add(method, b)
		}
	}
	g := newGroup("n1", "n2")
	n := g.node(f, "n2", nil)
	n.self.cuts = make(chan struct{}, 1<<20)
	n.self.drain = func(context.Context) error { return nil }
	f.Fuzz(func(t *testing.T, method uint8, payload []byte) {
		for len(n.self.cuts) > 0 {
			<-n.self.cuts
		}
		b, err := n.Handle(t.Context(), "n1", method, payload)
		if err != nil {
			var e *protocol.Error
			if !errors.As(err, &e) || e.Code == protocol.CodeInternal {
				t.Errorf("%d: %v", method, err)
			}
			return
		}
		if !slices.Contains([]uint8{methodStatus, methodProgress, methodAdmit, methodDrain, methodSnapshot}, method) || len(b) == 0 {
			t.Errorf("method %d answers", method)
		}
	})
}

// mute is a mesh in which nobody answers.
type mute struct{ mesh }

func (mute) Call(ctx context.Context, _ protocol.NodeID, _ peers.Lane, _ uint8, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, protocol.OutcomeUnknownf("no answer: %w", ctx.Err())
}

// Nodes that hang are asked at the same time, and not for longer than Patience.
func TestStatusOfNodesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup("n1", "n2", "n3")
		n1 := g.nodes(t, nil)["n1"]
		n1.mesh = mute{mesh{g, "n1"}}
		began := time.Now()
		s := n1.Status(t.Context())
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %s", took)
		}
		if !s.Members[0].Reachable || s.Members[1].Reachable || s.Members[2].Reachable || !strings.Contains(s.Members[2].Error, "no answer") {
			t.Errorf("%+v", s.Members)
		}
	})
}
