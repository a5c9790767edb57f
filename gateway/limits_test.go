package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func beat(seq uint16) []byte {
	return pdu.AppendRaw(nil, pdu.Header{Version: 6, Flag: 1, Service: 0xffff, Command: pdu.CmdHeartbeat, Seq: seq, Reserved: 0x30}, []byte("extra"))
}

// [TT-HB-1] [TT-FRAME-2]
func TestHeartbeatIsEchoed(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		c.write(beat(0xff02))
		got := c.take()
		if len(got) != 1 || string(pdu.AppendRaw(nil, got[0].Header, got[0].Body)) != string(beat(0xff02)) {
			t.Errorf("got %+v", got)
		}
	})
}

// [TT-FRAME-3] [TT-DIFF-2]
func TestBadLengths(t *testing.T) {
	for name, tc := range map[string]struct {
		length  uint32
		login   bool
		closed  bool
		reasons reason
	}{
		"zero":                   {0, true, true, reasonLength},
		"one short":              {15, true, true, reasonLength},
		"before login, too long": {8<<10 + 1, false, true, reasonTooLarge},
		"before login, fits":     {8 << 10, false, false, ""},
		"too long":               {4<<20 + 1, true, true, reasonTooLarge},
		"fits":                   {4 << 20, true, false, ""},
		"longest":                {1<<32 - 1, true, true, reasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				c := s.dial()
				if tc.login {
					c = s.login(1, windows)
				}
				c.write(binary.BigEndian.AppendUint32(nil, tc.length))
				c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHeartbeat}, nil)[4:])
				if c.isOpen() == tc.closed || tc.closed && s.metric("closed_total", string(tc.reasons)) != 1 {
					t.Errorf("open: %v", !tc.closed)
				}
			})
		})
	}
}

// [TT-FRAME-5] [TT-FRAME-6]
func TestIgnored(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		for _, cmd := range []pdu.Command{0, 0x0735, 0x0901, 0x0a01, 0xffff, pdu.CmdInnerKickUser, pdu.CmdFileLoginReq, pdu.CmdAddressReq, pdu.CmdLoginRes, pdu.CmdUnreadRes} {
			c.write(pdu.AppendRaw(nil, pdu.Header{Command: cmd}, []byte{8, 1, 16, 1}))
		}
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdMsgListReq}, []byte("garbage")))
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdMsgListReq}, []byte{8, 1}))                                  // required fields are missing
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdMsgListReq}, []byte{8, 1, 16, 9, 24, 1, 32, 0, 40, 1}))      // no such session type
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdMsgData}, encode(t, 0, 0, msg(2, 0x33, "what is it"))[16:])) // no such message type
		c.expect()
		if !c.isOpen() || s.metric("ignored_total", "malformed") != 4 || s.metric("ignored_total", "unknown_command") != 9 || s.metric("ignored_total", "call_report") != 1 {
			t.Errorf("open %v, %v malformed, %v unknown", c.isOpen(), s.metric("ignored_total", "malformed"), s.metric("ignored_total", "unknown_command"))
		}
	})
}

func slow(c *Config) { c.Limits.SendsPerSecond, c.Limits.SendBurst, c.Limits.Parked = 20, 60, 100 }

// [TT-LIMIT-1] [TT-HB-1] [TT-DIFF-17]: what is above the rate is delayed, in order, and heartbeats pass it.
func TestRate(t *testing.T) {
	play(t, slow, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		for seq := uint16(1); seq <= 80; seq++ {
			c.send(pdu.CmdMsgData, seq, text(2, fmt.Sprint(seq)))
		}
		c.send(pdu.CmdUnreadReq, 100, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))}) // keeps its place
		c.write(beat(101))
		got := c.take()
		beats := slices.DeleteFunc(slices.Clone(got), func(p pdu.PDU) bool { return p.Header.Command != pdu.CmdHeartbeat })
		if len(got) != 61 || len(beats) != 1 {
			t.Fatalf("%d answers at once, %d to heartbeats", len(got), len(beats))
		}
		if n := s.metric("parked"); n != 21 {
			t.Errorf("%v parked", n)
		}
		pass(500 * time.Millisecond)
		if got = c.take(); len(got) != 10 {
			t.Errorf("%d acks in the first half second", len(got))
		}
		pass(time.Second)
		got = c.take()
		if len(got) != 11 || got[9].Header.Seq != 80 || got[10].Header.Seq != 100 {
			t.Errorf("then %v", got)
		}
		for i, cmd := range s.allBegun() {
			if string(cmd.Data) != fmt.Sprint(i+1) {
				t.Fatalf("message %d is %q", i, cmd.Data)
			}
		}
		if s.metric("parked") != 0 {
			t.Errorf("%v parked at the end", s.metric("parked"))
		}
		c.send(pdu.CmdUnreadReq, 102, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
		c.expect(want{pdu.CmdUnreadRes, 102, nil}) // back to normal
	})
}

