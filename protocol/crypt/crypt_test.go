package crypt_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"teamtalk/protocol/crypt"
)

func vectors() []struct{ text, data string } {
	return []struct{ text, data string }{
		{"hello", "nnZSBwfPCz60q69ddmfIJA=="},
		{"0123456789abcdef", "BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g="},
		{"123456789012", "qRbX2o2N6/0vxpOpQhCOOg=="},
		{"1234567890123", "ovYKzOY+0lEFsnZlqUWIQAr+GZ43+2mMfQMFqTsGBjY="},
		{"[语音]", "QhGXlpFjvMFUNrtl1aaPzA=="},
	}
}

func newCipher(t testing.TB) *crypt.Cipher {
	t.Helper()
	c, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// [TT-CRYPT-1]
func TestVectors(t *testing.T) {
	c := newCipher(t)
	for _, v := range vectors() {
		if got := string(c.Encrypt(v.text)); got != v.data {
			t.Errorf("%q encrypted is %s, want %s", v.text, got, v.data)
		}
		if got, err := c.Decrypt([]byte(v.data)); err != nil || got != v.text {
			t.Errorf("%s decrypted is %q, %v; want %q", v.data, got, err, v.text)
		}
	}
}

// One more block when fewer than four bytes of the last one are free [TT-CRYPT-1].
func TestBlocks(t *testing.T) {
	c := newCipher(t)
	for n, blocks := range map[int]int{0: 1, 1: 1, 12: 1, 13: 2, 15: 2, 16: 2, 17: 2, 28: 2, 29: 3, 32: 3} {
		data := c.Encrypt(strings.Repeat("a", n))
		if want := (16*blocks + 2) / 3 * 4; len(data) != want {
			t.Errorf("%d bytes of text: %d of data, want %d", n, len(data), want)
		}
	}
}

// White space in base64 is skipped [TT-CRYPT-2].
func TestDecryptSkipsWhiteSpace(t *testing.T) {
	got, err := newCipher(t).Decrypt([]byte("\nnnZSBwfP\r\n Cz60q\t69ddmfIJA=\v=\f\n"))
	if err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// [TT-CRYPT-2]
func TestDecryptRefuses(t *testing.T) {
	c := newCipher(t)
	for _, bad := range []struct {
		name, data string
		want       error
	}{
		{"nothing", "", crypt.ErrBlocks},
		{"only white space", " \n", crypt.ErrBlocks},
		{"plain text", "PLAIN unencrypted text!", crypt.ErrBase64},
		{"plain text that is base64", "PLAIN unencrypted text", crypt.ErrBlocks},
		{"base64 of text", "aGVsbG8=", crypt.ErrBlocks},
		{"cut padding", "nnZSBwfPCz60q69ddmfIJA", crypt.ErrBase64},
		{"another key", "AAAAAAAAAAAAAAAAAAAAAA==", crypt.ErrLength},
		{"blocks in another order", "B9To4Ht+my9mHoY/d1gH2AWNcGTk/ST5Y3BOajY8PXE=", crypt.ErrLength},
	} {
		t.Run(bad.name, func(t *testing.T) {
			if got, err := c.Decrypt([]byte(bad.data)); !errors.Is(err, bad.want) || got != "" {
				t.Errorf("%q, %v; want %v", got, err, bad.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	for _, key := range []string{"", "short", crypt.DefaultKey + "3"} {
		if _, err := crypt.New(key); !errors.Is(err, crypt.ErrKey) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
	other, err := crypt.New(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	data := other.Encrypt("hello")
	if got, err := other.Decrypt(data); err != nil || got != "hello" {
		t.Errorf("with its own key: %q, %v", got, err)
	}
	if got, err := newCipher(t).Decrypt(data); err == nil {
		t.Errorf("with another key: %q", got)
	}
}

func TestRoundTrip(t *testing.T) {
	c := newCipher(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 5000), func(b []byte) string { return string(b) })).Draw(t, "text")
		if got, err := c.Decrypt(c.Encrypt(text)); err != nil || got != text {
			t.Fatalf("%q came back as %q, %v", text, got, err)
		}
	})
}

// FuzzDecrypt reads anything; what it reads as a text is one again after encryption.
func FuzzDecrypt(f *testing.F) {
	for _, v := range vectors() {
		f.Add([]byte(v.data))
	}
	f.Add([]byte("PLAIN unencrypted text"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newCipher(t)
		text, err := c.Decrypt(data)
		if err != nil {
			return
		}
		if again, err := c.Decrypt(c.Encrypt(text)); err != nil || again != text {
			t.Fatalf("%q came back as %q, %v", text, again, err)
		}
	})
}
