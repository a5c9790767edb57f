package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"testing/iotest"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// mediaNet is a fakeNet with an HTTP server, which breaks requests as it is told.
type mediaNet struct {
	*fakeNet
	have      []byte                                                // of an upload
	size      int                                                   // of it
	cut       func(method string, nth int) (after int, broken bool) // cut the nth request after so many bytes
	asked     []string                                              // requests: method, host and offset or range
	refuse    int                                                   // status of all requests; 0: none
	refuseNth map[int]int                                           // status of the nth request
	ranges    bool                                                  // the server knows ranges
	unsure    int                                                   // times that the server only says that it has all: it is not stored yet
}

// Bases are two servers.
func (n *mediaNet) Bases() []string { return []string{"https://one:443", "https://two:443"} }

// HTTP is a client without a network.
func (n *mediaNet) HTTP(string) (*http.Client, error) { return &http.Client{Transport: n}, nil }

var errCutOff = errors.New("the network is gone")

// RoundTrip answers as the server does.
func (n *mediaNet) RoundTrip(r *http.Request) (*http.Response, error) {
	n.asked = append(n.asked, r.Method+" "+r.Host+" "+r.Header.Get("Upload-Offset")+r.Header.Get("Range"))
	after, broken := -1, false
	if n.cut != nil {
		after, broken = n.cut(r.Method, len(n.asked))
	}
	var piece []byte
	if r.Method == http.MethodPost {
		var err error
		if piece, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if broken && after >= 0 && len(piece) > after {
		piece = piece[:after]
	}
	w := httptest.NewRecorder()
	status := n.refuse
	if nth := n.refuseNth[len(n.asked)]; nth != 0 {
		status = nth
	}
	switch {
	case status != 0:
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":"said why"}`)
	case r.URL.Path == "/media/1" || r.URL.Path == "/media/3":
		n.upload(w, r, piece)
	default:
		n.download(w, r, after, broken)
	}
	if broken && r.URL.Path != "/media/2" {
		return nil, errCutOff
	}
	res := w.Result()
	if broken {
		res.Body = io.NopCloser(io.MultiReader(res.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return res, nil
}

func (n *mediaNet) upload(w http.ResponseWriter, r *http.Request, piece []byte) {
	if r.Method == http.MethodPost {
		if at := r.Header.Get("Upload-Offset"); at != strconv.Itoa(len(n.have)) {
			w.WriteHeader(http.StatusConflict)
		} else {
			n.have = append(n.have, piece...)
		}
	}
	if len(n.have) == n.size && n.unsure > 0 {
		n.unsure--
		_, _ = fmt.Fprintf(w, `{"offset":%d,"size":%d}`, n.size, n.size)
		return
	}
	if len(n.have) == n.size {
		_ = json.NewEncoder(w).Encode(client.Stored{Path: "g0/x", URL: "http://h/g0/x", Size: int64(n.size)})
		return
	}
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusAccepted) // has no effect after a conflict
	}
	_, _ = fmt.Fprintf(w, `{"offset":%d}`, len(n.have))
}

func (n *mediaNet) download(w *httptest.ResponseRecorder, r *http.Request, after int, broken bool) {
	at := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at); err != nil || !n.ranges {
		at = 0
	}
	if at >= len(n.have) && n.ranges {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(n.have)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if n.ranges && at > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	rest := n.have[at:]
	if broken {
		rest = rest[:after]
	}
	_, _ = w.Write(rest)
}

func mediaRig(t *testing.T, size int) (*rig, *mediaNet, []byte) {
	r := newRig(t)
	n := &mediaNet{fakeNet: r.net, size: size, ranges: true}
	r.cfg.Dialer = n
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	return r, n, content
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// An upload goes on where it was, whatever breaks, and tells how far it is.
func TestUploadGoesOn(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) {
			r, n, content := mediaRig(t, 10<<20)
			dice := rand.New(rand.NewPCG(seed, 1))
			n.cut = func(string, int) (int, bool) { return dice.IntN(5 << 20), dice.IntN(3) == 0 }
			c := r.open()
			var told []int64
			stored, err := c.Upload(within(t), client.File{Name: "a.bin", Size: int64(len(content)), Content: bytes.NewReader(content),
				Progress: func(n int64) { told = append(told, n) }})
			if err != nil {
				t.Fatal(err)
			}
			if stored.Path != "g0/x" || !bytes.Equal(n.have, content) {
				t.Errorf("stored %+v, %d bytes", stored, len(n.have))
			}
			if !slices.IsSorted(told) || told[len(told)-1] != int64(len(content)) {
				t.Errorf("told %v", told)
			}
		})
	}
}

