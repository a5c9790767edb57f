package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/internal/e2e"
	"teamtalk/internal/simnet"
	"teamtalk/internal/terminal"
	"teamtalk/protocol"
)

// chat opens the messenger of a profile and waits until it is online.
func (s *stage) chat(profile string, width, height int, env ...string) *screen {
	s.t.Helper()
	sc := openScreen(s.t, width, height, env, "chat", "--profile", profile)
	sc.shows("● ")
	return sc
}

// talk opens a conversation.
func (sc *screen) talk(with, title string) {
	sc.t.Helper()
	sc.say("/open " + with)
	sc.shows("│ " + title)
	sc.hides("fetch")
}

// Two people chat, in English, Chinese and characters of several parts; what is said elsewhere is counted; the list stays in its columns.
func TestChat(t *testing.T) {
	s := newStage(t)
	one, two := s.chat(s.login("user1"), 100, 24), s.chat(s.login("user2"), 80, 20)
	one.talk("user2", "user2  nick2")
	one.say("hello")
	one.shows("hello ✓")
	two.shows("user1           1", "hello")
	one.awaits("delivered, not read", func(shot string) bool {
		return strings.Contains(shot, "hello ✓✓") && !strings.Contains(shot, "read")
	})
	two.talk("user1", "user1  nick1")
	two.hides("user1           1")
	one.shows("hello ✓✓ read")

	one.say("你好，世界！今天中午一起吃饭吗？")
	two.shows("你好，世界！今天中午一起吃饭吗？")
	two.say("好的 👩‍👩‍👧 café naïve 🎉")
	one.shows("好的", "café naïve")
	one.say(strings.Repeat("一二三四五六七八九十", 9))
	one.shows("六七八九十 ✓✓ read") // which is the end of a text that was broken
	for _, sc := range []*screen{one, two} {
		if err := aligned(sc.shot()); err != nil {
			t.Error(err)
		}
	}
	one.write("中文ab")
	one.shows("› 中文ab")
	line := strings.Split(one.shot(), "\n")[22]
	before, _, _ := strings.Cut(line, "›")
	if want, got := len([]rune(before))+2+6, one.cursor(); got != want {
		t.Errorf("the cursor is in column %d behind 中文ab, want %d", got, want)
	}
	one.keys("BSpace", "BSpace", "BSpace")
	one.shows("› 中\n")
	one.keys("C-u")

	two.say("/open Everybody")
	two.shows("│ #Everybody")
	one.say("are you there?")
	two.shows("user1           1")
	two.keys("C-k")
	two.write("usr1")
	two.shows("› user1  (1)")
	two.keys("Enter")
	two.shows("are you there?")
	two.hides("user1           1")
	two.keys("C-n")
	two.shows("│ #Everybody")
	two.keys("Tab")
	two.shows("│ user1  nick1")
}

// Pasted and typed newlines do not send; drafts outlive the program.
func TestChatDrafts(t *testing.T) {
	s := newStage(t)
	profile := s.login("user1")
	s.mustNot(profile, "chat needs a terminal", "chat")
	sc := s.chat(profile, 80, 20)
	second := openScreen(t, 80, 20, nil, "chat", "--profile", profile)
	second.shows("a chat is running on the profile", "left with status 1")
	sc.talk("user2", "user2")
	sc.tmux("set-buffer", "pasted 甲\nin two lines")
	sc.tmux("paste-buffer", "-p")
	sc.shows("› pasted 甲", "  in two lines")
	sc.keys("M-Enter")
	sc.write("third")
	sc.shows("  third")
	sc.keys("C-c")
	sc.shows("left with status 0")
	again := s.chat(profile, 80, 20)
	again.shows("│ user2", "› pasted 甲", "  in two lines", "  third")
	again.keys("Enter")
	again.awaits("the message", func(shot string) bool {
		return strings.Contains(shot, "third ✓") && strings.Contains(shot, "   in two lines") && strings.Contains(shot, "›\n")
	})
	again.say("/quit")
	again.shows("left with status 0")
}

