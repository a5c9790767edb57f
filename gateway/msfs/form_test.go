package msfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"mime"
	"mime/multipart"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// bomb is a PNG that says it is 60,000 pixels wide and high, in a hundred bytes.
func bomb() []byte {
	head := []byte("IHDR\x00\x00\xea\x60\x00\x00\xea\x60\x08\x02\x00\x00\x00")
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), head...)
	return append(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(head)), make([]byte, 60)...)
}

func picturePNG(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// [TT-MSFS-3] [TT-MSFS-7] [TT-MSFS-8]: bad uploads get a code that says what is wrong, and leave nothing behind.
func TestBadForms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		file    string
		content []byte
		full    error
		code    int
	}{
		{name: "as large as may be", file: "a.bin", content: make([]byte, 1<<20)},
		{name: "too large", file: "a.bin", content: make([]byte, 1<<20+1), code: 1},
		{name: "far too large", file: "a.bin", content: make([]byte, 2<<20), code: 1},
		{name: "a picture that would fill the memory", file: "a.png", content: bomb(), code: 1},
		{name: "no extension", file: "readme", content: []byte("x"), code: 10},
		{name: "a full disk", file: "a.png", content: []byte("x"), full: errFull, code: 13},
		{name: "over the quota", file: "a.png", content: []byte("x"), full: protocol.Errorf(protocol.CodeQuota, "full"), code: 13},
		{name: "no leader", file: "a.png", content: []byte("x"), full: protocol.Errorf(protocol.CodeUnavailable, "no leader"), code: 14},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.MaxForm = 1 << 20 })
			w.store.fill(tt.full)
			code, path, url := w.form(tt.file, tt.content)
			if code != tt.code || (path != "") != (tt.code == 0) || (url != "") != (tt.code == 0) {
				t.Errorf("code %d, path %q, url %q; want code %d", code, path, url, tt.code)
			}
			w.store.checkClean(t)
		})
	}
}

// A form without a length is held to the limit as well.
func TestFormOfUnknownLength(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxForm = 1 << 20 })
	endless := io.MultiReader(bytes.NewReader(bytes.TrimSuffix(formOf("a.bin", nil), []byte("\r\n--b--\r\n"))), bytes.NewReader(make([]byte, 4<<20)))
	_, b := w.do("POST", "/msfs/", map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, struct{ io.Reader }{endless})
	if !strings.HasPrefix(string(b), `{"error_code":1,`) {
		t.Errorf("%q", b)
	}
	w.store.checkClean(t)
}

// [TT-MSFS-8]: a file name never becomes a path: its extension stays, and the size that legacy clients put there.
func TestFileNames(t *testing.T) {
	w := newWorld(t, nil)
	for name, want := range map[string]string{
		"a.png": ".png", "A.PNG": ".png", "a_100x200.png": "_100x200.png", "a_1x2_30x40.jpg": "_30x40.jpg", "a_99999x1.jpg": ".jpg", "a_x.jpg": ".jpg",
		"../../etc/passwd.png": ".png", "/etc/passwd_1x1.conf": "_1x1.conf", `C:\\pics\\x.gif`: ".gif", "a.p/../g": ".txt", "a.": ".txt", "a.php%00": ".txt",
		"a.tar.gz": ".gz", "a.averylongone": ".txt", "照片.jpg": ".jpg", ".png": ".png",
	} {
		_, path, _ := w.form(name, []byte("content"))
		p, err := protocol.ParseBlobPath(path)
		if err != nil || !strings.HasSuffix(path, p.ID.String()+want) {
			t.Errorf("%q: %q, want …%s", name, path, want)
		}
	}
	if code, path, _ := w.form("x.png\x00.exe", []byte("content")); code != 11 || path != "" {
		t.Errorf("a name that ends in its middle: %d %q", code, path)
	}
	w.store.checkClean(t)
}

// [TT-MSFS-2]: COMPAT: iOS puts a field before the file.
func TestFormFields(t *testing.T) {
	w := newWorld(t, nil)
	form := "--b\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\nim_image\r\n" + string(formOf("a.png", []byte("x")))
	_, b := w.do("POST", "/upload/", map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, strings.NewReader(form))
	if !strings.HasPrefix(string(b), `{"error_code":0,`) {
		t.Errorf("with a field: %q", b)
	}
	for want, form := range map[string]string{
		`{"error_code":5,`:  strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\nx\r\n", fieldsMost) + string(formOf("a.png", nil)),
		`{"error_code":11,`: string(formOf("a.png", []byte("x")))[:80] + "half a file",
	} {
		_, b := w.do("POST", "/upload/", map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, strings.NewReader(form))
		if !strings.HasPrefix(string(b), want) {
			t.Errorf("%q, want %s", b, want)
		}
	}
	_, b = w.do("POST", "/upload/", map[string]string{"Content-Type": "multipart/form-data"}, strings.NewReader(form))
	if !strings.HasPrefix(string(b), `{"error_code":3,`) {
		t.Errorf("without a boundary: %q", b)
	}
	w.store.checkClean(t)
}