// That the server has all bytes does not mean that they are stored: what counts is the path that it says then, or that the file of a task is stored [TT-MEDIA-5].
func TestUploadIsStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, n, content := mediaRig(t, 1000)
		n.cut = func(_ string, nth int) (int, bool) { return len(content), nth == 2 } // the answer to the only piece is lost
		n.unsure = 3
		c := r.open()
		stored, err := c.Upload(within(t), client.File{Name: "a.bin", Size: int64(len(content)), Content: bytes.NewReader(content)})
		if err != nil || stored.Path != "g0/x" || n.unsure != 0 || !bytes.Equal(n.have, content) {
			t.Errorf("stored %+v: %v, %d left, after %q", stored, err, n.unsure, n.asked)
		}
	})
}

// What brings nothing eight times in a row is given up, at both servers in turn; a refusal at once.
func TestUploadGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, n, content := mediaRig(t, 100)
		n.cut = func(string, int) (int, bool) { return 0, true }
		c := r.open()
		up := client.File{Name: "a.bin", Size: int64(len(content)), Content: bytes.NewReader(content)}
		if _, err := c.Upload(within(t), up); !errors.Is(err, errCutOff) {
			t.Errorf("got %v", err)
		}
		if len(n.asked) != 8 || n.asked[0] != "GET one:443 " || n.asked[1] != "GET two:443 " {
			t.Errorf("asked %q", n.asked)
		}
		n.cut, n.refuse, n.asked = nil, http.StatusInsufficientStorage, nil
		var refused *client.Error
		if _, err := c.Upload(within(t), up); !errors.As(err, &refused) || refused.Code != protocol.CodeQuota || len(n.asked) != 1 {
			t.Errorf("got %v after %q", err, n.asked)
		}
		up.Name = "forbidden.exe"
		if _, err := c.Upload(within(t), up); !errors.As(err, &refused) || refused.Code != protocol.CodeForbidden || refused.Message != "no programs" {
			t.Errorf("got %v", err)
		}
		up.Size = 0
		if _, err := c.Upload(within(t), up); !errors.As(err, &refused) || refused.Code != protocol.CodeInvalid {
			t.Errorf("empty: %v", err)
		}
	})
}

// A download goes on where it was, also from a server that knows no ranges.
func TestDownloadGoesOn(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			r, n, content := mediaRig(t, 1<<20)
			n.have, n.ranges = content, ranges
			n.cut = func(_ string, nth int) (int, bool) { return 1000 * nth, nth < 5 }
			var got bytes.Buffer
			written, err := r.open().Download(within(t), "g0/x", 0, &got)
			if err != nil || written != int64(len(content)) || !bytes.Equal(got.Bytes(), content) {
				t.Errorf("ranges %v: %d bytes, %v", ranges, written, err)
			}
			if len(n.asked) != 5 {
				t.Errorf("asked %q", n.asked)
			}
		})
	}
}

// An address that expires on the way is asked for anew, and there is nothing behind the end.
func TestDownloadExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, n, content := mediaRig(t, 1000)
		n.have = content
		n.cut = func(_ string, nth int) (int, bool) { return 300, nth == 1 }
		n.refuseNth = map[int]int{2: http.StatusForbidden}
		var got bytes.Buffer
		c := r.open()
		if _, err := c.Download(within(t), "g0/x", 0, &got); err != nil || !bytes.Equal(got.Bytes(), content) || len(n.asked) != 3 {
			t.Errorf("%d bytes, %v, after %q", got.Len(), err, n.asked)
		}
	})
}

