package sealed

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

const passphrase = "correct horse battery"

func seal(t *testing.T, text string) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := newWriter(&file, passphrase, 10) // cheap
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func open(b []byte, with string) (string, error) {
	r, err := NewReader(bytes.NewReader(b), with)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestSealed(t *testing.T) {
	text := strings.Repeat("all that is secret", 10_000) // several chunks
	file := seal(t, text)
	if bytes.Contains(file, []byte("secret")) {
		t.Error("it can be read")
	}
	is, rest, err := Detect(bytes.NewReader(file))
	if err != nil || !is {
		t.Fatalf("detected: %t, %v", is, err)
	}
	all, err := io.ReadAll(rest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := open(all, passphrase); err != nil || got != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := open(file, "another passphrase"); err == nil || !strings.Contains(err.Error(), "is not the one of this file") {
		t.Errorf("with another passphrase: %v", err)
	}
	if _, err := open(file[:len(file)-1], passphrase); err == nil {
		t.Error("the last byte is not missed")
	}
	if _, err := open(file[:len(file)-len(text)%(64<<10)-32], passphrase); err == nil { // between chunks
		t.Error("the last chunk is not missed")
	}
	file[len(file)/2] ^= 1
	if _, err := open(file, passphrase); err == nil {
		t.Error("a changed bit is not noticed")
	}
}

func TestDetectPlain(t *testing.T) {
	for _, text := range []string{"", "x", "age-encryption.org/v2\nwhatever", strings.Repeat("x", 10_000)} {
		is, rest, err := Detect(strings.NewReader(text))
		if err != nil || is {
			t.Fatalf("%.30q: %t, %v", text, is, err)
		}
		if all, err := io.ReadAll(rest); err != nil || string(all) != text {
			t.Errorf("%.30q: something is lost: %v", text, err)
		}
	}
}

func TestShortPassphrase(t *testing.T) {
	if _, err := NewWriter(io.Discard, "12345678901"); err == nil || !strings.Contains(err.Error(), "less than 12") {
		t.Errorf("%v", err)
	}
}
