//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// photo is a picture that can't be made smaller.
func photo(t *testing.T, random *rand.Rand, side int) []byte {
	t.Helper()
	p := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range p.Pix {
		p.Pix[i] = byte(random.Uint32())
		if i%4 == 3 {
			p.Pix[i] = 0xff
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// shows sends a picture.
func (n *newcomer) shows(ctx context.Context, t *testing.T, in protocol.Session, picture []byte) {
	t.Helper()
	out, err := n.sdk.SendPicture(ctx, in, client.File{Name: "photo.png", Type: "image/png", Size: int64(len(picture)), Content: bytes.NewReader(picture)}, 0)
	if err == nil {
		err = out.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("the picture can't be sent: %v", err)
	}
}

// sees waits for a picture in a conversation, and returns where it is.
func (n *newcomer) sees(ctx context.Context, t *testing.T, in protocol.Session) client.Attachment {
	t.Helper()
	var found client.Attachment
	await(ctx, t, n, "a picture", func(m *client.Message) bool {
		list, _ := m.Attachments()
		if m.Mine || m.Session != in || len(list) != 1 || list[0].Kind != client.Picture {
			return false
		}
		found = list[0]
		return true
	})
	return found
}

// A taking writes down what comes and does something once so much is there.
type taking struct {
	bytes.Buffer
	at int
	do func()
}

// Write takes some more.
func (w *taking) Write(b []byte) (int, error) {
	if w.do != nil && w.Len() >= w.at {
		w.do()
		w.do = nil
	}
	return w.Buffer.Write(b)
}

// fetch downloads a picture of another office by way of one's own, for as long as it takes, and checks that it is what its name says.
func (n *newcomer) fetch(ctx context.Context, t *testing.T, a client.Attachment, w *taking) {
	t.Helper()
	path, err := protocol.ParseBlobPath(a.Path)
	if err != nil {
		t.Fatalf("%+v: %v", a, err)
	}
	began := time.Now()
	waitFor(ctx, t, "the content of a picture", func() bool {
		_, err = n.sdk.Download(ctx, a.Path, int64(w.Len()), w)
		if err != nil {
			t.Logf("after %s and %d bytes: %v", time.Since(began).Round(time.Millisecond), w.Len(), err)
		}
		return err == nil
	})
	if sum := sha256.Sum256(w.Bytes()); sum != path.ID {
		t.Errorf("%d bytes came that are not %s", w.Len(), path)
	}
	if _, err := png.Decode(bytes.NewReader(w.Bytes())); err != nil {
		t.Errorf("the picture can't be seen: %v", err)
	}
	t.Logf("%d bytes in %s", w.Len(), time.Since(began).Round(time.Millisecond))
}

// TestFederationFiles: a picture in a message and the file of an existing client reach people of other offices, though the office that has them is cut off and the leader of
// its cluster is killed in the middle; in a group a third office gets the picture by the hub, which never asked its own people for it [FED-FILE-1] [FED-FILE-3] [FED-FILE-5] [FED-FILE-7] [TT-FED-7].
func TestFederationFiles(t *testing.T) {
	together(t)
	random := seed(t)
	c := newCompany(t, random, 3, 1, 1)
	c.introduce(t)
	ctx, cancel := c.patience(t)
	defer cancel()
	origin, hub, third := c.offices[0], c.offices[1], c.offices[2]
	ann, ben, cid := origin.arrive(ctx, t, 2, "wss"), hub.arrive(ctx, t, 2, "wss"), third.arrive(ctx, t, 2, "wss")
	annAtHub := protocol.UserID(hub.findPerson(ctx, t, 2, origin))

	// A picture in a message, and trouble on its way.
	picture := photo(t, random, 450)
	ann.shows(ctx, t, protocol.WithUser(protocol.UserID(origin.findPerson(ctx, t, 2, hub))), picture)
	shown := ben.sees(ctx, t, protocol.WithUser(annAtHub))
	if !strings.Contains(shown.URL, shown.Path) {
		t.Errorf("the picture is at %q", shown.URL)
	}
	var trouble sync.WaitGroup
	ben.fetch(ctx, t, shown, &taking{at: 1, do: func() {
		trouble.Go(func() { // ends when the killed node is back
			origin.access.Blackout(2 * time.Second)
			if n := hub.fileBytes(t, origin); n == 0 || n >= uint64(len(picture)) {
				t.Errorf("%d of %d bytes had come when the trouble began", n, len(picture))
			}
			victim := origin.Leader(t)
			victim.Kill()
			if err := victim.Run(t); err != nil {
				t.Error(err)
			}
		})
	}})
	trouble.Wait()
	origin.WaitHealthy(t)
	c.waitLinked(t)

	// The other way, to somebody at a node that does not lead.
	dan := origin.arriveAt(ctx, t, 4, "wss", slices.Index(origin.Nodes, origin.Followers(t)[0]))
	ben.shows(ctx, t, protocol.WithUser(protocol.UserID(hub.findPerson(ctx, t, 4, origin))), photo(t, random, 150))
	dan.fetch(ctx, t, dan.sees(ctx, t, protocol.WithUser(protocol.UserID(origin.findPerson(ctx, t, 2, hub)))), new(taking))

	// In a group, for an office that knows the author by the hub.
	group, err := ben.sdk.CreateGroup(ctx, "gallery", annAtHub, protocol.UserID(hub.findPerson(ctx, t, 2, third)))
	if err != nil {
		t.Fatal(err)
	}
	ben.say(ctx, t, protocol.InGroup(group), "welcome")
	atOrigin, atThird := ann.hears(ctx, t, "welcome").Session, cid.hears(ctx, t, "welcome").Session
	ann.shows(ctx, t, atOrigin, photo(t, random, 150))
	before := hub.fileBytes(t, origin)
	cid.fetch(ctx, t, cid.sees(ctx, t, atThird), new(taking))
	if at := hub.fileBytes(t, origin); at == before {
		t.Error("the hub got nothing of the author's office")
	}
	if n := third.fileBytes(t, origin); n != 0 {
		t.Errorf("%d bytes came to the third office, and not by the hub", n)
	}
	sendOfflineFile(ctx, t, random, origin, third)
}

// fileBytes is how many bytes of blobs an office's leader has got of another one.
func (o *office) fileBytes(t *testing.T, of *office) uint64 {
	t.Helper()
	for _, l := range o.links(t) {
		if l.Domain == of.domain {
			return l.FilesIn
		}
	}
	t.Fatalf("%s knows no %s", o.name, of.name)
	return 0
}

// sendOfflineFile has an existing client leave a file for one of another office, who gets it from his own, while the other one can't be reached for a while.
func sendOfflineFile(ctx context.Context, t *testing.T, random *rand.Rand, from, to *office) {
	t.Helper()
	content := make([]byte, 100<<10+5)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	sender, receiver := from.arriveAsBefore(ctx, t, 3), to.arriveAsBefore(ctx, t, 3)
	abroad := from.findPerson(ctx, t, 3, to)
	offer := &pb.IMFileRsp{}
	sender.ask(ctx, t, pdu.CmdFileReq, &pb.IMFileReq{FromUserId: proto.Uint32(3), ToUserId: proto.Uint32(abroad), FileName: proto.String("plan.bin"),
		FileSize: proto.Uint32(uint32(len(content))), TransMode: pb.TransferFileType_FILE_TYPE_ONLINE.Enum()}, offer)
	if offer.GetResultCode() != 0 || offer.GetTransMode() != pb.TransferFileType_FILE_TYPE_OFFLINE {
		t.Fatalf("the offer is answered %v", offer)
	}
	up := from.carrier(ctx, t, offer.GetIpAddrList(), offer.GetTaskId(), 3, pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD)
	up.push(ctx, t, content)
	told := &pb.IMFileNotify{}
	if _, err := receiver.Expect(ctx, pdu.CmdFileNotify, told); err != nil {
		t.Fatal(err)
	}
	if told.GetFromUserId() < uint32(protocol.MaxLocalID) || told.GetFileName() != "plan.bin" || told.GetFileSize() != uint32(len(content)) {
		t.Errorf("the receiver is told %v", told)
	}
	waiting := &pb.IMFileHasOfflineRsp{}
	receiver.ask(ctx, t, pdu.CmdOfflineFilesReq, &pb.IMFileHasOfflineReq{UserId: proto.Uint32(3)}, waiting)
	if list := waiting.GetOfflineFileList(); len(list) != 1 || list[0].GetTaskId() != told.GetTaskId() || list[0].GetFromUserId() != told.GetFromUserId() {
		t.Fatalf("there waits %v", waiting)
	}
	end := from.access.Blackout(2 * time.Second)
	var got []byte
	for len(got) < len(content) { // an existing client comes again when the server hangs up
		down := to.carrier(ctx, t, waiting.GetIpAddrList(), told.GetTaskId(), 3, pb.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD)
		got = down.pull(ctx, t, got, len(content))
	}
	if !bytes.Equal(got, content) {
		t.Error("another file came")
	}
	t.Logf("the file was there %s after the outage", time.Since(end).Round(time.Millisecond))
}

// A carrier is an existing client's connection for a file.
type carrier struct {
	*Client
	task string
	user uint32
}

// carrier connects with a file server as it was named.
func (o *office) carrier(ctx context.Context, t *testing.T, at []*pb.IpAddr, task string, user uint32, role pb.ClientFileRole) *carrier {
	t.Helper()
	if len(at) == 0 {
		t.Fatal("no file server is named")
	}
	conn, err := o.host.DialContext(ctx, "tcp", net.JoinHostPort(at[0].GetIp(), fmt.Sprint(at[0].GetPort())))
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{newClient(conn), task, user}
	t.Cleanup(c.Close)
	answer := &pb.IMFileLoginRsp{}
	p, err := c.Call(ctx, pdu.CmdFileLoginReq, &pb.IMFileLoginReq{UserId: &user, TaskId: &task, FileRole: role.Enum()})
	if err == nil {
		err = proto.Unmarshal(p.Body, answer)
	}
	if err != nil || answer.GetResultCode() != 0 {
		t.Fatalf("the file server says %v, %v", answer, err)
	}
	return c
}

// push answers what the server pulls until it has the file.
func (c *carrier) push(ctx context.Context, t *testing.T, content []byte) {
	t.Helper()
	for {
		p, err := c.take(ctx, func(p pdu.PDU) bool {
			return slices.Contains([]pdu.Command{pdu.CmdFilePullReq, pdu.CmdFileState}, p.Header.Command)
		})
		if err != nil {
			t.Fatal(err)
		}
		if p.Header.Command == pdu.CmdFileState {
			return
		}
		var pull pb.IMFilePullDataReq
		if err := proto.Unmarshal(p.Body, &pull); err != nil {
			t.Fatal(err)
		}
		data := content[pull.GetOffset() : pull.GetOffset()+pull.GetDataSize()]
		if err := c.Send(ctx, pdu.CmdFilePullRes, 1, &pb.IMFilePullDataRsp{ResultCode: proto.Uint32(0), TaskId: &c.task, UserId: &c.user, Offset: pull.Offset, FileData: data}); err != nil {
			t.Fatal(err)
		}
	}
}

// pull asks for what is missing, as far as the server hands it out.
func (c *carrier) pull(ctx context.Context, t *testing.T, got []byte, size int) []byte {
	t.Helper()
	for len(got) < size {
		answer := &pb.IMFilePullDataRsp{}
		p, err := c.Call(ctx, pdu.CmdFilePullReq, &pb.IMFilePullDataReq{TaskId: &c.task, UserId: &c.user, TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(),
			Offset: proto.Uint32(uint32(len(got))), DataSize: proto.Uint32(uint32(min(32<<10, size-len(got))))})
		if err == nil {
			err = proto.Unmarshal(p.Body, answer)
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d bytes: %v", len(got), size, err)
		}
		if err != nil || answer.GetResultCode() != 0 {
			t.Logf("after %d bytes: %v, %v", len(got), answer, err)
			return got
		}
		got = append(got, answer.GetFileData()...)
	}
	return got
}
