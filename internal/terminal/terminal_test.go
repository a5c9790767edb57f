package terminal

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/client"
	"teamtalk/internal/texttable"
	"teamtalk/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProfile(t *testing.T) {
	p := Profile{filepath.Join(t.TempDir(), "deep", "profile")}
	if a, err := p.Account(); err != nil || a.User != "" {
		t.Errorf("an empty profile is %+v, %v", a, err)
	}
	if _, err := p.Open(t.Context(), ForCommands, Access{}); !errors.Is(err, ErrNotLoggedIn) {
		t.Errorf("got %v", err)
	}
	unlock, err := p.lock(t.Context(), ForCommands)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.lock(ctx, ForCommands); err == nil || !strings.Contains(err.Error(), "another command is using") {
		t.Errorf("a lock is taken twice: %v", err)
	}
	tail, err := p.lock(t.Context(), ForTail)
	if err != nil {
		t.Fatalf("a tail beside a command: %v", err)
	}
	if _, err := p.lock(t.Context(), ForTail); err == nil || !strings.Contains(err.Error(), "a tail is running") {
		t.Errorf("two tails: %v", err)
	}
	tail()
	unlock()
	if again, err := p.lock(t.Context(), ForCommands); err != nil {
		t.Errorf("a lock that was given back: %v", err)
	} else {
		again()
	}
	want := Account{Servers: []string{"a", "b"}, User: "lin", CA: "/ca", AllowPlain: true, Legacy: "only"}
	if err := p.keep(want); err != nil {
		t.Fatal(err)
	}
	if a, err := p.Account(); err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, %v", a, err)
	}
	if info, err := os.Stat(p.account()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(p.account(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Account(); err == nil {
		t.Error("half a file is read")
	}
}

func TestTrust(t *testing.T) {
	if c, err := Trust(""); c != nil || err != nil {
		t.Errorf("no file: %v, %v", c, err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + ".missing"} {
		if _, err := Trust(file); err == nil || !strings.HasPrefix(err.Error(), "--ca: ") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Events become lines whose JSON is a promise to scripts, and what others wrote can't drive the terminal.
func TestLines(t *testing.T) {
	sign := "away"
	s := &Session{names: names{users: map[protocol.UserID]string{1: "ann", 2: "bo"}, groups: map[protocol.GroupID]string{7: "Lunch"}}}
	bo, lunch := protocol.WithUser(2), protocol.InGroup(7)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, c := range []struct {
		ev         client.Event
		json, text string
	}{
		{&client.Message{Session: bo, ID: 3, From: 2, Time: at, Type: protocol.MsgSingleText, Text: "a<b\n\x1b[2J"},
			`{"event":"message","conversation":"user:2","conversation_name":"bo","id":3,"from":2,"from_name":"bo","mine":false,"time":"2026-03-04T05:06:07Z","type":"text","text":"a<b\n\u001b[2J"}`,
			" bo 3 bo: a<b\n    \uFFFD[2J"},
		{&client.Message{Session: lunch, ID: 4, From: 1, Mine: true, Time: at, Type: protocol.MsgGroupAudio, ClientMsgID: protocol.ClientMsgID{1}, ReplyTo: 2},
			`{"event":"message","conversation":"group:7","conversation_name":"Lunch","id":4,"from":1,"from_name":"ann","mine":true,"time":"2026-03-04T05:06:07Z","type":"voice","text":"","client_msg_id":"01000000000000000000000000000000","reply_to":2}`,
			" #Lunch 4 ann: (voice)"},
		{&client.Message{Session: bo, ID: 5, From: 2, Time: at, Type: protocol.MsgSingleText, Gone: true, Deleted: protocol.Recalled},
			`{"event":"message","conversation":"user:2","conversation_name":"bo","id":5,"from":2,"from_name":"bo","mine":false,"time":"2026-03-04T05:06:07Z","type":"text","text":"","state":"recalled"}`,
			" bo 5 bo: (recalled)"},
		{&client.Message{Session: bo, ID: 6, From: 2, Time: at, Type: protocol.MsgSingleText, Text: "x", BurnAfter: time.Minute},
			`{"event":"message","conversation":"user:2","conversation_name":"bo","id":6,"from":2,"from_name":"bo","mine":false,"time":"2026-03-04T05:06:07Z","type":"text","text":"x","burn_after_s":60}`,
			" bo 6 bo: x"},
		{&client.Message{Session: lunch, ID: 7, From: 9, FromAddress: "lin@hangzhou.example", Time: at, Type: protocol.MsgGroupText, Text: "茶？", HubSeq: 4711},
			`{"event":"message","conversation":"group:7","conversation_name":"Lunch","id":7,"from":9,"from_name":"lin@hangzhou.example","mine":false,"time":"2026-03-04T05:06:07Z","type":"text","text":"茶？","hub_seq":4711}`,
			" #Lunch 7 lin@hangzhou.example: 茶？"},
		{&client.Message{Session: bo, ID: 8, From: 1, Mine: true, Time: at, Type: protocol.MsgSingleText, Text: "x", State: client.StateUndeliverable},
			`{"event":"message","conversation":"user:2","conversation_name":"bo","id":8,"from":1,"from_name":"ann","mine":true,"time":"2026-03-04T05:06:07Z","type":"text","text":"x","delivery":"undeliverable"}`,
			" bo 8 ann: x  [not delivered]"},
		{&client.Message{Session: bo, ID: 9, From: 1, Mine: true, Time: at, Type: protocol.MsgSingleText, Text: "x", State: client.StateDelayed},
			`{"event":"message","conversation":"user:2","conversation_name":"bo","id":9,"from":1,"from_name":"ann","mine":true,"time":"2026-03-04T05:06:07Z","type":"text","text":"x","delivery":"delayed"}`,
			" bo 9 ann: x  [delayed]"},
		{&client.MessageStateChanged{Session: bo, ID: 8, State: client.StateUndeliverable, Reason: "nobody\x1b there"},
			`{"event":"state","conversation":"user:2","conversation_name":"bo","id":8,"delivery":"undeliverable","reason":"nobody\u001b there"}`,
			"-- bo: message 8 is not delivered: nobody\uFFFD there"},
		{&client.MessageStateChanged{Session: lunch, ID: 9, State: client.StateSent, HubSeq: 12},
			`{"event":"state","conversation":"group:7","conversation_name":"Lunch","id":9,"delivery":"sent","hub_seq":12}`, "-- Lunch: message 9 is sent"},
		{&client.MessageDeleted{Session: lunch, ID: 4, Kind: protocol.Recalled, By: 1},
			`{"event":"deleted","conversation":"group:7","conversation_name":"Lunch","id":4,"state":"recalled","by":1,"by_name":"ann"}`,
			"-- Lunch: message 4 was recalled by ann"},
		{&client.MessageDeleted{Session: bo, ID: 6, Kind: protocol.Burned},
			`{"event":"deleted","conversation":"user:2","conversation_name":"bo","id":6,"state":"burned"}`, "-- bo: message 6 was burned"},
		{&client.Mark{Session: lunch, User: 2, Delivered: 4, Read: 3},
			`{"event":"mark","conversation":"group:7","conversation_name":"Lunch","user":2,"user_name":"bo","delivered":4,"read":3}`,
			"-- Lunch: bo, received up to 4, read up to 3"},
		{&client.ReadMoved{Session: bo, UpTo: 5}, `{"event":"read","conversation":"user:2","conversation_name":"bo","read":5}`, "-- bo: you, read up to 5"},
		{&client.SessionRemoved{Session: bo}, `{"event":"removed","conversation":"user:2","conversation_name":"bo"}`, "-- bo is removed from your list"},
		{&client.GroupChanged{Group: 7, By: 1, Change: protocol.MembersDel, Changed: []protocol.UserID{2}, Members: []protocol.UserID{1}},
			`{"event":"group","conversation":"group:7","conversation_name":"Lunch","by":1,"change":"removed","users":[2],"user_names":["bo"],"members":[1]}`,
			"-- #Lunch: removed bo, 1 members now"},
		{&client.ProfileChanged{User: 2, Sign: &sign}, `{"event":"profile","user":2,"user_name":"bo","sign":"away"}`, "-- bo signs: away"},
		{&client.Presence{User: 2}, `{"event":"presence","user":2,"user_name":"bo","online":false}`, "-- bo has left the PC"},
		{&client.P2P{From: 2, Data: "typing"}, `{"event":"signal","user":2,"user_name":"bo","data":"typing"}`, "-- signal from bo: typing"},
		{&client.FileOffered{From: 2, Name: "a.txt"}, `{"event":"file","user":2,"user_name":"bo","data":"a.txt"}`, "-- file from bo: a.txt"},
		{&client.Gap{Why: "too old"}, `{"event":"gap","why":"too old"}`, "-- events were missed (too old): see history and unread"},
	} {
		line := s.Line(t.Context(), c.ev)
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(line); err != nil || b.String() != c.json+"\n" {
			t.Errorf("%T: %s%v", c.ev, b.String(), err)
		}
		text := line.String()
		if _, ok := line.(MessageLine); ok && len(text) > 19 {
			text = text[19:] // the local time
		}
		if text != c.text {
			t.Errorf("%T: %q", c.ev, text)
		}
	}
	if line := s.Line(t.Context(), &client.StateChanged{}); line != nil {
		t.Errorf("a change of state is the line %v", line)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := (texttable.Table{{"A", "B"}, {"林林", "x\ty"}}).Print(&b); err != nil || b.String() != "A     B\n林林  x\uFFFDy\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// People are told when a message is late or lost, scripts everything.
func TestQuietStates(t *testing.T) {
	for s, want := range map[client.MessageState]bool{client.StateSent: true, client.StatePending: true, client.StateDelivered: true, client.StateDelayed: false,
		client.StateUndeliverable: false} {
		if got := (StateLine{Delivery: s.String()}).Quiet(); got != want {
			t.Errorf("%v: %t", s, got)
		}
	}
}
