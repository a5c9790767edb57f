package picture

import (
	"bytes"
	"encoding/binary"
)

const exifHead = "Exif\x00\x00"

const (
	tagOrientation = 0x0112
	typeShort      = 3
)

// turnOf is the orientation in a TIFF structure; 1 if it says nothing sensible.
func turnOf(tiff []byte) uint8 {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(tiff, []byte("II*\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(tiff, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return 1
	}
	if len(tiff) < 8 {
		return 1
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	n := order.Uint16(tiff[at:])
	at += 2
	for range n {
		if at+12 > uint64(len(tiff)) {
			return 1
		}
		entry := tiff[at : at+12]
		if order.Uint16(entry) == tagOrientation && order.Uint16(entry[2:]) == typeShort {
			if turn := order.Uint16(entry[8:]); turn >= 1 && turn <= 8 {
				return uint8(turn)
			}
			return 1
		}
		at += 12
	}
	return 1
}

// turnOnly is a TIFF structure that says nothing but the orientation.
func turnOnly(turn uint8) []byte {
	b := []byte("II*\x00\x08\x00\x00\x00\x01\x00")
	b = binary.LittleEndian.AppendUint16(b, tagOrientation)
	b = binary.LittleEndian.AppendUint16(b, typeShort)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(turn))
	return binary.LittleEndian.AppendUint32(b, 0) // no further directory
}
