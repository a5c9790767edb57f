package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"teamtalk/protocol"
)

// FederationOptions say what linked offices on this machine are measured with.
type FederationOptions struct {
	// Binary is teamtalkd; Dir an empty directory on the disk to be measured.
	Binary, Dir string
	// Only names the parts to be measured, see FederationParts; empty: all.
	Only []string
	// Via is the transport of the links, ViaQUIC or ViaTLS; RoundTrip how long one takes there.
	Via       Via
	RoundTrip time.Duration
	// Pairs of users in two offices, who send Messages together, of so many bytes.
	Pairs, Messages, Payload int
	// Lags is how many messages are sent on an idle link, LagPace apart, to see how long they take.
	Lags    int
	LagPace time.Duration
	// Queued is how many messages wait when a link comes back.
	Queued int
	// Idle is how long idle offices are watched; Peers how many links the first one has then.
	Idle  time.Duration
	Peers int
	// Offices have Members of one group, all together; its creator sends Posts.
	Offices, Members, Posts int
	// Flags are further ones of the servers.
	Flags []string
}

// Parts of the benchmark.
const (
	partLink  = "link"
	partDelay = "delay"
	partDrain = "drain"
	partGroup = "group"
	partPeers = "peers"
)

// FederationParts are the names of what can be measured, in the order of the report.
func FederationParts() []string {
	return []string{partLink, partDelay, partDrain, partGroup, partPeers}
}

func (o *FederationOptions) check() error {
	for _, name := range o.Only {
		if !slices.Contains(FederationParts(), name) {
			return fmt.Errorf("%q is none of the parts: %s", name, strings.Join(FederationParts(), ", "))
		}
	}
	switch {
	case o.Via != ViaQUIC && o.Via != ViaTLS:
		return fmt.Errorf("links go by %s or %s, not by %s", ViaQUIC, ViaTLS, o.Via)
	case o.RoundTrip < 0 || o.LagPace <= 0 || o.Idle <= 0:
		return errors.New("a duration is missing")
	case o.Messages < 1 || o.Lags < 1 || o.Queued < 1 || o.Peers < 1 || o.Posts < 1:
		return errors.New("a number is missing")
	case o.Pairs < 1 || o.Pairs > maxFedPairs:
		return fmt.Errorf("%d pairs: 1 to %d", o.Pairs, maxFedPairs)
	case o.Offices < 2 || o.Members < o.Offices || o.Members/o.Offices > maxFedPairs:
		return fmt.Errorf("%d members in %d offices: at least one in each of two, at most %d in one", o.Members, o.Offices, maxFedPairs)
	}
	return (MessageOptions{Window: 1, Payload: o.Payload, Duration: time.Second}).check()
}

// maxFedPairs leaves users enough for those who chat beside the pairs, all with numbers of four digits.
const maxFedPairs = 8000

func (o *FederationOptions) wants(part string) bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, part)
}

// FederationResult is what the parts came to; those that were left out are empty.
type FederationResult struct {
	Machine   *Machine     `json:"machine"`
	Via       Via          `json:"via"`
	RoundTrip float64      `json:"round_trip_ms"`
	Link      []FedLinkRow `json:"link,omitempty"`
	Delay     []FedLinkRow `json:"delay,omitempty"`
	Drain     *DrainResult `json:"drain,omitempty"`
	Group     *FedGroup    `json:"group,omitempty"`
	Peers     *PeersResult `json:"peers,omitempty"`
}

// FedLinkRow is pairs of users of two offices.
type FedLinkRow struct {
	RoundTrip float64        `json:"round_trip_ms"`
	Pairs     int            `json:"pairs"`
	Window    int            `json:"window"`
	Messages  *MessageResult `json:"messages"`
	// Servers is how much of a core both offices needed together, in percent.
	Servers float64 `json:"servers_percent"`
}

// BenchFederation starts offices on fresh directories, some for each part, and measures them; progress gets a line per step. It fails if a message
// is lost, or something can't be measured.
func BenchFederation(ctx context.Context, o FederationOptions, progress io.Writer) (*FederationResult, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	machine, err := Inspect(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	out := &FederationResult{Machine: machine, Via: o.Via, RoundTrip: inMS(o.RoundTrip)}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(progress, format+"\n", args...) }
	for _, p := range []struct {
		name           string
		offices, users int
		run            func(context.Context, *offices, *FederationResult, func(string, ...any)) error
	}{
		{partLink, 2, o.Pairs, benchFedLink},
		{partDelay, 2, lagPairs, benchFedDelay},
		{partDrain, 2, o.Pairs + 2*newPairs, benchFedDrain},
		{partGroup, o.Offices, o.Members / o.Offices, benchFedGroup},
		{partPeers, o.Peers + 1, 1, benchFedPeers},
	} {
		if !o.wants(p.name) {
			continue
		}
		err := withOffices(ctx, o, p.name, p.offices, p.users, func(f *offices) error { return p.run(ctx, f, out, say) })
		if err != nil {
			return out, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return out, nil
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// pairsAbroad are lanes from users of the first office to users of the second one, whose names there follow after the first so many.
type pairsAbroad struct {
	lanes []*lane
	conns []*Conn
}

// connectPairs logs in both sides of so many pairs, from the n-th user on.
func (f *offices) connectPairs(ctx context.Context, aliases []protocol.UserID, first int) (*pairsAbroad, error) {
	here, err := f.all[0].target()
	if err != nil {
		return nil, err
	}
	there, err := f.all[1].target()
	if err != nil {
		return nil, err
	}
	here.First += first
	there.First += first
	senders, err := connect(ctx, here, len(aliases))
	if err != nil {
		return nil, err
	}
	receivers, err := connect(ctx, there, len(aliases))
	if err != nil {
		return nil, errors.Join(err, closeAll(senders))
	}
	p := &pairsAbroad{conns: slices.Concat(senders, receivers)}
	for i, id := range aliases {
		p.lanes = append(p.lanes, &lane{number: i, to: protocol.WithUser(id), sender: senders[i], receivers: receivers[i : i+1]})
	}
	return p, nil
}
