package pdu

import "sync"

// maxPooled is the largest buffer kept, in bytes: one long history must not stay in memory for good.
const maxPooled = 64 << 10

// Buffer is a place to put PDUs together before they are written.
type Buffer struct {
	B []byte
}

// BufferPool lends buffers. The zero value is ready; it may be used by many goroutines.
type BufferPool struct {
	pool sync.Pool
}

// Take lends an empty buffer.
func (p *BufferPool) Take() *Buffer {
	if b, ok := p.pool.Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, 4<<10)}
}

// Release takes a buffer back; its bytes must not be used afterwards.
func (p *BufferPool) Release(b *Buffer) {
	if cap(b.B) > maxPooled {
		return
	}
	b.B = b.B[:0]
	p.pool.Put(b)
}
