package longpoll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// nodes are handlers that know each other.
type nodes struct {
	t     *testing.T
	by    map[string]*stage
	fail  error // of every Forward
	asked atomic.Int64
}

func (n *nodes) Forward(ctx context.Context, node string, request []byte) ([]byte, error) {
	n.asked.Add(1)
	st := n.by[node]
	if n.fail != nil || st == nil {
		return nil, errors.Join(n.fail, protocol.Errorf(protocol.CodeUnavailable, "no node %q", node))
	}
	return st.h.Serve(ctx, bytes.Clone(request))
}

// amongNodes runs a test in virtual time, with the nodes 1 and 2.
func amongNodes(t *testing.T, change func(*Config), test func(n *nodes, one, two *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &nodes{t: t, by: map[string]*stage{}}
		for _, name := range []string{"1", "2"} {
			n.by[name] = newStage(t, func(c *Config) {
				c.Node, c.Peers, c.Key = name, n, bytes.Repeat([]byte{7}, 32)
				if change != nil {
					change(c)
				}
			})
			t.Cleanup(n.by[name].end)
		}
		test(n, n.by["1"], n.by["2"])
	})
}

// by is the session as seen by its client through another node.
func (p *peer) by(st *stage) *peer { return &peer{st: st, ticket: p.ticket, conn: p.conn} }

// [TT-LP-9]: whichever nodes the requests come to, the session is one.
func TestAnyNodeTakesAnyRequest(t *testing.T) {
	amongNodes(t, nil, func(_ *nodes, one, two *stage) {
		p := one.open()
		q := p.by(two)
		large := big(600 << 10)
		q.post("1", frame(1, "a")).is(t, "the first POST", 204)
		p.post("2", frame(2, "b")).is(t, "the second", 204)
		q.post("1", frame(1, "a")).is(t, "a repeat", 204)
		q.post("4", frame(4, "d")).want(t, "a hole", 409, "2", "")
		go func() { _, _ = p.conn.Read(1 << 20) }() // it has logged in: large bodies are taken
		synctest.Wait()
		p.reads(frame(2, "b"))
		q.post("3", large).is(t, "a large one", 204)
		p.reads(large)
		q.post("x", nil).is(t, "no number", 400)
		q.post("4", make([]byte, maxBody+1)).is(t, "too large", 413)
		q.poll("after=x").is(t, "no batch", 400)
		q.poll("after=3").is(t, "a batch that was not sent", 409)

		held := q.held("after=0")
		p.write(frame(0, "x"))
		(<-held).want(t, "a poll held elsewhere", 200, "1", string(frame(0, "x")))
		p.poll("after=0").want(t, "again, here", 200, "1", string(frame(0, "x")))
		p.write(frame(0, "y"), frame(0, "z"))
		q.poll("after=1").want(t, "the next", 200, "2", string(join(frame(0, "y"), frame(0, "z"))))
		older := q.held("after=2")
		newer := p.held("after=2&wait=3")
		(<-older).is(t, "superseded by another node's", 204)
		began := time.Now()
		(<-newer).is(t, "nothing in time", 204)
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("held for %v", d)
		}
		last := q.held("after=2")
		q.st.do("POST", "/lp/"+q.ID+"/close", nil, q.auth()...).is(t, "close", 204)
		(<-last).is(t, "the poll held meanwhile", 410)
		q.poll("after=2").is(t, "then", 410)
		q.post("4", frame(4, "d")).is(t, "then", 410)
	})
}

// [TT-LP-9] [TT-LP-1]: without the owner the session has ended; what has no right token goes nowhere.
func TestOwnerOutOfReach(t *testing.T) {
	amongNodes(t, nil, func(n *nodes, one, two *stage) {
		q := one.open().by(two)
		q.st.do("GET", "/lp/"+q.ID+"?after=0", nil, "Authorization", "Bearer "+two.open().Token).is(t, "another's token", 404)
		q.st.do("GET", "/lp/3"+q.ID[1:]+"?after=0", nil, q.auth()...).is(t, "another node's id", 404)
		if n.asked.Load() != 0 {
			t.Error("asked for a stranger")
		}
		for err, status := range map[error]int{errors.New("no link"): 410, protocol.Errorf(protocol.CodeOverloaded, "busy"): 503} {
			n.fail = err
			q.post("1", frame(1, "a")).is(t, fmt.Sprint("POST: ", err), status)
			q.poll("after=0&wait=0").is(t, fmt.Sprint("poll: ", err), status)
			q.st.do("DELETE", "/lp/"+q.ID, nil, q.auth()...).is(t, fmt.Sprint("close: ", err), status)
		}
		n.fail = nil
		delete(n.by, "1")
		q.poll("after=0").is(t, "a node that left", 410)
		n.by["1"] = one
		q.post("1", frame(1, "a")).is(t, "its link is back", 204)
	})
}

