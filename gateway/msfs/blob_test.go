package msfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"image"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// stored puts content there and returns its path and id.
func (w *world) stored(name string, content []byte) (string, protocol.BlobID) {
	w.Helper()
	code, path, _ := w.form(name, content)
	p, err := protocol.ParseBlobPath(path)
	if code != 0 || err != nil {
		w.Fatalf("code %d, path %q: %v", code, path, err)
	}
	return path, p.ID
}

// [TT-MSFS-7]: content is what it is, whatever its name says, and only pictures, sounds and films are shown in their place.
func TestTypes(t *testing.T) {
	w := newWorld(t, nil)
	ogg := append([]byte("OggS\x00\x02"), make([]byte, 60)...)
	for _, tt := range []struct {
		name, file, want string
		content          []byte
	}{
		{"a picture", "a.png", "image/png", picturePNG(t, 5, 5)},
		{"a picture by another name", "a.jpg", "image/png", picturePNG(t, 5, 5)},
		{"sound", "a.ogg", "audio/ogg", ogg},
		{"a program called .png", "a.png", "", append([]byte("MZ\x90\x00\x03"), make([]byte, 600)...)},
		{"a page called .png", "a.png", "", []byte("<html><script>alert(1)</script>")},
		{"a page", "a.html", "", []byte("<!DOCTYPE html><script>alert(1)</script>")},
		{"a drawing with a script", "a.svg", "", []byte(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`)},
		{"a page that begins as a picture", "a.gif", "", []byte("GIF89a\x01\x00")},
		{"text", "a.txt", "", []byte("hello")},
		{"a document", "a.pdf", "", []byte("%PDF-1.7 and so on")},
	} {
		path, id := w.stored(tt.file, tt.content)
		rsp, b := w.do("GET", "/"+path, nil, nil)
		h := rsp.Header
		if !bytes.Equal(b, tt.content) || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: %d bytes, %v", tt.name, len(b), h)
		}
		disposition := ""
		if tt.want == "" {
			tt.want = "application/octet-stream"
			disposition = fmt.Sprintf(`attachment; filename="%s%s"`, id.String()[:16], filepath.Ext(tt.file))
		}
		if h.Get("Content-Type") != tt.want || h.Get("Content-Disposition") != disposition {
			t.Errorf("%s: %q %q, want %q %q", tt.name, h.Get("Content-Type"), h.Get("Content-Disposition"), tt.want, disposition)
		}
	}
}

// What a client says counts where sound and film have one format, and nowhere else.
func TestDeclaredType(t *testing.T) {
	webm := append([]byte("\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x82\x84webm"), make([]byte, 40)...)
	mp4 := append([]byte("\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2mp41"), make([]byte, 40)...)
	for _, tt := range []struct {
		head           []byte
		declared, want string
	}{
		{webm, "audio/webm;codecs=opus", "audio/webm"}, {webm, "", "video/webm"}, {webm, "text/html", "video/webm"},
		{mp4, "Audio/MP4 ; codecs=mp4a", "audio/mp4"}, {mp4, "image/png", "video/mp4"},
		{[]byte("<html>"), "audio/webm", "text/html"}, {[]byte("MZ"), "image/png", "text/plain"}, {[]byte("\x89PNG\r\n\x1a\n"), "image/png", "application/octet-stream"},
	} {
		if got := kindOf(tt.head, tt.declared); got != tt.want {
			t.Errorf("%q as %q: %q, want %q", tt.head, tt.declared, got, tt.want)
		}
	}
}

// [TT-MSFS-4]: ranges, what a cache asks, HEAD.
func TestDownload(t *testing.T) {
	w := newWorld(t, nil)
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	path, id := w.stored("a.bin", content)
	for _, folder := range []string{"/", "/msfs/"} {
		rsp, b := w.do("GET", folder+path, nil, nil)
		if rsp.StatusCode != 200 || !bytes.Equal(b, content) || rsp.Header.Get("Accept-Ranges") != "bytes" || rsp.Header.Get("ETag") != `"`+id.String()+`"` {
			t.Errorf("%s: %d, %d bytes, %v", folder, rsp.StatusCode, len(b), rsp.Header)
		}
		if !strings.HasPrefix(rsp.Header.Get("Cache-Control"), "private,") {
			t.Errorf("caches: %q", rsp.Header.Get("Cache-Control"))
		}
	}
	rsp, b := w.do("GET", "/"+path, map[string]string{"Range": "bytes=99995-"}, nil)
	if rsp.StatusCode != 206 || string(b) != "56789" || rsp.Header.Get("Content-Range") != "bytes 99995-99999/100000" {
		t.Errorf("range: %d %q %v", rsp.StatusCode, b, rsp.Header)
	}
	if rsp, _ := w.do("GET", "/"+path, map[string]string{"Range": "bytes=100000-"}, nil); rsp.StatusCode != 416 {
		t.Errorf("a range beyond the end: %d", rsp.StatusCode)
	}
	if rsp, b := w.do("GET", "/"+path, map[string]string{"If-None-Match": `"` + id.String() + `"`}, nil); rsp.StatusCode != 304 || len(b) != 0 {
		t.Errorf("known: %d", rsp.StatusCode)
	}
	if rsp, b := w.do("HEAD", "/"+path, nil, nil); rsp.StatusCode != 200 || len(b) != 0 || rsp.ContentLength != 100_000 {
		t.Errorf("HEAD: %d, %d", rsp.StatusCode, rsp.ContentLength)
	}
	w.store.drop(id)
	if rsp, _ := w.do("GET", "/"+path, nil, nil); rsp.StatusCode != 404 {
		t.Errorf("dropped: %d", rsp.StatusCode)
	}
}

// [TT-MSFS-8]: paths that try to be others get 400 or 404, raw as they are, and never a file.
func TestPathTricks(t *testing.T) {
	w := newWorld(t, nil)
	path, _ := w.stored("a.txt", []byte("the content"))
	name := strings.TrimPrefix(path, "g0/")
	for _, p := range []string{
		"/g0/../g0/" + name, "/g0/./" + name, "/g0//" + name, "//" + path, "/msfs/../" + path, "/g0/%2e%2e/" + name, "/g0%2f" + name, "/g0/" + strings.ReplaceAll(name, "/", "%2F"),
		"/g0/" + name + "%00.png", "/" + path + "%00", `/g0\` + name, "/g0/../../../../etc/passwd", "/msfs/..%2f..%2fetc/passwd", "/msfs//etc/passwd", "/msfs/g0/" + name + "/", "/msfs/g0/" + name + "/..",
		"/msfs/file:///etc/passwd", "/g0/" + strings.ToUpper(name), "/g0/000/000/" + name[8:], "/g1/" + name, "/" + path + "_0100x00100.jpg", "/" + path + "_1x1", "/" + path + "_axb.jpg", "/" + path + "_1x1._1x1.jpg",
		"/media/up/../../" + path, "/media/up/..", "/media/up/%2e%2e/x", "/msfs/", "/g0/", "/" + path + ";a=b", "/" + path + "%20", "/" + path + "\x7f",
	} {
		rsp, b := w.raw(t, []byte("GET "+p+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
		if rsp.StatusCode != 400 && rsp.StatusCode != 404 && rsp.StatusCode != 403 || bytes.Contains(b, []byte("the content")) || bytes.Contains(b, []byte("root:")) {
			t.Errorf("%q: %d %q", p, rsp.StatusCode, b)
		}
	}
	if rsp, _ := w.do("GET", "/"+path+"_1x1.jpg", nil, nil); rsp.StatusCode != 200 {
		t.Errorf("a good one: %d", rsp.StatusCode)
	}
}

// [TT-MSFS-5]: a size behind the path gives a picture no larger than that; of anything else, the original.
func TestSmallerPictures(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "new-123"), []byte("half"), 0o600); err != nil { // left by a process that was killed
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.Thumbs = dir })
	if _, err := os.Stat(filepath.Join(dir, "new-123")); !os.IsNotExist(err) {
		t.Errorf("half a picture: %v", err)
	}
	path, id := w.stored("a.png", picturePNG(t, 400, 200))
	text, _ := w.stored("a.txt", []byte("hello"))
	size := func(path string) image.Point {
		rsp, b := w.do("GET", "/"+path, nil, nil)
		img, _, err := image.DecodeConfig(bytes.NewReader(b))
		if rsp.StatusCode != 200 || err != nil {
			t.Fatalf("%s: %d %v", path, rsp.StatusCode, err)
		}
		return image.Pt(img.Width, img.Height)
	}
	for suffix, want := range map[string]image.Point{
		"": {400, 200}, "_100x100.jpg": {100, 50}, "_32x32.jpg": {32, 16}, "_640x999.jpg": {400, 200}, "_150x150.png": {128, 64}, "_1x1.jpg": {16, 8},
		"_9999x9999.jpg": {400, 200}, "_0x0.jpg": {400, 200}, "_400x100.JPG": {200, 100},
	} {
		if got := size(path + suffix); got != want {
			t.Errorf("%q: %v, want %v", suffix, got, want)
		}
	}
	before := w.store.opened
	if got := size(path + "_100x100.jpg"); got != image.Pt(100, 50) || w.store.opened != before {
		t.Errorf("again: %v, and the original was opened %d times", got, w.store.opened-before)
	}
	if _, b := w.do("GET", "/"+text+"_100x100.jpg", nil, nil); string(b) != "hello" {
		t.Errorf("of a text: %q", b)
	}
	other, otherID := w.stored("b.png", picturePNG(t, 300, 300))
	size(other + "_100x100.jpg")
	w.handler.Forget([]protocol.BlobID{id})
	if of := filesOf(t, dir, id); of != 0 || filesOf(t, dir, otherID) != 1 {
		t.Errorf("%d smaller pictures of what is gone", of)
	}
	w.store.drop(otherID)
	w.handler.Compare()
	if of := filesOf(t, dir, otherID); of != 0 {
		t.Errorf("%d smaller pictures of what is not known", of)
	}
}

func filesOf(t *testing.T, dir string, id protocol.BlobID) int {
	t.Helper()
	of, err := filepath.Glob(filepath.Join(dir, id.String()+"_*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(of)
}

// The folder of smaller pictures has a bound, also after a restart; what was used last stays.
func TestSmallerPicturesAreBounded(t *testing.T) {
	dir := t.TempDir()
	bounded := func(c *Config) { c.Thumbs, c.ThumbBytes = dir, 4000 }
	w := newWorld(t, bounded)
	var paths []string
	for i := range 8 {
		path, _ := w.stored("a.png", picturePNG(t, 300+i, 150))
		paths = append(paths, path)
		if rsp, b := w.do("GET", "/"+path+"_200x200.jpg", nil, nil); rsp.StatusCode != 200 || len(b) < 600 {
			t.Fatalf("%d, %d bytes", rsp.StatusCode, len(b))
		}
		before := w.store.opened
		if w.do("GET", "/"+paths[0]+"_200x200.jpg", nil, nil); w.store.opened != before {
			t.Errorf("after %d others the one in use went", i)
		}
	}
	again := newWorld(t, bounded)
	if again.handler.thumbs.size != w.handler.thumbs.size || again.handler.thumbs.size > 4000 {
		t.Errorf("%d bytes, after a restart %d", w.handler.thumbs.size, again.handler.thumbs.size)
	}
	before := w.store.opened
	if w.do("GET", "/"+paths[0]+"_200x200.jpg", nil, nil); w.store.opened != before {
		t.Error("the one in use went")
	}
	if w.do("GET", "/"+paths[1]+"_200x200.jpg", nil, nil); w.store.opened == before {
		t.Error("the one unused stayed")
	}
}

// A picture that can't be made smaller costs that once.
func TestHopelessPicture(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Thumbs = t.TempDir() })
	content := picturePNG(t, 400, 400)
	path, _ := w.stored("a.png", content[:len(content)-20])
	for i, want := range []int{2, 1} { // opened to be made smaller, and to be sent
		before := w.store.opened
		if rsp, b := w.do("GET", "/"+path+"_100x100.jpg", nil, nil); rsp.StatusCode != 200 || len(b) != len(content)-20 || w.store.opened != before+want {
			t.Errorf("time %d: %d, %d bytes, opened %d times", i, rsp.StatusCode, len(b), w.store.opened-before)
		}
	}
}

// [TT-MSFS-9]: a slow client gets all of a large file, for longer than an answer may take otherwise; one that takes nothing is left.
func TestSlowDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		path, _ := w.stored("a.bin", make([]byte, 1<<20))
		ask := func() io.ReadCloser {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			rsp, err := w.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			return rsp.Body
		}
		body, began, all := ask(), time.Now(), 0
		b := make([]byte, 8<<10)
		for {
			time.Sleep(2 * time.Second)
			n, err := body.Read(b)
			all += n
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %v and %d bytes: %v", time.Since(began), all, err)
			}
		}
		if all != 1<<20 || time.Since(began) < 4*time.Minute {
			t.Errorf("%d bytes in %v", all, time.Since(began))
		}
		body.Close()
		stalled := ask()
		time.Sleep(time.Minute)
		if n, err := io.Copy(io.Discard, stalled); err == nil {
			t.Errorf("after a minute without reading: %d bytes", n)
		}
		stalled.Close()
		w.end()
	})
}

// [TT-MEDIA-2]: a signed address is good for its blob, in any size, and for an hour or two.
func TestSignedDownload(t *testing.T) {
	var gone atomic.Bool
	w := newWorld(t, func(c *Config) {
		c.Thumbs = t.TempDir()
		c.Legacy = nobody
		c.Active = func(u protocol.UserID) bool { return u == 7 && !gone.Load() }
	})
	content := picturePNG(t, 300, 300)
	ticket := w.ticket("a.png", len(content), "")
	_, got := w.send(ticket, 0, bytes.NewReader(content))
	path := got["path"].(string)
	if rsp, _ := w.do("GET", "/"+path, nil, nil); rsp.StatusCode != 403 {
		t.Errorf("unsigned: %d", rsp.StatusCode)
	}
	url, _, err := w.handler.cfg.Tickets.Download(7, path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if rsp, b := w.do("GET", url, nil, nil); rsp.StatusCode != 200 || sha256.Sum256(b) != sha256.Sum256(content) {
		t.Errorf("signed: %d", rsp.StatusCode)
	}
	text := w.ticket("预算.csv", 3, "")
	_, got = w.send(text, 0, strings.NewReader("a,b"))
	file, _, err := w.handler.cfg.Tickets.Download(7, got["path"].(string), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if rsp, _ := w.do("GET", file, nil, nil); rsp.Header.Get("Content-Disposition") != "attachment" { // without a name: the client has a better one
		t.Errorf("a file: %q", rsp.Header.Get("Content-Disposition"))
	}
	plain, query, _ := strings.Cut(url, "?")
	if rsp, b := w.do("GET", plain+"_100x100.jpg?"+query, nil, nil); rsp.StatusCode != 200 || len(b) >= len(content)*3 {
		t.Errorf("smaller: %d", rsp.StatusCode)
	}
	for _, q := range []string{strings.Replace(query, "u=7", "u=8", 1), strings.Replace(query, "e=1", "e=9", 1), query[:len(query)-3] + "AAA", "s=", "u=7&e=1&s=x"} {
		if rsp, b := w.do("GET", plain+"?"+q, nil, nil); rsp.StatusCode != 403 || w.object(b)["code"] != "forbidden" {
			t.Errorf("%s: %d %s", q, rsp.StatusCode, b)
		}
	}
	gone.Store(true) // has left the company
	if rsp, _ := w.do("GET", url, nil, nil); rsp.StatusCode != 403 {
		t.Errorf("of somebody who has left: %d", rsp.StatusCode)
	}
	if rsp, _ := w.do("GET", ticket, nil, nil); rsp.StatusCode != 403 {
		t.Errorf("an upload of somebody who has left: %d", rsp.StatusCode)
	}
}

// One client may have so many transfers under way.
func TestTransfersAreBounded(t *testing.T) {
	var g gate
	g.init(3, 2)
	a, err := g.enter("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.enter("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.enter("a"); protocol.CodeOf(err) != protocol.CodeRateLimited {
		t.Errorf("a third of one client: %v", err)
	}
	if _, err := g.enter("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.enter("c"); protocol.CodeOf(err) != protocol.CodeRateLimited {
		t.Errorf("a fourth of all: %v", err)
	}
	a()
	if _, err := g.enter("c"); err != nil {
		t.Error(err)
	}
}