// [TT-LIMIT-1]: a full park pauses reading, and drops nothing.
func TestFullParkPausesReading(t *testing.T) {
	play(t, slow, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		go func() {
			for seq := uint16(1); seq <= 400; seq++ {
				c.send(pdu.CmdMsgData, seq, text(2, fmt.Sprint(seq)))
			}
		}()
		c.take()
		if n := s.metric("parked"); n != 100 {
			t.Errorf("%v parked, want 100", n)
		}
		pass(20 * time.Second)
		if len(s.allBegun()) != 400 || s.metric("parked") != 0 {
			t.Errorf("%d carried out, %v parked", len(s.allBegun()), s.metric("parked"))
		}
	})
}

// What was read of a client that left is carried out at its rate; what was parked when it was kicked is not.
func TestParkedWhenTheSessionEnds(t *testing.T) {
	play(t, slow, func(s *stage) {
		left, kicked := s.login(1, windows), s.login(2, windows)
		s.settle(left, kicked)
		for seq := uint16(1); seq <= 70; seq++ {
			left.send(pdu.CmdMsgData, seq, text(3, "x"))
			kicked.send(pdu.CmdMsgData, seq, text(3, "x"))
		}
		left.take() // its acks are out: a failed write would end the session in another way
		left.close()
		s.login(2, mac)
		if len(s.allBegun()) != 120 {
			t.Errorf("%d at once", len(s.allBegun()))
		}
		pass(10 * time.Second)
		if len(s.allBegun()) != 130 || s.metric("parked") != 0 {
			t.Errorf("%d in the end, %v parked", len(s.allBegun()), s.metric("parked"))
		}
	})
}

// [TT-LIMIT-3]: a client that does not take its pushes is closed; others are not held up.
func TestOverload(t *testing.T) {
	play(t, func(c *Config) { c.Limits.QueueBytes = 10_000 }, func(s *stage) {
		slow, sender := s.login(1, windows), s.login(2, windows)
		s.settle(slow, sender)
		resume := slow.stopReading()
		for i := range 30 {
			sender.send(pdu.CmdMsgData, uint16(i+1), text(1, strings.Repeat("x", 1000)))
		}
		if got := sender.take(); len(got) != 30 {
			t.Errorf("the sender got %d acks", len(got))
		}
		resume()
		slow.expectEnd()
		if s.metric("closed_total", string(reasonOverloaded)) != 1 || !strings.Contains(s.log.String(), "does not take what it is sent") {
			t.Error("not counted, or not logged")
		}
	})
}

// [TT-LIMIT-3]: an empty queue takes any one push.
func TestEmptyQueueTakesAnything(t *testing.T) {
	play(t, func(c *Config) { c.Limits.QueueBytes = 100 }, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		a.send(pdu.CmdMsgData, 1, text(2, strings.Repeat("x", 100_000)))
		if got := b.take(); len(got) != 1 || len(got[0].Body) < 100_000 {
			t.Errorf("got %d PDUs", len(got))
		}
	})
}

// [TT-LIMIT-3]: answers that are not read stop the requests, and a push that finds a long answer waiting does not end the session.
func TestAnswersPauseReading(t *testing.T) {
	play(t, func(c *Config) { c.Limits.QueueBytes = 50_000 }, func(s *stage) {
		s.mu.Lock()
		s.users = 1000 // some 30 KiB
		s.mu.Unlock()
		c, sender := s.login(1, windows), s.login(2, windows)
		s.settle(c, sender)
		resume := c.stopReading()
		go func() {
			for seq := range uint16(10) {
				c.send(pdu.CmdAllUsersReq, seq+1, &pb.IMAllUserReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
			}
		}()
		sender.send(pdu.CmdMsgData, 1, text(1, "hello"))
		sender.take()
		if n := s.metric("pdus_total", "CID_BUDDY_LIST_ALL_USER_RESPONSE", "out"); n < 2 || n > 5 {
			t.Errorf("%v requests were carried out", n)
		}
		resume()
		if got := c.take(); len(got) != 11 {
			t.Errorf("%d PDUs in the end", len(got))
		}
	})
}

// A client that reads nothing is given up although it sends.
func TestWriteTimeout(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		resume := c.stopReading()
		for i := range 4 {
			c.write(beat(uint16(i)))
			pass(10 * time.Second)
		}
		resume()
		c.expectEnd()
		if s.metric("closed_total", string(reasonWriteFailed)) != 1 {
			t.Error("not counted")
		}
	})
}

