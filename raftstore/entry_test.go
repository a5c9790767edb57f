package raftstore

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cmds := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 600).Draw(t, "commands")
		ms := rapid.Int64Range(0, 1<<50).Draw(t, "time")
		e, err := decodeEntry(encodeEntry(ms, cmds))
		if err != nil {
			t.Fatal(err)
		}
		if e.timeMs != ms || len(e.commands) != len(cmds) {
			t.Fatalf("got time %d and %d commands", e.timeMs, len(e.commands))
		}
		for i := range cmds {
			if !bytes.Equal(e.commands[i], cmds[i]) {
				t.Fatalf("command %d differs", i)
			}
		}
	})
}

func TestEntryDamage(t *testing.T) {
	good := encodeEntry(1, [][]byte{[]byte("abc"), []byte("defg")})
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, err := decodeEntry(bad); err == nil {
				t.Errorf("bit %d of byte %d flipped, and nobody noticed", bit, i)
			}
		}
	}
	for n := range good {
		if _, err := decodeEntry(good[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken for an entry", n, len(good))
		}
	}
}

func TestEntryOfNewerVersion(t *testing.T) {
	b := encodeEntry(1, [][]byte{nil})
	b[0] = entryVersion + 1
	_, err := decodeEntry(b)
	if !errors.Is(err, errNewerEntry) {
		t.Fatalf("got %v", err)
	}
	if got := entryError(7, err).Error(); !strings.Contains(got, "newer version") || !strings.Contains(got, "entry 7") {
		t.Errorf("error does not say what to do: %s", got)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(1234, [][]byte{[]byte("a"), {}, []byte("ccc")})[entryHeaderLen:])
	f.Add([]byte{0, 255, 255, 3})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeEntry(b); err == nil && len(b) <= entryHeaderLen {
			t.Error("an entry without commands")
		}
		e, err := decodeCommands(b) // behind the checksum
		if err != nil {
			return
		}
		n := 0
		for _, c := range e.commands {
			n += len(c)
		}
		if len(e.commands) == 0 || n > len(b) || e.timeMs < 0 {
			t.Errorf("%d commands with %d bytes out of %d, time %d", len(e.commands), n, len(b), e.timeMs)
		}
		again, err := decodeEntry(encodeEntry(e.timeMs, e.commands))
		if err != nil || len(again.commands) != len(e.commands) {
			t.Errorf("encoded again: %v", err)
		}
	})
}
