package bus

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

func TestMustGo(t *testing.T) {
	at := func(s Session, node protocol.NodeID, since, active protocol.Time) Session {
		s.Node, s.Since, s.Active = node, since, active
		return s
	}
	windows, mac := pc(anna, 1), Session{User: anna, Conn: 2, Client: protocol.ClientMac}
	cases := map[string]struct {
		sessions []Session
		want     []string
	}{
		"alone":            {[]Session{at(windows, "a", 1, 1)}, nil},
		"one of each kind": {[]Session{at(windows, "a", 1, 1), at(phone(anna, 2), "b", 2, 2), at(device(anna, 3, "x"), "c", 3, 3)}, nil},
		"[TT-KICK-1] the older of a class": {
			[]Session{at(windows, "b", 1, 9), at(mac, "a", 2, 2), at(phone(anna, 3), "a", 3, 3)},
			[]string{"b/1 newer_login by a/2"},
		},
		"the same moment: the node decides": {
			[]Session{at(windows, "b", 1, 1), at(mac, "a", 1, 1)},
			[]string{"a/2 newer_login by b/1"},
		},
		"[TT-SESS-8] the same device": {
			[]Session{at(device(anna, 1, "x"), "a", 1, 9), at(device(anna, 1, "x"), "b", 2, 2), at(device(anna, 2, "x"), "b", 3, 3), at(device(anna, 3, "y"), "b", 4, 4)},
			[]string{"a/1 replaced by b/2", "b/1 replaced by b/2"},
		},
		"[TT-SESS-8] too many: those idle longest": {
			[]Session{at(device(anna, 1, "x"), "a", 1, 50), at(device(anna, 1, "y"), "b", 20, 20), at(device(anna, 2, "z"), "b", 30, 30), at(device(anna, 3, "w"), "c", 40, 40)},
			[]string{"b/1 too_many by c/3", "b/2 too_many by c/3"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := told(mustGo(c.sessions, 2)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := mustGo(c.sessions, -1); slices.ContainsFunc(got, func(d Displaced) bool { return d.Why == protocol.DisplacedByMany }) {
				t.Errorf("without a limit: %+v", got)
			}
		})
	}
}

func told(gone []Displaced) []string {
	var s []string
	for _, d := range gone {
		s = append(s, fmt.Sprintf("%s/%d %s by %s/%d", d.Session.Node, d.Session.Conn, d.Why, d.By.Node, d.By.Conn))
	}
	slices.Sort(s)
	return s
}

// [TT-KICK-1] [TT-SESS-8]: all nodes decide alike in whatever order they know the sessions, nobody goes in vain, and when all have gone who must, all rules hold.
func TestMustGoIsTheSameEverywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const devices = 3
		clients := []protocol.ClientType{protocol.ClientWindows, protocol.ClientMac, protocol.ClientIOS}
		names := []protocol.DeviceID{"", "x", "y", "z", "v", "w"}
		var sessions []Session
		for i := range rapid.IntRange(0, 9).Draw(t, "sessions") {
			since := protocol.Time(rapid.IntRange(1, 5).Draw(t, "since"))
			sessions = append(sessions, Session{
				User: anna, Conn: protocol.ConnID(i + 1), Client: rapid.SampledFrom(clients).Draw(t, "client"), Device: rapid.SampledFrom(names).Draw(t, "device"),
				Node: rapid.SampledFrom([]protocol.NodeID{"a", "b", "c"}).Draw(t, "node"), Since: since, Active: since + protocol.Time(rapid.IntRange(0, 3).Draw(t, "idle")),
			})
		}
		gone := mustGo(sessions, devices)
		if other := mustGo(rapid.Permutation(sessions).Draw(t, "elsewhere"), devices); !slices.Equal(told(gone), told(other)) {
			t.Fatalf("%q here, %q there", told(gone), told(other))
		}
		rest := slices.DeleteFunc(slices.Clone(sessions), func(s Session) bool {
			return slices.ContainsFunc(gone, func(d Displaced) bool { return d.Session == s })
		})
		if again := mustGo(rest, devices); len(again) != 0 {
			t.Fatalf("of those who stay, %q must go", told(again))
		}
		if len(sessions) > 0 && !slices.Contains(rest, slices.MaxFunc(sessions, func(a, b Session) int { return compareLogins(&a, &b) })) {
			if slices.ContainsFunc(gone, func(d Displaced) bool { return d.Why != protocol.DisplacedByMany && d.By == d.Session }) {
				t.Fatal("the latest login displaces itself")
			}
		}
	})
}
