//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/internal/simnet/netns"
	"teamtalk/protocol"

	"github.com/anishathalye/porcupine"
)

// actUsers are the users of an act; each act has others, so that its conversations begin empty.
const actUsers = 8

// An act is some conversations, people on all nodes who take part in them in every way there is, and faults meanwhile.
type act struct {
	name       string
	stages     []*stage
	chats      []map[uint32]Chat // of each stage, the conversation as its users name it
	characters []*character
}

// TestLinearizable: people say things in several conversations, some with client_msg_ids that they repeat or say on two nodes at once, move their read positions
// and look at histories and unread counts, while nodes die, stand still, lose each other and hand over the lead. For each conversation there is an order
// of all that in which every answer is right and nothing comes before what had ended when it began; what a session sees never shrinks
// and holds what it was acked; ids are dense, create_time never falls, and all nodes have the same [TT-MSG-4] [TT-MSG-8] [TT-MSG-10] [TT-SESS-11].
func TestLinearizable(t *testing.T) {
	together(t)
	acts, faults := 1, 4
	if soak() {
		acts, faults = 40, 8
	}
	random := seed(t)
	config := ClusterConfig{Users: actUsers * acts, Args: quickPasswords()}
	var s *site
	var c *Cluster
	if netns.Missing() == nil {
		s = newSite(t, 3)
		c = s.startWith(t, config)
	} else {
		c = StartCluster(t, 3, config)
	}
	for n := range acts {
		draw := random.Uint64()
		if !t.Run(fmt.Sprintf("act %d", n+1), func(t *testing.T) { playAct(t, c, s, n, faults, draw) }) {
			t.Fatalf("act %d of %d failed", n+1, acts)
		}
	}
}

func playAct(t *testing.T, c *Cluster, s *site, number, faults int, draw uint64) {
	random := rand.New(rand.NewPCG(draw, draw))
	ctx, cancel := limited(t, time.Duration(faults)*clusterPatience)
	defer cancel()
	a := c.cast(ctx, t, number)
	stop := make(chan struct{})
	var living sync.WaitGroup
	for i, ch := range a.characters {
		own := rand.New(rand.NewPCG(draw, uint64(i)))
		living.Go(func() { ch.live(ctx, stop, own) }) // ends after stop
	}
	ending := sync.OnceFunc(func() {
		close(stop)
		living.Wait()
		for _, ch := range a.characters {
			for _, v := range ch.voices {
				v.close()
			}
		}
	})
	defer ending()
	for _, name := range chooseFaults(random, s != nil, faults) {
		<-time.After(time.Duration(200+random.IntN(600)) * time.Millisecond)
		began := time.Now()
		playFault(t, c, s, name, random)
		c.WaitHealthy(t)
		t.Logf("%s: whole again after %s", name, time.Since(began).Round(time.Millisecond))
	}
	<-time.After(time.Duration(200+random.IntN(300)) * time.Millisecond)
	ending()
	for i, st := range a.stages {
		before := len(st.operations)
		checked := time.Now()
		total := st.finish(ctx, t, c, a.chats[i])
		t.Logf("%s: %d messages, %d deeds and looks judged in %s: %s", st.name, len(st.transcript.final), total, time.Since(checked).Round(time.Millisecond), st.summary())
		if before < 10*faults || len(st.views) < 2*faults {
			t.Errorf("%s: only %d deeds and %d looks: that was no load", st.name, before, len(st.views))
		}
	}
}

// summary tells how much there was of what makes the check worth something.
func (s *stage) summary() string {
	counts := map[string]int{}
	said := map[string]int{}
	for _, op := range s.operations {
		d := op.Input.(deed)
		name := [...]string{"says", "marks", "synced looks", "synced newest ids", "synced unread counts"}[d.kind]
		counts[name]++
		if op.Return == s.ever {
			counts["open-ended"]++
		}
		if d.kind == deedSay {
			said[d.text]++
		}
	}
	for _, n := range said {
		counts["repeats"] += n - 1
	}
	counts["looks at any time"] = len(s.views)
	return strings.TrimPrefix(fmt.Sprint(counts), "map")
}

