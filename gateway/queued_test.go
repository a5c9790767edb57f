package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// Throttled is nobody but who is called so.
func (w *world) Throttled(name string, _ netip.Addr) error {
	if name == "throttled" {
		return protocol.Errorf(protocol.CodeRateLimited, "用户名/密码错误次数太多")
	}
	return nil
}

// checker is Accounts whose checks take their time.
type checker struct {
	Accounts
	each time.Duration

	mu     sync.Mutex // guards what follows
	names  []string   // in the order in which they began
	begun  []time.Time
	at     int // checks under way
	most   int // of them at the same time
	before func(name string)
}

func (c *checker) Authenticate(ctx context.Context, name, password string, from netip.Addr) (protocol.User, error) {
	c.mu.Lock()
	c.names, c.begun = append(c.names, name), append(c.begun, time.Now())
	c.at++
	c.most = max(c.most, c.at)
	before := c.before
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.at--
	}()
	if before != nil {
		before(name)
	}
	select {
	case <-time.After(c.each):
	case <-ctx.Done():
		return protocol.User{}, ctx.Err()
	}
	return c.Accounts.Authenticate(ctx, name, password, from)
}

func (c *checker) order() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.names, " ")
}

// queueing plays with one slot and checks that take as long as given.
func queueing(t *testing.T, each time.Duration, configure func(*Config), test func(*stage, *checker)) {
	t.Helper()
	check := &checker{each: each}
	play(t, func(c *Config) {
		c.Limits.ConcurrentLogins = 1
		check.Accounts = c.Services.Accounts
		c.Services.Accounts = check
		if configure != nil {
			configure(c)
		}
	}, func(s *stage) { test(s, check) })
}

// ask connects, says HELLO and asks to log in.
func (s *stage) ask(u protocol.UserID) *client {
	s.t.Helper()
	c := s.dial()
	c.user = u
	c.send(pdu.CmdHello, 1, helloOf(fmt.Sprint("device", u), windows))
	c.next()
	c.send(pdu.CmdLoginReq, 2, loginReq(fmt.Sprintf("user%d", u), windows))
	synctest.Wait() // it has its place
	return c
}

// askLegacy connects and asks to log in.
func (s *stage) askLegacy(u protocol.UserID) *client {
	s.t.Helper()
	c := s.dial()
	c.user = u
	c.send(pdu.CmdLoginReq, 2, loginReq(fmt.Sprintf("user%d", u), windows))
	synctest.Wait() // it has its place
	return c
}

// expectPlaces takes what has come, which must be QUEUE with these positions.
func (c *client) expectPlaces(want ...uint32) (last *sessionpb.Queue) {
	c.s.t.Helper()
	var got []uint32
	for _, p := range c.take() {
		if p.Header.Seq != 0 {
			c.s.t.Errorf("user %d: QUEUE with sequence number %d", c.user, p.Header.Seq)
		}
		last = decoded[*sessionpb.Queue](c, p)
		got = append(got, last.GetPosition())
	}
	if !slices.Equal(got, want) {
		c.s.t.Errorf("user %d: told %v, want %v", c.user, got, want)
	}
	return last
}

// expectLogin takes what has come: places, then the answer with this result.
func (c *client) expectLogin(result pb.ResultType) *pb.IMLoginRes {
	c.s.t.Helper()
	got := c.take()
	i := slices.IndexFunc(got, func(p pdu.PDU) bool { return p.Header.Command != pdu.CmdQueue })
	if i < 0 || got[i].Header.Command != pdu.CmdLoginRes || got[i].Header.Seq != 2 {
		c.s.t.Fatalf("user %d: got %v, want the answer to the login", c.user, commandsOf(got))
	}
	m := decoded[*pb.IMLoginRes](c, got[i])
	if m.GetResultCode() != result || m.GetResultString() == "" {
		c.s.t.Errorf("user %d: got %v, want %v", c.user, m, result)
	}
	if slices.ContainsFunc(got[i:], func(p pdu.PDU) bool { return p.Header.Command == pdu.CmdQueue }) {
		c.s.t.Errorf("user %d: QUEUE after the answer", c.user)
	}
	return m
}

const (
	accepted = pb.ResultType_REFUSE_REASON_NONE
	isFull   = pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL
)