func TestChatCommands(t *testing.T) {
	s := newStage(t)
	one, two := s.chat(s.login("user1"), 100, 20), s.chat(s.login("user2"), 100, 20)
	one.say("/find SER3")
	one.shows("Called \"SER3\":", "user3, nick3")
	one.keys("Escape")
	one.hides("Called")
	one.say("/help")
	one.shows("Alt-Enter", "PgUp, PgDn; Esc closes this")
	one.keys("PageDown")
	one.shows("/recall [N]", "/save [N] [PATH]")
	one.keys("PageDown")
	one.shows("//usr/bin")
	one.keys("Escape")
	one.hides("//usr/bin")
	one.say("/opne user2")
	one.shows("there is no /opne; /open?")
	one.keys("C-u")
	one.write("/ope")
	one.shows("/open     NAME")
	one.keys("Tab")
	one.shows("› /open\n")
	one.write("user2")
	one.keys("Enter")
	one.shows("│ user2  nick2")
	two.talk("user1", "user1")

	one.say("//usr/bin is a folder")
	two.shows("   /usr/bin is a folder")
	one.say("a slip of the pen")
	two.shows("a slip of the pen")
	one.shows("a slip of the pen ✓") // before it has a number nothing can be recalled
	one.say("/recall")
	for _, sc := range []*screen{one, two} {
		sc.hides("a slip of the pen")
		sc.shows("   (recalled)", "/usr/bin is a folder")
	}
	one.say("/burn 600 the safe is in the cellar") // whose countdown a slow machine sees, too
	two.shows("the safe is in the cellar [burns in ")
	one.say("/burn 1 the code is 4711")
	two.shows("   (burned)")
	one.shows("   (burned)")
	for _, sc := range []*screen{one, two} {
		sc.hides("4711")
	}
	one.say("/sign 出差中")
	two.shows("“出差中”")
	one.shows("your signature is: 出差中") // else this notice may come after the next one, in whose place it is

	one.say("/group Lunch user2 nobody")
	one.shows(`there is no user named "nobody"`)
	one.keys("C-u")
	one.say("/group Lunch user2")
	one.shows("│ #Lunch  2 members")
	one.say("noon?")
	two.shows("#Lunch", "user1: noon?")
	one.say("/invite user3")
	one.shows("user1 added user3", "3 members")
	one.say("/who")
	one.shows("#Lunch, 3 members", "user1 (nick1), you, made the group", "user3 (nick3)")
	one.keys("Escape")
	two.say("/open Lunch")
	two.shows("│ #Lunch")
	two.say("/leave")
	one.shows("user2 left", "2 members")
	one.say("/recall 7")
	one.shows("there is no such message of yours here")
	one.keys("C-u")
	one.say("/retry")
	one.shows("nothing has failed here")
}

// History is fetched page by page, up to the first message, and Esc goes back to the newest.
func TestChatHistory(t *testing.T) {
	s := newStage(t)
	one, two := s.login("user1"), s.login("user2")
	const count = 130
	s.sendMany(one, count)
	sc := s.chat(two, 80, 20)
	sc.shows("130 │")
	sc.say("/open user1")
	sc.shows(fmt.Sprintf("message %d", count))
	sc.hides("130 │")
	e2e.Eventually(t, "the first message", func() bool {
		sc.keys("PageUp")
		return strings.Contains(sc.shot(), "this is where it begins")
	})
	sc.shows("   message 1\n", "lines below")
	s.must(one, "", "send", "user2", "and one more")
	sc.awaits("the new message is counted, and the page stays", func(shot string) bool {
		return strings.Contains(shot, "1 │") && strings.Contains(shot, "   message 1\n")
	})
	if err := aligned(sc.shot()); err != nil {
		t.Error(err)
	}
	sc.keys("Escape")
	sc.shows("and one more")
	sc.hides("lines below")
}

