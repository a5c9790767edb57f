package client

import "time"

// beat sends heartbeats and notices when nothing comes back.
type beat struct {
	every time.Duration
	heard func() time.Time // when the connection last brought anything

	due    time.Time
	seq    uint16    // of the one not answered
	sent   time.Time // when; zero: answered
	proof  time.Time // something has to be heard until then; zero: no
	before time.Time // and after this
}

// turn reports whether a heartbeat is to be sent now.
func (b *beat) turn(now time.Time) bool {
	if now.Before(b.due) {
		return false
	}
	b.due = now.Add(b.every)
	b.sent = now
	return true
}

// answered takes an echo; ok if it is that of the last heartbeat, which took so long.
func (b *beat) answered(seq uint16, now time.Time) (took time.Duration, ok bool) {
	if b.sent.IsZero() || seq != b.seq {
		return 0, false
	}
	took = now.Sub(b.sent)
	b.sent, b.proof = time.Time{}, time.Time{}
	return took, true
}

// prove asks for a sign of life newer than the last.
func (b *beat) prove(now, last time.Time) {
	b.due, b.proof, b.before = now, now.Add(proofTime), last
}

// silent reports whether the path is to be left: nothing heard for two heartbeats while reading, or no proof when it was asked for.
func (b *beat) silent(now, reading time.Time) bool {
	heard := b.heard()
	if heard.After(b.before) || reading.After(b.before) {
		b.proof = time.Time{}
	}
	if !b.proof.IsZero() && !now.Before(b.proof) {
		return true
	}
	return now.Sub(later(heard, reading)) >= 2*b.every
}

// next is when turn or silent have something to say.
func (b *beat) next(reading time.Time) time.Time {
	at := later(b.heard(), reading).Add(2 * b.every)
	if b.due.Before(at) {
		at = b.due
	}
	if !b.proof.IsZero() && b.proof.Before(at) {
		at = b.proof
	}
	return at
}
