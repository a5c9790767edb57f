package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// soak tells whether the long versions of the tests are wanted.
func soak() bool { return os.Getenv("TT_SOAK") == "1" }

// together lets a test run beside others. The long versions measure times, and run alone.
func together(t *testing.T) {
	t.Helper()
	if !soak() {
		t.Parallel()
	}
}

// seed is TT_SEED, or a new one; it is printed so that a failure can be repeated as far as the scheduler lets it.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if given := os.Getenv("TT_SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n = parsed
	}
	t.Logf("TT_SEED=%d", n)
	return rand.New(rand.NewPCG(n, n))
}

// A talker sends numbered messages into one conversation, several at a time, for as long as the server lives.
type talker struct {
	user uint32
	chat Chat

	sent  int               // messages written so far, over all rounds
	acked map[string]uint32 // text → id
	acks  atomic.Int64      // of all rounds
}

const talkerWindow = 8

// talk sends until the connection breaks.
func (k *talker) talk(ctx context.Context, address string) error {
	c, err := Dial(ctx, address)
	if err != nil {
		return nil // the server was killed before it could be reached
	}
	defer c.Close()
	if _, err := c.Login(ctx, fmt.Sprintf("user%d", k.user), "123456", pb.ClientType_CLIENT_TYPE_WINDOWS); err != nil {
		if c.Ended() != nil {
			return nil // killed during the login
		}
		return err
	}
	out := map[uint16]string{}
	for {
		for len(out) < talkerWindow {
			k.sent++
			text := fmt.Sprintf("%d:%d", k.user, k.sent)
			seq := uint16(k.sent%0x7fff + 1)
			out[seq] = text
			if c.Send(ctx, pdu.CmdMsgData, seq, k.chat.TextMessage(text)) != nil {
				break
			}
		}
		p, err := c.Await(ctx, pdu.CmdMsgDataAck)
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("user%d: no ack and no end of the connection: %w", k.user, err)
			}
			return nil
		}
		ack := &pb.IMMsgDataAck{}
		if err := proto.Unmarshal(p.Body, ack); err != nil {
			return err
		}
		text, ok := out[p.Header.Seq]
		if !ok {
			return fmt.Errorf("user%d: an ack for seq %d, which is not out", k.user, p.Header.Seq)
		}
		delete(out, p.Header.Seq)
		k.acked[text] = ack.GetMsgId()
		k.acks.Add(1)
	}
}

// check compares the history with what was sent and acked.
func (k *talker) check(history []*pb.MsgInfo) error {
	seen, last := map[string]uint32{}, 0
	for _, m := range history {
		if m.GetFromSessionId() != k.user {
			continue
		}
		text := string(m.GetMsgData())
		if id, twice := seen[text]; twice {
			return fmt.Errorf("%s is there twice, as %d and %d", text, id, m.GetMsgId())
		}
		seen[text] = m.GetMsgId()
		_, digits, _ := strings.Cut(text, ":")
		n, err := strconv.Atoi(digits)
		if err != nil || n > k.sent {
			return fmt.Errorf("%q was never sent", text)
		}
		if n <= last {
			return fmt.Errorf("%s comes after message %d of the same sender", text, last)
		}
		last = n
	}
	for text, id := range k.acked {
		if seen[text] != id {
			return fmt.Errorf("%s was acked with id %d, history has it as %d (0: lost)", text, id, seen[text])
		}
	}
	return nil
}

// TestTalkerSeesFaults: the check of the crash test finds what it is there for.
func TestTalkerSeesFaults(t *testing.T) {
	message := func(id uint32, text string) *pb.MsgInfo {
		return &pb.MsgInfo{MsgId: proto.Uint32(id), FromSessionId: proto.Uint32(1), MsgData: []byte(text)}
	}
	for name, c := range map[string]struct {
		history []*pb.MsgInfo
		want    string
	}{
		"right":        {[]*pb.MsgInfo{message(1, "1:1"), message(2, "1:3")}, ""},
		"lost":         {[]*pb.MsgInfo{message(1, "1:1")}, "0: lost"},
		"another id":   {[]*pb.MsgInfo{message(1, "1:1"), message(3, "1:3")}, "acked with id 2"},
		"twice":        {[]*pb.MsgInfo{message(1, "1:1"), message(2, "1:3"), message(3, "1:3")}, "twice"},
		"out of order": {[]*pb.MsgInfo{message(1, "1:3"), message(2, "1:1")}, "comes after"},
		"never sent":   {[]*pb.MsgInfo{message(1, "1:1"), message(2, "1:3"), message(3, "1:9")}, "never sent"},
	} {
		k := &talker{user: 1, sent: 3, acked: map[string]uint32{"1:1": 1, "1:3": 2}}
		if err := k.check(c.history); err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q is not in: %v", name, c.want, err)
		}
	}
	if CheckDense([]*pb.MsgInfo{message(1, ""), message(3, "")}) == nil {
		t.Error("a hole in the ids was not seen")
	}
}

