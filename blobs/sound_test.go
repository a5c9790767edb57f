package blobs

import (
	"bytes"
	"os"
	"testing"

	"teamtalk/protocol"
)

// rot changes one bit of a blob on a site's disk.
func (s *site) rot(t *testing.T, id protocol.BlobID) {
	t.Helper()
	b, err := os.ReadFile(s.disk.path(id))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(s.disk.path(id), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRottenFile: a file of which the disk has lost a bit is handed out to nobody, and got anew from another node.
func TestRottenFile(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
	content, whole := random(t, soundSize), random(t, 1000)
	id := a.bring(t, content).ID
	b.bring(t, content)
	a.rot(t, id)
	for range 2 {
		if got, err := a.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	eventually(t, "it is right on the disk again", func() bool {
		got, err := os.ReadFile(a.disk.path(id))
		return err == nil && bytes.Equal(got, content)
	})
	if n := total(t, a.metrics.failures)["mismatch"]; n < 1 {
		t.Error("nobody was told")
	}
	asked := w.dialled("n2")
	for range 3 {
		if got, err := a.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if n := w.dialled("n2"); n != asked {
		t.Errorf("fetched %d times more", n-asked)
	}
	id = a.bring(t, whole).ID
	if got, err := a.read(t.Context(), id); err != nil || !bytes.Equal(got, whole) || !a.sound.has(id) {
		t.Errorf("what is right: %d bytes, %v", len(got), err)
	}
}

// TestRottenOnlyCopy: nor is it if there is no other.
func TestRottenOnlyCopy(t *testing.T) {
	s := open(t, "n1", newLedger(), nil)
	id := s.bring(t, random(t, 1000)).ID
	s.rot(t, id)
	if got, err := s.read(t.Context(), id); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestSoundIsBounded: what is remembered of this takes a limited place.
func TestSoundIsBounded(t *testing.T) {
	var s sound
	for i := range soundMost + 10 {
		s.add(protocol.BlobID{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if len(s.ids) != 10 {
		t.Errorf("%d are remembered", len(s.ids))
	}
}
