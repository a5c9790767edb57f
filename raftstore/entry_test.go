package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
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

// Entries of version 1 are in the logs of nodes that were alone.
func TestEntryOfOlderVersion(t *testing.T) {
	b := encodeEntry(7, [][]byte{[]byte("abc"), []byte("defg")})
	old := append([]byte{1, 0, 0, 0, 0, 7}, b[entryHeaderLen+2:]...) // without the count of origins
	binary.LittleEndian.PutUint32(old[1:], crc32.Checksum(old[entryHeaderLen:], castagnoli()))
	e, err := decodeEntry(old)
	if err != nil || e.timeMs != 7 || len(e.commands) != 2 || string(e.commands[1]) != "defg" || e.origins != nil {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestEntryKeepsOrigins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var cmds [][]byte
		var origins []origin
		for range rapid.IntRange(1, 20).Draw(t, "bundles") {
			n := rapid.IntRange(1, 5).Draw(t, "n")
			if node := rapid.SampledFrom([]string{"", "n1", "n2", strings.Repeat("x", maxNodeName)}).Draw(t, "node"); node != "" {
				origins = append(origins, origin{NodeID(node), len(cmds), n, rapid.Uint64().Draw(t, "first")})
			}
			for range n {
				cmds = append(cmds, []byte("c"))
			}
		}
		e, err := decodeEntry(encodeEntry(1, cmds, origins...))
		if err != nil || !slices.Equal(e.origins, origins) || len(e.commands) != len(cmds) {
			t.Fatalf("got %+v, %v, want %+v", e.origins, err, origins)
		}
	})
}

func TestOriginsThatDontFit(t *testing.T) {
	cmds := [][]byte{[]byte("a"), []byte("b")}
	for name, bad := range map[string][]origin{
		"beyond the end": {{"n1", 1, 2, 1}},
		"overlapping":    {{"n1", 0, 2, 1}, {"n2", 1, 1, 1}},
		"backwards":      {{"n1", 1, 1, 1}, {"n2", 0, 1, 1}},
		"empty":          {{"n1", 0, 0, 1}},
		"nameless":       {{"", 0, 1, 1}},
	} {
		if e, err := decodeEntry(encodeEntry(1, cmds, bad...)); err == nil {
			t.Errorf("%s: taken as %+v", name, e)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(byte(2), encodeEntry(1234, [][]byte{[]byte("a"), {}, []byte("ccc")})[entryHeaderLen:])
	f.Add(byte(2), encodeEntry(1, [][]byte{[]byte("a"), {}, []byte("c")}, origin{"n2", 0, 1, 99}, origin{"n3", 1, 2, 1 << 63})[entryHeaderLen:])
	f.Add(byte(1), []byte{9, 1, 1, 'x'})
	f.Add(byte(2), []byte{0, 255, 255, 3})
	f.Add(byte(1), []byte{})
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		if _, err := decodeEntry(b); err == nil && len(b) <= entryHeaderLen {
			t.Error("an entry without commands")
		}
		e, err := decodeBody(version%2+1, b) // behind the checksum
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
		end := 0
		for _, o := range e.origins {
			if o.at < end || o.n < 1 || o.node == "" {
				t.Errorf("origins are %+v", e.origins)
			}
			end = o.at + o.n
		}
		if end > len(e.commands) {
			t.Errorf("origins end at %d of %d commands", end, len(e.commands))
		}
		again, err := decodeEntry(encodeEntry(e.timeMs, e.commands, e.origins...))
		if err != nil || len(again.commands) != len(e.commands) || !slices.Equal(again.origins, e.origins) {
			t.Errorf("encoded again: %v", err)
		}
	})
}

func FuzzDecodeTagged(f *testing.F) {
	f.Add(EncodeTagged([]TaggedCommand{{1, []byte("a")}, {1 << 63, nil}}))
	f.Add([]byte{taggedVersion, 255, 255, 3})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		cmds, err := DecodeTagged(b)
		if err != nil {
			return
		}
		again, err := DecodeTagged(EncodeTagged(cmds))
		if err != nil || !slices.EqualFunc(again, cmds, func(p, q TaggedCommand) bool {
			return p.Sequence == q.Sequence && bytes.Equal(p.Command, q.Command)
		}) {
			t.Errorf("encoded again: %v", err)
		}
	})
}
