package federation

import (
	"bytes"
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A liar is another office that answers as a test tells it to.
type liar struct {
	*puppet
	x     *site
	a     *branch
	attic *attic
	wire  Wire
	gets  []fed.FileGet // of the reading goroutine, until it has ended
	done  chan struct{} // closed when that is so
}

// newLiar links an honest office with one whose answer to each question for a piece is say's.
func newLiar(t *testing.T, n *simnet.Network, say func(g fed.FileGet) []fed.FilePiece) *liar {
	t.Helper()
	a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2)
	befriend(a, b)
	l := &liar{puppet: newPuppet(t, b), a: a, attic: newAttic(), done: make(chan struct{})}
	l.x = a.open("a:443", false, l.attic.lend)
	var err error
	if l.wire, _, err = l.connect(n, a, "a:443"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.wire.Close()
		<-l.done
	})
	go func() { // ends with the connection
		defer close(l.done)
		for {
			f, err := l.wire.Read()
			if err != nil {
				return
			}
			l.answer(&f, say)
		}
	}()
	a.until("a link", func() bool { return l.x.up(b) })
	return l
}

func (l *liar) answer(f *fed.Frame, say func(g fed.FileGet) []fed.FilePiece) {
	var g fed.FileGet
	switch {
	case f.Kind == fed.KindPing:
		_ = l.wire.Write(fed.LaneControl, fed.Frame{Kind: fed.KindPong, Body: f.Body})
	case f.Kind == fed.KindFileGet && f.Into(&g) == nil:
		l.gets = append(l.gets, g)
		for _, p := range say(g) {
			_ = l.wire.Write(fed.LaneMedia, fed.NewFrame(fed.KindFilePiece, p))
		}
	}
}

// TestFileLies: an office that hands out what was not asked for ends the transfer, and nothing else; what is wrong is never written as if it were whole [FED-FILE-5].
func TestFileLies(t *testing.T) {
	content := noise(1, 300<<10)
	right := func(g fed.FileGet) fed.FilePiece {
		return fed.FilePiece{ID: g.ID, Offset: g.Offset, Data: content[g.Offset : g.Offset+uint64(g.Length)]}
	}
	one := func(change func(p *fed.FilePiece)) func(g fed.FileGet) []fed.FilePiece {
		return func(g fed.FileGet) []fed.FilePiece {
			p := right(g)
			change(&p)
			return []fed.FilePiece{p}
		}
	}
	for name, c := range map[string]struct {
		say   func(g fed.FileGet) []fed.FilePiece
		want  protocol.Code
		count string
	}{
		"the truth":       {one(func(*fed.FilePiece) {}), protocol.CodeUnspecified, ""},
		"too much":        {one(func(p *fed.FilePiece) { p.Data = append(bytes.Clone(p.Data), 0) }), protocol.CodeInvalid, "wrong"},
		"very much":       {one(func(p *fed.FilePiece) { p.Data = make([]byte, 1<<20) }), protocol.CodeInvalid, "wrong"},
		"too little":      {one(func(p *fed.FilePiece) { p.Data = p.Data[1:] }), protocol.CodeInvalid, "wrong"},
		"nothing":         {one(func(p *fed.FilePiece) { p.Data = nil }), protocol.CodeInvalid, "wrong"},
		"another place":   {one(func(p *fed.FilePiece) { p.Offset++ }), protocol.CodeInvalid, "wrong"},
		"another content": {one(func(p *fed.FilePiece) { p.Data = make([]byte, len(p.Data)) }), protocol.CodeInvalid, "mismatched"},
		"a flipped bit at the end": {one(func(p *fed.FilePiece) {
			if p.Offset+uint64(len(p.Data)) == uint64(len(content)) {
				p.Data = bytes.Clone(p.Data)
				p.Data[len(p.Data)-1] ^= 1
			}
		}), protocol.CodeInvalid, "mismatched"},
		"no":            {one(func(p *fed.FilePiece) { p.Code, p.Data, p.Text = protocol.CodeForbidden, nil, "no" }), protocol.CodeForbidden, "refused_by_peer"},
		"no, with data": {one(func(p *fed.FilePiece) { p.Code = protocol.CodeNotFound }), protocol.CodeNotFound, "refused_by_peer"},
		"you are kicked": {one(func(p *fed.FilePiece) { p.Code, p.Text = protocol.CodeKicked, strings.Repeat("\x1b[2J", 1000) }),
			protocol.CodeUnavailable, "refused_by_peer"},
		"a code of its own": {one(func(p *fed.FilePiece) { p.Code = math.MaxUint8 }), protocol.CodeUnavailable, "refused_by_peer"},
		"unasked before": {func(g fed.FileGet) []fed.FilePiece {
			return []fed.FilePiece{{ID: g.ID + 1000, Data: make([]byte, 1<<20)}, {}, right(g), right(g)}
		}, protocol.CodeUnspecified, "unasked"},
		"a long wait": {one(func(p *fed.FilePiece) { p.Waited = math.MaxUint32 }), protocol.CodeUnspecified, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *simnet.Network) {
				l := newLiar(t, n, c.say)
				id := newAttic().put(content)
				l.attic.hear(id, uint64(len(content)), l.of)
				var got bytes.Buffer
				err := l.x.m.Fetch(context.Background(), l.of.id, id, 0, &got)
				if protocol.CodeOf(err) != c.want || (err == nil) != bytes.Equal(got.Bytes(), content) || err != nil && got.Len() == len(content) {
					t.Errorf("%d bytes, %v", got.Len(), err)
				}
				if err != nil && strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("%q is for people", err)
				}
				why := l.x.m.tallyOf(l.of.id).files.refusals()
				for reason, n := range why {
					if (n > 0) != (reason == c.count) {
						t.Errorf("%d times %q is counted, want %q", n, reason, c.count)
					}
				}
				if !l.x.up(l.of) {
					t.Error("the link did not stay")
				}
			})
		})
	}
}

