package password

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"teamtalk/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap keeps tests quick; the algorithm is the same.
func cheap() Params { return Params{MemoryKiB: 64, Passes: 1, Lanes: 1} }

const (
	secret123456 = "e10adc3949ba59abbe56e057f20f883e" // MD5 of 123456
	salted1234   = "b605e86d02eef8bfd0646f6a704c17c9" // MD5 of that and 1234
)

func newVerifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	if c.Params == (Params{}) {
		c.Params = cheap()
	}
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// counted makes v count its computations.
func counted(v *Verifier) *atomic.Int64 {
	var n atomic.Int64
	derive := v.derive
	v.derive = func(secret string, salt []byte, p Params, size uint32) argonHash {
		n.Add(1)
		return derive(secret, salt, p, size)
	}
	return &n
}

func mustHash(t testing.TB, v *Verifier, secret string) string {
	t.Helper()
	stored, err := v.Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func mustLegacy(t testing.TB, salt, hash string) string {
	t.Helper()
	stored, err := Legacy(salt, hash)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func TestVectors(t *testing.T) {
	if got := Secret("123456"); got != secret123456 {
		t.Errorf("Secret(123456) = %s", got)
	}
	if got := Secret(secret123456 + "1234"); got != salted1234 {
		t.Errorf("salted: %s", got)
	}
	if got := mustLegacy(t, "1234", strings.ToUpper(salted1234)); got != "md5$1234$"+salted1234 {
		t.Errorf("legacy form: %s", got)
	}
	// A vector of the Argon2 reference program's own tests.
	const stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	for secret, want := range map[string]bool{"password": true, "Password": false} {
		if got, err := newVerifier(t, Config{}).Check(t.Context(), stored, secret); got != want || err != nil {
			t.Errorf("argon2id of %q: %v, %v", secret, got, err)
		}
	}
}

// [TT-LOGIN-3] [TT-LOGIN-11]
func TestCheck(t *testing.T) {
	v := newVerifier(t, Config{MemoryEntries: -1})
	argon := mustHash(t, v, secret123456)
	typed := mustHash(t, v, "as typed, no MD5")
	legacy := mustLegacy(t, "1234", salted1234)
	unsalted := mustLegacy(t, "", Secret(secret123456))
	for _, tt := range []struct {
		name, stored, sent string
		want               bool
		computations       int64
	}{
		{"argon2id", argon, secret123456, true, 1},
		{"argon2id, upper case", argon, strings.ToUpper(secret123456), true, 1},
		{"argon2id, wrong", argon, Secret("12345"), false, 1},
		{"argon2id, typed instead of MD5", argon, "123456", false, 1},
		{"argon2id, empty", argon, "", false, 1},
		{"no MD5, as it came", typed, "as typed, no MD5", true, 1},
		{"no MD5, other case", typed, "As typed, no MD5", false, 1},
		{"legacy", legacy, secret123456, true, 0},
		{"legacy, upper case", legacy, strings.ToUpper(secret123456), true, 0},
		{"legacy, wrong costs as much", legacy, Secret("12345"), false, 1},
		{"legacy, the stored hash sent", legacy, salted1234, false, 1},
		{"legacy, no salt", unsalted, secret123456, true, 0},
		{"nothing stored costs as much", "", secret123456, false, 1},
		{"nothing stored, nothing sent", "", "", false, 1},
		{"damaged costs as much", argon[:len(argon)-1], secret123456, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := counted(v)
			got, err := v.Check(t.Context(), tt.stored, tt.sent)
			if err != nil || got != tt.want {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
			if n.Load() != tt.computations {
				t.Errorf("%d computations, want %d", n.Load(), tt.computations)
			}
		})
	}
}

func TestHashesDiffer(t *testing.T) {
	v := newVerifier(t, Config{})
	if a, b := mustHash(t, v, secret123456), mustHash(t, v, secret123456); a == b {
		t.Errorf("two users with one password share %s", a)
	}
}

// [TT-LOGIN-11]
func TestOutdated(t *testing.T) {
	v := newVerifier(t, Config{Params: Params{MemoryKiB: 64, Passes: 2, Lanes: 1}})
	lower := newVerifier(t, Config{Params: Params{MemoryKiB: 64, Passes: 1, Lanes: 1}})
	higher := newVerifier(t, Config{Params: Params{MemoryKiB: 128, Passes: 2, Lanes: 1}})
	for _, tt := range []struct {
		name, stored string
		want         bool
	}{
		{"legacy", mustLegacy(t, "1", salted1234), true},
		{"own", mustHash(t, v, "x"), false},
		{"lower costs", mustHash(t, lower, "x"), true},
		{"higher costs", mustHash(t, higher, "x"), false},
		{"none", "", false},
	} {
		if got := v.Outdated(tt.stored); got != tt.want {
			t.Errorf("%s: outdated %v", tt.name, got)
		}
	}
}

func TestMemoryOfVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Config{MemoryTTL: time.Hour})
		fresh := newVerifier(t, Config{})
		one, other := mustHash(t, fresh, secret123456), mustHash(t, fresh, secret123456)
		n := counted(v)
		check := func(what, stored, sent string, want bool, computations int64) {
			t.Helper()
			n.Store(0)
			if got, err := v.Check(t.Context(), stored, sent); got != want || err != nil {
				t.Errorf("%s: %v, %v", what, got, err)
			}
			if n.Load() != computations {
				t.Errorf("%s: %d computations, want %d", what, n.Load(), computations)
			}
		}
		check("first time", one, secret123456, true, 1)
		check("again", one, secret123456, true, 0)
		check("again in upper case", one, strings.ToUpper(secret123456), true, 0)
		check("wrong is never remembered", one, "wrong", false, 1)
		check("wrong again", one, "wrong", false, 1)
		check("same password, other stored form", other, secret123456, true, 1)
		time.Sleep(time.Hour - time.Second)
		check("shortly before the end", one, secret123456, true, 0)
		time.Sleep(time.Second)
		check("after its time, used or not", one, secret123456, true, 1)
	})
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(3, time.Hour, time.Now)
	proofs := make([]proof, 0, 5)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		proofs = append(proofs, m.prove("stored", s))
	}
	for _, p := range proofs[:3] {
		m.add(p)
	}
	m.holds(proofs[0]) // now b is the least recently used
	m.add(proofs[3])
	m.add(proofs[4])
	for i, want := range []bool{true, false, false, true, true} {
		if m.holds(proofs[i]) != want {
			t.Errorf("proof %d: held %v", i, !want)
		}
	}
	if m.size() != 3 {
		t.Errorf("%d entries", m.size())
	}
	if m.prove("ab", "c") == m.prove("a", "bc") {
		t.Error("the border between stored form and secret is lost")
	}
	if other := newMemory(3, time.Hour, time.Now); other.prove("stored", "a") == proofs[0] {
		t.Error("two processes share a key")
	}
}

