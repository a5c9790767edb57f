package client_test

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// bulkPipe is a stream beside the session, as the client has it.
type bulkPipe struct {
	net.Conn
	*pdu.Reader
	code *protocol.Code
}

func (p bulkPipe) Read() (pdu.PDU, error) { return p.Reader.Read(pdu.MaxLen) }

func (p bulkPipe) Write(frame []byte) error {
	_, err := p.Conn.Write(frame)
	return err
}

func (p bulkPipe) Close(code protocol.Code) {
	*p.code = code
	_ = p.Conn.Close()
}

// bulkEnd is the server's end.
type bulkEnd struct {
	t *testing.T
	net.Conn
	*pdu.Reader
}

// read is the next PDU's message, or nil when the client has given the stream up.
func (e bulkEnd) read() proto.Message {
	p, err := e.Reader.Read(pdu.MaxLen)
	if err != nil {
		return nil
	}
	m, err := pdu.Decode(p, pdu.ClientToServer)
	if err != nil {
		e.t.Errorf("%v: %v", p.Header.Command, err)
	}
	return m
}

func (e bulkEnd) say(cmd pdu.Command, m proto.Message) {
	b, err := pdu.Append(nil, cmd, 0, m)
	if err != nil {
		e.t.Error(err)
	}
	_, _ = e.Conn.Write(b) // the client may have gone
}

// admit answers 0x0501 and returns the role.
func (e bulkEnd) admit(result uint32) pb.ClientFileRole {
	m, ok := e.read().(*pb.IMFileLoginReq)
	if !ok || m.GetUserId() != uint32(meID) || m.GetTaskId() != "task" {
		e.t.Errorf("began with %v", m)
	}
	e.say(pdu.CmdFileLoginRes, &pb.IMFileLoginRsp{ResultCode: &result, TaskId: proto.String("task")})
	return m.GetFileRole()
}

func (e bulkEnd) pull(from, n int) []byte {
	e.say(pdu.CmdFilePullReq, &pb.IMFilePullDataReq{TaskId: proto.String("task"), UserId: proto.Uint32(1), TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(),
		Offset: proto.Uint32(uint32(from)), DataSize: proto.Uint32(uint32(n))})
	m, ok := e.read().(*pb.IMFilePullDataRsp)
	if ok && int(m.GetOffset()) != from {
		e.t.Errorf("asked for %d, got %d", from, m.GetOffset())
	}
	return m.GetFileData()
}

func (e bulkEnd) give(at int, b []byte) {
	e.say(pdu.CmdFilePullRes, &pb.IMFilePullDataRsp{ResultCode: proto.Uint32(0), TaskId: proto.String("task"), UserId: proto.Uint32(1), Offset: proto.Uint32(uint32(at)), FileData: b})
}

func (e bulkEnd) state(s pb.ClientFileState) {
	e.say(pdu.CmdFileState, &pb.IMFileState{State: s.Enum(), TaskId: proto.String("task"), UserId: proto.Uint32(1)})
}

// bulkRig is a mediaRig whose session has streams beside it, each served by play; codes are what the client closed them with.
func bulkRig(t *testing.T, size int, play func(e bulkEnd, content []byte)) (_ *rig, _ *mediaNet, content []byte, codes *[]*protocol.Code) {
	r, n, file := mediaRig(t, size)
	codes = new([]*protocol.Code)
	r.server.beside = func() dial.Bulk {
		near, far := net.Pipe()
		code := new(protocol.Code)
		*codes = append(*codes, code)
		go func() { // until the script is over
			play(bulkEnd{t, far, pdu.NewReader(far)}, file)
			_ = far.Close()
		}()
		return bulkPipe{near, pdu.NewReader(near), code}
	}
	return r, n, file, codes
}

