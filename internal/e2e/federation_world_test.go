//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/federation"
	"teamtalk/internal/simnet"
	"teamtalk/internal/simnet/netns"
)

// What lies between two offices: a round trip of 90 ms, and of all packets each way 2 % lost. Each office has half of it in its access.
const (
	accessDelay = 22500 * time.Microsecond // one way
	accessLoss  = 0.01
)

// abroadPatience is for what has to get to another office after an outage: a link may have to be found lost first (45 s), and is tried again once a minute
// then [FED-TR-4] [FED-TR-7]; and the machine may be busy.
const abroadPatience = 4 * time.Minute

// An office has a cluster and people in a network of its own, from which one access leads to the others.
type office struct {
	*Cluster
	place  int // from 1
	name   string
	domain string
	host   *netns.Namespace
	access *simnet.Link // Up is out of the office
}

// A company has several offices.
type company struct {
	offices []*office
	hub     *netns.Namespace
}

// officeNames are what the offices are called, by place.
func officeNames() []string { return []string{"Hangzhou", "Beijing", "Singapore"} }

// newCompany starts offices with so many nodes each, which know nothing of each other yet. They go with the test.
func newCompany(t *testing.T, random *rand.Rand, nodes ...int) *company {
	t.Helper()
	onceOnly(t)
	needNamespaces(t)
	c := &company{hub: newHost(t, "wan")}
	in(t, c.hub, "ip", "link", "add", "br0", "type", "bridge")
	in(t, c.hub, "ip", "link", "set", "br0", "up")
	for i, name := range officeNames()[:len(nodes)] {
		o := &office{place: i + 1, name: name, domain: strings.ToLower(name) + ".example",
			access: simnet.NewLink(random.Uint64(), simnet.Faults{Delay: accessDelay, Loss: accessLoss})}
		c.offices = append(c.offices, o)
		c.connect(t, o)
	}
	var starting sync.WaitGroup
	for i, o := range c.offices {
		starting.Go(func() { o.Cluster = o.start(t, nodes[i]) }) // ends when it is ready, or the test
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return c
}

// address is one of the office's; its nodes have those from 1.
func (o *office) address(n int) string { return fmt.Sprintf("10.77.%d.%d", o.place, n) }

// connect builds the office's network and its way out: the office, its router behind the access, and what all routers are plugged into.
func (c *company) connect(t *testing.T, o *office) {
	t.Helper()
	o.host = newHost(t, strings.ToLower(o.name))
	router := newHost(t, "router")
	for n := range 4 {
		in(t, o.host, "ip", "address", "add", o.address(n+1)+"/32", "dev", "lo")
	}
	path, err := netns.NewPath(t.Context(), o.access, o.host, router, o.address(254)+mask, o.address(253)+mask)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := path.Close(); err != nil {
			t.Error(err)
		}
	})
	in(t, o.host, "ip", "route", "add", "default", "via", o.address(253))
	outside := func(place int) string { return fmt.Sprintf("10.77.0.%d", place) }
	plug(t, c.hub, router, fmt.Sprintf("office%d", o.place), outside(o.place))
	in(t, router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	for place := range len(officeNames()) {
		if place+1 != o.place {
			in(t, router, "ip", "route", "add", fmt.Sprintf("10.77.%d.0/24", place+1), "via", outside(place+1))
		}
	}
}

// start runs the office's cluster; its clients are in the office.
func (o *office) start(t *testing.T, nodes int) *Cluster {
	config := ClusterConfig{Users: 6, Args: quickPasswords(), Clients: from{o.host}}
	for n := range nodes {
		config.Hosts = append(config.Hosts, Host{IP: o.address(n + 1), Wrap: o.host.Wrap(), Dial: o.host.DialContext})
	}
	return StartCluster(t, nodes, config)
}

// operate runs an operator's command in the office; the answer is what it printed.
func (o *office) operate(t *testing.T, args ...string) string {
	t.Helper()
	out, err := o.live()[0].Ctl(t, t.TempDir(), args...)
	if err != nil {
		t.Fatalf("%s: %v", o.name, err)
	}
	return strings.TrimSpace(out)
}