// [TT-QUEUE-1] [TT-QUEUE-2]: in order, told at once, then of changes, at most every 2 s.
func TestLoginQueue(t *testing.T) {
	queueing(t, 10*time.Second, nil, func(s *stage, check *checker) {
		var clients []*client
		for u := range 4 {
			clients = append(clients, s.ask(protocol.UserID(u+1)))
		}
		for i, c := range clients {
			if i > 0 {
				if q := c.expectPlaces(uint32(i)); q != nil && q.GetEtaS() == 0 {
					t.Errorf("no time is said: %v", q)
				}
			}
		}
		pass(9 * time.Second)
		for _, c := range clients {
			c.expect() // nothing has changed
		}
		pass(time.Second + queueTick)
		clients[0].expectLogin(accepted)
		clients[1].expectPlaces() // is being checked
		clients[2].expectPlaces(1)
		clients[3].expectPlaces(2)
		pass(30 * time.Second)
		clients[1].expectLogin(accepted)
		clients[2].expectLogin(accepted)
		clients[3].expectLogin(accepted)
		if check.order() != "user1 user2 user3 user4" || check.most != 1 {
			t.Errorf("checked %v, %d at once", check.order(), check.most)
		}
		if n := strings.Count(s.log.String(), "logins wait for their turn"); n != 1 {
			t.Errorf("%d lines say that logins wait", n)
		}
		if n := strings.Count(s.log.String(), "no login waits any more"); n != 1 {
			t.Errorf("%d lines say that none does", n)
		}
	})
	queueing(t, 100*time.Millisecond, nil, func(s *stage, _ *checker) {
		for u := range 60 {
			s.ask(protocol.UserID(u + 1))
		}
		last := s.ask(99)
		last.expectPlaces(60)
		told := time.Now()
		for before := uint32(60); before > 1; {
			pass(queueTick)
			got := last.take()
			if len(got) == 0 || got[0].Header.Command == pdu.CmdLoginRes {
				if time.Since(told) > queueTell+queueTick {
					break
				}
				continue
			}
			q := decoded[*sessionpb.Queue](last, got[0])
			if d := time.Since(told); len(got) > 1 || d < queueTell || d > queueTell+queueTick || q.GetPosition() >= before {
				t.Errorf("%d, after %d, %v later", q.GetPosition(), before, d)
			}
			told, before = time.Now(), q.GetPosition()
		}
		pass(10 * time.Second)
		if s.metric("logins_total", "REFUSE_REASON_NONE") != 61 {
			t.Errorf("%v logged in", s.metric("logins_total", "REFUSE_REASON_NONE"))
		}
	})
}

// [TT-QUEUE-2]: the deadline stands still as long as heartbeats come, and they are answered.
func TestQueuedHeartbeats(t *testing.T) {
	queueing(t, 5*time.Minute, nil, func(s *stage, check *checker) {
		s.ask(1)
		alive, silent, next := s.ask(2), s.ask(3), s.ask(4)
		alive.expectPlaces(1)
		silent.expectPlaces(2)
		next.expectPlaces(3)
		for i := range uint16(14) {
			pass(20 * time.Second)
			for _, c := range []*client{alive, next} {
				c.write(beat(i))
				if got := c.take(); len(got) == 0 || got[len(got)-1].Header.Command != pdu.CmdHeartbeat || got[len(got)-1].Header.Seq != i {
					t.Fatalf("heartbeat %d got %v", i, commandsOf(got))
				}
			}
			if time.Duration(i+1)*20*time.Second < silentBeats*heartbeat && !silent.isOpen() {
				t.Fatal("a silent one was dropped too early")
			}
		}
		if silent.isOpen() || s.metric("closed_total", string(reasonIdle)) != 1 || s.srv.admission.crowd() != 2 {
			t.Errorf("a silent one waits on; %d wait", s.srv.admission.crowd())
		}
		silent.expectBye(protocol.CodeUnavailable)
		pass(20 * time.Second)
		alive.write(beat(99))
		next.write(beat(99))
		pass(20 * time.Second)
		if check.order() != "user1 user2" {
			t.Errorf("checked %v", check.order())
		}
	})
}

