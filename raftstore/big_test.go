package raftstore

import (
	"crypto/rand"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// TestOpenLargeState builds a state of TT_BIG_STATE megabytes and wants it to open within a second, with a large log
// beside it. It takes a minute and the space, so it has to be asked for.
func TestOpenLargeState(t *testing.T) {
	mb, err := strconv.Atoi(os.Getenv("TT_BIG_STATE"))
	if err != nil {
		t.Skip("set TT_BIG_STATE to a number of megabytes, for example 1024")
	}
	dir := used(t, 1)
	grow(t, filepath.Join(dir, stateName(1)), mb)
	fi, err := os.Stat(filepath.Join(dir, stateName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"state alone", "with 256 MiB of log"} {
		cfg := single(t, dir)
		start := time.Now()
		s := open(t, cfg)
		opened := time.Since(start)
		eventually(t, "ready", func() bool { return s.Ready() == nil })
		t.Logf("%s: %d MiB opened in %s, ready after %s", what, fi.Size()>>20, opened, time.Since(start))
		if opened > time.Second {
			t.Errorf("opening took %s", opened)
		}
		for range 256 {
			propose(t, s, string(make([]byte, 1<<20-64)))
		}
		closeStore(t, s)
	}
}

// grow fills the toy's bucket with rows, half of them large, and deletes some so that there is a freelist worth reading.
func grow(t *testing.T, path string, mb int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 1<<20)
	_, _ = rand.Read(value)
	var n uint64
	for written := 0; written < mb<<20; {
		err := db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(toyBucket)
			b.FillPercent = 1
			for range 16 << 10 {
				n++
				size := 300 + int(n%2)*1500
				at := int(n*7919) % (len(value) - size)
				if err := b.Put(binary.BigEndian.AppendUint64(nil, 1<<40+n), value[at:at+size]); err != nil {
					return err
				}
				written += size
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for i := uint64(1); i < n/10; i++ {
			if err := tx.Bucket(toyBucket).Delete(binary.BigEndian.AppendUint64(nil, 1<<40+i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
