package federation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	rangeEvents   = 256              // in a page [FED-GET-1]
	rangeBytes    = 1 << 20          // likewise
	rangeWait     = 30 * time.Second // for a page
	gapRetry      = time.Minute      // until a range that was not answered is asked for again
	maxQuestions  = 8                // of the peer's that wait
	maxRangePages = 1 << 20          // an answer that never ends is none
)

// asks are the ranges that were asked for and have no answer yet, and those that the peer asks for.
type asks struct {
	ready     chan struct{} // closed when what was lost has been asked for: nothing is sent or executed before
	gaps      chan struct{} // holds one token: something is missing
	questions chan fed.GetRange

	mu      sync.Mutex // guards what follows
	last    uint64
	missed  []fed.Gap // that this link knows of and the state does not
	waiting map[uint64]chan fed.RangePage
}

func newAsks() asks {
	return asks{ready: make(chan struct{}), gaps: make(chan struct{}, 1), questions: make(chan fed.GetRange, maxQuestions), waiting: map[uint64]chan fed.RangePage{}}
}

// awaitReady waits until what was lost is here again.
func (l *link) awaitReady(ctx context.Context) error {
	select {
	case <-l.asks.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeQuestion is a range that the peer asks for.
func (l *link) takeQuestion(q fed.GetRange) error {
	select {
	case l.asks.questions <- q:
		return nil
	default:
		return protocol.Errorf(protocol.CodeOverloaded, "the peer asks for more than %d ranges at a time", maxQuestions)
	}
}

// answerRanges answers what the peer asks for, one after the other.
func (l *link) answerRanges(ctx context.Context) error {
	for {
		select {
		case q := <-l.asks.questions:
			page, err := l.page(&q)
			if err != nil {
				page = fed.RangePage{Code: protocol.CodeOf(err), Text: protocol.Truncate(err.Error(), maxReason)}
			}
			page.ID = q.ID
			if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindRangePage, page)); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// page reads what the peer may be missing: events of this cluster's get its signature, those of the peer's have theirs.
func (l *link) page(q *fed.GetRange) (p fed.RangePage, err error) {
	if q.Group.IsZero() {
		if l.record.Out&(fed.AllowDirect|fed.AllowFiles) == 0 {
			return p, protocol.Errorf(protocol.CodeForbidden, "the rules of the link don't allow it")
		}
		h, err := l.state.FedSince(l.peer, q.Since, q.After, rangeEvents, rangeBytes)
		if err != nil {
			return p, err
		}
		p.Events, p.After, p.More = h.Events, h.After, h.More
		for i := range p.Events {
			if p.Events[i].Signature == (fed.Signature{}) {
				p.Events[i] = l.self.SignEvent(p.Events[i].Event)
			}
		}
		return p, nil
	}
	if q.Group.Cluster != l.self.Cluster || !l.record.Out.Has(fed.AllowGroups) {
		return p, protocol.Errorf(protocol.CodeForbidden, "the group is not of this cluster, or the rules of the link don't allow it")
	}
	events, more, err := l.state.FedRange(q.Group.ID, l.peer, q.From, q.To, rangeEvents, rangeBytes)
	for _, e := range events {
		p.Events = append(p.Events, l.self.SignEvent(e))
	}
	p.More = more
	return p, err
}

// takePage is an answer; one that nobody waits for is nothing.
func (l *link) takePage(p fed.RangePage) error {
	l.asks.mu.Lock()
	defer l.asks.mu.Unlock()
	if to := l.asks.waiting[p.ID]; to != nil {
		delete(l.asks.waiting, p.ID)
		to <- p // has room
	}
	return nil
}

// ask asks for a page and waits for it.
func (l *link) ask(ctx context.Context, q fed.GetRange) (p fed.RangePage, err error) {
	answer := make(chan fed.RangePage, 1)
	a := &l.asks
	a.mu.Lock()
	a.last++
	q.ID = a.last
	a.waiting[q.ID] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, q.ID)
		a.mu.Unlock()
	}()
	l.tally.asked.Add(1)
	if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindGetRange, q)); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, rangeWait)
	defer cancel()
	select {
	case p = <-answer:
	case <-ctx.Done():
		return p, protocol.Errorf(protocol.CodeUnavailable, "a range of events was not answered: %w", ctx.Err())
	}
	switch {
	case p.Code != protocol.CodeUnspecified:
		return p, protocol.Errorf(p.Code, "the peer says: %s", p.Text)
	case len(p.Events) > rangeEvents:
		return p, protocol.Errorf(protocol.CodeTooLarge, "a range of %d events, %d are allowed", len(p.Events), rangeEvents)
	}
	return p, nil
}

