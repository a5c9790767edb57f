package gateway

import (
	"context"
	"sync"

	"teamtalk/protocol/pdu"
)

// park holds requests while a message waits for the rate: that message and all that was read behind it, in order. Heartbeats pass by, since
// only reading goes on [TT-LIMIT-1] [TT-HB-1] [TT-DIFF-17].
type park struct {
	s *session

	running sync.WaitGroup // the goroutine that carries out what is parked

	mu     sync.Mutex // guards what follows
	room   sync.Cond
	pdus   []pdu.PDU
	bytes  int
	active bool               // the goroutine runs; it alone carries out requests
	hurry  context.CancelFunc // the rate no longer counts
	gone   bool               // what is parked is no longer wanted
}

func (k *park) init(s *session) {
	k.s = s
	k.room.L = &k.mu
}

// follow parks a request if others are parked. A full park makes the reader wait; nothing is dropped.
func (k *park) follow(p pdu.PDU) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	limits := &k.s.srv.limits
	for k.active && !k.gone && (len(k.pdus) >= limits.Parked || k.bytes > limits.ParkedBytes) {
		k.room.Wait()
	}
	if k.gone {
		return true
	}
	if !k.active {
		return false
	}
	k.addLocked(p)
	return true
}

// begin parks the first message; from here on a goroutine carries out requests, until none is parked.
func (k *park) begin(p pdu.PDU) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return
	}
	k.active = true
	k.addLocked(p)
	ctx, cancel := context.WithCancel(k.s.ctx)
	k.hurry = cancel
	k.running.Go(func() { // ends when nothing is parked or drop was called; joined by finish
		defer cancel()
		k.run(ctx)
	})
}

func (k *park) addLocked(p pdu.PDU) {
	k.pdus = append(k.pdus, p)
	k.bytes += len(p.Body)
	k.s.srv.metrics.parked.Inc()
}

func (k *park) run(ctx context.Context) {
	for {
		p, ok := k.head()
		if !ok {
			return
		}
		r := k.s.srv.table[p.Header.Command]
		if r.isSend {
			_ = k.s.limiter.Wait(ctx) // cut short by finish and drop only
		}
		if k.isGone() {
			return
		}
		k.s.execute(r, p)
		k.pop()
	}
}

func (k *park) head() (pdu.PDU, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pdus) == 0 || k.gone {
		k.active = false
		return pdu.PDU{}, false
	}
	return k.pdus[0], true
}

func (k *park) pop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return // drop has emptied it
	}
	k.bytes -= len(k.pdus[0].Body)
	k.pdus[0] = pdu.PDU{}
	if k.pdus = k.pdus[1:]; len(k.pdus) == 0 {
		k.pdus = nil
	}
	k.s.srv.metrics.parked.Dec()
	k.room.Signal()
}

func (k *park) isGone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone
}

// drop throws away what is parked and lets nothing more in.
func (k *park) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return
	}
	k.gone = true
	k.s.srv.metrics.parked.Sub(float64(len(k.pdus)))
	k.pdus = nil
	if k.hurry != nil {
		k.hurry()
	}
	k.room.Broadcast()
}

// finish waits until everything parked has been carried out, without regard to the rate if hurried.
func (k *park) finish(hurried bool) {
	k.mu.Lock()
	if hurried && k.hurry != nil {
		k.hurry()
	}
	k.mu.Unlock()
	k.running.Wait()
}
