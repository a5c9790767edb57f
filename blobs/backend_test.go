package blobs

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"teamtalk/protocol"
)

// backends are all there are; s3 is a test double of a store, with the real client.
func backends(t *testing.T) map[string]Backend {
	disk, err := NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Backend{"disk": disk, "s3": newFakeS3(t)}
}

func newFakeS3(t *testing.T) *S3 {
	t.Helper()
	fake := s3mem.New()
	if err := fake.CreateBucket("files"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(fake).Server())
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	s, err := NewS3(S3Config{Endpoint: server.Listener.Addr().String(), Bucket: "files", Region: "us-east-1", AccessKey: "key", SecretKey: "secret",
		Prefix: "teamtalk/", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBackends is what a Keeper relies on, whatever the backend.
func TestBackends(t *testing.T) {
	for name, b := range backends(t) {
		t.Run(name, func(t *testing.T) {
			small, large := random(t, 1000), random(t, 1<<20)
			put(t, b, small)
			put(t, b, large)
			put(t, b, small) // again: nothing changes
			put(t, b, nil)
			for _, content := range [][]byte{small, large, nil} {
				id := of(content).ID
				at, err := b.Stat(t.Context(), id)
				if err != nil || at.Size != uint64(len(content)) || time.Since(at.Put).Abs() > patience {
					t.Errorf("%d bytes: %+v %v", len(content), at, err)
				}
				if got := readAll(t, b, id); !bytes.Equal(got, content) {
					t.Errorf("%d bytes came back of %d", len(got), len(content))
				}
			}
			ranges(t, b, large)
			want := []protocol.BlobID{of(small).ID, of(large).ID, of(nil).ID}
			slices.SortFunc(want, compareIDs)
			if got := list(t, b); !slices.Equal(got, want) {
				t.Errorf("listed: %v, want %v", got, want)
			}
			stop := errors.New("stop")
			if err := b.List(t.Context(), func(protocol.BlobID, Stat) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("a list that was stopped: %v", err)
			}
			forget(t, b, of(large).ID)
			if got := list(t, b); len(got) != 2 || slices.Contains(got, of(large).ID) {
				t.Errorf("listed after the removal: %v", got)
			}
		})
	}
}

func put(t *testing.T, b Backend, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "content")
	if d, ok := b.(*Disk); ok { // on its own file system
		path = filepath.Join(d.dir, "tmp-content")
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), of(content).ID, path, uint64(len(content)+1)); err == nil {
		t.Error("a file of another size was taken")
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), of(content).ID, path, uint64(len(content))); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, b Backend, id protocol.BlobID) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return got
}

// ranges reads here and there.
func ranges(t *testing.T, b Backend, content []byte) {
	t.Helper()
	r, err := b.Open(t.Context(), of(content).ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, at := range []struct {
		offset int64
		whence int
		want   int64
	}{{100, io.SeekStart, 100}, {50, io.SeekCurrent, 160}, {-10, io.SeekEnd, int64(len(content)) - 10}, {0, io.SeekStart, 0}} {
		if got, err := r.Seek(at.offset, at.whence); err != nil || got != at.want {
			t.Errorf("seek: %d %v, want %d", got, err, at.want)
		}
		got := make([]byte, 10)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, content[at.want:at.want+10]) {
			t.Errorf("at %d: another content, %v", at.want, err)
		}
	}
	if at, err := r.Seek(0, io.SeekEnd); err != nil || at != int64(len(content)) {
		t.Errorf("the end is at %d, %v", at, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d %v", n, err)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the begin")
	}
}

func list(t *testing.T, b Backend) (ids []protocol.BlobID) {
	t.Helper()
	err := b.List(t.Context(), func(id protocol.BlobID, at Stat) error {
		if seen, err := b.Stat(t.Context(), id); err != nil || seen.Size != at.Size {
			t.Errorf("listed as %+v, looked at %+v %v", at, seen, err)
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return ids
}

// forget removes a blob, twice.
func forget(t *testing.T, b Backend, id protocol.BlobID) {
	t.Helper()
	for range 2 {
		if err := b.Remove(t.Context(), id); err != nil {
			t.Errorf("remove: %v", err)
		}
		if _, err := b.Stat(t.Context(), id); !errors.Is(err, ErrMissing) {
			t.Errorf("removed, and looked at: %v", err)
		}
		if r, err := b.Open(t.Context(), id); !errors.Is(err, ErrMissing) {
			t.Errorf("removed, and opened: %v %v", r, err)
		}
	}
}

// TestForeignFiles: what is in the folder, or the bucket, besides blobs stays out of it.
func TestForeignFiles(t *testing.T) {
	disk, err := NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	content := random(t, 10)
	put(t, disk, content)
	id := of(content).ID.String()
	for _, path := range []string{"README", "lost+found/x", id[:2] + "/README", id[:2] + "/" + id[2:4] + "/README", id[:2] + "/" + id[2:4] + "/" + of(nil).ID.String()} {
		path = filepath.Join(disk.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, disk); !slices.Equal(got, []protocol.BlobID{of(content).ID}) {
		t.Errorf("listed: %v", got)
	}
}

func TestS3WithoutBucket(t *testing.T) {
	s := newFakeS3(t)
	s.bucket = "others"
	if err := s.Check(t.Context()); err == nil {
		t.Error("no word of a bucket that is not there")
	}
	if _, err := s.Stat(t.Context(), of(nil).ID); err == nil {
		t.Error("something in a bucket that is not there")
	}
}
