package authority

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var tokenKey = bytes.Repeat([]byte{7}, 32)

func newToken(t testing.TB, expires time.Time, addresses ...string) Token {
	t.Helper()
	tok, err := NewToken(tokenKey, addresses, Fingerprint{1, 2, 3}, expires)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestToken(t *testing.T) {
	now := time.Now()
	made := newToken(t, now.Add(time.Hour), "n1.example:7000", "[2001:db8::1]:7000")
	got, err := ParseToken(" " + made.Line() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got.Addresses, " ") != "n1.example:7000 [2001:db8::1]:7000" || got.Root != made.Root || !got.Expires.Equal(made.Expires) || got.ID() != made.ID() {
		t.Errorf("got %+v, want %+v", got, made)
	}
	if err := got.Verify(tokenKey, now); err != nil {
		t.Error(err)
	}
	if err := got.Verify(tokenKey, now.Add(time.Hour)); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("an hour later: %v", err)
	}
	for _, key := range [][]byte{bytes.Repeat([]byte{8}, 32), nil, tokenKey[:31]} {
		if err := got.Verify(key, now); !errors.Is(err, ErrTokenForged) {
			t.Errorf("under another key: %v", err)
		}
	}
	if other := newToken(t, now.Add(time.Hour), "n1.example:7000"); other.ID() == made.ID() {
		t.Error("two tokens have the same id")
	}
	for _, text := range []string{made.String(), fmt.Sprintf("%v", made)} {
		if strings.Contains(text, made.Line()) || strings.Contains(text, base64.RawURLEncoding.EncodeToString(made.mac[:])) {
			t.Errorf("%q shows the secret", text)
		}
	}
}

// Whatever one byte is turned into, the token is no longer one.
func TestBentTokens(t *testing.T) {
	now := time.Now()
	line := newToken(t, now.Add(time.Hour), "n1:7000").Line()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(line, tokenPrefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			bent := bytes.Clone(raw)
			bent[i] ^= bit
			tok, err := ParseToken(tokenPrefix + base64.RawURLEncoding.EncodeToString(bent))
			if err == nil && tok.Verify(tokenKey, now) == nil {
				t.Errorf("bit %02x of byte %d makes no difference", bit, i)
			}
		}
	}
	for _, bad := range []string{"", "tt1-", "tt2-" + line[4:], line[:len(line)-1], line + "AAAA", line[4:], line + "=", line[:20] + "\n" + line[20:], tokenPrefix + strings.Repeat("A", 5000)} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestTokensThatCantBeMade(t *testing.T) {
	in := time.Now().Add(time.Hour)
	for name, addresses := range map[string][]string{"none": nil, "no port": {"n1"}, "no host": {":7000"}, "long": {strings.Repeat("n", 300) + ":1"},
		"many": strings.Split(strings.Repeat("n:1 ", 8)+"n:1", " ")} {
		if _, err := NewToken(tokenKey, addresses, Fingerprint{}, in); err == nil {
			t.Errorf("addresses %s: made", name)
		}
	}
	if _, err := NewToken(tokenKey[:16], []string{"n:1"}, Fingerprint{}, in); err == nil {
		t.Error("made under a short key")
	}
	if _, err := NewToken(tokenKey, []string{"n:1"}, Fingerprint{}, time.Time{}); err == nil {
		t.Error("made for the year 1")
	}
}

// FuzzToken: no input does harm, and what is read is written the same way again.
func FuzzToken(f *testing.F) {
	f.Add(newToken(f, time.Now().Add(time.Hour), "n1:7000", "n2:7000").Line())
	f.Add("tt1-")
	f.Add("tt1-AAAA")
	f.Fuzz(func(t *testing.T, line string) {
		tok, err := ParseToken(line)
		if err != nil {
			return
		}
		if tok.Line() != strings.TrimSpace(line) {
			t.Errorf("read from %q, written as %q", line, tok.Line())
		}
		if err := tok.Verify(tokenKey, time.Unix(0, 0)); err == nil && tok.sum(tokenKey) != tok.mac {
			t.Error("a forged token was taken")
		}
	})
}
