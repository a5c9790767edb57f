package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

const (
	secret123456 = "e10adc3949ba59abbe56e057f20f883e" // MD5 of 123456
	salted1234   = "b605e86d02eef8bfd0646f6a704c17c9" // MD5 of that and 1234
)

// directory is people for login tests: alice has an argon2id hash, bob a legacy one, carl has left, dora has no password,
// emil is on probation.
func directory(t testing.TB) *fakeStore {
	s := newFakeStore(
		protocol.User{ID: 1, Name: "alice"}, protocol.User{ID: 2, Name: "bob"},
		protocol.User{ID: 3, Name: "carl", Status: protocol.StatusLeft}, protocol.User{ID: 4, Name: "dora"},
		protocol.User{ID: 5, Name: "emil", Status: protocol.StatusProbation},
	)
	v := newVerifier(t, password.Config{})
	for _, id := range []protocol.UserID{1, 3, 5} {
		hash, err := v.Hash(t.Context(), secret123456)
		if err != nil {
			t.Fatal(err)
		}
		s.hashes[id] = hash
	}
	legacy, err := password.Legacy("1234", salted1234)
	if err != nil {
		t.Fatal(err)
	}
	s.hashes[2] = legacy
	return s
}

func newAccounts(t testing.TB, c AccountsConfig) *Accounts {
	t.Helper()
	if c.Verifier == nil {
		c.Verifier = newVerifier(t, password.Config{})
	}
	a, err := NewAccounts(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

// checks is how many passwords were checked, by how.
func checks(t testing.TB, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	return counts(t, r, "teamtalk_password_checks_total")
}

// counts is the values of a counter, by its only label.
func counts(t testing.TB, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]float64)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				found[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return found
}

// [TT-LOGIN-3] [TT-DIFF-3]
func TestAuthenticate(t *testing.T) {
	for _, tt := range []struct {
		name, user, sent string
		want             protocol.UserID // 0: refused
		how              string          // what the check costs; the same whoever is refused
	}{
		{"right", "alice", secret123456, 1, "argon2id"},
		{"right, upper case", "alice", strings.ToUpper(secret123456), 1, "argon2id"},
		{"wrong", "alice", password.Secret("12345"), 0, "argon2id"},
		{"typed instead of MD5", "alice", "123456", 0, "argon2id"},
		{"empty", "alice", "", 0, "argon2id"},
		{"legacy", "bob", secret123456, 2, "legacy"},
		{"legacy, wrong", "bob", password.Secret("12345"), 0, "decoy"},
		{"left", "carl", secret123456, 0, "decoy"},
		{"not in service", "emil", secret123456, 0, "decoy"},
		{"no password set", "dora", secret123456, 0, "decoy"},
		{"no password set, none sent", "dora", "", 0, "decoy"},
		{"unknown", "nobody", secret123456, 0, "decoy"},
		{"no name", "", secret123456, 0, "decoy"},
		{"injected", "alice' or '1'='1", secret123456, 0, "decoy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := prometheus.NewRegistry()
			v, err := password.NewVerifier(password.Config{Params: password.Params{MemoryKiB: 64, Passes: 1, Lanes: 1}, Registerer: r})
			if err != nil {
				t.Fatal(err)
			}
			a := newAccounts(t, AccountsConfig{Store: directory(t), Verifier: v})
			u, err := a.Authenticate(t.Context(), tt.user, tt.sent, addr(1))
			if u.ID != tt.want {
				t.Errorf("user %d, want %d (%v)", u.ID, tt.want, err)
			}
			if tt.want == 0 {
				wantCode(t, "refused", err, protocol.CodeUnauthenticated)
				if err.Error() != "用户名/密码错误" {
					t.Errorf("message %q", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			got := checks(t, r)
			if len(got) != 1 || got[tt.how] != 1 {
				t.Errorf("checked %v, want once by %s", got, tt.how)
			}
		})
	}
}

// [TT-LOGIN-11]
func TestRewrap(t *testing.T) {
	s := directory(t)
	r := prometheus.NewRegistry()
	a := newAccounts(t, AccountsConfig{Store: s, Registerer: r})
	legacy := s.hashes[2]
	login := func() {
		t.Helper()
		if u, err := a.Authenticate(t.Context(), "bob", secret123456, addr(1)); u.ID != 2 || err != nil {
			t.Fatal(u, err)
		}
	}
	login()
	set, ok := s.last().(*protocol.SetPassword)
	if !ok || set.User != 2 || set.If != legacy || !strings.HasPrefix(set.Hash, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("after a legacy login: %#v", s.last())
	}
	if s.hashes[2] != set.Hash {
		t.Error("not replaced")
	}
	login()
	if len(s.commands) != 1 {
		t.Errorf("%d commands after a second login", len(s.commands))
	}
	if n := counts(t, r, "teamtalk_passwords_rewrapped_total"); len(n) != 1 || n["done"] != 1 {
		t.Errorf("rewrapped: %v", n)
	}
}

// [TT-LOGIN-11]
func TestFailedRewrapLetsIn(t *testing.T) {
	s := directory(t)
	var log bytes.Buffer
	r := prometheus.NewRegistry()
	a := newAccounts(t, AccountsConfig{Store: s, Registerer: r, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.execute = func(protocol.Command) (any, error) {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "no leader")
	}
	for range 2 {
		if u, err := a.Authenticate(t.Context(), "bob", secret123456, addr(1)); u.ID != 2 || err != nil {
			t.Fatal(u, err)
		}
	}
	if n := counts(t, r, "teamtalk_passwords_rewrapped_total"); len(n) != 1 || n["failed"] != 2 {
		t.Errorf("rewrapped: %v", n)
	}
	if !strings.Contains(log.String(), "user=2") || strings.Contains(log.String(), salted1234) || strings.Contains(log.String(), secret123456) {
		t.Errorf("log: %s", log.String())
	}
}

// [TT-LOGIN-12]
func TestUndecided(t *testing.T) {
	s := directory(t)
	a := newAccounts(t, AccountsConfig{Store: s})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // undecided ones are no failures
		_, err := a.Authenticate(ctx, "alice", "wrong", addr(1))
		wantCode(t, "context over", err, protocol.CodeUnavailable)
	}
	s.broken = protocol.Errorf(protocol.CodeUnavailable, "closing")
	for range 20 {
		_, err := a.Authenticate(t.Context(), "alice", secret123456, addr(1))
		wantCode(t, "store broken", err, protocol.CodeUnavailable)
	}
	s.broken = errors.New("damaged")
	_, err := a.Authenticate(t.Context(), "alice", secret123456, addr(1))
	wantCode(t, "store damaged", err, protocol.CodeInternal)
	s.broken = nil
	if _, err := a.Authenticate(t.Context(), "alice", secret123456, addr(1)); err != nil {
		t.Error(err)
	}
}

// changing does something after each lookup, as if it happened while the password is checked.
type changing struct {
	*fakeStore
	lookups int
	after   func(lookups int)
}

func (s *changing) Login(name string) (protocol.User, string, error) {
	u, stored, err := s.fakeStore.Login(name)
	s.lookups++
	s.after(s.lookups)
	return u, stored, err
}

// [TT-LOGIN-3] [TT-LOGIN-11]
func TestChangedWhileChecked(t *testing.T) {
	hash := func(secret string) string {
		stored, err := newVerifier(t, password.Config{}).Hash(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	for _, tt := range []struct {
		name   string
		change func(s *fakeStore, lookups int)
		want   protocol.Code
	}{
		{"nothing", func(*fakeStore, int) {}, protocol.CodeUnspecified},
		{"disabled", func(s *fakeStore, _ int) {
			s.users[1] = protocol.User{ID: 1, Name: "alice", Status: protocol.StatusLeft}
		}, protocol.CodeUnauthenticated},
		{"another password", func(s *fakeStore, n int) {
			if n == 1 {
				s.hashes[1] = hash("another")
			}
		}, protocol.CodeUnauthenticated},
		{"the same password, wrapped anew", func(s *fakeStore, n int) {
			if n == 1 {
				s.hashes[1] = hash(secret123456)
			}
		}, protocol.CodeUnspecified},
		{"all the time", func(s *fakeStore, _ int) { s.hashes[1] = hash(secret123456) }, protocol.CodeUnavailable},
		{"store breaks", func(s *fakeStore, _ int) { s.broken = protocol.Errorf(protocol.CodeInternal, "damaged") }, protocol.CodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &changing{fakeStore: directory(t)}
			s.after = func(n int) { tt.change(s.fakeStore, n) }
			_, err := newAccounts(t, AccountsConfig{Store: s}).Authenticate(t.Context(), "alice", secret123456, addr(1))
			wantCode(t, "login", err, tt.want)
		})
	}
}

// TestAuthenticateSaysWhatWasRevoked: before the check the user had another epoch, but the password is still the one that
// was checked; so the newer epoch is his. One that is raised after that is not. [TT-SESS-7]
func TestAuthenticateSaysWhatWasRevoked(t *testing.T) {
	s := &changing{fakeStore: directory(t)}
	s.after = func(n int) {
		u := s.users[1]
		u.Revoked = protocol.Epoch(100 * n)
		s.users[1] = u
	}
	u, err := newAccounts(t, AccountsConfig{Store: s}).Authenticate(t.Context(), "alice", secret123456, addr(1))
	if err != nil || s.lookups != 2 || u.Revoked != 100 {
		t.Errorf("%d lookups, revoked %d, %v", s.lookups, u.Revoked, err)
	}
}

// [TT-LOGIN-6] [TT-DIFF-4]
func TestThrottleByNameAndAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		v, err := password.NewVerifier(password.Config{Params: password.Params{MemoryKiB: 64, Passes: 1, Lanes: 1}, Registerer: r})
		if err != nil {
			t.Fatal(err)
		}
		a := newAccounts(t, AccountsConfig{Store: directory(t), Verifier: v})
		login := func(name, sent string, from int) protocol.Code {
			_, err := a.Authenticate(t.Context(), name, sent, addr(from))
			if protocol.CodeOf(err) == protocol.CodeRateLimited && err.Error() != "用户名/密码错误次数太多" {
				t.Errorf("message %q", err)
			}
			return protocol.CodeOf(err)
		}
		want := func(what string, got, want protocol.Code) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		const wrong, limited, fine = protocol.CodeUnauthenticated, protocol.CodeRateLimited, protocol.CodeUnspecified
		for i := range 11 {
			want(fmt.Sprint("failure ", i+1), login("alice", "guess", 1), wrong)
			time.Sleep(time.Minute)
		}
		before := checks(t, r)
		want("after more than 10", login("alice", "guess", 1), limited)
		want("even with the right one", login("alice", secret123456, 1), limited)
		if after := checks(t, r); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("a throttled login was checked: %v, %v", before, after)
		}
		for range 3 { // asking is no attempt
			want("asked", protocol.CodeOf(a.Throttled("alice", addr(1))), limited)
			want("asked about elsewhere", protocol.CodeOf(a.Throttled("alice", addr(2))), fine)
			want("asked about another", protocol.CodeOf(a.Throttled("bob", addr(1))), fine)
		}
		want("alice from elsewhere", login("alice", secret123456, 2), fine)
		want("another name from there", login("bob", secret123456, 1), fine)
		time.Sleep(19*time.Minute - time.Second)
		want("half an hour after the first failure, nearly", login("alice", secret123456, 1), limited)
		time.Sleep(time.Second)
		want("half an hour after the first failure", login("alice", secret123456, 1), fine)
		for i := range 11 {
			want(fmt.Sprint("a success forgets, failure ", i+1), login("alice", "guess", 1), wrong)
		}
		want("again", login("alice", "guess", 1), limited)
		for i := range 11 {
			want(fmt.Sprint("unknown names, too, failure ", i+1), login("nobody", "guess", 1), wrong)
		}
		want("unknown names, too", login("nobody", "guess", 1), limited)
	})
}

