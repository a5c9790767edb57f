package federation

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	mostGets    = 512              // of a peer's that wait; one that keeps to the window never has so many
	mostShelves = 16               // blobs that are handed out to a peer at a time
	shelfIdle   = 30 * time.Second // that content stays open without being asked for
	lendWait    = 20 * time.Second // for content that has to come from elsewhere
)

// lending is what this side hands out over a link.
type lending struct {
	refusals chan fed.FilePiece // of what can't even be looked up
	writing  chan struct{}      // holds a token while a piece is encoded and written: one at a time bounds the memory

	mu      sync.Mutex // guards what follows, and all of the shelves but their content
	shelves map[protocol.BlobID]*shelf
	gets    int // that wait
}

// shelf is one blob that is handed out: its pieces in order, without holding up those of others.
type shelf struct {
	blob   protocol.BlobID
	more   chan struct{} // holds one token: something is asked for, or the shelf is cleared
	gets   []get
	waited time.Duration // all the time that was spent on getting content
	busy   bool          // a piece is being read or written
	gone   bool          // cleared

	content io.ReadSeekCloser // nil: not open; of the serving goroutine, like what follows
	size    uint64
	at      uint64 // where content is
	close   context.CancelFunc
}

// get is a piece that the peer wants, and how much time had been spent on content when it asked.
type get struct {
	fed.FileGet
	waited time.Duration
}

// takeGet is a piece that the peer wants. It never waits, and what it keeps is bounded [FED-FILE-6].
func (l *link) takeGet(ctx context.Context, group *errgroup.Group, g fed.FileGet) error {
	if l.hello.version < fed.VersionFiles {
		return protocol.Errorf(protocol.CodeInvalid, "pieces of files have no place in version %d", l.hello.version)
	}
	o := &l.media.lends
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gets >= mostGets {
		return protocol.Errorf(protocol.CodeOverloaded, "the peer asks for more than %d pieces at a time", mostGets)
	}
	o.gets++
	s := o.shelves[g.Blob]
	if s == nil {
		if len(o.shelves) >= mostShelves && !o.clear() {
			o.refusals <- fed.FilePiece{ID: g.ID, Offset: g.Offset, Code: protocol.CodeRateLimited, Text: "too many files at once: later"} // it has room for all that wait
			return nil
		}
		s = &shelf{blob: g.Blob, more: make(chan struct{}, 1)}
		o.shelves[g.Blob] = s
		group.Go(func() error { return l.lend(ctx, s) }) // ends with ctx, or when nobody asks any more
	}
	s.gets = append(s.gets, get{g, s.waited})
	wake(s.more)
	return nil
}

// clear makes room for another blob; false: all are asked for. mu is held.
func (o *lending) clear() bool {
	for id, s := range o.shelves {
		if len(s.gets) == 0 && !s.busy {
			s.gone = true
			delete(o.shelves, id)
			wake(s.more)
			return true
		}
	}
	return false
}

// next is the next piece of a shelf; over: there will be none.
func (o *lending) next(s *shelf) (g get, ok, over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.busy = len(s.gets) > 0; !s.busy {
		return g, false, s.gone
	}
	g = s.gets[0]
	s.gets = s.gets[1:]
	return g, true, false
}

// retire clears a shelf of which nothing is asked for.
func (o *lending) retire(s *shelf) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(s.gets) > 0 {
		return false
	}
	if !s.gone {
		s.gone = true
		delete(o.shelves, s.blob)
	}
	return true
}

