//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// browserPassword is everybody's.
const browserPassword = "123456"

// hangzhouPeople and beijingPeople are who works in the two offices that browsers are shown, as `user import` reads them.
const (
	hangzhouPeople = `name,nick,gender,email,phone,department,domain,sign,password
user1,林晓雨,female,lin@hangzhou.example,0571-8000-101,Design,linxiaoyu,Colour first,123456
user2,王磊,male,wang@hangzhou.example,0571-8000-102,Server team,wanglei,,123456
user3,赵敏,female,zhao@hangzhou.example,0571-8000-103,Sales,zhaomin,On the road,123456
user4,Alice Wu,female,alice@hangzhou.example,0571-8000-104,Server team,alice,,123456
user5,陈思远,male,chen@hangzhou.example,,Engineering,chensiyuan,,123456
user6,Omar Haddad,male,omar@hangzhou.example,,Sales,omar,"Back on Monday",123456
user7,孙宁,male,sun@hangzhou.example,,Design,sunning,,123456
user8,<img src=x onerror=alert(1)>,,x@hangzhou.example,,Sales,xss,"</p><script>alert(2)</script>",123456
`
	beijingPeople = `name,nick,gender,email,phone,department,domain,sign,password
user1,梅兰,female,mei@beijing.example,010-6000-201,,meilan,,123456
user2,Boris Novak,male,boris@beijing.example,,,boris,,123456
`
)

// browserCompany starts two linked offices of one node each on loopback, where a browser reaches them.
func browserCompany(t *testing.T) *company {
	t.Helper()
	c := &company{}
	for i, name := range officeNames()[:2] {
		c.offices = append(c.offices, &office{place: i + 1, name: name, domain: strings.ToLower(name) + ".example"})
	}
	var starting sync.WaitGroup
	for _, o := range c.offices {
		starting.Go(func() { // ends when it is ready, or the test
			o.Cluster = StartCluster(t, 1, ClusterConfig{Unraced: true, Mode: "serve", Args: append(quickPasswords(), "--rate", "0", "--files-max-upload", "8MiB")})
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, d := range [][]string{{"Design"}, {"Engineering"}, {"Server team", "--parent", "Engineering"}, {"Sales"}} {
		c.offices[0].operate(t, append([]string{"department", "add"}, d...)...)
	}
	for i, people := range []string{hangzhouPeople, beijingPeople} {
		c.offices[i].employ(t, people)
	}
	c.introduce(t)
	return c
}

func (o *office) employ(t *testing.T, people string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, []byte(people), 0o600); err != nil {
		t.Fatal(err)
	}
	o.operate(t, "user", "import", file)
}

// page is where a browser finds a node.
func (n *ClusterNode) page() string {
	return "http://" + net.JoinHostPort(n.Host.IP, clusterHTTP) + "/"
}

// arriveFromLoopback is arriveAsBefore for an office without a network of its own.
func (o *office) arriveFromLoopback(ctx context.Context, t *testing.T, user int) *veteran {
	t.Helper()
	c, err := DialFrom(ctx, o.Nodes[0].Host.IP, o.Nodes[0].Addr.TCP)
	if err != nil {
		t.Fatal(err)
	}
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	v := &veteran{c, cipher}
	t.Cleanup(v.Close)
	if _, err := v.Login(ctx, fmt.Sprintf("user%d", user), browserPassword, pb.ClientType_CLIENT_TYPE_WINDOWS); err != nil {
		t.Fatal(err)
	}
	return v
}

// An overheard message is one as a client of before has it.
type overheard struct {
	From  uint32 `json:"from"`
	In    uint32 `json:"in"`   // the group, or the other one
	Type  string `json:"type"` // as the protocol calls it
	Text  string `json:"text"` // of a text
	Bytes int    `json:"bytes"`
	ID    uint32 `json:"id"`
}

// next is the next message that comes.
func (v *veteran) next(ctx context.Context, t *testing.T) overheard {
	t.Helper()
	m := &pb.IMMsgData{}
	if _, err := v.Expect(ctx, pdu.CmdMsgData, m); err != nil {
		t.Fatalf("the existing client waits for a message: %v", err)
	}
	h := overheard{From: m.GetFromUserId(), In: m.GetToSessionId(), Type: m.GetMsgType().String(), Bytes: len(m.GetMsgData()), ID: m.GetMsgId()}
	if isText(m.GetMsgType()) {
		text, err := v.cipher.Decrypt(m.GetMsgData())
		if err != nil {
			t.Fatalf("the existing client can't read message %d: %v", m.GetMsgId(), err)
		}
		h.Text = text
	}
	return h
}

func isText(k pb.MsgType) bool {
	return k == pb.MsgType_MSG_TYPE_SINGLE_TEXT || k == pb.MsgType_MSG_TYPE_GROUP_TEXT
}

// speak sends a voice message as clients of before do: its length in seconds, then Speex in Ogg.
func (v *veteran) speak(ctx context.Context, t *testing.T, in Chat, seconds byte) {
	t.Helper()
	m := in.TextMessage("")
	m.MsgType = pb.MsgType_MSG_TYPE_SINGLE_AUDIO.Enum()
	if in.Type == pb.SessionType_SESSION_TYPE_GROUP {
		m.MsgType = pb.MsgType_MSG_TYPE_GROUP_AUDIO.Enum()
	}
	m.MsgData = append([]byte{0, 0, 0, seconds}, "OggS\x00\x02 not played by anybody here"...)
	ack := &pb.IMMsgDataAck{}
	v.ask(ctx, t, pdu.CmdMsgData, m, ack)
}

// legacyHTTP is how a client of before asks for pictures: from the address that its session has, once, and without redirects.
func legacyHTTP(local string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}, Timeout: Patience}
}

// upload posts a picture as clients of before do and returns the URL that they then send.
func upload(t *testing.T, local, msfs, name string, content []byte) string {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="file"; filename="` + name + `"`}, "Content-Type": {"image/png"}})
	if err == nil {
		_, err = part.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	res, err := legacyHTTP(local).Post(msfs, w.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.URL == "" {
		t.Fatalf("%s answers %s %q (%v)", msfs, res.Status, raw, err)
	}
	return answer.URL
}

// A fetched is what a client of before gets for a URL.
type fetched struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Size   int    `json:"size"`
}

func fetchAsBefore(t *testing.T, local, url string) fetched {
	t.Helper()
	res, err := legacyHTTP(local).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fetched{res.StatusCode, res.Header.Get("Content-Type"), len(raw)}
}

// sunset is a picture that compresses well.
func sunset(t *testing.T, width, height int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, color.RGBA{uint8(250 - 90*y/height), uint8(120 + 60*x/width), uint8(60 + 150*y/height), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// markRead says how far the existing client has read.
func (v *veteran) markRead(ctx context.Context, t *testing.T, in Chat, id uint32) {
	t.Helper()
	err := v.Send(ctx, pdu.CmdReadAck, 901, &pb.IMMsgDataReadAck{UserId: proto.Uint32(0), SessionId: proto.Uint32(in.ID), MsgId: proto.Uint32(id), SessionType: in.Type.Enum()})
	if err != nil {
		t.Fatal(err)
	}
}
