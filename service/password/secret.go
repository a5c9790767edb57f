package password

import (
	"crypto/md5" //nolint:gosec // COMPAT: every client sends the MD5 of the password; it is protected by argon2id here
	"encoding/hex"
	"strings"
)

// Secret is the secret a client sends for the password its user typed: the lower-case hex MD5 [TT-LOGIN-3].
func Secret(typed string) string {
	sum := md5.Sum([]byte(typed)) //nolint:gosec // COMPAT: as above
	return hex.EncodeToString(sum[:])
}

// canonical is the secret in the form that was hashed. COMPAT: upper-case hex is the same secret; what is no MD5 (the C++
// test client sends what was typed) is compared as it came.
func canonical(sent string) string {
	if isMD5Hex(sent) {
		return strings.ToLower(sent)
	}
	return sent
}

// isMD5Hex reports whether s is 32 hex digits of either case.
func isMD5Hex(s string) bool {
	if len(s) != 2*md5.Size {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
