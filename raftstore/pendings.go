package raftstore

import "sync"

// pendings are this node's commands that travel through another node, by sequence. Each entry of the log names the node and
// the sequence of what was forwarded, so whoever waits is answered when this node has executed the entry itself. Who takes a
// command out of here is the one who answers it.
type pendings struct {
	node NodeID
	own  []ownRun // of the batch being executed; the state machine's goroutine only

	mu      sync.Mutex // guards what follows
	waiting map[uint64]*proposal
	passed  uint64 // all entries up to this index were answered
}

// ownRun is a run of this node's commands and the results of the whole entry.
type ownRun struct {
	origin
	results []any
}

func newPendings(node NodeID) *pendings {
	return &pendings{node: node, waiting: make(map[uint64]*proposal)}
}

// note remembers whose results an entry's are; they are there when flush is called.
func (w *pendings) note(e *entry, results []any) {
	for _, o := range e.origins {
		if o.node == w.node {
			w.own = append(w.own, ownRun{o, results})
		}
	}
}

// flush answers what was noted: the entries up to index are on disk.
func (w *pendings) flush(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.own {
		for i := range r.n {
			if p := w.waiting[r.first+uint64(i)]; p != nil {
				w.removeLocked(p)
				p.answer <- outcome{result: r.results[r.at+i]}
			}
		}
	}
	clear(w.own)
	w.own = w.own[:0]
	w.passed = max(w.passed, index)
}

func (w *pendings) removeLocked(p *proposal) {
	delete(w.waiting, p.seq)
	p.ride.left.Add(-1)
}

func (w *pendings) add(ride *forward) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ride.left.Store(int32(len(ride.proposals)))
	for _, p := range ride.proposals {
		p.ride = ride
		w.waiting[p.seq] = p
	}
}

// take gives those of a ride that nobody answered yet to the caller.
func (w *pendings) take(ride *forward) []*proposal {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*proposal
	for _, p := range ride.proposals {
		if w.waiting[p.seq] == p && p.ride == ride {
			w.removeLocked(p)
			out = append(out, p)
		}
	}
	return out
}

// abandon answers everything that waits.
func (w *pendings) abandon(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.waiting {
		w.removeLocked(p)
		p.answer <- outcome{err: err}
	}
}

// answered is the index up to which every entry was answered.
func (w *pendings) answered() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.passed
}
