package main

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
)

// What is being waited for, in a line [TT-QUEUE-2].
func TestWaitingLine(t *testing.T) {
	routes := []dial.Route{{Transport: dial.QUIC, URL: "quic://a:443"}, {Transport: dial.LongPoll, URL: "https://b:8443/lp"}}
	for _, c := range []struct {
		status      client.Status
		want, tails string
	}{
		{client.Status{State: client.Connecting}, "teamtalk: connecting", ""},
		{client.Status{State: client.Connecting, Trying: routes}, "teamtalk: connecting by longpoll to b:8443", "teamtalk: connecting by longpoll to b:8443"},
		{client.Status{State: client.Connecting, Trying: routes, Position: 121, ETA: 39500 * time.Millisecond}, "teamtalk: waiting to be let in: 120 before you, about 40s", ""},
		{client.Status{State: client.Connecting, Position: 2, ETA: 100 * time.Second}, "teamtalk: waiting to be let in: 1 before you, about 1m40s", ""},
		{client.Status{State: client.Connecting, Position: 1}, "teamtalk: waiting to be let in: you are next", ""},
		{client.Status{State: client.Offline, RetryAt: time.Now().Add(-time.Second), Why: errors.New("client: no\nway")}, "teamtalk: offline, again in 0.0 s: no", ""},
		{client.Status{State: client.Online, Trying: routes}, "", ""},
	} {
		if got := waitingLine(&c.status); got != c.want {
			t.Errorf("%+v: %q, want %q", c.status, got, c.want)
		}
		if got := dialling(c.status); got != c.tails {
			t.Errorf("tail, %+v: %q, want %q", c.status, got, c.tails)
		}
	}
}

// A line takes the place of the one before, fits into one row, and drives no terminal.
func TestPassing(t *testing.T) {
	var b bytes.Buffer
	p := &passing{w: &b, width: func() int { return 10 }}
	for _, text := range []string{"", "one", "one", "two \x1b[2J is long", "服务器没有回答", ""} {
		p.show(text)
	}
	if want := "\r\x1b[Kone\r\x1b[Ktwo \uFFFD[2J \r\x1b[K服务器没\r\x1b[K"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	var none *passing
	none.show("nothing")
	none.clear()
	if none.waiting() != nil {
		t.Error("somebody is told of a wait that nobody sees")
	}
	if (&terminalIO{err: &b}).passing("") != nil {
		t.Error("a line that passes goes into a file")
	}
}

// Whoever waits at a terminal sees by which way, and nothing of it afterwards.
func TestWaitingOnATerminal(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	at := mute.Addr().String()
	for _, command := range [][]string{{"login", "user1"}, {"chat", "--user", "user1"}, {"send", "user2", "hello", "--user", "user1"}} {
		s := openScreen(t, 100, 10, []string{"TEAMTALK_PASSWORD=geheim"}, append(command, "--server", "tls://"+at, "--profile", t.TempDir(), "--timeout", "1h")...)
		s.shows("teamtalk: connecting by tls to " + at)
		s.keys("C-c")
		s.awaits("the end", func(shot string) bool {
			return strings.Contains(shot, "left with status 130") && !strings.Contains(shot, "connecting by")
		})
	}
}
