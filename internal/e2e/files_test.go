package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/quic-go/quic-go"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// fileUser is an extended client with a QUIC connection of its own.
type fileUser struct {
	*Client
	t  *testing.T
	id uint32
	qc *quic.Conn
}

// quicStream is a stream as a wire; its Close ends both sides.
type quicStream struct{ *quic.Stream }

// Close gives the stream up.
func (s quicStream) Close() error {
	s.CancelRead(0)
	s.CancelWrite(0)
	return nil
}

func (s *Server) fileUser(ctx context.Context, t *testing.T, id uint32) *fileUser {
	t.Helper()
	conf, err := s.trust("teamtalk/1")
	if err != nil {
		t.Fatal(err)
	}
	qc, err := quic.DialAddr(ctx, s.Addr.QUIC, conf, &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qc.CloseWithError(0, "") })
	str, err := qc.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	u := &fileUser{Client: newClient(quicStream{str}), t: t, id: id, qc: qc}
	t.Cleanup(u.Close)
	if err := u.Hello(ctx, fmt.Sprint("device", id), pb.ClientType(4)); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Login(ctx, fmt.Sprint("user", id), "123456", pb.ClientType(4)); err != nil {
		t.Fatal(err)
	}
	return u
}

// offer asks to send a file and returns the task.
func (u *fileUser) offer(ctx context.Context, to uint32, size int) string {
	u.t.Helper()
	p, err := u.Call(ctx, pdu.CmdFileReq, &pb.IMFileReq{FromUserId: new(u.id), ToUserId: new(to), FileName: new("report.bin"), FileSize: new(uint32(size)),
		TransMode: pb.TransferFileType_FILE_TYPE_ONLINE.Enum()})
	res := &pb.IMFileRsp{}
	if err != nil || proto.Unmarshal(p.Body, res) != nil || res.GetResultCode() != 0 || res.GetTransMode() != pb.TransferFileType_FILE_TYPE_OFFLINE {
		u.t.Fatalf("offer: %v, %v", res, err)
	}
	return res.GetTaskId()
}

// notified waits for 0x0508 of a task.
func (u *fileUser) notified(ctx context.Context, task string, ready uint32) {
	u.t.Helper()
	m := &pb.IMFileNotify{}
	if _, err := u.Expect(ctx, pdu.CmdFileNotify, m); err != nil || m.GetTaskId() != task || m.GetOfflineReady() != ready {
		u.t.Fatalf("notified: %v, %v", m, err)
	}
}

// bulk opens a stream beside the session for a task.
func (u *fileUser) bulk(ctx context.Context, task string, role pb.ClientFileRole, result uint32) *Client {
	u.t.Helper()
	str, err := u.qc.OpenStreamSync(ctx)
	if err != nil {
		u.t.Fatal(err)
	}
	c := newClient(quicStream{str})
	u.t.Cleanup(c.Close)
	p, err := c.Call(ctx, pdu.CmdFileLoginReq, &pb.IMFileLoginReq{UserId: new(u.id), TaskId: new(task), FileRole: role.Enum()})
	res := &pb.IMFileLoginRsp{}
	if err != nil || proto.Unmarshal(p.Body, res) != nil || res.GetResultCode() != result {
		u.t.Fatalf("login for %s: %v, %v", task, res, err)
	}
	return c
}

// upload answers pulls until the server has the file, or stops after some bytes; it returns where the first pull was.
func (u *fileUser) upload(ctx context.Context, task string, file []byte, most int) (first int) {
	u.t.Helper()
	c := u.bulk(ctx, task, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD, 0)
	defer c.Close()
	first = -1
	for sent := 0; sent < most; {
		p, err := c.Next(ctx)
		if err != nil {
			u.t.Fatal(err)
		}
		if p.Header.Command == pdu.CmdFileState {
			m := &pb.IMFileState{}
			if proto.Unmarshal(p.Body, m) != nil || m.GetState() != pb.ClientFileState_CLIENT_FILE_DONE {
				u.t.Fatalf("the upload ends with %v", m)
			}
			return first
		}
		m := &pb.IMFilePullDataReq{}
		if err := proto.Unmarshal(p.Body, m); err != nil {
			u.t.Fatal(err)
		}
		at, n := int(m.GetOffset()), int(m.GetDataSize())
		if first < 0 {
			first = at
		}
		if err := c.Send(ctx, pdu.CmdFilePullRes, 0, &pb.IMFilePullDataRsp{ResultCode: new(uint32(0)), TaskId: new(task), UserId: new(u.id),
			Offset: new(uint32(at)), FileData: file[at : at+n]}); err != nil {
			u.t.Fatal(err)
		}
		sent += n
	}
	return first
}

