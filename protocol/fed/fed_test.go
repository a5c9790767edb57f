package fed

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"teamtalk/protocol"
)

var (
	here  = ClusterID{1, 2, 3}
	there = ClusterID{9, 8, 7}
)

func key(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func keysOf(keys ...ed25519.PrivateKey) Keys {
	known := Keys{}
	for _, k := range keys {
		public, _ := k.Public().(ed25519.PublicKey)
		known[KeyIDOf(public)] = public
	}
	return known
}

func said(text string) []byte {
	e := Event{ID: EventID{here, 7, 1, 0}, Time: 1000, Author: UserRef{here, 1}, To: UserRef{there, 2}}
	return e.Encode(TypeMessage, Message{Type: protocol.MsgSingleText, Data: []byte(text)})
}

func TestEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Event{ID: EventID{here, rapid.Uint64().Draw(t, "index"), rapid.Uint16().Draw(t, "place"), rapid.Uint64().Draw(t, "era")}, Time: protocol.Time(rapid.Int64().Draw(t, "time")),
			Author: UserRef{here, protocol.UserID(rapid.Uint32().Draw(t, "author"))}}
		body := Message{Type: protocol.MsgGroupText, Data: rapid.SliceOfN(rapid.Byte(), 1, 99).Draw(t, "data"), BurnAfter: rapid.Uint32().Draw(t, "burn"),
			ReplyTo: EventID{there, rapid.Uint64().Draw(t, "reply"), 0, 0}}
		if rapid.Bool().Draw(t, "to a group") {
			e.Group = GroupRef{there, 5}
		} else {
			e.To = UserRef{there, 6}
		}
		b := e.Encode(TypeMessage, body)
		if !bytes.Equal(b, e.Encode(TypeMessage, body)) {
			t.Fatal("the same event has two encodings")
		}
		got, err := DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		gotBody, err := BodyOf[Message](&got)
		if diff := cmp.Diff(e, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
		if diff := cmp.Diff(body, gotBody); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEventRefusals(t *testing.T) {
	change := func(f func(*Event)) []byte {
		e := Event{Version: EventVersion, Type: TypeMark, ID: EventID{here, 1, 0, 0}, Body: encode(Mark{})}
		f(&e)
		return encode(&e)
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"no id":           {change(func(e *Event) { e.ID = EventID{} }), "no id"},
		"no cluster":      {change(func(e *Event) { e.ID.Cluster = ClusterID{} }), "no id"},
		"newer":           {change(func(e *Event) { e.Version++ }), "version 2"},
		"nine bridges":    {change(func(e *Event) { e.Via = make([]string, 9) }), "9 bridges"},
		"two targets":     {change(func(e *Event) { e.To, e.Group = UserRef{here, 1}, GroupRef{here, 1} }), "to a user and to a group"},
		"cut off":         {said("x")[:20], "can't be read"},
		"something after": {append(said("x"), 0), "can't be read"},
		"huge":            {make([]byte, MaxEvent+1), "are allowed"},
	} {
		if _, err := DecodeEvent(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := DecodeEvent(change(func(*Event) {})); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
}

// TestSignatures: nothing that is signed stays good when it is changed, or is told to be something else [FED-SIG-1] [FED-SIG-2] [FED-IN-2].
func TestSignatures(t *testing.T) {
	s := Signer{here, key(1)}
	keys := keysOf(key(1), key(2))
	e := s.SignEvent(said("hello"))
	if err := e.Verify(here, keys); err != nil {
		t.Fatal(err)
	}
	b := Batch{Epoch: 3, Lane: 2, First: 10, Events: []SignedEvent{e, s.SignEvent(said("again"))}}
	s.SignBatch(&b, there)
	if err := b.Verify(here, there, keys); err != nil {
		t.Fatal(err)
	}
	r := Reject{Epoch: 3, Lane: 2, Sequence: 10, Code: protocol.CodeForbidden, Text: "no"}
	s.SignReject(&r, there)
	if err := r.Verify(here, there, keys); err != nil {
		t.Fatal(err)
	}
	event := func(f func(*SignedEvent)) error {
		c := SignedEvent{bytes.Clone(e.Event), e.Signature}
		f(&c)
		return c.Verify(here, keys)
	}
	batch := func(f func(*Batch)) error {
		c := b
		c.Events = []SignedEvent{{bytes.Clone(b.Events[0].Event), e.Signature}, b.Events[1]}
		f(&c)
		return c.Verify(here, there, keys)
	}
	reject := func(f func(*Reject)) error {
		c := r
		f(&c)
		return c.Verify(here, there, keys)
	}
	for name, err := range map[string]error{
		"event: a bit":              event(func(c *SignedEvent) { c.Event[9] ^= 1 }),
		"event: another's":          e.Verify(there, keys),
		"event: unknown key":        e.Verify(here, keysOf(key(2))),
		"event: key of another":     event(func(c *SignedEvent) { c.Signature.Key = KeyIDOf(key(2).Public().(ed25519.PublicKey)) }),
		"batch: another epoch":      batch(func(c *Batch) { c.Epoch++ }),
		"batch: another lane":       batch(func(c *Batch) { c.Lane++ }),
		"batch: another place":      batch(func(c *Batch) { c.First++ }),
		"batch: another order":      batch(func(c *Batch) { c.Events[0], c.Events[1] = c.Events[1], c.Events[0] }),
		"batch: one less":           batch(func(c *Batch) { c.Events = c.Events[:1] }),
		"batch: a bit of an event":  batch(func(c *Batch) { c.Events[0].Event[3] ^= 1 }),
		"batch: for another":        b.Verify(here, here, keys),
		"batch: from another":       b.Verify(there, there, keys),
		"batch: empty":              batch(func(c *Batch) { c.Events = nil }),
		"batch: of signals' lane":   batch(func(c *Batch) { c.Lane = LaneEphemeral }),
		"refusal: of another event": reject(func(c *Reject) { c.Sequence++ }),
		"refusal: another reason":   reject(func(c *Reject) { c.Text = "yes" }),
		"refusal: another code":     reject(func(c *Reject) { c.Code = protocol.CodeQuota }),
		"refusal: for another":      r.Verify(here, here, keys),
	} {
		if err == nil {
			t.Errorf("%s: still good", name)
		}
	}
}

// TestChain: whatever is changed in a link changes its hash [FED-SIG-3].
func TestChain(t *testing.T) {
	l := Link{Group: GroupRef{here, 5}, Seq: 4, Previous: sha256.Sum256([]byte("before")), Inner: sha256.Sum256([]byte("inner"))}
	for name, other := range map[string]Link{
		"group":    {GroupRef{here, 6}, l.Seq, l.Previous, l.Inner},
		"hub":      {GroupRef{there, 5}, l.Seq, l.Previous, l.Inner},
		"sequence": {l.Group, 5, l.Previous, l.Inner},
		"previous": {l.Group, l.Seq, l.Inner, l.Inner},
		"inner":    {l.Group, l.Seq, l.Previous, l.Previous},
	} {
		if other.Hash() == l.Hash() {
			t.Errorf("%s does not count", name)
		}
	}
}

func manifest() Manifest {
	m := Manifest{Cluster: here, Serial: 1, Domain: "hangzhou.example", Office: "Hangzhou", Versions: Current(), Endpoints: []string{"hz.example:8443"}}
	m.Root = [32]byte(key(9).Public().(ed25519.PublicKey))
	m.Keys = []LinkKey{{[32]byte(key(1).Public().(ed25519.PublicKey)), KeyActive}}
	return m
}

// TestManifest obeys [FED-ID-2].
func TestManifest(t *testing.T) {
	known := manifest()
	signed := SignManifest(&known, key(9))
	got, err := signed.Open()
	if diff := cmp.Diff(known, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	for name, f := range map[string]func(*Manifest){
		"no cluster":        func(m *Manifest) { m.Cluster = ClusterID{} },
		"no serial":         func(m *Manifest) { m.Serial = 0 },
		"no key":            func(m *Manifest) { m.Keys = nil },
		"two active keys":   func(m *Manifest) { m.Keys = append(m.Keys, m.Keys[0]) },
		"a domain in words": func(m *Manifest) { m.Domain = "Hang zhou" },
		"no office":         func(m *Manifest) { m.Office = "" },
		"many endpoints":    func(m *Manifest) { m.Endpoints = make([]string, 17) },
	} {
		m := manifest()
		f(&m)
		s := SignManifest(&m, key(9))
		if _, err := s.Open(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	forged := SignManifest(&known, key(8))
	if _, err := forged.Open(); err == nil {
		t.Error("a manifest signed by another key is taken")
	}
	newer, fork, other := known, known, known
	newer.Serial, fork.Office, other.Root = 2, "Elsewhere", [32]byte{1}
	for name, c := range map[string]struct {
		next, known Manifest
		same, ok    bool
	}{
		"newer": {newer, known, false, true}, "the same": {known, known, true, true}, "older": {known, newer, false, false},
		"fork": {fork, known, false, false}, "another root": {other, known, false, false},
	} {
		if err := c.next.Follows(&c.known, c.same); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a, b Versions
		want uint16
	}{{Versions{1, 1}, Versions{1, 1}, 1}, {Versions{1, 3}, Versions{2, 5}, 3}, {Versions{1, 1}, Versions{2, 2}, 0}, {Versions{4, 5}, Versions{1, 4}, 4}} {
		if got := c.a.Common(c.b); got != c.want {
			t.Errorf("%v and %v: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestInvitation: the proof is bound to the secret, both clusters and the manifest [FED-ON-3].
func TestInvitation(t *testing.T) {
	i := Invitation{Cluster: here, Root: FingerprintOf(manifest().Root), Endpoints: []string{"hz.example:8443"}, Secret: [32]byte{5}, Expires: 99, Domain: "hangzhou.example"}
	got, err := ParseInvitation("  " + i.Code() + "\n")
	if err != nil || !cmp.Equal(i, got) {
		t.Fatal(err, cmp.Diff(i, got))
	}
	for _, bad := range []string{"", "tt1-abc", i.Code()[:40], i.Code() + "!", invitationPrefix} {
		if _, err := ParseInvitation(bad); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	m := manifest()
	signed, forged := SignManifest(&m, key(9)), SignManifest(&m, key(8))
	proof := Prove(i.SecretHash(), here, there, &signed)
	if !ProofHolds(proof, Prove(got.SecretHash(), here, there, &signed)) {
		t.Error("the proof does not hold")
	}
	for _, other := range [][32]byte{Prove([32]byte{}, here, there, &signed), Prove(i.SecretHash(), there, here, &signed), Prove(i.SecretHash(), here, there, &forged)} {
		if ProofHolds(proof, other) {
			t.Error("the proof holds for something else")
		}
	}
}

func TestFingerprint(t *testing.T) {
	f := FingerprintOf([32]byte{1})
	if s := f.String(); len(s) != 29 || !f.Matches(strings.ToLower(s)) || !f.Matches(strings.ReplaceAll(s, "-", " ")) || f.Matches(s[:24]) || f.Matches("") {
		t.Error(s)
	}
	if f.Matches(FingerprintOf([32]byte{2}).String()) {
		t.Error("another one's matches")
	}
}

func TestClusterID(t *testing.T) {
	if got, err := ParseClusterID(here.String()); err != nil || got != here {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "0102", here.String() + "0", "zz020300-0000-0000-0000-000000000000"} {
		if _, err := ParseClusterID(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestLanes: conversations are spread over all lanes for messages, evenly.
func TestLanes(t *testing.T) {
	count := map[Lane]int{}
	const n = 8000
	for i := range uint32(n) {
		count[LaneOf(protocol.Conversation{Type: protocol.SessionSingle, A: 1 + i%100, B: 0x40000000 + i/100})]++
	}
	for l, c := range count {
		if l < LaneFirst || l > LaneLast || c < n/8/2 || c > n/8*2 {
			t.Errorf("lane %d: %d of %d", l, c, n)
		}
	}
	if len(count) != 8 {
		t.Errorf("%d lanes are used", len(count))
	}
}

func TestFrames(t *testing.T) {
	frames := []Frame{NewFrame(KindPing, Ping{1, 2}), NewFrame(KindAck, Ack{1, 2, 3}), NewFrame(KindHello, Hello{Destination: there})}
	var wire []byte
	for i := range frames {
		wire = frames[i].Append(wire)
	}
	r := bytes.NewReader(wire)
	for _, want := range frames {
		got, err := ReadFrame(r)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	}
	var ack Ack
	if err := frames[1].Into(&ack); err != nil || ack != (Ack{1, 2, 3}) {
		t.Error(ack, err)
	}
	for name, b := range map[string][]byte{"too long": {0x7f, 0, 0, 0}, "cut off": wire[:7], "not CBOR": {0, 0, 0, 1, 0xff}} {
		if _, err := ReadFrame(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzDecode: whatever comes is read or refused; what is read as an event reads the same when it is encoded anew.
func FuzzDecode(f *testing.F) {
	m := manifest()
	signed := SignManifest(&m, key(9))
	frame := NewFrame(KindHello, Hello{Manifest: signed, Destination: there})
	f.Add(said("hello"))
	f.Add(frame.Append(nil))
	f.Add(signed.Manifest)
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := DecodeEvent(b); err == nil {
			_, _ = BodyOf[Message](&e)
			_, _ = BodyOf[HubPost](&e)
			_, _ = BodyOf[GroupState](&e)
			if again, err := DecodeEvent(encode(&e)); err != nil || !bytes.Equal(encode(&e), encode(&again)) {
				t.Errorf("read %+v, then %+v: %v", e, again, err)
			}
		}
		if f, err := ReadFrame(bytes.NewReader(b)); err == nil {
			var hello Hello
			if f.Into(&hello) == nil {
				_, _ = hello.Manifest.Open()
			}
			var batch Batch
			if f.Into(&batch) == nil {
				_ = batch.Verify(here, there, nil)
			}
		}
		s := SignedManifest{Manifest: b}
		_, _ = s.Open()
		_, _ = ParseInvitation(invitationPrefix + string(b))
	})
}

// FuzzParseEventID: what is read is what is written.
func FuzzParseEventID(f *testing.F) {
	for _, e := range []EventID{{here, 7, 1, 0}, {there, 1 << 63, 65535, 1 << 42}} {
		f.Add(e.String())
		if got, err := ParseEventID(e.String()); err != nil || got != e {
			f.Errorf("%v became %v, %v", e, got, err)
		}
	}
	for _, bad := range []string{"", "7", "7.1", "7.1@", "7@" + here.String(), "7.65536@" + here.String(), "7.1~0@" + here.String(), "-7.1@" + here.String()} {
		if e, err := ParseEventID(bad); protocol.CodeOf(err) != protocol.CodeInvalid {
			f.Errorf("%q is %v, %v", bad, e, err)
		}
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEventID(s)
		if err != nil {
			return
		}
		if again, err := ParseEventID(e.String()); err != nil || again != e {
			t.Errorf("%q is %v, and that is %v, %v", s, e, again, err)
		}
	})
}
