package federation

import (
	"context"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	pieceWait = 30 * time.Second // for a piece that was asked for
	mostBlobs = 8                // of which pieces are on their way to this side at a time
)

// media is what a link knows of the blobs that go over it.
type media struct {
	asks  asking
	lends lending
}

func newMedia() media {
	return media{
		asks:  asking{ended: make(chan struct{}), waiting: map[uint64]*pieceAsk{}, flying: map[protocol.BlobID]int{}, pace: newPace()},
		lends: lending{shelves: map[protocol.BlobID]*shelf{}, refusals: make(chan fed.FilePiece, mostGets), writing: make(chan struct{}, 1)},
	}
}

// asking is what this side asks for over a link.
type asking struct {
	ended chan struct{} // closed when the link has ended

	mu      sync.Mutex // guards what follows
	last    uint64
	queue   []*pieceAsk          // those that wait for room in the window, in the order in which they came
	waiting map[uint64]*pieceAsk // for an answer
	flying  map[protocol.BlobID]int
	bytes   int       // of all that is flying
	moved   time.Time // when a piece came last
	pace    pace
}

// pieceAsk is a piece that this side wants.
type pieceAsk struct {
	blob   protocol.BlobID
	offset uint64
	most   int           // as much as may be asked for
	ready  chan struct{} // closed when what follows is set: it may be asked for
	id     uint64
	length int // 0: not yet
	at     time.Time
	full   bool // the window was full then
	left   bool // nobody waits for it any more
	answer chan fed.FilePiece
}

// begin waits for room for a piece of at most so many bytes.
func (a *asking) begin(ctx context.Context, blob protocol.BlobID, offset uint64, most int) (*pieceAsk, error) {
	ask := &pieceAsk{blob: blob, offset: offset, most: most, ready: make(chan struct{}), answer: make(chan fed.FilePiece, 1)}
	a.mu.Lock()
	after := slices.IndexFunc(a.queue, func(q *pieceAsk) bool { return q.blob == blob && q.offset > offset }) // whoever reads it does so in order
	if after < 0 {
		after = len(a.queue)
	}
	a.queue = slices.Insert(a.queue, after, ask)
	a.grant(time.Now())
	a.mu.Unlock()
	t := time.NewTicker(pieceWait)
	defer t.Stop()
	for {
		select {
		case <-ask.ready:
			return ask, nil
		case <-t.C:
			if a.stands(ask) {
				a.leave(ask)
				return nil, errNothingComes()
			}
		case <-a.ended:
			return nil, errLinkLost()
		case <-ctx.Done():
			a.leave(ask)
			return nil, ctx.Err()
		}
	}
}

// stands reports whether a piece can't be asked for because nothing comes of what was. What nobody waits for any more makes room.
func (a *asking) stands(ask *pieceAsk) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.grant(now)
	return ask.length == 0 && now.Sub(a.moved) >= pieceWait
}

func errNothingComes() error {
	return protocol.Errorf(protocol.CodeUnavailable, "the other office does not hand out the file now: nothing came for %v", pieceWait)
}

func errLinkLost() error {
	return protocol.Errorf(protocol.CodeUnavailable, "the link with the other office was lost")
}

// grant gives the window's room [FED-FILE-6] to those who wait, each blob the same share; one of which nothing is on its way gets a piece whatever else is, so that none waits for another
// one's slow source. mu is held.
func (a *asking) grant(now time.Time) {
	for _, ask := range a.waiting {
		if ask.left && now.Sub(ask.at) >= pieceWait {
			a.settle(ask) // it won't come any more
		}
	}
	blobs := map[protocol.BlobID]struct{}{}
	for _, ask := range a.queue {
		blobs[ask.blob] = struct{}{}
	}
	for blob := range a.flying {
		blobs[blob] = struct{}{}
	}
	window := int(a.pace.window)
	share := window / max(1, min(len(blobs), mostBlobs))
	a.queue = slices.DeleteFunc(a.queue, func(ask *pieceAsk) bool {
		n := min(a.pace.piece(), ask.most)
		flying, begun := a.flying[ask.blob]
		switch {
		case !begun && len(a.flying) >= mostBlobs:
			return false
		case begun && (a.bytes+n > window || flying+n > share):
			return false
		}
		a.last++
		ask.id, ask.length, ask.at, ask.full = a.last, n, now, a.bytes+2*n > window
		a.waiting[ask.id] = ask
		a.flying[ask.blob] += n
		a.bytes += n
		close(ask.ready)
		return true
	})
}