// A panic ends the session it happens in, and no other.
func TestPanic(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		s.mu.Lock()
		s.begin = func(cmd protocol.SendMessage) error {
			if cmd.From == 1 {
				panic("a mistake")
			}
			return nil
		}
		s.mu.Unlock()
		a.send(pdu.CmdMsgData, 1, text(3, "x"))
		a.expectEnd()
		b.send(pdu.CmdMsgData, 2, text(3, "x"))
		b.expect(want{pdu.CmdMsgDataAck, 2, nil})
		if s.metric("panics_total") != 1 || !strings.Contains(s.log.String(), "a mistake") || !strings.Contains(s.log.String(), "runtime/debug") {
			t.Error("not counted, or logged without its stack")
		}
	})
}

// After a jump every session ends, one after the other.
func TestJumped(t *testing.T) {
	play(t, func(c *Config) { c.Timing.JumpPace = time.Second }, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		s.publish(protocol.Jumped{From: 1, To: 9})
		if a.isOpen() == b.isOpen() {
			t.Error("not exactly one has ended at first")
		}
		pass(5 * time.Second)
		if a.isOpen() || b.isOpen() || s.metric("closed_total", string(reasonJumped)) != 2 {
			t.Error("not all have ended")
		}
		s.login(1, windows)
	})
}

// Shutdown answers what was read, parked messages included, and then closes.
func TestShutdownAnswersWhatWasRead(t *testing.T) {
	play(t, slow, func(s *stage) {
		c, idle := s.login(1, windows), s.dial()
		s.settle(c)
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		for seq := uint16(1); seq <= 10; seq++ {
			c.send(pdu.CmdMsgData, seq, text(2, "x"))
		}
		done := make(chan error)
		go func() { done <- s.srv.Shutdown(context.Background()) }()
		c.expect()
		if !c.isOpen() || idle.isOpen() || s.srv.Availability() != NotReady {
			t.Error("closed before the answers, or not stopped")
		}
		late := s.dial()
		late.expectEnd()
		s.release(-1)
		if got := c.take(); len(got) != 10 {
			t.Errorf("%d acks", len(got))
		}
		c.expectEnd()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	play(t, slow, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		for seq := uint16(1); seq <= 70; seq++ {
			c.send(pdu.CmdMsgData, seq, text(2, "x"))
		}
		began := time.Now()
		if err := s.srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if got := c.take(); len(got) != 70 || time.Since(began) > 100*time.Millisecond { // without regard to the rate
			t.Errorf("%d acks in %v", len(got), time.Since(began))
		}
	})
}

// A shutdown that runs out of time breaks what is left.
func TestShutdownRunsOutOfTime(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.dial()
		c.send(pdu.CmdLoginReq, 1, loginReq("slow", windows)) // never comes to an end
		hanging := s.login(1, windows)
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		hanging.send(pdu.CmdMsgData, 1, text(2, "x")) // nor does this
		c.take()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := s.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		c.expectEnd()
		hanging.expectEnd()
	})
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	w := newWorld()
	services := w.services()
	services.Groups = nil
	_, err := New(Config{Services: services, Events: w.events, Signals: w.signals, Signaler: w, Presence: w, Replica: &w.ledger, Replay: &w.ledger})
	if err == nil || !strings.Contains(err.Error(), "Groups") {
		t.Errorf("got %v", err)
	}
	_, err = New(Config{Services: w.services(), Events: w.events, Signals: w.signals, Signaler: w, Presence: w, Replica: &w.ledger, Replay: &w.ledger, TextKey: "short"})
	if err == nil {
		t.Error("a key of 5 bytes was taken")
	}
}

// Whatever is queued in whatever order: all that was taken comes out once, in order, in batches within their bounds, and the room is given back.
func TestQueueProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := &outQueue{}
		q.init(rapid.IntRange(1, 5000).Draw(t, "limit"), func() {}) // written below
		var in, out []byte
		taken := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			b := make([]byte, rapid.IntRange(1, 2000).Draw(t, "size"))
			b[0] = byte(len(in))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				q.answer(b)
				in = append(in, b[0])
				taken++
			case 1:
				v := q.push(b, 1)
				if (v == full) != (q.pushes > 0 && q.pushes+len(b) > q.limit) && v == full {
					t.Fatal("full although there is room")
				}
				if v == queued {
					in = append(in, b[0])
					taken++
				}
			default:
				if taken == 0 {
					continue
				}
				batch, ok := q.take()
				if !ok || len(batch) > batchFrames {
					t.Fatalf("took %d, %v", len(batch), ok)
				}
				for _, b := range batch {
					out = append(out, b[0])
				}
				taken -= len(batch)
			}
		}
		q.close()
		for {
			batch, ok := q.take()
			if !ok {
				break
			}
			for _, b := range batch {
				out = append(out, b[0])
			}
		}
		q.drain() // has nothing to wait for
		if string(in) != string(out) || q.waiting() != 0 {
			t.Fatalf("in %v, out %v, waiting %d", in, out, q.waiting())
		}
	})
}
