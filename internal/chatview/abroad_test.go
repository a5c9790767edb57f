package chatview

import (
	"strings"
	"testing"

	"teamtalk/client"
	"teamtalk/internal/chat"
	"teamtalk/protocol"
)

// Somebody of another office, a group of that office, and what became of one's own words there, on a whole screen [TT-FED-3] [TT-FED-4].
func TestOtherOffice(t *testing.T) {
	const lin = protocol.UserID(protocol.MaxLocalID)
	tea := protocol.InGroup(protocol.MaxLocalID)
	m := chat.New(1, "ann")
	m.Tick(noon())
	m.Users([]client.User{{User: protocol.User{ID: 1, Name: "ann"}},
		{User: protocol.User{ID: lin, Name: "lin@hangzhou.example", Nick: "Lin (杭州)"}, Address: "lin@hangzhou.example", Remote: true}})
	m.Presence([]client.Presence{{User: lin, Online: true}})
	m.Groups([]client.Group{{GroupInfo: protocol.GroupInfo{Group: protocol.Group{ID: protocol.MaxLocalID, Name: "tea"}, Members: []protocol.UserID{1, lin}},
		Address: "tea@hangzhou.example", Remote: true}})
	say := func(in protocol.Session, id protocol.MsgID, from protocol.UserID, hubSeq uint64, text string) {
		kind, address := protocol.MsgSingleText, ""
		if in == tea {
			kind = protocol.MsgGroupText
		}
		if from == lin {
			address = "lin@hangzhou.example"
		}
		m.Event(&client.Message{Session: in, ID: id, From: from, FromAddress: address, Mine: from == 1, Time: noon(), Type: kind, Text: text, HubSeq: hubSeq})
	}
	became := func(in protocol.Session, id protocol.MsgID, s client.MessageState, hubSeq uint64, reason string) {
		m.Event(&client.MessageStateChanged{Session: in, ID: id, State: s, HubSeq: hubSeq, Reason: reason})
	}
	say(protocol.WithUser(lin), 1, lin, 0, "茶？")
	say(tea, 1, lin, 10, "who is in?")
	say(tea, 2, 1, 0, "waits")
	say(tea, 3, 1, 0, "placed")
	say(tea, 4, lin, 12, "later")
	say(tea, 5, 1, 0, "refused")
	say(tea, 6, 1, 0, "on its way")
	became(tea, 2, client.StateDelayed, 0, "the other office has not been reached")
	became(tea, 3, client.StateSent, 11, "")
	became(tea, 5, client.StateUndeliverable, 0, "you are no member")
	became(tea, 6, client.StatePending, 0, "")
	m.Show(tea)
	m.History(chat.LoadHistory{In: tea, Count: 50}, []*client.Message{}, nil)
	want := strings.TrimPrefix(`
 TeamTalk           │ #tea  2 members  of hangzhou.example
 ● lin@hangzhou.e…1 │ this is where it begins
   茶？             │─────────────── Wednesday, 4 March 2026 ───────────────
   #tea             │ lin@hangzhou.example  12:00
   you: on its way  │   who is in?
                    │ ann  12:00
                    │   placed ✓
                    │ lin@hangzhou.example  12:00
                    │   later
                    │ ann  12:00
                    │   refused ✗ not delivered: you are no member
                    │   waits ✓ delayed
                    │   on its way ✓
                    │─ a message to #tea was not delivered ─────────────────
                    │›
 ◌ connecting                                                    /help  ann
`, "\n")
	if got := rows(Draw(m, 76, 16)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	m.Show(protocol.WithUser(lin))
	m.Found("li", []client.User{{User: protocol.User{ID: lin, Name: "lin@hangzhou.example", Nick: "Lin (杭州)"}, Remote: true}})
	shot := rows(Draw(m, 76, 16))
	for _, want := range []string{"│ lin@hangzhou.example  Lin (杭州)  online", "Called \"li\":", "  lin@hangzhou.example, Lin (杭州)", "/open NAME begins a conversation"} {
		if !strings.Contains(shot, want) {
			t.Errorf("there is no %q in\n%s", want, shot)
		}
	}
}
