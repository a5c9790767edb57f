//go:build linux

package simdisk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

// childJob is set in a process of its own that works on a database: a mapping must not be read by the process that serves it.
const childJob = "SIMDISK_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childJob); job != "" {
		if err := work(job, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T) (*Disk, string) {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	d, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, dir
}

// cutAndPowerOn takes the power away and gives it back.
func cutAndPowerOn(t *testing.T, d *Disk, random *rand.Rand) {
	t.Helper()
	d.Cut(random)
	if err := d.PowerOn(); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string, syncs bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if syncs {
		err = errors.Join(err, f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil && want != "-" || err == nil && string(got) != want {
		t.Errorf("%s has %q, want %q (%v)", filepath.Base(path), got, want, err)
	}
	if want == "-" && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %q, %v", filepath.Base(path), got, err)
	}
}

// TestCut: nothing survives but what was synced.
func TestCut(t *testing.T) {
	d, dir := start(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"synced", "overwritten", "written only", "renamed", "removed", "shrunk"} {
		put(t, at(name), "old "+name, true)
	}
	put(t, at("never synced"), "x", false)
	if err := os.Mkdir(at("sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	syncDir(t, dir)
	put(t, at("overwritten"), "NEW", true)
	put(t, at("written only"), "NEW", false)
	put(t, at("new, synced, unlisted"), "x", true)
	put(t, at("sub/listed"), "in sub", true)
	syncDir(t, at("sub"))
	if err := errors.Join(os.Rename(at("renamed"), at("renamed2")), os.Remove(at("removed")), os.Truncate(at("shrunk"), 2)); err != nil {
		t.Fatal(err)
	}
	wantFile(t, at("written only"), "NEW written only"[:3]+"old written only"[3:])
	f, err := os.Open(at("synced"))
	if err != nil {
		t.Fatal(err)
	}
	d.Cut(nil)
	if _, err := os.ReadFile(at("synced")); err == nil {
		t.Error("a file could be opened without power")
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync without power: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := d.PowerOn(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"synced": "old synced", "overwritten": "NEW overwritten", "written only": "old written only", "renamed": "old renamed", "renamed2": "-",
		"removed": "old removed", "shrunk": "old shrunk", "never synced": "", "new, synced, unlisted": "-", "sub/listed": "in sub",
	} {
		wantFile(t, at(name), want)
	}
	if lost := d.Counts().Lost; lost < 4 {
		t.Errorf("%d losses were counted", lost)
	}
}

// TestCutAtRandom: what was not synced survives in part, what was synced always, and a settled disk loses nothing.
func TestCutAtRandom(t *testing.T) {
	d, dir := start(t)
	random := rand.New(rand.NewPCG(7, 7))
	path := filepath.Join(dir, "f")
	put(t, path, strings.Repeat("a", 20*pageSize), true)
	syncDir(t, dir)
	old, fresh, torn := 0, 0, 0
	for range 20 {
		put(t, path, strings.Repeat("a", 20*pageSize), true)
		put(t, path, strings.Repeat("b", 20*pageSize), false)
		cutAndPowerOn(t, d, random)
		got, err := os.ReadFile(path)
		if err != nil || len(got) != 20*pageSize {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		for p := 0; p < len(got); p += pageSize {
			switch n := bytes.Count(got[p:p+pageSize], []byte("a")); n {
			case 0:
				fresh++
			case pageSize:
				old++
			default:
				if torn++; n%sectorSize != 0 {
					t.Errorf("a sector is torn: %d of a", n)
				}
			}
		}
	}
	if old < 50 || fresh < 50 || torn < 20 {
		t.Errorf("%d pages old, %d new, %d torn", old, fresh, torn)
	}
	put(t, path, strings.Repeat("c", 20*pageSize), false)
	put(t, filepath.Join(dir, "g"), "g", false)
	d.Settle()
	cutAndPowerOn(t, d, random)
	wantFile(t, path, strings.Repeat("c", 20*pageSize))
	wantFile(t, filepath.Join(dir, "g"), "g")
}

// TestFullSlowAndFailing: room, time and errors are what the test says.
func TestFullSlowAndFailing(t *testing.T) {
	d, dir := start(t)
	path := filepath.Join(dir, "f")
	d.Limit(10 * pageSize)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.Write(make([]byte, 8*pageSize)); err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := f.Write(make([]byte, 3*pageSize)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Bavail*uint64(st.Bsize) != 2*pageSize {
		t.Errorf("%d pages are free, %v", st.Bavail, err)
	}
	if _, err := f.WriteAt(make([]byte, 8*pageSize), 0); err != nil {
		t.Errorf("overwriting on a full disk: %v", err)
	}
	if err := f.Truncate(0); err != nil || d.Used() != 0 {
		t.Errorf("%d bytes are used by an empty file, %v", d.Used(), err)
	}
	d.SlowSync(50 * time.Millisecond)
	began := time.Now()
	if err := f.Sync(); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("fsync took %s, %v", time.Since(began), err)
	}
	d.SlowSync(0)
	d.FailSync(true)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failing fsync: %v", err)
	}
}

// TestDatabaseSurvives: a database, which is read through a mapping and synced before each answer, has after a cut what it has confirmed, whole; on
// a disk whose fsync lies it has not, so this test can fail.
func TestDatabaseSurvives(t *testing.T) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for name, c := range map[string]struct {
		random *rand.Rand
		lies   bool
	}{"nothing unsynced": {}, "some of it": {random: random}, "lying": {lies: true}} {
		t.Run(name, func(t *testing.T) {
			d, dir := start(t)
			path := filepath.Join(dir, "db")
			if _, err := run(t, "write 1", path, 1, nil); err != nil {
				t.Fatal(err)
			}
			syncDir(t, dir)
			d.LieSync(c.lies)
			confirmed, err := run(t, "write 100000", path, 60+random.IntN(100), func() { d.Cut(c.random) })
			if err == nil {
				t.Error("the program did not notice that the power was cut")
			}
			d.LieSync(false)
			if err := d.PowerOn(); err != nil {
				t.Fatal(err)
			}
			_, err = run(t, fmt.Sprintf("check %d", confirmed), path, 1, nil)
			if c.lies != (err != nil) {
				t.Errorf("%d confirmed, lying %v: %v", confirmed, c.lies, err)
			}
		})
	}
}

// run has a child do a job; after so many lines of its output it calls then. It returns how many rows the child confirmed in all.
func run(t *testing.T, job, path string, lines int, then func()) (confirmed int, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), childJob+"="+job)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if confirmed++; confirmed == lines && then != nil {
			then()
		}
	}
	if err := cmd.Wait(); err != nil {
		return confirmed, fmt.Errorf("%w: %s", err, said.String())
	}
	return confirmed, nil
}

// work is what a child does: it writes rows one by one, each confirmed on the output, or checks that so many are there.
func work(job, path string) error {
	verb, number, _ := strings.Cut(job, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, InitialMmapSize: 1 << 26})
	if err != nil {
		return err
	}
	defer db.Close()
	key := func(i int) []byte { return fmt.Appendf(nil, "%08d", i) }
	row := func(i int) []byte { return bytes.Repeat(key(i), 40) }
	have := func(tx *bbolt.Tx, i int) error {
		if got := tx.Bucket([]byte("rows")).Get(key(i)); !bytes.Equal(got, row(i)) {
			return fmt.Errorf("row %d is %q", i, got)
		}
		return nil
	}
	if verb == "check" {
		return db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			for i := range n {
				if err := have(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i := range n {
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("rows"))
			if err != nil {
				return err
			}
			return b.Put(key(i), row(i))
		}); err != nil {
			return err
		}
		if err := db.View(func(tx *bbolt.Tx) error { return have(tx, i) }); err != nil { // through the mapping
			return err
		}
		fmt.Println(i)
	}
	return nil
}
