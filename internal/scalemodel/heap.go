package scalemodel

import "time"

// step is what an event does.
type step uint8

const (
	stepSay     step = iota // a user of a site says something
	stepChange              // a site tells a profile
	stepProbe               // a user says something to one of the same site
	stepUplink              // a site's uplink has sent what it had
	stepArrive              // a batch is at the other end of the path
	stepRead                // a batch is through the downlink
	stepTake                // a peer may send more now
	stepCommit              // a batch is committed
	stepAck                 // an acknowledgement is back
	stepCut                 // the outage begins
	stepHeal                // and ends
	stepSilence             // a pair has not heard of each other
	stepDial                // a side of a pair tries to connect
	stepUp                  // and has
	stepSample              // a look at all queues
)

// event is something that will happen.
type event struct {
	at    time.Duration
	order uint64 // of two at the same time, what was planned first comes first
	step  step
	side  uint8 // stepDial, stepUp: who
	gen   uint32
	site  *site
	link  *link
	batch *batch
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// heap has the next event on top; four children each, as moves are dearer than comparisons.
type heap struct {
	all   []event
	order uint64
}

func (h *heap) push(e event) {
	h.order++
	e.order = h.order
	h.all = append(h.all, e)
	i := len(h.all) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h.all[up]) {
			break
		}
		h.all[i] = h.all[up]
		i = up
	}
	h.all[i] = e
}

func (h *heap) pop() (event, bool) {
	if len(h.all) == 0 {
		return event{}, false
	}
	top, last := h.all[0], h.all[len(h.all)-1]
	h.all[len(h.all)-1] = event{} // what it points to may go
	h.all = h.all[:len(h.all)-1]
	if len(h.all) > 0 {
		h.sink(last)
	}
	return top, true
}

// sink puts an event in at the top and lets it down to its place.
func (h *heap) sink(e event) {
	i := 0
	for {
		first := 4*i + 1
		if first >= len(h.all) {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, len(h.all)); c++ {
			if h.all[c].before(&h.all[least]) {
				least = c
			}
		}
		if !h.all[least].before(&e) {
			break
		}
		h.all[i] = h.all[least]
		i = least
	}
	h.all[i] = e
}
