package password

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Params are the costs of argon2id.
type Params struct {
	MemoryKiB uint32 // memory of one computation
	Passes    uint32 // passes over it
	Lanes     uint8  // parallel lanes
}

// DefaultParams cost about 40 ms and 19 MiB each.
func DefaultParams() Params { return Params{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1} }

// Bounds of what is accepted as parameters and in stored forms, so that an imported one cannot occupy the machine.
const (
	maxMemoryKiB  = 1 << 20
	maxPasses     = 64
	maxLanes      = 16
	minSaltBytes  = 8
	maxSaltBytes  = 64
	minHashBytes  = 16
	maxHashBytes  = 64
	maxLegacySalt = 32
	saltBytes     = 16
	hashBytes     = 32
)

// Validate reports why the costs are not usable, nil if they are.
func (p Params) Validate() error {
	switch {
	case p.Lanes < 1 || p.Lanes > maxLanes:
		return fmt.Errorf("argon2id lanes must be 1 to %d, not %d", maxLanes, p.Lanes)
	case p.Passes < 1 || p.Passes > maxPasses:
		return fmt.Errorf("argon2id passes must be 1 to %d, not %d", maxPasses, p.Passes)
	case p.MemoryKiB < 8*uint32(p.Lanes) || p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("argon2id memory must be %d to %d KiB, not %d", 8*p.Lanes, maxMemoryKiB, p.MemoryKiB)
	}
	return nil
}

// below reports whether p costs less memory or fewer passes than q.
func (p Params) below(q Params) bool { return p.MemoryKiB < q.MemoryKiB || p.Passes < q.Passes }

// argonHash is a stored form that was made with argon2id.
type argonHash struct {
	params Params
	salt   []byte
	hash   []byte
}

const (
	argonPrefix  = "$argon2id$"
	legacyPrefix = "md5$"
)

// String is the PHC form: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func (a argonHash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argonPrefix, argon2.Version,
		a.params.MemoryKiB, a.params.Passes, a.params.Lanes, b64.EncodeToString(a.salt), b64.EncodeToString(a.hash))
}

// deriveArgon computes the stored form of a canonical secret.
func deriveArgon(secret string, salt []byte, p Params, size uint32) argonHash {
	return argonHash{params: p, salt: salt, hash: argon2.IDKey([]byte(secret), salt, p.Passes, p.MemoryKiB, p.Lanes, size)}
}

var errNotArgon = errors.New("not of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash")

// parseArgon reads the PHC form; only the spelling that String writes is accepted.
func parseArgon(s string) (argonHash, error) {
	var a argonHash
	rest, ok := strings.CutPrefix(s, argonPrefix)
	fields := strings.Split(rest, "$")
	if !ok || len(fields) != 4 || fields[0] != "v="+strconv.Itoa(argon2.Version) {
		return a, errNotArgon
	}
	var err error
	if a.params, err = parseParams(fields[1]); err != nil {
		return a, err
	}
	if a.salt, err = decodePart("salt", fields[2], minSaltBytes, maxSaltBytes); err != nil {
		return a, err
	}
	if a.hash, err = decodePart("hash", fields[3], minHashBytes, maxHashBytes); err != nil {
		return a, err
	}
	if a.String() != s {
		return a, errNotArgon
	}
	return a, nil
}

// parseParams reads m=…,t=…,p=….
func parseParams(s string) (Params, error) {
	var values [3]uint64
	parts := strings.Split(s, ",")
	if len(parts) != len(values) {
		return Params{}, errNotArgon
	}
	for i, name := range [...]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(parts[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			return Params{}, errNotArgon
		}
		values[i] = v
	}
	if values[2] > maxLanes {
		return Params{}, fmt.Errorf("argon2id lanes must be at most %d", maxLanes)
	}
	p := Params{MemoryKiB: uint32(values[0]), Passes: uint32(values[1]), Lanes: uint8(values[2])}
	return p, p.Validate()
}

// decodePart reads unpadded base64 of a bounded number of bytes.
func decodePart(what, s string, least, most int) ([]byte, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errNotArgon
	}
	if len(b) < least || len(b) > most {
		return nil, fmt.Errorf("argon2id %s of %d bytes: want %d to %d", what, len(b), least, most)
	}
	return b, nil
}

// Legacy is the stored form of a password imported from the legacy servers: md5hex is their column "password", md5(md5
// hex of the password + salt), in either case.
func Legacy(salt, md5hex string) (string, error) {
	if !isMD5Hex(md5hex) {
		return "", errors.New("a legacy hash is 32 hex digits")
	}
	if len(salt) > maxLegacySalt {
		return "", fmt.Errorf("a legacy salt has at most %d bytes", maxLegacySalt)
	}
	for i := range len(salt) {
		if salt[i] <= ' ' || salt[i] > '~' || salt[i] == '$' {
			return "", errors.New("a legacy salt is printable ASCII without blanks and $")
		}
	}
	return legacyPrefix + salt + "$" + strings.ToLower(md5hex), nil
}

// legacyHash is a stored form made by Legacy.
type legacyHash struct{ salt, hash string }

// parseLegacy reads what Legacy wrote.
func parseLegacy(s string) (legacyHash, bool) {
	rest, ok := strings.CutPrefix(s, legacyPrefix)
	salt, hash, found := strings.Cut(rest, "$")
	if !ok || !found {
		return legacyHash{}, false
	}
	again, err := Legacy(salt, hash)
	return legacyHash{salt: salt, hash: hash}, err == nil && again == s
}

// matches compares in constant time.
func (l legacyHash) matches(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(Secret(secret+l.salt)), []byte(l.hash)) == 1
}

// Validate reports why a stored form is not usable. The empty one is: nobody can log in with it.
func Validate(stored string) error {
	if stored == "" {
		return nil
	}
	if _, ok := parseLegacy(stored); ok {
		return nil
	}
	_, err := parseArgon(stored)
	return err
}
