package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	picturePath = "g0/001/002/0102000000000000000000000000000000000000000000000000000000000003_40x30.png"
	voiceType   = "audio/webm;codecs=opus"
)

// addresses makes addresses that say what they are for.
type addresses struct{ err error }

func (a addresses) Upload(me protocol.UserID, name string, size uint64, contentType string) (MediaAddresses, error) {
	return MediaAddresses{URLs: []string{fmt.Sprintf("/up/%d/%s/%d/%s", me, name, size, contentType)}, Expires: time.Hour, MaxBytes: 5000}, a.err
}

func (a addresses) Download(me protocol.UserID, paths []string) (m MediaAddresses, err error) {
	for _, p := range paths {
		m.URLs = append(m.URLs, fmt.Sprintf("/down/%d/%s", me, p))
	}
	m.Expires = 90 * time.Minute
	return m, a.err
}

func (a addresses) Task(me protocol.UserID, task string, write bool) (MediaAddresses, error) {
	return MediaAddresses{URLs: []string{fmt.Sprintf("/task/%d/%s/%v", me, task, write)}, Expires: time.Minute}, a.err
}

func (a addresses) Base() string { return "http://berlin.example:8080/msfs/" }

// [TT-MEDIA-1]: what MEDIA_REQ asks for is answered with addresses or with a code.
func TestMediaReq(t *testing.T) {
	for name, tt := range map[string]struct {
		ask  *chatpb.MediaReq
		err  error
		want *chatpb.MediaRsp
		code protocol.Code
	}{
		"upload":   {ask: &chatpb.MediaReq{Kind: 1, Name: "a.png", Size: 7, ContentType: "image/png"}, want: &chatpb.MediaRsp{Urls: []string{"/up/1/a.png/7/image/png"}, ExpiresS: 3600, MaxBytes: 5000}},
		"download": {ask: &chatpb.MediaReq{Kind: 2, Paths: []string{"a", "b"}}, want: &chatpb.MediaRsp{Urls: []string{"/down/1/a", "/down/1/b"}, ExpiresS: 5400}},
		"send":     {ask: &chatpb.MediaReq{Kind: 3, TaskId: "t"}, want: &chatpb.MediaRsp{Urls: []string{"/task/1/t/true"}, ExpiresS: 60}},
		"fetch":    {ask: &chatpb.MediaReq{Kind: 4, TaskId: "t"}, want: &chatpb.MediaRsp{Urls: []string{"/task/1/t/false"}, ExpiresS: 60}},
		"refused": {ask: &chatpb.MediaReq{Kind: 1, Name: "a.png", Size: 1 << 40}, err: protocol.Errorf(protocol.CodeTooLarge, "too much"),
			want: &chatpb.MediaRsp{Code: uint32(protocol.CodeTooLarge), Message: "too much", MaxBytes: 5000}},
		"our fault":    {ask: &chatpb.MediaReq{Kind: 2, Paths: []string{"a"}}, err: fmt.Errorf("secret"), want: &chatpb.MediaRsp{Code: uint32(protocol.CodeInternal), Message: textInternal}},
		"no kind":      {ask: &chatpb.MediaReq{}, code: protocol.CodeInvalid},
		"another kind": {ask: &chatpb.MediaReq{Kind: 5}, code: protocol.CodeInvalid},
		"no paths":     {ask: &chatpb.MediaReq{Kind: 2}, code: protocol.CodeInvalid},
		"many paths":   {ask: &chatpb.MediaReq{Kind: 2, Paths: make([]string, 101)}, code: protocol.CodeInvalid},
		"no task":      {ask: &chatpb.MediaReq{Kind: 3}, code: protocol.CodeInvalid},
		"a long task":  {ask: &chatpb.MediaReq{Kind: 4, TaskId: strings.Repeat("t", protocol.MaxTaskID+1)}, code: protocol.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(c *Config) { c.Media = addresses{tt.err} }, func(s *stage) {
				d := s.enter(1, "laptop", windows)
				s.settle(d.client)
				d.send(pdu.CmdMediaReq, 4, tt.ask)
				if tt.want != nil {
					d.expect(want{pdu.CmdMediaRsp, 4, tt.want})
					return
				}
				p := d.next()
				if rsp := decoded[*chatpb.MediaRsp](d.client, p); p.Header.Seq != 4 || protocol.Code(rsp.GetCode()) != tt.code || rsp.GetMessage() == "" || len(rsp.GetUrls()) != 0 {
					t.Errorf("%v", rsp)
				}
			})
		})
	}
}