// What else is sent by a client whose login waits is carried out when it is logged in, in order, whatever its size.
func TestRequestsBehindQueuedLogin(t *testing.T) {
	queueing(t, 40*time.Second, nil, func(s *stage, _ *checker) {
		s.ask(1)
		c := s.ask(2)
		c.expectPlaces(1)
		go func() {
			c.send(pdu.CmdUnreadReq, 4, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
			c.send(pdu.CmdMsgData, 5, text(1, strings.Repeat("x", 2*pdu.MaxLenBeforeLogin)))
			c.send(pdu.CmdUnreadReq, 6, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
		}()
		pass(70 * time.Second)
		c.expectPlaces()
		if len(s.allBegun()) != 0 {
			t.Fatal("a message of somebody unknown was carried out")
		}
		pass(10 * time.Second)
		got := c.take()
		var answers []pdu.Command
		for _, p := range got {
			if p.Header.Seq != 0 {
				answers = append(answers, p.Header.Command)
			}
		}
		if !slices.Equal(answers, []pdu.Command{pdu.CmdLoginRes, pdu.CmdUnreadRes, pdu.CmdMsgDataAck, pdu.CmdUnreadRes}) || len(s.allBegun()) != 1 {
			t.Errorf("got %v", commandsOf(got))
		}
	})
	queueing(t, 40*time.Second, nil, func(s *stage, _ *checker) { // the large one first
		s.ask(1)
		c := s.ask(2)
		c.expectPlaces(1)
		go c.send(pdu.CmdMsgData, 5, text(1, strings.Repeat("x", 2*pdu.MaxLenBeforeLogin)))
		pass(70 * time.Second)
		if len(s.allBegun()) != 0 {
			t.Fatal("a message of somebody unknown was carried out")
		}
		pass(10 * time.Second)
		if c.expectLogin(accepted); len(s.allBegun()) != 1 {
			t.Error("the message was not carried out")
		}
	})
	queueing(t, time.Minute, nil, func(s *stage, _ *checker) {
		s.ask(1)
		for u := range protocol.UserID(3) {
			s.ask(2 + u)
		}
		c := s.ask(9)
		c.expectPlaces(4)
		c.send(pdu.CmdUnreadReq, 6, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
		pass(91 * time.Second) // it can't be seen whether the client is there
		if c.isOpen() || s.metric("closed_total", string(reasonIdle)) == 0 {
			t.Error("held up for longer than a client may be silent")
		}
	})
}

// [TT-QUEUE-1]: who gives up leaves at once, and those behind move up.
func TestLeavingTheQueue(t *testing.T) {
	for name, leave := range map[string]func(*client){
		"closes": func(c *client) { c.close() },
		"BYE":    func(c *client) { c.send(pdu.CmdBye, 0, &sessionpb.Bye{}) },
		"length": func(c *client) { c.write(make([]byte, 16)) },
	} {
		t.Run(name, func(t *testing.T) {
			queueing(t, 30*time.Second, nil, func(s *stage, check *checker) {
				s.ask(1)
				first, second, third := s.ask(2), s.ask(3), s.ask(4)
				for i, c := range []*client{first, second, third} {
					c.expectPlaces(uint32(i + 1))
				}
				pass(queueTell)
				leave(second)
				synctest.Wait()
				if s.srv.admission.crowd() != 2 {
					t.Fatalf("%d wait", s.srv.admission.crowd())
				}
				second.mu.Lock()
				if !second.served {
					t.Error("its connection is still served")
				}
				second.mu.Unlock()
				pass(queueTick)
				first.expectPlaces()
				third.expectPlaces(2)
				pass(90 * time.Second)
				if check.order() != "user1 user2 user4" {
					t.Errorf("checked %v", check.order())
				}
			})
		})
	}
}

// [TT-QUEUE-3]
func TestLegacyQueue(t *testing.T) {
	queueing(t, 10*time.Second, nil, func(s *stage, check *checker) {
		s.ask(1)
		early := s.askLegacy(2)
		began := time.Now()
		pass(2990 * time.Millisecond)
		early.write(beat(7))
		if p := early.next(); p.Header.Command != pdu.CmdHeartbeat || p.Header.Seq != 7 {
			t.Errorf("got %v", p.Header)
		}
		pass(time.Second)
		if m := early.expectLogin(isFull); m.GetResultString() != "登录的人太多，正在排队的有0人，请稍后再试" {
			t.Errorf("got %v", m)
		}
		if d := early.expectEnd().Sub(began); d != legacyWait {
			t.Errorf("answered after %v", d)
		}
		pass(6 * time.Second) // a slot is free in less than a second
		late := s.askLegacy(3)
		pass(500 * time.Millisecond)
		late.expect()
		pass(5 * time.Second)
		if late.expectLogin(isFull); check.order() != "user1 user3" {
			t.Errorf("checked %v", check.order())
		}
		if s.metric("refused_total", string(refusedWaited)) != 2 {
			t.Error("not counted")
		}
	})
	queueing(t, time.Second, nil, func(s *stage, _ *checker) {
		s.ask(1)
		if c := s.askLegacy(2); true {
			pass(2 * time.Second)
			c.expectLogin(accepted)
		}
	})
}

// [TT-QUEUE-3]: the answer is out in 4 s even if the check itself takes its time.
func TestLegacyCheckTakesTooLong(t *testing.T) {
	queueing(t, time.Minute, nil, func(s *stage, _ *checker) {
		began := time.Now()
		c := s.askLegacy(1)
		pass(4 * time.Second)
		c.expectLogin(isFull)
		if d := c.expectEnd().Sub(began); d > 4*time.Second {
			t.Errorf("answered after %v", d)
		}
		other := s.ask(2) // has the time
		pass(90 * time.Second)
		other.expectLogin(accepted)
	})
}

// [TT-QUEUE-3] [TT-QUEUE-4]: a legacy login that could not make it is told so at once, and clients that ask where to log in, too.
func TestLegacyIsToldAtOnce(t *testing.T) {
	queueing(t, time.Second, nil, func(s *stage, _ *checker) {
		if a := s.srv.Availability(); a != Available {
			t.Fatalf("availability %v", a)
		}
		waiting := []*client{s.ask(1)}
		for u := range protocol.UserID(40) {
			waiting = append(waiting, s.ask(u+2))
		}
		pass(20 * time.Second) // it is known how long one takes
		for _, c := range waiting {
			c.write(beat(1))
		}
		c := s.askLegacy(50)
		if m := c.expectLogin(isFull); !strings.Contains(m.GetResultString(), fmt.Sprint(s.srv.admission.crowd())) {
			t.Errorf("%d wait, and the client is told %v", s.srv.admission.crowd(), m)
		}
		c.expectEnd()
		if s.metric("refused_total", string(refusedNoTime)) != 1 || s.srv.Availability() != Full {
			t.Errorf("not counted, or clients are sent here: %v", s.srv.Availability())
		}
		pass(19 * time.Second)
		if a := s.srv.Availability(); a != Available || s.srv.admission.crowd() == 0 {
			t.Errorf("availability %v with %d that wait", a, s.srv.admission.crowd())
		}
		pass(5 * time.Second)
		c = s.askLegacy(51)
		pass(2 * time.Second)
		c.expectLogin(accepted)
	})
}

// Who has tried too often is told so without a place in the queue [TT-LOGIN-6].
func TestThrottledDoNotQueue(t *testing.T) {
	queueing(t, time.Minute, nil, func(s *stage, _ *checker) {
		s.ask(1)
		c := s.dial()
		c.send(pdu.CmdLoginReq, 2, loginReq("throttled", windows))
		c.expectLogin(pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED)
		c.expectEnd()
	})
}

// [TT-QUEUE-1]: those who resume do not wait, and while many do no login begins.
func TestResumesOvertake(t *testing.T) {
	queueing(t, 10*time.Second, nil, func(s *stage, check *checker) {
		back := s.ask(9)
		pass(10 * time.Second)
		got := back.take()
		d := &device{client: back, id: "device9", kind: windows}
		d.keep(decoded[*sessionpb.Credential](back, got[1]))
		s.ask(1)
		waits := s.ask(2)
		waits.expectPlaces(1)
		back.close()
		resuming := func() int {
			s.srv.admission.mu.Lock()
			defer s.srv.admission.mu.Unlock()
			return s.srv.admission.resuming
		}
		meanwhile := -1
		s.ledger.change(func(l *ledger) {
			l.reading = func() { meanwhile = resuming() }
		})
		d.again()
		if got := d.take(); len(got) == 0 || decoded[*sessionpb.Welcome](d.client, got[0]).GetVerdict() != sessionpb.Verdict_RESUMED {
			t.Fatalf("got %v", commandsOf(got))
		}
		if meanwhile != 1 || resuming() != 0 {
			t.Errorf("%d resumed at the time, %d after", meanwhile, resuming())
		}
		pass(9 * time.Second)
		var crowd []func()
		for range resumesMost + 1 {
			crowd = append(crowd, s.srv.admission.resume())
		}
		pass(1500 * time.Millisecond)
		if check.order() != "user9 user1" {
			t.Errorf("a login began: %v", check.order())
		}
		crowd[0]()
		if synctest.Wait(); check.order() != "user9 user1 user2" {
			t.Errorf("no login began: %v", check.order())
		}
		pass(11 * time.Second)
		waits.expectLogin(accepted)
	})
}

// A queue has a bound, and those who wait in it are not among those who have nothing to say [TT-LIMIT-2].
func TestQueueBounds(t *testing.T) {
	queueing(t, time.Minute, func(c *Config) {
		c.Limits.QueuedLogins, c.Limits.UnauthenticatedPerAddress, c.Limits.Unauthenticated = 5, 2, 2
	}, func(s *stage, _ *checker) {
		var last *client
		for u := range protocol.UserID(6) {
			if last = s.ask(u + 1); !last.isOpen() {
				t.Fatalf("%d is not let in", u)
			}
		}
		c := s.ask(7)
		got := c.expectCommands(pdu.CmdLoginRes, pdu.CmdBye)
		if m := decoded[*pb.IMLoginRes](c, got[0]); m.GetResultCode() != isFull {
			t.Errorf("got %v", m)
		}
		if b := decoded[*sessionpb.Bye](c, got[1]); b.GetCode() != sessionpb.Code(protocol.CodeUnavailable) {
			t.Errorf("got %v", b)
		}
		c.close()
		if s.metric("refused_total", string(refusedQueueFull)) != 1 || s.srv.Availability() != Full {
			t.Errorf("not counted, or clients are sent here: %v", s.srv.Availability())
		}
		silent := s.dial() // with the first, whose password is being checked, there are two
		if !silent.isOpen() || s.dial().isOpen() {
			t.Error("those that say nothing are not counted as before")
		}
		if last.close(); s.dial().isOpen() {
			t.Error("one that waited is counted when it goes")
		}
	})
}

// Those who wait are told that the server stops.
func TestShutdownWhileQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := &checker{each: time.Second}
		s, stop := newStage(t, func(c *Config) {
			c.Limits.ConcurrentLogins = 1
			check.Accounts = c.Services.Accounts
			c.Services.Accounts = check
		})
		s.ask(1)
		extended, legacy := s.ask(2), s.askLegacy(3)
		extended.expectPlaces(1)
		stop()
		got := extended.expectCommands(pdu.CmdLoginRes, pdu.CmdBye)
		if m := decoded[*pb.IMLoginRes](extended, got[0]); m.GetResultCode() != pb.ResultType_REFUSE_REASON_NO_DB_SERVER {
			t.Errorf("got %v", m)
		}
		if b := decoded[*sessionpb.Bye](extended, got[1]); b.GetCode() != sessionpb.Code(protocol.CodeDraining) {
			t.Errorf("got %v", b)
		}
		legacy.expectLogin(pb.ResultType_REFUSE_REASON_NO_DB_SERVER)
		if check.order() != "user1" {
			t.Errorf("checked %v", check.order())
		}
	})
}

