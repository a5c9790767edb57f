package blobs

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"teamtalk/protocol"
)

// victimDir names the folder of a process that is going to be killed.
const victimDir = "TEAMTALK_BLOBS_VICTIM"

// victim stores blobs and says so, while a large upload never ends, until it is killed.
func victim(dir string) {
	die := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	disk, err := NewDisk(dir)
	die(err)
	k, err := New(Config{Backend: disk, Temp: filepath.Join(dir, "tmp"), State: newLedger(), Node: "n1"})
	die(err)
	large, err := k.Begin(context.Background(), 0, 0)
	die(err)
	go func() { // ends with the process
		for {
			_, err := large.Write(make([]byte, 64<<10))
			die(err)
		}
	}()
	for {
		content := make([]byte, 300_000)
		_, err := rand.Read(content)
		die(err)
		d, err := k.Begin(context.Background(), 0, 0)
		die(err)
		for part := content; len(part) > 0; part = part[10_000:] {
			_, err = d.Write(part[:10_000])
			die(err)
		}
		b, err := k.Keep(context.Background(), d, protocol.Blob{})
		die(err)
		fmt.Println(b.ID)
	}
}

// TestKilledWhileWriting kills a process in the middle of uploads: what it said to be stored is whole, nothing else has a blob's name, and what was coming in is
// gone after the next start.
func TestKilledWhileWriting(t *testing.T) {
	for round := range 3 {
		dir := t.TempDir()
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var stored []string
		for len(stored) < 3+5*round && lines.Scan() {
			stored = append(stored, lines.Text())
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // said before it died
			if len(lines.Text()) == 64 {
				stored = append(stored, lines.Text())
			}
		}
		_ = child.Wait() // "signal: killed"
		coming, err := os.ReadDir(filepath.Join(dir, "tmp"))
		if err != nil || len(coming) == 0 {
			t.Errorf("nothing was coming in: %v", err)
		}
		s := openIn(t, dir, "n1", newLedger(), nil)
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("left in the folder of temporary files: %v %v", left, err)
		}
		whole := map[string]bool{}
		for _, name := range s.files(t) {
			whole[name] = true
		}
		for _, id := range stored {
			if !whole[id] {
				t.Errorf("%q was said to be stored", id)
			}
		}
		checkNames(t, s, whole)
	}
}

// checkNames compares the content of files with their names.
func checkNames(t *testing.T, s *site, names map[string]bool) {
	t.Helper()
	for name := range names {
		id, err := protocol.ParseBlobID(strings.TrimSpace(name))
		if err != nil {
			t.Error(err)
			continue
		}
		content, err := os.ReadFile(s.disk.path(id))
		if err != nil || sha256.Sum256(content) != id {
			t.Errorf("%s holds %d bytes of something else, %v", name, len(content), err)
		}
	}
}
