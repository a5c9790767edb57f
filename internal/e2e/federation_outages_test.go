//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	"teamtalk/internal/simnet"
)

// patience is a context for a whole test of several offices.
func (c *company) patience(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return limited(t, 2*abroadPatience)
}

// TestFederationF1 cuts an office off while everybody talks, one to one and in a group of all three offices, over 90 ms and 2 % loss: nothing that was acked
// is lost, nothing comes twice, each author's messages are in his order, and the group's order is the same everywhere [FED-OUT-1] [FED-IN-1] [FED-HUB-1].
func TestFederationF1(t *testing.T) {
	together(t)
	outage := 8 * time.Second
	if soak() {
		outage = 10 * time.Minute
	}
	random := seed(t)
	c := newCompany(t, random, 1, 1, 1)
	c.introduce(t)
	ctx, cancel := limited(t, outage+2*abroadPatience)
	defer cancel()
	all := c.talkOf(ctx, t, random)
	allArrived(ctx, t, all)
	cut := c.offices[random.IntN(len(c.offices))]
	end := cut.access.Blackout(outage)
	<-time.After(time.Until(end))
	behind := 0
	for _, k := range all {
		for _, n := range k.said() {
			behind += n
		}
	}
	allArrived(ctx, t, all)
	t.Logf("%s was cut off for %s; all of %d messages are everywhere %s later", cut.name, outage, behind, time.Since(end).Round(time.Millisecond))
	total := c.checkAll(ctx, t, all)
	t.Logf("%d messages, none lost, none twice", total)
	c.report(t)
}

// TestFederationF2: an access that carries one way only, and one that comes and goes. Everybody is silent before it is whole again: what was said meanwhile
// is caught up with without anything new [FED-OUT-2] [FED-TR-4].
func TestFederationF2(t *testing.T) {
	together(t)
	length, flaps := 5*time.Second, 5
	if soak() {
		length, flaps = 2*time.Minute, 100
	}
	random := seed(t)
	c := newCompany(t, random, 1, 1)
	c.introduce(t)
	ctx, cancel := c.patience(t)
	defer cancel()
	hurt := c.offices[random.IntN(len(c.offices))]
	all := c.talkOf(ctx, t, random)
	for name, fault := range map[string]func() time.Time{
		"nothing comes in": func() time.Time { return hurt.access.BlackoutOneWay(simnet.Down, length) },
		"nothing gets out": func() time.Time { return hurt.access.BlackoutOneWay(simnet.Up, length) },
		"flapping": func() (end time.Time) {
			for range flaps {
				end = hurt.access.Blackout(time.Duration(200+random.IntN(800)) * time.Millisecond)
				<-time.After(time.Until(end) + time.Duration(random.IntN(300))*time.Millisecond)
			}
			return end
		},
	} {
		allArrived(ctx, t, all)
		end := fault()
		<-time.After(time.Until(end) - time.Second)
		for _, k := range all {
			k.silence(t)
		}
		<-time.After(time.Until(end))
		allArrived(ctx, t, all)
		c.waitSent(t)
		t.Logf("%s of %s: all had caught up %s after its end", name, hurt.name, time.Since(end).Round(time.Millisecond))
		for _, k := range all {
			k.begin(ctx, random)
		}
	}
	t.Logf("%d messages, none lost, none twice", c.checkAll(ctx, t, all))
	c.report(t)
}

// TestFederationF3 kills the leader of an office of three nodes, and the only node of another office, again and again, while everybody talks: whatever was
// committed and not acknowledged goes out again, to no effect if it had arrived [FED-OUT-2] [FED-IN-1] [FED-TR-3].
func TestFederationF3(t *testing.T) {
	together(t)
	kills := rounds(2)
	random := seed(t)
	c := newCompany(t, random, 3, 1)
	c.introduce(t)
	ctx, cancel := limited(t, time.Duration(kills+1)*abroadPatience)
	defer cancel()
	all := c.talkOf(ctx, t, random)
	for round := range kills {
		allArrived(ctx, t, all)
		<-time.After(time.Duration(300+random.IntN(1000)) * time.Millisecond)
		o := c.offices[round%2]
		victim := o.Leader(t)
		victim.Kill()
		killed := time.Now()
		<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
		if err := victim.Run(t); err != nil {
			t.Fatal(err)
		}
		o.WaitHealthy(t)
		allArrived(ctx, t, all)
		t.Logf("node %s of %s was killed; all that was said until then was everywhere %s later", victim.ID, o.name, time.Since(killed).Round(time.Millisecond))
	}
	t.Logf("%d kills, %d messages, none lost, none twice", kills, c.checkAll(ctx, t, all))
	c.report(t)
}
