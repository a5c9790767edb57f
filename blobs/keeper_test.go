package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

func TestKeepAndOpen(t *testing.T) {
	for _, content := range [][]byte{nil, []byte("x"), random(t, 3<<20)} {
		l := newLedger()
		s := open(t, "n1", l, nil)
		d, err := s.Begin(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for part := range slices.Chunk(content, 100_000) { // over several connections, say
			if n, err := d.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		again := make([]byte, len(content))
		if n, err := d.ReadAt(again, 0); n != len(content) || err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(again, content) {
			t.Errorf("a draft reads %d bytes, %v", n, err)
		}
		if d.Size() != uint64(len(content)) || d.Sum() != of(content).ID {
			t.Errorf("a draft has %d bytes, %s", d.Size(), d.Sum())
		}
		b, err := s.Keep(t.Context(), d, protocol.Blob{Owner: 7, Type: "image/png", Width: 3, Height: 4})
		if err != nil || b.ID != of(content).ID || b.Size != uint64(len(content)) || b.Owner != 7 || b.Type != "image/png" || b.Width != 3 || b.Height != 4 || b.Added == 0 {
			t.Errorf("kept %+v, %v", b, err)
		}
		if got, err := s.read(t.Context(), b.ID); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back of %d, %v", len(got), len(content), err)
		}
		if _, err := d.Write([]byte("more")); err == nil {
			t.Error("a draft that was kept takes more")
		}
		d.Abort()
		if got := s.files(t); !slices.Equal(got, []string{b.ID.String()}) || !slices.Equal(l.holders(b.ID), []protocol.NodeID{"n1"}) {
			t.Errorf("files %v, holders %v", got, l.holders(b.ID))
		}
	}
}

// TestUploadsThatEnd: nothing is left of uploads that were given up, refused or announced wrongly.
func TestUploadsThatEnd(t *testing.T) {
	l := newLedger()
	s := open(t, "n1", l, func(c *Config) { c.Quota = 1000 })
	d, err := s.Begin(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("half a pic")); err != nil {
		t.Fatal(err)
	}
	d.Abort()
	if _, err := s.Keep(t.Context(), d, protocol.Blob{}); err == nil {
		t.Error("an upload that was given up was kept")
	}
	if _, err := s.upload([]byte("x"), of([]byte("y"))); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("an upload of another content than announced: %v", err)
	}
	if _, err := s.upload(random(t, 2000), protocol.Blob{}); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("over the quota: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Begin(gone, 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("begun for somebody who is gone: %v", err)
	}
	if got := s.files(t); len(got) > 0 || len(l.rows) > 0 {
		t.Errorf("left: %v, %v", got, l.rows)
	}
	if err := s.Room(7, 1000); err != nil {
		t.Error(err)
	}
	if err := s.Room(7, 1001); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("room for too much: %v", err)
	}
}

func TestRoomOfAUser(t *testing.T) {
	s := open(t, "n1", newLedger(), func(c *Config) { c.UserQuota = 1000 })
	s.bring(t, random(t, 600)) // of user 7
	for _, c := range []struct {
		user protocol.UserID
		size uint64
		want protocol.Code
	}{{7, 400, 0}, {7, 401, protocol.CodeQuota}, {7, 1 << 39, protocol.CodeQuota}, {8, 1000, 0}, {8, 1001, protocol.CodeQuota}, {0, 1001, 0}} {
		if err := s.Room(c.user, c.size); protocol.CodeOf(err) != c.want {
			t.Errorf("%d bytes of user %d: %v", c.size, c.user, err)
		}
	}
}

// TestSyncFails: what the disk does not take for good is not stored, recorded or left.
func TestSyncFails(t *testing.T) {
	broken := errors.New("input/output error")
	fails := func(*os.File) error { return broken }
	for name, spoil := range map[string]func(*site){
		"file":         func(s *site) { s.sync = fails },
		"folder":       func(s *site) { s.disk.sync = fails },
		"inner folder": func(s *site) { s.disk.sync = failsAt(1, broken) },
		"after moving": func(s *site) { s.disk.sync = failsAt(2, broken) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			s := open(t, "n1", l, nil)
			spoil(s)
			if _, err := s.upload([]byte("picture"), protocol.Blob{}); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if got := s.files(t); len(got) > 0 || len(l.rows) > 0 || len(l.done) > 0 {
				t.Errorf("left: %v, recorded: %v", got, l.rows)
			}
		})
	}
}