// gated makes the computations of v wait for a token from the channel, and records how many ran at once.
func gated(v *Verifier) (gate chan struct{}, running, peak *atomic.Int64) {
	gate, running, peak = make(chan struct{}), new(atomic.Int64), new(atomic.Int64)
	derive := v.derive
	v.derive = func(secret string, salt []byte, p Params, size uint32) argonHash {
		now := running.Add(1)
		defer running.Add(-1)
		for was := peak.Load(); now > was && !peak.CompareAndSwap(was, now); was = peak.Load() {
		}
		<-gate
		return derive(secret, salt, p, size)
	}
	return gate, running, peak
}

func TestConcurrencyIsBounded(t *testing.T) {
	const bound, callers = 3, 40
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Config{Concurrency: bound})
		stored := mustHash(t, newVerifier(t, Config{}), secret123456)
		gate, _, peak := gated(v)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				switch i % 3 {
				case 0:
					if _, err := v.Hash(t.Context(), "x"); err != nil {
						t.Error(err)
					}
				case 1:
					if ok, err := v.Check(t.Context(), stored, "wrong"); ok || err != nil {
						t.Error(ok, err)
					}
				default:
					if ok, err := v.Check(t.Context(), "", "unknown user"); ok || err != nil {
						t.Error(ok, err)
					}
				}
			})
		}
		synctest.Wait()
		if peak.Load() != bound {
			t.Errorf("%d run, want %d", peak.Load(), bound)
		}
		close(gate)
		wg.Wait()
		if peak.Load() != bound {
			t.Errorf("%d ran at once, bound %d", peak.Load(), bound)
		}
	})
}