// Nobody waits for an address that has grown old while nothing passed: it is asked for anew, and refused only if a new one is too [TT-MEDIA-2].
func TestOldAddresses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, n, content := mediaRig(t, 1000)
		c := r.open()
		slow := func(_ string, nth int) (int, bool) { // seven times in vain, which takes more than a minute
			return 0, nth < 8
		}
		n.cut, n.refuseNth = slow, map[int]int{8: http.StatusForbidden}
		stored, err := c.Upload(within(t), client.File{Name: "a.bin", Size: int64(len(content)), Content: bytes.NewReader(content)})
		if err != nil || stored.Path != "g0/x" || r.server.count(pdu.CmdMediaReq) != 2 {
			t.Errorf("upload: %+v, %v, after %q", stored, err, n.asked)
		}
		n.asked = nil
		var got bytes.Buffer
		if _, err := c.Download(within(t), "g0/x", 0, &got); err != nil || !bytes.Equal(got.Bytes(), content) || r.server.count(pdu.CmdMediaReq) != 4 {
			t.Errorf("download: %d bytes, %v, after %q", got.Len(), err, n.asked)
		}
		n.cut, n.refuseNth, n.refuse, n.asked = nil, nil, http.StatusForbidden, nil
		var refused *client.Error
		if _, err := c.Download(within(t), "g0/x", 0, io.Discard); !errors.As(err, &refused) || refused.Code != protocol.CodeForbidden || len(n.asked) != 1 {
			t.Errorf("a new one: %v after %q", err, n.asked)
		}
	})
}

// There is nothing to fetch behind the end; who is said to have more has something else.
func TestDownloadAtTheEnd(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			r, n, content := mediaRig(t, 1000)
			n.have, n.ranges = content, ranges
			c := r.open()
			for range 2 { // a picture, and the file of a task
				n.asked = nil
				if written, err := c.Download(within(t), "g0/x", 1000, io.Discard); err != nil || written != 0 || len(n.asked) != 1 {
					t.Errorf("ranges %v: %d bytes, %v, after %q", ranges, written, err, n.asked)
				}
				if written, err := c.DownloadTask(within(t), "task", 1000, io.Discard); err != nil || written != 0 || len(n.asked) != 2 {
					t.Errorf("task, ranges %v: %d bytes, %v, after %q", ranges, written, err, n.asked)
				}
			}
			n.asked = nil
			var refused *client.Error
			if _, err := c.Download(within(t), "g0/x", 1001, io.Discard); !errors.As(err, &refused) || refused.Code != protocol.CodeInvalid || len(n.asked) != 1 {
				t.Errorf("ranges %v, beyond it: %v after %q", ranges, err, n.asked)
			}
			n.asked, n.cut = nil, func(_ string, nth int) (int, bool) { return 1000, nth == 1 } // breaks behind the last byte
			if written, err := c.Download(within(t), "g0/x", 0, io.Discard); err != nil || written != 1000 || len(n.asked) != 2 {
				t.Errorf("ranges %v, broken at it: %d bytes, %v, after %q", ranges, written, err, n.asked)
			}
		})
	}
}

// The file of a task goes to the node of the session, wherever else its name would be found, and to all others when it is not there [TT-FILE-13].
func TestTasksGoToTheSessionsNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, n, content := mediaRig(t, 1000)
		r.server.endpoints = []string{"quic://two:443", "https://two:443/lp", "wss://one:443/ws"}
		c := r.open()
		file := client.File{Name: "a.bin", Size: int64(len(content)), Content: bytes.NewReader(content)}
		if err := c.UploadTask(within(t), "task", file); err != nil || n.asked[0] != "GET two:443 " {
			t.Errorf("%v, after %q", err, n.asked)
		}
		n.have, n.asked = nil, nil
		n.refuseNth = map[int]int{1: http.StatusNotFound} // the session has moved since it got the task
		if err := c.UploadTask(within(t), "task", file); err != nil || n.asked[0] != "GET two:443 " || n.asked[1] != "GET one:443 " || !bytes.Equal(n.have, content) {
			t.Errorf("%v, after %q", err, n.asked)
		}
		n.have, n.asked, n.size = nil, nil, 9<<20 // three pieces
		file.Size, file.Content = int64(n.size), bytes.NewReader(make([]byte, n.size))
		n.refuseNth = map[int]int{3: http.StatusBadGateway, 4: http.StatusNotFound, 6: http.StatusBadGateway, 7: http.StatusBadGateway}
		if err := c.UploadTask(within(t), "task", file); err != nil || len(n.have) != n.size {
			t.Errorf("%v, after %q", err, n.asked)
		}
	})
}

