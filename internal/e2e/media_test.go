package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// uploadPath asks for the address of an upload and returns its path.
func (u *fileUser) uploadPath(ctx context.Context, name string, size int) string {
	u.t.Helper()
	p, err := u.Call(ctx, pdu.CmdMediaReq, &chatpb.MediaReq{Kind: 1, Name: name, Size: uint64(size)})
	m := &chatpb.MediaRsp{}
	if err != nil || proto.Unmarshal(p.Body, m) != nil || m.GetCode() != 0 || len(m.GetUrls()) != 1 {
		u.t.Fatalf("address of an upload: %v, %v", m, err)
	}
	return m.GetUrls()[0]
}

// contentFiles are what is stored, whole or half.
func contentFiles(t *testing.T, s *Server) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// [TT-MEDIA-5]: a process that is killed in the middle of uploads leaves no half file; their addresses are still good, and what was said to be stored is.
func TestUploadKilled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	s := Start(t, ServerConfig{Args: append(quickPasswords(), "--users=2", "--password=123456")})
	content := recorded(t, 300_000)
	up := s.fileUser(ctx, t, 1).uploadPath(ctx, "report.bin", len(content))
	base := func() string { return "http://" + s.Addr.HTTP }
	if res, body := request(ctx, t, http.MethodPost, base()+up, nil, content[:100_000]); res.StatusCode != http.StatusAccepted {
		t.Fatalf("the first piece: %d %s", res.StatusCode, body)
	}
	form := halfForm(ctx, t, s)
	defer form.Close()
	Eventually(t, "two uploads under way", func() bool { return len(contentFiles(t, s)) == 2 })

	s.Kill()
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	if left := contentFiles(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if res, body := request(ctx, t, http.MethodGet, base()+up, nil, nil); res.StatusCode != 200 || !strings.Contains(string(body), `"offset":0`) {
		t.Errorf("after the loss: %d %s", res.StatusCode, body)
	}
	res, body := request(ctx, t, http.MethodPost, base()+up, nil, content)
	var done struct{ Path string }
	if err := json.Unmarshal(body, &done); err != nil || res.StatusCode != 200 {
		t.Fatalf("anew: %d %s", res.StatusCode, body)
	}

	s.Kill() // at once: it was said to be stored
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	logIn(t, ctx, s, "user2", pb.ClientType_CLIENT_TYPE_WINDOWS) // without that nothing is served to the address
	if res, body := request(ctx, t, http.MethodGet, base()+"/"+done.Path, nil, nil); res.StatusCode != 200 || !bytes.Equal(body, content) {
		t.Errorf("after the second loss: %d, %d bytes", res.StatusCode, len(body))
	}
}

// halfForm sends half a legacy form.
func halfForm(ctx context.Context, t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n", 500_000)+
		"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: x/y\r\n\r\n"+strings.Repeat("x", 100_000))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