// [TT-MSFS-6]: who is not logged in from there gets and stores nothing, nor does a page of another site.
func TestLegacyAccess(t *testing.T) {
	asked := netip.Addr{}
	w := newWorld(t, func(c *Config) { c.Legacy = func(_ context.Context, a netip.Addr) bool { asked = a; return false } })
	if code, _, _ := w.form("a.png", []byte("x")); code != 12 || asked != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("form: code %d, asked for %v", code, asked)
	}
	if rsp, _ := w.do("GET", "/g0/000/000/"+strings.Repeat("0", 64)+".png", nil, nil); rsp.StatusCode != 403 {
		t.Errorf("download: %d", rsp.StatusCode)
	}
	w.store.checkClean(t)

	open := newWorld(t, nil)
	header := map[string]string{"Content-Type": "multipart/form-data; boundary=b", "Origin": "https://evil.example"}
	if _, b := open.do("POST", "/", header, bytes.NewReader(formOf("a.png", []byte("x")))); !strings.HasPrefix(string(b), `{"error_code":12,`) {
		t.Errorf("from another site: %q", b)
	}
	open.store.checkClean(t)
}

// A form whose connection is cut in the middle leaves nothing behind.
func TestFormIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn, err := w.conns.dial()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n")
		_, _ = conn.Write(formOf("a.png", make([]byte, 4000))[:3000])
		synctest.Wait()
		if w.store.begun() != 1 {
			t.Error("nothing had begun")
		}
		conn.Close()
		synctest.Wait()
		w.store.checkClean(t)
		w.end()
	})
}

// [TT-MSFS-9]: one that stops in the middle is given up.
func TestFormStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn, err := w.conns.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n")
		_, _ = conn.Write(formOf("a.png", make([]byte, 4000))[:3000])
		began := time.Now()
		b, _ := io.ReadAll(conn)
		if took := time.Since(began); took != 30*time.Second || !bytes.Contains(b, []byte(`"error_code":11,`)) {
			t.Errorf("after %v: %q", took, b)
		}
		w.store.checkClean(t)
		w.end()
	})
}

func FuzzForm(f *testing.F) {
	f.Add([]byte("multipart/form-data; boundary=b"), formOf("a_1x2.png", []byte("x")))
	f.Add([]byte("multipart/form-data; boundary=b"), formOf("../a", []byte("--b")))
	f.Add([]byte("multipart/form-data"), []byte("--b--"))
	f.Fuzz(func(t *testing.T, contentType, form []byte) {
		part, name, err := filePart(newForm(string(contentType), form))
		if err != nil {
			return
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return
		}
		b := protocol.Blob{ID: protocol.BlobID{1}, Type: kindOf(content[:min(len(content), sniffLen)], part.Header.Get("Content-Type"))}
		path := pathOf(&b, name)
		if p, err := protocol.ParseBlobPath(path.String()); err != nil || p != path {
			t.Fatalf("%q is stored as %q, read as %+v %v", name, path, p, err)
		}
	})
}

func newForm(contentType string, form []byte) *multipart.Reader {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return multipart.NewReader(bytes.NewReader(nil), "b")
	}
	return multipart.NewReader(bytes.NewReader(form), params["boundary"])
}

// [TT-MSFS-6]: what a form brings is that of the user who is at its address, if it is known; and it is announced before it comes, as uploads are.
func TestOwners(t *testing.T) {
	for _, owner := range []protocol.UserID{0, 7} {
		w := newWorld(t, func(c *Config) {
			c.Owner = func(_ context.Context, a netip.Addr) protocol.UserID {
				if a != netip.MustParseAddr("192.0.2.7") {
					t.Errorf("asked for %s", a)
				}
				return owner
			}
		})
		content := []byte("some text")
		form := formOf("a.txt", content)
		code, path, _ := w.form("a.txt", content)
		p, err := protocol.ParseBlobPath(path)
		if err != nil || code != 0 {
			t.Fatal(code, err)
		}
		if b, err := w.store.Blob(p.ID); err != nil || b.Owner != owner {
			t.Errorf("owned by %d, %v", b.Owner, err)
		}
		url, _, err := w.handler.cfg.Tickets.Upload(9, "b.txt", 5, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if rsp, b := w.do("POST", url, nil, strings.NewReader("other")); rsp.StatusCode != 200 {
			t.Fatalf("%s %s", rsp.Status, b)
		}
		if want := []announcement{{owner, uint64(len(form))}, {9, 5}}; !slices.Equal(w.store.announced, want) {
			t.Errorf("announced %v, want %v", w.store.announced, want)
		}
	}
}
