package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teamtalk/internal/terminal"
)

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func aPicture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 30))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// attachments are those of a conversation's last message.
func (s *stage) attachments(profile, with string) []terminal.FileLine {
	s.t.Helper()
	var last terminal.MessageLine
	line := s.must(profile, "", "history", with, "--count", "1", "--json")
	if err := json.Unmarshal([]byte(line), &last); err != nil {
		s.t.Fatalf("%q: %v", line, err)
	}
	return last.Attachments
}

// A picture and a file go from one terminal to another, as pictures and files of all clients [TT-MEDIA-1] [TT-MEDIA-3].
func TestFiles(t *testing.T) {
	s := newStage(t)
	sender, receiver := s.login("user1"), s.login("user2")
	report := make([]byte, 5<<20)                   // more than one piece
	_, _ = rand.NewChaCha8([32]byte{}).Read(report) // never fails
	file, picture := writeFile(t, "报告 (1).bin", report), writeFile(t, "plan.png", aPicture(t))
	s.must(sender, "", "send", "user2", "--file", picture)
	got := s.attachments(receiver, "user1")
	if len(got) != 1 || got[0].Kind != "picture" || !strings.HasSuffix(got[0].Path, ".png") {
		t.Fatalf("picture: %+v", got)
	}
	if out := s.must(sender, "", "send", "user2", "--file", file, "--burn", "1h", "and", "a", "text"); strings.Count(out, "\n") != 2 {
		t.Errorf("sending printed %q", out)
	}
	if shown := s.must(receiver, "", "history", "user1"); !strings.Contains(shown, "[picture]") || !strings.Contains(shown, "[file 报告 (1).bin, 5.2 MB]") {
		t.Errorf("the history shows %s", shown)
	}
	s.must(sender, "", "send", "user2", "--file", file)
	got = s.attachments(receiver, "user1")
	if len(got) != 1 || got[0].Kind != "file" || got[0].Name != "报告 (1).bin" || got[0].Size != "5.2 MB" {
		t.Fatalf("file: %+v", got)
	}
	dir := t.TempDir()
	at := strings.TrimSpace(s.must(receiver, "", "get", got[0].Path, dir))
	if saved, err := os.ReadFile(at); err != nil || !bytes.Equal(saved, report) || filepath.Dir(at) != dir {
		t.Errorf("saved at %s: %d bytes, %v", at, len(saved), err)
	}
	s.mustNot(receiver, "file exists", "get", got[0].Path, dir)
	s.mustNot(receiver, "no content has such a path", "get", "../etc/passwd", dir)
	s.mustNot(receiver, "not_found", "get", "g0/000/001/0001000000000000000000000000000000000000000000000000000000000000.png", dir)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	s.mustNot(sender, "no such file", "send", "user2", "--file", filepath.Join(dir, "nothing"))
	s.mustNot(sender, "is empty", "send", "user2", "--file", writeFile(t, "empty", nil))
}
