package blobs

import (
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"teamtalk/protocol"
)

const (
	// soundSize is up to which size content is read from the disk and compared with its name before it is handed out for the first time since the start: nearly
	// all pictures and voice messages. What is larger would have its reader wait, for every one of its parts.
	soundSize = 1 << 20
	// soundMost is how many are remembered to be right; then they are compared again.
	soundMost = 1 << 16
)

// sound are blobs whose content is on this node's disk as it should be: a disk may lose a bit and not tell.
type sound struct {
	mu  sync.Mutex // guards what follows
	ids map[protocol.BlobID]struct{}
}

func (s *sound) has(id protocol.BlobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.ids[id]
	return is
}

func (s *sound) add(id protocol.BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil || len(s.ids) >= soundMost {
		s.ids = map[protocol.BlobID]struct{}{}
	}
	s.ids[id] = struct{}{}
}

// checkSound refuses content of this node's disk that is not what it is called, the first time that it is opened.
func (k *Keeper) checkSound(b *protocol.Blob, content io.ReadSeeker) error {
	if b.Size > soundSize || k.cfg.Backend.Shared() || k.sound.has(b.ID) {
		return nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{content}, make([]byte, pieceSize)); err != nil {
		return err
	}
	if id := protocol.BlobID(h.Sum(nil)); id != b.ID {
		k.metrics.failures.WithLabelValues("disk", "mismatch").Inc()
		return fmt.Errorf("the disk has changed it: its SHA-256 is %s", id)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	k.sound.add(b.ID)
	return nil
}
