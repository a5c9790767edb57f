package e2e

import (
	"testing"
	"time"

	"teamtalk/internal/load"
)

// TestLoginStorm lets more log in than a server can check passwords for: everybody gets in, in the order of arrival, positions fall, sessions that
// resume overtake them, and legacy clients are answered [TT-QUEUE-1] [TT-QUEUE-2] [TT-QUEUE-3].
func TestLoginStorm(t *testing.T) {
	s := Start(t, ServerConfig{Args: []string{"--users", "200", "--password-remembered", "0", "--password-concurrent", "1", "--password-argon2-memory", "8MiB"}})
	place, err := load.FindServer(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	target, err := place.Target(load.ViaTLS, "12345")
	if err != nil {
		t.Fatal(err)
	}
	native, err := place.Target(load.ViaTCP, "12345")
	if err != nil {
		t.Fatal(err)
	}
	// The promises are in seconds; a busy machine gets five times as much. There are no more logins than it can do the handshakes of in the ten seconds that
	// each has, twice over.
	r, err := load.LoginStorm(t.Context(), target, load.LoginStormOptions{
		Logins: 80, Legacy: 10, Resumes: 10, Pairs: 1, Slots: 1, Native: native, Before: 500 * time.Millisecond, Limit: 5 * time.Minute,
		LegacyWithin: 20 * time.Second, Slack: 8 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); err != nil {
		t.Errorf("%v: %+v", err, r)
	}
	// Most of this lasts less long than the slack, so that the order is looked at without.
	if r.Queue.Queued < 50 || r.Queue.Longest < 25 || r.Order.MostSeen > 20 || r.Resumes.Waiting < 10 {
		t.Errorf("queue %+v, order %+v, resumes %+v", r.Queue, r.Order, r.Resumes)
	}
}
