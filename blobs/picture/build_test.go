package picture

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"testing"

	"golang.org/x/image/bmp"
)

// secret stands for what nobody is to learn from a picture.
const secret = "52.5200N 13.4050E Kamera 4711"

// drawn is a picture with a corner that can be told from the others.
func drawn(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{uint8(255 * x / w), uint8(255 * y / h), 40, 255})
			if x < w/4 && y < h/4 {
				img.SetRGBA(x, y, color.RGBA{0, 0, 255, 255})
			}
		}
	}
	return img
}

func encoded(t testing.TB, kind string, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch kind {
	case JPEG:
		err = jpeg.Encode(&b, img, nil)
	case PNG:
		err = png.Encode(&b, img)
	case GIF:
		err = gif.Encode(&b, img, nil)
	case BMP:
		err = bmp.Encode(&b, img)
	default:
		t.Fatalf("no encoder for %s", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// exif is what a camera writes: how to turn the picture, and where it was made.
func exif(turn uint16, order binary.AppendByteOrder) []byte {
	head := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		head = []byte("MM\x00*")
	}
	b := order.AppendUint32(head, 8)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 0x010f) // the maker of the camera
	b = order.AppendUint16(b, 2)
	b = order.AppendUint32(b, uint32(len(secret)))
	b = order.AppendUint32(b, 38)
	b = order.AppendUint16(b, tagOrientation)
	b = order.AppendUint16(b, typeShort)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint16(b, turn)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint32(b, 0)
	return append(b, secret...)
}

func segment(mark byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, mark}, uint16(2+len(body))), body...)
}

// photo is a JPEG as phones make them.
func photo(t testing.TB, w, h int, turn uint16) []byte {
	plain := encoded(t, JPEG, drawn(w, h))
	return slices.Concat(plain[:2],
		segment(0xe1, append([]byte(exifHead), exif(turn, binary.BigEndian)...)),
		segment(0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00<x>"+secret+"</x>")),
		segment(0xe2, []byte("ICC_PROFILE\x00\x01\x01colours")),
		segment(0xe2, []byte("MPF\x00"+secret)),
		segment(0xed, []byte("Photoshop 3.0\x00"+secret)),
		segment(0xee, []byte("Adobe\x00\x64\x00\x00\x00\x00\x01")),
		segment(0xfe, []byte(secret)),
		plain[2:], []byte("\xff\xd8\xff\xe1 one more picture: "+secret))
}

func chunk(kind string, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// shot is a PNG as programs make them.
func shot(t testing.TB, w, h int, turn uint16) []byte {
	plain := encoded(t, PNG, drawn(w, h))
	head := len(pngSignature) + chunkHead + ihdrSize + chunkTail
	end := len(plain) - chunkHead - chunkTail
	return slices.Concat(plain[:head], chunk("tEXt", []byte("Comment\x00"+secret)), chunk("iTXt", []byte(secret)), chunk("eXIf", exif(turn, binary.LittleEndian)),
		chunk("gAMA", []byte{0, 0, 0xb1, 0x8f}), plain[head:end], chunk("tIME", []byte("1234567")), plain[end:], []byte(secret))
}

// onePixel is a WebP without more than that.
const onePixel = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="

func riff(chunks ...[]byte) []byte {
	body := append([]byte("WEBP"), slices.Concat(chunks...)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func webpChunk(kind string, body []byte) []byte {
	b := append(binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body))), body...)
	if len(body)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// extended is a WebP with notes.
func extended(t testing.TB, turn uint16) []byte {
	pixels, err := base64.StdEncoding.DecodeString(onePixel)
	if err != nil {
		t.Fatal(err)
	}
	return append(riff(webpChunk("VP8X", []byte{0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0}), pixels[12:],
		webpChunk("EXIF", exif(turn, binary.LittleEndian)), webpChunk("XMP ", []byte(secret)), webpChunk("oddl", []byte(secret+"."))), secret...)
}

func clean(t testing.TB, content []byte, parts ...int) ([]byte, Info) {
	t.Helper()
	var out bytes.Buffer
	c := NewCleaner(&out)
	for _, n := range parts {
		n = min(n, len(content))
		if _, err := c.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		content = content[n:]
	}
	if _, err := c.Write(content); err != nil {
		t.Fatal(err)
	}
	info, err := c.Close()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), info
}
