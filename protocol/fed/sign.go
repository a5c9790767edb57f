package fed

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	"teamtalk/protocol"
)

// KeyID names a key: the first bytes of the SHA-256 of its public part [FED-ID-3].
type KeyID [8]byte

// KeyIDOf names a public key.
func KeyIDOf(public ed25519.PublicKey) KeyID {
	sum := sha256.Sum256(public)
	return KeyID(sum[:8])
}

// What is signed begins with one of these, so that no signature can be taken for one of another kind.
const (
	contextManifest = "teamtalk-fed manifest 1\n"
	contextEvent    = "teamtalk-fed event 1\n"
	contextBatch    = "teamtalk-fed batch 1\n"
	contextHub      = "teamtalk-fed hub 1\n"
	contextReject   = "teamtalk-fed reject 1\n"
)

// Signature is by one of a cluster's link keys.
type Signature struct {
	Key KeyID    `cbor:"1,keyasint"`
	Sig [64]byte `cbor:"2,keyasint"`
}

// Signer signs as a cluster, with its active link key.
type Signer struct {
	Cluster ClusterID
	Key     ed25519.PrivateKey
}

func (s Signer) sign(message []byte) Signature {
	public, _ := s.Key.Public().(ed25519.PublicKey)
	return Signature{KeyIDOf(public), [64]byte(ed25519.Sign(s.Key, message))}
}

// Keys are the public link keys of a cluster that may have signed something.
type Keys map[KeyID]ed25519.PublicKey

// verify is an error of CodeForbidden if the signature is not by one of the keys.
func (k Keys) verify(what string, message []byte, s Signature) error {
	public, known := k[s.Key]
	if !known {
		return protocol.Errorf(protocol.CodeForbidden, "%s is signed with key %x, which the manifest does not have", what, s.Key)
	}
	if !ed25519.Verify(public, message, s.Sig[:]) {
		return protocol.Errorf(protocol.CodeForbidden, "the signature of %s is wrong", what)
	}
	return nil
}

// SignedEvent carries the exact bytes of an event and its origin's signature [FED-SIG-1].
type SignedEvent struct {
	Event     []byte    `cbor:"1,keyasint,omitempty"`
	Signature Signature `cbor:"2,keyasint,omitzero"`
}

func eventMessage(origin ClusterID, event []byte) []byte {
	b := make([]byte, 0, len(contextEvent)+len(origin)+len(event))
	b = append(append(b, contextEvent...), origin[:]...)
	return append(b, event...)
}

// SignEvent signs what its cluster has made.
func (s Signer) SignEvent(event []byte) SignedEvent {
	return SignedEvent{event, s.sign(eventMessage(s.Cluster, event))}
}

// Verify checks that a cluster has signed the event.
func (e *SignedEvent) Verify(origin ClusterID, keys Keys) error {
	return keys.verify("the event", eventMessage(origin, e.Event), e.Signature)
}

// Batch carries events of one lane in order [FED-OUT-2].
type Batch struct {
	Epoch     uint64        `cbor:"1,keyasint"`
	Lane      Lane          `cbor:"2,keyasint"`
	First     uint64        `cbor:"3,keyasint"` // sequence of the first event
	Events    []SignedEvent `cbor:"4,keyasint"`
	Signature Signature     `cbor:"5,keyasint,omitzero"`
}

// Last is the sequence of the last event.
func (b *Batch) Last() uint64 { return b.First + uint64(len(b.Events)) - 1 }

// message is what a batch's signature is over [FED-SIG-2].
func (b *Batch) message(from, to ClusterID) []byte {
	h := sha256.New()
	var n [8]byte
	for i := range b.Events {
		binary.BigEndian.PutUint64(n[:], uint64(len(b.Events[i].Event)))
		_, _ = h.Write(n[:])
		_, _ = h.Write(b.Events[i].Event)
	}
	m := append([]byte(contextBatch), from[:]...)
	m = append(m, to[:]...)
	m = binary.BigEndian.AppendUint64(m, b.Epoch)
	m = append(m, byte(b.Lane))
	m = binary.BigEndian.AppendUint64(m, b.First)
	m = binary.BigEndian.AppendUint32(m, uint32(len(b.Events)))
	return h.Sum(m)
}

// SignBatch signs a batch for one destination.
func (s Signer) SignBatch(b *Batch, to ClusterID) { b.Signature = s.sign(b.message(s.Cluster, to)) }

// Verify checks form and signature of a batch that came from a cluster for this one.
func (b *Batch) Verify(from, to ClusterID, keys Keys) error {
	size := 0
	for i := range b.Events {
		size += len(b.Events[i].Event)
	}
	switch {
	case len(b.Events) == 0 || len(b.Events) > MaxBatchEvents || size > MaxBatchBytes && len(b.Events) > 1:
		return protocol.Errorf(protocol.CodeTooLarge, "a batch of %d events and %d bytes; 1 to %d events and %d bytes are allowed", len(b.Events), size, MaxBatchEvents, MaxBatchBytes)
	case !b.Lane.Durable() || b.First == 0 || b.Last() < b.First:
		return protocol.Errorf(protocol.CodeInvalid, "a batch of lane %d with sequence %d", b.Lane, b.First)
	}
	return keys.verify("the batch", b.message(from, to), b.Signature)
}

// Link is a place in a hub's chain: what the hub signs, and whose hash the next one names [FED-SIG-3].
type Link struct {
	Group    GroupRef
	Seq      uint64
	Previous [32]byte
	Inner    [32]byte // SHA-256 of the inner event's bytes
}

// Hash is what the next link calls previous.
func (l Link) Hash() [32]byte { return sha256.Sum256(l.message()) }

func (l Link) message() []byte {
	m := append([]byte(contextHub), l.Group.Cluster[:]...)
	m = binary.BigEndian.AppendUint32(m, uint32(l.Group.ID))
	m = binary.BigEndian.AppendUint64(m, l.Seq)
	m = append(m, l.Previous[:]...)
	return append(m, l.Inner[:]...)
}

// Reject is the place of an event that will never be accepted, and why [FED-IN-2].
type Reject struct {
	Epoch     uint64        `cbor:"1,keyasint"`
	Lane      Lane          `cbor:"2,keyasint"`
	Sequence  uint64        `cbor:"3,keyasint"`
	Code      protocol.Code `cbor:"4,keyasint"`
	Text      string        `cbor:"5,keyasint,omitempty"`
	Signature Signature     `cbor:"6,keyasint,omitzero"`
}

func (r *Reject) message(from, to ClusterID) []byte {
	m := append([]byte(contextReject), from[:]...)
	m = append(m, to[:]...)
	m = binary.BigEndian.AppendUint64(m, r.Epoch)
	m = append(m, byte(r.Lane))
	m = binary.BigEndian.AppendUint64(m, r.Sequence)
	return append(append(m, byte(r.Code)), r.Text...)
}

// SignReject signs a refusal for whoever sent the event.
func (s Signer) SignReject(r *Reject, to ClusterID) { r.Signature = s.sign(r.message(s.Cluster, to)) }

// Verify checks that a refusal is by a cluster, for this one.
func (r *Reject) Verify(from, to ClusterID, keys Keys) error {
	return keys.verify("the refusal", r.message(from, to), r.Signature)
}
