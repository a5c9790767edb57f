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

// tickets makes the ids and tokens of sessions [TT-LP-1]. A token is the first half of a MAC of the id under a key of this process.
type tickets struct {
	prefix string // of ids: the node's number and a dot
	key    [32]byte
}

func newTickets(node string) tickets {
	t := tickets{prefix: node + "."}
	_, _ = rand.Read(t.key[:]) // never fails
	return t
}

// issue makes a new id.
func (t *tickets) issue() (id ident, text, token string) {
	_, _ = rand.Read(id[:])
	return id, t.prefix + encoding.EncodeToString(id[:]), encoding.EncodeToString(t.mac(id))
}

// check finds the id of a session that once was opened here. Whether id or token is wrong, it does and takes the same [TT-LP-1].
func (t *tickets) check(text, token string) (ident, bool) {
	var id ident
	random, ok := strings.CutPrefix(text, t.prefix)
	ok = decode(id[:], random) && ok
	var given [16]byte
	ok = decode(given[:], token) && ok
	return id, hmac.Equal(given[:], t.mac(id)) && ok
}

func decode(dst []byte, text string) bool {
	if len(text) != encoding.EncodedLen(len(dst)) {
		return false
	}
	n, err := encoding.Decode(dst, []byte(text))
	return err == nil && n == len(dst)
}

func (t *tickets) mac(id ident) []byte {
	m := hmac.New(sha256.New, t.key[:])
	m.Write(id[:])
	return m.Sum(nil)[:16]
}
