package gateway

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// ways is where a cluster is said to be reached.
type ways struct {
	mu  sync.Mutex // guards now
	now []string
}

func (w *ways) be(now ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

func (w *ways) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.now)
}

// endpointsTold are the endpoints that the CURSORs among PDUs name, and how many CURSORs name any.
func endpointsTold(c *client, ps []pdu.PDU) (endpoints []string, times int) {
	for _, p := range ps {
		if p.Header.Command != pdu.CmdCursor {
			continue
		}
		if e := decoded[*sessionpb.Cursor](c, p).GetEndpoints(); len(e) > 0 {
			endpoints, times = e, times+1
		}
	}
	return endpoints, times
}

// playReach is play with a server that says where its cluster is reached, and has looked there.
func playReach(t *testing.T, test func(*stage, *ways)) {
	t.Helper()
	w := &ways{}
	w.be("tls://a", "tls://b")
	play(t, func(c *Config) { c.Endpoints = w.list }, func(s *stage) {
		pass(time.Minute)
		test(s, w)
	})
}

// awhile lets so much time pass with heartbeats, of others too, and returns what has come.
func (d *device) awhile(howLong time.Duration, others ...*device) (got []pdu.PDU) {
	for until := time.Now().Add(howLong); time.Now().Before(until); {
		pass(time.Second)
		d.write(beat(1))
		got = append(got, d.take()...)
		for _, o := range others {
			o.write(beat(1))
		}
	}
	return got
}

// [TT-SESS-25]: a session that stays is told once where the cluster is reached now, idle or not; a legacy one never is.
func TestSessionsAreToldOfNewEndpoints(t *testing.T) {
	playReach(t, func(s *stage, w *ways) {
		idle, busy, legacy := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows), s.login(3, windows)
		if got, n := endpointsTold(idle.client, idle.awhile(2*time.Minute, busy)); n > 0 {
			t.Fatalf("told %v, which WELCOME has said", got)
		}
		w.be("tls://b", "tls://a") // the order says nothing
		if got, n := endpointsTold(idle.client, idle.awhile(2*time.Minute, busy)); n > 0 {
			t.Fatalf("told %v again", got)
		}
		busy.take()

		w.be("tls://c", "tls://b")
		pass(time.Second)
		s.say(4, 2, "one")
		pass(2 * time.Second)
		if got, n := endpointsTold(busy.client, busy.take()); n != 1 || !slices.Equal(got, []string{"tls://c", "tls://b"}) {
			t.Errorf("behind a message: %v, %d times", got, n)
		}
		if got, n := endpointsTold(idle.client, idle.awhile(62*time.Second)); n != 1 || !slices.Equal(got, []string{"tls://c", "tls://b"}) {
			t.Errorf("idle: %v, %d times", got, n)
		}
		late := s.enter(4, "laptop", windows)
		if got, n := endpointsTold(idle.client, idle.awhile(2*time.Minute, late)); n > 0 {
			t.Errorf("told %v once more", got)
		}
		if got, n := endpointsTold(late.client, late.take()); n > 0 {
			t.Errorf("told %v, which WELCOME has said", got)
		}
		for _, p := range legacy.take() {
			if p.Header.Command.IsExtension() { // [TT-SESS-12]
				t.Errorf("a legacy client got %v", p.Header.Command)
			}
		}
	})
}

// [TT-SESS-25]: what changes again and again is told no more often than the pace, however many CURSORs go out, and in the end as it is.
func TestEndpointsAreToldAtAPace(t *testing.T) {
	playReach(t, func(s *stage, w *ways) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		began := time.Now()
		var got []pdu.PDU
		for i := range 60 {
			w.be("tls://a", "tls://"+string(rune('A'+i%26)))
			s.say(2, 1, "something")
			got = append(got, d.awhile(time.Second)...)
		}
		w.be("tls://last")
		for range 2 * reachPace / time.Second {
			s.say(2, 1, "something")
			got = append(got, d.awhile(time.Second)...)
		}
		endpoints, n := endpointsTold(d.client, got)
		if most := int(time.Since(began)/reachPace) + 1; n < 2 || n > most {
			t.Errorf("told %d times in %v", n, time.Since(began))
		}
		if !slices.Equal(endpoints, []string{"tls://last"}) {
			t.Errorf("in the end %v", endpoints)
		}
		w.be()
		if got, n := endpointsTold(d.client, d.awhile(2*time.Minute)); n > 0 {
			t.Errorf("told %v although there are none", got)
		}
	})
}

// [TT-SESS-25]: a session without room for a CURSOR is told by a later one.
func TestEndpointsForASlowReader(t *testing.T) {
	playReach(t, func(s *stage, w *ways) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		resume := d.stopReading()
		long := "tls://" + strings.Repeat("c", 60<<10)
		w.be(long)
		d.write(beat(1))
		data := make([]byte, 40<<10)
		for range 5 { // beside them there is no room for the endpoints
			s.say(2, 1, string(data))
			synctest.Wait()
		}
		pass(5 * time.Second)
		resume()
		got := d.awhile(62 * time.Second)
		if endpoints, n := endpointsTold(d.client, got); n != 1 || !slices.Equal(endpoints, []string{long}) || len(got) < 7 {
			t.Errorf("told %d endpoints, %d times, among %v", len(endpoints), n, commandsOf(got))
		}
	})
}