// [TT-LOGIN-6]
func TestThrottleCountsThoseUnderWay(t *testing.T) {
	th := newThrottle(10, 1000, time.Hour, time.Now)
	var attempts []attempt
	for range 100 {
		if at, ok := th.admit("alice", addr(1)); ok {
			attempts = append(attempts, at)
		}
	}
	if len(attempts) != 11 {
		t.Fatalf("%d guesses at the same time", len(attempts))
	}
	if _, ok := th.admit("alice", addr(2)); !ok {
		t.Error("refused elsewhere")
	}
	attempts[0].succeeded()
	if _, ok := th.admit("alice", addr(1)); !ok {
		t.Error("refused after a success")
	}
	if _, ok := th.admit("alice", addr(1)); ok {
		t.Error("a success forgot those under way")
	}
	for _, at := range attempts[1:] {
		at.undecided()
	}
	if _, ok := th.admit("alice", addr(1)); !ok {
		t.Error("refused after all were given up")
	}
}

// [TT-LOGIN-6]
func TestThrottleByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(10, 100, 30*time.Minute, time.Now)
		fail := func(name string, from netip.Addr) bool {
			at, ok := th.admit(name, from)
			if ok {
				at.failed()
			}
			return ok
		}
		for i := range 100 {
			if !fail(fmt.Sprint("user", i), addr(1)) {
				t.Fatalf("refused after %d", i)
			}
		}
		if !th.blocks("user100", addr(1)) || th.blocks("user100", addr(2)) {
			t.Error("what is said is not what is done")
		}
		if fail("user100", addr(1)) {
			t.Error("spraying goes on")
		}
		if !fail("user100", addr(2)) {
			t.Error("refused elsewhere")
		}
		time.Sleep(19 * time.Second) // a hundredth of the window gives one back
		if !fail("user101", addr(1)) {
			t.Error("still refused")
		}
		if fail("user102", addr(1)) {
			t.Error("more than one given back")
		}
		six := netip.MustParseAddr("2001:db8::1")
		for i := range 100 {
			fail(fmt.Sprint("user", i), six)
		}
		if fail("user1", netip.MustParseAddr("2001:db8::ffff:1%eth0")) || !fail("user1", netip.MustParseAddr("2001:db8:0:1::1")) {
			t.Error("IPv6 is counted by network")
		}
		if fail("user100", netip.MustParseAddr("::ffff:10.0.0.1")) {
			t.Error("an IPv4 address in IPv6 form is another")
		}
	})
}

