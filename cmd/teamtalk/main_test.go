package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"teamtalk/internal/e2e"
)

func TestMain(m *testing.M) {
	if os.Getenv(asTeamTalk) != "" {
		main()
		return
	}
	remove, err := e2e.Prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		os.Exit(code)
	}))
}

// output is read while a command writes it.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// stage is a server and what a user of it types.
type stage struct {
	t      *testing.T
	server *e2e.Server
	port   string
}

func newStage(t *testing.T) *stage {
	t.Setenv("TEAMTALK_PASSWORD", "")
	port := freePort(t)
	s := e2e.Start(t, e2e.ServerConfig{Args: []string{"--users", "3", "--password", "geheim", "--tls", port, "--quic", port}})
	return &stage{t, s, port}
}

// freePort is an address that TCP and UDP are both free at.
func freePort(t *testing.T) string {
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// command runs a command line with a standard input.
func command(t *testing.T, input string, args ...string) (code int, out, said string) {
	t.Helper()
	var o, e output
	code = run(t.Context(), args, &terminalIO{in: stdin(t, input), out: &o, err: &e})
	return code, o.String(), e.String()
}

func stdin(t *testing.T, text string) *os.File {
	path := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// must is a command that has to work.
func (s *stage) must(profile, input string, args ...string) string {
	s.t.Helper()
	code, out, said := command(s.t, input, append(args, "--profile", profile)...)
	if code != 0 {
		s.t.Fatalf("%v: status %d\n%s%s", args, code, out, said)
	}
	return out
}

// mustNot is a command that has to fail with one line that says why.
func (s *stage) mustNot(profile, why string, args ...string) {
	s.t.Helper()
	code, out, said := command(s.t, "", append(args, "--profile", profile)...)
	if code == 0 || out != "" || !strings.Contains(said, why) || strings.Count(said, "\n") != 1 {
		s.t.Errorf("%v: status %d, printed %q, said %q, want %q", args, code, out, said, why)
	}
}

func (s *stage) login(user string) (profile string) {
	s.t.Helper()
	profile = filepath.Join(s.t.TempDir(), "profile")
	out := s.must(profile, "geheim\n", "login", "--server", s.port, "--ca", s.server.Addr.CA, "--password", "-", user)
	if !strings.HasPrefix(out, user+" is logged in at ") || !strings.Contains(out, " by quic in ") && !strings.Contains(out, " by tls in ") {
		s.t.Errorf("login printed %q", out)
	}
	return profile
}

// tail runs a tail until the function it returns is called.
func (s *stage) tail(profile string, args ...string) (out, said *output, end func() int) {
	ctx, cancel := context.WithCancel(s.t.Context())
	out, said = &output{}, &output{}
	ended := make(chan int, 1)
	term := &terminalIO{in: stdin(s.t, ""), out: out, err: said}
	go func() { // ends with ctx, which end cancels
		ended <- run(ctx, append([]string{"tail", "--profile", profile}, args...), term)
	}()
	end = sync.OnceValue(func() int {
		cancel()
		return <-ended
	})
	s.t.Cleanup(func() { end() })
	return out, said, end
}

// texts are those of the messages in lines of JSON.
func texts(t *testing.T, lines string) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(lines) {
		if !strings.HasSuffix(line, "\n") {
			break // half written
		}
		var l struct {
			Event, Conversation, Text, Type, Time string
			FromName                              string `json:"from_name"`
			ID                                    int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.Event != "message" {
			continue
		}
		if l.Type != "text" || l.FromName == "" || l.ID == 0 || l.Time == "" {
			t.Errorf("line %q", line)
		}
		all = append(all, fmt.Sprintf("%s<%s>%s", l.Conversation, l.FromName, l.Text))
	}
	return strings.Join(all, " | ")
}

// A conversation as two people have it: tail says everything once, across a crash of the server and from one tail to the next.
func TestConversation(t *testing.T) {
	s := newStage(t)
	one, two := s.login("user1"), s.login("user2")

	if out := s.must(one, "", "send", "user2", "before", "any", "tail"); !strings.HasPrefix(out, "1 20") || strings.Count(out, "\n") != 1 {
		t.Errorf("send printed %q", out)
	}
	out, said, end := s.tail(two, "--json")
	want := "user:1<user1>before any tail"
	e2e.Eventually(t, "the message of before", func() bool { return texts(t, out.String()) == want })
	if !strings.Contains(said.String(), "online by ") {
		t.Errorf("tail said %q", said.String())
	}
	s.must(one, "two\nlines\n", "send", "2", "-")
	s.must(two, "", "send", "user1", "answer")
	want += " | user:1<user1>two\nlines | user:1<user2>answer"
	e2e.Eventually(t, "both messages", func() bool { return texts(t, out.String()) == want })

	if err := s.server.Restart(t); err != nil {
		t.Fatal(err)
	}
	s.must(one, "", "send", "group:1", "after the crash")
	want += " | group:1<user1>after the crash"
	e2e.Eventually(t, "the message after the crash", func() bool { return texts(t, out.String()) == want })
	if !strings.Contains(said.String(), "offline") || !strings.Contains(said.String(), ", resumed in ") {
		t.Errorf("tail said %q", said.String())
	}
	if code := end(); code != 0 {
		t.Errorf("an interrupted tail ends with status %d: %s", code, said)
	}

	s.must(one, "", "send", "Everybody", "while no tail runs")
	again, _, _ := s.tail(two)
	e2e.Eventually(t, "the next tail", func() bool { return strings.Contains(again.String(), "while no tail runs") })
	if strings.Contains(again.String(), "after the crash") {
		t.Errorf("the next tail repeats:\n%s", again)
	}
}

func TestLists(t *testing.T) {
	s := newStage(t)
	one, two := s.login("user1"), s.login("user2")
	for _, text := range []string{"first", "second", "third"} {
		s.must(one, "", "send", "user2", text)
	}
	if got := texts(t, s.must(two, "", "history", "user1", "--count", "2", "--json")); got != "user:1<user1>second | user:1<user1>third" {
		t.Errorf("history: %q", got)
	}
	if got := s.must(two, "", "history", "user1"); !strings.HasSuffix(got, "user1 3 user1: third\n") || strings.Count(got, "\n") != 3 {
		t.Errorf("history: %q", got)
	}
	if got := s.must(two, "", "unread"); !strings.Contains(got, "user:1        user1  3       third\n") {
		t.Errorf("unread: %q", got)
	}
	if got := s.must(two, "", "contacts"); strings.Count(got, "\n") != 4 || !strings.Contains(got, "3   user3  nick3  1 ") {
		t.Errorf("contacts: %q", got)
	}
	if got := s.must(two, "", "contacts", "--json"); !strings.HasPrefix(got, `{"id":1,"name":"user1","nick":"nick1",`) {
		t.Errorf("contacts: %q", got)
	}
	if got := s.must(two, "", "find", "SER3"); strings.Count(got, "\n") != 2 || !strings.Contains(got, "3   user3  nick3  1 ") {
		t.Errorf("find: %q", got)
	}
	if got := s.must(two, "", "find", "nick", "--count", "2", "--json"); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, `{"id":1,"name":"user1","nick":"nick1",`) {
		t.Errorf("find: %q", got)
	}
	if code, out, said := command(t, "", "find", "nobody", "--profile", two); code != 0 || out != "" || said != "nobody is called \"nobody\"\n" {
		t.Errorf("find: %d, %q, %q", code, out, said)
	}
	s.mustNot(two, "--count: 51 is not a number from 1 to 50", "find", "user", "--count", "51")
	out, _, _ := s.tail(two, "--read")
	e2e.Eventually(t, "three messages", func() bool { return strings.Contains(out.String(), "third") })
	e2e.Eventually(t, "nothing unread", func() bool { return s.must(two, "", "unread") == "" })
}

func TestRefusals(t *testing.T) {
	s := newStage(t)
	profile := filepath.Join(t.TempDir(), "profile")
	s.mustNot(profile, "not logged in: teamtalk login", "send", "user2", "hi")
	s.mustNot(profile, "which server?", "login", "user1")
	s.mustNot(profile, "wrong user name or password", "login", "--server", s.port, "--ca", s.server.Addr.CA, "--password", "wrong", "user1")
	s.mustNot(profile, "no password given", "login", "--server", s.port, "user1")
	if left, _ := filepath.Glob(profile + "/*.session"); len(left) != 0 {
		t.Errorf("a login that failed left %v", left)
	}
	s.mustNot(profile, "--legacy must be one of", "contacts", "--legacy", "perhaps")

	profile = s.login("user1")
	for _, file := range []string{"profile.json", "commands.session", "tail.session"} {
		if info, err := os.Stat(filepath.Join(profile, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	s.mustNot(profile, `no user and no group of yours named "nobody"`, "send", "nobody", "hi")
	s.mustNot(profile, "no user with the id 77", "send", "77", "hi")
	s.mustNot(profile, "in no group with the id 77", "send", "group:77", "hi")
	s.mustNot(profile, "there is nothing to send", "send", "user2", " ")
	s.mustNot(profile, "this profile is user1's", "contacts", "--user", "user2", "--password", "geheim")
	s.mustNot(profile, "this profile is user1's", "login", "--password", "geheim", "user2")
	_, said, _ := s.tail(profile)
	e2e.Eventually(t, "a tail online", func() bool { return strings.Contains(said.String(), "online by") })
	s.mustNot(profile, "a tail is running on the profile", "tail")
}

func TestLogout(t *testing.T) {
	s := newStage(t)
	profile := s.login("user1")
	if out := s.must(profile, "", "logout"); out != "user1 is logged out\n" {
		t.Errorf("logout printed %q", out)
	}
	s.mustNot(profile, "not logged in", "contacts")
	s.mustNot(profile, "not logged in", "logout")
}

// Without a server, commands say whom to ask, and the doctor says what it is.
func TestServerDown(t *testing.T) {
	s := newStage(t)
	profile := s.login("user1")
	s.server.Kill()
	code, _, said := command(t, "", "contacts", "--timeout", "1s", "--profile", profile)
	if code != 1 || !strings.Contains(said, "teamtalk doctor says why") {
		t.Errorf("status %d, said %q", code, said)
	}
	code, out, _ := command(t, "", "doctor", "--each", "2s", "--profile", profile)
	if code != 1 || !strings.Contains(out, "refused: the machine at "+s.port+" is there, but nothing listens") || !strings.HasSuffix(out, "\nno way in: none of 4 works\n") {
		t.Errorf("doctor: status %d\n%s", code, out)
	}
}

func TestDoctorWell(t *testing.T) {
	s := newStage(t)
	code, out, said := command(t, "", "doctor", "--server", s.port, "--ca", s.server.Addr.CA, "--plain-url", "http://"+s.server.Addr.HTTP+"/lp", "--profile", t.TempDir())
	if code != 0 || !strings.HasSuffix(out, "\n\nall well: 4 of 4 ways work, the best is quic\n") || strings.Contains(out, "next:") || strings.Contains(out, "FAILED") {
		t.Errorf("status %d\n%s%s", code, out, said)
	}
	code, out, _ = command(t, "", "doctor", "--server", s.port, "--profile", t.TempDir())
	if code != 1 || !strings.Contains(out, "\nuntrusted: the certificate at "+s.port+" is issued by ") || !strings.Contains(out, "--ca FILE") {
		t.Errorf("without --ca: status %d\n%s", code, out)
	}
}