// TestKilledUnderLoad: kill -9 at random instants loses nothing that was acked and stores nothing twice [TT-MSG-3] [TT-MSG-4] [TT-DIFF-13].
func TestKilledUnderLoad(t *testing.T) {
	together(t)
	rounds := 10
	if soak() {
		rounds = 50
	}
	random := seed(t)
	s := Start(t, ServerConfig{Args: []string{"--users", "12", "--password", "123456"}})
	group := createGroup(t, s)
	var talkers []*talker
	for u := uint32(1); u <= 10; u++ {
		k := &talker{user: u, chat: Single((u - 1) ^ 1 + 1), acked: map[string]uint32{}}
		if u > 8 {
			k.chat = Group(group)
		}
		talkers = append(talkers, k)
	}
	for round := range rounds {
		killUnderLoad(t, s, talkers, time.Duration(20+random.IntN(500))*time.Millisecond)
		if err := s.Run(t); err != nil {
			t.Fatalf("round %d: the start after the kill: %v", round, err)
		}
		checkTalkers(t, s, talkers)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	total := 0
	for _, k := range talkers {
		total += len(k.acked)
	}
	t.Logf("%d kills, %d messages acked, none lost, none twice", rounds, total)
	if total < rounds*10 {
		t.Errorf("only %d messages were acked: that was no load", total)
	}
}

func createGroup(t *testing.T, s *Server) uint32 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	c := logIn(t, ctx, s, "user9", pb.ClientType_CLIENT_TYPE_WINDOWS)
	p, err := c.Call(ctx, pdu.CmdGroupCreateReq, &pb.IMGroupCreateReq{UserId: proto.Uint32(0), GroupType: pb.GroupType_GROUP_TYPE_TMP.Enum(),
		GroupName: proto.String("crash"), GroupAvatar: proto.String(""), MemberIdList: []uint32{9, 10, 11, 12}})
	if err != nil {
		t.Fatal(err)
	}
	res := &pb.IMGroupCreateRsp{}
	if err := proto.Unmarshal(p.Body, res); err != nil || res.GetResultCode() != 0 {
		t.Fatalf("%v, result %d", err, res.GetResultCode())
	}
	return res.GetGroupId()
}

// logIn connects and logs in; the connection ends with the test.
func logIn(t *testing.T, ctx context.Context, s *Server, user string, client pb.ClientType) *Client {
	t.Helper()
	c, err := Dial(ctx, s.Addr.TCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Login(ctx, user, "123456", client); err != nil {
		t.Fatal(err)
	}
	return c
}

func killUnderLoad(t *testing.T, s *Server, talkers []*talker, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var all sync.WaitGroup
	for _, k := range talkers {
		all.Go(func() { // ends when the server is killed
			if err := k.talk(ctx, s.Addr.TCP); err != nil {
				t.Error(err)
			}
		})
	}
	<-time.After(after)
	s.Kill()
	all.Wait()
}

func checkTalkers(t *testing.T, s *Server, talkers []*talker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for _, k := range talkers {
		c, err := Dial(ctx, s.Addr.TCP)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login(ctx, fmt.Sprintf("user%d", k.user), "123456", pb.ClientType_CLIENT_TYPE_WINDOWS); err != nil {
			t.Fatal(err)
		}
		history, err := c.History(ctx, k.chat)
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckDense(history); err != nil {
			t.Errorf("user%d: %v", k.user, err)
		}
		if err := k.check(history); err != nil {
			t.Errorf("user%d: %v", k.user, err)
		}
	}
}

// TestStopAnswersWhatWasRead: after SIGTERM nothing is stored without an ack, and the process ends well.
func TestStopAnswersWhatWasRead(t *testing.T) {
	t.Parallel()
	s := Start(t, ServerConfig{Args: []string{"--users", "4", "--password", "123456"}})
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	c := logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS)
	var burst []byte
	for i := range 200 {
		frame, err := Frame(pdu.CmdMsgData, uint16(i+1), Single(2).TextMessage(strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		burst = append(burst, frame...)
	}
	if err := c.Write(ctx, burst); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Await(ctx, pdu.CmdMsgDataAck); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	acks := 1
	for {
		if _, err := c.Await(ctx, pdu.CmdMsgDataAck); err != nil {
			break
		}
		acks++
	}
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	history, err := logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS).History(ctx, Single(2))
	if err != nil {
		t.Fatal(err)
	}
	if len(history) != acks {
		t.Errorf("%d messages are stored, %d were acked", len(history), acks)
	}
}
