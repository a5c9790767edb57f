package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A grouped entry is what one raft log entry carries:
//
//	1 byte   version, 1
//	4 bytes  CRC-32C of all that follows, little endian: bbolt's pages have no checksum of their own
//	uvarint  time, milliseconds since 1970, stamped by the leader
//	uvarint  count of commands, 1 to 65,536
//	uvarint  length of each command
//	         the commands, one after the other
const (
	entryVersion   = 1
	entryHeaderLen = 5
	maxGrouped     = 1 << 16 // protocol.Position.Sub has 16 bits
	headerVarints  = 2
)

var errNewerEntry = errors.New("entry of a newer version")

type entry struct {
	timeMs   int64
	commands [][]byte
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encodeEntry puts commands into one entry.
func encodeEntry(timeMs int64, commands [][]byte) []byte {
	size := entryHeaderLen + headerVarints*binary.MaxVarintLen64
	for _, c := range commands {
		size += len(c) + binary.MaxVarintLen32
	}
	b := make([]byte, entryHeaderLen, size)
	b[0] = entryVersion
	b = binary.AppendUvarint(b, uint64(max(timeMs, 0)))
	b = binary.AppendUvarint(b, uint64(len(commands)))
	for _, c := range commands {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	for _, c := range commands {
		b = append(b, c...)
	}
	binary.LittleEndian.PutUint32(b[1:], crc32.Checksum(b[entryHeaderLen:], castagnoli()))
	return b
}

// decodeEntry takes an entry apart; the commands share b's memory. errNewerEntry if this program is too old for it.
func decodeEntry(b []byte) (entry, error) {
	if len(b) == 0 {
		return entry{}, errors.New("empty entry")
	}
	if b[0] > entryVersion {
		return entry{}, fmt.Errorf("%w: version %d, this program knows up to %d", errNewerEntry, b[0], entryVersion)
	}
	if b[0] != entryVersion || len(b) < entryHeaderLen {
		return entry{}, errors.New("not a grouped entry")
	}
	if crc32.Checksum(b[entryHeaderLen:], castagnoli()) != binary.LittleEndian.Uint32(b[1:]) {
		return entry{}, errors.New("checksum of the entry does not match")
	}
	return decodeCommands(b[entryHeaderLen:])
}

func decodeCommands(b []byte) (entry, error) {
	timeMs, b, ok := cutUvarint(b)
	if !ok || timeMs > 1<<62 {
		return entry{}, errors.New("time of the entry is damaged")
	}
	count, b, ok := cutUvarint(b)
	// Each command has at least a byte of length: so a count can't ask for more memory than there is entry.
	if !ok || count == 0 || count > maxGrouped || count > uint64(len(b)) {
		return entry{}, errors.New("count of the entry is damaged")
	}
	lengths := make([]uint64, count)
	var sum uint64
	for i := range lengths {
		if lengths[i], b, ok = cutUvarint(b); !ok || lengths[i] > MaxCommand {
			return entry{}, errors.New("length in the entry is damaged")
		}
		sum += lengths[i]
	}
	if sum != uint64(len(b)) {
		return entry{}, errors.New("lengths in the entry don't fit")
	}
	e := entry{timeMs: int64(timeMs), commands: make([][]byte, count)}
	for i, n := range lengths {
		e.commands[i], b = b[:n:n], b[n:]
	}
	return e, nil
}

func cutUvarint(b []byte) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
