package chat

import (
	"errors"
	"strings"
	"testing"

	"teamtalk/client"
	"teamtalk/protocol"
)

// What was typed last and is not stored yet is not taken back, and nor is the message before it in its place; what failed does not count.
func TestRecallTooEarly(t *testing.T) {
	m := screen()
	bo := protocol.WithUser(2)
	m.Show(bo)
	m.Event(said(2, me, 1, "dear"))
	m.write("slip")
	m.Queued(effects[Send](m)[0], protocol.ClientMsgID{2})
	m.write("/recall")
	if r := effects[Recall](m); len(r) != 0 || !strings.HasPrefix(m.Notice, "this message is still on its way") {
		t.Errorf("%v, %q", r, m.Notice)
	}
	m.Progress(bo, protocol.ClientMsgID{2}, client.Delivery{Phase: client.PhaseFailed, Err: errors.New("no")})
	m.Key(Key{Code: Enter}) // the command is still there
	if r := effects[Recall](m); len(r) != 1 || r[0].ID != 1 {
		t.Errorf("after the failure: %v", r)
	}
}
