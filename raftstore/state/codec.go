package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol"
)

// commandVersion is raised whenever a command gets a field: a node that does not know it must stop, not guess.
const commandVersion = 1

// Versions of a message that has more than data. One that has no more is of commandVersion; each is of the lowest that has room for it, so that what older programs
// know stays as they know it.
const (
	sendExtrasVersion = 2 // extras
	sendBlobsVersion  = 3 // extras, and blobs
)

// cborModes encode and decode rows and commands; they are safe to share and never change.
type cborModes struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var codec = newCBORModes()

// newCBORModes panics if the options contradict each other, which is a programmer's mistake.
func newCBORModes() cborModes {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   8,
		MaxArrayElements:  200_000, // 100,000 users in one command, with room
		MaxMapPairs:       64,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return cborModes{enc, dec}
}

// encodeCommand makes the bytes that go through the log: kind, version, CBOR; a message is packed by hand, as there are so many.
func encodeCommand(c protocol.Command) ([]byte, error) {
	if send, ok := c.(*protocol.SendMessage); ok {
		return packSend(send)
	}
	body, err := codec.enc.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", c, err)
	}
	return append([]byte{byte(c.Kind()), commandVersion}, body...), nil
}

// errNewerCommand means that the log was written by a newer program: going on would make this node's state differ.
var errNewerCommand = errors.New("the log holds a command of a newer version of this program; run that version or a newer one")

// decodeCommand reads a command. What a newer program may have written is errNewerCommand, which stops the node; what no
// program writes is a refusal, the same on every node.
func decodeCommand(b []byte) (protocol.Command, error) {
	if len(b) < 2 {
		return nil, protocol.Errorf(protocol.CodeInvalid, "command of %d bytes", len(b))
	}
	c := protocol.NewCommand(protocol.CommandKind(b[0]))
	if c == nil {
		return nil, fmt.Errorf("command kind %d: %w", b[0], errNewerCommand)
	}
	if b[1] != commandVersion && (b[0] != byte(protocol.KindSendMessage) || b[1] != sendExtrasVersion && b[1] != sendBlobsVersion) {
		return nil, fmt.Errorf("command kind %d of version %d, known is %d: %w", b[0], b[1], commandVersion, errNewerCommand)
	}
	if send, ok := c.(*protocol.SendMessage); ok {
		return send, unpackSend(b, send)
	}
	err := codec.dec.Unmarshal(b[2:], c)
	var unknown *cbor.UnknownFieldError
	switch {
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("command kind %d: %w: %w", b[0], err, errNewerCommand)
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeInvalid, "malformed command of kind %d: %v", b[0], err)
	}
	return c, nil
}

// sendFixedLen is what a packed message has before its data:
//
//	kind 1 | version 1 | session type 1 | message type 1 | session id 4 | from 4 | client_msg_id 16 | data
//
// Version 2 has before the data: length of the content type 1 | reply_to 4 | burn_after 4 | content type. Version 3 has behind that: blobs 1, and of each: id 32 |
// size 8 | length of the type 1 | type.
const sendFixedLen = 12 + clientIDLen

func packSend(c *protocol.SendMessage) ([]byte, error) {
	if c.Extras == (protocol.Extras{}) && len(c.Blobs) == 0 {
		return packPlain(c, 0), nil
	}
	n := len(c.Extras.ContentType)
	if n > math.MaxUint8 {
		return nil, tooLarge("content type: more than %d bytes", protocol.MaxContentType)
	}
	if slices.ContainsFunc(c.Blobs, func(r protocol.BlobRef) bool { return len(r.Type) > math.MaxUint8 }) || len(c.Blobs) > math.MaxUint8 {
		return nil, tooLarge("blobs: at most %d, with types of at most %d bytes", protocol.MaxBlobRefs, protocol.MaxContentType)
	}
	b := packPlain(c, 1+extrasLen+n+refsLen(c.Blobs))
	b[1], b[sendFixedLen] = sendExtrasVersion, byte(n)
	rest := b[sendFixedLen+1:]
	rest = rest[packExtras(rest, &c.Extras):]
	if len(c.Blobs) > 0 {
		b[1] = sendBlobsVersion
		packRefs(rest, c.Blobs)
	}
	return b, nil
}

const refFixedLen = blobIDLen + 8 + 1

