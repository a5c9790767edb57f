package gateway

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// cursors are what the CURSORs among PDUs say.
func cursors(c *client, ps []pdu.PDU) (all []uint64) {
	for _, p := range ps {
		if p.Header.Command == pdu.CmdCursor {
			all = append(all, decoded[*sessionpb.Cursor](c, p).GetCursor())
		}
	}
	return all
}

// [TT-SESS-4]: a second after an event, after 64 at once, and every 60 s when nothing happens.
func TestCursor(t *testing.T) {
	play(t, nil, func(s *stage) {
		legacy := s.login(1, mac)
		d, phone := s.enter(1, "laptop", windows), s.enter(1, "phone", ios)
		s.settle(legacy, d.client, phone.client)
		s.say(2, 1, "one")
		d.expectCommands(pdu.CmdMsgData)
		pass(time.Second)
		got := d.expectCommands(pdu.CmdCursor)
		if c := decoded[*sessionpb.Cursor](d.client, got[0]); c.GetCursor() != 1 {
			t.Errorf("got %v", c)
		}
		pass(5 * time.Second)
		d.expect() // it has been told
		phone.take()

		for i := range 200 {
			s.say(2, 1, fmt.Sprint(i))
		}
		got = d.take()
		if cs := cursors(d.client, got); len(got) != 203 || fmt.Sprint(cs) != "[65 129 193]" {
			t.Errorf("%d PDUs with CURSORs %v", len(got), cs)
		}
		pass(time.Second)
		if cs := cursors(d.client, d.take()); fmt.Sprint(cs) != "[201]" {
			t.Errorf("got %v", cs)
		}
		phone.take()
		pass(2 * time.Second)
		s.say(3, 4, "not for us")
		keepAlive(d, phone)
		pass(60 * time.Second)
		for _, c := range []*client{d.client, phone.client} {
			if cs := cursors(c, c.take()); len(cs) != 1 || cs[0] != 202 {
				t.Errorf("idle: %v", cs)
			}
		}
		for _, p := range legacy.take() {
			if p.Header.Command.IsExtension() { // [TT-SESS-12]
				t.Errorf("a legacy client got %v", p.Header.Command)
			}
		}
	})
}

func keepAlive(ds ...*device) {
	for _, d := range ds {
		d.write(beat(1))
	}
	synctest.Wait()
	for _, d := range ds {
		d.take()
	}
}

// A CURSOR never names a part of an entry: its events go together [TT-SESS-4].
func TestCursorNamesWholeEntries(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		var batch []protocol.Event
		for i := range 150 {
			m := protocol.Message{Conversation: protocol.WithUser(1).Conversation(2), ID: protocol.MsgID(i + 1), From: 2, Type: protocol.MsgSingleText, Data: []byte("x")}
			m.At = protocol.Position{Index: 5 + uint64(i/50), Sub: uint16(i % 50)}
			batch = append(batch, protocol.Event{At: m.At, Body: protocol.MessageSent{Message: m}})
		}
		s.events.put(batch...)
		got := d.take()
		if len(got) != 151 || got[100].Header.Command != pdu.CmdCursor {
			t.Fatalf("%d PDUs", len(got))
		}
		if cs := cursors(d.client, got); fmt.Sprint(cs) != "[6]" {
			t.Errorf("got %v", cs)
		}
	})
}

// [TT-SESS-4]: events that are missing are not covered by any CURSOR, nor is what comes behind them pushed.
func TestCursorAndJump(t *testing.T) {
	play(t, func(c *Config) { c.Timing.JumpPace = time.Second }, func(s *stage) {
		clients := []*device{s.enter(1, "a", windows), s.enter(1, "b", windows), s.enter(1, "c", mac)}
		s.settle(clients[0].client, clients[1].client, clients[2].client)
		s.say(2, 1, "one")
		s.events.put(protocol.Event{At: protocol.Position{Index: 10}, Body: protocol.Jumped{From: 2, To: 10}})
		s.events.put(protocol.Event{At: protocol.Position{Index: 11}, Body: protocol.SignChanged{User: 3, Sign: "x"}})
		pass(5 * time.Second)
		for _, d := range clients {
			got := d.take()
			for _, c := range cursors(d.client, got) {
				if c > 1 {
					t.Errorf("CURSOR %d", c)
				}
			}
			if last := decoded[*sessionpb.Bye](d.client, got[len(got)-1]); last.GetCode() != sessionpb.Code_UNAVAILABLE {
				t.Errorf("got %v", last)
			}
			if got[0].Header.Command != pdu.CmdMsgData || len(got) > 3 {
				t.Errorf("got %v", commandsOf(got))
			}
			d.expectEnd()
		}
	})
}

