package msfs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const recordings = "../../testdata/recordings/http"

// recorded is one exchange with the picture server of old, and what differs here on purpose.
type recorded struct {
	name        string
	path        string // of which upload this is the download
	status      int    // 0: as recorded
	contentType string // empty: as recorded
	body        bool   // is as recorded
	why         string // something differs
}

// The downloads of old name the type by the file's extension; here it is by the content, and what was recorded as pictures are none.
const byContent = "[TT-DIFF-28]"

func exchanges() []recorded {
	return []recorded{
		{name: "upload_png"},
		{name: "upload_png_with_size_in_name"},
		{name: "upload_txt"},
		{name: "upload_2MiB"},
		{name: "upload_empty_file"},
		{name: "upload_no_extension"},
		{name: "upload_no_part_content_type"},
		{name: "upload_not_multipart"},
		{name: "download_png", path: "upload_png", body: true, contentType: unknownType, why: byContent},
		{name: "download_png_with_size", path: "upload_png_with_size_in_name", body: true, contentType: unknownType, why: byContent},
		{name: "download_txt", path: "upload_txt", body: true, contentType: unknownType, why: byContent},
		{name: "download_2MiB", path: "upload_2MiB", body: true, contentType: unknownType, why: byContent},
		{name: "keepalive_two_gets", path: "upload_txt", status: http.StatusOK, contentType: unknownType, why: "[TT-DIFF-29]"},
		{name: "download_missing"},
		{name: "delete_method", path: "upload_png"},
		{name: "download_traversal", status: http.StatusBadRequest, contentType: "application/json", why: "[TT-DIFF-29]"},
		{name: "download_root", status: http.StatusNotFound, contentType: "text/plain; charset=utf-8", why: "[TT-DIFF-29]"},
	}
}

// [TT-MSFS-2] [TT-MSFS-4] [TT-DIFF-27] [TT-DIFF-28] [TT-DIFF-29]: what was recorded with the picture server of old, but for what is listed.
func TestRecorded(t *testing.T) {
	w := newWorld(t, nil)
	paths := make(map[string][2]string) // by upload: as recorded, and here
	for _, x := range exchanges() {
		t.Run(x.name, func(t *testing.T) {
			request, want, wantBody := readExchange(t, x.name)
			if p, ok := paths[x.path]; ok {
				request = bytes.ReplaceAll(request, []byte(p[0]), []byte(p[1]))
			}
			got, body := w.raw(t, request)
			status, contentType := want.status, want.contentType
			if x.status != 0 {
				status = x.status
			}
			if x.contentType != "" {
				contentType = x.contentType
			}
			if got.StatusCode != status || got.Header.Get("Content-Type") != contentType {
				t.Errorf("%d and %q, want %d and %q", got.StatusCode, got.Header.Get("Content-Type"), status, contentType)
			}
			if x.why == "" && (x.status != 0 || x.contentType != "") {
				t.Error("differs without saying why")
			}
			if x.body && !bytes.Equal(body, wantBody) {
				t.Errorf("%d bytes, want the %d that were recorded", len(body), len(wantBody))
			}
			if strings.HasPrefix(x.name, "upload_") {
				paths[x.name] = compareUploads(t, body, wantBody)
			}
		})
	}
	w.store.checkClean(t)
}

// response is what was recorded, which net/http does not always read.
type response struct {
	status      int
	contentType string
}

func readExchange(t *testing.T, name string) (request []byte, want response, body []byte) {
	t.Helper()
	read := func(kind string) []byte {
		b, err := os.ReadFile(filepath.Join(recordings, "msfs_"+name+"."+kind+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "2MiB") { // see README.md there
			sixteen := []byte("0123456789abcdef")
			b = bytes.Replace(b, sixteen, bytes.Repeat(sixteen, 2<<20/len(sixteen)), 1)
		}
		return b
	}
	request = read("request")
	head, body, _ := bytes.Cut(read("response"), []byte("\r\n\r\n"))
	if line, rest, ok := strings.Cut(string(head), "\r\n"); ok {
		want.status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
		for _, h := range strings.Split(rest, "\r\n") {
			if v, ok := strings.CutPrefix(h, "Content-Type:"); ok {
				want.contentType = strings.TrimSpace(v)
			}
		}
	}
	return request, want, body
}

// raw sends bytes as they are and reads the first answer.
func (w *world) raw(t *testing.T, request []byte) (*http.Response, []byte) {
	t.Helper()
	conn, err := w.conns.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := make(chan struct{})
	go func() { // ends when all is sent or the connection is closed; waited for below
		defer close(sent)
		_, _ = conn.Write(request)
	}()
	defer func() { conn.Close(); <-sent }()
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rsp, body
}

// compareUploads compares the answers to a form, all but the name of what was stored [TT-DIFF-27], and returns both names.
func compareUploads(t *testing.T, got, want []byte) [2]string {
	t.Helper()
	var a, b struct{ Path, URL string }
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	// The host is the one that was asked for; what the names have besides their id stays.
	name := regexp.MustCompile(`g0/\d{3}/\d{3}/[0-9a-f_]+?((?:_\d+x\d+)?\.\w+)`)
	if g, w := name.ReplaceAllString(string(got), "ID$1"), name.ReplaceAllString(string(want), "ID$1"); strings.ReplaceAll(g, "127.0.0.1:8700", "H") != strings.ReplaceAll(w, "127.0.0.1:8700", "H") {
		t.Errorf("%s\nwas %s", g, w)
	}
	if strings.Contains(string(got), "\n") {
		t.Error("more than one line: Android reads the first only")
	}
	if a.Path != "" && !strings.HasSuffix(a.URL, "/"+a.Path) {
		t.Errorf("url %q and path %q", a.URL, a.Path)
	}
	return [2]string{b.Path, a.Path}
}
