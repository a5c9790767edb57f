package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"teamtalk/internal/e2e"
)

// TestFederation measures real offices, a little of each.
func TestFederation(t *testing.T) {
	var out bytes.Buffer
	args := "federation --json --only link,drain,group --pairs 2 --messages 40 --round-trip 20ms --queued 60 --offices 3 --members 9 --posts 5 --dir " + t.TempDir()
	if err := run(t.Context(), append(strings.Fields(args), "--binary", e2e.Binary(t)), &out); err != nil {
		t.Fatal(err)
	}
	type messages struct {
		Acked     int
		Delivered int
	}
	var got struct {
		Link  []struct{ Messages messages }
		Drain struct {
			Queued  int
			Seconds float64
			New     messages
		}
		Group struct {
			Members  int
			Events   float64 `json:"events_per_post"`
			Messages messages
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Link) != 4 {
		t.Fatalf("%d rows: %s", len(got.Link), out.String())
	}
	for _, l := range got.Link {
		if l.Messages.Acked != 40 || l.Messages.Delivered != 40 {
			t.Errorf("link: %+v", l)
		}
	}
	if d := got.Drain; d.Queued != 60 || d.Seconds <= 0 || d.New.Delivered != d.New.Acked { // so few are through before much that is new is said
		t.Errorf("drain: %+v", d)
	}
	// [FED-HUB-3] A copy for each of the two other offices, though each has three members.
	if g := got.Group; g.Members != 9 || g.Events < 2 || g.Events >= 3 || g.Messages.Delivered != 10 {
		t.Errorf("group: %+v", g)
	}
}

func TestScale(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), strings.Fields("scale --clusters 20 --sites 2 --outage 3m --bundle 50"), &out); err != nil || !strings.Contains(out.String(), "| 2 of 20 clusters away for 3 min") {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	if err := run(t.Context(), strings.Fields("scale --clusters 3 --sites 0 --outage 0s"), &out); err != nil || !strings.Contains(out.String(), "| 3, 2, 3 |") {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := run(t.Context(), strings.Fields("scale --per-user 9"), &out); err == nil || !strings.Contains(err.Error(), "commands a second") {
		t.Error(err)
	}
}
