package blobs

import (
	"context"
	"fmt"
	"io"
	"testing"

	"teamtalk/protocol"
)

// BenchmarkPut stores blobs on a disk, each with its syncs.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, content := open(b, "n1", newLedger(), nil), random(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				content[0], content[1], content[2] = byte(i), byte(i>>8), byte(i>>16)
				r := s.bring(b, content)
				b.StopTimer() // the disk is for others, too
				if err := s.disk.Remove(b.Context(), r.ID); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkGet reads one that is here.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{64 << 10, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := open(b, "n1", newLedger(), nil)
			r := s.bring(b, random(b, size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				drain(b, s, r.ID)
			}
		})
	}
}

// BenchmarkFetch gets one from another node, without a network between, and stores it.
func BenchmarkFetch(b *testing.B) {
	const size = 64 << 20
	l, w := newLedger(), newTown(b)
	from, to := w.add(b, "n1", l, nil), w.add(b, "n2", l, nil)
	r := from.bring(b, random(b, size))
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		drain(b, to, r.ID)
		b.StopTimer()
		for busy := true; busy; {
			to.mu.Lock()
			busy = len(to.fetches) > 0
			to.mu.Unlock()
		}
		if err := to.disk.Remove(b.Context(), r.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func drain(b *testing.B, s *site, id protocol.BlobID) {
	c, err := s.Open(context.Background(), id)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(io.Discard, c); err != nil {
		b.Fatal(err)
	}
}
