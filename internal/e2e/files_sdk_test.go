package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// datagrams is the machine's network, until datagrams pass no more.
type datagrams struct {
	dial.Network

	mu   sync.Mutex // guards what follows
	open []net.PacketConn
	gone bool
}

// ListenPacket implements dial.Network.
func (d *datagrams) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return nil, errors.New("no datagrams pass")
	}
	c, err := d.Network.ListenPacket(ctx)
	if err == nil {
		d.open = append(d.open, c)
	}
	return c, err
}

// cut ends what goes by datagrams, for good.
func (d *datagrams) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	for _, c := range d.open {
		_ = c.Close() // its user may have been faster
	}
}

// fileSDK is the SDK's session of a user at some addresses of the server, over QUIC.
func (s *Server) fileSDK(ctx context.Context, t *testing.T, user int, net dial.Network, addresses ...string) *client.Client {
	t.Helper()
	conf, err := s.trust()
	if err != nil {
		t.Fatal(err)
	}
	d, err := dial.New(addresses, dial.Options{TLS: conf, Net: net})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(ctx, client.Config{Name: fmt.Sprintf("user%d", user), Password: "123456", Dialer: dialer{d, true}, OnEvent: func(*client.Client, client.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if via := c.Status().Route.Transport; via != dial.QUIC {
		t.Fatalf("user%d is online by %s", user, via)
	}
	return c
}

// halfway calls do once when the second half of a file is read or written.
type halfway struct {
	io.ReaderAt
	io.Writer
	half int64
	done int64
	once sync.Once
	do   func()
}

func (h *halfway) ReadAt(b []byte, at int64) (int, error) {
	if at >= h.half {
		h.once.Do(h.do)
	}
	return h.ReaderAt.ReadAt(b, at)
}

func (h *halfway) Write(b []byte) (int, error) {
	n, err := h.Writer.Write(b)
	if h.done += int64(n); h.done >= h.half {
		h.once.Do(h.do)
	}
	return n, err
}

// TestFilesBesideTheSession: the SDK carries files between users on streams of its session's connection, where there is no HTTP at all, and messages pass
// while a file stands still half way [TT-FILE-12].
func TestFilesBesideTheSession(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*Patience)
	defer cancel()
	s := Start(t, ServerConfig{Args: append(quickPasswords(), "--users", "3", "--password", "123456", "--files", "off")})
	ann, bo := s.fileSDK(ctx, t, 1, nil, "quic://"+s.Addr.QUIC), s.fileSDK(ctx, t, 2, nil, "quic://"+s.Addr.QUIC)
	file := recorded(t, 5<<20+7)
	task := s.fileUser(ctx, t, 1).offer(ctx, 2, len(file))

	said := func(who *client.Client, to protocol.UserID) func() {
		return func() { // as long as this takes the file does not go on
			out, err := who.Send(ctx, protocol.WithUser(to), client.Text("meanwhile"))
			if err == nil {
				err = out.Wait(ctx)
			}
			if err != nil {
				t.Errorf("beside a file: %v", err)
			}
		}
	}
	var told []int64
	err := ann.UploadTask(ctx, task, client.File{Size: int64(len(file)), Content: &halfway{ReaderAt: bytes.NewReader(file), half: 2 << 20, do: said(ann, 3)},
		Progress: func(n int64) { told = append(told, n) }})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Metrics(ctx, `teamtalk_transfer_bytes_total{way="stored"}`); err != nil || int(n) != len(file) {
		t.Errorf("%v of %d bytes stored, %v", n, len(file), err)
	}
	if len(told) < 3 || told[len(told)-1] != int64(len(file)) {
		t.Errorf("told %v", told)
	}
	for _, from := range []int64{0, 1_000_000, int64(len(file))} {
		var got bytes.Buffer
		n, err := bo.DownloadTask(ctx, task, from, &halfway{Writer: &got, half: 2 << 20, do: said(bo, 3)})
		if err != nil || n != int64(got.Len()) || !bytes.Equal(got.Bytes(), file[from:]) {
			t.Errorf("from %d on: %d bytes, %v", from, n, err)
		}
	}
	var refused *client.Error
	if _, err := ann.DownloadTask(ctx, task, 0, io.Discard); !errors.As(err, &refused) || refused.Code != protocol.CodeNotFound {
		t.Errorf("the file of another user: %v", err)
	}
}

// TestFilesOutliveQUIC: when the network stops passing datagrams in the middle of a file, it goes on over HTTPS where it was [TT-FILE-8] [TT-FILE-13].
func TestFilesOutliveQUIC(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*Patience)
	defer cancel()
	s := Start(t, ServerConfig{Args: append(quickPasswords(), "--users", "3", "--password", "123456", "--files", "off")})
	upNet, downNet := &datagrams{Network: dial.Machine()}, &datagrams{Network: dial.Machine()}
	addresses := []string{"quic://" + s.Addr.QUIC, "wss://" + s.Addr.TLS}
	ann, bo := s.fileSDK(ctx, t, 1, upNet, addresses...), s.fileSDK(ctx, t, 2, downNet, addresses...)
	file := recorded(t, 8<<20)
	task := s.fileUser(ctx, t, 1).offer(ctx, 2, len(file))
	bytesOf := func(way string) int {
		n, err := s.Metrics(ctx, `teamtalk_transfer_bytes_total{way="`+way+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}

	if err := ann.UploadTask(ctx, task, client.File{Size: int64(len(file)), Content: &halfway{ReaderAt: bytes.NewReader(file), half: 4 << 20, do: upNet.cut}}); err != nil {
		t.Fatal(err)
	}
	if n := bytesOf("stored"); n != len(file) {
		t.Errorf("%d bytes stored of a file of %d: it did not go on where it was", n, len(file))
	}
	var got bytes.Buffer
	if _, err := bo.DownloadTask(ctx, task, 0, &halfway{Writer: &got, half: 4 << 20, do: downNet.cut}); err != nil || !bytes.Equal(got.Bytes(), file) {
		t.Errorf("%d bytes came, %v", got.Len(), err)
	}
	if n := bytesOf("fetched"); n > len(file)+2<<20 { // what was on its way when it broke was sent twice
		t.Errorf("%d bytes fetched of a file of %d: it did not go on where it was", n, len(file))
	}
	for name, c := range map[string]*client.Client{"ann": ann, "bo": bo} {
		if err := c.WaitOnline(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