// Polls beyond the bound get what there is within a second.
func TestFewPollsAreHeldElsewhere(t *testing.T) {
	amongNodes(t, func(c *Config) { c.Limits.Held = 1 }, func(n *nodes, one, two *stage) {
		a, b := one.open(), one.open()
		first, second := a.by(two).held("after=0"), b.by(two).held("after=0")
		<-time.After(900 * time.Millisecond)
		b.write(frame(0, "b"))
		began := time.Now()
		(<-second).want(t, "beyond the bound", 200, "1", string(frame(0, "b")))
		if d := time.Since(began); d > briefWait || n.asked.Load() != 3 {
			t.Errorf("after %v, %d questions", d, n.asked.Load())
		}
		a.write(frame(0, "a"))
		(<-first).want(t, "within it", 200, "1", string(frame(0, "a")))
		(<-a.by(two).held("after=1&wait=2")).is(t, "its place is free again", 204)
	})
}

// hasty are the other nodes as calls over the network are: who gives one up does not wait for its end, which comes all the same.
type hasty struct {
	*nodes
	done chan struct{}
}

func (n hasty) Forward(ctx context.Context, node string, request []byte) ([]byte, error) {
	answered := make(chan struct{})
	var b []byte
	var err error
	go func() { // ends with ctx
		defer func() { n.done <- struct{}{} }()
		defer close(answered)
		b, err = n.nodes.Forward(ctx, node, request)
	}()
	select {
	case <-answered:
		return b, err
	case <-ctx.Done():
		return nil, protocol.OutcomeUnknownf("no answer in time: %w", ctx.Err())
	}
}

// counted is what a counter says.
func counted(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// A poll that its client has given up is held no longer by the session's node, and the session's time without a poll runs.
func TestGivenUpPollIsNotHeld(t *testing.T) {
	amongNodes(t, nil, func(n *nodes, one, two *stage) {
		done := make(chan struct{}, 1)
		two.h.cfg.Peers = hasty{n, done}
		p := one.open()
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan reply, 1)
		go func() { gone <- two.doCtx(ctx, http.MethodGet, "/lp/"+p.ID+"?after=0", nil, p.auth()...) }()
		synctest.Wait()
		s := p.session()
		polls := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.down.polls
		}
		if polls() != 1 {
			t.Fatalf("%d polls are held", polls())
		}
		began := time.Now()
		cancel()
		<-gone
		<-done
		if polls() != 0 || time.Since(began) > 0 {
			t.Errorf("%d polls are held after %v", polls(), time.Since(began))
		}
		if got := counted(t, two.h.metrics.forwarded.WithLabelValues(requestPoll, "given_up")); got != 1 {
			t.Errorf("%v counted as given up", got)
		}
		p.write(frame(0, "x"))
		p.by(two).poll("after=0").want(t, "the next poll", 200, "1", string(frame(0, "x")))
		<-done
	})
}

// A client that goes away, or an owner that ends, holds nobody up.
func TestForwardedPollEnds(t *testing.T) {
	amongNodes(t, nil, func(_ *nodes, one, two *stage) {
		p := one.open()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan reply, 1)
		go func() { done <- two.doCtx(ctx, http.MethodGet, "/lp/"+p.ID+"?after=0", nil, p.auth()...) }()
		synctest.Wait()
		cancel()
		<-done
		held := p.by(two).held("after=0")
		if err := p.conn.Close(protocol.CodeDraining); err != nil {
			t.Fatal(err)
		}
		(<-held).is(t, "a session that was ended", 410)
	})
}

// FuzzForwarded takes whatever another node might send.
func FuzzForwarded(f *testing.F) {
	f.Add((&request{kind: wirePost, n: 1, body: frame(1, "x")}).encode())
	f.Add((&request{kind: wirePoll, n: 1 << 63, wait: time.Second}).encode())
	f.Add((&answer{status: 200, seq: 7, hasSeq: true, body: []byte("x")}).encode())
	f.Add([]byte{forwardVersion + 1})
	st := newStage(f, func(c *Config) { c.Poll = time.Millisecond })
	f.Cleanup(st.end)
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := decodeRequest(b); err == nil {
			if again, err := decodeRequest(q.encode()); err != nil || !reflect.DeepEqual(again, q) {
				t.Errorf("%+v came back as %+v, %v", q, again, err)
			}
		}
		if a, err := decodeAnswer(b); err == nil && a.seq < 1<<63 {
			if again, err := decodeAnswer(a.encode()); err != nil || !reflect.DeepEqual(again, a) {
				t.Errorf("%+v came back as %+v, %v", a, again, err)
			}
		}
		if got, err := st.h.Serve(t.Context(), b); (err == nil) != (got != nil) || err != nil && protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("answered %x, %v", got, err)
		}
	})
}