// refsLen is the length of what packRefs writes; nothing of no blobs.
func refsLen(refs []protocol.BlobRef) int {
	if len(refs) == 0 {
		return 0
	}
	n := 1
	for i := range refs {
		n += refFixedLen + len(refs[i].Type)
	}
	return n
}

// packRefs writes what unpackRefs reads: at most 255 blobs, with types of at most 255 bytes.
func packRefs(b []byte, refs []protocol.BlobRef) {
	b[0] = byte(len(refs))
	b = b[1:]
	for i := range refs {
		r := &refs[i]
		copy(b, r.ID[:])
		binary.BigEndian.PutUint64(b[blobIDLen:], r.Size)
		b[refFixedLen-1] = byte(len(r.Type))
		b = b[refFixedLen+copy(b[refFixedLen:], r.Type):]
	}
}

// unpackRefs reads them and returns what follows; false if b is too short.
func unpackRefs(b []byte) (refs []protocol.BlobRef, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	count, b := int(b[0]), b[1:]
	for range count {
		if len(b) < refFixedLen || len(b) < refFixedLen+int(b[refFixedLen-1]) {
			return nil, nil, false
		}
		end := refFixedLen + int(b[refFixedLen-1])
		refs = append(refs, protocol.BlobRef{ID: protocol.BlobID(b[:blobIDLen]), Size: binary.BigEndian.Uint64(b[blobIDLen:]), Type: string(b[refFixedLen:end])})
		b = b[end:]
	}
	return refs, b, true
}

// packPlain packs a message with a gap before its data.
func packPlain(c *protocol.SendMessage, gap int) []byte {
	b := make([]byte, sendFixedLen+gap+len(c.Data))
	b[0], b[1], b[2], b[3] = byte(protocol.KindSendMessage), commandVersion, byte(c.To.Type), byte(c.Type)
	binary.BigEndian.PutUint32(b[4:], c.To.ID)
	binary.BigEndian.PutUint32(b[8:], uint32(c.From))
	copy(b[12:], c.ClientMsgID[:])
	copy(b[sendFixedLen+gap:], c.Data)
	return b
}

// unpackSend reads what packSend made; Data still points into b.
func unpackSend(b []byte, c *protocol.SendMessage) error {
	if len(b) < sendFixedLen {
		return protocol.Errorf(protocol.CodeInvalid, "malformed message of %d bytes", len(b))
	}
	c.To = protocol.Session{Type: protocol.SessionType(b[2]), ID: binary.BigEndian.Uint32(b[4:])}
	c.Type = protocol.MsgType(b[3])
	c.From = protocol.UserID(binary.BigEndian.Uint32(b[8:]))
	copy(c.ClientMsgID[:], b[12:])
	c.Data = b[sendFixedLen:]
	if b[1] == commandVersion {
		return nil
	}
	ok := len(c.Data) > 0
	if ok {
		c.Data, ok = unpackExtras(c.Data[1:], int(c.Data[0]), &c.Extras)
	}
	if ok && b[1] == sendBlobsVersion {
		c.Blobs, c.Data, ok = unpackRefs(c.Data)
	}
	if !ok {
		return protocol.Errorf(protocol.CodeInvalid, "malformed message of %d bytes", len(b))
	}
	return nil
}

// encodeRow makes a row that is not packed by hand: version, CBOR.
func encodeRow(v any) ([]byte, error) {
	body, err := codec.enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode row %T: %w", v, err)
	}
	return append([]byte{rowVersion}, body...), nil
}

func decodeRow(b []byte, v any) error {
	if len(b) == 0 {
		return errRowLength
	}
	if b[0] != rowVersion {
		return fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	return codec.dec.Unmarshal(b[1:], v)
}

// putRow encodes v and stores it.
func (t *txn) putRow(id bucketID, key []byte, v any) error {
	row, err := encodeRow(v)
	if err != nil {
		return err
	}
	return t.put(id, key, row)
}

// readRow decodes the row of key into v; found is false if there is none.
func (t *txn) readRow(id bucketID, key []byte, v any) (found bool, err error) {
	row := t.row(id, key)
	if row == nil {
		return false, nil
	}
	if err := decodeRow(row, v); err != nil {
		return false, badRow(id, key, err)
	}
	return true, nil
}