// cast puts the users of an act on the nodes.
func (c *Cluster) cast(ctx context.Context, t *testing.T, number int) *act {
	t.Helper()
	first := uint32(number*actUsers + 1)
	user := func(n int) uint32 { return first + uint32(n) }
	a := &act{name: fmt.Sprintf("act %d", number+1)}
	maker := c.enter(ctx, t, int(user(0)), 0, protocol.Session{}, client.Config{})
	group, err := maker.sdk.CreateGroup(ctx, a.name, protocol.UserID(user(0)), protocol.UserID(user(1)), protocol.UserID(user(2)), protocol.UserID(user(3)))
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.sdk.Close(); err != nil {
		t.Fatal(err)
	}
	all := Group(uint32(group))
	crowd := a.stage("group", true, map[uint32]Chat{user(0): all, user(1): all, user(2): all, user(3): all})
	a.join(crowd, user(0), c.sdkVoice(ctx, t, user(0), 0, protocol.InGroup(group)))
	a.join(crowd, user(1), c.sdkVoice(ctx, t, user(1), 1, protocol.InGroup(group)))
	a.join(crowd, user(2), c.keyedVoice(user(2), "a", all, 2), c.keyedVoice(user(2), "b", all, 0))
	a.join(crowd, user(3), &rawVoice{cluster: c, user: user(3), chat: all, place: 1})

	pair := a.stage("pair with the SDK", false, map[uint32]Chat{user(4): Single(user(5)), user(5): Single(user(4))})
	a.join(pair, user(4), c.keyedVoice(user(4), "a", Single(user(5)), 1), c.keyedVoice(user(4), "b", Single(user(5)), 2))
	a.join(pair, user(5), c.sdkVoice(ctx, t, user(5), 2, protocol.WithUser(protocol.UserID(user(4)))))

	old := a.stage("pair with an existing client", false, map[uint32]Chat{user(6): Single(user(7)), user(7): Single(user(6))})
	a.join(old, user(6), &rawVoice{cluster: c, user: user(6), chat: Single(user(7)), place: 2})
	a.join(old, user(7), c.keyedVoice(user(7), "a", Single(user(6)), 0))
	return a
}

func (a *act) stage(name string, group bool, chats map[uint32]Chat) *stage {
	s := newStage(a.name+", "+name, group)
	a.stages, a.chats = append(a.stages, s), append(a.chats, chats)
	return s
}

func (a *act) join(s *stage, user uint32, voices ...voice) {
	_, sdk := voices[0].(sdkVoice)
	raw, _ := voices[0].(*rawVoice)
	a.characters = append(a.characters, &character{stage: s, act: a.name, user: user, row: 4 * len(a.characters), voices: voices,
		keyed: sdk || raw.device != "", synced: !sdk})
}

func (c *Cluster) sdkVoice(ctx context.Context, t *testing.T, user uint32, place int, with protocol.Session) sdkVoice {
	t.Helper()
	return sdkVoice{c.enter(ctx, t, int(user), place, with, client.Config{})}
}

func (c *Cluster) keyedVoice(user uint32, device string, chat Chat, place int) *rawVoice {
	return &rawVoice{cluster: c, user: user, device: fmt.Sprintf("user%d-%s", user, device), chat: chat, place: place}
}

// The faults; the last ones need namespaces.
const (
	faultKillLeader   = "the leader is killed"
	faultKillFollower = "a follower is killed"
	faultPauseLeader  = "the leader stands still"
	faultHandOver     = "the leader hands over"
	faultCutLeader    = "the leader is cut off"
	faultDeaf         = "the leader hears nothing of one follower"
	faultUnheard      = "nobody hears the leader"
)

// chooseFaults draws faults: each kind once before any comes twice, and a death of the leader among the first.
func chooseFaults(random *rand.Rand, cuts bool, n int) []string {
	kinds := []string{faultKillFollower, faultPauseLeader, faultHandOver}
	if cuts {
		kinds = append(kinds, faultCutLeader, faultDeaf, faultUnheard)
	}
	random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = slices.Insert(kinds, random.IntN(min(n, len(kinds))), faultKillLeader)
	var chosen []string
	for len(chosen) < n {
		chosen = append(chosen, kinds[len(chosen)%len(kinds)])
	}
	return chosen
}

// playFault does something to the cluster and undoes it.
func playFault(t *testing.T, c *Cluster, s *site, name string, random *rand.Rand) {
	t.Helper()
	leader := c.Leader(t)
	place := slices.Index(c.Nodes, leader)
	follower := (place + 1 + random.IntN(2)) % len(c.Nodes)
	while := func() { <-time.After(time.Duration(500+random.IntN(2500)) * time.Millisecond) }
	switch name {
	case faultKillLeader, faultKillFollower:
		victim := leader
		if name == faultKillFollower {
			victim = c.Nodes[follower]
		}
		victim.Kill()
		if random.IntN(2) == 0 {
			c.Leader(t)
		}
		if err := victim.Run(t); err != nil {
			t.Fatal(err)
		}
	case faultPauseLeader:
		if err := leader.Pause(); err != nil {
			t.Fatal(err)
		}
		while()
		if err := leader.Continue(); err != nil {
			t.Fatal(err)
		}
	case faultHandOver:
		Eventually(t, name, func() bool { // on a busy machine the lead may be lost in between
			_, err := leader.Ctl(t, leader.Dir, "cluster", "transfer-leader", c.Nodes[follower].ID)
			return err == nil
		})
	case faultCutLeader:
		s.part(t, place)
	case faultDeaf:
		s.deafen(t, place, follower)
	case faultUnheard:
		for other := range c.Nodes {
			if other != place {
				s.deafen(t, other, place)
			}
		}
	}
	if s != nil {
		while()
		s.heal(t)
	}
}

