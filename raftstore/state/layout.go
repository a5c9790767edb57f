package state

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// bucketID names a bucket of the state.
type bucketID uint8

const (
	bMeta       bucketID = iota // name → counters, format, marks of the dedupe window
	bLog                        // Position → message row; append-only
	bConv                       // conversation → head
	bSparse                     // conversation, id/64 → Position of the message with that id (ids divisible by 64)
	bSession                    // user, session type, session id → session row
	bDedupe                     // user, client_msg_id → Position, seconds; older than the window kept in memory
	bUser                       // UserID → user row
	bLogin                      // login name → UserID
	bPassword                   // UserID → stored hash
	bUpdated                    // User.Updated, UserID → nothing
	bProfile                    // Position, kind → UserID: the last change of each signature and avatar
	bDept                       // DeptID → department row
	bGroup                      // GroupID → group row
	bMember                     // GroupID, UserID → Position of joining; only present members
	bChange                     // GroupID, Position → change row
	bDevice                     // UserID → device row
	bToken                      // token → UserID
	bFile                       // receiver, Position → file row
	bRevoked                    // UserID, scope, device → revoked row
	bDeletion                   // conversation, Position, id → deletion row
	bUnburned                   // reader, author, id → Position, seconds; messages to be burned that are not read
	bDue                        // time, Position → what burns then, see dueRow
	bPeer                       // ClusterID → fed.Peer
	bInvitation                 // hash of an invitation's secret → when it expires
	bLane                       // ClusterID, lane → lane row
	bOut                        // ClusterID, lane, sequence → event on its way
	bAlias                      // kind, alias → ClusterID, id there
	bRef                        // ClusterID, kind, id there → alias
	bOrigin                     // event id → Position of the message from abroad
	bFate                       // Position of a message → fate row
	bChain                      // GroupID → end of the chain of a group of several clusters
	bHub                        // GroupID, hub_seq → hub row
	bHubVersion                 // GroupID of a group abroad → version at its hub
	bTold                       // ClusterID, kind, UserID → User.Updated that the peer knows, its epoch then
	bPerson                     // alias of a user → what he is called at home
	bDead                       // ClusterID, Position, lane, sequence → dead letter
	bGap                        // GroupID of a group abroad → places that are missing
	bFork                       // GroupID of a group abroad → fork row
	bSince                      // GroupID, ClusterID → hub_seq after which the cluster is in the group
	bKept                       // Position → event from abroad as it was signed, without the content that its message has
	bNews                       // UserID, Position → news row: what the author of a message was told last of its way
	bRate                       // ClusterID → new people in an hour; with 'g' → new groups in an hour, with 'd' → dead letters
	bLeft                       // GroupID abroad, UserID → nothing: has left, and the hub has not said so yet
	bTask                       // kind, ClusterID → task row: what is done in steps
	bBlob                       // BlobID → blob row
	bHolder                     // BlobID, NodeID → nothing: the node has the content
	bShown                      // shower → shown row: the blobs that something shows
	bShower                     // BlobID, shower → nothing
	bOffered                    // BlobID, ClusterID, shower → nothing: the cluster was told of the blob by what shows it
	bUnused                     // time, BlobID → nothing: since then nothing has shown the blob
	bAdded                      // Blob.Added, BlobID → nothing
	bUsage                      // UserID → bytes of the blobs that the user brought
	numBuckets
)

func (id bucketID) name() string {
	return [numBuckets]string{"meta", "log", "conv", "sparse", "session", "dedupe", "user", "login", "password", "updated",
		"profile", "dept", "group", "member", "change", "device", "token", "file", "revoked", "deletion", "unburned", "due",
		"fed-peer", "fed-invitation", "fed-lane", "fed-out", "fed-alias", "fed-ref", "fed-origin", "fed-fate", "fed-chain", "fed-hub", "fed-hub-version",
		"fed-told", "fed-person", "fed-dead", "fed-gap", "fed-fork", "fed-since", "fed-kept", "fed-news", "fed-rate", "fed-left", "fed-task",
		"blob", "blob-holder", "blob-shown", "blob-shower", "blob-offered", "blob-unused", "blob-added", "blob-usage"}[id]
}

const (
	positionLen = 10
	convLen     = 9
	// sparseStep is how far apart the messages are that have a row in bSparse.
	sparseStep = 64
	// logFill leaves little room in the pages of the log: nothing is inserted between its rows.
	logFill = 0.95
	// chunkLen is how much memory for rows a transaction takes at a time.
	chunkLen = 64 << 10
)

// txn is a transaction with the buckets it has opened.
type txn struct {
	tx    *bbolt.Tx
	open  [numBuckets]*bbolt.Bucket
	chunk []byte
}

func (t *txn) bucket(id bucketID) *bbolt.Bucket {
	if b := t.open[id]; b != nil {
		return b
	}
	b := t.tx.Bucket([]byte(id.name()))
	if id == bLog {
		b.FillPercent = logFill
	}
	t.open[id] = b
	return b
}

func (t *txn) row(id bucketID, key []byte) []byte { return t.bucket(id).Get(key) }

