package federation

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// receiveAll reads batches until a lane has come to a sequence; what does not follow is an error.
func (p *puppet) receiveAll(w Wire, first, upTo uint64) (events []fed.Event) {
	p.Helper()
	for next := first; next <= upTo; {
		f, err := p.next(w, fed.KindBatch)
		if err != nil {
			p.Fatalf("event %d did not come: %v", next, err)
		}
		var b fed.Batch
		if err := f.Into(&b); err != nil {
			p.Fatal(err)
		}
		if b.First != next {
			p.Fatalf("a batch begins at %d, want %d", b.First, next)
		}
		for i := range b.Events {
			e, err := fed.DecodeEvent(b.Events[i].Event)
			if err != nil {
				p.Fatal(err)
			}
			events = append(events, e)
		}
		next = b.Last() + 1
		ack := fed.Ack{Epoch: b.Epoch, Lane: b.Lane, Sequence: b.Last()}
		if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindAck, ack)); err != nil {
			p.Fatal(err)
		}
	}
	return events
}

// TestSentAgain has a peer come back with less than it had acknowledged: what is kept is sent again, and a Skip takes the place of each that is not [FED-EP-1] [FED-OUT-3].
func TestSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		b.open("b:443", false, func(c *Config) { c.Timing.Tick = 10 * time.Second })
		<-time.After(time.Minute)
		for _, m := range numbered("m", 300) {
			b.say(2, a, 1, m)
		}
		lane := onlyLane(t, b, a)
		p := newPuppet(t, a)
		w, _, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		sent := lane().Sent
		if got := p.receiveAll(w, 1, sent); len(got) != 301 || got[0].Type != fed.TypeProfile || got[300].Type != fed.TypeMessage {
			t.Fatalf("%d events", len(got))
		}
		b.until("all is acknowledged", func() bool { return lane().Acked == sent })
		_ = w.Close()
		<-time.After(25 * time.Hour)
		b.until("it is swept", func() bool { b.do(&protocol.SweepFederation{}); return lane().Swept == sent })
		b.say(2, a, 1, "kept")
		w, _, err = p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		got := p.receiveAll(w, 1, sent+1)
		for i, e := range got {
			if want := i < int(sent); (e.Type == fed.TypeSkip) != want || e.ID.Cluster != b.id {
				t.Fatalf("event %d is %v by %v", i+1, e.Type, e.ID)
			}
		}
		_ = w.Close()
		p.hello.PeerEpoch, p.hello.Cursors = 1, []fed.Cursor{{Lane: lane().Lane, Sequence: sent}}
		w, _, err = p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.receiveAll(w, sent+1, sent+1); len(got) != 1 || got[0].Type != fed.TypeMessage {
			t.Errorf("what is kept is sent again as %v", got)
		}
		b.until("all is acknowledged", func() bool { return lane().Acked == sent+1 })
		_ = w.Close()
	})
}

// onlyLane tells how far the one lane is on which a branch has sent.
func onlyLane(t *testing.T, b, to *branch) func() fed.LaneStatus {
	return func() fed.LaneStatus {
		t.Helper()
		lanes, err := b.store.FedLanes(to.id)
		if err != nil {
			t.Fatal(err)
		}
		if len(lanes) != 1 {
			t.Fatalf("%d lanes", len(lanes))
		}
		return lanes[0]
	}
}

// TestWindow has a peer acknowledge nothing: it gets so many events and bytes of a lane and no more [FED-OUT-2]. Another lane goes on.
func TestWindow(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		b.open("b:443", false)
		data := strings.Repeat("x", 60<<10)
		for range 100 {
			b.say(2, a, 1, data)
		}
		p := newPuppet(t, a)
		w, _, err := p.connect(n, b, "b:443")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		bytes := map[fed.Lane]int{}
		read := make(chan fed.Batch)
		go func() { // ends with the connection
			defer close(read)
			for {
				f, err := p.next(w, fed.KindBatch)
				if err != nil {
					return
				}
				var batch fed.Batch
				if f.Into(&batch) == nil {
					read <- batch
				}
			}
		}()
		until := time.After(20 * time.Second)
		for more := true; more; {
			select {
			case batch := <-read:
				bytes[batch.Lane] += sizeOf(&batch)
			case <-until:
				more = false
			}
		}
		full := onlyLane(t, b, a)().Lane
		if len(bytes) != 1 || bytes[full] < windowBytes || bytes[full] > windowBytes+fed.MaxBatchBytes {
			t.Errorf("%v bytes by lane are on their way", bytes)
		}
		for u := protocol.UserID(2); len(bytes) < 2 && u <= 4; u++ {
			b.say(u, a, u, "in another lane")
			for more := true; more; {
				select {
				case batch := <-read:
					bytes[batch.Lane] += sizeOf(&batch)
				case <-time.After(time.Second):
					more = false
				}
			}
		}
		if len(bytes) < 2 {
			t.Error("no other lane goes on")
		}
		_ = w.Close()
		for range read {
		}
	})
}

