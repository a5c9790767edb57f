package gateway

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// say stores a message without a client.
func (w *world) say(from, to protocol.UserID, data string) {
	if _, err := w.Begin(context.Background(), protocol.SendMessage{From: from, To: protocol.WithUser(to), Type: protocol.MsgSingleText, Data: []byte(data)}); err != nil {
		panic(err) // a mistake of the test
	}
}

// [TT-SESS-3] [TT-SESS-20]: what happened while the client was away comes in log order, between WELCOME and CURSOR, and what happens then behind it.
func TestResume(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		d.close()
		s.say(2, 1, "one")
		s.say(1, 2, "two")
		s.say(2, 3, "not for us")
		s.mu.Lock()
		s.world.publish(protocol.SignChanged{User: 3, Sign: "new"})
		s.world.publish(protocol.GroupCreated{Actor: 2, Group: 9, Members: []protocol.UserID{1, 2}})
		s.world.publish(protocol.MembersChanged{Actor: 2, Group: 9, Change: protocol.MembersDel, Current: []protocol.UserID{2}, Changed: []protocol.UserID{1}})
		head := s.index
		s.mu.Unlock()
		synctest.Wait()
		d.again()
		got := d.expectCommands(pdu.CmdWelcome, pdu.CmdMsgData, pdu.CmdMsgData, pdu.CmdSignNotify, pdu.CmdGroupChangeNotify, pdu.CmdGroupChangeNotify,
			pdu.CmdCursor, pdu.CmdCredential)
		if w := decoded[*sessionpb.Welcome](d.client, got[0]); w.GetVerdict() != sessionpb.Verdict_RESUMED || w.GetCursor() != head || got[0].Header.Seq != 9 {
			t.Errorf("got %v", w)
		}
		if m := decoded[*pb.IMMsgData](d.client, got[1]); string(m.GetMsgData()) != "one" || m.GetCreateTimeMs() != 1_000_000 {
			t.Errorf("got %v", m)
		}
		if c := decoded[*sessionpb.Cursor](d.client, got[6]); c.GetCursor() != head {
			t.Errorf("got %v, want %d", c, head)
		}
		d.keep(decoded[*sessionpb.Credential](d.client, got[7]))
		if d.cursor != head {
			t.Errorf("CREDENTIAL names %d", d.cursor)
		}
		s.say(2, 1, "three")
		if m := decoded[*pb.IMMsgData](d.client, d.next()); string(m.GetMsgData()) != "three" {
			t.Errorf("got %v", m)
		}
	})
}

// [TT-SESS-5]
func TestGap(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*ledger)
		cursor  uint64
	}{
		"history":     {func(l *ledger) { l.other = true }, 0},
		"beyond":      {func(*ledger) {}, 100},
		"none":        {func(l *ledger) { l.follower = true }, math.MaxUint64},
		"too far off": {func(l *ledger) { l.lost = 1000 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				d := s.enter(1, "laptop", windows)
				d.close()
				s.say(2, 1, "lost")
				synctest.Wait()
				s.ledger.change(tc.prepare)
				if tc.cursor != 0 {
					d.cursor = tc.cursor
				}
				d.again()
				got := d.expectCommands(pdu.CmdWelcome, pdu.CmdCredential)
				if w := decoded[*sessionpb.Welcome](d.client, got[0]); w.GetVerdict() != sessionpb.Verdict_GAP || w.GetCursor() != 1 || w.GetReason() == "" {
					t.Errorf("got %v", w)
				}
				s.say(2, 1, "live")
				d.expectCommands(pdu.CmdMsgData)
			})
		})
	}
}

// A node that may be behind waits for what the client has seen elsewhere, for a while [TT-SESS-5].
func TestResumeOnANodeBehind(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		d.close()
		s.ledger.change(func(l *ledger) { l.follower = true })
		d.cursor = 2
		d.again()
		s.say(2, 1, "one")
		d.expect()
		s.say(2, 1, "two")
		pass(100 * time.Millisecond)
		d.expectCommands(pdu.CmdWelcome, pdu.CmdCursor, pdu.CmdCredential)

		d.cursor = 3
		began := time.Now()
		d.again()
		pass(3 * time.Second)
		if b := d.expectBye(protocol.CodeUnavailable); b.GetRetryAfterMs() < 200 || b.GetRetryAfterMs() > 1000 {
			t.Errorf("got %v", b)
		}
		if took := d.expectEnd().Sub(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("refused after %v", took)
		}
	})
}

