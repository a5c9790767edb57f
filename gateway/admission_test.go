package gateway

import (
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func testAdmission(slots, most int) *admission {
	return newAdmission(&Limits{ConcurrentLogins: slots, QueuedLogins: most}, slog.New(slog.DiscardHandler), nil)
}

// queueModel is what an admission should do, written as simply as can be.
type queueModel struct {
	slots, most, resuming int
	waiting, running      []*ticket
	told                  map[*ticket]int
}

func without(list []*ticket, t *ticket) []*ticket {
	return slices.DeleteFunc(list, func(o *ticket) bool { return o == t })
}

func (m *queueModel) begin() {
	for len(m.waiting) > 0 && len(m.running) < m.slots && m.resuming <= resumesMost {
		m.running = append(m.running, m.waiting[0])
		m.waiting = m.waiting[1:]
	}
}

// [TT-QUEUE-1]: whatever comes and goes, logins begin in the order in which they came, as many as there is room for, and each is told where it stands.
func TestAdmissionLikeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &queueModel{slots: rapid.IntRange(1, 3).Draw(t, "slots"), most: rapid.IntRange(1, 8).Draw(t, "most"), told: map[*ticket]int{}}
		a := testAdmission(m.slots, m.most)
		now := time.Now()
		var resumes []func()
		for range resumesMost {
			resumes = append(resumes, a.resume())
			m.resuming++
		}
		pick := func(t *rapid.T, of []*ticket) *ticket {
			if len(of) == 0 {
				t.Skip("nobody is there")
			}
			return rapid.SampledFrom(of).Draw(t, "ticket")
		}
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				must := len(m.waiting) > 0 || len(m.running) == m.slots || m.resuming > resumesMost
				if a.mustWait() != must {
					t.Fatalf("must wait: %v", !must)
				}
				ticket, p, why := a.arrive(0)
				switch {
				case must && len(m.waiting) == m.most:
					if why != refusedQueueFull {
						t.Fatalf("a full queue takes another: %q", why)
					}
				case must:
					m.waiting = append(m.waiting, ticket)
					m.told[ticket] = len(m.waiting)
					if why != "" || p.position != len(m.waiting) {
						t.Fatalf("place %+v, %q, want %d", p, why, len(m.waiting))
					}
				default:
					m.running = append(m.running, ticket)
					if why != "" || ticket.called != nil {
						t.Fatalf("has to wait: %q", why)
					}
				}
			},
			"leave": func(t *rapid.T) {
				ticket := pick(t, m.waiting)
				if !a.leave(ticket) || a.leave(ticket) {
					t.Fatal("did not leave once")
				}
				m.waiting = without(m.waiting, ticket)
			},
			"leave while it runs": func(t *rapid.T) {
				if a.leave(pick(t, m.running)) {
					t.Fatal("left")
				}
			},
			"done": func(t *rapid.T) {
				ticket := pick(t, m.running)
				a.done(ticket)
				m.running = without(m.running, ticket)
			},
			"resume": func(*rapid.T) {
				resumes = append(resumes, a.resume())
				m.resuming++
			},
			"resumed": func(t *rapid.T) {
				if len(resumes) == 0 {
					t.Skip("nobody resumes")
				}
				resumes[0]()
				resumes[0]() // counts once
				resumes = resumes[1:]
				m.resuming--
			},
			"": func(t *rapid.T) {
				m.begin()
				now = now.Add(queueTell)
				m.check(t, a, now)
			},
		})
	})
}

func (m *queueModel) check(t *rapid.T, a *admission, now time.Time) {
	if more := a.tell(now); more != (len(m.waiting) > 0) || a.crowd() != len(m.waiting) || a.running != len(m.running) {
		t.Fatalf("%d wait, %d run; want %d, %d", a.crowd(), a.running, len(m.waiting), len(m.running))
	}
	for _, r := range m.running {
		if !a.runs(r) {
			t.Fatal("one that should run does not")
		}
		if r.called != nil {
			<-r.called
		}
	}
	for i, w := range m.waiting {
		if a.runs(w) {
			t.Fatal("one that should wait runs")
		}
		select {
		case <-w.called:
			t.Fatal("called too early")
		case p := <-w.news:
			if p.position != i+1 || m.told[w] == i+1 {
				t.Fatalf("%d is told that it is %d, and was told %d", i+1, p.position, m.told[w])
			}
			m.told[w] = p.position
		default:
			if m.told[w] != i+1 {
				t.Fatalf("%d believes that it is %d", i+1, m.told[w])
			}
		}
	}
}

