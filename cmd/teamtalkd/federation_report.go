package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
)

type federationListCmd struct {
	target
}

// Run lists the offices.
func (c *federationListCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		s, err := api.Federation(ctx)
		if err != nil {
			return err
		}
		peers := make([]admin.FederationPeer, len(s.Links))
		t := texttable.Table{{"DOMAIN", "OFFICE", "STATE", "IN", "OUT", "FINGERPRINT", "CLUSTER"}}
		for i, l := range s.Links {
			peers[i] = l.PeerView
			t = append(t, []string{l.Domain, l.Office, l.State, allowed(l.In), allowed(l.Out), l.Fingerprint, l.Cluster})
		}
		return c.answer(term, peers, t)
	})
}

// allowed is what may pass, in a word if there is one.
func allowed(names []string) string {
	if len(names) == 5 {
		return "all"
	}
	return orDash(strings.Join(names, ","))
}

type federationShowCmd struct {
	target
	Office string `arg:"" optional:"" help:"Its domain, or its id or the beginning of that; without it, this office."`
}

// Run shows one office.
func (c *federationShowCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if c.Office == "" {
			self, err := api.FederationSelf(ctx)
			if err != nil {
				return err
			}
			return c.answer(term, self, selfTable(self))
		}
		s, err := api.Federation(ctx)
		if err != nil {
			return err
		}
		l, err := linkNamed(s.Links, c.Office)
		if err != nil {
			return err
		}
		if err := c.answer(term, l, linkSheet(l)); err != nil || c.JSON || len(l.Lanes) == 0 {
			return err
		}
		lanes := texttable.Table{{"LANE", "SENT", "ACKNOWLEDGED", "WAITING", "RECEIVED"}}
		for _, lane := range l.Lanes {
			lanes = append(lanes, []string{fmt.Sprint(lane.Lane), fmt.Sprint(lane.Sent), fmt.Sprint(lane.Acked), sizeOf(lane.Waiting), fmt.Sprint(lane.In)})
		}
		if _, err := fmt.Fprintln(term.out); err != nil {
			return err
		}
		return lanes.Print(term.out)
	})
}

// shortID is how many characters of an id are enough to be taken for one.
const shortID = 8

// linkNamed is the link with an office that is named by its domain, its id or the beginning of that.
func linkNamed(links []admin.FederationLink, name string) (admin.FederationLink, error) {
	var found []admin.FederationLink
	for _, l := range links {
		if l.Domain == name || l.Cluster == name {
			return l, nil
		}
		if len(name) >= shortID && strings.HasPrefix(l.Cluster, name) {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return admin.FederationLink{}, fmt.Errorf("no office %s is known here: teamtalkd federation list", name)
	}
	return admin.FederationLink{}, fmt.Errorf("%s is the beginning of several offices' ids", name)
}

func linkSheet(l admin.FederationLink) texttable.Table {
	t := texttable.Table{{"OFFICE", l.Office}, {"domain", l.Domain}, {"fingerprint", l.Fingerprint}, {"cluster", l.Cluster}, {"state", l.State},
		{"may send", allowed(l.In)}, {"is sent", allowed(l.Out)}, {"endpoints", orDash(strings.Join(l.Endpoints, ", "))}, {"quota", sizeOf(l.Quota)},
		{"known since", l.Since.Local().Format(time.DateTime)}, {"serial", fmt.Sprint(l.Serial)}}
	if l.Proxy != "" {
		t = append(t, []string{"proxy", l.Proxy})
	}
	if l.DialOnly {
		t = append(t, []string{"dialled", "by this side only"})
	}
	t = append(t, []string{"link", linkState(l)})
	if l.Up {
		by := "that office"
		if l.Dialled {
			by = "this one"
		}
		t = append(t, []string{"connection", fmt.Sprintf("%s %s, made by %s", l.Via, l.Remote, by)}, []string{"round trip", durationOf(l.RoundTrip)}, []string{"clock", clockOf(l.Skew)})
	}
	return append(t, []string{"waiting", fmt.Sprintf("%d events, %s", l.Depth, sizeOf(l.Bytes))}, []string{"oldest", ageOf(l.OldestAge)},
		[]string{"sent", fmt.Sprint(l.Sent)}, []string{"received", fmt.Sprintf("%d, %d of them again", l.Received, l.Repeated)},
		[]string{"refused here", fmt.Sprint(l.Refused)}, []string{"dead letters", fmt.Sprint(l.Deadletters)})
}

// linkState is a word about a link, and since when it is so.
func linkState(l admin.FederationLink) string {
	word := "down"
	switch {
	case l.Up:
		word = "up"
	case l.State != "confirmed":
		return "-"
	}
	if l.Changed.IsZero() {
		return word
	}
	return word + " since " + l.Changed.Local().Format(time.DateTime)
}

// durationOf is a time in as many digits as matter; "-" if it is not known.
func durationOf(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return d.Round(time.Second / 10).String()
}

func ageOf(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return max(d, time.Second).Round(time.Second).String()
}

// clockOf says how far another clock is off; less than a second is nothing.
func clockOf(skew time.Duration) string {
	switch s := skew.Round(time.Second); {
	case s > 0:
		return s.String() + " ahead"
	case s < 0:
		return (-s).String() + " behind"
	}
	return "right"
}

type federationStatusCmd struct {
	target
	Fail   bool          `help:"Exit with status 1 if a confirmed link is down, or something has waited longer than --oldest."`
	Oldest time.Duration `default:"15m" placeholder:"TIME" help:"How long something may wait, for --fail. [${default}]"`
}

// Run shows the links.
func (c *federationStatusCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		s, err := api.Federation(ctx)
		if err != nil {
			return err
		}
		if err := c.answer(term, s, statusTable(s)); err != nil {
			return err
		}
		if !c.JSON {
			c.explain(term, s)
		}
		if c.Fail {
			return c.failures(s)
		}
		return nil
	})
}

