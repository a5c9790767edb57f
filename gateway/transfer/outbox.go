package transfer

import "sync"

// maxFrames is how many frames may wait for a client: heartbeats and pulls are small, but they cost as well. Blocks are bounded by their bytes.
const maxFrames = 256

// outbox holds the frames that wait for one connection, and writes them.
type outbox struct {
	mu      sync.Mutex // guards what follows
	changed sync.Cond
	frames  [][]byte
	bytes   int  // waiting and being written
	closing bool // nothing more is taken
	broken  bool // nothing more is written
}

func (o *outbox) init() { o.changed.L = &o.mu }

// put queues a frame. False: it is not taken, because the box is closing or the client does not take what it is sent.
func (o *outbox) put(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing || o.broken || len(o.frames) >= maxFrames {
		return false
	}
	o.frames = append(o.frames, b)
	o.bytes += len(b)
	o.changed.Broadcast()
	return true
}

// waiting is how many bytes have not been written.
func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// room waits until fewer than limit bytes wait. False: nothing more is written.
func (o *outbox) room(limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes >= limit && !o.broken {
		o.changed.Wait()
	}
	return !o.broken
}

// close takes no more frames; run returns when those there are have been written.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = true
	o.changed.Broadcast()
}

// run writes until the box is closed and empty, which it reports, or a write fails. After each write it calls wrote.
func (o *outbox) run(write func([][]byte) error, wrote func()) (whole bool) {
	for {
		batch, bytes := o.take()
		if len(batch) == 0 {
			return true
		}
		err := write(batch)
		o.mu.Lock()
		o.bytes -= bytes
		o.broken = err != nil
		o.changed.Broadcast()
		o.mu.Unlock()
		if err != nil {
			return false
		}
		wrote()
	}
}

func (o *outbox) take() (batch [][]byte, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) == 0 && !o.closing {
		o.changed.Wait()
	}
	batch, o.frames = o.frames, nil
	return batch, o.bytes
}