// TestLinearCheckSeesFaults: the checks that TestLinearizable goes by find what they are there for.
func TestLinearCheckSeesFaults(t *testing.T) {
	say := func(text string, id uint32, call, end int64) porcupine.Operation {
		return porcupine.Operation{Input: deed{kind: deedSay, user: 1, text: text}, Output: outcome{known: id > 0, id: id}, Call: call, Return: end}
	}
	look := func(call, end int64, texts ...string) porcupine.Operation {
		o := outcome{known: true}
		for i, text := range slices.Backward(texts) {
			o.lines = append(o.lines, entry{id: uint32(i + 1), user: 1, text: text})
		}
		return porcupine.Operation{Input: deed{kind: deedLook, user: 2, upTo: 100}, Output: o, Call: call, Return: end}
	}
	mark := func(upTo uint32, call, end int64) porcupine.Operation {
		return porcupine.Operation{Input: deed{kind: deedMark, user: 2, upTo: upTo}, Output: outcome{known: true}, Call: call, Return: end}
	}
	unread := func(n uint32, call, end int64) porcupine.Operation {
		return porcupine.Operation{Input: deed{kind: deedUnread, user: 2}, Output: outcome{known: true, count: n}, Call: call, Return: end}
	}
	tried := func(upTo uint32, at int64) porcupine.Operation {
		return porcupine.Operation{Input: deed{kind: deedMark, user: 2, upTo: upTo}, Output: outcome{}, Call: at, Return: at}
	}
	for name, c := range map[string]struct {
		right bool
		done  []porcupine.Operation
	}{
		"one after the other":             {true, []porcupine.Operation{say("a", 1, 0, 1), say("b", 2, 2, 3), look(4, 5, "a", "b")}},
		"at the same time, either way":    {true, []porcupine.Operation{say("a", 2, 0, 3), say("b", 1, 1, 2), look(4, 5, "b", "a")}},
		"repeated with its id":            {true, []porcupine.Operation{say("a", 1, 0, 9), say("a", 1, 1, 2), say("b", 2, 3, 4), look(5, 6, "a", "b")}},
		"no answer, but there":            {true, []porcupine.Operation{say("a", 0, 0, 99), say("b", 2, 1, 2), look(5, 6, "a", "b")}},
		"no answer, and not there":        {true, []porcupine.Operation{say("a", 0, 0, 99), say("b", 1, 1, 2), look(5, 6, "b")}},
		"an acked one is lost":            {false, []porcupine.Operation{say("a", 1, 0, 1), say("b", 2, 2, 3), look(4, 5, "a")}},
		"an ack for nothing":              {false, []porcupine.Operation{say("a", 1, 0, 1), say("b", 1, 2, 3), look(4, 5, "b")}},
		"stored twice":                    {false, []porcupine.Operation{say("a", 1, 0, 1), say("a", 2, 2, 3), look(4, 5, "a", "a")}},
		"shown twice":                     {false, []porcupine.Operation{say("a", 1, 0, 1), say("a", 1, 2, 3), look(4, 5, "a", "a")}},
		"the later one is first":          {false, []porcupine.Operation{say("a", 2, 0, 1), say("b", 1, 2, 3), look(4, 5, "b", "a")}},
		"two looks do not agree":          {false, []porcupine.Operation{say("a", 1, 0, 9), say("b", 2, 0, 9), look(1, 2, "b"), look(3, 4, "a", "b")}},
		"an id is left out":               {false, []porcupine.Operation{say("a", 1, 0, 1), say("b", 3, 2, 3)}},
		"a look forgets":                  {false, []porcupine.Operation{say("a", 1, 0, 1), look(2, 3, "a"), look(4, 5)}},
		"read":                            {true, []porcupine.Operation{say("a", 1, 0, 1), unread(1, 2, 3), mark(1, 4, 5), unread(0, 6, 7)}},
		"read at last":                    {true, []porcupine.Operation{say("a", 1, 0, 1), tried(1, 2), unread(1, 3, 4), unread(0, 5, 6)}},
		"read, but not for good":          {false, []porcupine.Operation{say("a", 1, 0, 1), tried(1, 2), unread(0, 3, 4), unread(1, 5, 6)}},
		"read before it is asked for":     {false, []porcupine.Operation{say("a", 1, 0, 1), unread(0, 2, 3), tried(1, 4)}},
		"a read position that falls":      {false, []porcupine.Operation{say("a", 1, 0, 1), say("b", 2, 2, 3), mark(2, 4, 5), mark(1, 6, 7), unread(1, 8, 9)}},
		"a read position that is lost":    {false, []porcupine.Operation{say("a", 1, 0, 1), mark(1, 4, 5), unread(1, 6, 7)}},
		"a read position before its time": {false, []porcupine.Operation{say("a", 1, 0, 1), unread(0, 2, 3), mark(1, 4, 5)}},
	} {
		if err := checkLinear(t, name, false, c.done); (err == nil) != c.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestViewCheckSeesFaults: so does the check of what sessions see when they look at any time.
func TestViewCheckSeesFaults(t *testing.T) {
	c := transcript{final: []entry{{1, 1, "a", 5}, {2, 2, "b", 5}, {3, 1, "c", 6}}, begun: map[string]time.Duration{"a": 1, "b": 2, "c": 30},
		wanted: map[uint32][]want{2: {{10, 1}}}}
	look := func(ended time.Duration, acked uint32, lines ...entry) view {
		return view{session: "s", user: 2, ended: ended, acked: acked, kind: deedLook, most: 2, out: outcome{known: true, lines: lines}}
	}
	part := func(from uint32, lines ...entry) view {
		v := look(40, 3, lines...)
		v.from = from
		return v
	}
	unread := func(ended time.Duration, marked, last, count uint32) view {
		return view{session: "s", user: 2, ended: ended, marked: marked, kind: deedUnread, out: outcome{known: true, id: last, count: count}}
	}
	one, two, three := c.final[0], c.final[1], c.final[2]
	for name, k := range map[string]struct {
		want  string
		views []view
	}{
		"longer and longer": {"", []view{look(3, 0), look(4, 0, one), look(5, 2, two, one), look(31, 0, three, two), unread(32, 0, 3, 2), unread(33, 0, 3, 1)}},
		"shrinks":           {"has seen 2", []view{look(4, 0, two, one), look(5, 0, one)}},
		"without its ack":   {"was acked", []view{look(4, 2, one)}},
		"before it is said": {"only after", []view{look(4, 0, three, two)}},
		"another message":   {"in the end is", []view{look(4, 0, two, entry{1, 1, "x", 0})}},
		"a range":           {"", []view{look(31, 0, three, two), part(2, two, one), look(32, 3, three, two)}},
		"another range":     {"in the end is", []view{part(2, two, three)}},
		"an empty range":    {"is not shown message 2", []view{part(2)}},
		"a hole":            {"instead of", []view{look(40, 0, three)}},
		"too many":          {"there are 3", []view{look(40, 0, entry{4, 1, "d", 0}, three)}},
		"mark forgotten":    {"had read up to", []view{unread(31, 1, 3, 2)}},
		"mark foreseen":     {"nobody has asked", []view{unread(4, 0, 0, 0), look(5, 0, one), unread(9, 0, 0, 0)}},
		"mark taken back":   {"had read up to", []view{unread(31, 0, 3, 1), unread(32, 0, 3, 2)}},
		"too many unread":   {"others have said less", []view{unread(31, 0, 3, 3)}},
	} {
		if err := c.checkViews(k.views); (err == nil) != (k.want == "") || err != nil && !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s: %q is not in: %v", name, k.want, err)
		}
	}
	if err := c.checkFinal(); err != nil {
		t.Error(err)
	}
	for name, final := range map[string][]entry{"a hole": {one, three}, "twice": {one, {2, 1, "a", 6}}, "time falls": {one, {2, 2, "b", 4}}, "never said": {{1, 1, "x", 1}}} {
		wrong := transcript{final: final, begun: c.begun}
		if wrong.checkFinal() == nil {
			t.Errorf("%s is not seen", name)
		}
	}
	for name, acked := range map[string]map[string]uint32{"an ack for nothing": {"d": 4}, "an ack with another id": {"b": 3}} {
		wrong := transcript{final: c.final, begun: c.begun, acked: acked}
		if wrong.checkFinal() == nil {
			t.Errorf("%s is not seen", name)
		}
	}
}