func statusTable(s admin.FederationStatus) texttable.Table {
	t := texttable.Table{{"DOMAIN", "OFFICE", "STATE", "LINK", "VIA", "RTT", "WAITING", "BYTES", "OLDEST", "SENT", "RECEIVED", "REFUSED", "CLOCK"}}
	for _, l := range s.Links {
		link := "-"
		switch {
		case l.Up:
			link = "up"
		case l.State == "confirmed":
			link = "down"
		}
		clock, rtt := "-", "-"
		if l.Up {
			clock, rtt = clockOf(l.Skew), durationOf(l.RoundTrip)
		}
		t = append(t, []string{l.Domain, l.Office, l.State, link, orDash(l.Via), rtt, fmt.Sprint(l.Depth), sizeOf(l.Bytes), ageOf(l.OldestAge),
			fmt.Sprint(l.Sent), fmt.Sprint(l.Received), fmt.Sprint(l.Refused), clock})
	}
	return t
}

// explain says beside the table what is to be done.
func (c *federationStatusCmd) explain(term *terminal, s admin.FederationStatus) {
	if s.Self.Restored {
		term.say("this cluster was restored from a backup: all links are down until `teamtalkd federation resume --restored`, when it is sure that the one before is gone\n")
	}
	if len(s.Links) == 0 {
		term.say("no other office is known: teamtalkd federation invite\n")
	}
	for _, l := range s.Links {
		switch {
		case l.State == "introduced":
			term.say("%s waits to be confirmed here: compare fingerprints, then teamtalkd federation confirm %s --fingerprint FINGERPRINT --allow all\n", l.Domain, l.Domain)
		case !l.Up && l.Error != "" && l.State == "confirmed":
			term.say("%s: %s\n", l.Domain, texttable.Printable(l.Error))
		}
		if l.Quota > 0 && l.Bytes >= l.Quota/5*4 {
			term.say("%s: %s of %s wait; above that, messages to its people are refused\n", l.Domain, sizeOf(l.Bytes), sizeOf(l.Quota))
		}
	}
}

// failures are what --fail is about.
func (c *federationStatusCmd) failures(s admin.FederationStatus) error {
	var all []error
	if s.Self.Restored {
		all = append(all, errors.New("this cluster was restored: its links are down"))
	}
	for _, l := range s.Links {
		if l.State == "confirmed" && !l.Up {
			all = append(all, fmt.Errorf("the link with %s is down", l.Domain))
		}
		if slices.Contains([]string{"confirmed", "paused"}, l.State) && l.OldestAge > c.Oldest {
			all = append(all, fmt.Errorf("something has waited %s for %s", ageOf(l.OldestAge), l.Domain))
		}
	}
	return errors.Join(all...)
}

type federationFindCmd struct {
	target
	Limit int    `default:"20" placeholder:"N" help:"How many at most, 50 at most. [${default}]"`
	Text  string `arg:"" help:"A name, or a part of it."`
}

// Run finds people.
func (c *federationFindCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		found, err := api.FindPeople(ctx, c.Text, c.Limit)
		if err != nil {
			return err
		}
		return c.answer(term, found, userTable(found.Users...))
	})
}

type federationTraceCmd struct {
	target
	Message string `arg:"" help:"A message: u17-1073741825/42 is the 42nd of the conversation of users 17 and 1073741825, g5/42 that of group 5; or an event id, as logs have it."`
}

// Run shows where a message is.
func (c *federationTraceCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		m, err := api.TraceMessage(ctx, c.Message)
		if err != nil {
			return err
		}
		return c.answer(term, m, traceTable(m))
	})
}

func traceTable(m admin.MessageTrace) texttable.Table {
	t := texttable.Table{{"MESSAGE", fmt.Sprintf("%s/%d", m.Conversation, m.Message)}, {"event", m.Event}, {"of", fmt.Sprintf("user %d, %s", m.Author, m.Origin)},
		{"time", m.Time.Local().Format(time.DateTime)}, {"state", m.State}}
	if m.HubSeq > 0 {
		t = append(t, []string{"order in the group", fmt.Sprint(m.HubSeq)})
	}
	if m.Deleted {
		t = append(t, []string{"content", "deleted"})
	}
	for _, s := range m.Steps {
		t = append(t, []string{"to " + s.Peer, fmt.Sprintf("%s, lane %d, number %d", s.State, s.Lane, s.Sequence)})
	}
	return t
}

type federationDeadlettersCmd struct {
	target
	Limit  int    `default:"100" placeholder:"N" help:"How many at most, 1,000 at most. [${default}]"`
	Office string `arg:"" help:"Domain or id of the office."`
}

// Run lists the dead letters.
func (c *federationDeadlettersCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		list, err := api.DeadLetters(ctx, c.Office, c.Limit)
		if err != nil {
			return err
		}
		t := texttable.Table{{"TIME", "DIRECTION", "TYPE", "EVENT", "CODE", "REASON"}}
		for _, l := range list.DeadLetters {
			direction := "refused there"
			if l.Inbound {
				direction = "refused here"
			}
			t = append(t, []string{l.Time.Local().Format(time.DateTime), direction, l.Type, l.Event, l.Code, l.Text})
		}
		return c.answer(term, list, t)
	})
}