// lend hands out the pieces of a blob until nobody asks for them any more [FED-FILE-5].
func (l *link) lend(ctx context.Context, s *shelf) error {
	defer s.shut()
	o := &l.media.lends
	idle := time.NewTimer(shelfIdle)
	defer idle.Stop()
	for {
		g, ok, over := o.next(s)
		switch {
		case over:
			return nil
		case ok:
			if err := l.handOut(ctx, s, &g); err != nil {
				return err
			}
			idle.Reset(shelfIdle)
			continue
		}
		select {
		case <-s.more:
		case <-idle.C:
			if o.retire(s) {
				return nil
			}
			idle.Reset(shelfIdle)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refuse answers what can't be looked up.
func (l *link) refuse(ctx context.Context) error {
	for {
		select {
		case p := <-l.media.lends.refusals:
			if err := l.sayPiece(&p); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// handOut answers one question.
func (l *link) handOut(ctx context.Context, s *shelf, g *get) error {
	p := fed.FilePiece{ID: g.ID, Offset: g.Offset}
	began := time.Now()
	err := l.read(ctx, s, g, &p)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.shut()
		p.Code, p.Text = sayOfPiece(err)
		l.log.Info("a piece of a file is not handed out", "blob", g.Blob.String(), "offset", g.Offset, "error", err)
	}
	l.media.lends.mu.Lock()
	s.waited += time.Since(began)
	p.Waited = uint32(min((s.waited - g.waited).Milliseconds(), 1<<30))
	l.media.lends.mu.Unlock()
	return l.sayPiece(&p)
}

// sayPiece hands a piece to the network.
func (l *link) sayPiece(p *fed.FilePiece) error {
	o := &l.media.lends
	o.writing <- struct{}{}
	err := l.say(fed.LaneMedia, fed.NewFrame(fed.KindFilePiece, *p))
	<-o.writing
	o.mu.Lock()
	o.gets--
	o.mu.Unlock()
	if err != nil {
		return err
	}
	if p.Code != protocol.CodeUnspecified {
		l.tally.files.refusedOut.Add(1)
	}
	l.tally.files.out.Add(uint64(len(p.Data)))
	return nil
}

// read reads what is asked for, if the peer may have it: it was shown the blob, and the rules of the link allow files [FED-FILE-2].
func (l *link) read(ctx context.Context, s *shelf, g *get, p *fed.FilePiece) error {
	files, blobs := l.m.cfg.Files, l.m.cfg.Blobs
	switch {
	case !l.record.Out.Has(fed.AllowFiles):
		return protocol.Errorf(protocol.CodeForbidden, "the rules of the link don't allow files")
	case files == nil || blobs == nil:
		return protocol.Errorf(protocol.CodeUnavailable, "this side has no files")
	case g.Length == 0 || g.Length > fed.MaxPiece:
		return protocol.Errorf(protocol.CodeInvalid, "a piece has 1 to %d bytes, not %d", fed.MaxPiece, g.Length)
	}
	may, err := files.MaySeeBlob(l.peer, g.Blob)
	if err != nil {
		return err
	}
	if !may {
		return protocol.Errorf(protocol.CodeNotFound, "the peer was never shown this blob")
	}
	return s.read(ctx, blobs, g, p)
}

// read reads a piece. Content that comes from elsewhere, at a hub from the origin [FED-FILE-7], may take a while, but not for ever.
func (s *shelf) read(ctx context.Context, blobs Blobs, g *get, p *fed.FilePiece) error {
	var opening context.Context
	if s.content == nil {
		opening, s.close = context.WithCancel(ctx)
	}
	limit := time.AfterFunc(lendWait, s.close)
	defer limit.Stop()
	if s.content == nil {
		content, blob, err := blobs.Open(opening, s.blob)
		if err != nil {
			return err
		}
		s.content, s.size, s.at = content, blob.Size, 0
	}
	if g.Offset > s.size || uint64(g.Length) > s.size-g.Offset {
		return protocol.Errorf(protocol.CodeInvalid, "the blob has %d bytes, %d at %d were asked for", s.size, g.Length, g.Offset)
	}
	if g.Offset != s.at {
		if _, err := s.content.Seek(int64(g.Offset), io.SeekStart); err != nil {
			return err
		}
	}
	data := make([]byte, g.Length)
	if _, err := io.ReadFull(s.content, data); err != nil {
		return fmt.Errorf("read a piece of a blob: %w", err)
	}
	s.at, p.Data = g.Offset+uint64(len(data)), data
	return nil
}

// shut closes the content, if it is open.
func (s *shelf) shut() {
	if s.close != nil {
		s.close()
		s.close = nil
	}
	if s.content != nil {
		_ = s.content.Close() // it was only read
		s.content = nil
	}
}

// sayOfPiece is what another cluster is told of an error: no more than whether to come again.
func sayOfPiece(err error) (protocol.Code, string) {
	switch code := protocol.CodeOf(err); code {
	case protocol.CodeForbidden:
		return code, "the rules of the link between the two offices don't allow files"
	case protocol.CodeNotFound:
		return code, "there is no such file, or it was not for you"
	case protocol.CodeInvalid:
		return code, "that is no part of the file"
	default:
		return protocol.CodeUnavailable, "the file can't be handed out now: later"
	}
}
