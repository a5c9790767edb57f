package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teamtalk/federation"
	"teamtalk/internal/admin"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// offices is a federation as operators see it.
type offices struct {
	status federation.Status
	asked  []string
	fail   error
}

func (o *offices) note(format string, args ...any) error {
	o.asked = append(o.asked, fmt.Sprintf(format, args...))
	return o.fail
}

func (o *offices) Init(_ context.Context, n federation.Naming) error { return o.note("init %v", n) }
func (o *offices) Self() (federation.About, error)                   { return o.status.Self, nil }
func (o *offices) RotateKey(_ context.Context, now bool) error       { return o.note("rotate %t", now) }

func (o *offices) Invite(_ context.Context, life time.Duration) (fed.Invitation, error) {
	return fed.Invitation{Cluster: fed.ClusterID{1}, Endpoints: []string{"a:1"}, Expires: 2_000_000_000_000, Domain: "here.example"}, o.note("invite %s", life)
}

func (o *offices) AcceptInvitation(_ context.Context, code, proxy string) (federation.PeerView, error) {
	return o.status.Links[0].PeerView, o.note("accept %s by %q", code, proxy)
}

func (o *offices) Confirm(_ context.Context, peer, fingerprint string, in, out fed.Allow) error {
	return o.note("confirm %s %s %05b %05b", peer, fingerprint, in, out)
}

func (o *offices) SetPolicy(_ context.Context, peer string, p federation.Policy) error {
	shown := func(a *fed.Allow) string {
		if a == nil {
			return "-"
		}
		return fmt.Sprintf("%05b", *a)
	}
	return o.note("policy %s %s %s %t %t %t", peer, shown(p.In), shown(p.Out), p.Quota != nil, p.Proxy != nil && *p.Proxy == "", p.DialOnly != nil && !*p.DialOnly)
}

func (o *offices) Pause(_ context.Context, peer string) error  { return o.note("pause %s", peer) }
func (o *offices) Remove(_ context.Context, peer string) error { return o.note("remove %s", peer) }

func (o *offices) Resume(_ context.Context, peer string, restored bool) error {
	return o.note("resume %q %t", peer, restored)
}

func (o *offices) Status(context.Context) (federation.Status, error) { return o.status, nil }

func (o *offices) Trace(context.Context, string) (federation.TraceView, error) {
	return federation.TraceView{Event: "7.0@c", Origin: "here.example", Conversation: "g5", Message: 42, Author: 17, State: "pending", HubSeq: 9,
		Steps: []federation.TraceStep{{Peer: "there.example", Lane: 2, Sequence: 3, State: "waiting"}}}, nil
}

func (o *offices) Search(_ context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error) {
	return []protocol.User{{ID: protocol.MaxLocalID, Name: "lin@there.example", Nick: "Lin (There)"}}, o.note("search %d %s %d", me, text, limit)
}

func (o *offices) DeadLetters(_ context.Context, peer string, limit int) ([]fed.DeadLetter, error) {
	return []fed.DeadLetter{{Inbound: true, Type: fed.TypeMessage, Code: protocol.CodeForbidden, Text: "not\x1byours"}}, o.note("deadletters %s %d", peer, limit)
}

func linked(domain, state string, change func(*federation.LinkView)) federation.LinkView {
	l := federation.LinkView{PeerView: federation.PeerView{Cluster: "01020304-0000-0000-0000-00000000000" + domain[:1], Domain: domain, Office: "Office " + domain[:1], Fingerprint: "AAAA-" + domain,
		State: state, In: []string{"direct", "groups", "files", "presence", "directory"}, Out: []string{"direct"}, Quota: 1 << 30}}
	if change != nil {
		change(&l)
	}
	return l
}

func newFederationOperator(t *testing.T, f *offices) *operator {
	t.Helper()
	const token = "0123456789abcdef0123456789abcdef"
	s := httptest.NewServer(admin.RequireToken(token, admin.Handler(admin.Config{Federation: f, Log: slog.New(slog.DiscardHandler)})))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return &operator{target: []string{"--ops", s.URL, "--token-file", file}}
}