// TestFileOfGiantSize: an office that says of a blob that it is larger than anything takes neither memory nor time: a few pieces are asked for, and its first no ends it [FED-FILE-6].
func TestFileOfGiantSize(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLiar(t, n, func(g fed.FileGet) []fed.FilePiece {
			if g.Offset >= 1<<20 {
				return []fed.FilePiece{{ID: g.ID, Offset: g.Offset, Code: protocol.CodeInvalid}}
			}
			return []fed.FilePiece{{ID: g.ID, Offset: g.Offset, Data: make([]byte, g.Length)}}
		})
		l.attic.hear(protocol.BlobID{1}, math.MaxUint64, l.of)
		for _, from := range []uint64{0, math.MaxUint64 - 10} {
			var got bytes.Buffer
			if err := l.x.m.Fetch(context.Background(), l.of.id, protocol.BlobID{1}, from, &got); protocol.CodeOf(err) != protocol.CodeInvalid || got.Len() > 1<<20 {
				t.Errorf("from %d: %d bytes, %v", from, got.Len(), err)
			}
		}
		_ = l.wire.Close()
		<-l.done
		if len(l.gets) > 2*mostChunks*8 {
			t.Errorf("%d pieces were asked for", len(l.gets))
		}
		for _, g := range l.gets {
			if g.Length > fed.MaxPiece || g.Offset+uint64(g.Length) < g.Offset && g.Offset+uint64(g.Length) != 0 {
				t.Errorf("%d bytes at %d were asked for", g.Length, g.Offset)
			}
		}
	})
}

