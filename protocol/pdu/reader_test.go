package pdu_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"teamtalk/protocol/pdu"
)

// chunks returns data in pieces of the sizes given, round and round, and remembers the largest room it was offered
// beyond what it had delivered: memory that no byte had asked for.
type chunks struct {
	data      []byte
	sizes     []byte
	next      int
	delivered int
	unearned  int
	reads     int
	wide      bool // two bytes make one size
}

func (c *chunks) Read(dst []byte) (int, error) {
	c.reads++
	c.unearned = max(c.unearned, len(dst)-c.delivered)
	n := len(c.data)
	if n == 0 {
		return 0, io.EOF
	}
	if c.wide {
		n = int(c.sizes[0]) | int(c.sizes[1])<<8
	} else if len(c.sizes) > 0 {
		n = int(c.sizes[c.next%len(c.sizes)]) // 0 now and then: a read without bytes is allowed
		c.next++
	}
	n = copy(dst, c.data[:min(n, len(c.data))])
	c.data = c.data[n:]
	c.delivered += n
	return n, nil
}

func frame(command pdu.Command, body []byte) []byte {
	return pdu.AppendRaw(nil, pdu.Header{Version: 1, Service: command.Service(), Command: command}, body)
}

// Limits are checked on the header alone, for each read anew [TT-FRAME-3].
func TestReadLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int // of the whole PDU
		limit int
		err   error
	}{
		{"header only", 16, pdu.MaxLenBeforeLogin, nil},
		{"largest before login", pdu.MaxLenBeforeLogin, pdu.MaxLenBeforeLogin, nil},
		{"too large before login", pdu.MaxLenBeforeLogin + 1, pdu.MaxLenBeforeLogin, pdu.ErrTooLarge},
		{"largest after login", pdu.MaxLen, pdu.MaxLen, nil},
		{"too large after login", pdu.MaxLen + 1, pdu.MaxLen, pdu.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			full := frame(pdu.CmdMsgData, bytes.Repeat([]byte{0xa5}, c.size-pdu.HeaderLen))
			source := &chunks{data: full, sizes: []byte{0, 2}, wide: true}
			p, err := pdu.NewReader(source).Read(c.limit)
			if !errors.Is(err, c.err) || p.Header.Length != uint32(c.size) {
				t.Fatalf("length %d, error %v, want %d and %v", p.Header.Length, err, c.size, c.err)
			}
			if c.err != nil && source.reads > 1 {
				t.Errorf("%d reads: the body of a refused PDU was read", source.reads)
			}
			if c.err == nil && !bytes.Equal(p.Body, full[pdu.HeaderLen:]) {
				t.Error("another body")
			}
		})
	}
}

// Who may send how much can change while a PDU waits [TT-QUEUE-2].
func TestReadAgainWhatWasTooLarge(t *testing.T) {
	large, small := frame(pdu.CmdMsgData, bytes.Repeat([]byte{0xa5}, pdu.MaxLenBeforeLogin)), frame(pdu.CmdHeartbeat, nil)
	r := pdu.NewReader(&chunks{data: slices.Concat(small, large, small), sizes: []byte{0, 2}, wide: true})
	for i, want := range []struct {
		cmd   pdu.Command
		limit int
		err   error
	}{
		{pdu.CmdHeartbeat, pdu.MaxLenBeforeLogin, nil},
		{pdu.CmdMsgData, pdu.MaxLenBeforeLogin, pdu.ErrTooLarge},
		{pdu.CmdMsgData, pdu.MaxLenBeforeLogin, pdu.ErrTooLarge},
		{pdu.CmdMsgData, pdu.MaxLen, nil},
		{pdu.CmdHeartbeat, pdu.MaxLenBeforeLogin, nil},
	} {
		p, err := r.Read(want.limit)
		if !errors.Is(err, want.err) || p.Header.Command != want.cmd {
			t.Fatalf("read %d: %v, %v", i, p.Header, err)
		}
		if err == nil && want.cmd == pdu.CmdMsgData && !bytes.Equal(p.Body, large[pdu.HeaderLen:]) {
			t.Error("another body")
		}
	}
}

// Memory follows the bytes: an announced length costs nothing by itself [TT-FRAME-4].
func TestAnnouncedLengthCostsLittle(t *testing.T) {
	header := frame(pdu.CmdMsgData, nil)
	header[1], header[2], header[3] = 0x3f, 0xff, 0xff // one byte less than 4 MiB
	for _, sent := range []int{0, 1, 5000, 100_000} {
		data := append(bytes.Clone(header), make([]byte, sent)...)
		source := &chunks{data: data}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := pdu.NewReader(source).Read(pdu.MaxLen)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d bytes of the body: %v", sent, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(4*sent+16<<10) {
			t.Errorf("%d bytes of the body made the reader allocate %d", sent, used)
		}
	}
}

