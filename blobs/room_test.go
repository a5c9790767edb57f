package blobs

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// nothingComes fails if bytes are still counted as coming.
func (s *site) nothingComes(t *testing.T) {
	t.Helper()
	c := &s.space.coming
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all != 0 || len(c.of) != 0 {
		t.Errorf("%d bytes are coming, of users %v", c.all, c.of)
	}
}

// begins starts an upload, which has to be refused with a code, or let in.
func (s *site) begins(t *testing.T, user protocol.UserID, size uint64, want protocol.Code) *Draft {
	t.Helper()
	d, err := s.Begin(t.Context(), user, size)
	if protocol.CodeOf(err) != want {
		t.Errorf("%d bytes of user %d: %v", size, user, err)
	}
	return d
}

// TestQuotasOfWhatIsComing: two uploads that exceed a quota together are not let in at once, though each would be alone.
func TestQuotasOfWhatIsComing(t *testing.T) {
	for name, quotas := range map[string]struct{ user, all uint64 }{"of a user": {user: 1000}, "of all": {all: 1000}} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			s := open(t, "n1", l, func(c *Config) { c.UserQuota, c.Quota = quotas.user, quotas.all })
			other := protocol.Code(0)
			if quotas.all != 0 {
				other = protocol.CodeQuota
			}
			first := s.begins(t, 7, 600, 0)
			s.begins(t, 7, 600, protocol.CodeQuota)
			if d := s.begins(t, 8, 600, other); d != nil {
				d.Abort()
			}
			if err := s.Room(7, 401); protocol.CodeOf(err) != protocol.CodeQuota {
				t.Errorf("an offer beside it: %v", err)
			}
			second := s.begins(t, 7, 400, 0)
			first.Abort()
			first.Abort()
			s.begins(t, 7, 601, protocol.CodeQuota)
			first = s.begins(t, 7, 600, 0)
			if _, err := first.Write(random(t, 600)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Keep(t.Context(), first, protocol.Blob{Owner: 7}); err != nil {
				t.Fatal(err)
			}
			s.begins(t, 7, 1, protocol.CodeQuota)
			second.Abort()
			if err := s.Room(7, 400); err != nil {
				t.Errorf("what is stored counts twice: %v", err)
			}
			s.nothingComes(t)
		})
	}
}

// TestQuotaOfManyAtOnce: however many begin at the same moment, no more are let in than fit.
func TestQuotaOfManyAtOnce(t *testing.T) {
	s := open(t, "n1", newLedger(), func(c *Config) { c.UserQuota = 1000 })
	drafts := make([]*Draft, 64)
	var wg sync.WaitGroup
	for i := range drafts {
		wg.Go(func() { // joined below
			drafts[i], _ = s.Begin(context.Background(), 7, 300)
		})
	}
	wg.Wait()
	in := 0
	for _, d := range drafts {
		if d != nil {
			in++
			d.Abort()
		}
	}
	if in != 3 {
		t.Errorf("%d were let in", in)
	}
	s.nothingComes(t)
}

// TestQuotaOfTheUnannounced: what comes without its size said counts as it comes.
func TestQuotaOfTheUnannounced(t *testing.T) {
	s := open(t, "n1", newLedger(), func(c *Config) { c.UserQuota = 1000 })
	d := s.begins(t, 7, 0, 0)
	for range 6 {
		if _, err := d.Write(random(t, 100)); err != nil {
			t.Fatal(err)
		}
	}
	s.begins(t, 7, 401, protocol.CodeQuota)
	d.Abort()
	s.nothingComes(t)
}

// TestQuotaOfFetches: what is being fetched from another office takes its room, too.
func TestQuotaOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		s := open(t, "n1", l, func(c *Config) { c.Abroad, c.Quota = &still{}, 1000 })
		first, second := foreign(random(t, 600)), foreign(random(t, 600))
		l.record(first)
		l.record(second)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { // ends with ctx; joined below
			_, err := s.read(ctx, first.ID)
			ended <- err
		}()
		synctest.Wait()
		if _, err := s.read(t.Context(), second.ID); protocol.CodeOf(err) != protocol.CodeQuota {
			t.Errorf("another one beside it: %v", err)
		}
		s.begins(t, 7, 600, protocol.CodeQuota)
		cancel()
		if err := <-ended; err == nil {
			t.Error("it was read")
		}
		time.Sleep(time.Hour) // nobody follows it any more
		s.nothingComes(t)
	})
}

// TestNothingIsStoredYet: as long as the cluster can't record blobs nothing comes in.
func TestNothingIsStoredYet(t *testing.T) {
	l := newLedger()
	l.held = protocol.Errorf(protocol.CodeForbidden, "upgrade all nodes")
	s := open(t, "n1", l, nil)
	s.begins(t, 7, 10, protocol.CodeForbidden)
	if err := s.Room(7, 10); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Error(err)
	}
	if got := s.files(t); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	l.held = nil
	s.begins(t, 7, 10, 0).Abort()
}

// stuck is a disk that takes something only when it is let go.
type stuck struct {
	*Disk
	entered, release chan struct{}
}

// Put waits, whatever the context says.
func (d stuck) Put(_ context.Context, id protocol.BlobID, path string, size uint64) error {
	close(d.entered)
	<-d.release
	return d.Disk.Put(context.Background(), id, path, size)
}

// TestCloseWaits: who is storing something is waited for, and nobody writes after that.
func TestCloseWaits(t *testing.T) {
	l := newLedger()
	s := open(t, "n1", l, nil)
	disk := stuck{s.disk, make(chan struct{}), make(chan struct{})}
	s.cfg.Backend = disk
	late := s.begins(t, 7, 0, 0)
	var kept, closed sync.WaitGroup
	var stored bool
	kept.Go(func() { // ends when the disk goes on
		_, _ = s.upload([]byte("picture"), protocol.Blob{}) // whether it is recorded in the end is the log's affair
		stored = true
	})
	<-disk.entered
	isClosed := make(chan struct{})
	closed.Go(func() { // ends with Close, which waits for the upload
		s.Close()
		close(isClosed)
	})
	<-s.ctx.Done()
	if _, err := late.Write([]byte("x")); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("written after the end: %v", err)
	}
	s.begins(t, 7, 0, protocol.CodeUnavailable)
	if _, err := s.Keep(t.Context(), late, protocol.Blob{}); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("kept after the end: %v", err)
	}
	select {
	case <-isClosed:
		t.Error("it is closed while something is being stored")
	default:
	}
	close(disk.release)
	kept.Wait()
	closed.Wait()
	if !stored || len(l.rows) > 0 {
		t.Errorf("stored: %v, recorded: %v", stored, l.rows)
	}
	s.nothingComes(t)
}