// TestAllowances lets a peer's users say no more in a second than they may: what is above comes later, and others are not held up in other lanes [FED-AUTH-3].
func TestAllowances(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		x := a.open("a:443", false)
		y := b.open("b:443", false, func(c *Config) { c.Limits = Limits{Author: 2} })
		a.until("a link", func() bool { return stands(x, y) })
		const messages = 2*burstOf + 20
		began := time.Now()
		for _, m := range numbered("m", messages) {
			a.say(1, b, 2, m)
		}
		a.say(3, b, 4, "not held up")
		b.until("the other's is there", func() bool { return len(fromAuthor(t, b, 4, 0, a, 3)) == 1 })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the other's took %v", took)
		}
		a.until("all is there", func() bool { return a.acked(b) })
		if took := time.Since(began); took < 8*time.Second || took > 20*time.Second {
			t.Errorf("%d messages took %v", messages, took)
		}
		if got := fromAuthor(t, b, 2, 0, a, 1); !slices.Equal(got, numbered("m", messages)) {
			t.Errorf("b has %q", got)
		}
	})
}

// TestAllowancesAreBounded keeps no more of authors than it may.
func TestAllowancesAreBounded(t *testing.T) {
	var a allowances
	a.init(Limits{Events: -1, Author: 1})
	for i := range maxAuthors + 10 {
		if err := a.wait(context.Background(), fed.UserRef{Cluster: fed.ClusterID{1}, ID: protocol.UserID(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.authors) > maxAuthors {
		t.Errorf("%d authors", len(a.authors))
	}
}

// TestGreedyPeer ends the link with a peer that sends more than a window without waiting.
func TestGreedyPeer(t *testing.T) {
	in := laneIn{more: make(chan struct{}, 1)}
	b := &fed.Batch{Events: make([]fed.SignedEvent, fed.MaxBatchEvents)}
	for i := range maxWaiting / fed.MaxBatchEvents {
		if err := in.put(b); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	if err := in.put(b); protocol.CodeOf(err) != protocol.CodeOverloaded {
		t.Errorf("one more: %v", err)
	}
	in = laneIn{more: make(chan struct{}, 1)}
	b = &fed.Batch{Events: []fed.SignedEvent{{Event: make([]byte, fed.MaxEvent)}}}
	sent := 0
	for in.put(b) == nil {
		sent += fed.MaxEvent
	}
	if sent < windowBytes || sent > maxWaitingBytes {
		t.Errorf("%d bytes were taken", sent)
	}
}

// TestNoRoom leaves a peer's connection unread while the memory for what has come is used up: nobody takes the other for silent, and all arrives later.
func TestNoRoom(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		a.until("a link", func() bool { return stands(x, y) })
		if !y.m.room.TryAcquire(maxReceived) {
			t.Fatal("room is taken although nothing comes")
		}
		before := y.m.linkOf(a.id)
		for _, m := range numbered("m", 20) {
			a.say(1, b, 2, m)
		}
		<-time.After(5 * time.Minute)
		if got := fromAuthor(t, b, 2, 0, a, 1); len(got) != 0 {
			t.Errorf("%d messages came although there is no room", len(got))
		}
		y.m.room.Release(maxReceived)
		a.until("all is there", func() bool { return a.acked(b) })
		if y.m.linkOf(a.id) != before {
			t.Error("the link was taken for dead")
		}
		b.until("all room is given back", func() bool {
			free := y.m.room.TryAcquire(maxReceived)
			if free {
				y.m.room.Release(maxReceived)
			}
			return free
		})
	})
}

// TestRoomIsGivenBack ends links in the midst of what comes: the memory that it took is free again.
func TestRoomIsGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, x, y := twoBranches(t, n)
		a.until("a link", func() bool { return stands(x, y) })
		y.stuck.Store(true)
		for _, m := range numbered("m", 200) {
			a.say(1, b, 2, m)
		}
		<-time.After(30 * time.Second)
		y.follows.Store(true)
		b.until("no link", func() bool { return !y.up(a) })
		b.until("all room is given back", func() bool { return y.m.room.TryAcquire(maxReceived) && y.m.commits.TryAcquire(maxCommits) })
	})
}

// TestNewLeaderHasEverything: a node that came to lead has not applied all that is committed; it does not take that for state that was lost.
func TestNewLeaderHasEverything(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a1:443", "a2:443"), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		x1, x2, y := a.open("a1:443", false), a.open("a2:443", true), b.open("b:443", false)
		a.until("a link", func() bool { return stands(x1, y) })
		a.say(1, b, 2, "m0")
		a.until("it is there", func() bool { return a.acked(b) })
		x1.follows.Store(true)
		a.until("no link", func() bool { return !x1.up(b) })
		x2.lags.Store(true)
		x2.follows.Store(false)
		a.until("a link", func() bool { return stands(x2, y) })
		if failed := x2.m.keeperOf(b.id).tally.dialsFailed.Load(); failed != 0 {
			t.Errorf("%d attempts failed", failed)
		}
		if sent := x2.m.linkViews()[b.id].Sent; sent != 0 {
			t.Errorf("%d events were sent again", sent)
		}
	})
}
