package scalemodel

import "time"

// kind is what an event between clusters is.
type kind uint8

const (
	kindMessage kind = iota
	kindMark
	kindPost
	kindHubPost
	kindChange
	kinds
)

// item is an event that waits for a peer, or a bundle of them that were said at the same time.
type item struct {
	said    time.Duration // when its author said it
	n       int32
	kind    kind
	spread  uint8 // of a post: clusters that its group has members in
	crosses bool  // it has gone over a link that the outage cuts
	echo    bool  // a hub's answer to the author's own cluster, which has shown the post already
}

// fate of a batch, as the receiver knows it.
type fate uint8

const (
	fateSent  fate = iota // on its way, or lost
	fateTaken             // being committed
	fateCommitted
	fateAcked // the sender knows
)

// batch is what goes over a link at once.
type batch struct {
	lane   int
	items  []item
	events int
	bytes  float64 // all of it
	queued float64 // of the outbox that it stands for
	gen    uint32  // of the connection
	fate   fate
}

// weight is the memory that it takes at its receiver.
func (b *batch) weight() float64 { return b.queued + beside*float64(b.events) }

// beside is what an event takes there beside its bytes.
const beside = 256

// signatures is how many its receiver has to check: its own, that of each event, and what a hub has put into its place is signed by its origin, too.
func (b *batch) signatures() float64 {
	n := 1.0
	for _, it := range b.items {
		n += signatures(it.kind) * float64(it.n)
	}
	return n
}

func signatures(k kind) float64 {
	if k == kindHubPost {
		return 2
	}
	return 1
}

// fifo is a queue.
type fifo[T any] struct {
	all  []T
	head int
}

func (f *fifo[T]) len() int { return len(f.all) - f.head }

func (f *fifo[T]) push(v T) {
	if f.head > 1024 && 2*f.head > len(f.all) {
		f.all = append(f.all[:0:0], f.all[f.head:]...)
		f.head = 0
	}
	f.all = append(f.all, v)
}

func (f *fifo[T]) peek() *T { return &f.all[f.head] }

func (f *fifo[T]) pop() T {
	v := f.all[f.head]
	var none T
	f.all[f.head] = none
	f.head++
	if f.head == len(f.all) {
		f.all, f.head = f.all[:0], 0
	}
	return v
}

// prepend puts some before all others.
func (f *fifo[T]) prepend(vs []T) {
	f.all = append(vs, f.all[f.head:]...)
	f.head = 0
}