// download pulls a file over a stream, several blocks at a time.
func (u *fileUser) download(ctx context.Context, task string, size int) []byte {
	u.t.Helper()
	const block = 100_000
	c := u.bulk(ctx, task, pb.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD, 0)
	defer c.Close()
	for at := 0; at < size; at += block {
		if err := c.Send(ctx, pdu.CmdFilePullReq, 1, &pb.IMFilePullDataReq{TaskId: new(task), UserId: new(u.id), TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(),
			Offset: new(uint32(at)), DataSize: new(uint32(block))}); err != nil {
			u.t.Fatal(err)
		}
	}
	var got []byte
	for {
		p, err := c.Next(ctx)
		if err != nil {
			u.t.Fatal(err)
		}
		m := &pb.IMFilePullDataRsp{}
		if p.Header.Command == pdu.CmdFileState {
			return got
		}
		if err := proto.Unmarshal(p.Body, m); err != nil || int(m.GetOffset()) != len(got) {
			u.t.Fatalf("a block at %d after %d bytes, %v", m.GetOffset(), len(got), err)
		}
		got = append(got, m.GetFileData()...)
	}
}

// address asks where a task's file goes by HTTP.
func (u *fileUser) address(ctx context.Context, s *Server, kind uint32, task string) string {
	u.t.Helper()
	p, err := u.Call(ctx, pdu.CmdMediaReq, &chatpb.MediaReq{Kind: kind, TaskId: task})
	m := &chatpb.MediaRsp{}
	if err != nil || proto.Unmarshal(p.Body, m) != nil || m.GetCode() != 0 || len(m.GetUrls()) != 1 {
		u.t.Fatalf("address for %s: %v, %v", task, m, err)
	}
	return "http://" + s.Addr.HTTP + m.GetUrls()[0]
}

// request makes one request and reads the answer.
func request(ctx context.Context, t *testing.T, method, url string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, got
}

func recorded(t *testing.T, size int) []byte {
	t.Helper()
	s, err := recordedFile("0", size)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(s)
}

// TestFilesOfNewClients: without a port for files, over streams beside the session and over HTTP, through broken streams and the loss of the node's process
// [TT-FILE-1] [TT-FILE-5] [TT-FILE-6] [TT-FILE-8] [TT-FILE-12] [TT-FILE-13].
func TestFilesOfNewClients(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	s := Start(t, ServerConfig{Args: append(quickPasswords(), "--users", "3", "--password", "123456", "--files", "off")})
	ann, bo, third := s.fileUser(ctx, t, 1), s.fileUser(ctx, t, 2), s.fileUser(ctx, t, 3)
	file := recorded(t, 3<<20+7)

	task := ann.offer(ctx, 2, len(file))
	bo.notified(ctx, task, 0)
	bo.bulk(ctx, task, pb.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD, 1) // nothing waits yet
	third.bulk(ctx, task, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD, 1)
	ann.upload(ctx, task, file, 1<<20) // and the stream breaks
	if first := ann.upload(ctx, task, file, len(file)+1); first == 0 || first > 1<<20 {
		t.Errorf("the upload went on at %d", first)
	}
	bo.notified(ctx, task, 1)
	if got := bo.download(ctx, task, len(file)); !bytes.Equal(got, file) {
		t.Errorf("%d bytes came, and not the same", len(got))
	}

	over := ann.offer(ctx, 2, len(file))
	bo.notified(ctx, over, 0)
	ann.post(ctx, s, over, file)
	bo.notified(ctx, over, 1)

	lost := ann.offer(ctx, 2, len(file))
	ann.upload(ctx, lost, file, 1<<20)
	s.Kill()
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	ann, bo = s.fileUser(ctx, t, 1), s.fileUser(ctx, t, 2)
	ann.bulk(ctx, lost, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD, 1) // offer it anew
	for _, there := range []string{task, over} {
		if got := bo.download(ctx, there, len(file)); !bytes.Equal(got, file) {
			t.Errorf("after the loss: %d bytes came, and not the same", len(got))
		}
	}
	res, got := request(ctx, t, http.MethodGet, bo.address(ctx, s, 4, over), map[string]string{"Range": "bytes=1000000-1999999"}, nil)
	if res.StatusCode != http.StatusPartialContent || !bytes.Equal(got, file[1_000_000:2_000_000]) {
		t.Errorf("a part over HTTP: %s, %d bytes", res.Status, len(got))
	}
	if res, _ := request(ctx, t, http.MethodGet, ann.address(ctx, s, 4, over), nil, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("for another user: %s", res.Status)
	}
}

