package load

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// TestReconnect cuts clients off a server that lets them in again as it should, or does not.
func TestReconnect(t *testing.T) {
	const n = 8
	cases := []struct {
		name  string
		fault sessionFault
		want  func(*ReconnectResult) bool
		fails bool
	}{
		{"at once", sessionFault{}, func(r *ReconnectResult) bool { return r.Attempts == n && len(r.Refusals) == 0 }, false},
		{"BYE", sessionFault{byeOnce: true}, func(r *ReconnectResult) bool { return r.Attempts == 2*n && r.Refusals["BYE UNAVAILABLE"] == n }, false},
		{"closed", sessionFault{cutOnce: true}, func(r *ReconnectResult) bool { return r.Attempts == 2*n && sum(r.Refusals) == n }, false},
		{"no WELCOME", sessionFault{silentOnce: true}, func(r *ReconnectResult) bool {
			return r.Attempts == 2*n && r.Refusals[errNoWelcome.Error()] == n && r.Half >= welcomeWithin.Seconds()
		}, false},
		{"gap", sessionFault{gap: true}, func(r *ReconnectResult) bool { return r.Gaps == n }, true},
		{"by password", sessionFault{forget: true}, func(r *ReconnectResult) bool { return r.BadTokens == n }, true},
		{"kicked", sessionFault{kick: true}, func(r *ReconnectResult) bool { return r.Attempts == n && r.Refusals["BYE KICKED"] == n && r.Half == 0 }, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := startFakeSessions(t, fault{}, c.fault, nil)
			o := ReconnectOptions{Clients: n, Sources: 3, Before: 500 * time.Millisecond, Limit: time.Minute, Bystanders: target}
			if c.fault.kick {
				o.Limit = time.Second // nobody comes back
			}
			r, err := Reconnect(t.Context(), target, o)
			if err != nil {
				t.Fatal(err)
			}
			if (r.Verdict() != nil) != c.fails || !c.want(r) || !c.fault.kick && r.Back != n {
				t.Errorf("%v: %+v", r.Verdict(), r)
			}
			if r.Before.Acked == 0 || r.Before.Verdict() != nil || r.During.Verdict() != nil {
				t.Errorf("bystanders: %+v, %+v", r.Before, r.During)
			}
			if c.fault.kick {
				return
			}
			if r.Half <= 0 || r.Half > r.Most || r.Most > r.All {
				t.Errorf("back after %v, %v, %v", r.Half, r.Most, r.All)
			}
		})
	}
}

func sum(counts map[string]int) (all int) {
	for _, n := range counts {
		all += n
	}
	return all
}

// TestReconnectLoggedInByNobody: the first login fails for all, and nothing is left behind.
func TestReconnectLoggedInByNobody(t *testing.T) {
	target := startFake(t, fault{})
	bystanders := target
	target.Password = "wrong"
	_, err := Reconnect(t.Context(), target, ReconnectOptions{Clients: 3, Bystanders: bystanders})
	if err == nil || !strings.Contains(err.Error(), "login of user") {
		t.Error(err)
	}
}

func TestReconnectEndsWithItsContext(t *testing.T) {
	target := startFakeSessions(t, fault{}, sessionFault{kick: true}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := Reconnect(ctx, target, ReconnectOptions{Clients: 3, Before: time.Millisecond, Limit: time.Hour, Bystanders: target}); err == nil {
		t.Error("a run that was broken off is fine")
	}
}

func TestReconnectPrints(t *testing.T) {
	r := &ReconnectResult{Via: ViaQUIC, Clients: 15000, Most: 12.34, Attempts: 15004, Refusals: map[string]int{"connection reset": 4},
		Errors: []string{"an example"}, Before: &MessageResult{Ack: Summary{P99: 1500}}, During: &MessageResult{Ack: Summary{P99: 98760}}}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"quic", "15000", "12.34", "connection reset", "4", "an example", "1.50", "98.76"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestBackoff(t *testing.T) {
	for failures, longest := range map[int]time.Duration{0: firstBackoff, 3: 8 * firstBackoff, 100: longestPause} {
		most := time.Duration(0)
		for range 1000 {
			d := backoff(failures)
			if d < 0 || d >= longest {
				t.Fatalf("%v after %d failures", d, failures)
			}
			most = max(most, d)
		}
		if most < longest/2 {
			t.Errorf("at most %v after %d failures: no full jitter up to %v", most, failures, longest)
		}
	}
}
