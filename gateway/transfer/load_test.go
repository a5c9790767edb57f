package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// endless is a file of any size: the same bytes again and again, in a period that no block has.
type endless struct{ twice []byte }

const period = 65_521

func newEndless() *endless {
	b := content(period)
	return &endless{bytes.Repeat(b, 2+maxBlock/period+1)}
}

func (f *endless) at(offset, n int) []byte {
	i := offset % period
	return f.twice[i : i+n]
}

// reader reads it up to size.
type reader struct {
	*endless
	size, pos int
}

func (r *reader) Read(b []byte) (int, error) {
	n := min(len(b), r.size-r.pos, maxBlock)
	if n == 0 {
		return 0, io.EOF
	}
	copy(b, r.at(r.pos, n))
	r.pos += n
	return n, nil
}

func (r *reader) Seek(offset int64, _ int) (int64, error) {
	r.pos = int(offset)
	return offset, nil
}

func (r *reader) Close() error { return nil }

// large is a world whose one blob is large.
type large struct {
	*world
	of   *endless
	size int
}

func (l *large) Open(context.Context, protocol.BlobID) (io.ReadSeekCloser, error) {
	return &reader{endless: l.of, size: l.size}, nil
}

// old is a client on a socket.
type old struct {
	*testing.T
	conn net.Conn
	in   *pdu.Reader
}

func (o *old) send(cmd pdu.Command, seq uint16, m proto.Message) {
	b, err := pdu.Append(nil, cmd, seq, m)
	if err == nil {
		_, err = o.conn.Write(b)
	}
	if err != nil {
		o.Error(err)
	}
}

func (o *old) next(m proto.Message) (pdu.Command, bool) {
	p, err := o.in.Read(pdu.MaxLen)
	if err != nil {
		o.Errorf("waiting: %v", err)
		return 0, false
	}
	if p.Header.Command != pdu.CmdFileState {
		err = pdu.Unmarshal(p.Body, m)
	}
	if err != nil {
		o.Error(err)
	}
	return p.Header.Command, err == nil
}

func dialOld(t *testing.T, address string, u protocol.UserID, task string, role pb.ClientFileRole) *old {
	t.Helper()
	conn, err := newRaw(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	o := &old{t, conn, pdu.NewReader(conn)}
	o.send(pdu.CmdFileLoginReq, 1, &pb.IMFileLoginReq{UserId: new(uint32(u)), TaskId: new(task), FileRole: role.Enum()})
	res := &pb.IMFileLoginRsp{}
	if _, ok := o.next(res); !ok || res.GetResultCode() != 0 {
		t.Fatalf("login: %v", res)
	}
	return o
}

// answers sends the blocks that are asked for until the server says that it is done.
func (o *old) answers(task string, file *endless) {
	for {
		m := &pb.IMFilePullDataReq{}
		cmd, ok := o.next(m)
		if !ok || cmd == pdu.CmdFileState {
			return
		}
		at := int(m.GetOffset())
		o.send(pdu.CmdFilePullRes, 1, &pb.IMFilePullDataRsp{ResultCode: new(uint32(0)), TaskId: new(task), UserId: new(uint32(1)), Offset: m.Offset,
			FileData: file.at(at, int(m.GetDataSize()))})
	}
}

// pulls asks for one block after the other, as existing clients do, and returns how many bytes came that were right.
func (o *old) pulls(task string, mode pb.TransferFileType, file *endless, size int) (right int) {
	for right < size {
		o.send(pdu.CmdFilePullReq, 2, pullOf(task, 2, mode, right, min(segment, size-right)))
		m := &pb.IMFilePullDataRsp{}
		if _, ok := o.next(m); !ok || int(m.GetOffset()) != right || !bytes.Equal(m.GetFileData(), file.at(right, len(m.GetFileData()))) {
			return right
		}
		right += len(m.GetFileData())
	}
	return right
}

// TestLarge carries a file in all ways: 256 MiB, or with TT_LARGE the largest there can be, 4 GiB-1. Memory does not grow with it.
func TestLarge(t *testing.T) {
	size := usualSize
	if os.Getenv("TT_LARGE") != "" {
		size = 1<<32 - 1
	}
	file := newEndless()
	w := &large{newWorld(), file, size}
	w.empty, w.online[2] = true, []protocol.ClientType{protocol.ClientWindows}
	e := New(Config{Store: w, Blobs: w, Presence: w})
	port, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- port.Serve(e.ServeConn) }() // ends with Close below
	defer func() {
		port.Close()
		e.stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	peak := watchMemory(t)
	offer := func(online bool) string {
		id, _, err := e.Offer(t.Context(), 1, 2, "f", uint32(size), online)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	at := port.Addr().String()
	measure := func(what string, carry func()) {
		began := time.Now()
		carry()
		d := time.Since(began)
		t.Logf("%s: %d bytes in %v, %.0f MB/s", what, size, d, float64(size)/1e6/d.Seconds())
	}
	up := offer(false)
	measure("to the server", func() { dialOld(t, at, 1, up, uploader).answers(up, file) })
	sum := sha256.New()
	if _, err := io.Copy(sum, &reader{endless: file, size: size}); err != nil {
		t.Fatal(err)
	}
	if f, _ := w.file(up); fmt.Sprintf("%x", sum.Sum(nil)) != f.Blob.String() || f.Size != uint32(size) {
		t.Fatalf("another file was stored: %+v", f)
	}
	measure("from the server", func() {
		if right := dialOld(t, at, 2, up, downloader).pulls(up, modeOffline, file, size); right != size {
			t.Errorf("%d bytes are right", right)
		}
	})
	through := offer(true)
	measure("through the server", func() {
		from, to := dialOld(t, at, 1, through, sender), dialOld(t, at, 2, through, receiver)
		if cmd, ok := to.next(&pb.IMFileState{}); !ok || cmd != pdu.CmdFileState {
			t.Fatal("the receiver was not told")
		}
		gone := make(chan struct{})
		go func() { // ends with 0x0503, below
			defer close(gone)
			from.answers(through, file)
		}()
		if right := to.pulls(through, modeOnline, file, size); right != size {
			t.Errorf("%d bytes are right", right)
		}
		to.send(pdu.CmdFileState, 3, state(done, through, 2))
		<-gone
	})
	if left := leftover(); left > 32<<20 {
		t.Errorf("%d MiB of memory are left in use", left>>20)
	}
	if most := peak(); most > 128<<20 {
		t.Errorf("%d MiB of memory were in use", most>>20)
	} else {
		t.Logf("at most %d KiB of live heap, both clients included", most>>10)
	}
}

// leftover is what is in use when all is done.
func leftover() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// watchMemory looks at what the collector found in use from time to time; what it returns ends that, and tells the most.
func watchMemory(t *testing.T) func() uint64 {
	t.Helper()
	var most atomic.Uint64
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with quit
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
			runtimemetrics.Read(live)
			most.Store(max(most.Load(), live[0].Value.Uint64()))
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	return func() uint64 {
		close(quit)
		<-ended
		return most.Load()
	}
}
