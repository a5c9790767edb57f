package picture

import "encoding/binary"

// webpFormat is chunks in a container that says its size at its begin: so notes are blanked, not left out.
type webpFormat struct {
	opened, pixels bool
	left           uint64 // bytes of the container
}

const (
	flagXMP       = 0x04
	vp8xSize      = 10
	losslessBytes = 8 // of memory for a pixel
	lossyBytes    = 6
)

func (f *webpFormat) end() bool { return f.pixels }

func (f *webpFormat) step(c *Cleaner, b []byte) (int, error) {
	if !f.opened {
		f.opened = true
		f.left = uint64(binary.LittleEndian.Uint32(b[4:])) &^ 1
		if f.left < 4 {
			return 0, errBroken
		}
		f.left -= 4 // the word WEBP
		return 12, c.put(b[:12])
	}
	switch {
	case f.left < chunkHead && !f.pixels:
		return 0, errBroken
	case f.left < chunkHead: // what follows no viewer shows
		return len(b), nil
	}
	if len(b) < chunkHead {
		return 0, nil
	}
	kind, size := string(b[:4]), uint64(binary.LittleEndian.Uint32(b[4:]))
	all := chunkHead + size + size&1
	if all > f.left {
		if kind != "VP8 " && kind != "VP8L" { // pixels may be cut
			return 0, errBroken
		}
		all = f.left
	}
	need := min(all, chunkHead+vp8xSize)
	switch {
	case kind == "EXIF" && all <= heldMost:
		need = all
	case kind != "EXIF" && kind != "VP8X" && kind != "VP8 " && kind != "VP8L":
		need = chunkHead
	}
	if uint64(len(b)) < need {
		return 0, nil
	}
	f.left -= all
	return f.chunk(c, b, kind, size, all)
}

func (f *webpFormat) chunk(c *Cleaner, b []byte, kind string, size, all uint64) (int, error) {
	body := b[chunkHead:min(all, uint64(len(b)))]
	switch kind {
	case "VP8X":
		if size != vp8xSize {
			return 0, errBroken
		}
		if err := c.sized(1+uint24(body[4:]), 1+uint24(body[7:]), losslessBytes); err != nil {
			return 0, err
		}
		head := append([]byte(nil), b[:all]...)
		head[chunkHead] &^= flagXMP
		return int(all), c.put(head)
	case "VP8 ", "VP8L":
		width, height, ok := webpFrame(kind, body)
		if !ok {
			return 0, errBroken
		}
		perPixel := uint64(lossyBytes)
		if kind == "VP8L" {
			perPixel = losslessBytes
		}
		f.pixels = true
		if err := c.sized(width, height, perPixel); err != nil {
			return 0, err
		}
	case "ANMF":
		f.pixels = true
	case "ALPH", "ANIM", "ICCP":
	case "EXIF":
		if all <= heldMost {
			return int(all), f.turn(c, b[:all], size)
		}
		fallthrough
	default:
		if err := c.put(append([]byte("JUNK"), b[4:chunkHead]...)); err != nil {
			return 0, err
		}
		c.span = span{n: all - chunkHead, do: blank}
		return chunkHead, nil
	}
	c.span = span{n: all, do: pass}
	return c.through(b)
}

// turn passes on an Exif chunk of the same size that says how to turn the picture and nothing else.
func (f *webpFormat) turn(c *Cleaner, b []byte, size uint64) error {
	tiff := b[chunkHead : chunkHead+size]
	if len(tiff) >= len(exifHead) && string(tiff[:len(exifHead)]) == exifHead { // some write it as in a JPEG
		tiff = tiff[len(exifHead):]
	}
	out := make([]byte, len(b))
	copy(out, b[:chunkHead])
	turn := turnOf(tiff)
	if only := turnOnly(turn); uint64(len(only)) <= size {
		copy(out[chunkHead:], only)
		if c.info.Turn == 1 {
			c.info.Turn = turn
		}
	} else {
		copy(out, "JUNK")
	}
	return c.put(out)
}

// webpFrame reads the dimensions of coded pixels.
func webpFrame(kind string, b []byte) (width, height uint64, ok bool) {
	if kind == "VP8L" {
		if len(b) < 5 || b[0] != 0x2f {
			return 0, 0, false
		}
		bits := uint64(binary.LittleEndian.Uint32(b[1:]))
		return 1 + bits&0x3fff, 1 + bits>>14&0x3fff, true
	}
	if len(b) < 10 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
		return 0, 0, false
	}
	return uint64(binary.LittleEndian.Uint16(b[6:]) & 0x3fff), uint64(binary.LittleEndian.Uint16(b[8:]) & 0x3fff), true
}

func uint24(b []byte) uint64 { return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 }
