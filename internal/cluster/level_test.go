package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/protocol"
)

// levels is the replicated level as one node sees it.
type levels struct {
	*group
	self  protocol.NodeID
	state *raised
	most  protocol.Level
}

// raised is what all share.
type raised struct {
	mu    sync.Mutex // guards what follows
	level protocol.Level
	by    []protocol.NodeID // who raised it, or tried to
}

func (l *levels) Level() protocol.Level {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return l.state.level
}

func (l *levels) HighestLevel() protocol.Level { return l.most }

func (l *levels) RaiseLevel(_ context.Context, to protocol.Level) error {
	l.state.mu.Lock()
	l.state.by = append(l.state.by, l.self)
	l.state.mu.Unlock()
	return l.change(l.self, "raise", func() {
		l.state.mu.Lock()
		defer l.state.mu.Unlock()
		l.state.level = max(l.state.level, to)
	})
}

// levelled is a group whose nodes know levels; those that are missing have a program without any.
func levelled(t *testing.T, most map[protocol.NodeID]protocol.Level, members ...protocol.NodeID) (*group, *raised, map[protocol.NodeID]*node) {
	g, at := newGroup(members...), &raised{level: 1}
	all := map[protocol.NodeID]*node{}
	for _, id := range members {
		all[id] = g.node(t, id, func(c *Config) {
			if most[id] > 0 {
				c.Levels = &levels{group: g, self: id, state: at, most: most[id]}
			}
		})
	}
	return g, at, all
}

// silent is the store of a node that has a link, and tells nothing.
type silent struct{ Store }

func (silent) Position() (Position, error) { return Position{}, errors.New("broken") }

// TestRaiseLevel: the leader raises the level when every member is known to know it, and not before.
func TestRaiseLevel(t *testing.T) {
	for name, tt := range map[string]struct {
		most map[protocol.NodeID]protocol.Level
		set  func(*group)
		want protocol.Level
		held string // by whom, and why
		mend func(*group, map[protocol.NodeID]*node)
		then protocol.Level
	}{
		"all know": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 2, "n3": 2}, want: 2},
		"one is behind": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 1, "n3": 2}, want: 1, held: `n2: version "v1" knows level 1`,
			mend: func(_ *group, all map[protocol.NodeID]*node) { all["n2"].cfg.Levels.(*levels).most = 2 }, then: 2},
		"one knows nothing of levels": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n3": 2}, want: 1, held: `n2: version "v1" knows level 1`},
		"one is down": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 2, "n3": 2}, want: 1, held: "n3: it can't be asked",
			set: func(g *group) { g.kill("n3") }, mend: func(g *group, _ map[protocol.NodeID]*node) { delete(g.dead, "n3") }, then: 2},
		"one without a vote is down": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 2, "n3": 2}, want: 1, held: "n4: it can't be asked",
			set:  func(g *group) { g.follower("n4", 0); g.kill("n4") },
			mend: func(g *group, _ map[protocol.NodeID]*node) { g.members = g.members[:3] }, then: 2},
		"one does not say": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 2, "n3": 2}, want: 1, held: "n3: it can't be asked",
			set:  func(g *group) { g.managers["n3"].cfg.Store = silent{g.managers["n3"].cfg.Store} },
			mend: func(g *group, all map[protocol.NodeID]*node) { all["n3"].cfg.Store = store{g, "n3"} }, then: 2},
		"to what all know":     {most: map[protocol.NodeID]protocol.Level{"n1": 5, "n2": 3, "n3": 4}, want: 3, held: `n2: version "v1" knows level 3`},
		"the leader is behind": {most: map[protocol.NodeID]protocol.Level{"n1": 1, "n2": 2, "n3": 2}, want: 1, held: `n1: version "v1" knows level 1`},
		"it fails once": {most: map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 2, "n3": 2}, want: 2,
			set: func(g *group) { g.fail = protocol.Errorf(protocol.CodeUnavailable, "the lead was lost") }},
	} {
		t.Run(name, func(t *testing.T) {
			g, at, all := levelled(t, tt.most, "n1", "n2", "n3")
			if tt.set != nil {
				tt.set(g)
			}
			for _, n := range []protocol.NodeID{"n2", "n3"} {
				g.lookFor(all[n].Manager, 5*time.Second) // a follower decides nothing
			}
			if at.by != nil {
				t.Fatalf("a follower tried: %v", at.by)
			}
			g.lookFor(all["n1"].Manager, 5*time.Second)
			if at.level != tt.want {
				t.Errorf("level %d, want %d", at.level, tt.want)
			}
			s := all["n1"].Status(within(t))
			var held []string
			for _, h := range s.HeldBack {
				held = append(held, string(h.Node)+": "+h.Why)
			}
			if got := strings.Join(held, "\n"); s.Level != tt.want || len(held) > 1 || (tt.held == "") != (got == "") || !strings.HasPrefix(got, tt.held) {
				t.Errorf("status: level %d of %d, held back by %q, want %q", s.Level, s.HighestLevel, got, tt.held)
			}
			if all["n1"].metric(t, "level") != float64(tt.want) {
				t.Error("the metric")
			}
			if n := strings.Count(all["n1"].logs.String(), "new features wait"); n > 1 {
				t.Errorf("said %d times why", n)
			}
			if tt.mend == nil {
				return
			}
			g.mu.Lock()
			tt.mend(g, all)
			g.mu.Unlock()
			g.lookFor(all["n1"].Manager, 5*time.Second)
			if at.level != tt.then {
				t.Errorf("level %d afterwards, want %d", at.level, tt.then)
			}
		})
	}
}