// sendMany has user1 send numbered messages to user2.
func (s *stage) sendMany(profile string, count int) {
	s.t.Helper()
	p := terminal.Profile{Dir: profile}
	account, err := p.Account()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), e2e.Patience)
	defer cancel()
	session, err := p.Open(ctx, terminal.ForCommands, terminal.Access{Account: account})
	if err != nil {
		s.t.Fatal(err)
	}
	defer session.Close()
	for n := range count {
		out, err := session.Send(ctx, protocol.WithUser(2), client.Text(fmt.Sprintf("message %d", n+1)))
		if err == nil {
			err = out.Wait(ctx)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// A terminal of any size shows what there is room for, without colours if that is asked for.
func TestChatSizes(t *testing.T) {
	s := newStage(t)
	profile := s.login("user1")
	sc := s.chat(profile, 100, 24, "NO_COLOR=1", "LC_ALL=", "LC_CTYPE=", "LANG=") // a terminal that does not say what it is
	sc.talk("user2", "user2")
	sc.say("a line that is long enough to be broken where a terminal is narrow 而且还有中文")
	sc.shows("✓")
	if shot := sc.tmux("capture-pane", "-p", "-e"); regexp.MustCompile(`\x1b\[([0-9;]*;)?([349][0-7]|[34]8)[;m]`).MatchString(shot) {
		t.Errorf("there are colours: %q", shot)
	}
	sc.tmux("resize-window", "-x", "40", "-y", "12")
	sc.awaits("a narrow screen", func(shot string) bool {
		return !strings.Contains(shot, "│") && strings.Contains(shot, "user2  nick2")
	})
	sc.shows("a line that is long enough to be", "且还有中文 ✓", "user1")
	sc.tmux("resize-window", "-x", "10", "-y", "3")
	sc.shows("too small")
	sc.tmux("resize-window", "-x", "120", "-y", "30")
	sc.awaits("a wide screen", func(shot string) bool {
		return strings.Contains(shot, "narrow 而且还有中文 ✓") && aligned(shot) == nil
	})
}

// What is typed while the server is down goes out when it is back, before the user's eyes.
func TestChatRestart(t *testing.T) {
	s := newStage(t)
	sc := s.chat(s.login("user1"), 100, 24)
	sc.talk("user2", "user2")
	sc.say("before")
	sc.shows("before ✓")
	s.server.Kill()
	sc.say("typed while the server was down")
	sc.shows("typed while the server was down …", "○ offline", "1 to send")
	if err := s.server.Run(t); err != nil {
		t.Fatal(err)
	}
	sc.shows("typed while the server was down ✓", "· resumed in ")
	sc.hides("to send")
}

// A conversation moves from QUIC to long-poll while its user types, in a network that stops to let through anything else. With TT_RECORD=1
// what he sees is written to testdata/recordings/terminal.txt.
func TestChatMoves(t *testing.T) {
	t.Setenv("TEAMTALK_PASSWORD", "")
	port, blocked := freePort(t), freePort(t)
	link := simnet.NewLink(1, simnet.Faults{})
	relay, err := simnet.RelayUDP(link, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	s := &stage{t: t, port: port, server: e2e.Start(t, e2e.ServerConfig{Args: []string{"--users", "3", "--password", "geheim", "--tls", port, "--quic", port,
		"--public-tls-port", portOf(blocked), "--public-quic-port", portOf(relay.Addr())}})}
	profile := filepath.Join(t.TempDir(), "profile")
	s.must(profile, "geheim\n", "login", "--server", "quic://"+relay.Addr(), "--server", "https://"+port+"/lp", "--ca", s.server.Addr.CA, "--password", "-", "user1")
	var frames recording
	one, two := s.chat(profile, 80, 16), s.chat(s.login("user2"), 80, 16)
	one.talk("user2", "user2")
	two.talk("user1", "user1")
	one.shows("● QUIC")
	two.say("中午一起吃饭？ Lunch at noon?")
	one.shows("Lunch at noon?")
	one.say("好的！ Where?")
	one.shows("Where? ✓✓ read")
	two.say("The noodle place by the river.")
	one.shows("by the river.")
	frames.add("Two people chat over QUIC.", one)

	link.Blackout(time.Hour)
	one.say("I know it,")
	one.shows("I know it, …")
	frames.add("UDP stops to pass; TLS and WebSocket are blocked, too. What is sent waits.", one)

	one.write("see you")
	one.awaits("long-poll", func(shot string) bool { return strings.Contains(shot, "● long-poll · resumed in ") })
	one.shows("I know it, ✓")
	one.write(" at twelve 🍜")
	one.shows("› see you at twelve")
	frames.add("The session is resumed over long-poll, while the next message is being typed.", one)

	one.keys("Enter")
	one.shows("I know it, ✓✓ read", "see you at twelve 🍜 ✓✓ read")
	two.shows("I know it,", "see you at twelve")
	frames.add("Each message was stored once, in its order, and read.", one)
	if n := strings.Count(two.shot(), "I know it,"); n != 1 && n != 2 { // in the list, too, while it is the newest
		t.Errorf("the message is shown %d times", n)
	}
	if os.Getenv("TT_RECORD") != "" {
		frames.write(t, "../../testdata/recordings/terminal.txt")
	}
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// recording is screens with what they show.
type recording struct{ text strings.Builder }

func (r *recording) add(what string, sc *screen) {
	fmt.Fprintf(&r.text, "%s\n\n%s\n", what, sc.shot())
}

func (r *recording) write(t *testing.T, file string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(r.text.String()), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
