package picture

import (
	"bytes"
	"encoding/binary"
)

// maxScans is how many scans a JPEG may have to be taken for a picture: each costs whoever decodes it a pass over all pixels, and a few bytes in the file.
const maxScans = 256

// jpegFormat is markers with segments, and after each SOS what it begins.
type jpegFormat struct {
	started, inScan, ended bool
	frame                  bool // its dimensions are known
	scans                  int
}

const (
	markSOI  = 0xd8
	markEOI  = 0xd9
	markSOS  = 0xda
	markDHT  = 0xc4
	markJPG  = 0xc8
	markDAC  = 0xcc
	markCOM  = 0xfe
	markAPP0 = 0xe0
)

func (f *jpegFormat) end() bool { return f.frame && f.scans > 0 }

func (f *jpegFormat) step(c *Cleaner, b []byte) (int, error) {
	if f.ended { // what follows belongs to no viewer: more pictures, with places of their own, or whole films
		return len(b), nil
	}
	if f.inScan {
		return f.scan(c, b)
	}
	if len(b) < 2 {
		return 0, nil
	}
	mark := b[1]
	switch {
	case b[0] != 0xff:
		return 0, errBroken
	case mark == 0xff: // any number of them may stand before a marker
		return 1, c.put(b[:1])
	case !f.started && mark == markSOI:
		f.started = true
		return 2, c.put(b[:2])
	case !f.started, mark < 0xc0, mark == markSOI: // markers without a segment stand in scans
		return 0, errBroken
	case mark >= 0xd0 && mark <= 0xd7:
		return 2, c.put(b[:2])
	case mark == markEOI && !f.end():
		return 0, errBroken
	case mark == markEOI:
		f.ended = true
		return 2, c.put(b[:2])
	case len(b) < 4:
		return 0, nil
	}
	n := 2 + int(binary.BigEndian.Uint16(b[2:]))
	if n < 4 {
		return 0, errBroken
	}
	return f.segment(c, b, mark, n)
}

// segment handles a marker and its n bytes in all.
func (f *jpegFormat) segment(c *Cleaner, b []byte, mark byte, n int) (int, error) {
	isFrame := mark >= 0xc0 && mark <= 0xcf && mark != markDHT && mark != markJPG && mark != markDAC
	isNote := mark > markAPP0 && mark <= 0xef || mark == markCOM
	if !isFrame && !isNote {
		if mark == markSOS {
			if f.scans++; !f.frame || f.scans > maxScans {
				return 0, errBroken
			}
			f.inScan = true
			c.info.scans = f.scans
		}
		c.span = span{n: uint64(n), do: pass}
		return c.through(b)
	}
	if len(b) < n {
		return 0, nil // to be looked at as one
	}
	if isFrame {
		return n, f.dimensions(c, b[:n], mark)
	}
	return n, keepNote(c, b[:n], mark)
}

// dimensions reads a frame header.
func (f *jpegFormat) dimensions(c *Cleaner, b []byte, mark byte) error {
	if f.frame || len(b) < 10 { // a second frame could be of another size
		return errBroken
	}
	f.frame = true
	perPixel := uint64(3)
	if b[9] == 4 {
		perPixel = 8 // four colours, and as many again to make three of them
	}
	if isProgressive := mark&3 == 2; isProgressive {
		perPixel += 4 * uint64(b[9]) // coefficients are kept until the last scan
	}
	if err := c.sized(uint64(binary.BigEndian.Uint16(b[7:])), uint64(binary.BigEndian.Uint16(b[5:])), perPixel); err != nil {
		return err
	}
	return c.put(b)
}

// keepNote passes on what viewers need: colours, and how to turn the picture.
func keepNote(c *Cleaner, b []byte, mark byte) error {
	body := b[4:]
	switch {
	case mark == markAPP0+2 && bytes.HasPrefix(body, []byte("ICC_PROFILE\x00")), mark == markAPP0+14 && bytes.HasPrefix(body, []byte("Adobe")):
		return c.put(b)
	case mark == markAPP0+1 && bytes.HasPrefix(body, []byte(exifHead)):
		turn := turnOf(body[len(exifHead):])
		if turn == 1 || c.info.Turn != 1 {
			return nil
		}
		c.info.Turn = turn
		exif := append([]byte(exifHead), turnOnly(turn)...)
		return c.put(append([]byte{0xff, markAPP0 + 1, 0, byte(2 + len(exif))}, exif...))
	}
	return nil
}

// scan passes compressed pixels on up to the next marker.
func (f *jpegFormat) scan(c *Cleaner, b []byte) (int, error) {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], 0xff)
		if i < 0 {
			return len(b), c.put(b)
		}
		at += i
		if at+1 == len(b) {
			return at, c.put(b[:at]) // and the rest with what follows
		}
		if next := b[at+1]; next != 0 && next != 0xff && (next < 0xd0 || next > 0xd7) {
			f.inScan = false
			if at == 0 {
				return f.step(c, b)
			}
			return at, c.put(b[:at])
		}
		if b[at+1] == 0xff {
			at++
		} else {
			at += 2
		}
	}
}
