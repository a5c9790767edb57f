package transfer

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// script is a client that sends what it has and reads nothing: what it is sent is looked at.
type script struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                     { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func say(cmd pdu.Command, m proto.Message) (b []byte) {
	b, _ = pdu.Append(nil, cmd, 3, m)
	return b
}

// FuzzPort: whatever two clients say, one on each side of a task or both on one, nothing breaks, all that is said back are whole PDUs, and nothing is left.
func FuzzPort(f *testing.F) {
	login := func(u uint32, task string, role pb.ClientFileRole) []byte {
		return say(pdu.CmdFileLoginReq, &pb.IMFileLoginReq{UserId: new(u), TaskId: new(task), FileRole: role.Enum()})
	}
	file := content(100)
	f.Add(bytes.Join([][]byte{say(pdu.CmdHeartbeat, &pb.IMHeartBeat{}), login(1, "online", sender), say(pdu.CmdFilePullRes, blockOf("online", 1, 0, file))}, nil),
		bytes.Join([][]byte{login(2, "online", receiver), say(pdu.CmdFilePullReq, pullOf("online", 2, modeOnline, 0, 100)), say(pdu.CmdFileState, state(done, "online", 2))}, nil), false)
	f.Add(bytes.Join([][]byte{login(1, "offline", uploader), say(pdu.CmdFilePullRes, blockOf("offline", 1, 0, file)), say(pdu.CmdFileState, state(cancel, "offline", 1))}, nil),
		bytes.Join([][]byte{login(2, "waits", downloader), say(pdu.CmdFilePullReq, pullOf("waits", 2, modeOffline, 0, 100))}, nil), true)
	f.Add([]byte{0, 0, 0, 15}, []byte{0xff, 0xff, 0xff, 0xff}, false)
	f.Fuzz(func(t *testing.T, one, other []byte, bulk bool) {
		w := newWorld()
		e := New(Config{Store: w, Blobs: w, Presence: w, Log: slog.New(slog.DiscardHandler)})
		for id, online := range map[string]bool{"online": true, "offline": false} {
			e.tasks[id] = &task{id: id, from: 1, to: 2, name: "f", size: 100, online: online, limit: e.limits.Bytes, expires: time.Now().Add(time.Hour)}
			e.offers[1]++
		}
		w.blobs[protocol.BlobID{1}] = content(100)
		w.waiting["waits"] = protocol.OfflineFile{From: 1, To: 2, TaskID: "waits", Name: "f", Size: 100, Blob: protocol.BlobID{1}}
		var both sync.WaitGroup
		clients := []*script{{in: bytes.NewReader(one)}, {in: bytes.NewReader(other)}}
		for i, c := range clients {
			both.Go(func() { // ends with its input
				conn := transport.NewStream(c, transport.KindTCP)
				if bulk {
					e.ServeStream(protocol.UserID(i+1), conn)
				} else {
					e.ServeConn(conn)
				}
			})
		}
		both.Wait()
		e.stop()
		if n := w.openDrafts(); n != 0 || len(e.tasks) != 0 || len(e.offers) != 0 {
			t.Errorf("left: %d drafts, %d tasks, %d users", n, len(e.tasks), len(e.offers))
		}
		for _, c := range clients {
			for r := pdu.NewReader(&c.out); ; {
				if _, err := r.Read(pdu.MaxLen); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("said back: %v", err)
				}
			}
		}
	})
}
