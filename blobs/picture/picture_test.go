package picture

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
	"pgregory.net/rapid"
)

// [TT-MEDIA-8]: what a camera writes is gone, but for how to turn the picture, and every pixel is what it was.
func TestClean(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content []byte
		want    Info
	}{
		{"photo, upright", photo(t, 40, 30, 1), Info{Type: JPEG, Width: 40, Height: 30, Turn: 1}},
		{"photo, on its side", photo(t, 40, 30, 6), Info{Type: JPEG, Width: 30, Height: 40, Turn: 6}},
		{"screen shot, upright", shot(t, 40, 30, 1), Info{Type: PNG, Width: 40, Height: 30, Turn: 1}},
		{"screen shot, upside down", shot(t, 40, 30, 3), Info{Type: PNG, Width: 40, Height: 30, Turn: 3}},
		{"WebP, on its side", extended(t, 8), Info{Type: WebP, Width: 1, Height: 1, Turn: 8}},
		{"GIF", encoded(t, GIF, drawn(20, 10)), Info{Type: GIF, Width: 20, Height: 10, Turn: 1}},
		{"BMP", encoded(t, BMP, drawn(20, 10)), Info{Type: BMP, Width: 20, Height: 10, Turn: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, info := clean(t, tt.content)
			got := info
			got.decoding, got.scans = 0, 0
			if got != tt.want {
				t.Errorf("it is %+v, want %+v", got, tt.want)
			}
			if bytes.Contains(out, []byte("Kamera")) || bytes.Contains(out, []byte("52.5200")) {
				t.Errorf("it still says %q", secret)
			}
			before, err := decode(bytes.NewReader(tt.content), info.Type)
			if err != nil {
				t.Fatal(err)
			}
			after, err := decode(bytes.NewReader(out), info.Type)
			if err != nil {
				t.Fatalf("cleaned: %v", err)
			}
			if !samePixels(before, after) {
				t.Error("the pixels are others")
			}
			again, info := clean(t, out)
			if !bytes.Equal(again, out) || info.Turn != tt.want.Turn {
				t.Errorf("cleaned twice it is another one: %d bytes and turn %d, were %d", len(again), info.Turn, len(out))
			}
		})
	}
}

func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			if a.At(x, y) != b.At(x, y) {
				return false
			}
		}
	}
	return true
}

// Colours stay: without the profile and Adobe's note a photo looks otherwise.
func TestColoursStay(t *testing.T) {
	out, _ := clean(t, photo(t, 8, 8, 1))
	for _, note := range []string{"ICC_PROFILE", "Adobe"} {
		if !bytes.Contains(out, []byte(note)) {
			t.Errorf("%s is gone", note)
		}
	}
	if out, _ := clean(t, shot(t, 8, 8, 1)); !bytes.Contains(out, []byte("gAMA")) {
		t.Error("gAMA is gone")
	}
}

// A WebP says its size at its begin: it stays the same, and the flags name what there is.
func TestCleanWebPKeepsItsSize(t *testing.T) {
	in := extended(t, 8)
	out, _ := clean(t, in)
	if want := len(in) - len(secret); len(out) != want || binary.LittleEndian.Uint32(out[4:]) != uint32(want-8) {
		t.Errorf("%d bytes, want %d", len(out), want)
	}
	if flags := out[20]; flags != 0x08 {
		t.Errorf("flags %#x, want Exif alone", flags)
	}
	if _, err := webp.Decode(bytes.NewReader(out)); err != nil {
		t.Error(err)
	}
}

// However the bytes come, the same goes out.
func TestCleanInPieces(t *testing.T) {
	all := [][]byte{photo(t, 40, 30, 6), shot(t, 40, 30, 3), extended(t, 8), encoded(t, GIF, drawn(9, 9)), encoded(t, BMP, drawn(9, 9)),
		[]byte("text that is no picture"), []byte("\x89PNG\r\n\x1a\n\x00\x01\x02\x03z"), photo(t, 40, 30, 6)[:700], {0xff, 0xd8, 0xff}}
	rapid.Check(t, func(r *rapid.T) {
		content := rapid.SampledFrom(all).Draw(r, "content")
		parts := rapid.SliceOfN(rapid.IntRange(0, 90), 0, 60).Draw(r, "parts")
		whole, wholeInfo := clean(t, content)
		pieces, info := clean(t, content, parts...)
		if !bytes.Equal(whole, pieces) || wholeInfo != info {
			r.Fatalf("in pieces it is another one: %+v and %+v", info, wholeInfo)
		}
	})
}

