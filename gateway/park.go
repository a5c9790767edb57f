package gateway

import (
	"context"
	"sync"

	"teamtalk/protocol/pdu"
)

// park holds requests while one before them takes time: a message that waits for the rate, a request being carried out, or a replay. All that was
// read behind it waits, in order. Heartbeats pass by, since reading goes on [TT-LIMIT-1] [TT-HB-1] [TT-DIFF-17].
type park struct {
	s *session

	running sync.WaitGroup // the goroutine that carries out what is parked

	mu     sync.Mutex // guards what follows
	room   sync.Cond
	pdus   []pdu.PDU
	bytes  int
	active bool               // the goroutine runs; it alone carries out requests
	hurry  context.CancelFunc // ends the wait for the rate; nil: nobody waits
	hasty  bool               // the rate no longer counts
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
	k.start(func() { k.addLocked(p) }, func() {})
}

// occupy does something that takes time on a goroutine, which then carries out the requests parked meanwhile. False: it does not, the session has
// ended.
func (k *park) occupy(first func()) bool {
	return k.start(func() {}, first)
}

func (k *park) start(prepareLocked, first func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return false
	}
	k.active = true
	prepareLocked()
	k.running.Go(func() { // ends when nothing is parked or drop was called; joined by finish
		first()
		k.run()
	})
	return true
}

func (k *park) addLocked(p pdu.PDU) {
	k.pdus = append(k.pdus, p)
	k.bytes += len(p.Body)
	k.s.srv.metrics.parked.Inc()
}

func (k *park) run() {
	for {
		p, ok := k.head()
		if !ok {
			return
		}
		r := k.s.srv.table[p.Header.Command]
		if r.isSend {
			k.awaitRate()
		}
		k.s.out.waitRoom() // answers that the client does not read stop its requests [TT-LIMIT-3]
		if k.isGone() {
			return
		}
		k.s.execute(r, p)
		k.pop()
	}
}

// awaitRate waits until a message is within the rate; finish and drop cut it short.
func (k *park) awaitRate() {
	limiter := k.s.rate()
	if limiter == nil {
		return
	}
	ctx, cancel := context.WithCancel(k.s.ctx)
	defer cancel()
	k.mu.Lock()
	k.hurry = cancel
	hasty := k.hasty || k.gone
	k.mu.Unlock()
	if !hasty {
		_ = limiter.Wait(ctx)
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
	if hurried {
		k.hasty = true
		if k.hurry != nil {
			k.hurry()
		}
	}
	k.mu.Unlock()
	k.running.Wait()
}