// post sends a file in pieces, with one at a wrong place.
func (u *fileUser) post(ctx context.Context, s *Server, task string, file []byte) {
	u.t.Helper()
	url := u.address(ctx, s, 3, task)
	var at struct {
		Offset, Size int
		Stored       bool
	}
	step := func(method string, offset, end, want int) {
		u.t.Helper()
		res, body := request(ctx, u.t, method, url, map[string]string{"Upload-Offset": strconv.Itoa(offset)}, file[offset:end])
		if err := json.Unmarshal(body, &at); err != nil || res.StatusCode != want {
			u.t.Fatalf("%s %d to %d: %s %s", method, offset, end, res.Status, body)
		}
	}
	step(http.MethodPost, 0, 1<<20, http.StatusAccepted)
	step(http.MethodPost, 5, 9, http.StatusConflict)
	if at.Offset != 1<<20 {
		u.t.Errorf("it has to go on at %d", at.Offset)
	}
	step(http.MethodGet, 0, 0, http.StatusOK)
	if at.Offset != 1<<20 || at.Size != len(file) || at.Stored {
		u.t.Errorf("how much has come: %+v", at)
	}
	step(http.MethodPost, at.Offset, len(file), http.StatusOK)
	if step(http.MethodGet, 0, 0, http.StatusOK); !at.Stored {
		u.t.Errorf("at the end: %+v", at)
	}
}

// TestOnlineFileDuringLoss: both ends of a transfer between two old clients learn that its node is gone, and a new offer goes well [TT-FILE-8] [TT-FILE-9].
func TestOnlineFileDuringLoss(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	s := Start(t, ServerConfig{Args: append(quickPasswords(), "--users", "2", "--password", "123456")})
	for round := range 2 {
		ann, bo := s.oldUser(ctx, t, 1), s.oldUser(ctx, t, 2)
		p, err := ann.Call(ctx, pdu.CmdFileReq, &pb.IMFileReq{FromUserId: new(uint32(1)), ToUserId: new(uint32(2)), FileName: new("a"), FileSize: new(uint32(8)),
			TransMode: pb.TransferFileType_FILE_TYPE_ONLINE.Enum()})
		res := &pb.IMFileRsp{}
		if err != nil || proto.Unmarshal(p.Body, res) != nil || res.GetTransMode() != pb.TransferFileType_FILE_TYPE_ONLINE {
			t.Fatalf("offer: %v, %v", res, err)
		}
		notify := &pb.IMFileNotify{}
		if _, err := bo.Expect(ctx, pdu.CmdFileNotify, notify); err != nil || !proto.Equal(notify.GetIpAddrList()[0], res.GetIpAddrList()[0]) {
			t.Fatalf("notified: %v, %v", notify, err)
		}
		from := s.filePort(ctx, t, res, 1, pb.ClientFileRole_CLIENT_REALTIME_SENDER)
		to := s.filePort(ctx, t, res, 2, pb.ClientFileRole_CLIENT_REALTIME_RECVER)
		if _, err := to.Await(ctx, pdu.CmdFileState); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			s.Kill()
			for _, c := range []*Client{from, to} {
				if err := c.AwaitClose(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Run(t); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := to.Send(ctx, pdu.CmdFileState, 3, &pb.IMFileState{State: pb.ClientFileState_CLIENT_FILE_DONE.Enum(), TaskId: new(res.GetTaskId()), UserId: new(uint32(2))}); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Await(ctx, pdu.CmdFileState); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *Server) oldUser(ctx context.Context, t *testing.T, id uint32) *Client {
	t.Helper()
	c, err := s.Dial(ctx, ViaTCP)
	if err == nil {
		t.Cleanup(c.Close)
		_, err = c.Login(ctx, fmt.Sprint("user", id), "123456", pb.ClientType_CLIENT_TYPE_WINDOWS)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// filePort connects to where the answer to an offer says, and logs in for its task.
func (s *Server) filePort(ctx context.Context, t *testing.T, offer *pb.IMFileRsp, user uint32, role pb.ClientFileRole) *Client {
	t.Helper()
	at := offer.GetIpAddrList()[0]
	c, err := Dial(ctx, fmt.Sprintf("%s:%d", at.GetIp(), at.GetPort()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := c.Call(ctx, pdu.CmdFileLoginReq, &pb.IMFileLoginReq{UserId: new(user), TaskId: new(offer.GetTaskId()), FileRole: role.Enum()})
	res := &pb.IMFileLoginRsp{}
	if err = errors.Join(err, proto.Unmarshal(p.Body, res)); err != nil || res.GetResultCode() != 0 {
		t.Fatalf("login at the port for files: %v, %v", res, err)
	}
	return c
}