// Without content there are no addresses, and legacy clients have no such request.
func TestNoMedia(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(2, mac)
		s.settle(d.client, legacy)
		d.send(pdu.CmdMediaReq, 4, &chatpb.MediaReq{Kind: 1})
		if rsp := decoded[*chatpb.MediaRsp](d.client, d.next()); protocol.Code(rsp.GetCode()) != protocol.CodeUnavailable {
			t.Errorf("%v", rsp)
		}
		legacy.send(pdu.CmdMediaReq, 4, &chatpb.MediaReq{Kind: 1})
		legacy.expect()
		if !legacy.isOpen() {
			t.Error("the legacy client is gone")
		}
	})
}

// enterPlaying is enter for a client that says what it plays.
func (s *stage) enterPlaying(u protocol.UserID, id string, plays ...string) *device {
	s.t.Helper()
	d := &device{client: s.dial(), id: id, kind: windows}
	d.user = u
	hello := helloOf(id, windows)
	for _, t := range plays {
		hello.Capabilities = append(hello.Capabilities, "plays="+t)
	}
	d.send(pdu.CmdHello, 1, hello)
	d.next()
	d.send(pdu.CmdLoginReq, 2, loginReq(fmt.Sprintf("user%d", u), windows))
	d.keep(decoded[*sessionpb.Credential](d.client, d.take()[1]))
	return d
}

// [TT-MEDIA-3] [TT-MEDIA-4]: who does not play a sound is not told that it is one: live, in histories and in a replay; a file is a file to everybody.
func TestPlays(t *testing.T) {
	play(t, nil, func(s *stage) {
		browser, old := s.enterPlaying(1, "browser", "audio/ogg", "Audio/WebM; codecs=opus"), s.enterPlaying(1, "old", "audio/mp4")
		legacy := s.login(1, mac)
		s.settle(browser.client, old.client, legacy)
		single := protocol.WithUser(2)
		for _, contentType := range []string{voiceType, "video/webm", "application/vnd.teamtalk.file", ""} {
			s.arrives(protocol.Message{Conversation: single.Conversation(1), From: 2, Type: protocol.MsgSingleText, Data: []byte(contentType), Extras: protocol.Extras{ContentType: contentType}})
		}
		file := "application/vnd.teamtalk.file"
		plays, others := []string{voiceType, "", file, ""}, []string{"", "", file, ""}
		for d, want := range map[*device][]string{browser: plays, old: others} {
			if got := typesOf(d.client, d.take()); !slices.Equal(got, want) {
				t.Errorf("%s: live %q, want %q", d.id, got, want)
			}
			var listed []string
			d.send(pdu.CmdMsgListReq, 1, listReq(single))
			for _, m := range slices.Backward(decoded[*pb.IMGetMsgListRsp](d.client, d.next()).GetMsgList()) {
				listed = append(listed, m.GetContentType())
			}
			if !slices.Equal(listed, want) {
				t.Errorf("%s: listed %q, want %q", d.id, listed, want)
			}
		}
		if got := typesOf(legacy, legacy.take()); !slices.Equal(got, []string{"", "", "", ""}) {
			t.Errorf("legacy: %q", got)
		}
		old.close()
		old.again() // this time without saying what it plays
		if got := typesOf(old.client, old.take()); !slices.Equal(got, others) {
			t.Errorf("replayed: %q", got)
		}
	})
}

// typesOf are the content types of the messages among PDUs.
func typesOf(c *client, ps []pdu.PDU) (types []string) {
	for _, p := range ps {
		if p.Header.Command == pdu.CmdMsgData {
			types = append(types, decoded[*pb.IMMsgData](c, p).GetContentType())
		}
	}
	return types
}

