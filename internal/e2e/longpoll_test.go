package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// pollClient speaks long-poll request by request, so that a test can repeat, lose and mix them up.
type pollClient struct {
	t     *testing.T
	base  string // of the session
	token string
}

// pollAnswer is one response.
type pollAnswer struct {
	status int
	seq    string // Teamtalk-Seq
	pdus   []pdu.Command
}

func newPollClient(t *testing.T, s *Server) *pollClient {
	t.Helper()
	c := &pollClient{t: t}
	a, body := c.do(http.MethodPost, "http://"+s.Addr.HTTP+"/lp", "", nil)
	var ticket struct{ ID, Token string }
	if err := json.Unmarshal(body, &ticket); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s (%v)", a.status, body, err)
	}
	c.base, c.token = "http://"+s.Addr.HTTP+"/lp/"+ticket.ID, ticket.Token
	return c
}

func (c *pollClient) do(method, url, seq string, body []byte) (pollAnswer, []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if seq != "" {
		req.Header.Set("Teamtalk-Seq", seq)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Error(err)
		return pollAnswer{}, nil
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Error(err)
	}
	return pollAnswer{status: res.StatusCode, seq: res.Header.Get("Teamtalk-Seq")}, raw
}

func (c *pollClient) post(seq string, frames ...[]byte) pollAnswer {
	a, _ := c.do(http.MethodPost, c.base, seq, slices.Concat(frames...))
	return a
}

func (c *pollClient) poll(query string) pollAnswer {
	a, raw := c.do(http.MethodGet, c.base+"?after="+query, "", nil)
	if a.status != http.StatusOK {
		return a
	}
	for r := pdu.NewReader(bytes.NewReader(raw)); ; {
		p, err := r.Read(pdu.MaxLen)
		if err != nil {
			return a
		}
		a.pdus = append(a.pdus, p.Header.Command)
	}
}

func frameOf(t *testing.T, cmd pdu.Command, seq uint16, m proto.Message) []byte {
	t.Helper()
	b, err := Frame(cmd, seq, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLongPollRepeats: the same POST repeated, a poll lost after the server answered, two polls at once, an id with the wrong token, against the
// real server [TT-LP-1] [TT-LP-3] [TT-LP-4] [TT-LP-5] [TT-LP-8].
func TestLongPollRepeats(t *testing.T) {
	s := Start(t, ServerConfig{Args: []string{"--users", "2", "--password", "123456"}})
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	peer := logIn(t, ctx, s, "user2", pb.ClientType_CLIENT_TYPE_WINDOWS)
	c := newPollClient(t, s)
	expect := func(what string, a pollAnswer, status int, seq string, pdus ...pdu.Command) {
		t.Helper()
		if a.status != status || a.seq != seq || !slices.Equal(a.pdus, pdus) {
			t.Fatalf("%s: %+v, want %d with number %q and %v", what, a, status, seq, pdus)
		}
	}
	login := frameOf(t, pdu.CmdLoginReq, 1, &pb.IMLoginReq{UserName: proto.String("user1"), Password: proto.String(PasswordOnWire("123456")),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType_CLIENT_TYPE_ANDROID.Enum(), ClientVersion: proto.String("1")})
	message := frameOf(t, pdu.CmdMsgData, 2, &pb.IMMsgData{FromUserId: proto.Uint32(1), ToSessionId: proto.Uint32(2), MsgId: proto.Uint32(0),
		CreateTime: proto.Uint32(0), MsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: []byte("once")})

	expect("login", c.post("1", login), http.StatusNoContent, "")
	expect("its answer", c.poll("0"), http.StatusOK, "1", pdu.CmdLoginRes)
	expect("the answer was lost", c.poll("0"), http.StatusOK, "1", pdu.CmdLoginRes)

	expect("a message", c.post("2", message), http.StatusNoContent, "")
	expect("the same POST", c.post("2", message), http.StatusNoContent, "")
	expect("a gap", c.post("4", message), http.StatusConflict, "2")
	expect("its ack, once", c.poll("1"), http.StatusOK, "2", pdu.CmdMsgDataAck)
	if _, err := peer.Expect(ctx, pdu.CmdMsgData, &pb.IMMsgData{}); err != nil {
		t.Fatal(err)
	}
	expect("what was acknowledged", c.poll("0"), http.StatusConflict, "")
	expect("what was not sent", c.poll("9"), http.StatusConflict, "")

	older, began := make(chan pollAnswer, 1), time.Now()
	go func() { older <- c.poll("2") }()      // ends with its answer, received below
	for len(older) == 0 && ctx.Err() == nil { // the first of these may have been the older one
		expect("the newer poll", c.poll("2&wait=1"), http.StatusNoContent, "")
	}
	expect("the older poll", <-older, http.StatusNoContent, "")
	if held := time.Since(began); held > 20*time.Second {
		t.Errorf("the older poll was held for %v beside newer ones", held)
	}

	thief := &pollClient{t: t, base: c.base, token: "stolen"}
	expect("a wrong token", thief.poll("2"), http.StatusNotFound, "")
	expect("a wrong token", thief.post("3", message), http.StatusNotFound, "")
	expect("an unknown id", (&pollClient{t: t, base: c.base + "0", token: c.token}).poll("2"), http.StatusNotFound, "")
	if history, err := peer.History(ctx, Single(1)); err != nil || len(history) != 1 {
		t.Errorf("%d messages (%v), want 1", len(history), err)
	}
	a, _ := c.do(http.MethodPost, c.base+"/close", "", nil)
	expect("close", a, http.StatusNoContent, "")
	expect("after the close", c.poll("2"), http.StatusGone, "")
	http.DefaultClient.CloseIdleConnections()
}
