package state

import (
	"bytes"
	"encoding/binary"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const blobIDLen = 32

// blobRow is a blob in bBlob.
type blobRow struct {
	Blob    protocol.Blob `cbor:"1,keyasint"`
	Unused  protocol.Time `cbor:"2,keyasint,omitempty"` // since when nothing has shown it: its key in bUnused; 0: something does
	Holders uint32        `cbor:"3,keyasint,omitempty"` // nodes that have its content; its bytes are counted if there is one
	Claims  claims        `cbor:"4,keyasint,omitzero"`  // who brought it, and has not shown it yet
}

// claims are users who brought a blob that they have not shown yet, in the order in which they came: were it dropped with what somebody else shows, what they were told is
// stored would be gone before their message comes. A claim ends as its user shows the blob, and with the blob, which is dropped by the sweep once nothing has shown it for
// long enough. When there are too many the oldest is forgotten: a row stays small. The rest is zero.
type claims [8]protocol.UserID

// byForm stands for whoever brought something without saying who he is: no user has this id.
const byForm = ^protocol.UserID(0)

func claimantOf(owner protocol.UserID) protocol.UserID {
	if owner == 0 {
		return byForm
	}
	return owner
}

func (c *claims) add(u protocol.UserID) {
	if slices.Contains(c[:], u) {
		return
	}
	if c[len(c)-1] != 0 {
		c.remove(c[0])
	}
	c[slices.Index(c[:], 0)] = u
}

// remove reports whether there was such a claim.
func (c *claims) remove(u protocol.UserID) bool {
	i := slices.Index(c[:], u)
	if i < 0 {
		return false
	}
	copy(c[i:], c[i+1:])
	c[len(c)-1] = 0
	return true
}

// shownRow is the blobs that something shows, and who else was told of them.
type shownRow struct {
	Refs  []protocol.BlobRef `cbor:"1,keyasint"`
	Peers []fed.ClusterID    `cbor:"2,keyasint,omitempty"`
}

// shower is the key of what shows blobs: its kind, and where it is found.
type shower []byte

// Kinds of showers.
const (
	showsMessage = 1 // Position
	showsAvatar  = 2 // UserID
	showsGroup   = 3 // GroupID: its picture
	showsFile    = 4 // receiver, Position: a file that waits
)

func messageShower(at protocol.Position) shower {
	key := positionKey(at)
	return append(shower{showsMessage}, key[:]...)
}

func avatarShower(u protocol.UserID) shower {
	key := idKey(u)
	return append(shower{showsAvatar}, key[:]...)
}

func groupShower(g protocol.GroupID) shower {
	key := idKey(g)
	return append(shower{showsGroup}, key[:]...)
}

// fileShower is that of a row of bFile.
func fileShower(key []byte) shower { return append(shower{showsFile}, key...) }

func blobKey(id protocol.BlobID, rest ...[]byte) []byte {
	return append(bytes.Clone(id[:]), bytes.Join(rest, nil)...)
}

// blobTimeKey is the key of a blob in bUnused and bAdded.
func blobTimeKey(at protocol.Time, id protocol.BlobID) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+blobIDLen), uint64(at)), id[:]...)
}

func (t *txn) blob(id protocol.BlobID) (row blobRow, found bool, err error) {
	found, err = t.readRow(bBlob, id[:], &row)
	return row, found, err
}

// holders are the nodes that have a blob's content, in order of their names.
func (t *txn) holders(id protocol.BlobID) (nodes []protocol.NodeID, err error) {
	err = t.scan(bHolder, id[:], id[:], func(key, _ []byte) (bool, error) {
		nodes = append(nodes, protocol.NodeID(key[blobIDLen:]))
		return false, nil
	})
	return nodes, err
}

// isShown reports whether anything shows a blob.
func (t *txn) isShown(id protocol.BlobID) bool {
	key, _ := t.bucket(bShower).Cursor().Seek(id[:])
	return hasPrefix(key, id[:])
}

// shown are the blobs that something shows, nil if none.
func (t *txn) shown(by shower) (row shownRow, found bool, err error) {
	found, err = t.readRow(bShown, by, &row)
	return row, found, err
}

// usage is the bytes of the blobs that a user brought.
func (t *txn) usage(u protocol.UserID) uint64 {
	key := idKey(u)
	if b := t.row(bUsage, key[:]); len(b) == 8 {
		return number(b)
	}
	return 0
}
