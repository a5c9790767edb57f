package picture

import "encoding/binary"

// gifFormat is looked at for its size only: it has no place for what cameras write.
type gifFormat struct{ headed bool }

func (f *gifFormat) end() bool { return f.headed }

func (f *gifFormat) step(c *Cleaner, b []byte) (int, error) {
	if !f.headed { // begin saw to it that there are enough bytes
		f.headed = true
		if err := c.sized(uint64(binary.LittleEndian.Uint16(b[6:])), uint64(binary.LittleEndian.Uint16(b[8:])), 5); err != nil {
			return 0, err
		}
	}
	return len(b), c.put(b)
}

// bmpFormat has no place for notes either.
type bmpFormat struct{ headed bool }

const (
	bmpHeaders = 26 // bytes of the file header, and of the smallest other one
	bmpCore    = 12 // bytes of that one, which has dimensions of two bytes
	bmpInfo    = 40
	bmpMost    = 124
)

func (f *bmpFormat) end() bool { return f.headed }

func (f *bmpFormat) step(c *Cleaner, b []byte) (int, error) {
	if f.headed {
		return len(b), c.put(b)
	}
	if len(b) < bmpHeaders {
		return 0, nil
	}
	var width, height uint64
	switch size := binary.LittleEndian.Uint32(b[14:]); {
	case size == bmpCore:
		width, height = uint64(binary.LittleEndian.Uint16(b[18:])), uint64(binary.LittleEndian.Uint16(b[20:]))
	case size >= bmpInfo && size <= bmpMost:
		w, h := int64(int32(binary.LittleEndian.Uint32(b[18:]))), int64(int32(binary.LittleEndian.Uint32(b[22:])))
		if w <= 0 {
			return 0, errBroken
		}
		width, height = uint64(w), uint64(max(h, -h)) // from the top if negative
	default:
		return 0, errBroken
	}
	f.headed = true
	if err := c.sized(width, height, 4); err != nil {
		return 0, err
	}
	return len(b), c.put(b)
}
