package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

// ErrNotSmaller: a picture is not made smaller, because it is small enough, or takes too much to decode, or is broken. Show it as it is.
var ErrNotSmaller = errors.New("the picture is not made smaller")

// Bounds on what is decoded to make a picture smaller.
const (
	decodeMost = 192 << 20 // bytes of memory
	scansMost  = 32
	quality    = 82 // of a JPEG
)

// Inspect says what a picture is, from its begin on.
func Inspect(r io.Reader) (Info, error) {
	c := NewCleaner(io.Discard)
	if _, err := io.Copy(c, r); err != nil {
		return Info{}, err
	}
	return c.Close()
}

// Smaller makes a picture that fits into width and height of pixels, upright: a JPEG, or a PNG if one can see through it. Of several frames it is the
// first. ErrNotSmaller: there is none.
func Smaller(r io.ReadSeeker, width, height int) (content []byte, contentType string, err error) {
	return smaller(r, width, height, decodeMost)
}

// smaller is Smaller within so many bytes of memory.
func smaller(r io.ReadSeeker, width, height int, most uint64) (content []byte, contentType string, err error) {
	info, err := Inspect(r)
	if err != nil {
		if errors.As(err, new(*TooLargeError)) {
			return nil, "", fmt.Errorf("%w: %w", ErrNotSmaller, err)
		}
		return nil, "", err
	}
	w, h := fit(int(info.Width), int(info.Height), width, height)
	if info.Type == "" || info.decoding > most || info.scans > scansMost || w >= int(info.Width) {
		return nil, "", ErrNotSmaller
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, "", err
	}
	src, err := decode(r, info.Type)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNotSmaller, err)
	}
	return encode(scaled(src, w, h, info.Turn))
}

// fit is the largest size of the same shape within bounds.
func fit(width, height, mostWidth, mostHeight int) (w, h int) {
	if width <= mostWidth && height <= mostHeight || width == 0 || height == 0 {
		return width, height
	}
	w, h = mostWidth, height*mostWidth/width
	if h > mostHeight {
		w, h = width*mostHeight/height, mostHeight
	}
	return max(w, 1), max(h, 1)
}

func decode(r io.Reader, contentType string) (image.Image, error) {
	switch contentType {
	case JPEG:
		return jpeg.Decode(r)
	case PNG:
		return png.Decode(r)
	case GIF:
		return gif.Decode(r)
	case WebP:
		return webp.Decode(r)
	case BMP:
		return bmp.Decode(r)
	}
	return nil, fmt.Errorf("no decoder for %s", contentType)
}

// strip is how many rows or columns are scaled at a time: the library takes 32 bytes for each pixel of the new width and the old height, which
// for a large photo would be more than the photo.
const strip = 64

// scaled is a picture of w x h as shown, which is after turning. First its width is changed and then its height, which comes to the same.
func scaled(src image.Image, w, h int, turn uint8) *image.RGBA {
	if turn >= 5 {
		w, h = h, w
	}
	from := src.Bounds()
	narrow := image.NewRGBA(image.Rect(0, 0, w, from.Dy()))
	for y := 0; y < from.Dy(); y += strip {
		end := min(y+strip, from.Dy())
		draw.BiLinear.Scale(narrow, image.Rect(0, y, w, end), src, image.Rect(from.Min.X, from.Min.Y+y, from.Max.X, from.Min.Y+end), draw.Src, nil)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	for x := 0; x < w; x += strip {
		end := min(x+strip, w)
		draw.BiLinear.Scale(small, image.Rect(x, 0, end, h), narrow, image.Rect(x, 0, end, from.Dy()), draw.Src, nil)
	}
	return turned(small, turn)
}

// turned sets a picture upright: 2 to 4 are mirrored, upside down and both, 5 to 8 the same after their sides change places.
func turned(src *image.RGBA, turn uint8) *image.RGBA {
	if turn <= 1 || turn > 8 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	outW, outH := w, h
	if turn >= 5 {
		outW, outH = h, w
	}
	dst := image.NewRGBA(image.Rect(0, 0, outW, outH))
	for y := range outH {
		for x := range outW {
			sx, sy := source(turn, x, y, w, h)
			copy(dst.Pix[dst.PixOffset(x, y):][:4], src.Pix[src.PixOffset(sx, sy):][:4])
		}
	}
	return dst
}

// source is the pixel of a stored picture of w x h that is shown at x, y.
func source(turn uint8, x, y, w, h int) (sx, sy int) {
	switch turn {
	case 2:
		return w - 1 - x, y
	case 3:
		return w - 1 - x, h - 1 - y
	case 4:
		return x, h - 1 - y
	case 5:
		return y, x
	case 6:
		return y, h - 1 - x
	case 7:
		return w - 1 - y, h - 1 - x
	case 8:
		return w - 1 - y, x
	}
	return x, y
}

func encode(img *image.RGBA) (content []byte, contentType string, err error) {
	var b bytes.Buffer
	if img.Opaque() {
		err = jpeg.Encode(&b, img, &jpeg.Options{Quality: quality})
		return b.Bytes(), JPEG, err
	}
	err = png.Encode(&b, img)
	return b.Bytes(), PNG, err
}