// The app's writer that fails ends a download, and so does what is not there.
func TestDownloadEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, n, content := mediaRig(t, 1000)
		n.have = content
		c := r.open()
		full := errors.New("the disk is full")
		if _, err := c.Download(within(t), "g0/x", 0, failingWriter{full}); !errors.Is(err, full) || len(n.asked) != 1 {
			t.Errorf("got %v after %q", err, n.asked)
		}
		n.refuse, n.asked = http.StatusNotFound, nil
		var refused *client.Error
		if _, err := c.DownloadTask(within(t), "task", 0, io.Discard); !errors.As(err, &refused) || refused.Code != protocol.CodeNotFound || len(n.asked) != 2 { // each server once
			t.Errorf("got %v after %q", err, n.asked)
		}
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Where nobody says where the HTTP port is, that is the error.
func TestNoHTTPPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		if _, err := r.open().Upload(within(t), client.File{Size: 1, Content: bytes.NewReader([]byte("x"))}); !errors.Is(err, client.ErrNoHTTP) {
			t.Errorf("got %v", err)
		}
	})
}

const somewhere = "https://chat.example/msfs/g0/171/205/abcd000000000000000000000000000000000000000000000000000000000000.png"

// What texts show, and what stands for it where nothing is shown [TT-MEDIA-3].
func TestAttachments(t *testing.T) {
	const path = "g0/171/205/abcd000000000000000000000000000000000000000000000000000000000000.png"
	picture := client.Attachment{Kind: client.Picture, URL: somewhere, Path: path}
	foreign := client.Attachment{Kind: client.Picture, URL: "http://cdn.example/a.jpg"}
	file := client.Attachment{Kind: client.FileLink, URL: somewhere, Path: path, Name: "q3 (final).pdf", Size: "1.2 MB"}
	for _, c := range []struct {
		text, kind string
		want       []client.Attachment
		rest       string
		shown      string
	}{
		{"plain", "", nil, "plain", "plain"},
		{"&$#@~^@[{:" + somewhere + ":}]&$~@#@", "", []client.Attachment{picture}, "", "[picture]"},
		{"look &$#@~^@[{:" + somewhere + ":}]&$~@#@ and &$#@~^@[{:http://cdn.example/a.jpg:}]&$~@#@!", "", []client.Attachment{picture, foreign}, "look  and !", "look  and ! [picture] [picture]"},
		{"&$#@~^@[{:not closed", "", nil, "&$#@~^@[{:not closed", "&$#@~^@[{:not closed"},
		{"[文件] q3 (final).pdf (1.2 MB) " + somewhere, client.ContentFile, []client.Attachment{file}, "", "[file q3 (final).pdf, 1.2 MB]"},
		{"[文件] q3 (final).pdf (1.2 MB) " + somewhere, "", nil, "[文件] q3 (final).pdf (1.2 MB) " + somewhere, "[文件] q3 (final).pdf (1.2 MB) " + somewhere},
		{"[文件] nothing", client.ContentFile, nil, "[文件] nothing", "[文件] nothing"},
		{"[语音] 5″ " + somewhere, client.ContentVoice, []client.Attachment{{Kind: client.VoiceLink, URL: somewhere, Path: path, Duration: 5 * time.Second}}, "", "[voice, 5 s]"},
	} {
		m := client.Message{Text: c.text, ContentType: c.kind}
		list, rest := m.Attachments()
		if !slices.Equal(list, c.want) || rest != c.rest || m.Shown() != c.shown {
			t.Errorf("%q: %+v, %q, %q", c.text, list, rest, m.Shown())
		}
	}
}

// Nothing is saved outside of the folder that was meant.
func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{"a.txt": "a.txt", "../../etc/passwd": "passwd", `C:\\boot.ini`: "boot.ini", "..": "attachment", ".ssh": "ssh", "a\x00b\n": "ab", "": "attachment", "/": "attachment"} {
		if got := (client.Attachment{Name: name}).FileName(); got != want {
			t.Errorf("%q: %q, not %q", name, got, want)
		}
	}
	if got := (client.Attachment{Path: "g0/171/205/abcd000000000000000000000000000000000000000000000000000000000000.png"}).FileName(); got != "abcd00000000.png" {
		t.Errorf("of a path: %q", got)
	}
}
