package state

import (
	"encoding/hex"
	"strings"
	"testing"

	"teamtalk/protocol"
)

func someExtras() protocol.Extras {
	return protocol.Extras{ContentType: "text/markdown", ReplyTo: 0x01020304, BurnAfter: 0x05060708}
}

// TestPackedMessages: without extras the bytes are those of the version that knew none.
func TestPackedMessages(t *testing.T) {
	c := keyed(text(1, protocol.WithUser(2), "x"), 9)
	m := messageRow{typ: protocol.MsgSingleText, conv: protocol.WithUser(2).Conversation(1), id: 3, from: 1, time: 4,
		prev: protocol.Position{Index: 5, Sub: 6}, ordinal: 7, client: protocol.ClientMsgID{15: 8}, data: []byte("x")}
	const id8, id9 = "00000000000000000000000000000008", "00000000000000000000000000000009"
	const fixed = "00" + "01" + "01" + "010000000100000002" + "00000003" + "00000001" + "0000000000000004" + "00000000000000050006" + "00000007"
	const extras = "01020304" + "05060708" + "746578742f6d61726b646f776e"
	for _, tt := range []struct {
		name     string
		extras   protocol.Extras
		cmd, row string
	}{
		{"without", protocol.Extras{}, "01010101" + "00000002" + "00000001" + id9 + "78", "01" + fixed + "00" + id8 + "78"},
		{"with", someExtras(), "01020101" + "00000002" + "00000001" + id9 + "0d" + extras + "78", "02" + fixed + "0d" + id8 + extras + "78"},
	} {
		c.Extras, m.extras = tt.extras, tt.extras
		cmd, err := encodeCommand(c)
		if got := hex.EncodeToString(cmd); got != tt.cmd || err != nil {
			t.Errorf("%s: command %s, %v, want %s", tt.name, got, err, tt.cmd)
		}
		row := make([]byte, m.size())
		m.pack(row)
		if got := hex.EncodeToString(row); got != tt.row {
			t.Errorf("%s: row %s, want %s", tt.name, got, tt.row)
		}
		back, err := unpackMessage(row)
		if err != nil || back.extras != tt.extras || string(back.data) != "x" || back.client != m.client {
			t.Errorf("%s: %+v, %v", tt.name, back, err)
		}
		for cut := range row[:len(row)-1] {
			if _, err := unpackMessage(row[:cut]); err == nil {
				t.Errorf("%s: a row cut to %d of %d bytes is taken", tt.name, cut, len(row))
			}
		}
	}
}

func TestExtrasAreChecked(t *testing.T) {
	n := town(t)
	with := func(to protocol.Session, e protocol.Extras) *protocol.SendMessage {
		c := text(1, to, "x")
		c.Extras = e
		return c
	}
	for _, tt := range []refusal{
		{"long content type", large, with(protocol.WithUser(2), protocol.Extras{ContentType: strings.Repeat("x", protocol.MaxContentType+1)})},
		{"lines of content type", bad, with(protocol.WithUser(2), protocol.Extras{ContentType: "a\nb"})},
		{"binary content type", bad, with(protocol.WithUser(2), protocol.Extras{ContentType: "\xff"})},
		{"burn late", bad, with(protocol.WithUser(2), protocol.Extras{BurnAfter: protocol.MaxBurnAfter + 1})},
		{"burn in a group", bad, with(protocol.InGroup(1), protocol.Extras{BurnAfter: 1})},
		{"reply to itself", bad, with(protocol.WithUser(2), protocol.Extras{ReplyTo: 3})},
		{"reply to nothing", bad, with(protocol.InGroup(1), protocol.Extras{ReplyTo: 1})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.TB = t
			n.refuse(tt.code, tt.cmd)
		})
	}
	n.TB = t
	if _, err := encodeCommand(with(protocol.WithUser(2), protocol.Extras{ContentType: strings.Repeat("x", 256)})); protocol.CodeOf(err) != large {
		t.Errorf("a content type of 256 bytes: %v", err)
	}
	most := protocol.Extras{ContentType: strings.Repeat("x", protocol.MaxContentType), ReplyTo: 2, BurnAfter: protocol.MaxBurnAfter}
	n.do(with(protocol.WithUser(2), most))
	n.do(with(protocol.InGroup(1), protocol.Extras{ContentType: "text/html"}))
	n.do(with(protocol.InGroup(1), protocol.Extras{ReplyTo: 1}))
	n.reopen()
	msgs, err := n.History(2, protocol.WithUser(1), 3, 1)
	if err != nil || len(msgs) != 1 || msgs[0].Extras != most {
		t.Errorf("%+v, %v", msgs, err)
	}
}

func TestRepeatsCompareExtras(t *testing.T) { // [TT-SESS-11]
	n := town(t)
	send := func(e protocol.Extras) *protocol.SendMessage {
		c := keyed(text(1, protocol.WithUser(2), "x"), 9)
		c.Extras = e
		return c
	}
	all := protocol.Extras{ContentType: "a/b", ReplyTo: 1, BurnAfter: 5}
	first := n.do(send(all)).(protocol.SendResult)
	for _, restart := range []bool{false, true} {
		if restart {
			n.reopen()
		}
		if again := n.do(send(all)).(protocol.SendResult); !again.Repeated || again.ID != first.ID {
			t.Errorf("a repeat: %+v", again)
		}
		for _, other := range []protocol.Extras{{}, {ReplyTo: 1, BurnAfter: 5}, {ContentType: "a/b", BurnAfter: 5}, {ContentType: "a/b", ReplyTo: 1},
			{ContentType: "a/c", ReplyTo: 1, BurnAfter: 5}, {ContentType: "a/b", ReplyTo: 2, BurnAfter: 5}} {
			n.refuse(bad, send(other))
		}
	}
}
