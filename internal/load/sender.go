package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"teamtalk/protocol/pdu"
)

// sender is the life of a lane's sending side.
type sender struct {
	*run
	lane    *lane
	data    []byte
	sent    int
	acked   int
	sentAt  []time.Duration // by number modulo window
	ids     idCheck
	strange int // acks that are none of the next message
}

// send keeps a window of messages under way until the time or the turns are over, then waits for the last acks. Reading and
// writing alternate: whatever acks have come free as many sends, which go out together.
func (r *run) send(l *lane) error {
	s := &sender{run: r, lane: l, data: bytes.Repeat([]byte("x"), r.opts.Payload), sentAt: make([]time.Duration, r.opts.Window)}
	err := s.loop()
	r.add(MessageResult{
		Sent: s.sent, Acked: s.acked, Unacked: s.sent - s.acked, Expected: s.acked * len(l.receivers),
		StrangeAcks: s.strange, WrongID: s.ids.wrong,
	})
	l.ids = s.ids
	l.final.Store(int64(s.acked))
	for _, c := range l.receivers {
		c.setDeadline(time.Unix(1, 0)) // wakes it: it looks at final and sets its deadline anew
	}
	if isTimeout(err) {
		return nil // Unacked says so
	}
	return err
}

func (s *sender) loop() error {
	for open := true; ; {
		if open {
			open = s.fill()
		}
		if len(s.lane.sender.out) > 0 {
			if err := s.lane.sender.flush(); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		if s.acked == s.sent {
			return nil
		}
		if err := s.readAcks(); err != nil {
			return fmt.Errorf("wait for ack: %w", err)
		}
	}
}

// fill puts messages into the free part of the window; false: there will be no more.
func (s *sender) fill() bool {
	if s.stopped() {
		return false
	}
	now := s.clock.now()
	if now >= s.to {
		return false
	}
	for s.sent-s.acked < s.opts.Window {
		if !s.turns.take() {
			return false
		}
		stamp{run: s.id, lane: uint32(s.lane.number), n: uint32(s.sent), sent: now}.put(s.data)
		s.lane.sender.appendMessage(seqOf(s.sent), s.lane.to, s.data, newClientMsgID(s.id, uint32(s.lane.number), s.sent))
		s.sentAt[s.sent%s.opts.Window] = now
		s.sent++
	}
	return true
}

// stopped waits for as long as the pace demands, and tells whether the run is to end.
func (s *sender) stopped() bool {
	if s.opts.Pace == 0 && s.opts.Stop == nil {
		return false
	}
	pause := time.NewTimer(s.opts.Pace)
	defer pause.Stop()
	select {
	case <-s.opts.Stop:
		return true
	case <-pause.C:
		return false
	}
}

// readAcks waits for one ack and takes all that have come with it.
func (s *sender) readAcks() error {
	c := s.lane.sender
	for took := false; !took || c.pending(); {
		h, body, err := c.next()
		if err != nil {
			return err
		}
		if h.Command != pdu.CmdMsgDataAck {
			continue
		}
		id, _, ok := messageFields(body)
		if !ok {
			return errors.New("ack that is no message")
		}
		if s.acked == s.sent || h.Seq != seqOf(s.acked) {
			s.strange++
			continue
		}
		took = true
		s.ids.see(uint32(s.acked), id)
		now := s.clock.now()
		if now >= s.from && now < s.to {
			s.ack.record(s.lane.number, now-s.sentAt[s.acked%s.opts.Window])
			s.opts.moments.acked(uint32(s.acked), now)
		}
		s.acked++
	}
	return nil
}

// seqOf is the sequence number of the n-th message: never 0, which would not be recognised when resent.
func seqOf(n int) uint16 { return uint16(n%65535) + 1 }

// receive takes a lane's messages at one receiver until all that were acked are there, or the run is over.
func (r *run) receive(ctx context.Context, l *lane, c *Conn, shard int) error {
	in := newArrivals()
	err := r.loop(ctx, l, c, in, l.number+shard)
	out := MessageResult{Delivered: in.delivered, Duplicated: in.duplicated, OutOfOrder: in.outOfOrder, WrongID: in.ids.wrong}
	if final := l.final.Load(); final >= 0 {
		out.Lost = in.lost(int(final))
		if in.ids.differs(&l.ids) {
			out.WrongID++
		}
	}
	r.add(out)
	if isTimeout(err) {
		return nil // Lost says so
	}
	return err
}

// loop ends with a heartbeat sent back once all is there: a duplicate before it would still be seen. Others before it keep the connection.
func (r *run) loop(ctx context.Context, l *lane, c *Conn, in *arrivals, shard int) error {
	asked, beats := false, 0 // heartbeats that are still to come back
	beat := time.Now().Add(heartbeatEvery)
	c.setDeadline(r.pause())
	if l.final.Load() >= 0 {
		c.setDeadline(time.Unix(1, 0)) // the sender has finished before, and what wakes this one would be undone
	}
	for {
		h, body, err := c.next()
		switch {
		case isTimeout(err) && ctx.Err() == nil && time.Now().Before(r.last()):
			c.setDeadline(r.pause()) // woken by the sender, or by a long silence; before final is looked at, so that no waking is undone
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case h.Command == pdu.CmdHeartbeat:
			if beats--; asked && beats == 0 {
				return nil
			}
		case h.Command == pdu.CmdMsgData:
			if err := r.arrive(l, in, body, shard); err != nil {
				return err
			}
		}
		if final := l.final.Load(); final >= 0 && !asked && in.delivered >= int(final) {
			asked = true
			beat = time.Time{}
		}
		if (asked && beat.IsZero()) || !asked && time.Until(beat) <= 0 {
			beat = time.Now().Add(heartbeatEvery)
			beats++
			if err := r.ask(ctx, c); err != nil {
				return fmt.Errorf("heartbeat: %w", err)
			}
		}
	}
}

// pause is how long a receiver may wait in silence: as long as a server lets it live without a heartbeat, and no longer than the run.
func (r *run) pause() time.Time {
	if beat := time.Now().Add(heartbeatEvery); beat.Before(r.last()) {
		return beat
	}
	return r.last()
}

// ask sends a heartbeat; once more if the sender has just woken this one, which ends what it does.
func (r *run) ask(ctx context.Context, c *Conn) error {
	err := c.send(pdu.CmdHeartbeat, nil)
	if isTimeout(err) && ctx.Err() == nil && time.Now().Before(r.last()) {
		c.setDeadline(r.pause())
		err = c.send(pdu.CmdHeartbeat, nil)
	}
	return err
}

func (r *run) arrive(l *lane, in *arrivals, body []byte, shard int) error {
	id, data, ok := messageFields(body)
	if !ok {
		return errors.New("pushed message that is none")
	}
	s, ok := readStamp(data)
	if !ok || s.run != r.id || s.lane != uint32(l.number) {
		return nil // somebody else's
	}
	before := in.delivered
	in.see(s.n, id)
	if now := r.clock.now(); in.delivered > before && now >= r.from && now < r.to {
		r.delivery.record(shard, now-s.sent)
		r.opts.moments.arrived(s.n, now)
	}
	return nil
}
