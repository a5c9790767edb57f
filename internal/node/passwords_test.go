package node

import (
	"reflect"
	"testing"
	"time"

	"teamtalk/service/password"
)

func FuzzProofs(f *testing.F) {
	f.Add(encodeProofs(proofsFresh, []password.Proof{{Sum: [32]byte{1}, Left: time.Hour}, {Sum: [32]byte{2}, Left: 1500 * time.Millisecond}}))
	f.Add(encodeProofs(proofsKnown, nil))
	f.Add([]byte{proofsForm + 1, proofsKnown})
	f.Add(make([]byte, proofsHead+(proofsMost+1)*proofBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		what, proofs, err := decodeProofs(b)
		if err != nil {
			return
		}
		if len(proofs) > proofsMost {
			t.Fatalf("%d proofs", len(proofs))
		}
		if what2, again, err := decodeProofs(encodeProofs(what, proofs)); err != nil || what2 != what || len(again) != len(proofs) {
			t.Errorf("%d: %v came back as %d: %v, %v", what, proofs, what2, again, err)
		}
	})
}

// What is told of a proof is never more than it is good for.
func TestProofsOnTheWire(t *testing.T) {
	sent := []password.Proof{{Sum: [32]byte{1}, Left: 24 * time.Hour}, {Sum: [32]byte{2}, Left: 1999 * time.Millisecond}, {Sum: [32]byte{3}, Left: time.Millisecond}}
	what, got, err := decodeProofs(encodeProofs(proofsKnown, sent))
	want := []password.Proof{{Sum: [32]byte{1}, Left: 24 * time.Hour}, {Sum: [32]byte{2}, Left: time.Second}, {Sum: [32]byte{3}}}
	if err != nil || what != proofsKnown || !reflect.DeepEqual(got, want) {
		t.Errorf("%d: %v, %v", what, got, err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "another form": {2, 1}, "half a proof": append([]byte{proofsForm, proofsFresh}, make([]byte, 20)...),
		"too many": append([]byte{proofsForm, proofsFresh}, make([]byte, (proofsMost+1)*proofBytes)...)} {
		if _, _, err := decodeProofs(b); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	// The links of nodes that come and go: each one that is there is owed once.
	p := newPasswords(nil, nil, nil)
	p.link("n2", true)
	p.link("n3", true)
	p.link("n2", true)
	p.link("n3", false)
	if peer, ok := p.next(); !ok || peer != "n2" {
		t.Errorf("%s, %t", peer, ok)
	}
	if peer, ok := p.next(); ok {
		t.Errorf("%s is owed something", peer)
	}
}
