package picture

import (
	"encoding/binary"
	"hash/crc32"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// pngFormat is chunks: length, type, that many bytes, checksum.
type pngFormat struct {
	signed, headed, pixels, ended bool
}

const (
	chunkHead = 8 // bytes of length and type
	chunkTail = 4 // bytes of the checksum
	ihdrSize  = 13
)

func (f *pngFormat) end() bool { return f.pixels }

func (f *pngFormat) step(c *Cleaner, b []byte) (int, error) {
	switch {
	case f.ended: // what follows no viewer shows
		return len(b), nil
	case !f.signed:
		f.signed = true
		return len(pngSignature), c.put(b[:len(pngSignature)])
	case len(b) < chunkHead:
		return 0, nil
	}
	size, kind := uint64(binary.BigEndian.Uint32(b)), string(b[4:8])
	if size > 1<<31-1 || !isLetters(kind) || !f.headed && kind != "IHDR" {
		return 0, errBroken
	}
	all := chunkHead + size + chunkTail
	switch kind {
	case "IHDR":
		if f.headed || size != ihdrSize {
			return 0, errBroken
		}
		if uint64(len(b)) < all {
			return 0, nil
		}
		f.headed = true
		return int(all), f.header(c, b[:all])
	case "eXIf":
		if all <= heldMost {
			if uint64(len(b)) < all {
				return 0, nil
			}
			return int(all), keepTurn(c, b[chunkHead:chunkHead+size])
		}
	case "IDAT":
		f.pixels = true
	case "IEND":
		if !f.pixels {
			return 0, errBroken
		}
		f.ended = true
	}
	c.span = span{n: all, do: drop}
	if isShown(kind) {
		c.span.do = pass
	}
	return c.through(b)
}

// header reads IHDR.
func (f *pngFormat) header(c *Cleaner, b []byte) error {
	body := b[chunkHead:]
	channels := map[byte]uint64{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[body[9]]
	if channels == 0 {
		return errBroken
	}
	perPixel := uint64(4)
	if body[8] == 16 {
		perPixel = 8
	}
	if isInterlaced := body[12] != 0; isInterlaced {
		perPixel *= 2
	}
	if err := c.sized(uint64(binary.BigEndian.Uint32(body)), uint64(binary.BigEndian.Uint32(body[4:])), perPixel); err != nil {
		return err
	}
	return c.put(b)
}

// isShown reports whether a viewer needs a kind of chunk; the others are notes.
func isShown(kind string) bool {
	switch kind {
	case "IHDR", "PLTE", "IDAT", "IEND", "tRNS", "cHRM", "gAMA", "iCCP", "sBIT", "sRGB", "cICP", "mDCV", "cLLI", "bKGD", "pHYs", "hIST", "sPLT", "acTL", "fcTL", "fdAT":
		return true
	}
	return false
}

// keepTurn passes on how to turn the picture, if it is not upright.
func keepTurn(c *Cleaner, tiff []byte) error {
	turn := turnOf(tiff)
	if turn == 1 || c.info.Turn != 1 {
		return nil
	}
	c.info.Turn = turn
	body := turnOnly(turn)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, "eXIf"...), body...)
	return c.put(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:])))
}

func isLetters(s string) bool {
	for _, r := range []byte(s) {
		if r|0x20 < 'a' || r|0x20 > 'z' {
			return false
		}
	}
	return true
}
