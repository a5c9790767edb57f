package fed

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"teamtalk/protocol"
)

// Purpose is what a link key is for [FED-ID-3].
type Purpose uint8

// Purposes.
const (
	KeyActive Purpose = 1 // signs
	KeyNext   Purpose = 2 // will sign
	KeyVerify Purpose = 3 // has signed what may still be on its way
)

// LinkKey authenticates connections and signs frames and events.
type LinkKey struct {
	Public  [ed25519.PublicKeySize]byte `cbor:"1,keyasint"`
	Purpose Purpose                     `cbor:"2,keyasint"`
}

// Versions is a range of versions of the wire.
type Versions struct {
	Least uint16 `cbor:"1,keyasint"`
	Most  uint16 `cbor:"2,keyasint"`
}

// ALPN names the protocol in handshakes of TLS [FED-TR-1].
const ALPN = "tt-fed/1"

// VersionFiles is the first version in which blobs are asked for: before it such a question ended the connection.
const VersionFiles = 2

// Current is what this program speaks.
func Current() Versions { return Versions{1, VersionFiles} }

// Common is the highest version that both speak; 0: there is none.
func (v Versions) Common(o Versions) uint16 {
	if m := min(v.Most, o.Most); m >= max(v.Least, o.Least) {
		return m
	}
	return 0
}

// Manifest is what others need to know of a cluster [FED-ID-2].
type Manifest struct {
	Cluster      ClusterID                   `cbor:"1,keyasint"`
	Root         [ed25519.PublicKeySize]byte `cbor:"2,keyasint"`
	Serial       uint64                      `cbor:"3,keyasint"`
	Domain       string                      `cbor:"4,keyasint"`
	Office       string                      `cbor:"5,keyasint"`
	Keys         []LinkKey                   `cbor:"6,keyasint"`
	Endpoints    []string                    `cbor:"7,keyasint,omitempty"` // host:port, the same for QUIC and TLS; none: it dials only
	Versions     Versions                    `cbor:"8,keyasint"`
	Capabilities []string                    `cbor:"9,keyasint,omitempty"`
}

// Limits of manifests.
const (
	maxKeys      = 8
	maxEndpoints = 16
	// MaxDomain and MaxOffice are in bytes.
	MaxDomain = 253
	MaxOffice = 64
)

// SignedManifest carries the exact bytes that the root key has signed.
type SignedManifest struct {
	Manifest  []byte                      `cbor:"1,keyasint"`
	Signature [ed25519.SignatureSize]byte `cbor:"2,keyasint"`
}

// SignManifest signs with the root key.
func SignManifest(m *Manifest, root ed25519.PrivateKey) SignedManifest {
	b := encode(m)
	return SignedManifest{b, [64]byte(ed25519.Sign(root, append([]byte(contextManifest), b...)))}
}

// Open checks form and signature. That the root key is the one expected is the caller's to see.
func (s *SignedManifest) Open() (m Manifest, err error) {
	if err := decode(s.Manifest, &m, "the manifest"); err != nil {
		return m, err
	}
	if !ed25519.Verify(m.Root[:], append([]byte(contextManifest), s.Manifest...), s.Signature[:]) {
		return m, protocol.Errorf(protocol.CodeForbidden, "the manifest is not signed by its root key")
	}
	err = m.check()
	return m, err
}

func (m *Manifest) check() error {
	if err := CheckDomain(m.Domain); err != nil {
		return err
	}
	if err := protocol.CheckName("office name", m.Office, MaxOffice); err != nil {
		return err
	}
	active := 0
	for _, k := range m.Keys {
		if k.Purpose == KeyActive {
			active++
		}
	}
	if m.Cluster.IsZero() || m.Serial == 0 || active != 1 || len(m.Keys) > maxKeys || len(m.Endpoints) > maxEndpoints {
		return protocol.Errorf(protocol.CodeInvalid, "the manifest has no cluster, serial or single active key, or too much of something")
	}
	return nil
}

// CheckDomain is an error of CodeInvalid for what is no domain: letters, digits and hyphens between dots, in lower case.
func CheckDomain(domain string) error {
	bad := protocol.Errorf(protocol.CodeInvalid, "%q is no domain: labels of a-z, 0-9 and inner hyphens, with dots between them, as hangzhou.example", domain)
	if domain == "" || len(domain) > MaxDomain {
		return bad
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return bad
			}
		}
	}
	return nil
}

// LinkKeys are those that may have signed something.
func (m *Manifest) LinkKeys() Keys {
	keys := make(Keys, len(m.Keys))
	for _, k := range m.Keys {
		keys[KeyIDOf(k.Public[:])] = k.Public[:]
	}
	return keys
}

// Follows is an error if a manifest may not take the place of the one that is known [FED-ID-2].
func (m *Manifest) Follows(known *Manifest, same bool) error {
	switch {
	case m.Cluster != known.Cluster || m.Root != known.Root:
		return protocol.Errorf(protocol.CodeForbidden, "the manifest is another cluster's")
	case m.Serial < known.Serial:
		return protocol.Errorf(protocol.CodeForbidden, "manifest %d is older than %d, which is known", m.Serial, known.Serial)
	case m.Serial == known.Serial && !same:
		return protocol.Errorf(protocol.CodeForbidden, "there are two manifests with serial %d", m.Serial)
	}
	return nil
}

// Fingerprint is what people compare: SHA-256 of a root public key.
type Fingerprint [32]byte

// FingerprintOf is that of a root key.
func FingerprintOf(root [ed25519.PublicKeySize]byte) Fingerprint { return sha256.Sum256(root[:]) }

var base = base32.StdEncoding.WithPadding(base32.NoPadding)

// String is the first 120 bits in six groups of four characters.
func (f Fingerprint) String() string {
	s := base.EncodeToString(f[:15])
	groups := make([]string, 0, 6)
	for i := 0; i < len(s); i += 4 {
		groups = append(groups, s[i:i+4])
	}
	return strings.Join(groups, "-")
}

// Matches reports whether a person has typed this fingerprint; case, spaces and hyphens don't count.
func (f Fingerprint) Matches(typed string) bool {
	plain := strings.NewReplacer("-", "", " ", "").Replace(strings.ToUpper(typed))
	return plain == base.EncodeToString(f[:15])
}
