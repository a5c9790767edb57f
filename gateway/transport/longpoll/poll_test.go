package longpoll

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// [TT-LP-4]: batches count by one, a batch once sent never changes, and what is acknowledged is not sent again.
func TestBatches(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		a, b, c := frame(1, "a"), frame(2, "b"), frame(3, "c")
		p.write(a, b)
		p.poll("after=0").want(t, "the first batch", 200, "1", string(join(a, b)))
		p.write(c) // the answer was lost, and more has come
		p.poll("after=0").want(t, "the first batch again", 200, "1", string(join(a, b)))
		p.poll("after=1").want(t, "the second", 200, "2", string(c))
		p.poll("after=0").want(t, "before the last acknowledged", 409, "", "")
		p.poll("after=1").want(t, "the second again", 200, "2", string(c))
		p.poll("after=3").want(t, "beyond the last sent", 409, "", "")
		p.poll("after=2&wait=0").want(t, "nothing", 204, "", "")
		p.poll("after=1").want(t, "before the last acknowledged", 409, "", "")
		for _, bad := range []string{"", "after=", "after=-1", "after=x", "after=2&wait=", "after=2&wait=-1", "after=2&wait=1.5", "AFTER=2"} {
			p.poll(bad).want(t, "the query "+bad, 400, "", "")
		}
	})
}

// [TT-LP-5]: a poll is held until there is something, or for the time said in the answer to POST /lp or less.
func TestPollsAreHeld(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		for query, d := range map[string]time.Duration{"after=0": 25 * time.Second, "after=0&wait=3": 3 * time.Second,
			"after=0&wait=0": 0, "after=0&wait=4000000000": 25 * time.Second} {
			began := time.Now()
			p.poll(query).want(t, query, 204, "", "")
			if time.Since(began) != d {
				t.Errorf("%s: held for %v", query, time.Since(began))
			}
		}
		began := time.Now()
		got := p.held("after=0")
		<-time.After(7 * time.Second)
		p.write(frame(1, "a"))
		(<-got).want(t, "the batch", 200, "1", string(frame(1, "a")))
		if time.Since(began) != 7*time.Second {
			t.Errorf("after %v", time.Since(began))
		}
	})
}

// [TT-LP-5]: two polls at once, and a stranger's.
func TestNewerPollEndsTheOlder(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		began := time.Now()
		first := p.held("after=0")
		second := p.held("after=0")
		(<-first).want(t, "the older", 204, "", "")
		p.poll("after=1").is(t, "a wrong one", 409)
		st.do("GET", "/lp/"+p.ID+"?after=0", nil, "Authorization", "Bearer "+p.ID[2:]).is(t, "a stranger's", 404)
		synctest.Wait()
		select {
		case w := <-second:
			t.Fatalf("the newer ended with %d", w.Code)
		default:
		}
		p.write(frame(1, "a"))
		(<-second).want(t, "the newer", 200, "1", string(frame(1, "a")))
		third := p.held("after=1")
		p.poll("after=1&wait=0").is(t, "one that does not wait", 204)
		(<-third).is(t, "the one before it", 204)
		if time.Since(began) != 0 {
			t.Errorf("after %v", time.Since(began))
		}
	})
}

// A client that goes away ends its poll, and loses nothing.
func TestPollGivenUp(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan reply, 1)
		go func() { got <- st.doCtx(ctx, "GET", "/lp/"+p.ID+"?after=0", nil, p.auth()...) }()
		synctest.Wait()
		cancel()
		(<-got).is(t, "the poll given up", 204)
		p.write(frame(1, "a"))
		p.poll("after=0").want(t, "the next", 200, "1", string(frame(1, "a")))
	})
}