func someStatus() federation.Status {
	return federation.Status{Self: federation.About{Domain: "here.example", Office: "Here", Fingerprint: "HHHH", Serial: 1, Endpoints: []string{"h:1"}}, Links: []federation.LinkView{
		linked("there.example", "confirmed", func(l *federation.LinkView) {
			l.Up, l.Via, l.RoundTrip, l.Skew, l.Sent, l.Received = true, "quic", 90*time.Millisecond, -3*time.Second, 5, 6
			l.Lanes = []federation.LaneView{{Lane: 3, Sent: 9, Acked: 8, Waiting: 2048, In: 4}}
		}),
		linked("down.example", "confirmed", func(l *federation.LinkView) {
			l.Error, l.Depth, l.Bytes, l.OldestAge = "connection\x1b refused", 12, 1<<30, time.Hour
		}),
		linked("paused.example", "paused", func(l *federation.LinkView) { l.Error = "paused" }),
		linked("new.example", "introduced", nil),
	}}
}

func TestFederationStatus(t *testing.T) {
	f := &offices{status: someStatus()}
	o := newFederationOperator(t, f)
	out, said := o.run(t, 0, "federation", "status")
	lines := strings.Split(out, "\n")
	printed(t, lines[0], "DOMAIN", "OFFICE", "STATE", "LINK", "VIA", "RTT", "WAITING", "BYTES", "OLDEST", "SENT", "RECEIVED", "REFUSED", "CLOCK")
	printed(t, lines[1], "there.example", "Office t", "confirmed", "up", "quic", "90.0 ms", "0", "0 B", "-", "5", "6", "0", "3s behind")
	printed(t, lines[2], "down.example", "Office d", "confirmed", "down", "-", "-", "12", "1.0 GiB", "1h0m0s")
	printed(t, lines[3], "paused.example", "paused", "-")
	printed(t, said, "down.example: connection\uFFFD refused\n", "down.example: 1.0 GiB of 1.0 GiB wait", "new.example waits to be confirmed here", "confirm new.example --fingerprint")
	if strings.Contains(said, "paused.example") {
		t.Errorf("a paused link is complained about: %s", said)
	}
	out, _ = o.run(t, 0, "federation", "status", "--json")
	printed(t, out, `"domain": "there.example"`, `"up": true`)

	_, said = o.run(t, 1, "federation", "status", "--fail")
	printed(t, said, "teamtalkd: the link with down.example is down\n", "teamtalkd: something has waited 1h0m0s for down.example\n")
	f.status.Links[1].Up = true
	_, said = o.run(t, 1, "federation", "status", "--fail", "--oldest", "59m")
	if strings.Contains(said, "is down") {
		t.Errorf("nothing is down: %s", said)
	}
	o.run(t, 0, "federation", "status", "--fail", "--oldest", "2h")
	f.status.Self.Restored = true
	_, said = o.run(t, 1, "federation", "status", "--fail", "--oldest", "2h")
	printed(t, said, "federation resume --restored", "this cluster was restored")
}

func TestFederationOrders(t *testing.T) {
	f := &offices{status: someStatus()}
	o := newFederationOperator(t, f)
	for _, test := range []struct {
		args  string
		asked string // empty: refused before that
		says  string // on either output
	}{
		{"init --domain here.example --office Here --endpoint a:1 --endpoint b:2", "init {here.example Here [a:1 b:2]}", "teamtalkd federation invite"},
		{"invite", "invite 48h0m0s", "teamtalkd federation accept CODE"},
		{"invite --for 1h", "invite 1h0m0s", "ttf1-"},
		{"accept ttf1-x --proxy p:3128", `accept ttf1-x by "p:3128"`, "there: teamtalkd federation confirm here.example --fingerprint HHHH"},
		{"confirm there.example --fingerprint F --allow all", "confirm there.example F 11111 11111", "when the other side has confirmed, too"},
		{"confirm there.example --fingerprint F --allow direct,groups --in none", "confirm there.example F 00000 00011", ""},
		{"confirm there.example --fingerprint F", "", "say what may pass"},
		{"confirm there.example --allow all", "", "--fingerprint"},
		{"policy there.example --in direct", "policy there.example 00001 - false false false", "show there.example"},
		{"policy there.example --allow none --out all --quota 5 --proxy none --no-dial-only", "policy there.example 00000 11111 true true true", ""},
		{"policy there.example", "", "nothing to change"},
		{"pause there.example", "pause there.example", "resume there.example"},
		{"resume there.example", `resume "there.example" false`, "goes on"},
		{"resume --restored", `resume "" true`, "the links go on"},
		{"resume", "", "say which"},
		{"resume there.example --restored", "", "say which"},
		{"remove there.example", "", "nothing was done"},
		{"remove there.example --yes", "remove there.example", "is removed"},
		{"rotate --now", "rotate true", "Here"},
		{"find lin", "search 0 lin 20", "Lin (There)"},
		{"deadletters there.example --limit 5", "deadletters there.example 5", "not\uFFFDyours"},
	} {
		f.asked = nil
		status := 0
		if test.asked == "" {
			status = 1
			if !strings.Contains(test.args, "--allow") && strings.Contains(test.says, "--fingerprint") || test.says == "--fingerprint" {
				status = 2 // of the command line itself
			}
		}
		out, said := o.run(t, status, append([]string{"federation"}, strings.Fields(test.args)...)...)
		if got := strings.Join(f.asked, "; "); got != test.asked {
			t.Errorf("%s: asked for %q, want %q", test.args, got, test.asked)
		}
		if !strings.Contains(out+said, test.says) {
			t.Errorf("%s: no %q in %s%s", test.args, test.says, out, said)
		}
	}
	out, _ := o.run(t, 0, "federation", "invite")
	if !strings.HasPrefix(out, "ttf1-") || strings.Count(out, "\n") != 1 {
		t.Errorf("the standard output holds more than the code: %s", out)
	}
}

