package gateway

import (
	"testing"
	"testing/synctest"

	"teamtalk/protocol/pdu"
)

// FuzzDispatch sends arbitrary bytes as requests, before or after login, of a legacy or of an extended client. Whatever comes: no panic, the session either goes on and answers, or
// has been closed; and a bystander is served.
func FuzzDispatch(f *testing.F) {
	for _, row := range pdu.Table() {
		for stage := range uint8(4) {
			f.Add(stage, uint16(row.Command), uint16(row.Command), []byte{8, 1, 16, 2, 24, 1, 32, 0, 40, 1, 50, 1, 'x'}, []byte{})
		}
	}
	f.Add(uint8(0), uint16(pdu.CmdLoginReq), uint16(0x0103), []byte("\x0a\x05user1\x12\x01x\x18\x01\x20\x11"), []byte{0, 0, 0, 1})
	f.Add(uint8(0), uint16(pdu.CmdHello), uint16(pdu.CmdBye), []byte("\x08\x01\x20\x03\x2a\x01d\x32\x02{}\x38\x05"), []byte{})
	f.Add(uint8(1), uint16(pdu.CmdMsgData), uint16(0x0301), []byte{8, 0, 16, 2, 24, 0, 32, 0, 40, 1, 50, 3, 'a', 'b', 'c'}, []byte{0, 0})
	f.Add(uint8(3), uint16(pdu.CmdDeleteReq), uint16(pdu.CmdDeleteReq), []byte{8, 1, 16, 2, 24, 1, 32, 2}, []byte{})
	f.Add(uint8(3), uint16(pdu.CmdSearchReq), uint16(pdu.CmdSearchReq), []byte{10, 1, 'x', 16, 255, 255, 255, 255, 15}, []byte{})
	f.Fuzz(func(t *testing.T, begin uint8, cmd1, cmd2 uint16, body, raw []byte) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newStage(t, nil)
			defer stop()
			bystander := s.login(2, windows)
			c := s.dial()
			if begin%4 >= 2 {
				c.send(pdu.CmdHello, 1, helloOf("phone", android))
			}
			if begin%2 == 1 {
				c.send(pdu.CmdLoginReq, 2, loginReq("user1", android))
			}
			c.take()
			go func() {
				for _, cmd := range []uint16{cmd1, cmd2} {
					_, _ = c.conn.Write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.Command(cmd), Seq: 9}, body))
				}
				_, _ = c.conn.Write(raw)
				_, _ = c.conn.Write(beat(77))
			}()
			c.take()
			if panics := s.metric("panics_total"); panics != 0 {
				t.Fatalf("a handler panicked: %s", s.log)
			}
			bystander.write(beat(5))
			got := bystander.take()
			if len(got) == 0 || got[len(got)-1].Header.Seq != 5 {
				t.Fatal("the bystander is not served")
			}
			c.close()
			c.mu.Lock()
			err := c.err
			c.mu.Unlock()
			if err == nil {
				t.Fatal("the connection did not end")
			}
		})
	})
}