// A storm of reconnecting users must neither pay for argon2id nor wait behind those who do.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Config{Concurrency: 1})
		stored := mustHash(t, newVerifier(t, Config{}), secret123456)
		known := mustHash(t, v, secret123456) // remembered
		n := counted(v)
		gate, running, _ := gated(v)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if ok, err := v.Check(t.Context(), stored, secret123456); !ok || err != nil {
					t.Error(ok, err)
				}
			})
		}
		synctest.Wait()
		if running.Load() != 1 {
			t.Fatalf("%d running", running.Load())
		}
		if ok, err := v.Check(t.Context(), known, secret123456); !ok || err != nil {
			t.Errorf("a remembered one while all slots are taken: %v, %v", ok, err)
		}
		close(gate)
		wg.Wait()
		if n.Load() != 1 {
			t.Errorf("%d computations for 100 logins with one password", n.Load())
		}
	})
}

func TestWaitingEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Config{Concurrency: 1})
		gate, _, _ := gated(v)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = v.Hash(t.Context(), "x") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, stored := range []string{"", mustHash(t, newVerifier(t, Config{}), "y")} {
			if ok, err := v.Check(ctx, stored, "y"); ok || protocol.CodeOf(err) != protocol.CodeUnavailable {
				t.Errorf("got %v, %v", ok, err)
			}
		}
		if _, err := v.Hash(ctx, "y"); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("got %v", err)
		}
		close(gate)
		wg.Wait()
	})
}

func TestParseRefuses(t *testing.T) {
	const salt, hash = "c29tZXNhbHQ", "RdescudvJCsgt3ub+b+dWRWJTmaaJObG"
	if err := Validate("$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + hash); err != nil {
		t.Errorf("the good one: %v", err)
	}
	for _, s := range []string{
		"plain", "$argon2id$", "md5$", "md5$1$", "md5$$" + salted1234[1:], "md5$a b$" + salted1234, "md5$1$2$" + salted1234,
		"md5$1$" + strings.ToUpper(salted1234), "md5$" + strings.Repeat("1", 33) + "$" + salted1234,
		"$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=64,t=1$" + salt + "$" + hash,
		"$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=-64,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=64,t=1000,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + hash,
		"$argon2id$v=19$m=64,t=1,p=257$" + salt + "$" + hash,
		"$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + hash,
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdA$" + hash,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "=$" + hash,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$c2FsdA",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + hash + "$",
	} {
		if Validate(s) == nil {
			t.Errorf("%q was accepted", s)
		}
	}
	if Validate("") != nil {
		t.Error("no password was refused")
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	for _, p := range []Params{{64, 1, 0}, {64, 0, 1}, {7, 1, 1}, {1 << 21, 1, 1}, {64, 65, 1}, {1 << 10, 1, 17}} {
		if _, err := NewVerifier(Config{Params: p}); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
	r := prometheus.NewRegistry()
	if _, err := NewVerifier(Config{Registerer: r}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewVerifier(Config{Registerer: r}); err == nil {
		t.Error("the same metrics twice")
	}
	v := newVerifier(t, Config{})
	if v.Concurrency() < 1 {
		t.Errorf("concurrency %d", v.Concurrency())
	}
}

func FuzzStored(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG")
	f.Add("md5$1234$" + salted1234)
	f.Add("md5$$" + salted1234)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseArgon(s)
		if err == nil {
			if a.String() != s || a.params.Validate() != nil {
				t.Errorf("%q reads as %+v", s, a)
			}
		}
		l, ok := parseLegacy(s)
		if ok {
			if again, err := Legacy(l.salt, l.hash); again != s || err != nil {
				t.Errorf("%q reads as %+v", s, l)
			}
		}
		if valid := Validate(s) == nil; valid != (err == nil || ok || s == "") {
			t.Errorf("%q valid: %v", s, valid)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, Config{Params: DefaultParams()})
	stored := mustHash(b, newVerifier(b, Config{Params: DefaultParams()}), secret123456)
	b.Run("memory", func(b *testing.B) {
		if ok, err := v.Check(b.Context(), stored, secret123456); !ok || err != nil {
			b.Fatal(ok, err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if ok, _ := v.Check(b.Context(), stored, secret123456); !ok {
				b.Fatal("refused")
			}
		}
	})
	b.Run("argon2id", func(b *testing.B) {
		for b.Loop() {
			if ok, _ := v.Check(b.Context(), stored, "wrong"); ok {
				b.Fatal("accepted")
			}
		}
	})
	legacy := mustLegacy(b, "1234", salted1234)
	b.Run("legacy", func(b *testing.B) {
		for b.Loop() {
			if ok, _ := v.Check(b.Context(), legacy, secret123456); !ok {
				b.Fatal("refused")
			}
		}
	})
}
