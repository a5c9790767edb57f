package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"teamtalk/protocol"
)

const (
	lagPairs = 8
	// farLimit is how long what is under way between offices may take at most.
	farLimit = 20 * time.Minute
)

// benchFedLink lets pairs of two offices send as fast as they can, next door and a round trip away.
func benchFedLink(ctx context.Context, f *offices, out *FederationResult, say func(string, ...any)) error {
	aliases, err := f.pair(ctx, f.o.Pairs, say)
	if err != nil {
		return err
	}
	for _, trip := range []time.Duration{0, f.o.RoundTrip} {
		for _, window := range []int{1, 16} {
			say("%d pairs, window %d, round trip %v", f.o.Pairs, window, trip)
			f.setDelay(trip)
			row := FedLinkRow{RoundTrip: inMS(trip), Pairs: f.o.Pairs, Window: window}
			err := row.measure(ctx, f, aliases, MessageOptions{Window: window, Payload: f.o.Payload, Duration: farLimit, Count: f.o.Messages, Drain: farLimit})
			if err != nil {
				return fmt.Errorf("window %d, round trip %v: %w", window, trip, err)
			}
			out.Link = append(out.Link, row)
		}
	}
	return nil
}

// benchFedDelay sends now and then, to see how long a message takes.
func benchFedDelay(ctx context.Context, f *offices, out *FederationResult, say func(string, ...any)) error {
	aliases, err := f.pair(ctx, lagPairs, say)
	if err != nil {
		return err
	}
	for _, trip := range []time.Duration{0, f.o.RoundTrip} {
		say("%d messages, %v apart, round trip %v", f.o.Lags, f.o.LagPace, trip)
		f.setDelay(trip)
		row := FedLinkRow{RoundTrip: inMS(trip), Pairs: lagPairs, Window: 1}
		// Each pair waits so long after each of its messages.
		pace := lagPairs * f.o.LagPace
		err := row.measure(ctx, f, aliases, MessageOptions{Window: 1, Payload: f.o.Payload, Duration: farLimit, Count: f.o.Lags, Pace: pace, Drain: loginTimeout})
		if err != nil {
			return fmt.Errorf("round trip %v: %w", trip, err)
		}
		out.Delay = append(out.Delay, row)
	}
	return nil
}

// pair links two offices and has the first one find users of the second.
func (f *offices) pair(ctx context.Context, users int, say func(string, ...any)) (aliases []protocol.UserID, err error) {
	if err := f.linkAll(ctx); err != nil {
		return nil, err
	}
	say("looking for %d people", users)
	return f.all[0].findAll(ctx, users)
}

func (r *FedLinkRow) measure(ctx context.Context, f *offices, aliases []protocol.UserID, o MessageOptions) error {
	p, err := f.connectPairs(ctx, aliases, 0)
	if err != nil {
		return err
	}
	used, err := watchUsage(f.pids()...)
	if err != nil {
		return errors.Join(err, closeAll(p.conns))
	}
	r.Messages = measure(ctx, p.lanes, o)
	each, err := used.percent()
	for _, n := range each {
		r.Servers += n
	}
	return errors.Join(err, r.Messages.Verdict(), closeAll(p.conns))
}

func (f *offices) pids() (all []int) {
	for _, a := range f.all {
		all = append(all, a.PID())
	}
	return all
}