func (t *txn) put(id bucketID, key, row []byte) error {
	if err := t.bucket(id).Put(key, row); err != nil {
		return fmt.Errorf("put into %s: %w", id.name(), err)
	}
	return nil
}

func (t *txn) drop(id bucketID, key []byte) error {
	if err := t.bucket(id).Delete(key); err != nil {
		return fmt.Errorf("delete from %s: %w", id.name(), err)
	}
	return nil
}

// room is memory for a row of n bytes. bbolt keeps rows by reference until the commit, so it can't be used again; cutting
// rows from large chunks spares the collector.
func (t *txn) room(n int) []byte {
	if n > chunkLen/4 {
		return make([]byte, n)
	}
	if len(t.chunk) < n {
		t.chunk = make([]byte, chunkLen)
	}
	r := t.chunk[:n:n]
	t.chunk = t.chunk[n:]
	return r
}

// scan calls fn for each row whose key begins with prefix, in order, from the first key at or after from, until fn says stop.
func (t *txn) scan(id bucketID, prefix, from []byte, fn func(key, row []byte) (stop bool, err error)) error {
	c := t.bucket(id).Cursor()
	for k, v := c.Seek(from); k != nil && hasPrefix(k, prefix); k, v = c.Next() {
		if stop, err := fn(k, v); err != nil || stop {
			return err
		}
	}
	return nil
}

func hasPrefix(k, prefix []byte) bool {
	return len(k) >= len(prefix) && string(k[:len(prefix)]) == string(prefix)
}

// badRow tells that the database holds something this program did not write. The copy keeps callers' keys on the stack.
func badRow(id bucketID, key []byte, err error) error {
	return fmt.Errorf("damaged row %x in %s: %w", string(key), id.name(), err)
}

func putPosition(b []byte, p protocol.Position) {
	binary.BigEndian.PutUint64(b, p.Index)
	binary.BigEndian.PutUint16(b[8:], p.Sub)
}

func positionOf(b []byte) protocol.Position {
	return protocol.Position{Index: binary.BigEndian.Uint64(b), Sub: binary.BigEndian.Uint16(b[8:])}
}

func positionKey(p protocol.Position) [positionLen]byte {
	var k [positionLen]byte
	putPosition(k[:], p)
	return k
}

func putConv(b []byte, c protocol.Conversation) {
	b[0] = byte(c.Type)
	binary.BigEndian.PutUint32(b[1:], c.A)
	binary.BigEndian.PutUint32(b[5:], c.B)
}

func convOf(b []byte) protocol.Conversation {
	return protocol.Conversation{
		Type: protocol.SessionType(b[0]),
		A:    binary.BigEndian.Uint32(b[1:]),
		B:    binary.BigEndian.Uint32(b[5:]),
	}
}

func convKey(c protocol.Conversation) [convLen]byte {
	var k [convLen]byte
	putConv(k[:], c)
	return k
}

func sparseKey(c protocol.Conversation, id protocol.MsgID) [convLen + 4]byte {
	var k [convLen + 4]byte
	putConv(k[:], c)
	binary.BigEndian.PutUint32(k[convLen:], uint32(id)/sparseStep)
	return k
}

func idKey[T ~uint32](id T) [4]byte {
	var k [4]byte
	binary.BigEndian.PutUint32(k[:], uint32(id))
	return k
}

func idOf[T ~uint32](k []byte) (T, error) {
	if len(k) != 4 {
		return 0, fmt.Errorf("an id of %d bytes", len(k))
	}
	return T(binary.BigEndian.Uint32(k)), nil
}

func sessionKey(u protocol.UserID, s protocol.Session) [9]byte {
	var k [9]byte
	binary.BigEndian.PutUint32(k[:], uint32(u))
	k[4] = byte(s.Type)
	binary.BigEndian.PutUint32(k[5:], s.ID)
	return k
}

func memberKey(g protocol.GroupID, u protocol.UserID) [8]byte {
	var k [8]byte
	binary.BigEndian.PutUint32(k[:], uint32(g))
	binary.BigEndian.PutUint32(k[4:], uint32(u))
	return k
}

// placeKey is the key of what happened to one group (bChange) or one receiver (bFile).
func placeKey(id uint32, at protocol.Position) [4 + positionLen]byte {
	var k [4 + positionLen]byte
	binary.BigEndian.PutUint32(k[:], id)
	putPosition(k[4:], at)
	return k
}

func updatedKey(t protocol.Time, u protocol.UserID) [12]byte {
	var k [12]byte
	binary.BigEndian.PutUint64(k[:], uint64(t))
	binary.BigEndian.PutUint32(k[8:], uint32(u))
	return k
}

func profileKey(at protocol.Position, kind profileKind) [positionLen + 1]byte {
	var k [positionLen + 1]byte
	putPosition(k[:], at)
	k[positionLen] = byte(kind)
	return k
}

// afterIndex is the first position whose index is above c.
func afterIndex(c protocol.Cursor) protocol.Position {
	if c == ^protocol.Cursor(0) {
		return protocol.Position{Index: ^uint64(0), Sub: ^uint16(0)}
	}
	return protocol.Position{Index: uint64(c) + 1}
}