func TestThrottleMemoryIsBounded(t *testing.T) {
	th := newThrottle(10, 1000, time.Hour, time.Now)
	for i := range maxThrottledNames + 1000 {
		at, ok := th.admit(fmt.Sprint("user", i), addr(i))
		if !ok {
			t.Fatal("refused")
		}
		at.failed()
	}
	if n := len(th.names.entries); n > maxThrottledNames || n != th.names.order.Len() {
		t.Errorf("%d names, %d in order", n, th.names.order.Len())
	}
	if n := len(th.addrs.entries); n > maxThrottledAddrs {
		t.Errorf("%d addresses", n)
	}
	small := newThrottle(10, 1000, time.Hour, time.Now)
	for i := range 1000 {
		at, _ := small.admit(fmt.Sprint("user", i), netip.Addr{})
		at.succeeded()
	}
	if n := len(small.names.entries); n != 0 {
		t.Errorf("%d names remembered without a failure", n)
	}
}

// Many at once, some guessing: nobody else is hindered, and the store sees no password.
func TestAuthenticateConcurrently(t *testing.T) {
	s := directory(t)
	a := newAccounts(t, AccountsConfig{Store: s, Verifier: newVerifier(t, password.Config{Concurrency: 2})})
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if i%3 == 0 {
				_, err := a.Authenticate(t.Context(), "alice", "guess", addr(100))
				if c := protocol.CodeOf(err); c != protocol.CodeUnauthenticated && c != protocol.CodeRateLimited {
					t.Error(err)
				}
				return
			}
			name := []string{"alice", "bob"}[i%2]
			if _, err := a.Authenticate(t.Context(), name, secret123456, addr(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestNewAccountsRefuses(t *testing.T) {
	if _, err := NewAccounts(AccountsConfig{}); err == nil {
		t.Error("nothing given")
	}
	r := prometheus.NewRegistry()
	c := AccountsConfig{Store: newFakeStore(), Verifier: newVerifier(t, password.Config{}), Registerer: r}
	newAccounts(t, c)
	if _, err := NewAccounts(c); err == nil {
		t.Error("the same metrics twice")
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	a := newAccounts(b, AccountsConfig{Store: directory(b)})
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), "alice", secret123456, addr(1)); err != nil {
			b.Fatal(err)
		}
	}
}
