package authority

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// TokenLife is how long a token is good for unless somebody wants otherwise.
const TokenLife = time.Hour

const (
	tokenPrefix  = "tt1-"
	tokenContext = "teamtalk join token 1\x00" // so that the key's other uses, should it have any, make no tokens
	nonceSize    = 16
	maxAddresses = 8
	maxAddress   = 255
	// maxToken is more than the largest one needs.
	maxToken = 4096
)

// Errors of Token.Verify.
var (
	ErrTokenForged  = errors.New("the token is not one of this cluster")
	ErrTokenExpired = errors.New("the token's time is over")
)

// Token lets its bearer join a cluster, for a short time. What Parse reads from it (where to go, whom to trust there) is meant for
// the bearer; whether it is genuine only a holder of the cluster's key can tell.
type Token struct {
	Addresses []string // of nodes of the cluster, host:port
	Root      Fingerprint
	Expires   time.Time // in whole seconds
	nonce     [nonceSize]byte
	mac       [sha256.Size]byte
}

// NewToken makes a token under the cluster's key.
func NewToken(key []byte, addresses []string, root Fingerprint, expires time.Time) (Token, error) {
	t := Token{Addresses: addresses, Root: root, Expires: time.Unix(expires.Unix(), 0).UTC()}
	if err := checkAddresses(addresses); err != nil {
		return Token{}, err
	}
	if len(key) < sha256.Size {
		return Token{}, errors.New("the key for tokens is too short")
	}
	if t.Expires.Unix() < 0 {
		return Token{}, errors.New("the token's time was over long ago")
	}
	// Never fails, and would end the process if it did.
	_, _ = rand.Read(t.nonce[:])
	t.mac = t.sum(key)
	return t, nil
}

// ParseToken reads a token. That it is genuine is not checked here.
func ParseToken(line string) (Token, error) {
	bad := func(why string) (Token, error) { return Token{}, fmt.Errorf("not a join token: %s", why) }
	text, ok := strings.CutPrefix(strings.TrimSpace(line), tokenPrefix)
	if !ok || len(text) > maxToken {
		return bad("it has to begin with " + tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return bad("characters are wrong or missing")
	}
	const fixed = 8 + nonceSize + sha256.Size + 1 // expiry, nonce, fingerprint, number of addresses
	if len(b) < fixed+sha256.Size {
		return bad("it is too short")
	}
	var t Token
	body := b[:len(b)-sha256.Size]
	copy(t.mac[:], b[len(body):])
	seconds := int64(binary.BigEndian.Uint64(body))
	if seconds < 0 || seconds > 1<<40 {
		return bad("its time is nonsense")
	}
	t.Expires = time.Unix(seconds, 0).UTC()
	copy(t.nonce[:], body[8:])
	copy(t.Root[:], body[8+nonceSize:])
	count, rest := int(body[fixed-1]), body[fixed:]
	for range count {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return bad("it is cut off")
		}
		n := int(rest[0])
		t.Addresses = append(t.Addresses, string(rest[1:1+n]))
		rest = rest[1+n:]
	}
	if len(rest) > 0 {
		return bad("it is too long")
	}
	if err := checkAddresses(t.Addresses); err != nil {
		return bad(err.Error())
	}
	return t, nil
}

func checkAddresses(addresses []string) error {
	if len(addresses) == 0 || len(addresses) > maxAddresses {
		return fmt.Errorf("%d addresses where 1 to %d should be", len(addresses), maxAddresses)
	}
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" || len(a) > maxAddress {
			return fmt.Errorf("%q is not host:port", a)
		}
	}
	return nil
}

// body is everything but the prefix and the MAC.
func (t Token) body() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Expires.Unix()))
	b = append(b, t.nonce[:]...)
	b = append(b, t.Root[:]...)
	b = append(b, byte(len(t.Addresses)))
	for _, a := range t.Addresses {
		b = append(b, byte(len(a)))
		b = append(b, a...)
	}
	return b
}

func (t Token) sum(key []byte) [sha256.Size]byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(tokenContext))
	m.Write(t.body())
	return [sha256.Size]byte(m.Sum(nil))
}

// Verify checks that the token was made under the key and that its time is not over: ErrTokenForged, ErrTokenExpired.
func (t Token) Verify(key []byte, now time.Time) error {
	want := t.sum(key)
	if len(key) < sha256.Size || !hmac.Equal(want[:], t.mac[:]) {
		return ErrTokenForged
	}
	if !now.Before(t.Expires) {
		return fmt.Errorf("%w since %s", ErrTokenExpired, t.Expires.Format(time.RFC3339))
	}
	return nil
}

// ID tells tokens apart in logs, and for those who let each be used once.
func (t Token) ID() string { return hex.EncodeToString(t.nonce[:]) }

// Line is the token as it is handed over: a secret.
func (t Token) Line() string {
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(t.body(), t.mac[:]...))
}

// String says about the token what may be known.
func (t Token) String() string {
	return fmt.Sprintf("join token %s for %s, good until %s", t.ID()[:8], strings.Join(t.Addresses, " "), t.Expires.Format(time.RFC3339))
}
