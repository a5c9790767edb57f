package password

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// sharing is a verifier that shares its proofs under the key.
func sharing(t *testing.T, c Config, key string) (*Verifier, <-chan struct{}) {
	t.Helper()
	v := newVerifier(t, c)
	fresh := v.Share([]byte(key))
	return v, fresh
}

// costs is how many computations a check of a right password costs.
func costs(t *testing.T, v *Verifier, stored, secret string) int64 {
	t.Helper()
	derive := v.derive
	defer func() { v.derive = derive }()
	n := counted(v)
	if ok, err := v.Check(t.Context(), stored, secret); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return n.Load()
}

// A password that one has verified costs the other nothing, whether it is told at once or later; one that was changed since costs both.
func TestProofsAreShared(t *testing.T) {
	first, fresh := sharing(t, Config{}, "cluster")
	stored := mustHash(t, newVerifier(t, Config{}), secret123456)
	if costs(t, first, stored, secret123456) != 1 {
		t.Fatal("the first check is to cost something")
	}
	select {
	case <-fresh:
	default:
		t.Fatal("nothing says that there is something to tell")
	}
	told, lost := first.Fresh()
	if len(told) != 1 || lost != 0 || len(first.Held()) != 1 {
		t.Fatalf("told %d, lost %d, held %d", len(told), lost, len(first.Held()))
	}
	if again, _ := first.Fresh(); len(again) != 0 {
		t.Errorf("%d are told twice", len(again))
	}
	second, silent := sharing(t, Config{}, "cluster")
	if n := second.Learn(told, true); n != 1 || second.Learn(told, true) != 0 {
		t.Errorf("%d were new", n)
	}
	late, _ := sharing(t, Config{}, "cluster")
	late.Learn(first.Held(), false)
	stranger, _ := sharing(t, Config{}, "another cluster")
	stranger.Learn(told, true)
	for v, want := range map[*Verifier]int64{second: 0, late: 0, stranger: 1} {
		if got := costs(t, v, stored, secret123456); got != want {
			t.Errorf("a check costs %d, want %d", got, want)
		}
	}
	select {
	case <-silent:
		t.Error("what was learnt is told again")
	default:
	}
	if ok, err := second.Check(t.Context(), stored, "wrong"); ok || err != nil {
		t.Errorf("another secret: %v, %v", ok, err)
	}
	changed := mustHash(t, newVerifier(t, Config{}), secret123456) // the same password even, set again
	if costs(t, second, changed, secret123456) != 1 || costs(t, first, changed, secret123456) != 1 {
		t.Error("a changed password is taken for verified")
	}
	if ok, err := second.Check(t.Context(), "", secret123456); ok || err != nil {
		t.Errorf("a user who is gone: %v, %v", ok, err)
	}
}

// Being told does not prolong anything, however often, and nobody believes in more time than one gives oneself.
func TestToldProofsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, _ := sharing(t, Config{MemoryTTL: time.Hour}, "k")
		second, _ := sharing(t, Config{MemoryTTL: 2 * time.Hour}, "k")
		stored := mustHash(t, newVerifier(t, Config{}), secret123456)
		costs(t, first, stored, secret123456)
		for range 5 {
			time.Sleep(10 * time.Minute)
			second.Learn(first.Held(), false)
			first.Learn(second.Held(), true)
		}
		if costs(t, second, stored, secret123456) != 0 {
			t.Error("forgotten too early")
		}
		time.Sleep(10 * time.Minute)
		if n := len(first.Held()) + len(second.Held()); n != 0 {
			t.Errorf("%d told that have expired", n)
		}
		if costs(t, second, stored, secret123456) != 1 {
			t.Error("remembered too long")
		}
		short, _ := sharing(t, Config{MemoryTTL: time.Minute}, "k")
		short.Learn(second.Held(), true)
		time.Sleep(time.Minute)
		if n := len(short.Held()); n != 0 {
			t.Error("another one's time was believed")
		}
		if n := short.Learn([]Proof{{Left: 0}, {Left: -time.Second}}, true); n != 0 {

			t.Errorf("%d remembered that are not good any more", n)
		}
	})
}

// What another one knows does not push out what is used here; what it verified just now pushes out what was used least recently.
func TestLearntProofsAreBounded(t *testing.T) {
	v, _ := sharing(t, Config{MemoryEntries: 3}, "k")
	stored := make([]string, 2)
	for i := range stored {
		stored[i] = mustHash(t, v, fmt.Sprint(i))
	}
	many := make([]Proof, 10)
	for i := range many {
		many[i] = Proof{Sum: [32]byte{byte(i + 1)}, Left: time.Hour}
	}
	if n := v.Learn(many, false); n != 1 || v.memory.size() != 3 {
		t.Errorf("%d learnt, %d held", n, v.memory.size())
	}
	if held := v.Held(); held[2].Sum != many[0].Sum {
		t.Errorf("the other one's last used is not what was learnt: %v", held[2].Sum[0])
	}
	for i := range stored {
		if costs(t, v, stored[i], fmt.Sprint(i)) != 0 {
			t.Errorf("password %d was pushed out", i)
		}
	}
	v.Learn(many[1:2], true)
	if held := v.Held(); len(held) != 3 || held[0].Sum != many[1].Sum || held[2].Sum == many[0].Sum {
		t.Error("a recent one does not take the place of the least recently used")
	}
	none, fresh := sharing(t, Config{MemoryEntries: -1}, "k")
	if fresh != nil || none.Learn(many, true) != 0 || len(none.Held()) != 0 {
		t.Error("one that is to remember nothing does")
	}
	alone := newVerifier(t, Config{})
	mustHash(t, alone, "x")
	if proofs, lost := alone.Fresh(); len(proofs) != 0 || lost != 0 {
		t.Error("one that shares nothing collects")
	}
	v, _ = sharing(t, Config{}, "k")
	for i := range maxUntold + 7 {
		v.memory.add(proof{byte(i), byte(i >> 8)})
	}
	if proofs, lost := v.Fresh(); len(proofs) != maxUntold || lost != 7 {
		t.Errorf("%d told, %d lost", len(proofs), lost)
	}
}
