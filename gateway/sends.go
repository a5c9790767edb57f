package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

// flight is one message on its way through the log.
type flight struct {
	cmd     protocol.SendMessage
	to      pdu.Header // the request
	pending protocol.Pending
}

// sends are a session's messages on their way: proposed in the order read, all travelling together, acked in that order [TT-MSG-4].
type sends struct {
	s *session

	landing sync.WaitGroup // the goroutine that waits for results

	mu       sync.Mutex // guards what follows
	changed  sync.Cond
	flights  []*flight // in order; the first lands first
	bytes    int
	retrying bool // the first one's outcome is unknown: nothing new may overtake it
}

func (w *sends) init(s *session) {
	w.s = s
	w.changed.L = &w.mu
}

// start proposes a message, waiting for room in the window.
func (w *sends) start(to pdu.Header, cmd protocol.SendMessage) error {
	limits := &w.s.srv.limits
	w.mu.Lock()
	for w.retrying || len(w.flights) >= limits.InFlight || len(w.flights) > 0 && (w.bytes+len(cmd.Data) > limits.InFlightBytes || w.inDoubt()) {
		w.changed.Wait()
	}
	w.mu.Unlock()

	pending, err := w.s.srv.services.Messages.Begin(w.s.srv.life.ctx, cmd)
	if err != nil {
		return err
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	w.flights = append(w.flights, &flight{cmd: cmd, to: to, pending: pending})
	w.bytes += len(cmd.Data)
	if len(w.flights) == 1 {
		w.landing.Go(w.land) // ends when nothing is on its way; joined by ServeConn through wait
	}
	return nil
}

// inDoubt reports whether what is on its way may be lost with its leader, so that what comes now would overtake it.
func (w *sends) inDoubt() bool { return w.s.ext != nil && w.s.srv.hub.replica.Ready() != nil }

// wait returns when nothing is on its way. No start may run meanwhile.
func (w *sends) wait() {
	w.mu.Lock()
	none := len(w.flights) == 0
	w.mu.Unlock()
	if !none {
		w.landing.Wait()
	}
}

// land acks the messages in order, until none is on its way.
func (w *sends) land() {
	w.mu.Lock()
	for len(w.flights) > 0 {
		f := w.flights[0]
		w.mu.Unlock()
		w.ack(f)
		w.mu.Lock()
		w.bytes -= len(f.cmd.Data)
		w.flights[0] = nil
		w.flights = w.flights[1:]
		w.changed.Signal()
	}
	w.flights = nil
	w.mu.Unlock()
}

// ack waits for one result and sends 0x0302, or nothing if the message is not stored [TT-MSG-3] [TT-DIFF-13] [TT-DIFF-16].
func (w *sends) ack(f *flight) {
	s := w.s
	res, err := w.result(f)
	if err != nil {
		s.srv.metrics.ignored.WithLabelValues(ignoredFor(err)).Inc()
		s.srv.log.Debug("message not stored", "user", s.user, "conn", s.id, "error", err)
		s.refuse(f.to, err)
		return
	}
	ack := &pb.IMMsgDataAck{
		UserId:      new(uint32(s.user)),
		SessionId:   new(f.cmd.To.ID),
		MsgId:       new(uint32(res.ID)),
		SessionType: sessionTypeToWire(f.cmd.To.Type),
	}
	if s.ext != nil { // [TT-SESS-11] [TT-SESS-12]
		ack.ClientMsgId = clientMsgIDToWire(f.cmd.ClientMsgID)
		ack.CreateTimeMs = new(uint64(res.Time))
	}
	s.answer(f.to, pdu.CmdMsgDataAck, ack)
}

// result waits for the outcome. As long as it is unknown the same message is proposed again, under the same id, so that it is stored once.
func (w *sends) result(f *flight) (protocol.SendResult, error) {
	ctx := w.s.srv.life.ctx
	if w.s.ext != nil {
		return w.resultSoon(ctx, f)
	}
	res, err := sendResult(f.pending.Wait(ctx))
	if !protocol.IsOutcomeUnknown(err) {
		return res, err
	}
	w.setRetrying(true)
	defer w.setRetrying(false)
	giveUp := time.Now().Add(w.s.srv.timing.RetryFor)
	for pause := retryFirst; err != nil && retriable(err) && time.Now().Before(giveUp); pause = min(2*pause, retryMost) {
		select {
		case <-time.After(pause):
		case <-w.s.srv.life.stopping:
			return res, err
		}
		w.s.srv.metrics.proposedAgain.Inc()
		if f.pending, err = w.s.srv.services.Messages.Begin(ctx, f.cmd); err == nil {
			res, err = sendResult(f.pending.Wait(ctx))
		}
	}
	return res, err
}

// resultSoon is result for an extended client, which repeats by itself: it does not wait for a leader, and proposes again only if there
// is a new one already [TT-SESS-18].
func (w *sends) resultSoon(ctx context.Context, f *flight) (protocol.SendResult, error) {
	res, err := w.outcomeSoon(ctx, f)
	if !protocol.IsOutcomeUnknown(err) {
		return res, err
	}
	w.setRetrying(true)
	defer w.setRetrying(false)
	giveUp := time.Now().Add(unavailableAfter)
	for pause := time.Duration(0); protocol.IsOutcomeUnknown(err) && time.Now().Before(giveUp); pause = min(2*pause+retryFirst, retryMost) {
		if ctx.Err() != nil || w.s.srv.hub.replica.Ready() != nil {
			break
		}
		select {
		case <-time.After(pause):
		case <-w.s.srv.life.stopping:
			return res, err
		}
		w.s.srv.metrics.proposedAgain.Inc()
		var again protocol.Pending
		if again, err = w.s.srv.services.Messages.Begin(ctx, f.cmd); err != nil {
			return res, protocol.OutcomeUnknownf("not known to be stored: %w", err) // the first time may have done it
		}
		f.pending = again
		res, err = w.outcomeSoon(ctx, f)
	}
	return res, err
}

// outcomeSoon waits for the outcome as long as there is a leader, but not without one.
func (w *sends) outcomeSoon(ctx context.Context, f *flight) (protocol.SendResult, error) {
	for {
		soon, cancel := context.WithTimeout(ctx, unavailableAfter)
		res, err := sendResult(f.pending.Wait(soon))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !protocol.IsOutcomeUnknown(err) || ctx.Err() != nil {
			return res, err // what surely is not carried out has been given up, and is never answered
		}
		if noLeader := w.s.srv.hub.replica.Ready(); noLeader != nil {
			return res, protocol.OutcomeUnknownf("not known to be stored: %w", noLeader)
		}
	}
}

func (w *sends) setRetrying(on bool) {
	w.mu.Lock()
	w.retrying = on
	w.mu.Unlock()
	w.changed.Signal()
}

// retriable tells an outage from a refusal.
func retriable(err error) bool {
	return protocol.IsOutcomeUnknown(err) || protocol.CodeOf(err) == protocol.CodeUnavailable
}

func sendResult(v any, err error) (protocol.SendResult, error) {
	if err != nil {
		return protocol.SendResult{}, err
	}
	res, ok := v.(protocol.SendResult)
	if !ok {
		return res, protocol.Errorf(protocol.CodeInternal, "a sent message gave %T", v)
	}
	return res, nil
}
