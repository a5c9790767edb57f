package federation_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol/fed"
)

// A schedule is one run of the random test: what happens comes from its seed alone.
type schedule struct {
	*globe
	rng   *rand.Rand
	guest person
	count map[string]int
}

// deed is something that may happen, and how often it does.
type deed struct {
	name  string
	times int
	do    func()
}

func (s *schedule) deeds() []deed {
	return []deed{
		{"message", 30, func() { s.mustSay(s.anybodyOfTwo()) }},
		{"post", 20, s.somePost},
		{"post of the guest", 3, func() { _, _ = s.post(s.guest, s.rooms[0]) }},
		{"recall", 3, s.someRecall},
		{"read", 4, func() { s.read(s.anybodyOfTwo()) }},
		{"guest comes or goes", 4, func() {
			if r := s.rooms[0]; r.has(s.guest) {
				r.expel(s.guest)
			} else {
				r.admit(s.guest)
			}
		}},
		{"parted", 3, func() { s.part(s.two()); s.pass(s.moment(time.Second)) }},
		{"one way dark", 2, func() {
			a, b, d := s.two()
			s.dark(a, b, d)
		}},
		{"connections cut", 2, func() { s.net.Cut(simnet.Reset) }},
		{"lossy", 1, func() {
			a, b, d := s.two()
			link := s.path(a, b)
			link.SetLoss(0.3)
			time.AfterFunc(d, func() { link.SetLoss(0) })
		}},
		{"killed", 3, func() {
			o := s.one()
			o.strike()
			s.pass(s.moment(3 * time.Second))
			o.begin()
		}},
		{"restarted", 1, func() { s.one().restart() }},
		{"restored", 1, s.someRestore},
		{"acks lost", 2, s.someLoss},
		{"clock jumps", 1, func() { s.one().skew.Store(int64(s.moment(4*time.Hour) - 2*time.Hour)) }},
		{"keys rotated", 1, func() { s.one().rotate(false) }},
	}
}

func (s *schedule) one() *town { return s.towns[s.rng.IntN(len(s.towns))] }

// two are different offices, and a length.
func (s *schedule) two() (a, b *town, d time.Duration) {
	i := s.rng.IntN(len(s.towns))
	k := (i + 1 + s.rng.IntN(len(s.towns)-1)) % len(s.towns)
	d = s.moment(20 * time.Second)
	if s.rng.IntN(6) == 0 {
		d = s.moment(30 * time.Minute)
	}
	return s.towns[i], s.towns[k], d
}

// moment is a length up to most; short ones are more likely.
func (s *schedule) moment(most time.Duration) time.Duration {
	f := s.rng.Float64()
	return time.Duration(f * f * float64(most))
}

func (s *schedule) anybodyOfTwo() (p, q person) {
	a, b, _ := s.two()
	return person{a, s.rng.IntN(2)}, person{b, s.rng.IntN(2)}
}

func (s *schedule) somePost() {
	r := s.rooms[s.rng.IntN(len(s.rooms))]
	s.mustPost(r.founders[s.rng.IntN(len(r.founders))], r)
}

func (s *schedule) someRecall() {
	if len(s.said) == 0 {
		return
	}
	m := s.said[len(s.said)-1-s.rng.IntN(min(len(s.said), 20))]
	if !m.recalled && !m.moved && !m.mayFail {
		s.recall(m)
	}
}

// someLoss has an office's acknowledgements get lost, as far as they come within a moment; then its connections end.
func (s *schedule) someLoss() {
	o := s.one()
	o.tap.set(func(f *fed.Frame) bool { return f.Kind != fed.KindAck })
	s.somePost()
	s.mustSay(s.anybodyOfTwo())
	s.pass(s.moment(500 * time.Millisecond))
	o.tap.set(nil)
	s.net.Cut(simnet.Reset)
}

// someRestore has an office lose its disk shortly after a backup.
func (s *schedule) someRestore() {
	o := s.one()
	backup, index := o.backup(), o.logged()
	for range s.rng.IntN(10) {
		s.mustSay(s.anybodyOfTwo())
		s.pass(s.moment(200 * time.Millisecond))
	}
	s.disaster(o, backup, index)
	s.pass(s.moment(time.Minute))
	o.goOn()
	s.settle(time.Hour) // until it has caught up its own past may come back: its people's messages are where they were before only then
}

// TestF15Schedules: random schedules of talk and troubles, each from a seed. In the end everything acknowledged is in every mailbox it belongs into, once, in order [F15].
//
// TT_SEED=n plays one schedule only, TT_SOAK=1 2,000 of them, TT_SOAK=n so many, TT_LOG=1 shows what the offices log.
func TestF15Schedules(t *testing.T) {
	seeds, first := 5, 1
	seed, _ := strconv.Atoi(os.Getenv("TT_SEED"))
	soak, _ := strconv.Atoi(os.Getenv("TT_SOAK"))
	switch {
	case seed > 0:
		seeds, first = 1, seed
	case soak > 1:
		seeds = soak
	case soak == 1:
		seeds = 2000
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			synctest.Test(t, func(t *testing.T) { playSchedule(t, uint64(seed)) })
			t.Logf("real time %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

func playSchedule(t *testing.T, seed uint64) {
	began := time.Now()
	g := newGlobe(t, 3)
	s := &schedule{globe: g, rng: rand.New(rand.NewPCG(seed, 15)), guest: person{g.towns[1], 2}, count: map[string]int{}}
	defer func() {
		if t.Failed() {
			t.Logf("TT_SEED=%d plays it again", seed)
		}
	}()
	for _, o := range g.towns[:2] {
		g.everywhere(o)
	}
	g.settle(time.Minute)
	var all []deed
	for _, d := range s.deeds() {
		all = append(all, slices.Repeat([]deed{d}, d.times)...)
	}
	for range 100 {
		d := all[s.rng.IntN(len(all))]
		s.count[d.name]++
		g.log.Info("DEED", "what", d.name)
		d.do()
		g.pass(s.moment(2 * time.Second))
	}
	g.settle(time.Hour)
	g.judge()
	g.judgeMarks()
	var counts []string
	for name, n := range s.count {
		counts = append(counts, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(counts)
	t.Logf("seed %d: %d messages, virtual time %v; %s", seed, len(g.said), time.Since(began).Round(time.Second), strings.Join(counts, ", "))
}
