package service

import (
	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
)

// BlobStore knows pictures, voice messages and files.
type BlobStore interface {
	// Blob is what is recorded of a blob and which nodes have it; CodeNotFound if it is not recorded.
	Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error)
}

// references finds what messages show, so that it stays for as long as they do.
type references struct {
	cipher *crypt.Cipher
	blobs  BlobStore
}

// WithBlobs lets messages hold what they show; it is called before anything else. The key is that of message texts; empty: the clients' default.
func (m *Messages) WithBlobs(s BlobStore, key string) (*Messages, error) {
	if key == "" {
		key = crypt.DefaultKey
	}
	c, err := crypt.New(key)
	if err != nil {
		return nil, err
	}
	m.media = &references{c, s}
	return m, nil
}

// of is the blobs that a message shows by their paths [TT-MEDIA-10]. One that this node has not heard of is among them: another node may have recorded it
// just now, and the log knows.
func (r *references) of(cmd *protocol.SendMessage) []protocol.BlobRef {
	if r == nil || cmd.Type.IsAudio() {
		return nil
	}
	text, err := r.cipher.Decrypt(cmd.Data)
	if err != nil { // passed on like any other [TT-CRYPT-2]
		return nil
	}
	var refs []protocol.BlobRef
	for _, p := range protocol.BlobPaths(text) {
		ref := protocol.BlobRef{ID: p.ID}
		if b, _, err := r.blobs.Blob(p.ID); err == nil {
			ref.Size, ref.Type = b.Size, b.Type
		}
		refs = append(refs, ref)
	}
	return refs
}