// The pace follows what is measured, and only while there is enough to do.
func TestPace(t *testing.T) {
	p := newPace(2)
	if d := p.time(50); d != time.Second {
		t.Errorf("before anything is measured 50 logins take %v", d)
	}
	now := time.Unix(0, 0)
	run := func(n int, each time.Duration) {
		p.work(true, now)
		for range n {
			now = now.Add(each)
			p.decide(now)
		}
		p.work(false, now)
	}
	near := func(what string, n int, want time.Duration) {
		t.Helper()
		if d := p.time(n); d < want*9/10 || d > want*11/10 {
			t.Errorf("%s: %d take %v, want about %v", what, n, d, want)
		}
	}
	run(600, 100*time.Millisecond)
	near("ten in a second", 100, 10*time.Second)
	now = now.Add(12 * time.Hour)
	for range 1000 { // one at a time: nothing is said of how many there could be
		p.decide(now)
	}
	near("after a quiet night", 100, 10*time.Second)
	run(600, 20*time.Millisecond)
	run(12_000, 10*time.Millisecond)
	near("a hundred in a second", 100, time.Second)
	p.work(true, now)
	now = now.Add(24 * time.Hour)
	p.work(true, now)
	if d := p.time(1); d <= 0 || d > 200*365*24*time.Hour {
		t.Errorf("a day without any: %v", d)
	}
}

// A crowd that arrives slows down its own first logins. What those who come in the middle of it are told has to fit what comes later, whether anything
// was measured before or not.
func TestPaceOfACrowd(t *testing.T) {
	for name, before := range map[string]time.Duration{"measured before": 20 * time.Second, "fresh": 0} {
		t.Run(name, func(t *testing.T) {
			p, now := newPace(1), time.Unix(0, 0)
			run := func(span, each time.Duration) {
				p.work(true, now)
				for end := now.Add(span); now.Before(end); {
					now = now.Add(each)
					p.decide(now)
				}
			}
			const arriving, settled = 100 * time.Millisecond, 50 * time.Millisecond // for each login
			run(before, 40*time.Millisecond)
			run(10*time.Second, arriving)
			const waiting = 10_000
			truth := 10*time.Second + (waiting-100)*settled
			if told := p.time(waiting); told < truth*3/5 || told > truth*7/5 {
				t.Errorf("told %v, it takes %v", told, truth)
			}
			run(2*time.Minute, settled)
			if told := p.time(waiting); told < waiting*settled*19/20 || told > waiting*settled*21/20 {
				t.Errorf("when it has settled they are told %v, it takes %v", told, waiting*settled)
			}
		})
	}
}

// Ten thousand that wait cost little to keep informed, and to leave.
func TestTenThousandWait(t *testing.T) {
	const n = 10_000
	a := testAdmission(1, n)
	began := time.Now()
	var tickets []*ticket
	for range n + 1 {
		ticket, _, why := a.arrive(0)
		if why != "" {
			t.Fatal(why)
		}
		tickets = append(tickets, ticket)
	}
	a.done(tickets[0])
	allocations := testing.AllocsPerRun(10, func() {
		began = began.Add(queueTell)
		if !a.tell(began.Add(queueTell)) {
			t.Fatal("nobody waits")
		}
	})
	if allocations > n/10 { // none of its own; but what else runs in the process counts as well
		t.Errorf("%v allocations to tell all", allocations)
	}
	for i := n; i > 1; i-- { // from the end: a search from the front would show
		if !a.leave(tickets[i]) {
			t.Fatalf("%d does not wait", i)
		}
	}
	if p := <-tickets[2].news; p.position != 1 || a.crowd() != 0 {
		t.Errorf("the second was told %+v, %d still wait", p, a.crowd())
	}
}

func BenchmarkTell(b *testing.B) {
	a := testAdmission(1, 20_000)
	for range 15_001 {
		if _, _, why := a.arrive(0); why != "" {
			b.Fatal(why)
		}
	}
	now := time.Now()
	for b.Loop() {
		a.tell(now)
	}
}

// A session that resumes counts for a bounded time only.
func TestResumeCountsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testAdmission(1, 10)
		for range resumesMost + 1 {
			a.resume()
		}
		ticket, _, _ := a.arrive(0)
		began := time.Now()
		<-ticket.called
		if d := time.Since(began); d != resumeCounts || !a.runs(ticket) {
			t.Errorf("begun after %v", d)
		}
		synctest.Wait()
		if a.resuming != 0 {
			t.Errorf("%d still resume", a.resuming)
		}
	})
}