// [TT-SESS-6]: after a refused token the client logs in on the same connection.
func TestRefusedToken(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		d.close()
		d.token = []byte("forged")
		d.again()
		if w := decoded[*sessionpb.Welcome](d.client, d.next()); w.GetVerdict() != sessionpb.Verdict_REFUSED || w.GetReason() != "forged" {
			t.Errorf("got %v", w)
		}
		d.send(pdu.CmdLoginReq, 2, loginReq("user1", windows))
		got := d.take()
		if len(got) < 2 || got[0].Header.Command != pdu.CmdLoginRes || got[1].Header.Command != pdu.CmdCredential {
			t.Errorf("got %v", commandsOf(got))
		}
	})
}

// [TT-SESS-3]: the former connection gets BYE{REPLACED}, and the new one goes on only when nothing of the former is carried out any more.
func TestReplaced(t *testing.T) {
	play(t, nil, func(s *stage) {
		old := s.enter(1, "laptop", windows)
		s.settle(old.client)
		former := old.client
		gate := make(chan struct{})
		s.mu.Lock()
		s.begin = func(protocol.SendMessage) error { <-gate; return nil }
		s.mu.Unlock()
		go former.send(pdu.CmdMsgData, 1, text(2, "on its way"))
		synctest.Wait()
		old.again()
		if b := former.expectBye(protocol.CodeReplaced); b.GetRetryAfterMs() != 0 {
			t.Errorf("got %v", b)
		}
		old.expect() // as long as the message is being begun
		close(gate)
		old.expectCommands(pdu.CmdWelcome, pdu.CmdMsgData, pdu.CmdCursor, pdu.CmdCredential)
		former.expectEnd()
	})
	play(t, nil, func(s *stage) {
		old := s.enter(1, "laptop", windows)
		gate := make(chan struct{})
		s.mu.Lock()
		s.begin = func(protocol.SendMessage) error { <-gate; return nil }
		s.mu.Unlock()
		go old.client.send(pdu.CmdMsgData, 1, text(2, "stuck"))
		synctest.Wait()
		old.again()
		pass(1900 * time.Millisecond)
		old.expect()
		pass(200 * time.Millisecond) // but no longer than that
		old.expectCommands(pdu.CmdWelcome, pdu.CmdCursor, pdu.CmdCredential)
		close(gate)
	})
}

// What a broken connection has parked is not carried out beside the one that follows: the client repeats it [TT-SESS-3].
func TestFormerParkedIsDropped(t *testing.T) {
	play(t, func(c *Config) { c.Limits.SendsPerSecond, c.Limits.SendBurst = 1, 1 }, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		for i := range byte(10) {
			d.send(pdu.CmdMsgData, uint16(i), extendedText(2, i+1, "x"))
		}
		d.close()
		pass(1500 * time.Millisecond)
		if n := len(s.allBegun()); n != 2 {
			t.Errorf("%d carried out", n)
		}
		d.again()
		pass(10 * time.Second)
		if n := len(s.allBegun()); n > 3 {
			t.Errorf("%d carried out", n)
		}
		if n := len(s.srv.hub.formers.by); n != 0 {
			t.Errorf("%d formers are left", n)
		}
	})
}