// [TT-MEDIA-9]: legacy sessions fetch what people of other offices send from this node, wherever a list shows it; nothing else is changed.
func TestContentOfOtherOffices(t *testing.T) {
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	const there, here = "https://files.hangzhou.example:9443/a/b/msfs/" + picturePath, "http://berlin.example:8080/msfs/" + picturePath
	for name, tt := range map[string]struct {
		from  protocol.UserID
		text  string
		raw   bool // is not encrypted
		local string
	}{
		"picture":            {lin, "look &$#@~^@[{:" + there + ":}]&$~@#@ there", false, "look &$#@~^@[{:" + here + ":}]&$~@#@ there"},
		"file":               {lin, "[文件] a.pdf (1 MB) " + there, false, "[文件] a.pdf (1 MB) " + here},
		"two":                {lin, there + " " + there + "_100x100.jpg", false, here + " " + here + "_100x100.jpg"},
		"a colleague's":      {3, there, false, there},
		"of an IPv6 address": {lin, "&$#@~^@[{:http://[2001:db8::1]:8080/msfs/" + picturePath + ":}]&$~@#@", false, "&$#@~^@[{:" + here + ":}]&$~@#@"},
		"another address":    {lin, "http://example.com/g0/1.png", false, "http://example.com/g0/1.png"},
		"no address":         {lin, picturePath, false, picturePath},
		"not encrypted":      {lin, there, true, there},
		"an address in one":  {lin, "http://a.example/?u=http://b.example/" + picturePath, false, here},
		"nothing in between": {lin, "http://" + strings.TrimPrefix(picturePath, "g0/"), false, "http://" + strings.TrimPrefix(picturePath, "g0/")},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(c *Config) { c.Media = addresses{} }, func(s *stage) {
				d, legacy := s.enter(1, "laptop", windows), s.login(1, mac)
				s.settle(d.client, legacy)
				with, data, want := protocol.WithUser(tt.from), cipher.Encrypt(tt.text), tt.local
				if tt.raw {
					data = []byte(tt.text)
				}
				s.arrives(protocol.Message{Conversation: with.Conversation(1), From: tt.from, Type: protocol.MsgSingleText, Data: data})
				if got := decoded[*pb.IMMsgData](d.client, d.next()).GetMsgData(); string(got) != string(data) {
					t.Errorf("to an extended client: %q", got)
				}
				live := decoded[*pb.IMMsgData](legacy, legacy.next()).GetMsgData()
				v := legacy.look(with, 1)
				for where, got := range map[string][]byte{"live": live, "list": v.list[0].GetMsgData(), "by id": v.byID[0].GetMsgData(), "recent": v.recent, "unread": v.unread} {
					if tt.raw {
						if string(got) != tt.text {
							t.Errorf("%s: %q", where, got)
						}
					} else if got := shown(t, crypt.DefaultKey, got); got != want {
						t.Errorf("%s: %q, want %q", where, got, want)
					}
				}
			})
		})
	}
}

// [TT-MEDIA-9]: pictures of the people as well.
func TestAvatarsOfOtherOffices(t *testing.T) {
	p := &placeholders{urls: newLocalURLs(addresses{})}
	for id, want := range map[protocol.UserID]string{lin: "http://berlin.example:8080/msfs/" + picturePath, 3: "http://x/" + picturePath} {
		if got := p.person(protocol.User{ID: id, Avatar: "http://x/" + picturePath}).GetAvatarUrl(); got != want {
			t.Errorf("user %d: %q, want %q", id, got, want)
		}
	}
}

// [TT-MSFS-6]: an address is known for as long as somebody who has logged in is there; for IPv6 its network is.
func TestIsHome(t *testing.T) {
	srv := &Server{sessions: newRegistry()}
	limits := Limits{Connections: 10}
	at := func(a string, u protocol.UserID) *session {
		s := &session{srv: srv, addr: netip.MustParseAddr(a), id: newConnID()}
		if _, ok := srv.sessions.enter(s, u, protocol.ClientWindows, &limits); !ok {
			t.Fatal("no room")
		}
		return s
	}
	check := func(a string, want bool) {
		t.Helper()
		if _, got := srv.HomeOf(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	of := func(a string, want protocol.UserID) {
		t.Helper()
		if got, _ := srv.HomeOf(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is the home of %d, want %d", a, got, want)
		}
	}
	of("192.0.2.1", 0)
	first := at("192.0.2.1", 1)
	of("192.0.2.1", 1)
	second := at("192.0.2.1", 2)
	of("192.0.2.1", 0)
	at("192.0.2.1", 2) // kicks the second
	at("2001:db8::1", 3)
	at("2001:db8::2", 3) // kicks that one
	of("2001:db8::ffff", 3)
	check("192.0.2.1", true)
	check("::ffff:192.0.2.1", true)
	check("192.0.2.2", false)
	check("2001:db8::ffff", true)
	check("2001:db8:0:1::1", false)
	srv.sessions.leave(second) // went before
	srv.sessions.leave(first)
	check("192.0.2.1", true)
	for _, u := range []protocol.UserID{2, 3} {
		srv.sessions.leave(srv.sessions.of(u)[0])
	}
	check("192.0.2.1", false)
	if _, is := srv.HomeOf(netip.Addr{}); is || len(srv.sessions.homes) != 0 {
		t.Errorf("left: %v", srv.sessions.homes)
	}
	at("192.0.2.1", 4)
	of("192.0.2.1", 4)
}