// TestFileNeverComes: an office that does not answer is asked for no more than the window has room for, and one that answers at last is taken at its word [FED-FILE-6].
func TestFileNeverComes(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		var silent sync.Map
		l := newLiar(t, n, func(g fed.FileGet) []fed.FilePiece {
			if _, is := silent.Load(g.Blob); is {
				return nil
			}
			return []fed.FilePiece{{ID: g.ID, Offset: g.Offset, Data: make([]byte, g.Length)}}
		})
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		for i := range byte(20) {
			id := protocol.BlobID{0xff, i}
			silent.Store(id, true)
			l.attic.hear(id, 10<<20, l.of)
			all.Go(func() {
				if err := l.x.m.Fetch(ctx, l.of.id, id, 0, new(bytes.Buffer)); protocol.CodeOf(err) != protocol.CodeUnavailable {
					t.Errorf("%v", err)
				}
			})
		}
		<-time.After(5 * time.Second)
		asked := 0
		a := &l.x.m.linkOf(l.of.id).media.asks
		a.mu.Lock()
		for _, n := range a.flying {
			asked += n
		}
		if len(a.flying) > mostBlobs || asked > paceFirst+mostBlobs*pieceLeast {
			t.Errorf("%d bytes of %d blobs are on their way", asked, len(a.flying))
		}
		a.mu.Unlock()
		all.Wait()
		cancel()
		silent.Clear()
		if a.pace.window > paceFirst {
			t.Errorf("the window grew to %.0f", a.pace.window)
		}
		content := make([]byte, 1<<20)
		id := newAttic().put(content)
		l.attic.hear(id, 1<<20, l.of)
		if err := l.x.m.Fetch(context.Background(), l.of.id, id, 0, new(bytes.Buffer)); err != nil {
			t.Errorf("another blob later: %v", err)
		}
	})
}

// TestFileGreed: what no honest office asks for is answered by a code, which tells no more than that, and does not cost it the link [FED-FILE-2] [FED-FILE-6].
func TestFileGreed(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		g := newGreedy(t, n)
		content := noise(1, 1000)
		id, large, secret := g.attic.put(content, g.of), g.attic.put(noise(2, 2*fed.MaxPiece), g.of), g.attic.put([]byte("secret"))
		for i, c := range []struct {
			get  fed.FileGet
			want protocol.Code
		}{
			{fed.FileGet{Blob: id, Length: 1000}, protocol.CodeUnspecified},
			{fed.FileGet{Blob: id, Length: 1, Offset: 999}, protocol.CodeUnspecified},
			{fed.FileGet{Blob: id}, protocol.CodeInvalid},
			{fed.FileGet{Blob: id, Length: 1001}, protocol.CodeInvalid},
			{fed.FileGet{Blob: id, Length: math.MaxUint32}, protocol.CodeInvalid},
			{fed.FileGet{Blob: large, Length: fed.MaxPiece + 1}, protocol.CodeInvalid},
			{fed.FileGet{Blob: id, Length: 2, Offset: 999}, protocol.CodeInvalid},
			{fed.FileGet{Blob: id, Length: 1, Offset: 1000}, protocol.CodeInvalid},
			{fed.FileGet{Blob: id, Length: 2, Offset: math.MaxUint64}, protocol.CodeInvalid},
			{fed.FileGet{Blob: id, Length: 2, Offset: 1 << 63}, protocol.CodeInvalid},
			{fed.FileGet{Blob: secret, Length: 6}, protocol.CodeNotFound},
			{fed.FileGet{Blob: protocol.BlobID{9}, Length: 1}, protocol.CodeNotFound},
			{fed.FileGet{Length: 1}, protocol.CodeNotFound},
			{fed.FileGet{Blob: id, Length: 10, Offset: 500}, protocol.CodeUnspecified},
		} {
			c.get.ID = uint64(i + 1)
			g.ask(c.get)
			piece := g.answer()
			var want []byte
			if c.want == protocol.CodeUnspecified {
				want = content[c.get.Offset : c.get.Offset+uint64(c.get.Length)]
			}
			if piece.ID != c.get.ID || piece.Offset != c.get.Offset || piece.Code != c.want || !bytes.Equal(piece.Data, want) {
				t.Errorf("%+v is answered with %d bytes, %v, %q", c.get, len(piece.Data), piece.Code, piece.Text)
			}
			if strings.Contains(piece.Text, "attic") || strings.Contains(piece.Text, c.get.Blob.String()) {
				t.Errorf("%q tells too much", piece.Text)
			}
		}
		if out := g.y.m.linkViews()[g.of.id].FilesOut; out != 1011 {
			t.Errorf("%d bytes are counted", out)
		}
		if why := g.y.m.tallyOf(g.of.id).files.refusals(); why["refused_here"] != 11 {
			t.Errorf("%v", why)
		}
	})
}

