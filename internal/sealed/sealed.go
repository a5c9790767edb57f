// Package sealed encrypts files with a passphrase, in the format of age (age-encryption.org/v1): what is written can be read by `age --decrypt`, too.
package sealed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// minPassphrase is how many bytes a passphrase has at least.
const minPassphrase = 12

// intro is how each such file begins.
const intro = "age-encryption.org/v1\n"

// NewWriter encrypts what is written, which is whole only if Close has no error; to is not closed.
func NewWriter(to io.Writer, passphrase string) (io.WriteCloser, error) {
	return newWriter(to, passphrase, work)
}

func newWriter(to io.Writer, passphrase string, work int) (io.WriteCloser, error) {
	if len(passphrase) < minPassphrase {
		return nil, fmt.Errorf("the passphrase has less than %d characters: whoever gets the file can try as many as he likes", minPassphrase)
	}
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	r.SetWorkFactor(work)
	w, err := age.Encrypt(to, r)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return w, nil
}

// Detect reports whether what is read from the given reader is encrypted; read on from the one returned.
func Detect(from io.Reader) (is bool, rest io.Reader, err error) {
	b := bufio.NewReader(from)
	head, err := b.Peek(len(intro))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, nil, err
	}
	return bytes.Equal(head, []byte(intro)), b, nil
}

// NewReader decrypts. Each byte that it returns was written so by whoever knows the passphrase, but only at the end is it certain that nothing is missing.
func NewReader(from io.Reader, passphrase string) (io.Reader, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	r, err := age.Decrypt(from, id)
	if wrong := (*age.NoIdentityMatchError)(nil); errors.As(err, &wrong) {
		return nil, errors.New("the passphrase is not the one of this file")
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return r, nil
}
