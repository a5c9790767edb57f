package load

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shortStorm is one of some logins, 6 legacy ones and 5 resumes at a desk that takes 5 ms for each.
func shortStorm(t *testing.T, logins int, f deskFault, sf sessionFault) (Target, LoginStormOptions) {
	t.Helper()
	const legacy = 6
	desk := &fakeDesk{first: 1, last: uint32(logins) + legacy, check: 5 * time.Millisecond, tell: 20 * time.Millisecond, fault: f}
	target := startFakeDesk(t, fault{}, sf, desk, nil)
	return target, LoginStormOptions{
		Logins: logins, Legacy: legacy, Resumes: 5, Pairs: 2, Slots: 1, Before: 500 * time.Millisecond, Limit: time.Minute, Native: target, Sources: 2,
	}
}

// TestLoginStorm finds every promise kept, and each broken one that a server can break.
func TestLoginStorm(t *testing.T) {
	hasty := func(o *LoginStormOptions) { o.Told, o.Slack = time.Millisecond, time.Microsecond }
	for _, c := range []struct {
		name     string
		logins   int // 0: 40
		fault    deskFault
		sessions sessionFault
		options  func(*LoginStormOptions)
		want     string // in the verdict; empty: all is well
	}{
		{name: "all is well"},
		{name: "out of order", logins: 3 * arrivalsAtOnce, fault: deskFault{lifo: true}, options: hasty, want: "overtaken"},
		{name: "not told at all", fault: deskFault{silent: true}, options: hasty, want: "not told at once"},
		{name: "told seldom", options: hasty, want: "news came too late"},
		{name: "positions rise", fault: deskFault{rising: true}, want: "positions rose"},
		{name: "cut off", fault: deskFault{cutsOff: true}, want: "1 were cut off"},
		{name: "refused", fault: deskFault{refuses: 3}, want: "1 of 40 logins came to nothing"},
		{name: "resumes wait", sessions: sessionFault{queue: true}, want: "5 sessions had to wait"},
		{name: "resumes by password", sessions: sessionFault{forget: true}, want: "5 sessions had to wait"},
		{name: "resumes try again", sessions: sessionFault{cutOnce: true}},
		{name: "resumes fail", sessions: sessionFault{kick: true}, want: "5 sessions were not resumed: given up: goodbye: KICKED"},
		{name: "legacy too late", options: func(o *LoginStormOptions) { o.LegacyWithin = time.Nanosecond }, want: "6 legacy logins were answered too late"},
		{name: "legacy not told why", fault: deskFault{muteLegacy: true}, want: "refused without a text"},
		{name: "legacy forgotten", fault: deskFault{forgetsLegacy: true}, options: func(o *LoginStormOptions) { o.Limit = 2 * time.Second },
			want: "legacy logins were not answered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target, o := shortStorm(t, max(c.logins, 40), c.fault, c.sessions)
			if c.options != nil {
				c.options(&o)
			}
			if c.want == "" {
				o.Before = 3 * time.Second
			}
			r, err := LoginStorm(t.Context(), target, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Verdict(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q: %+v", err, c.want, r)
			}
			if c.want != "" {
				return
			}
			if r.Before.Acked+r.During.Acked == 0 {
				t.Errorf("bystanders: %+v, %+v", r.Before, r.During)
			}
			if r.Results[loggedInResult] != 40 || sum(r.Legacy.Results) != 6 || (r.Resumes.Retries == 5) != c.sessions.cutOnce || r.Resumes.Done != 5 || r.Resumes.Time.Count != 5 {
				t.Errorf("%+v", r)
			}
			if r.Queue.Queued == 0 || r.Queue.Longest < 2 || r.Queue.Tells < r.Queue.Queued || r.Seconds < 0.1 || r.PerSecond <= 0 || r.Queue.Wait.Max < r.Queue.Wait.P50 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestLoginStormOptions: what makes no sense is refused, and what fails before the storm is told.
func TestLoginStormOptions(t *testing.T) {
	if _, err := LoginStorm(t.Context(), Target{Via: ViaTCP}, LoginStormOptions{Pairs: 1}); err == nil {
		t.Error("a storm of none")
	}
	target, o := shortStorm(t, 40, deskFault{}, sessionFault{})
	wrong := target
	wrong.Password = "wrong"
	if _, err := LoginStorm(t.Context(), wrong, o); err == nil || !strings.Contains(err.Error(), "login of user") {
		t.Errorf("sessions before the storm: %v", err)
	}
	o.Native.Password = "wrong"
	if _, err := LoginStorm(t.Context(), target, o); err == nil || !strings.Contains(err.Error(), "bystanders") {
		t.Errorf("bystanders: %v", err)
	}
}

// TestOvertakers compares with counting all pairs.
func TestOvertakers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.Map(rapid.IntRange(0, 30), func(n int) time.Duration { return time.Duration(n) })
		turns := rapid.SliceOf(rapid.Custom(func(t *rapid.T) turn {
			return turn{times.Draw(t, "sent"), times.Draw(t, "known"), times.Draw(t, "answered")}
		})).Draw(t, "turns")
		slack := times.Draw(t, "slack")
		want := make([]int, len(turns))
		for i, a := range turns {
			for _, b := range turns {
				if b.sent > a.known && a.answered-b.answered > slack {
					want[i]++
				}
			}
		}
		if got := overtakers(turns, slack); !slices.Equal(got, want) {
			t.Fatalf("%v with slack %d: %v, want %v", turns, slack, got, want)
		}
	})
}

func TestLateness(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name     string
		from, to time.Duration
		answers  []time.Duration
		want     time.Duration
	}{
		{"in time", 10 * s, 12 * s, []time.Duration{11 * s, 11 * s, 11 * s}, 0},
		{"late", 10 * s, 15 * s, []time.Duration{9 * s, 11 * s, 11 * s, 11 * s}, 3 * s},
		{"nothing had changed", 10 * s, 15 * s, []time.Duration{9 * s, 11 * s, 12 * s, 15 * s}, 0},
		{"changed late", 10 * s, 15 * s, []time.Duration{14 * s, 14 * s, 14 * s}, s},
		{"nobody was let in", 10 * s, 90 * s, []time.Duration{11 * s, 12 * s}, 0},
	} {
		if got := lateness(silence{c.from, c.to}, c.answers, 2*s, 2); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	var times []time.Duration
	for n := 1000; n > 0; n-- {
		times = append(times, time.Duration(n)*time.Second)
	}
	want := Summary{Count: 1000, Mean: 500.5e6, P50: 500e6, P90: 900e6, P99: 990e6, P999: 999e6, Max: 1000e6}
	if got := spread(times); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := spread(nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestLoginStormPrints(t *testing.T) {
	r := &LoginStormResult{
		Via: ViaTLS, Logins: 15000, PerSecond: 43.2, Results: map[string]int{loggedInResult: 14999, "closed": 1}, Errors: []string{"an example"},
		Queue: QueueResult{Longest: 14321, Silence: 2.25}, Legacy: LegacyResult{Results: map[string]int{"FULL": 77}, Time: Summary{Max: 3_456_000}},
		Before: &MessageResult{Ack: Summary{P99: 1500}}, During: &MessageResult{Ack: Summary{P99: 98760}},
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tls", "15000", "43.2", "14999", "closed", "an example", "14321", "2.25", "77", "3456.00", "1.50", "98.76"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