// catchUp gets what this side has lost, once after a restore, and then what is missing of groups whenever something is [FED-GET-2].
func (l *link) catchUp(ctx context.Context) error {
	if l.own.identity.Epoch > 1 && l.hello.PeerEpoch < l.own.identity.Epoch { // the peer has seen nothing since this cluster was restored [FED-EP-1]
		if err := l.reconcile(ctx); err != nil {
			return fmt.Errorf("get back what was lost: %w", err)
		}
	}
	close(l.asks.ready)
	for {
		gaps, err := l.gaps()
		if err != nil {
			return err
		}
		var again <-chan time.Time
		for _, g := range gaps {
			if err := l.fill(ctx, g); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				l.log.Warn("what is missing of a group was not got", "group", g.Group.String(), "from", g.From, "to", g.To, "error", err)
				l.missAgain(g)
				again = time.After(gapRetry)
			}
		}
		select {
		case <-l.asks.gaps:
		case <-again:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// miss remembers a place of a group that can't be checked yet: it is asked for later.
func (l *link) miss(g fed.Gap) {
	a := &l.asks
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.missed) < maxMissed {
		a.missed = append(a.missed, g)
	}
	wake(a.gaps)
}

// missAgain remembers a gap that was not filled, without asking again at once.
func (l *link) missAgain(g fed.Gap) {
	l.asks.mu.Lock()
	defer l.asks.mu.Unlock()
	if len(l.asks.missed) < maxMissed {
		l.asks.missed = append(l.asks.missed, g)
	}
}

// maxMissed bounds what is remembered so; the state finds the gap again with the next post.
const maxMissed = 256

// gaps are what is missing now: by the state, and by what this link has seen.
func (l *link) gaps() ([]fed.Gap, error) {
	gaps, err := l.state.FedGaps(l.peer)
	if err != nil {
		return nil, err
	}
	a := &l.asks
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.missed {
		i := slices.IndexFunc(gaps, func(g fed.Gap) bool { return g.Group == m.Group })
		if i < 0 {
			gaps = append(gaps, m)
			continue
		}
		gaps[i].From, gaps[i].To = min(gaps[i].From, m.From), max(gaps[i].To, m.To)
	}
	a.missed = nil
	return gaps, nil
}

// reconcile asks the peer for what went to and fro since this cluster's state was saved, and for the groups that it orders. All of it may be known already.
func (l *link) reconcile(ctx context.Context) error {
	l.log.Info("this cluster was restored: the peer is asked for what was lost")
	q := fed.GetRange{} // since ever: what is here is known by its event ids, and clocks are not to be trusted with what is lost
	for range maxRangePages {
		p, err := l.ask(ctx, q)
		if protocol.CodeOf(err) == protocol.CodeForbidden {
			break // the rules don't allow it
		}
		if err != nil {
			return err
		}
		if _, _, err := l.takeHistory(ctx, p.Events); err != nil {
			return err
		}
		if !p.More {
			break
		}
		if !q.After.Before(p.After) {
			return protocol.Errorf(protocol.CodeInvalid, "the range does not go on")
		}
		q.After = p.After
	}
	chains, err := l.state.FedChains(l.peer)
	if err != nil {
		return err
	}
	for _, c := range chains {
		if err := l.fill(ctx, c); err != nil && protocol.CodeOf(err) != protocol.CodeForbidden && protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
	}
	return nil
}

// fill gets places of a group from its hub.
func (l *link) fill(ctx context.Context, g fed.Gap) error {
	q := fed.GetRange{Group: g.Group, From: g.From, To: g.To}
	for range maxRangePages {
		p, err := l.ask(ctx, q)
		if code := protocol.CodeOf(err); code == protocol.CodeForbidden || code == protocol.CodeNotFound {
			break // there is nothing more to be had
		}
		if err != nil {
			return err
		}
		last, unknown, err := l.takeHistory(ctx, p.Events)
		if err != nil {
			return err
		}
		if unknown != nil {
			if g.To == 0 {
				l.missAgain(fed.Gap{Group: g.Group, Alias: g.Alias, From: q.From, To: max(last, q.From)})
				return nil
			}
			return unknown
		}
		if !p.More {
			break
		}
		if last < q.From {
			return protocol.Errorf(protocol.CodeInvalid, "the range does not go on")
		}
		q.From = last + 1
	}
	if g.To == 0 {
		return nil
	}
	_, err := l.state.Execute(ctx, &protocol.ReceiveHistory{Cluster: l.peer, Group: g.Group.ID, Done: g.To})
	return err
}

// takeHistory has a page's events executed. last is the highest place of a group among them; unknown is why the first one can't be checked yet, and what is behind it waits.
func (l *link) takeHistory(ctx context.Context, events []fed.SignedEvent) (last uint64, unknown, err error) {
	var all []protocol.Pending
	for i := range events {
		seq, err := l.verifyHistory(ctx, &events[i])
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		last = max(last, seq)
		if isUnknownKey(err) {
			unknown = err
			break
		}
		if err != nil {
			l.tally.refusal(protocol.CodeOf(err))
			l.log.Warn("an event of a range is not accepted", "error", err)
			continue
		}
		c := &protocol.ReceiveHistory{Cluster: l.peer, Event: events[i].Event, Key: events[i].Signature.Key, Sig: events[i].Signature.Sig[:]}
		p, err := l.state.Start(ctx, c)
		if err != nil {
			return 0, nil, fmt.Errorf("execute an event of a range: %w", err)
		}
		all = append(all, p)
	}
	for _, p := range all {
		if err := l.settleHistory(ctx, p); err != nil {
			return 0, nil, err
		}
	}
	return last, unknown, nil
}

func (l *link) settleHistory(ctx context.Context, p protocol.Pending) error {
	got, err := p.Wait(ctx)
	if err == nil {
		if res, _ := got.(protocol.ReceiveHistoryResult); res.Taken {
			l.tally.filled.Add(1)
		}
		return nil
	}
	if isFinal(protocol.CodeOf(err)) {
		l.tally.refusal(protocol.CodeOf(err))
		l.log.Warn("an event of a range is not accepted", "error", err)
		return nil
	}
	return fmt.Errorf("commit an event of a range: %w", err)
}

// isFinal reports whether a refusal is for good.
func isFinal(c protocol.Code) bool {
	return slices.Contains([]protocol.Code{protocol.CodeInvalid, protocol.CodeForbidden, protocol.CodeNotFound, protocol.CodeTooLarge, protocol.CodeQuota,
		protocol.CodeRateLimited}, c)
}

// verifyHistory checks who has signed an event of a range: the peer, or this cluster before it was restored.
func (l *link) verifyHistory(ctx context.Context, e *fed.SignedEvent) (seq uint64, err error) {
	event, err := fed.DecodeEvent(e.Event)
	if err != nil {
		return 0, err
	}
	origin, keys := event.ID.Cluster, l.keeper.newestKeys()
	switch origin {
	case l.peer:
	case l.self.Cluster:
		keys = l.keeper.term.self.Load().keys
	default:
		return 0, protocol.Errorf(protocol.CodeForbidden, "an event of cluster %v came from %v", origin, l.peer)
	}
	if err := e.Verify(origin, keys); err != nil {
		return 0, err
	}
	if event.Type != fed.TypeHubPost {
		return 0, nil
	}
	post, err := fed.BodyOf[fed.HubPost](&event)
	if err != nil {
		return 0, err
	}
	return post.Seq, l.verifyInner(ctx, origin, &post.Inner, func() error { return nil })
}
