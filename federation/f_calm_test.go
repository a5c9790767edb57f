package federation_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestF0Calm: everybody talks with everybody, reads and recalls, and nothing happens to the links: what is there arrives at once.
func TestF0Calm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 3)
		for _, o := range g.towns {
			g.everywhere(o)
		}
		t.Logf("linked after %v", g.settle(time.Minute))
		rng := rand.New(rand.NewPCG(1, 2))
		g.chatter(rng, 100, 10*time.Millisecond)
		if took := g.settle(time.Minute); took > 2*time.Second {
			t.Errorf("it takes %v until all is there", took)
		}
		for _, s := range g.said[:10] {
			g.recall(s)
		}
		g.settle(time.Minute)
		g.judge()
		g.judgeMarks()
	})
}