// TestFilesAtOnce: of more blobs than are handed out at a time the others are told to come later; one that nobody asks for any more makes room [FED-FILE-6].
func TestFilesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		g := newGreedy(t, n)
		const stuck, quick = mostShelves - 1, mostShelves + 5
		for i := range uint64(stuck) {
			id := g.attic.put(noise(i, 100), g.of)
			g.attic.stick(id)
			g.ask(fed.FileGet{ID: i, Blob: id, Length: 100})
		}
		for i := range uint64(quick) { // one after the other, at the only place that is left
			content := noise(1000+i, 100)
			g.ask(fed.FileGet{ID: 1000 + i, Blob: g.attic.put(content, g.of), Length: 100})
			if p := g.answer(); p.ID != 1000+i || !bytes.Equal(p.Data, content) {
				t.Errorf("%d is answered with %d bytes, %v", i, len(p.Data), p.Code)
			}
		}
		last := g.attic.put(noise(2000, 100), g.of)
		g.attic.stick(last)
		g.ask(fed.FileGet{ID: 2000, Blob: last, Length: 100})
		g.ask(fed.FileGet{ID: 2001, Blob: g.attic.put(noise(2001, 100), g.of), Length: 100})
		if p := g.answer(); p.ID != 2001 || p.Code != protocol.CodeRateLimited {
			t.Errorf("one too many: %d, %v", p.ID, p.Code)
		}
		began := time.Now()
		for range mostShelves {
			if p := g.answer(); p.Code != protocol.CodeUnavailable || time.Since(began) > lendWait+time.Second {
				t.Errorf("what does not come: %v after %v", p.Code, time.Since(began))
			}
		}
	})
}

// A greedy office asks for what a test wants.
type greedy struct {
	*puppet
	y     *site
	attic *attic // of whom it asks
	wire  Wire
}

func newGreedy(t *testing.T, n *simnet.Network) *greedy {
	t.Helper()
	a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b:443")
	befriend(a, b)
	g := &greedy{puppet: newPuppet(t, a), attic: newAttic()}
	g.y = b.open("b:443", false, g.attic.lend)
	var err error
	if g.wire, _, err = g.connect(n, b, "b:443"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.wire.Close() })
	b.until("a link", func() bool { return g.y.up(a) })
	return g
}

func (g *greedy) ask(get fed.FileGet) {
	g.Helper()
	if err := g.wire.Write(fed.LaneControl, fed.NewFrame(fed.KindFileGet, get)); err != nil {
		g.Fatal(err)
	}
}

// answer is the next piece that comes.
func (g *greedy) answer() (p fed.FilePiece) {
	g.Helper()
	f, err := g.next(g.wire, fed.KindFilePiece)
	if err == nil {
		err = f.Into(&p)
	}
	if err != nil {
		g.Fatal(err)
	}
	return p
}

// TestFileFlood: who asks for more pieces than are kept loses the link, before they take any room [FED-FILE-6].
func TestFileFlood(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		g := newGreedy(t, n)
		id := g.attic.put(noise(1, 1000), g.of)
		g.attic.stick(id)
		for i := range uint64(mostGets) {
			g.ask(fed.FileGet{ID: i, Blob: id, Length: 1})
		}
		<-time.After(time.Second)
		if !g.y.up(g.of) {
			t.Error("the link ended too early")
		}
		g.ask(fed.FileGet{ID: mostGets, Blob: id, Length: 1})
		<-time.After(time.Second) // long before it would be missed for its silence
		if g.y.up(g.of) {
			t.Error("the link did not end")
		}
	})
}
