package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// sniffed is how much of a file says what it is.
const sniffed = 512

// Attach uploads a file of this machine and sends it: as a picture if all clients show that, else as a file.
func (s *Session) Attach(ctx context.Context, in protocol.Session, path string, burn time.Duration) (*client.Outgoing, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	kind, err := kindOf(f, path)
	if err != nil {
		return nil, err
	}
	up := client.File{Name: filepath.Base(path), Type: kind, Size: info.Size(), Content: f}
	switch kind {
	case "image/jpeg", "image/png", "image/gif":
		return s.SendPicture(ctx, in, up, burn)
	}
	return s.SendFile(ctx, in, up, burn)
}

// kindOf is the MIME type of a file, by its begin or else its name.
func kindOf(f *os.File, path string) (string, error) {
	head := make([]byte, sniffed)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	kind := http.DetectContentType(head[:n])
	if named := mime.TypeByExtension(filepath.Ext(path)); named != "" && (kind == "application/octet-stream" || strings.HasPrefix(kind, "text/plain")) {
		kind = named
	}
	return kind, nil
}

// Save fetches an attachment into a file, or into a folder under its own name, and returns where it is. Nothing that is there is overwritten, and
// nothing stays when it fails.
func (s *Session) Save(ctx context.Context, a client.Attachment, to string) (string, error) {
	if a.Path == "" {
		return "", errors.New("it is on another server, from which nothing is fetched: " + a.URL)
	}
	if to == "" {
		to = "."
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		to = filepath.Join(to, a.FileName())
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = s.Download(ctx, a.Path, 0, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(to))
	}
	return to, nil
}
