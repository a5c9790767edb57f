package node

import (
	"crypto/md5" // the clients' form of a password
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// uploadForm sends a picture as legacy clients do and returns the error code and the path.
func uploadForm(t *testing.T, url, name string, content []byte) (code int, path string) {
	t.Helper()
	var b strings.Builder
	form := multipart.NewWriter(&b)
	part, err := form.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	_, body := post(t, url, form.FormDataContentType(), strings.NewReader(b.String()))
	var got struct {
		Code int    `json:"error_code"`
		Path string `json:"path"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return got.Code, got.Path
}

func post(t *testing.T, url, contentType string, body io.Reader) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	rsp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rsp.StatusCode, b
}

func pictureOf(t *testing.T, side int) []byte {
	t.Helper()
	var b strings.Builder
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, side, side))); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

// legacyClient is a native connection that has logged in.
type legacyClient struct {
	t    *testing.T
	conn net.Conn
}

func loginLegacy(t *testing.T, n *Node, name string) *legacyClient {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.Addresses()["tcp"])
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &legacyClient{t, conn}
	c.write(pdu.Append(nil, pdu.CmdLoginReq, 7, &pb.IMLoginReq{UserName: new(name), Password: new(fmt.Sprintf("%x", md5.Sum([]byte("12345")))), OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(),
		ClientType: pb.ClientType_CLIENT_TYPE_WINDOWS.Enum()}))
	c.await(pdu.CmdLoginRes)
	return c
}

// write sends a PDU as pdu.Append makes it.
func (c *legacyClient) write(b []byte, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// await reads until a PDU of a command comes.
func (c *legacyClient) await(cmd pdu.Command) pdu.PDU {
	c.t.Helper()
	head := make([]byte, pdu.HeaderLen)
	for {
		if _, err := io.ReadFull(c.conn, head); err != nil {
			c.t.Fatalf("%v: %v", cmd, err)
		}
		h, err := pdu.ParseHeader(head)
		if err != nil {
			c.t.Fatal(err)
		}
		body := make([]byte, int(h.Length)-pdu.HeaderLen)
		if _, err := io.ReadFull(c.conn, body); err != nil {
			c.t.Fatal(err)
		}
		if h.Command == cmd {
			return pdu.PDU{Header: h, Body: body}
		}
	}
}

// [TT-MSFS-1] [TT-MSFS-6] [TT-MEDIA-10]: a legacy client sends a picture, which needs somebody logged in; a message holds it, and what nothing shows any
// more is gone, smaller ones too. A form that is cut leaves nothing behind.
func TestLegacyPicture(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(t, dir, map[string]string{"files.max_upload": "1MiB"})
	cfg.Demo = DemoConfig{Users: 2, Password: "12345"}
	n := startNode(t, cfg)
	defer stopNode(t, n)
	base := "http://" + n.Addresses()["http"]
	if code, _ := uploadForm(t, base+"/", "a.png", pictureOf(t, 200)); code != 12 {
		t.Fatalf("while nobody is logged in: code %d", code)
	}
	c := loginLegacy(t, n, "user1")
	defer c.conn.Close()
	var path string
	for _, folder := range []string{"/", "/upload/", "/msfs/", "/msfs/upload/"} {
		code, p := uploadForm(t, base+folder, "a.png", pictureOf(t, 200))
		if code != 0 || path != "" && p != path {
			t.Fatalf("%s: code %d, path %q", folder, code, p)
		}
		path = p
	}
	if code, _ := uploadForm(t, base+"/", "b.bin", make([]byte, 1<<20+1)); code != 1 {
		t.Errorf("too large: code %d", code)
	}
	if status, body := fetch(t, base+"/msfs/"+path+"_100x100.jpg"); status != 200 || len(body) == 0 {
		t.Errorf("a smaller one: %d", status)
	}
	if status, _ := fetch(t, base+"/g0/../g0/"+strings.TrimPrefix(path, "g0/")); status != 400 && status != 200 { // net/http cleans what it asks for
		t.Errorf("a trick: %d", status)
	}
	cutForm(t, n)

	b, err := protocol.ParseBlobPath(path)
	if err != nil {
		t.Fatal(err)
	}
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	c.write(pdu.Append(nil, pdu.CmdMsgData, 7, &pb.IMMsgData{FromUserId: new(uint32(1)), ToSessionId: new(uint32(2)), MsgId: new(uint32(0)), CreateTime: new(uint32(0)),
		MsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: cipher.Encrypt("&$#@~^@[{:" + base + "/msfs/" + path + ":}]&$~@#@")}))
	c.await(pdu.CmdMsgDataAck)
	if unused, err := n.store.UnusedBlobs(protocol.TimeOf(time.Now().Add(time.Hour)), 10); err != nil || len(unused) != 0 {
		t.Errorf("not held by the message: %v %v", unused, err)
	}
	if err := execute(t, n, &protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 1, Deletion: protocol.Recalled, Within: time.Hour.Milliseconds()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the picture stays, or its smaller one", func() bool {
		status, _ := fetch(t, base+"/"+path)
		thumbs, err := filepath.Glob(filepath.Join(dir, thumbsDir, b.ID.String()+"*"))
		return status == 404 && err == nil && len(thumbs) == 0
	})
	eventually(t, "something is left", func() bool { return filesBelow(t, filepath.Join(dir, "blobs")) == 0 })
}

func execute(t *testing.T, n *Node, cmd protocol.Command) error {
	t.Helper()
	_, err := n.store.Execute(t.Context(), cmd)
	return err
}

// cutForm begins a form and is gone in its middle.
func cutForm(t *testing.T, n *Node) {
	t.Helper()
	before := filesBelow(t, n.cfg.blobsDir())
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.Addresses()["http"])
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 500000\r\n\r\n"+
		"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: x/y\r\n\r\n"+strings.Repeat("x", 100_000))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing begins", func() bool { return filesBelow(t, n.cfg.blobsDir()) > before })
	conn.Close()
	eventually(t, "half a file is left", func() bool { return filesBelow(t, n.cfg.blobsDir()) == before })
}

func filesBelow(t *testing.T, dir string) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err == nil && !e.IsDir() {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// [TT-MEDIA-1] [TT-MEDIA-2]: the addresses that a node makes work on it, and an upload that goes on does not begin anew.
func TestSignedUpload(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), map[string]string{"files.legacy_access": "off", "files.max_upload": "1MiB"})
	cfg.Demo = DemoConfig{Users: 2, Password: "12345"}
	n := startNode(t, cfg)
	defer stopNode(t, n)
	base := "http://" + n.Addresses()["http"]
	m, content := &n.clients.media, pictureOf(t, 300)
	up, err := m.Upload(1, "a.png", uint64(len(content)), "image/png")
	if err != nil || up.MaxBytes != 1<<20 || up.Expires < time.Hour {
		t.Fatalf("%+v %v", up, err)
	}
	half := len(content) / 2
	if status, body := post(t, base+up.URLs[0], "application/octet-stream", strings.NewReader(string(content[:half]))); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+up.URLs[0], strings.NewReader(string(content[half:])))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Upload-Offset", strconv.Itoa(half))
	rsp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	var done struct{ Path, URL string }
	if err := json.NewDecoder(rsp.Body).Decode(&done); err != nil || rsp.StatusCode != 200 || done.URL != base+"/msfs/"+done.Path {
		t.Fatalf("%d %+v %v", rsp.StatusCode, done, err)
	}
	if status, _ := fetch(t, base+"/"+done.Path); status != 403 {
		t.Errorf("unsigned: %d", status)
	}
	down, err := m.Download(2, []string{done.Path, done.Path + "_100x100.jpg"})
	if err != nil || len(down.URLs) != 2 {
		t.Fatalf("%+v %v", down, err)
	}
	if status, body := fetch(t, base+down.URLs[0]); status != 200 || body != string(content) {
		t.Errorf("signed: %d", status)
	}
	if _, err := m.Upload(1, "a.png", 1<<20+1, ""); protocol.CodeOf(err) != protocol.CodeTooLarge {
		t.Errorf("too large: %v", err)
	}
	if _, err := m.Download(1, []string{"../etc/passwd"}); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("no path: %v", err)
	}
	if task, err := m.Task(1, "t1", true); err != nil || !strings.HasPrefix(task.URLs[0], "/media/task/t1?") {
		t.Errorf("%+v %v", task, err)
	}
}

// [TT-MSFS-6]: whoever is logged in on one node may use the other one; what one stores, the other sends.
func TestPicturesOfTwoNodes(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), nil)
	cfg.Demo = DemoConfig{Users: 2, Password: "12345"}
	a := startNode(t, cfg)
	defer stopNode(t, a)
	token, err := a.peering.manager.Load().Token(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cfg = testConfig(t, t.TempDir(), nil)
	cfg.Join = token.Line()
	b := startNode(t, cfg)
	defer stopNode(t, b)
	c := loginLegacy(t, a, "user1")
	defer c.conn.Close()
	var path string
	side := 50
	eventually(t, "b hears from a who is there, and stores a picture as his", func() bool {
		side++
		code, p := uploadForm(t, "http://"+b.Addresses()["http"]+"/", "a.png", pictureOf(t, side))
		path = p
		at, err := protocol.ParseBlobPath(p)
		if code != 0 || err != nil {
			return false
		}
		stored, _, err := b.store.Blob(at.ID)
		return err == nil && stored.Owner == 1
	})
	eventually(t, "the other node has heard of it, and sends it", func() bool {
		status, body := fetch(t, "http://"+a.Addresses()["http"]+"/"+path)
		return status == 200 && body == string(pictureOf(t, side))
	})
	if up, err := a.clients.media.Upload(1, "a", 1, ""); err != nil {
		t.Error(err)
	} else if status, body := post(t, "http://"+b.Addresses()["http"]+up.URLs[0], "", strings.NewReader("x")); status != 200 {
		t.Errorf("an address of the other node: %d %s", status, body)
	}
	second := loginLegacy(t, b, "user2")
	defer second.conn.Close()
	for _, n := range []*Node{a, b} {
		eventually(t, "what comes from an address with two users is nobody's", func() bool {
			return n.clients.media.ownerOf(t.Context(), netip.MustParseAddr("127.0.0.1")) == 0
		})
	}
	if _, err := b.serveHome([]byte("x")); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("a question that is none: %v", err)
	}
}

// What nodes of before don't know is refused before anything is sent, with the word to upgrade them.
func TestContentIsNotStoredYet(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), map[string]string{"cluster.highest_level": "3", "files.legacy_access": "open"})
	cfg.Demo = DemoConfig{Users: 2, Password: "12345"}
	n := startNode(t, cfg)
	defer stopNode(t, n)
	refused := func(what string, err error) {
		t.Helper()
		if protocol.CodeOf(err) != protocol.CodeForbidden || !strings.Contains(err.Error(), "upgrade all nodes") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := n.clients.media.Upload(1, "a.png", 100, "image/png")
	refused("an address", err)
	_, _, err = n.transfers().Offer(t.Context(), 1, 2, "f", 100, false)
	refused("a file", err)
	tickets, err := n.clients.media.load()
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := tickets.Upload(1, "a.png", 100, "image/png", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + n.Addresses()["http"]
	if status, body := post(t, base+made, "", strings.NewReader("x")); status != 403 || !strings.Contains(string(body), "upgrade all nodes") {
		t.Errorf("a piece at an address of another node: %d %s", status, body)
	}
	if code, _ := uploadForm(t, base+"/", "a.png", pictureOf(t, 50)); code != 14 {
		t.Errorf("a form: %d", code)
	}
	if left := filesBelow(t, n.cfg.blobsDir()); left > 0 {
		t.Errorf("%d files are left", left)
	}
}

// [TT-MSFS-6]: what other nodes say of an address counts for a while, a no for a shorter one.
func TestHomes(t *testing.T) {
	var h homes
	a, now := netip.MustParseAddr("192.0.2.1"), time.Now()
	if known, _ := h.known(a, now); known {
		t.Error("known from nowhere")
	}
	for _, is := range []bool{true, false} {
		h.note(a, is, now)
		for after, want := range map[time.Duration]bool{time.Second: true, 3 * time.Second: is, 2 * time.Minute: false} {
			if known, got := h.known(a, now.Add(after)); known != want || known && got != is {
				t.Errorf("%v after %v: known %v, is %v", is, after, known, got)
			}
		}
	}
	for _, of := range []protocol.UserID{0, 7, ^protocol.UserID(0)} {
		if got, is := decodeHome(encodeHome(of, true)); !is || got != of {
			t.Errorf("user %d became %d, %v", of, got, is)
		}
	}
	for _, b := range [][]byte{nil, {}, {0}, {1}, {2, 0, 0, 0, 1}, encodeHome(7, false)} {
		if _, is := decodeHome(b); is {
			t.Errorf("%v is a yes", b)
		}
	}
	h.note(netip.MustParseAddr("2001:db8::1"), true, now)
	for a, want := range map[string]bool{"2001:db8::ffff:2": true, "2001:db8:0:1::1": false, "192.0.2.2": false} { // networks count as one
		if known, _ := h.known(netip.MustParseAddr(a), now); known != want {
			t.Errorf("%s: known %v", a, known)
		}
	}
}