// [TT-SESS-6]: a session that lives for long gets a token that lasts.
func TestCredentialOnceADay(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "phone", ios)
		s.settle(d.client)
		n := 0
		for range 49 * 15 {
			pass(4 * time.Minute)
			d.write(beat(1))
			for _, p := range d.take() {
				if p.Header.Command == pdu.CmdCredential {
					n++
				}
			}
		}
		if n != 2 {
			t.Errorf("%d times in two days", n)
		}
	})
}

// [TT-SESS-15] [TT-SESS-4] [TT-SESS-22]: a node that stops answers what it has read, says where the client is, and goes.
func TestShutdownSaysBye(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(2, windows)
		s.settle(d.client, legacy)
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		d.send(pdu.CmdMsgData, 7, text(2, "on its way"))
		synctest.Wait()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.srv.Shutdown(context.Background())
		}()
		synctest.Wait()
		s.release(-1)
		got := d.expectCommands(pdu.CmdMsgDataAck, pdu.CmdCursor, pdu.CmdBye)
		if c := decoded[*sessionpb.Cursor](d.client, got[1]); c.GetCursor() != 0 { // the message came behind the end
			t.Errorf("got %v", c)
		}
		if b := decoded[*sessionpb.Bye](d.client, got[2]); b.GetCode() != sessionpb.Code_DRAINING || b.GetRetryAfterMs() < 200 || b.GetRetryAfterMs() > 1000 {
			t.Errorf("got %v", b)
		}
		legacy.expect()
		<-done
	})
}

// [TT-SESS-16]: answers pause, events end the session with what it has had.
func TestOverloadedBye(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		resume := d.stopReading()
		s.say(2, 1, "first")
		synctest.Wait()
		data := make([]byte, 30<<10)
		for range 20 {
			s.say(2, 1, string(data))
			synctest.Wait()
		}
		resume()
		got := d.take()
		if len(got) < 4 {
			t.Fatalf("got %v", commandsOf(got))
		}
		n := 0
		for _, p := range got {
			if p.Header.Command == pdu.CmdMsgData {
				n++
			}
		}
		if cs := cursors(d.client, got); len(cs) == 0 || cs[len(cs)-1] != uint64(n) {
			t.Errorf("CURSORs %v behind %d messages", cs, n)
		}
		if b := decoded[*sessionpb.Bye](d.client, got[len(got)-1]); b.GetCode() != sessionpb.Code_OVERLOADED {
			t.Errorf("got %v", b)
		}
		d.expectEnd()
	})
}

// A client that takes nothing is not waited for: 2 s for the last bytes [TT-SESS-15].
func TestByeIsNotWaitedFor(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		resume := d.stopReading()
		defer resume()
		d.write(beat(1))
		d.write(beat(2)) // the writer is stuck from here on
		synctest.Wait()
		began := time.Now()
		d.again()
		synctest.Wait()
		pass(3 * time.Second)
		if n := s.metric("connections"); n != 1 {
			t.Errorf("%v connections after %v", n, time.Since(began))
		}
	})
}

// [TT-SESS-15]: BYE from a client ends the connection and leaves the token good.
func TestByeFromClient(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		d.send(pdu.CmdMsgData, 1, text(2, "before"))
		d.send(pdu.CmdBye, 0, &sessionpb.Bye{})
		if got := d.take(); !slices.ContainsFunc(got, func(p pdu.PDU) bool { return p.Header.Command == pdu.CmdMsgDataAck }) {
			t.Errorf("got %v", commandsOf(got))
		}
		d.expectEnd()
		d.again()
		d.take()
		if !d.isOpen() || s.metric("hellos_total", "RESUMED") != 1 {
			t.Error("the token is no good")
		}
	})
}

// An extended client of the PC class is dead after three heartbeats' time, a mobile one after the legacy time [TT-SESS-1].
func TestExtendedIdle(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone := s.enter(1, "laptop", windows), s.enter(1, "phone", pb.ClientType(protocol.ClientAndroid))
		pass(88 * time.Second)
		if !pc.isOpen() {
			t.Error("ended too soon")
		}
		pass(3 * time.Second)
		pc.expectBye(protocol.CodeUnavailable)
		pass(200 * time.Second)
		if !phone.isOpen() {
			t.Error("the phone ended too soon")
		}
		pass(20 * time.Second)
		phone.expectBye(protocol.CodeUnavailable)
	})
}
