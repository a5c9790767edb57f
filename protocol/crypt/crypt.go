// Package crypt is the cipher of message texts: what clients put into the data
// of a text message, and what the server reads only to show a notification.
// The key is the same in every client, so it hides nothing from anybody; it
// is a format, not a protection. The rules are in docs/PROTOCOL.md, section
// Message text.
package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// DefaultKey is the key in the clients that exist.
const DefaultKey = "12345678901234567890123456789012"

const (
	keyLen    = 32 // AES-256
	lengthLen = 4  // the text's length, at the end of the last block
)

// Why data is no text; compare with errors.Is.
var (
	// ErrKey is a key that is not 32 bytes long.
	ErrKey = errors.New("crypt: the key is not 32 bytes long")
	// ErrBase64 is data that is no base64.
	ErrBase64 = errors.New("crypt: not base64")
	// ErrBlocks is data that is no whole number of blocks, or none.
	ErrBlocks = errors.New("crypt: not a whole number of blocks")
	// ErrLength is a length that the blocks cannot hold: another key, or not encrypted.
	ErrLength = errors.New("crypt: impossible text length")
)

// Cipher encrypts and decrypts with one key. It may be used by many goroutines.
type Cipher struct {
	block cipher.Block
}

// New makes a cipher of a key of 32 bytes.
func New(key string) (*Cipher, error) {
	if len(key) != keyLen {
		return nil, fmt.Errorf("%w but %d", ErrKey, len(key))
	}
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return nil, fmt.Errorf("crypt: %w", err)
	}
	return &Cipher{block: block}, nil
}

// Encrypt turns a text into message data [TT-CRYPT-1].
func (c *Cipher) Encrypt(text string) []byte {
	buf := make([]byte, paddedLen(len(text)))
	copy(buf, text)
	binary.BigEndian.PutUint32(buf[len(buf)-lengthLen:], uint32(len(text)))
	for at := 0; at < len(buf); at += aes.BlockSize {
		c.block.Encrypt(buf[at:], buf[at:])
	}
	return base64.StdEncoding.AppendEncode(nil, buf)
}

// paddedLen is the length of the blocks that hold a text of n bytes and its length.
func paddedLen(n int) int {
	return (n + lengthLen + aes.BlockSize - 1) / aes.BlockSize * aes.BlockSize
}

// Decrypt turns message data into the text it holds [TT-CRYPT-2]. The text is as the client wrote it: it may be no valid UTF-8.
//
// COMPAT: the Dart client writes only the lowest byte of the length, which is the same up to 255 bytes; longer texts
// of it come out cut.
func (c *Cipher) Decrypt(data []byte) (string, error) {
	buf, err := decodeBase64(data)
	if err != nil {
		return "", err
	}
	if len(buf) == 0 || len(buf)%aes.BlockSize != 0 {
		return "", fmt.Errorf("%w: %d bytes", ErrBlocks, len(buf))
	}
	for at := 0; at < len(buf); at += aes.BlockSize {
		c.block.Decrypt(buf[at:], buf[at:])
	}
	text := buf[:len(buf)-lengthLen]
	n := binary.BigEndian.Uint32(buf[len(text):])
	if n > math.MaxInt32 || int(n) > len(text) {
		return "", fmt.Errorf("%w: %d in %d bytes", ErrLength, n, len(buf))
	}
	return string(text[:n]), nil
}

// decodeBase64 skips white space, as the decoder of the clients does.
func decodeBase64(data []byte) ([]byte, error) {
	plain := make([]byte, 0, len(data))
	for _, b := range data {
		if b != ' ' && (b < '\t' || b > '\r') {
			plain = append(plain, b)
		}
	}
	buf, err := base64.StdEncoding.AppendDecode(nil, plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBase64, err)
	}
	return buf, nil
}