// TestRaisingIsNotTriedAllTheTime but once a second.
func TestRaisingIsNotTriedAllTheTime(t *testing.T) {
	g, at, all := levelled(t, map[protocol.NodeID]protocol.Level{"n1": 2}, "n1")
	g.fail = protocol.Errorf(protocol.CodeUnavailable, "the lead was lost")
	g.lookFor(all["n1"].Manager, time.Second)
	if at.level != 1 || len(at.by) != 1 || all["n1"].metric(t, `changes_failed_total{change="raise"}`) != 1 {
		t.Errorf("level %d after %d attempts", at.level, len(at.by))
	}
	g.lookFor(all["n1"].Manager, time.Second)
	if at.level != 2 {
		t.Errorf("level %d in the end", at.level)
	}
}

// TestLevelOfALoneNode is raised at once: a client may come in the next moment.
func TestLevelOfALoneNode(t *testing.T) {
	_, at, all := levelled(t, map[protocol.NodeID]protocol.Level{"n1": 2}, "n1")
	all["n1"].look()
	if at.level != 2 {
		t.Errorf("level %d after the first look", at.level)
	}
}

// TestNewcomersLevel: a node that would have to stop is not let in; its token stays good. One that only holds back is.
func TestNewcomersLevel(t *testing.T) {
	g, at, all := levelled(t, map[protocol.NodeID]protocol.Level{"n1": 2, "n2": 2}, "n1", "n2")
	r := request("d:7000", "token1")
	r.Version = "v0"
	if _, err := all["n1"].Join(within(t), r); err != nil { // an old one, and the cluster is at level 1
		t.Fatal(err)
	}
	g.lookFor(all["n1"].Manager, 5*time.Second)
	if at.level != 1 {
		t.Errorf("level %d, and a newcomer does not know it", at.level)
	}
	at.level = 2
	for _, knows := range []protocol.Level{0, 1} {
		r = request("e:7000", "token2")
		r.Level, r.Version = knows, "v0"
		_, err := all["n2"].Join(within(t), r) // which passes it on
		wantCode(t, "an old node", err, protocol.CodeForbidden, `the cluster uses level 2, and the new node can't: version "v0" knows level 1, or is held there; run version v1`)
	}
	for _, knows := range []protocol.Level{2, 3} {
		r = request("new-"+string(id(int(knows)))+":7000", "token"+string(id(int(knows))))
		r.Level = knows
		if knows == 2 {
			r.TokenID = "token2"
		}
		if _, err := all["n1"].Join(within(t), r); err != nil {
			t.Errorf("a node that knows level %d: %v", knows, err)
		}
	}
}
