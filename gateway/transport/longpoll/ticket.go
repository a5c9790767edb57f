package longpoll

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// ident is the random part of a session's id.
type ident [16]byte

// encoding is strict: a session has one id and one token, not several that are read alike.
var encoding = base64.RawURLEncoding.Strict()

// tickets makes the ids and tokens of sessions [TT-LP-1]. A token is the first half of a MAC of the id, the node's number included.
type tickets struct {
	node string
	key  []byte
}

// newTickets takes the key that the nodes share; nil: there are no others.
func newTickets(node string, key []byte) tickets {
	t := tickets{node: node, key: key}
	if key == nil {
		t.key = make([]byte, 32)
		_, _ = rand.Read(t.key) // never fails
	}
	return t
}

// issue makes a new id.
func (t *tickets) issue() (id ident, text, token string) {
	_, _ = rand.Read(id[:])
	text = t.node + "." + encoding.EncodeToString(id[:])
	return id, text, encoding.EncodeToString(t.mac(text))
}

// check finds the id of a session that once was opened, and the node that it was opened on. Whether id or token is wrong, it does and takes the same
// [TT-LP-1].
func (t *tickets) check(text, token string) (node string, id ident, ok bool) {
	dot := max(0, strings.LastIndexByte(text, '.'))
	node = text[:dot]
	ok = decode(id[:], strings.TrimPrefix(text[dot:], "."))
	var given [16]byte
	ok = decode(given[:], token) && ok
	return node, id, hmac.Equal(given[:], t.mac(text)) && ok
}

func decode(dst []byte, text string) bool {
	if len(text) != encoding.EncodedLen(len(dst)) {
		return false
	}
	n, err := encoding.Decode(dst, []byte(text))
	return err == nil && n == len(dst)
}

func (t *tickets) mac(text string) []byte {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(text))
	return m.Sum(nil)[:16]
}