// What is no picture, or a broken one, passes as it is and is no picture.
func TestOtherContentPasses(t *testing.T) {
	big := encoded(t, JPEG, drawn(8, 8))
	twoFrames := slices.Concat(big[:2], segment(0xc0, []byte{8, 0, 1, 0, 1, 1, 1, 0x11, 0}), big[2:])
	for name, content := range map[string][]byte{
		"nothing":               {},
		"text":                  []byte("hello"),
		"a program called .png": append([]byte("MZ\x90\x00"), make([]byte, 200)...),
		"a PNG in name only":    append([]byte(pngSignature), "\x00\x01\x02\x03z\x00\x01\x02\x03z"...),
		"a JPEG of two sizes":   twoFrames,
		"a WebP without chunks": []byte("RIFF\x04\x00\x00\x00WEBP\x00\x00\x00\x00"),
		"a page called .gif":    []byte("GIF89<script>alert(1)</script>"),
		"a BMP of another kind": []byte("BM and nothing that a header would say"),
	} {
		out, info := clean(t, content)
		if !bytes.Equal(out, content) {
			t.Errorf("%s: changed from %d to %d bytes", name, len(content), len(out))
		}
		if info.Type != "" {
			t.Errorf("%s: is %s", name, info.Type)
		}
	}
}