// A long replay goes at the speed at which it is read, with a CURSOR every 64 events; heartbeats are answered meanwhile and requests wait for its end
// [TT-SESS-3] [TT-SESS-4] [TT-SESS-16].
func TestLongReplay(t *testing.T) {
	const n = 1000
	play(t, func(c *Config) { c.Limits.QueueBytes = 64 << 10 }, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		d.close()
		for i := range n {
			s.say(2, 1, fmt.Sprintf("%04d %01000d", i, 0))
		}
		synctest.Wait()
		d.client = s.dial()
		d.user = 1
		resume := d.stopReading()
		m := helloOf(d.id, d.kind)
		m.ResumeToken, m.Cursor = d.token, d.cursor
		d.send(pdu.CmdHello, 9, m)
		synctest.Wait()
		waiting := s.metric("queued_bytes")
		if waiting > 64<<10 {
			t.Errorf("%v bytes wait", waiting)
		}
		d.send(pdu.CmdUnreadReq, 10, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
		d.write(beat(11))
		s.say(2, 1, "last")
		synctest.Wait()
		resume()
		got := d.take()
		at, events, since, beats := 0, 0, 0, -1
		for i, p := range got {
			switch p.Header.Command {
			case pdu.CmdMsgData:
				if m := decoded[*pb.IMMsgData](d.client, p); int(m.GetMsgId()) != events+1 {
					t.Fatalf("message %d after %d", m.GetMsgId(), events)
				}
				events++
				if since++; since > 64 {
					t.Fatalf("%d events without a CURSOR", since)
				}
			case pdu.CmdCursor:
				since = 0
			case pdu.CmdHeartbeat:
				beats = events
			case pdu.CmdUnreadRes:
				at = i
			}
		}
		if events != n+1 || beats < 0 || beats > 200 {
			t.Errorf("%d events, the heartbeat was answered after %d", events, beats)
		}
		if at == 0 || got[at-1].Header.Command != pdu.CmdCredential {
			t.Errorf("the request was answered as number %d of %d, behind %v", at, len(got), got[max(at, 1)-1].Header.Command)
		}
	})
}

// Events that come while the last of a replay is read come once, and in order [TT-SESS-3].
func TestEventsDuringReplay(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		d.close()
		s.say(2, 1, "first")
		rounds := 0
		s.ledger.change(func(l *ledger) {
			l.reading = func() { // as from another goroutine, after the store has said how far it is
				if rounds++; rounds <= 5 {
					s.say(2, 1, fmt.Sprint("round ", rounds))
					<-time.After(time.Millisecond)
				}
			}
		})
		d.again()
		pass(time.Second)
		ids := uint32(0)
		got := d.take()
		for _, p := range got {
			if p.Header.Command == pdu.CmdMsgData {
				m := decoded[*pb.IMMsgData](d.client, p)
				if m.GetMsgId() != ids+1 {
					t.Fatalf("message %d after %d: %v", m.GetMsgId(), ids, commandsOf(got))
				}
				ids++
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if stored := len(s.stored[protocol.Conversation{Type: protocol.SessionSingle, A: 1, B: 2}]); int(ids) != stored || stored < 3 {
			t.Errorf("%d of %d messages came: %v", ids, stored, commandsOf(got))
		}
	})
}

// A session that ends while the last of a replay is sent is not sent what happened since, nor a CURSOR that names it: all of it comes when the client comes
// back [TT-SESS-3] [TT-SESS-4].
func TestEndWhileCatchingUp(t *testing.T) {
	for name, e := range map[string]ending{
		"at leisure": {reason: reasonShutdown, code: protocol.CodeDraining},
		"at once":    {reason: reasonOverloaded, code: protocol.CodeOverloaded, hurry: true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				d := s.enter(1, "laptop", windows)
				s.settle(d.client)
				d.close()
				s.say(2, 1, "first")
				calls := 0
				s.ledger.change(func(l *ledger) {
					l.reading = func() {
						switch calls++; calls {
						case 2: // is delivered before the session is live, but after all was read
							s.say(2, 1, "second")
							<-time.After(time.Millisecond)
						case 3:
							s.say(2, 1, "third") // is pushed
							<-time.After(time.Millisecond)
							s.srv.sessions.of(1)[0].end(e)
						}
					}
				})
				d.again()
				pass(time.Second)
				d.expectCommands(pdu.CmdWelcome, pdu.CmdMsgData, pdu.CmdBye)
				d.expectEnd()
				if calls < 4 {
					t.Fatalf("the store was read %d times", calls/2)
				}
				d.again()
				got := d.expectCommands(pdu.CmdWelcome, pdu.CmdMsgData, pdu.CmdMsgData, pdu.CmdMsgData, pdu.CmdCursor, pdu.CmdCredential)
				for i, text := range []string{"first", "second", "third"} {
					if m := decoded[*pb.IMMsgData](d.client, got[1+i]); string(m.GetMsgData()) != text {
						t.Errorf("got %v, want %q", m, text)
					}
				}
			})
		})
	}
}
