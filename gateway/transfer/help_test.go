package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what an engine needs, in memory.
type world struct {
	mu      sync.Mutex // guards what follows
	online  map[protocol.UserID][]protocol.ClientType
	blobs   map[protocol.BlobID][]byte
	waiting map[string]protocol.OfflineFile
	drafts  int   // that are open
	down    int   // commands that find no leader
	room    error // what Room says
	noRoom  error // what Begin says
	full    error // what Write says
	empty   bool  // content is not kept

	announced []announcement // what Begin was called with
}

func newWorld() *world {
	return &world{online: map[protocol.UserID][]protocol.ClientType{}, blobs: map[protocol.BlobID][]byte{}, waiting: map[string]protocol.OfflineFile{}}
}

func (w *world) Sessions(u protocol.UserID) (all []protocol.LiveSession) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.online[u] {
		all = append(all, protocol.LiveSession{User: u, Client: c})
	}
	return all
}

func (w *world) OfflineFileByTask(to protocol.UserID, task string) (protocol.OfflineFile, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.waiting[task]
	if !ok || f.To != to {
		return f, protocol.Errorf(protocol.CodeNotFound, "no such file")
	}
	return f, nil
}

func (w *world) Execute(_ context.Context, cmd protocol.Command) (any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down > 0 {
		w.down--
		return nil, protocol.Errorf(protocol.CodeUnavailable, "no leader")
	}
	f := cmd.(*protocol.AddOfflineFile).File
	if _, ok := w.blobs[f.Blob]; !ok {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such blob")
	}
	w.waiting[f.TaskID] = f
	return nil, nil
}

// announcement is what is said of a file before it comes.
type announcement struct {
	user protocol.UserID
	size uint64
}

func (w *world) Room(protocol.UserID, uint64) error { return w.room }

func (w *world) Begin(_ context.Context, u protocol.UserID, size uint64) (Draft, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.announced = append(w.announced, announcement{u, size})
	if w.noRoom != nil {
		return nil, w.noRoom
	}
	w.drafts++
	return &draft{w: w, sum: sha256.New()}, nil
}

func (w *world) Open(_ context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.blobs[id]
	if !ok {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such blob")
	}
	return nopCloser{bytes.NewReader(b)}, nil
}

func (w *world) file(task string) (protocol.OfflineFile, []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.waiting[task]
	return f, w.blobs[f.Blob]
}

func (w *world) openDrafts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drafts
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

type draft struct {
	w    *world
	sum  hash.Hash
	data []byte
	size uint64
	over bool
}

func (d *draft) Write(b []byte) (int, error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.w.full != nil || d.over {
		return 0, errors.Join(d.w.full, errors.New("over"))
	}
	d.sum.Write(b)
	d.size += uint64(len(b))
	if !d.w.empty {
		d.data = append(d.data, b...)
	}
	return len(b), nil
}

func (d *draft) Size() uint64 {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	return d.size
}

func (d *draft) Keep(_ context.Context, b protocol.Blob) (id protocol.BlobID, err error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.over {
		return id, errors.New("kept twice")
	}
	d.over = true
	d.w.drafts--
	if b.Owner == 0 || b.Type != "" {
		return id, errors.New("nobody's")
	}
	d.sum.Sum(id[:0])
	d.w.blobs[id] = d.data
	return id, nil
}

func (d *draft) Abort() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if !d.over {
		d.w.drafts--
	}
	d.over = true
}

// stage is an engine in virtual time.
type stage struct {
	*testing.T
	w *world
	e *Engine
}

// play runs a test in a bubble, with an engine that knows user 1, and user 2 at a PC.
func play(t *testing.T, limits Limits, scene func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.online[2] = []protocol.ClientType{protocol.ClientWindows}
		s := &stage{T: t, w: w, e: New(Config{Store: w, Blobs: w, Presence: w, Limits: limits})}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { // ends with ctx; joined below
			defer close(ran)
			_ = s.e.Run(ctx)
		}()
		scene(s)
		cancel()
		<-ran
		synctest.Wait()
		if n := w.openDrafts(); n != 0 {
			t.Errorf("%d drafts are left open", n)
		}
	})
}

// offer makes a task from user 1 to user 2.
func (s *stage) offer(size int, online bool) string {
	s.Helper()
	id, isOnline, err := s.e.Offer(s.Context(), 1, 2, "C:/Users/a/f.bin", uint32(size), online)
	if err != nil || isOnline != online {
		s.Fatalf("offer: online %v, %v", isOnline, err)
	}
	return id
}

