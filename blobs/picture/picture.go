// Package picture looks at pictures without trusting them: what they are and how large before anything is decoded, without what a camera wrote about place
// and person, and smaller ones of them. It does no I/O of its own.
package picture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The types of content that are pictures here.
const (
	JPEG = "image/jpeg"
	PNG  = "image/png"
	GIF  = "image/gif"
	WebP = "image/webp"
	BMP  = "image/bmp"
)

// IsPicture reports whether a type is one of those above.
func IsPicture(contentType string) bool {
	switch contentType {
	case JPEG, PNG, GIF, WebP, BMP:
		return true
	}
	return false
}

// Bounds on what a picture may say of itself. Phones make 200 million pixels by now; a decoded pixel has four bytes.
const (
	MaxSide   = 32_767
	MaxPixels = 1 << 28
)

// TooLargeError is a picture beyond MaxSide or MaxPixels.
type TooLargeError struct{ Width, Height uint64 }

// Error says how large it is, and what would be taken.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a picture of %dx%d pixels: at most %d on a side and %d in all", e.Width, e.Height, MaxSide, MaxPixels)
}

// Info is what a picture says of itself; nothing was decoded for it.
type Info struct {
	Type          string // empty: no picture, or a broken one
	Width, Height uint32 // as shown, that is turned as Turn says
	Turn          uint8  // how it is to be turned, as in Exif: 1 is upright, at most 8
	decoding      uint64 // bytes of memory that decoding takes
	scans         int    // of a JPEG
}

// A format reads one kind of picture piece by piece. step is given bytes that were not used yet and returns how many it has used; none means that it
// needs more. What is to be passed on it passes to the cleaner. errBroken means that the rest is no picture of its kind.
type format interface {
	step(c *Cleaner, b []byte) (used int, err error)
	// end reports whether what came was enough for a picture.
	end() bool
}

// errBroken is no failure: a broken picture is content like any other.
var errBroken = errors.New("no picture of its kind")

// Cleaner passes content on as it comes, pictures without what they say of where, when and by whom they were made: of Exif only how the picture is to
// be turned stays [TT-MEDIA-8]. Nothing is encoded anew. Content that is no picture, and the rest of a broken one, passes as it is.
type Cleaner struct {
	to     io.Writer
	info   Info
	format format // nil: not known yet, or none
	held   []byte // not used yet
	span   span
	failed error
	raw    bool // the rest passes as it is
	began  bool
}

// span is what happens to the next bytes, whatever they are.
type span struct {
	n  uint64
	do what
}

type what uint8

const (
	pass what = iota
	drop
	blank // zeros in its place
)

// NewCleaner makes a Cleaner in front of a writer.
func NewCleaner(to io.Writer) *Cleaner { return &Cleaner{to: to, info: Info{Turn: 1}} }

// sniffed is how many bytes tell what kind of picture content is.
const sniffed = 16

// heldMost is how long a part may be that is looked at as one, and so held back until it is there: the longest segment of a JPEG, and a little.
const heldMost = 64<<10 + 64

// Write takes the next bytes. TooLargeError as soon as a picture says that it is; other errors are the writer's. After an error nothing more is taken.
func (c *Cleaner) Write(p []byte) (int, error) {
	if c.failed == nil {
		c.failed = c.take(p)
	}
	if c.failed != nil {
		return 0, c.failed
	}
	return len(p), nil
}

func (c *Cleaner) take(p []byte) error {
	b := p
	if len(c.held) > 0 {
		c.held = append(c.held, p...)
		b = c.held
	}
	rest, err := c.use(b)
	if err != nil {
		return err
	}
	c.held = append(c.held[:0], rest...)
	return nil
}

// use handles what it can of b and returns the rest.
func (c *Cleaner) use(b []byte) (rest []byte, err error) {
	for len(b) > 0 {
		var used int
		switch {
		case c.span.n > 0:
			used, err = c.through(b)
		case c.raw:
			used, err = len(b), c.put(b)
		case !c.began && len(b) < sniffed:
			return b, nil
		case !c.began:
			c.begin(b)
			continue
		default:
			used, err = c.format.step(c, b)
			switch {
			case errors.Is(err, errBroken):
				c.raw = true
				continue
			case used == 0 && err == nil:
				return b, nil
			}
		}
		if err != nil {
			return nil, err
		}
		b = b[used:]
	}
	return nil, nil
}

// through does with bytes of a span what is to be done.
func (c *Cleaner) through(b []byte) (used int, err error) {
	n := int(min(c.span.n, uint64(len(b))))
	c.span.n -= uint64(n)
	switch c.span.do {
	case pass:
		err = c.put(b[:n])
	case blank:
		err = c.put(make([]byte, n))
	case drop:
	}
	return n, err
}

func (c *Cleaner) put(b []byte) error {
	_, err := c.to.Write(b)
	return err
}

// begin finds out what comes.
func (c *Cleaner) begin(b []byte) {
	c.began = true
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xd8\xff")):
		c.format, c.info.Type = &jpegFormat{}, JPEG
	case bytes.HasPrefix(b, []byte(pngSignature)):
		c.format, c.info.Type = &pngFormat{}, PNG
	case bytes.HasPrefix(b, []byte("GIF87a")), bytes.HasPrefix(b, []byte("GIF89a")):
		c.format, c.info.Type = &gifFormat{}, GIF
	case bytes.HasPrefix(b, []byte("RIFF")) && string(b[8:12]) == "WEBP":
		c.format, c.info.Type = &webpFormat{}, WebP
	case bytes.HasPrefix(b, []byte("BM")):
		c.format, c.info.Type = &bmpFormat{}, BMP
	default:
		c.raw = true
	}
}

// sized notes the dimensions of a picture, and what decoding takes.
func (c *Cleaner) sized(width, height, bytesPerPixel uint64) error {
	switch {
	case width == 0 || height == 0:
		return errBroken
	case width > MaxSide || height > MaxSide || width*height > MaxPixels:
		return &TooLargeError{Width: width, Height: height}
	}
	c.info.Width, c.info.Height = max(c.info.Width, uint32(width)), max(c.info.Height, uint32(height))
	c.info.decoding = max(c.info.decoding, width*height*bytesPerPixel)
	return nil
}

// Close passes on what was held back and says what it was. The writer is not closed.
func (c *Cleaner) Close() (Info, error) {
	if c.failed != nil {
		return Info{}, c.failed
	}
	if err := c.put(c.held); err != nil { // the rest of a picture that was cut, or too little to be one
		return Info{}, err
	}
	c.held = nil
	if c.raw || c.format == nil || !c.format.end() {
		return Info{Turn: 1}, nil
	}
	if c.info.Turn >= 5 { // lying on its side
		c.info.Width, c.info.Height = c.info.Height, c.info.Width
	}
	return c.info, nil
}
