package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A grouped entry is what one raft log entry carries:
//
//	1 byte   version, 2
//	4 bytes  CRC-32C of all that follows, little endian: bbolt's pages have no checksum of their own
//	uvarint  time, milliseconds since 1970, stamped by the leader
//	uvarint  count of origins: the runs of commands that other nodes forwarded, in order; version 1 has none, nor the count
//	         each: uvarint length of the node's name, 1 to 255, and the name; uvarint the first command's place; uvarint
//	         how many commands; 8 bytes sequence of the first, little endian, the others follow one by one
//	uvarint  count of commands, 1 to 65,536
//	uvarint  length of each command
//	         the commands, one after the other
const (
	entryVersion   = 2
	entryPlain     = 1 // without origins
	entryHeaderLen = 5
	maxGrouped     = 1 << 16 // protocol.Position.Sub has 16 bits
	headerVarints  = 3
	maxNodeName    = 255
	sequenceLen    = 8
)

var errNewerEntry = errors.New("entry of a newer version")

type entry struct {
	timeMs   int64
	origins  []origin
	commands [][]byte
}

// origin says of a run of commands which node forwarded them, and under which sequence numbers it waits for them.
type origin struct {
	node  NodeID
	at, n int // the commands at … at+n-1
	first uint64
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encodeEntry puts commands into one entry. Origins are in order and don't overlap.
func encodeEntry(timeMs int64, commands [][]byte, origins ...origin) []byte {
	size := entryHeaderLen + headerVarints*binary.MaxVarintLen64
	for _, c := range commands {
		size += len(c) + binary.MaxVarintLen32
	}
	for _, o := range origins {
		size += len(o.node) + sequenceLen + 3*binary.MaxVarintLen32
	}
	b := make([]byte, entryHeaderLen, size)
	b[0] = entryVersion
	b = binary.AppendUvarint(b, uint64(max(timeMs, 0)))
	b = binary.AppendUvarint(b, uint64(len(origins)))
	for _, o := range origins {
		b = binary.AppendUvarint(b, uint64(len(o.node)))
		b = append(b, o.node...)
		b = binary.AppendUvarint(b, uint64(o.at))
		b = binary.AppendUvarint(b, uint64(o.n))
		b = binary.LittleEndian.AppendUint64(b, o.first)
	}
	b = appendCommands(b, commands)
	binary.LittleEndian.PutUint32(b[1:], crc32.Checksum(b[entryHeaderLen:], castagnoli()))
	return b
}

func appendCommands(b []byte, commands [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(commands)))
	for _, c := range commands {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	for _, c := range commands {
		b = append(b, c...)
	}
	return b
}

// checkEntry finds damage in an entry whose version is known.
func checkEntry(b []byte) error {
	if len(b) < entryHeaderLen || b[0] < entryPlain || b[0] > entryVersion {
		return nil // not for the log to judge
	}
	if crc32.Checksum(b[entryHeaderLen:], castagnoli()) != binary.LittleEndian.Uint32(b[1:]) {
		return errors.New("checksum of the entry does not match")
	}
	return nil
}

// decodeEntry takes an entry apart; the commands share b's memory. errNewerEntry if this program is too old for it.
func decodeEntry(b []byte) (entry, error) {
	if len(b) == 0 {
		return entry{}, errors.New("empty entry")
	}
	if b[0] > entryVersion {
		return entry{}, fmt.Errorf("%w: version %d, this program knows up to %d", errNewerEntry, b[0], entryVersion)
	}
	if b[0] < entryPlain || len(b) < entryHeaderLen {
		return entry{}, errors.New("not a grouped entry")
	}
	if err := checkEntry(b); err != nil {
		return entry{}, err
	}
	return decodeBody(b[0], b[entryHeaderLen:])
}

// decodeBody decodes what the checksum covers.
func decodeBody(version byte, b []byte) (e entry, err error) {
	timeMs, b, ok := cutUvarint(b)
	if !ok || timeMs > 1<<62 {
		return entry{}, errors.New("time of the entry is damaged")
	}
	e.timeMs = int64(timeMs)
	if version > entryPlain {
		if e.origins, b, err = decodeOrigins(b); err != nil {
			return entry{}, err
		}
	}
	if e.commands, err = decodeCommands(b); err != nil {
		return entry{}, err
	}
	if n := len(e.origins); n > 0 && e.origins[n-1].at+e.origins[n-1].n > len(e.commands) {
		return entry{}, errors.New("origins in the entry don't fit")
	}
	return e, nil
}

func decodeOrigins(b []byte) ([]origin, []byte, error) {
	bad := errors.New("origins of the entry are damaged")
	count, b, ok := cutUvarint(b)
	if !ok || count > maxGrouped || count*(sequenceLen+1) > uint64(len(b)) {
		return nil, nil, bad
	}
	var origins []origin
	end := uint64(0) // of the runs so far
	for range count {
		var size, at, n uint64
		if size, b, ok = cutUvarint(b); !ok || size == 0 || size > maxNodeName || size > uint64(len(b)) {
			return nil, nil, bad
		}
		node := NodeID(b[:size])
		if at, b, ok = cutUvarint(b[size:]); !ok || at < end || at > maxGrouped {
			return nil, nil, bad
		}
		if n, b, ok = cutUvarint(b); !ok || n == 0 || n > maxGrouped || len(b) < sequenceLen {
			return nil, nil, bad
		}
		end = at + n
		origins = append(origins, origin{node: node, at: int(at), n: int(n), first: binary.LittleEndian.Uint64(b)})
		b = b[sequenceLen:]
	}
	return origins, b, nil
}

// decodeCommands is also for what travels between nodes.
func decodeCommands(b []byte) ([][]byte, error) {
	count, b, ok := cutUvarint(b)
	// Each command has at least a byte of length: so a count can't ask for more memory than there is entry.
	if !ok || count == 0 || count > maxGrouped || count > uint64(len(b)) {
		return nil, errors.New("count of the entry is damaged")
	}
	lengths := make([]uint64, count)
	var sum uint64
	for i := range lengths {
		if lengths[i], b, ok = cutUvarint(b); !ok || lengths[i] > MaxCommand {
			return nil, errors.New("length in the entry is damaged")
		}
		sum += lengths[i]
	}
	if sum != uint64(len(b)) {
		return nil, errors.New("lengths in the entry don't fit")
	}
	commands := make([][]byte, count)
	for i, n := range lengths {
		commands[i], b = b[:n:n], b[n:]
	}
	return commands, nil
}

func cutUvarint(b []byte) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