// client is one connection as a client sees it.
type client struct {
	s    *stage
	conn net.Conn
	in   *pdu.Reader
	gone chan struct{} // closed when the server is done with it
}

// connect opens a connection to the file port; with a user, a stream beside his session.
func (s *stage) connect(bulk protocol.UserID) *client {
	here, there := net.Pipe()
	c := &client{s: s, conn: here, in: pdu.NewReader(here), gone: make(chan struct{})}
	go func() { // ends with the connection, which the test or its end closes
		defer close(c.gone)
		defer func() { _ = there.Close() }() // as a transport does
		conn := transport.NewStream(there, transport.KindTCP)
		if bulk != 0 {
			s.e.ServeStream(bulk, conn)
		} else {
			s.e.ServeConn(conn)
		}
	}()
	s.Cleanup(c.close)
	return c
}

func (c *client) close() { _ = c.conn.Close() }

func (c *client) send(cmd pdu.Command, seq uint16, m proto.Message) {
	c.s.Helper()
	b, err := pdu.Append(nil, cmd, seq, m)
	if err != nil {
		c.s.Fatal(err)
	}
	if _, err := c.conn.Write(b); err != nil {
		c.s.Fatalf("send %s: %v", cmd, err)
	}
}

// expect reads the next PDU, which must be this one.
func (c *client) expect(cmd pdu.Command, seq uint16, want proto.Message) {
	c.s.Helper()
	p, err := c.in.Read(pdu.MaxLen)
	if err != nil {
		c.s.Fatalf("waiting for %s: %v", cmd, err)
	}
	got := want.ProtoReflect().New().Interface()
	if err := pdu.Unmarshal(p.Body, got); err != nil || p.Header.Command != cmd || p.Header.Seq != seq || !proto.Equal(got, want) {
		c.s.Fatalf("got %s seq %d %.300v (%v)\nwant %s seq %d %.300v", p.Header.Command, p.Header.Seq, got, err, cmd, seq, want)
	}
}

// ends reads until the server closes, which it must do soon, and wants nothing to come before.
func (c *client) ends() {
	c.s.Helper()
	began := time.Now()
	c.endsOnce()
	if d := time.Since(began); d > 5*time.Second {
		c.s.Fatalf("it took %v", d)
	}
}

// endsOnce is ends, however long it takes.
func (c *client) endsOnce() {
	c.s.Helper()
	if p, err := c.in.Read(pdu.MaxLen); err == nil {
		c.s.Fatalf("got %s instead of the end", p.Header.Command)
	}
	c.close()
	<-c.gone
}

// silent wants nothing to come.
func (c *client) silent() {
	c.s.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		c.s.Fatal(err)
	}
	var b [1]byte
	if n, err := c.conn.Read(b[:]); n != 0 || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		c.s.Fatalf("got %x (%v) instead of silence", b[:n], err)
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		c.s.Fatal(err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// login opens a connection for a task.
func (s *stage) login(u protocol.UserID, task string, role pb.ClientFileRole) *client {
	s.Helper()
	c := s.connect(0)
	c.login(u, task, role, 0)
	return c
}

func (c *client) login(u protocol.UserID, task string, role pb.ClientFileRole, result uint32) {
	c.s.Helper()
	c.send(pdu.CmdFileLoginReq, 7, &pb.IMFileLoginReq{UserId: new(uint32(u)), TaskId: new(task), FileRole: role.Enum()})
	c.expect(pdu.CmdFileLoginRes, 7, loginRes(result, task))
}

// Roles, short.
const (
	sender     = pb.ClientFileRole_CLIENT_REALTIME_SENDER
	receiver   = pb.ClientFileRole_CLIENT_REALTIME_RECVER
	uploader   = pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD
	downloader = pb.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD
)

// content is a file of n bytes.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}

func pullOf(task string, u protocol.UserID, mode pb.TransferFileType, offset, size int) *pb.IMFilePullDataReq {
	return &pb.IMFilePullDataReq{TaskId: new(task), UserId: new(uint32(u)), TransMode: mode.Enum(), Offset: new(uint32(offset)), DataSize: new(uint32(size))}
}

func blockOf(task string, u protocol.UserID, offset int, data []byte) *pb.IMFilePullDataRsp {
	return &pb.IMFilePullDataRsp{ResultCode: new(uint32(0)), TaskId: new(task), UserId: new(uint32(u)), Offset: new(uint32(offset)), FileData: append([]byte{}, data...)}
}

func newRaw(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited for: %s", what)
		}
	}
}

// pass lets virtual time go by.
func (s *stage) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