// failsAt lets so many syncs pass.
func failsAt(pass int, err error) func(*os.File) error {
	return func(f *os.File) error {
		if pass--; pass < 0 {
			return err
		}
		return f.Sync()
	}
}

// TestSyncedBeforeRecorded: the file, its name and the folders' names are safe before the command is proposed.
func TestSyncedBeforeRecorded(t *testing.T) {
	l := newLedger()
	s := open(t, "n1", l, nil)
	var synced []string
	note := func(f *os.File) error {
		if len(l.done) > 0 {
			t.Errorf("%s is synced after it was recorded", f.Name())
		}
		rel, err := filepath.Rel(s.dir, f.Name())
		synced = append(synced, filepath.Dir(rel)+"/"+map[bool]string{true: "draft", false: filepath.Base(rel)}[filepath.Dir(rel) == "tmp"])
		return errors.Join(err, f.Sync())
	}
	s.sync, s.disk.sync = note, note
	id := s.bring(t, []byte("picture")).ID.String()
	want := []string{"tmp/draft", "./.", "./" + id[:2], id[:2] + "/" + id[2:4]}
	if !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
}

// TestDiskFull: uploads are refused when less than twice store.min_free is left, before they begin and in their middle, and again taken when there is room.
func TestDiskFull(t *testing.T) {
	var mu sync.Mutex
	free := uint64(1 << 30)
	set := func(to uint64) { mu.Lock(); free = to; mu.Unlock() }
	l := newLedger()
	s := open(t, "n1", l, func(c *Config) {
		c.MinFree = 64 << 20
		c.FreeSpace = func() (uint64, error) { mu.Lock(); defer mu.Unlock(); return free, nil }
	})
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrDiskFull) || protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Room(7, 1<<30-128<<20); err != nil {
		t.Error(err)
	}
	want("announced", s.Room(7, 1<<30-128<<20+1))
	d, err := s.Begin(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(make([]byte, lookEvery)); err != nil {
		t.Fatal(err)
	}
	set(127 << 20)
	var written int
	for err == nil && written < 64<<20 {
		var n int
		n, err = d.Write(make([]byte, 100_000))
		written += n
	}
	want("in the middle", err)
	if written > 2*lookEvery {
		t.Errorf("%d bytes were written to a full disk", written)
	}
	_, err = d.Write([]byte("more"))
	want("after that", err)
	_, err = s.Keep(t.Context(), d, protocol.Blob{})
	want("kept", err)
	_, err = s.Begin(t.Context(), 0, 0)
	want("begun", err)
	if got := s.files(t); len(got) > 0 || len(l.rows) > 0 {
		t.Errorf("left: %v", got)
	}
	set(1 << 30)
	s.bring(t, []byte("after"))
}

