package protocol

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// BlobID is the SHA-256 of a blob's content, and its name: a picture, a voice message or a file.
type BlobID [32]byte

// IsZero reports whether it names no blob.
func (id BlobID) IsZero() bool { return id == BlobID{} }

// String is the id in hexadecimal.
func (id BlobID) String() string { return hex.EncodeToString(id[:]) }

// ParseBlobID reads what String wrote.
func ParseBlobID(s string) (id BlobID, err error) {
	if len(s) != hex.EncodedLen(len(id)) || strings.ToLower(s) != s {
		return id, Errorf(CodeInvalid, "%q is not the SHA-256 of a blob: 64 hexadecimal digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, Errorf(CodeInvalid, "%q is not the SHA-256 of a blob: %w", s, err)
	}
	return id, nil
}

// Blob is what the cluster knows of a blob.
type Blob struct {
	ID     BlobID `cbor:"1,keyasint"`
	Size   uint64 `cbor:"2,keyasint"`           // bytes
	Type   string `cbor:"3,keyasint,omitempty"` // MIME, as sniffed
	Width  uint32 `cbor:"4,keyasint,omitempty"` // pixels; 0: no picture
	Height uint32 `cbor:"5,keyasint,omitempty"` //
	Owner  UserID `cbor:"6,keyasint,omitempty"` // who brought it first; 0: nobody in particular
	Added  Time   `cbor:"7,keyasint,omitempty"` // stamped by the command
	// Peer is the cluster that has it, for blobs of other offices; zero: this one.
	Peer [16]byte `cbor:"8,keyasint,omitzero"`
}

// BlobRef is a blob that a message shows.
type BlobRef struct {
	ID   BlobID `cbor:"1,keyasint"`
	Size uint64 `cbor:"2,keyasint"`
	Type string `cbor:"3,keyasint,omitempty"`
}

// MaxBlobRefs is how many blobs one message may show; further ones are links like any other.
const MaxBlobRefs = 32

// MaxBlobIDs is how many blobs one HoldBlobs or DropBlobs may name.
const MaxBlobIDs = 1024

// MaxBlobSize is in bytes: far above what any limit of uploads allows, so that sums of sizes stay sums.
const MaxBlobSize = 1 << 48

// BlobPlace is a blob, and which nodes of the cluster have its content: none, if only its Peer has.
type BlobPlace struct {
	Blob  Blob
	Nodes []NodeID // ascending
}

// PutBlob records that a node has a blob, whose content is safe on its disk. Known blobs gain a place, a type if they had none, and keep everything else. CodeQuota when the
// owner, or the cluster, has no room. One that only another office had (Peer) is this cluster's own from here on, unless Blob.Peer says so, too.
type PutBlob struct {
	Blob Blob   `cbor:"1,keyasint"`
	Node NodeID `cbor:"2,keyasint"`
	// UserQuota and Quota are bytes, of the owner's blobs and of all; 0: no limit.
	UserQuota uint64 `cbor:"3,keyasint,omitempty"`
	Quota     uint64 `cbor:"4,keyasint,omitempty"`
}

// PutBlobResult answers PutBlob.
type PutBlobResult struct {
	Blob  Blob // as recorded
	Known bool // it was recorded before
}

// HoldBlobs notes that a node has got copies of blobs, or has lost them. Those that are not recorded (any more) are in the result: nobody needs them.
type HoldBlobs struct {
	Node NodeID   `cbor:"1,keyasint"`
	IDs  []BlobID `cbor:"2,keyasint"`
	Lost bool     `cbor:"3,keyasint,omitempty"`
}

// HoldBlobsResult answers HoldBlobs.
type HoldBlobsResult struct {
	Unknown []BlobID
}

// DropBlobs forgets blobs, so that every node removes their content. Those that something still shows stay if Unused.
type DropBlobs struct {
	IDs    []BlobID `cbor:"1,keyasint"`
	Unused bool     `cbor:"2,keyasint,omitempty"` // only what no message, profile or waiting file has shown since Before
	Before Time     `cbor:"3,keyasint,omitempty"` // without Unused: only what was added before it, unless 0
}

// DropBlobsResult answers DropBlobs.
type DropBlobsResult struct {
	Dropped []BlobID
}

// Kind is KindPutBlob.
func (*PutBlob) Kind() CommandKind { return KindPutBlob }

// Kind is KindHoldBlobs.
func (*HoldBlobs) Kind() CommandKind { return KindHoldBlobs }

// Kind is KindDropBlobs.
func (*DropBlobs) Kind() CommandKind { return KindDropBlobs }

// BlobAdded: a node has a blob that was not recorded before. Not replayed.
type BlobAdded struct {
	Blob Blob
	Node NodeID
}

func (BlobAdded) isEvent() {}

// BlobsDropped: their content is to be removed. Not replayed: a node that starts compares what it has with what is recorded.
type BlobsDropped struct {
	IDs []BlobID
}

func (BlobsDropped) isEvent() {}

// BlobPath is where a blob is found over HTTP: "g0/<000-255>/<000-255>/<64 hexadecimal digits>[_WxH].<ext>", the legacy form with the blob's id as name.
type BlobPath struct {
	ID            BlobID
	Width, Height uint32 // as the name says; 0: it does not
	Ext           string // without the dot, in lower case
}

// String is the path, without a slash at its begin.
func (p BlobPath) String() string {
	size := ""
	if p.Width != 0 || p.Height != 0 {
		size = fmt.Sprintf("_%dx%d", p.Width, p.Height)
	}
	return fmt.Sprintf("g0/%03d/%03d/%s%s.%s", p.ID[0], p.ID[1], p.ID, size, p.Ext)
}

// blobPathForm is a path anywhere in a text; a size suffix for a thumbnail may follow it [TT-MSFS-5].
const blobPathForm = `g0/(\d{3})/(\d{3})/([0-9a-f]{64})(?:_(\d{1,4})x(\d{1,4}))?\.([0-9A-Za-z]{1,8})`

// BlobPaths are the blobs that a text shows by their paths, each once, at most MaxBlobRefs.
func BlobPaths(text string) []BlobPath {
	if !strings.Contains(text, "g0/") {
		return nil
	}
	var paths []BlobPath
	seen := map[BlobID]bool{}
	for _, m := range regexp.MustCompile(blobPathForm).FindAllStringSubmatch(text, -1) {
		p, err := blobPathOf(m)
		if err != nil || seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		if paths = append(paths, p); len(paths) == MaxBlobRefs {
			break
		}
	}
	return paths
}

// ParseBlobPath reads what String wrote; CodeInvalid otherwise.
func ParseBlobPath(s string) (BlobPath, error) {
	m := regexp.MustCompile("^" + blobPathForm + "$").FindStringSubmatch(s)
	if m == nil {
		return BlobPath{}, Errorf(CodeInvalid, "%q is not the path of a blob", s)
	}
	return blobPathOf(m)
}

func blobPathOf(m []string) (p BlobPath, err error) {
	if p.ID, err = ParseBlobID(m[3]); err != nil {
		return p, err
	}
	if m[1] != fmt.Sprintf("%03d", p.ID[0]) || m[2] != fmt.Sprintf("%03d", p.ID[1]) {
		return p, Errorf(CodeInvalid, "the folders of the path do not belong to its name")
	}
	if m[4] != "" {
		w, _ := strconv.ParseUint(m[4], 10, 32) // at most four digits
		h, _ := strconv.ParseUint(m[5], 10, 32)
		p.Width, p.Height = uint32(w), uint32(h)
	}
	p.Ext = strings.ToLower(m[6])
	return p, nil
}