// A check that panics ends its session and no other: the next one begins.
func TestPanicInQueuedLogin(t *testing.T) {
	queueing(t, time.Second, nil, func(s *stage, check *checker) {
		check.before = func(name string) {
			if name == "user2" {
				panic("on purpose")
			}
		}
		s.ask(1)
		bad, good := s.ask(2), s.ask(3)
		pass(3 * time.Second)
		bad.expectBye(protocol.CodeInternal)
		good.expectLogin(accepted)
	})
}

// A connection may end just when its login has been called and before somebody carries it out: the place of the login is not lost.
func TestEndsAsItIsCalled(t *testing.T) {
	play(t, func(c *Config) { c.Limits.ConcurrentLogins = 1 }, func(s *stage) {
		a := s.srv.admission
		first, _, _ := a.arrive(0)
		ended := &session{srv: s.srv}
		ended.ctx, ended.cancel = context.WithCancel(context.Background())
		ended.out.init(1000, func() {})
		ended.parked.init(ended)
		called, _, _ := a.arrive(0)
		a.done(first) // which calls it
		if !a.runs(called) {
			t.Fatal("it is not its turn")
		}
		ended.ended = true
		ended.parked.drop()
		ended.waitFor(called, protocol.ClientWindows)
		ended.inTurn(called, func() { t.Error("carried out") })
		ended.cancel()
		if next, _, _ := a.arrive(0); next.called != nil {
			t.Error("the next one has to wait")
		}
	})
}