// TestSmallDisk is a disk that is really full.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("can't mount a tmpfs here: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	l := newLedger()
	s := openIn(t, dir, "n1", l, nil)
	kept := s.bring(t, random(t, 1<<20))
	if _, err := s.upload(random(t, 8<<20), protocol.Blob{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if got := s.files(t); !slices.Equal(got, []string{kept.ID.String()}) {
		t.Errorf("left: %v", got)
	}
	s.bring(t, random(t, 1<<20))
	guarded := openIn(t, dir, "n1", l, func(c *Config) { c.MinFree, c.FreeSpace = 2<<20, nil })
	if _, err := guarded.Begin(t.Context(), 0, 0); !errors.Is(err, ErrDiskFull) {
		t.Errorf("an upload was begun with 2 MiB left: %v", err)
	}
}

// TestLeaderIsLost: an upload waits for the next leader, and one whose outcome stays unknown keeps its content.
func TestLeaderIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		s := open(t, "n1", l, nil)
		lost := error(protocol.Errorf(protocol.CodeUnavailable, "no leader"))
		l.fails = slices.Repeat([]error{lost}, 5)
		began := time.Now()
		b := s.bring(t, []byte("one"))
		if took := time.Since(began); took < time.Second || took > 5*time.Second || !slices.Equal(l.holders(b.ID), []protocol.NodeID{"n1"}) {
			t.Errorf("stored after %s", took)
		}
		l.fails = slices.Repeat([]error{lost}, 1000)
		if _, err := s.upload([]byte("two"), protocol.Blob{}); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("without a leader: %v", err)
		}
		if got := s.files(t); !slices.Equal(got, []string{b.ID.String()}) {
			t.Errorf("left: %v", got)
		}
		// It may be in the log, and be carried out later.
		l.fails = append([]error{protocol.OutcomeUnknownf("the leader is gone")}, slices.Repeat([]error{lost}, 1000)...)
		if _, err := s.upload([]byte("three"), protocol.Blob{}); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("with an unknown outcome: %v", err)
		}
		if got := s.files(t); !slices.Contains(got, of([]byte("three")).ID.String()) {
			t.Errorf("content is gone that may be recorded: %v", got)
		}
	})
}

// TestTwoBringTheSame: of the same content brought by many at once one file stays, also if a third has it dropped meanwhile.
func TestTwoBringTheSame(t *testing.T) {
	l := newLedger()
	events := l.events()
	s := open(t, "n1", l, func(c *Config) { c.Events = events })
	s.run(t)
	content := []byte("the same")
	id := of(content).ID
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if i == 0 {
					if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
						t.Error(err)
					}
				} else if _, err := s.upload(content, protocol.Blob{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b := s.bring(t, content)
	if got, err := s.read(t.Context(), b.ID); err != nil || !bytes.Equal(got, content) {
		t.Errorf("it is recorded, and %q %v", got, err)
	}
	if got := s.files(t); !slices.Equal(got, []string{id.String()}) {
		t.Errorf("left: %v", got)
	}
}

// slow is a disk that takes a while to remove something, in which it is told.
type slow struct {
	*Disk
	removing func()
}

// Remove tells and removes.
func (d slow) Remove(ctx context.Context, id protocol.BlobID) error {
	d.removing()
	return d.Disk.Remove(ctx, id)
}

// TestBroughtWhileRemoved: what is brought again while its dropped content is being removed stays.
func TestBroughtWhileRemoved(t *testing.T) {
	l := newLedger()
	s := open(t, "n1", l, nil)
	content := []byte("comes back")
	id := s.bring(t, content).ID
	if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
		t.Fatal(err)
	}
	kept := make(chan error, 1)
	s.cfg.Backend = slow{s.disk, func() {
		done := make(chan struct{})
		go func() { // ends with the upload, which is waited for below
			defer close(done)
			_, err := s.upload(content, protocol.Blob{})
			kept <- err
		}()
		select { // it has to wait for the removal; if it does not, it is done in no time
		case <-done:
		case <-time.After(100 * time.Millisecond):
		}
	}}
	s.removeDropped(t.Context(), []protocol.BlobID{id})
	if err := <-kept; err != nil {
		t.Fatal(err)
	}
	if got, err := s.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
		t.Errorf("it is recorded, and %q %v", got, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	whole := Config{Backend: &Disk{}, Temp: t.TempDir(), State: newLedger(), Node: "n1", Registerer: prometheus.NewRegistry()}
	for name, spoil := range map[string]func(*Config){"backend": func(c *Config) { c.Backend = nil }, "folder": func(c *Config) { c.Temp = "" },
		"state": func(c *Config) { c.State = nil }, "node": func(c *Config) { c.Node = "" }} {
		c := whole
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("made without a %s", name)
		}
	}
	k, err := New(whole)
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	if _, err := New(whole); err == nil {
		t.Error("its metrics were registered twice")
	}
}