// settle takes what has come, or never will, out of the window. mu is held.
func (a *asking) settle(ask *pieceAsk) {
	delete(a.waiting, ask.id)
	a.bytes -= ask.length
	if a.flying[ask.blob] -= ask.length; a.flying[ask.blob] <= 0 {
		delete(a.flying, ask.blob)
	}
}

// leave ends the wait for a piece. One that was asked for still comes, and takes its room until then.
func (a *asking) leave(ask *pieceAsk) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ask.left = true
	a.queue = slices.DeleteFunc(a.queue, func(q *pieceAsk) bool { return q == ask })
}

// take hands a piece to whoever waits for it; false: it was not asked for, or too long ago.
func (a *asking) take(p *fed.FilePiece) bool {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	ask := a.waiting[p.ID]
	if ask == nil {
		return false
	}
	a.settle(ask)
	a.moved = now
	if p.Code == protocol.CodeUnspecified && len(p.Data) == ask.length {
		waited := time.Duration(p.Waited) * time.Millisecond
		a.pace.took(ask.length, max(now.Sub(ask.at)-waited, time.Microsecond), ask.full, now)
	}
	a.grant(now)
	ask.answer <- *p // it has room
	return true
}

// end lets all go who wait.
func (a *asking) end() { close(a.ended) }

// takePiece is a piece of a blob. Nobody may have asked for it, which costs the peer's own time only.
func (l *link) takePiece(p fed.FilePiece) error {
	l.tally.files.in.Add(uint64(len(p.Data)))
	if !l.media.asks.take(&p) {
		l.tally.files.unasked.Add(1)
	}
	return nil
}

// chunk gets a part of a blob from the peer: all of it, or an error. Those of CodeUnavailable and CodeRateLimited may be gone later.
func (l *link) chunk(ctx context.Context, blob protocol.BlobID, offset uint64, length int) ([]byte, error) {
	switch {
	case !l.record.In.Has(fed.AllowFiles):
		return nil, protocol.Errorf(protocol.CodeForbidden, "the rules of the link between the two offices don't allow files")
	case l.hello.version < fed.VersionFiles:
		return nil, protocol.Errorf(protocol.CodeUnavailable, "the other office runs a version that can't hand out files yet")
	}
	a := &l.media.asks
	var asks []*pieceAsk
	defer func() {
		for _, ask := range asks {
			a.leave(ask)
		}
	}()
	for at := 0; at < length; {
		ask, err := a.begin(ctx, blob, offset+uint64(at), length-at)
		if err != nil {
			return nil, err
		}
		asks = append(asks, ask)
		get := fed.FileGet{ID: ask.id, Offset: ask.offset, Length: uint32(ask.length), Blob: blob}
		if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindFileGet, get)); err != nil {
			return nil, errLinkLost()
		}
		at += ask.length
	}
	buf := make([]byte, 0, length)
	for _, ask := range asks {
		p, err := l.awaitPiece(ctx, ask)
		if err != nil {
			return nil, err
		}
		buf = append(buf, p.Data...)
	}
	return buf, nil
}

// awaitPiece waits for a piece and checks that it is the one.
func (l *link) awaitPiece(ctx context.Context, ask *pieceAsk) (p fed.FilePiece, err error) {
	t := time.NewTimer(pieceWait)
	defer t.Stop()
	select {
	case p = <-ask.answer:
	case <-t.C:
		return p, errNothingComes()
	case <-l.media.asks.ended:
		return p, errLinkLost()
	case <-ctx.Done():
		return p, ctx.Err()
	}
	switch {
	case p.Code != protocol.CodeUnspecified:
		l.tally.files.refusedIn.Add(1)
		err = refusalOfPiece(&p)
		return p, err
	case len(p.Data) != ask.length || p.Offset != ask.offset:
		l.tally.files.wrong.Add(1)
		return p, protocol.Errorf(protocol.CodeInvalid, "%d bytes at %d were asked for, %d at %d came", ask.length, ask.offset, len(p.Data), p.Offset)
	}
	return p, nil
}

// refusalOfPiece is why the peer hands out nothing; only codes that are about the blob are taken.
func refusalOfPiece(p *fed.FilePiece) error {
	code := p.Code
	if !slices.Contains([]protocol.Code{protocol.CodeNotFound, protocol.CodeForbidden, protocol.CodeInvalid, protocol.CodeRateLimited}, code) {
		code = protocol.CodeUnavailable
	}
	text := protocol.Truncate(p.Text, maxReason)
	if protocol.CheckName("text", text, maxReason) != nil {
		text = "no"
	}
	return protocol.Errorf(code, "the other office says: %s", text)
}