// introduce has all offices know each other and allow each other everything, as operators do it, and waits until they are linked.
func (c *company) introduce(t *testing.T) {
	t.Helper()
	for _, o := range c.offices {
		o.operate(t, "federation", "init", "--domain", o.domain, "--office", o.name)
	}
	for i, o := range c.offices {
		for _, other := range c.offices[i+1:] {
			var met struct {
				Peer, Self struct{ Domain, Fingerprint string }
			}
			out := other.operate(t, "federation", "accept", "--json", o.operate(t, "federation", "invite"))
			if err := json.Unmarshal([]byte(out), &met); err != nil || met.Peer.Domain != o.domain || met.Self.Domain != other.domain {
				t.Fatalf("%v in %s", err, out)
			}
			other.operate(t, "federation", "confirm", o.domain, "--fingerprint", met.Peer.Fingerprint, "--allow", "all")
			o.operate(t, "federation", "confirm", other.domain, "--fingerprint", met.Self.Fingerprint, "--allow", "all")
		}
	}
	c.waitLinked(t)
}

// links is how an office says its links are; nil: it can't say now.
func (o *office) links(t *testing.T) []federation.LinkView {
	t.Helper()
	ctx, cancel := limited(t, Patience)
	defer cancel()
	var s federation.Status
	for _, n := range o.live() {
		if n.get(ctx, "/api/v1/federation", &s) == nil {
			return s.Links
		}
	}
	return nil
}

// waitLinked waits until all links are up at both ends.
func (c *company) waitLinked(t *testing.T) {
	t.Helper()
	began := time.Now()
	c.await(t, "all links", func(o *office) bool {
		links := o.links(t)
		return len(links) == len(c.offices)-1 && !slices.ContainsFunc(links, func(l federation.LinkView) bool { return !l.Up })
	})
	t.Logf("linked after %s", time.Since(began).Round(time.Millisecond))
}

// waitSent waits until nothing waits for another office any more.
func (c *company) waitSent(t *testing.T) {
	t.Helper()
	c.await(t, "empty queues", func(o *office) bool {
		links := o.links(t)
		return len(links) == len(c.offices)-1 && !slices.ContainsFunc(links, func(l federation.LinkView) bool { return l.Depth > 0 })
	})
}

// waitFor polls a condition until it holds, for as long as the context lasts.
func waitFor(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %s for: %s", time.Since(began).Round(time.Second), what)
		}
	}
}

func (c *company) await(t *testing.T, what string, holds func(o *office) bool) {
	t.Helper()
	limit := time.Now().Add(abroadPatience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, o := range c.offices {
		for !holds(o) {
			if time.Now().After(limit) {
				t.Fatalf("%s waited %s for %s: %s", o.name, abroadPatience, what, describe(o.links(t)))
			}
			<-tick.C
		}
	}
}

// describe is what matters of links in a line.
func describe(links []federation.LinkView) string {
	var out []string
	for _, l := range links {
		out = append(out, fmt.Sprintf("%s %s up=%v via=%s %q waiting=%d sent=%d received=%d repeated=%d refused=%d round trip %s", l.Domain, l.State, l.Up, l.Via,
			l.Error, l.Depth, l.Sent, l.Received, l.Repeated, l.Refused, l.RoundTrip.Round(time.Millisecond)))
	}
	return strings.Join(out, "; ")
}

// report says how the links were.
func (c *company) report(t *testing.T) {
	t.Helper()
	for _, o := range c.offices {
		s := o.access.Stats()
		t.Logf("%s: %s; its access: %d+%d packets passed, %d lost by chance, %d in the dark", o.name, describe(o.links(t)), s.Up.Passed, s.Down.Passed,
			s.Up.Lost+s.Down.Lost, s.Up.Dark+s.Down.Dark)
	}
}

// findPerson is the number that somebody of another office has in this one. He is found as an operator finds him.
func (o *office) findPerson(ctx context.Context, t *testing.T, user int, other *office) (id uint32) {
	t.Helper()
	address := fmt.Sprintf("user%d@%s", user, other.domain)
	Eventually(t, o.name+" to find "+address, func() bool {
		var found struct {
			Users []struct {
				ID   uint32
				Name string
			}
		}
		out := o.operate(t, "federation", "find", "--json", fmt.Sprintf("user%d", user))
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		for _, f := range found.Users {
			if f.Name == address {
				id = f.ID
			}
		}
		return id != 0 || ctx.Err() != nil
	})
	return id
}