// [TT-LP-7]: 60 s without a poll, from the creation or the end of the last poll; POSTs do not count, an open poll does.
func TestSilence(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		a, b, c := st.open(), st.open(), st.open()
		polls := b.held("after=0&wait=20")
		<-time.After(30 * time.Second)
		a.post("1", frame(1, "x")).is(t, "a POST", 204)
		(<-polls).is(t, "the poll", 204)
		<-time.After(29*time.Second + 999*time.Millisecond)
		a.post("2", frame(2, "y")).is(t, "a POST in time", 204)
		late := c.held("after=0&wait=10")
		<-time.After(2 * time.Millisecond)
		a.post("3", frame(3, "z")).is(t, "60 s after the creation", 410)
		a.poll("after=0").is(t, "a poll then", 410)
		a.reads(frame(1, "x"), frame(2, "y"))
		if _, err := a.conn.Read(100); !errors.Is(err, errSilent) {
			t.Errorf("Read: %v", err)
		}
		if err := a.conn.Write([][]byte{frame(1, "")}); !errors.Is(err, errSilent) {
			t.Errorf("Write: %v", err)
		}
		b.post("1", nil).is(t, "40 s after the end of a poll", 204)
		<-time.After(20 * time.Second)
		b.post("2", nil).is(t, "60 s after the end of a poll", 410)
		(<-late).is(t, "the poll of one that had nearly ended", 204)
		c.poll("after=0&wait=0").is(t, "the next", 204)
		<-time.After(59 * time.Second)
		c.poll("after=0&wait=0").is(t, "the last", 204)
		<-time.After(time.Minute + time.Millisecond)
		c.poll("after=0&wait=0").is(t, "too late", 410)
		if n := st.h.open(); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// [TT-LP-8]: closing by the client, both ways of it; what it sent before is read, what is written goes nowhere.
func TestCloseByTheClient(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		for _, how := range [][2]string{{"POST", "/close"}, {"DELETE", ""}} {
			p := st.open()
			p.post("1", frame(1, "x")).is(t, "a POST", 204)
			poll := p.held("after=0")
			st.do(how[0], "/lp/"+p.ID+how[1], nil).is(t, "a stranger's", 404)
			st.do(how[0], "/lp/"+p.ID+how[1], nil, p.auth()...).want(t, "closing", 204, "", "")
			(<-poll).is(t, "the poll held", 410)
			p.post("1", frame(1, "x")).is(t, "a POST then", 410)
			p.poll("after=0").is(t, "a poll then", 410)
			st.do(how[0], "/lp/"+p.ID+how[1], nil, p.auth()...).is(t, "closing again", 410)
			p.write(frame(1, "nobody reads this"))
			p.reads(frame(1, "x"))
			if _, err := p.conn.Read(100); !errors.Is(err, io.EOF) {
				t.Errorf("Read: %v", err)
			}
		}
	})
}

// [TT-LP-8]: closing by the server: the last batch, as often as it is asked for, then 410.
func TestCloseByTheServer(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p, q, r := st.open(), st.open(), st.open()
		p.write(frame(1, "a"))
		p.poll("after=0").want(t, "a batch", 200, "1", string(frame(1, "a")))
		p.write(frame(2, "b"))
		held := q.held("after=0")
		for _, x := range []*peer{p, q, r} {
			if x == r {
				x.write(frame(1, "never fetched"))
			}
			if err := x.conn.Close(protocol.CodeKicked); err != nil {
				t.Error(err)
			}
		}
		(<-held).is(t, "a poll with nothing left", 410)
		p.post("1", frame(1, "")).is(t, "a POST", 410)
		p.poll("after=0").want(t, "the batch before", 200, "1", string(frame(1, "a")))
		for range 2 {
			p.poll("after=1").want(t, "the last batch", 200, "2", string(frame(2, "b")))
		}
		p.poll("after=2").want(t, "after it", 410, "", "")
		p.poll("after=2").want(t, "after it", 410, "", "")
		<-time.After(9 * time.Second)
		if n := st.h.open(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		r.poll("after=0").want(t, "in time", 200, "1", string(frame(1, "never fetched")))
		<-time.After(time.Second + time.Millisecond)
		r.poll("after=0").is(t, "too late", 410)
		if n := st.h.open(); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// After CloseWrite the last batch is followed by 410 already, and Discard ends when the client has been told.
func TestCloseWriteThenDiscard(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		p.write(frame(1, "bye"))
		if err := p.conn.CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := p.conn.Write([][]byte{frame(2, "")}); err == nil {
			t.Error("Write after CloseWrite succeeds")
		}
		discarded := make(chan struct{})
		go func() {
			p.conn.Discard(time.Now().Add(time.Hour))
			close(discarded)
		}()
		p.poll("after=0").want(t, "the last batch", 200, "1", string(frame(1, "bye")))
		synctest.Wait()
		select {
		case <-discarded:
			t.Error("the batch may be lost, and Discard has ended")
		default:
		}
		p.post("1", frame(1, "late")).is(t, "a POST", 204)
		p.poll("after=1").is(t, "after it", 410)
		<-discarded
		_ = p.conn.Close(protocol.CodeKicked)
		p.poll("after=1").is(t, "once more", 410)
	})
}

// What may wait for a client is bounded; an empty queue takes anything.
func TestWriteWaitsForTheClient(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, st *stage) {
		p := st.open()
		huge := make([]byte, pdu.MaxLen)
		p.write(huge)
		written := make(chan error, 1)
		write := func() { written <- p.conn.Write([][]byte{frame(1, "a")}) }
		go write()
		synctest.Wait()
		if len(written) > 0 {
			t.Error("Write does not wait")
		}
		if w := p.poll("after=0"); w.Code != 200 || w.Body.Len() != len(huge) {
			t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		p.write(make([]byte, st.h.cfg.Limits.QueueBytes-len(frame(1, "a"))))
		began := time.Now()
		polls := p.held("after=1") // a sign of life that takes nothing more
		(<-polls).want(t, "all that waited", 200, "2", string(join(frame(1, "a"), make([]byte, st.h.cfg.Limits.QueueBytes-len(frame(1, "a"))))))
		p.write(make([]byte, st.h.cfg.Limits.QueueBytes))
		go write()
		if err := <-written; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 30*time.Second {
			t.Errorf("Write: %v after %v", err, time.Since(began))
		}
	})
}
