package fed

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"teamtalk/protocol"
)

// Invitation is what one operator gives another so that their clusters get to know each other [FED-ON-3].
type Invitation struct {
	Cluster   ClusterID     `cbor:"1,keyasint"`
	Root      Fingerprint   `cbor:"2,keyasint"`
	Endpoints []string      `cbor:"3,keyasint"`
	Secret    [32]byte      `cbor:"4,keyasint"`
	Expires   protocol.Time `cbor:"5,keyasint"`
	Domain    string        `cbor:"6,keyasint"` // for people: what it is called
}

const invitationPrefix = "ttf1-"

// Code is the line that one operator sends to the other. It is a secret.
func (i *Invitation) Code() string {
	return invitationPrefix + base64.RawURLEncoding.EncodeToString(encode(i))
}

// ParseInvitation reads a code.
func ParseInvitation(code string) (i Invitation, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(code), invitationPrefix)
	if !ok {
		return i, protocol.Errorf(protocol.CodeInvalid, "this is no invitation: one begins with %s and is made with `teamtalkd federation invite` at the other office", invitationPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return i, protocol.Errorf(protocol.CodeInvalid, "the invitation is damaged: copy the whole line")
	}
	if decode(b, &i, "the invitation") != nil {
		return i, protocol.Errorf(protocol.CodeInvalid, "the invitation is damaged: copy the whole line")
	}
	if i.Cluster.IsZero() || len(i.Endpoints) == 0 || len(i.Endpoints) > maxEndpoints {
		return i, protocol.Errorf(protocol.CodeInvalid, "the invitation says nothing of where to go: ask for another one")
	}
	return i, nil
}

// SecretHash is what the inviting cluster keeps.
func (i *Invitation) SecretHash() [32]byte { return sha256.Sum256(i.Secret[:]) }

// Prove is the proof of whoever holds an invitation's secret: bound to both clusters and to the manifest that comes with it. The inviting cluster keeps the
// secret's hash only, so that is the key.
func Prove(secretHash [32]byte, inviting, invited ClusterID, manifest *SignedManifest) [32]byte {
	mac := hmac.New(sha256.New, secretHash[:])
	for _, part := range [][]byte{[]byte("teamtalk-fed introduce 1\n"), inviting[:], invited[:], manifest.Manifest, manifest.Signature[:]} {
		_, _ = mac.Write(part)
	}
	return [32]byte(mac.Sum(nil))
}

// ProofHolds compares in constant time.
func ProofHolds(given, want [32]byte) bool { return hmac.Equal(given[:], want[:]) }