func TestReadSmallPDUsInOneRead(t *testing.T) {
	var data []byte
	for range 8 {
		data = append(data, frame(pdu.CmdHeartbeat, make([]byte, 48))...)
	}
	source := &chunks{data: data}
	r := pdu.NewReader(source)
	for range 8 {
		if _, err := r.Read(pdu.MaxLen); err != nil {
			t.Fatal(err)
		}
	}
	if source.reads != 1 {
		t.Errorf("%d reads for 512 bytes", source.reads)
	}
}

func TestReadErrors(t *testing.T) {
	data := frame(pdu.CmdMsgData, make([]byte, 2000))
	for cut := range data {
		want := io.ErrUnexpectedEOF
		if cut == 0 {
			want = io.EOF
		}
		if _, err := pdu.NewReader(bytes.NewReader(data[:cut])).Read(pdu.MaxLen); !errors.Is(err, want) {
			t.Fatalf("cut after %d bytes: %v, want %v", cut, err, want)
		}
		broken := io.MultiReader(bytes.NewReader(data[:cut]), iotest.ErrReader(iotest.ErrTimeout))
		if _, err := pdu.NewReader(broken).Read(pdu.MaxLen); !errors.Is(err, iotest.ErrTimeout) {
			t.Fatalf("broken after %d bytes: %v", cut, err)
		}
	}
	if _, err := pdu.NewReader(iotest.DataErrReader(bytes.NewReader(data))).Read(pdu.MaxLen); err != nil {
		t.Errorf("the end together with the last bytes: %v", err)
	}
	if _, err := pdu.NewReader(&chunks{data: data, sizes: []byte{0}}).Read(pdu.MaxLen); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source without progress: %v", err)
	}
}

func TestRoundTripInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want []pdu.PDU
		for range rapid.IntRange(1, 6).Draw(t, "frames") {
			h := pdu.Header{
				Version: rapid.Uint16().Draw(t, "version"), Flag: rapid.Uint16().Draw(t, "flag"), Service: rapid.Uint16().Draw(t, "service"),
				Command: pdu.Command(rapid.Uint16().Draw(t, "command")), Seq: rapid.Uint16().Draw(t, "seq"), Reserved: rapid.Uint16().Draw(t, "reserved"),
			}
			body := rapid.SliceOfN(rapid.Byte(), 0, rapid.SampledFrom([]int{0, 1, 300, 6000}).Draw(t, "size")).Draw(t, "body")
			stream = pdu.AppendRaw(stream, h, body)
			h.Length = uint32(pdu.HeaderLen + len(body))
			want = append(want, pdu.PDU{Header: h, Body: body})
		}
		sizes := append(rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "pieces"), rapid.ByteRange(1, 255).Draw(t, "piece"))
		r := pdu.NewReader(&chunks{data: stream, sizes: sizes})
		for i, w := range want {
			p, err := r.Read(pdu.MaxLen)
			if err != nil || p.Header != w.Header || !bytes.Equal(p.Body, w.Body) {
				t.Fatalf("frame %d: %+v, %v; want %+v", i, p, err, w)
			}
		}
		if _, err := r.Read(pdu.MaxLen); !errors.Is(err, io.EOF) {
			t.Fatalf("end with %v", err)
		}
	})
}

// FuzzReader reads anything in any pieces: it never panics, returns only whole PDUs within the limit, and never makes room for more
// than has arrived and one first portion [TT-FRAME-3] [TT-FRAME-4].
func FuzzReader(f *testing.F) {
	for _, vectors := range readVectors(f) {
		for _, v := range vectors {
			f.Add(v.frame, []byte{3, 200}, 8192)
		}
	}
	f.Fuzz(func(t *testing.T, data, sizes []byte, limit int) {
		limit = pdu.HeaderLen + int(uint(limit)%pdu.MaxLen)
		source := &chunks{data: data, sizes: sizes}
		r := pdu.NewReader(source)
		var read []byte
		for {
			p, err := r.Read(limit)
			if err != nil {
				checkReadError(t, err)
				break
			}
			if int(p.Header.Length) != pdu.HeaderLen+len(p.Body) || int(p.Header.Length) > limit {
				t.Fatalf("length %d with a body of %d and the limit %d", p.Header.Length, len(p.Body), limit)
			}
			read = pdu.AppendRaw(read, p.Header, p.Body)
		}
		if !bytes.HasPrefix(data, read) {
			t.Fatal("read what was not sent")
		}
		if source.unearned > 5000 {
			t.Fatalf("room for %d bytes more than had arrived", source.unearned)
		}
	})
}

func checkReadError(t *testing.T, err error) {
	t.Helper()
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrNoProgress, pdu.ErrLength, pdu.ErrTooLarge} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Fatalf("an unknown error: %v", err)
}