// How uploads beside the session end, and which of them go on by HTTP [TT-FILE-12] [TT-FILE-13].
func TestUploadBeside(t *testing.T) {
	const size = 1000
	unreadable := errors.New("the file can't be read")
	for name, c := range map[string]struct {
		play    func(e bulkEnd, content []byte)
		content *failingReader
		want    error // nil: it arrives
		byHTTP  bool
	}{
		"stored": {play: func(e bulkEnd, content []byte) {
			e.admit(0)
			if got := slices.Concat(e.pull(0, 600), e.pull(600, 400)); !bytes.Equal(got, content) {
				e.t.Error("another file came")
			}
			e.state(pb.ClientFileState_CLIENT_FILE_DONE)
		}},
		"not there":     {play: func(e bulkEnd, _ []byte) { e.admit(1) }, byHTTP: true},
		"breaks":        {play: func(e bulkEnd, _ []byte) { e.admit(0); e.pull(0, 600) }, byHTTP: true},
		"asks for more": {play: func(e bulkEnd, _ []byte) { e.admit(0); e.pull(600, 401) }, byHTTP: true},
		"can't store": {play: func(e bulkEnd, _ []byte) {
			e.admit(0)
			e.pull(0, 600)
			e.state(pb.ClientFileState_CLIENT_FILE_CANCEL)
		}, want: &client.Error{Code: protocol.CodeUnavailable}},
		"can't be read": {play: func(e bulkEnd, _ []byte) { e.admit(0); e.pull(0, 600) }, content: &failingReader{unreadable}, want: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, n, content, codes := bulkRig(t, size, c.play)
				file := client.File{Size: size, Content: bytes.NewReader(content)}
				if c.content != nil {
					file.Content = c.content
				}
				err := r.open().UploadTask(within(t), "task", file)
				var refused *client.Error
				if wants, ok := c.want.(*client.Error); ok {
					if !errors.As(err, &refused) || refused.Code != wants.Code {
						t.Errorf("got %v", err)
					}
				} else if !errors.Is(err, c.want) {
					t.Errorf("got %v", err)
				}
				if c.byHTTP != (len(n.asked) > 0) || c.byHTTP && !bytes.Equal(n.have, content) {
					t.Errorf("by HTTP: %q", n.asked)
				}
				if ended := *(*codes)[0]; len(*codes) != 1 || (ended == 0) != (c.want == nil && !c.byHTTP) {
					t.Errorf("%d streams, closed with %v", len(*codes), ended)
				}
			})
		})
	}
}

type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// A download beside the session goes on by HTTP where it was, and ends with the app's writer [TT-FILE-12] [TT-FILE-13].
func TestDownloadBeside(t *testing.T) {
	const size = 1000
	half := func(e bulkEnd, content []byte) {
		go func() { // until the client closes: what it asks for is for the script to know
			for e.read() != nil {
				continue
			}
		}()
		e.give(0, content[:500])
	}
	for name, c := range map[string]struct {
		play   func(e bulkEnd, content []byte)
		asks   string // by HTTP
		writes error
	}{
		"whole": {play: func(e bulkEnd, content []byte) {
			e.admit(0)
			half(e, content)
			e.give(500, content[500:])
			e.state(pb.ClientFileState_CLIENT_FILE_DONE)
		}},
		"not there": {play: func(e bulkEnd, _ []byte) { e.admit(1) }, asks: "GET one:443 "},
		"breaks":    {play: func(e bulkEnd, content []byte) { e.admit(0); half(e, content) }, asks: "GET one:443 bytes=500-"},
		"skips": {play: func(e bulkEnd, content []byte) {
			e.admit(0)
			half(e, content)
			e.give(501, content[501:])
		}, asks: "GET one:443 bytes=500-"},
		"can't be written": {play: func(e bulkEnd, content []byte) { e.admit(0); half(e, content) }, writes: errors.New("the disk is full")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, n, content, _ := bulkRig(t, size, c.play)
				n.have = content
				cl := r.open()
				if c.writes != nil {
					if _, err := cl.DownloadTask(within(t), "task", 0, failingWriter{c.writes}); !errors.Is(err, c.writes) || len(n.asked) > 0 {
						t.Errorf("got %v, and by HTTP %q", err, n.asked)
					}
					return
				}
				var got bytes.Buffer
				written, err := cl.DownloadTask(within(t), "task", 0, &got)
				if err != nil || written != size || !bytes.Equal(got.Bytes(), content) {
					t.Errorf("%d bytes, %v", written, err)
				}
				if asked := append(n.asked, "")[0]; asked != c.asks {
					t.Errorf("by HTTP %q", n.asked)
				}
			})
		})
	}
}

// Where there is no HTTP a broken stream is followed by another one, and a server that knows no such task has the last word [TT-FILE-12].
func TestBesideAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		streams := 0
		r, _, content, _ := bulkRig(t, 1000, func(e bulkEnd, content []byte) {
			streams++
			e.admit(0)
			e.pull(0, 600)
			if streams == 3 {
				e.pull(600, 400)
				e.state(pb.ClientFileState_CLIENT_FILE_DONE)
			}
		})
		r.cfg.Dialer = r.net // without HTTP
		c := r.open()
		file := client.File{Size: 1000, Content: bytes.NewReader(content)}
		if err := c.UploadTask(within(t), "task", file); err != nil || streams != 3 {
			t.Errorf("after %d streams: %v", streams, err)
		}
		serve := r.server.beside
		streams = -100
		began := time.Now()
		if err := c.UploadTask(within(t), "task", file); !errors.Is(err, client.ErrNoHTTP) || streams != -92 {
			t.Errorf("after %d streams and %v: %v", streams+100, time.Since(began), err)
		}
		r.server.beside = nil
		if err := c.UploadTask(within(t), "task", file); !errors.Is(err, client.ErrNoHTTP) {
			t.Errorf("without streams: %v", err)
		}
		r.server.beside = serve
	})
}