func TestFederationReports(t *testing.T) {
	f := &offices{status: someStatus()}
	o := newFederationOperator(t, f)
	out, _ := o.run(t, 0, "federation", "list")
	printed(t, out, "DOMAIN", "there.example", "confirmed", "all", "direct", "AAAA-there.example", "new.example", "introduced")
	out, _ = o.run(t, 0, "federation", "show")
	printed(t, out, "THIS OFFICE", "Here", "here.example", "HHHH", "h:1")
	out, _ = o.run(t, 0, "federation", "show", "there.example")
	printed(t, out, "OFFICE", "Office t", "may send", "all", "is sent", "direct", "link", "up", "round trip", "90.0 ms", "LANE", "SENT", "3 ", "9 ", "8 ", "2.0 KiB", "4")
	out, _ = o.run(t, 0, "federation", "show", "01020304-0000-0000-0000-00000000000d")
	printed(t, out, "down.example")
	_, said := o.run(t, 1, "federation", "show", "01020304")
	printed(t, said, "several offices")
	_, said = o.run(t, 1, "federation", "show", "nowhere.example")
	printed(t, said, "teamtalkd federation list")
	out, _ = o.run(t, 0, "federation", "trace", "g5/42")
	printed(t, out, "g5/42", "user 17, here.example", "pending", "order in the group", "9", "to there.example", "waiting, lane 2, number 3")
	f.status.Links = nil
	_, said = o.run(t, 0, "federation", "status")
	printed(t, said, "teamtalkd federation invite")
}

// [FED-ID-4]
func TestSealedBackup(t *testing.T) {
	dir := t.TempDir()
	n := &nodes{backup: strings.Repeat("secret", 50_000), root: true}
	o := newOperator(t, n)
	file, key := filepath.Join(dir, "b.tt"), filepath.Join(dir, "key")
	_, problem := o.run(t, 1, "backup", file)
	printed(t, problem, "has to be encrypted", "--passphrase-file")
	for text, want := range map[string]string{"short\n": "less than 12", "\nnot the first line": "there is no passphrase in it"} {
		if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problem = o.run(t, 1, "backup", file, "--passphrase-file", key)
		printed(t, problem, want)
	}
	if err := os.WriteFile(key, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := o.run(t, 0, "backup", file, "--passphrase-file", key)
	printed(t, out, "It is encrypted")
	b, err := os.ReadFile(file)
	if err != nil || bytes.Contains(b, []byte("secret")) || len(b) < len(n.backup) {
		t.Errorf("%d bytes, %v", len(b), err)
	}

	var got string
	offline := &operator{tools: offlineTools{restore: func(_ context.Context, _ string, backup io.Reader) (restored, error) {
		b, err := io.ReadAll(backup)
		got = string(b)
		return restored{}, err
	}}}
	_, problem = offline.run(t, 1, "restore", file, "--data", filepath.Join(dir, "d"))
	printed(t, problem, "this backup is encrypted", "--passphrase-file")
	offline.run(t, 0, "restore", file, "--data", filepath.Join(dir, "d"), "--passphrase-file", key)
	if got != n.backup {
		t.Errorf("%d bytes are restored", len(got))
	}
	if err := os.WriteFile(key, []byte("incorrect horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problem = offline.run(t, 1, "restore", file, "--data", filepath.Join(dir, "d"), "--passphrase-file", key)
	printed(t, problem, "the passphrase is not the one of this file")
	plain := filepath.Join(dir, "plain.tt")
	if err := os.WriteFile(plain, []byte("backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problem = offline.run(t, 1, "restore", plain, "--data", filepath.Join(dir, "d"), "--passphrase-file", key)
	printed(t, problem, "is not encrypted")
}