// Dimensions are refused as soon as they are known, before anything is decoded.
func TestTooLarge(t *testing.T) {
	header := func(w, h uint32) []byte {
		b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
		return append([]byte(pngSignature), chunk("IHDR", append(b, 8, 2, 0, 0, 0))...)
	}
	sof := slices.Concat([]byte{0xff, 0xd8}, segment(0xc2, []byte{8, 0xea, 0x60, 0xea, 0x60, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0}))
	canvas := riff(webpChunk("VP8X", []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	bitmap := slices.Concat([]byte("BM"), make([]byte, 12), []byte{40, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil, 60_000), binary.LittleEndian.AppendUint32(nil, 60_000), make([]byte, 30))
	for name, content := range map[string][]byte{
		"PNG": header(60_000, 60_000), "a long PNG": header(MaxSide+1, 1), "PNG of many pixels": header(30_000, 30_000),
		"JPEG": sof, "GIF": []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00"), "WebP": canvas, "BMP": bitmap,
	} {
		c := NewCleaner(io.Discard)
		_, err := c.Write(content)
		var large *TooLargeError
		if !errors.As(err, &large) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Write([]byte("more")); !errors.As(err, &large) {
			t.Errorf("%s goes on: %v", name, err)
		}
	}
	if _, err := NewCleaner(io.Discard).Write(header(MaxSide, MaxPixels/MaxSide)); err != nil {
		t.Errorf("the largest: %v", err)
	}
}

// A JPEG of very many scans costs whoever shows it far more than it has bytes.
func TestManyScans(t *testing.T) {
	plain := encoded(t, JPEG, drawn(8, 8))
	at := bytes.LastIndex(plain, []byte{0xff, markSOS})
	scan := plain[at : len(plain)-2]
	if _, info := clean(t, slices.Concat(plain[:at], bytes.Repeat(scan, maxScans), plain[len(plain)-2:])); info.Type != JPEG || info.scans != maxScans {
		t.Errorf("with %d scans: %+v", maxScans, info)
	}
	many := slices.Concat(plain[:at], bytes.Repeat(scan, maxScans+1), plain[len(plain)-2:])
	if _, info := clean(t, many); info.Type != "" {
		t.Errorf("with one more: %+v", info)
	}
	some := slices.Concat(plain[:at], bytes.Repeat(scan, scansMost+1), plain[len(plain)-2:])
	if _, _, err := Smaller(bytes.NewReader(some), 4, 4); !errors.Is(err, ErrNotSmaller) {
		t.Errorf("made smaller: %v", err)
	}
}

func TestSmaller(t *testing.T) {
	seeThrough := image.NewNRGBA(image.Rect(0, 0, 90, 30))
	seeThrough.Set(3, 3, color.NRGBA{255, 0, 0, 255})
	for _, tt := range []struct {
		name          string
		content       []byte
		width, height int
		w, h          int
		kind          string
	}{
		{"wide", photo(t, 400, 300, 1), 100, 100, 100, 75, JPEG},
		{"on its side", photo(t, 400, 300, 6), 100, 100, 75, 100, JPEG},
		{"high", shot(t, 30, 300, 1), 640, 100, 10, 100, JPEG},
		{"a line", encoded(t, PNG, drawn(500, 1)), 100, 100, 100, 1, JPEG},
		{"one can see through", encoded(t, PNG, seeThrough), 30, 30, 30, 10, PNG},
		{"GIF", encoded(t, GIF, drawn(64, 64)), 32, 32, 32, 32, JPEG},
		{"BMP", encoded(t, BMP, drawn(64, 64)), 32, 32, 32, 32, JPEG},
	} {
		content, kind, err := Smaller(bytes.NewReader(tt.content), tt.width, tt.height)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		img, err := decode(bytes.NewReader(content), kind)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := img.Bounds().Size(); kind != tt.kind || got != image.Pt(tt.w, tt.h) {
			t.Errorf("%s: %s of %v, want %s of %dx%d", tt.name, kind, got, tt.kind, tt.w, tt.h)
		}
	}
}

// The blue corner is top left in what is shown, however the pixels were stored.
func TestSmallerIsUpright(t *testing.T) {
	for turn := uint16(1); turn <= 8; turn++ {
		shown := drawn(80, 40)
		stored := image.NewRGBA(image.Rect(0, 0, 80, 40))
		if turn >= 5 {
			stored = image.NewRGBA(image.Rect(0, 0, 40, 80))
		}
		size := stored.Bounds().Size()
		for y := range 40 {
			for x := range 80 {
				sx, sy := storedAt(turn, x, y, size.X, size.Y)
				stored.Set(sx, sy, shown.At(x, y))
			}
		}
		plain := encoded(t, PNG, stored)
		head := len(pngSignature) + chunkHead + ihdrSize + chunkTail
		content := slices.Concat(plain[:head], chunk("eXIf", exif(turn, binary.BigEndian)), plain[head:])
		small, kind, err := Smaller(bytes.NewReader(content), 40, 40)
		if err != nil {
			t.Fatal(err)
		}
		img, err := decode(bytes.NewReader(small), kind)
		if err != nil {
			t.Fatal(err)
		}
		if got := img.Bounds().Size(); got != image.Pt(40, 20) {
			t.Errorf("turn %d: %v", turn, got)
			continue
		}
		for at, want := range map[image.Point]bool{{3, 2}: true, {36, 2}: false, {3, 17}: false, {36, 17}: false} {
			r, g, b, _ := img.At(at.X, at.Y).RGBA()
			if isBlue := b > 0xc000 && r < 0x4000 && g < 0x4000; isBlue != want {
				t.Errorf("turn %d: blue at %v: %v", turn, at, isBlue)
			}
		}
	}
}

// storedAt is the table of the Exif standard: which row and column of what is shown the stored ones are.
func storedAt(turn uint16, x, y, w, h int) (int, int) {
	return [...]func() (int, int){
		nil,
		func() (int, int) { return x, y }, // row 0 is top, column 0 is left
		func() (int, int) { return w - 1 - x, y },         // top, right
		func() (int, int) { return w - 1 - x, h - 1 - y }, // bottom, right
		func() (int, int) { return x, h - 1 - y },         // bottom, left
		func() (int, int) { return y, x },                 // left, top
		func() (int, int) { return y, h - 1 - x },         // right, top
		func() (int, int) { return w - 1 - y, h - 1 - x }, // right, bottom
		func() (int, int) { return w - 1 - y, x },         // left, bottom
	}[turn]()
}

func TestNotSmaller(t *testing.T) {
	wide := encoded(t, PNG, drawn(20, 10))
	for most, want := range map[uint64]error{799: ErrNotSmaller, 800: nil} { // four bytes for each of its pixels
		if _, _, err := smaller(bytes.NewReader(wide), 10, 10, most); !errors.Is(err, want) {
			t.Errorf("with %d bytes to decode it: %v", most, err)
		}
	}
	for name, content := range map[string][]byte{"small enough": wide, "no picture": []byte("hello"), "broken": wide[:len(wide)-30]} {
		if _, _, err := Smaller(bytes.NewReader(content), 20, 10); !errors.Is(err, ErrNotSmaller) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A picture whose pixels inflate to far more than it says is not read to the end of them.
func TestInflates(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 2000, 2000))); err != nil { // 4 MB in 4 KB
		t.Fatal(err)
	}
	content := b.Bytes()
	binary.BigEndian.PutUint32(content[16:], 40)
	binary.BigEndian.PutUint32(content[20:], 40)
	copy(content[29:], chunk("IHDR", content[16:29])[chunkHead+ihdrSize:])
	if _, _, err := Smaller(bytes.NewReader(content), 20, 20); !errors.Is(err, ErrNotSmaller) {
		t.Errorf("made smaller: %v", err)
	}
}

func FuzzCleaner(f *testing.F) {
	pixel, err := base64.StdEncoding.DecodeString(onePixel)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{photo(f, 8, 8, 6), shot(f, 8, 8, 3), extended(f, 8), pixel, encoded(f, GIF, drawn(4, 4)), encoded(f, BMP, drawn(4, 4)), []byte("x")} {
		f.Add(seed, uint8(7))
	}
	f.Fuzz(func(t *testing.T, content []byte, part uint8) {
		var whole, pieces bytes.Buffer
		a, b := NewCleaner(&whole), NewCleaner(&pieces)
		_, errA := a.Write(content)
		var errB error
		for rest := content; len(rest) > 0 && errB == nil; {
			n := min(len(rest), int(part)+1)
			_, errB = b.Write(rest[:n])
			rest = rest[n:]
		}
		if (errA == nil) != (errB == nil) {
			t.Fatalf("whole: %v, in pieces: %v", errA, errB)
		}
		if errA != nil {
			return
		}
		infoA, errA := a.Close()
		infoB, errB := b.Close()
		if errA != nil || errB != nil || infoA != infoB || !bytes.Equal(whole.Bytes(), pieces.Bytes()) {
			t.Fatalf("whole: %+v %v, in pieces: %+v %v", infoA, errA, infoB, errB)
		}
		if whole.Len() > len(content)+64 {
			t.Fatalf("%d bytes became %d", len(content), whole.Len())
		}
		if uint64(infoA.Width)*uint64(infoA.Height) > MaxPixels {
			t.Fatalf("%+v", infoA)
		}
		if uint64(infoA.Width)*uint64(infoA.Height) < 1<<16 {
			_, _, _ = Smaller(bytes.NewReader(content), 8, 8) // must not panic
		}
	})
}

// Scaled in strips it is the same picture as at once.
func TestScaledInStrips(t *testing.T) {
	src := image.NewYCbCr(image.Rect(0, 0, 301, 197), image.YCbCrSubsampleRatio420)
	r := rand.New(rand.NewPCG(1, 2))
	for _, plane := range [][]byte{src.Y, src.Cb, src.Cr} {
		for i := range plane {
			plane[i] = byte(r.UintN(256))
		}
	}
	for _, d := range []image.Point{{200, 130}, {64, 64}, {65, 42}, {1, 1}} {
		want := image.NewRGBA(image.Rectangle{Max: d})
		draw.BiLinear.Scale(want, want.Bounds(), src, src.Bounds(), draw.Src, nil)
		for i, got := range scaled(src, d.X, d.Y, 1).Pix {
			if diff := int(got) - int(want.Pix[i]); diff < -2 || diff > 2 {
				t.Fatalf("%v: byte %d is %d, not %d", d, i, got, want.Pix[i])
			}
		}
	}
}
