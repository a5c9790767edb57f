package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// A bystander is an honest pair of clients that goes on chatting while a test misbehaves, and notes how long an ack takes.
type bystander struct {
	stop  context.CancelFunc
	done  chan struct{} // closed when the chat has ended
	err   error         // valid once done is closed
	times []time.Duration
}

// startBystander lets user1 write to user2, one message after the other.
func startBystander(t *testing.T, s *Server) *bystander {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &bystander{stop: cancel, done: make(chan struct{})}
	from := logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS)
	to := logIn(t, ctx, s, "user2", pb.ClientType_CLIENT_TYPE_WINDOWS)
	go func() { // ends by stop
		defer close(b.done)
		b.err = b.chat(ctx, from, to)
	}()
	return b
}

func (b *bystander) chat(ctx context.Context, from, to *Client) error {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
		began := time.Now()
		id, err := from.Say(one, Single(2), "still here")
		if err == nil {
			b.times = append(b.times, time.Since(began))
			err = arrives(one, to, id)
		}
		from.discard()
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// arrives waits for user1's message; attackers may write to user2 as well.
func arrives(ctx context.Context, to *Client, id uint32) error {
	for {
		m := &pb.IMMsgData{}
		if _, err := to.Expect(ctx, pdu.CmdMsgData, m); err != nil {
			return err
		}
		if m.GetFromUserId() != 1 || m.GetMsgType() != pb.MsgType_MSG_TYPE_SINGLE_TEXT {
			continue
		}
		if m.GetMsgId() != id {
			return fmt.Errorf("message %d was acked, %d came", id, m.GetMsgId())
		}
		return nil
	}
}

// end stops the chat and reports; the chat must have gone on.
func (b *bystander) end(t *testing.T, what string) {
	t.Helper()
	b.stop()
	<-b.done
	if b.err != nil {
		t.Errorf("%s: the bystanders were disturbed: %v", what, b.err)
	}
	if len(b.times) == 0 {
		t.Fatalf("%s: the bystanders said nothing", what)
	}
	slices.Sort(b.times)
	t.Logf("%s: bystanders exchanged %d messages, ack p50 %s p99 %s", what, len(b.times),
		b.times[len(b.times)/2].Round(time.Microsecond), b.times[len(b.times)*99/100].Round(time.Microsecond))
}

// checkHealthy: the process lives and its memory is bounded. The bound is generous; what matters is that it does not follow the attack.
func checkHealthy(t *testing.T, s *Server, limitMiB int) {
	t.Helper()
	if !s.Alive() {
		t.Fatalf("the server died:\n%s", s.Log(4000))
	}
	kib, err := s.MemoryKiB()
	if err != nil {
		t.Logf("memory: %v", err)
		return
	}
	if raceDetector {
		limitMiB *= 4 // its shadow memory
	}
	t.Logf("resident memory %d MiB", kib>>10)
	if kib>>10 > limitMiB {
		t.Errorf("resident memory is %d MiB, more than %d", kib>>10, limitMiB)
	}
}

// hostileFrame is a PDU as no client sends it: any command, a body that is right, mutated or noise, sometimes a wrong length.
func hostileFrame(random *rand.Rand) []byte {
	table := pdu.Table()
	cmd := pdu.Command(random.Uint32())
	var m proto.Message
	if random.IntN(10) > 0 {
		row := table[random.IntN(len(table))]
		cmd, m = row.Command, sent(row.Command)
	}
	if cmd == pdu.CmdLogoutReq && random.IntN(20) > 0 {
		cmd = pdu.CmdMsgData // else every connection would end at once
	}
	var body []byte
	switch choice := random.IntN(4); {
	case choice < 2 && m != nil:
		fillRandomly(m.ProtoReflect(), random)
		if b, err := (proto.MarshalOptions{AllowPartial: true}).Marshal(m); err == nil {
			body = b
		}
		if choice == 1 {
			for range random.IntN(4) {
				if len(body) > 0 {
					body[random.IntN(len(body))] ^= byte(1 << random.IntN(8))
				}
			}
		}
	default:
		body = make([]byte, random.IntN(1<<random.IntN(14)))
		for i := range body {
			body[i] = byte(random.Uint32())
		}
	}
	h := rawHeader{length: uint32(16 + len(body)), version: uint16(random.Uint32()), service: uint16(random.Uint32()), command: uint16(cmd),
		seq: uint16(random.Uint32())}
	if random.IntN(100) == 0 {
		h.length = random.Uint32() >> random.IntN(32)
	}
	return rawFrame(h, body)
}

// TestFuzzedPDUs: whatever arrives, before and after login, others go on [TT-FRAME-3] [TT-FRAME-5] [TT-FRAME-6] [TT-LOGIN-1].
func TestFuzzedPDUs(t *testing.T) {
	frames := 20_000
	if soak() {
		frames = 500_000
	}
	random := seed(t)
	s := Start(t, ServerConfig{Args: []string{"--users", "20", "--password", "123456"}})
	watch := startBystander(t, s)
	var attackers sync.WaitGroup
	var spent atomic.Int64
	for i := range 8 {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
		attackers.Go(func() { // ends after its share of frames
			for spent.Load() < int64(frames) && s.Alive() {
				spent.Add(int64(attack(t, s, own, i)))
			}
		})
	}
	attackers.Wait()
	watch.end(t, fmt.Sprintf("%d fuzzed PDUs", spent.Load()))
	checkHealthy(t, s, 700)
}

// attack sends frames on one connection until the server closes it; every second one logs in first, as a user of the attacker's own.
func attack(t *testing.T, s *Server, random *rand.Rand, n int) (frames int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	c, err := DialFrom(ctx, fmt.Sprintf("127.0.1.%d", n+1), s.Addr.TCP)
	if err != nil {
		return 1
	}
	defer c.Close()
	if n%2 == 0 {
		if _, err := c.Login(ctx, fmt.Sprintf("user%d", 11+n), "123456", pb.ClientType_CLIENT_TYPE_IOS); err != nil {
			return 1
		}
	}
	for range 500 {
		frames++
		if c.Write(ctx, hostileFrame(random)) != nil || c.Ended() != nil {
			return frames
		}
		c.discard()
	}
	// The server has to take them all, not only what it had read when the connection closed: it closes when it is through.
	if tcp, ok := c.conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		if err := c.AwaitClose(ctx); err != nil && ctx.Err() != nil {
			t.Errorf("attacker %d: not closed at the end of what was sent: %v", n, err)
		}
	}
	return frames
}

// TestSlowSenders: clients that send a byte now and then hold up nobody, and are closed at the login deadline if they have not logged
// in, however often they send a byte [TT-LOGIN-2] [TT-FRAME-4] [TT-DIFF-2].
func TestSlowSenders(t *testing.T) {
	s := Start(t, ServerConfig{Args: []string{"--users", "20", "--password", "123456", "--login-deadline", "3s"}})
	watch := startBystander(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	frame, err := Frame(pdu.CmdLoginReq, 1, &pb.IMLoginReq{UserName: proto.String("user3"), Password: proto.String(PasswordOnWire("123456")),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType_CLIENT_TYPE_MAC.Enum()})
	if err != nil {
		t.Fatal(err)
	}
	var slow sync.WaitGroup
	for i := range 200 {
		c, err := Dial(ctx, s.Addr.TCP)
		if err != nil {
			t.Fatal(err)
		}
		slow.Go(func() { // ends when the server closes
			defer c.Close()
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for _, b := range frame {
				if c.Write(ctx, []byte{b}) != nil {
					return
				}
				select {
				case <-tick.C:
				case <-c.joined:
					return
				case <-ctx.Done():
					t.Errorf("slow sender %d is still there", i)
					return
				}
			}
		})
	}
	slow.Wait()
	watch.end(t, "200 slow senders")
	checkHealthy(t, s, 400)
}

// TestHalfOpenConnections: thousands of connections that never say anything cost little and disturb nobody [TT-LIMIT-2].
func TestHalfOpenConnections(t *testing.T) {
	total := 10_000
	if raceDetector {
		total = 3_000 // every goroutine of the server costs a multiple there
	}
	s := Start(t, ServerConfig{Args: []string{"--users", "20", "--password", "123456", "--login-deadline", "2m"}})
	before, err := s.MemoryKiB()
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	watch := startBystander(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	for i := range total {
		c, err := DialFrom(ctx, fmt.Sprintf("127.0.2.%d", i/500+1), s.Addr.TCP)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(c.Close)
		var head []byte // some stop in the middle of a header, some announce a body that never comes
		switch i % 3 {
		case 1:
			head = []byte{0, 0, 0}
		case 2:
			head = binary.BigEndian.AppendUint32(nil, 8<<10)
			head = append(head, make([]byte, 12)...)
		}
		if err := c.Write(ctx, head); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	after, err := s.MemoryKiB()
	if err != nil {
		t.Fatal(err)
	}
	watch.end(t, fmt.Sprintf("%d half-open connections (%.1f KiB each)", total, float64(after-before)/float64(total)))
	checkHealthy(t, s, 700)
}

// TestUnauthenticatedPerAddress: an address may have so many connections that are not logged in; those logged in do not count [TT-LIMIT-2].
func TestUnauthenticatedPerAddress(t *testing.T) {
	t.Parallel()
	const limit, here = 1000, "127.0.3.1"
	s := Start(t, ServerConfig{Args: []string{"--users", "20", "--password", "123456", "--login-deadline", "2m"}})
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	open := func() *Client {
		c, err := DialFrom(ctx, here, s.Addr.TCP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	served := func(c *Client) bool {
		return c.Send(ctx, pdu.CmdHeartbeat, 1, nil) == nil && func() bool { _, err := c.Await(ctx, pdu.CmdHeartbeat); return err == nil }()
	}
	logged := open()
	if _, err := logged.Login(ctx, "user5", "123456", pb.ClientType_CLIENT_TYPE_IOS); err != nil {
		t.Fatal(err)
	}
	var waiting []*Client
	for range limit {
		waiting = append(waiting, open())
	}
	for i, c := range waiting {
		if !served(c) {
			t.Fatalf("connection %d of %d was refused", i+1, limit)
		}
	}
	if served(open()) {
		t.Errorf("connection %d was served", limit+1)
	}
	if _, err := waiting[0].Login(ctx, "user6", "123456", pb.ClientType_CLIENT_TYPE_IOS); err != nil {
		t.Fatal(err)
	}
	if !served(open()) {
		t.Error("a login did not free its place")
	}
	waiting[1].Close()
	Eventually(t, "a close to free its place", func() bool { return served(open()) })
	if !served(logged) {
		t.Error("the connection that is logged in was closed")
	}
}

// TestSlowReader: a client that does not read is cut off when what waits for it exceeds its bound; those who write to it go on, and
// nothing is lost, for it can ask for what it missed [TT-LIMIT-3].
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const messages, size = 400, 60 << 10
	s := Start(t, ServerConfig{Args: []string{"--users", "4", "--password", "123456"}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	slow, err := net.Dial("tcp", s.Addr.TCP)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	frame, err := Frame(pdu.CmdLoginReq, 1, &pb.IMLoginReq{UserName: proto.String("user2"), Password: proto.String(PasswordOnWire("123456")),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType_CLIENT_TYPE_MAC.Enum()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Write(frame); err != nil {
		t.Fatal(err)
	}
	writer := logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS)
	text := strings.Repeat("x", size)
	for i := range messages {
		if _, err := writer.Say(ctx, Single(2), text); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := slow.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, slow)
	if err != nil && !isReset(err) {
		t.Fatalf("the connection was not closed: %v", err)
	}
	if n >= messages*size {
		t.Errorf("%d bytes came: nothing was bounded", n)
	}
	history, err := logIn(t, ctx, s, "user2", pb.ClientType_CLIENT_TYPE_MAC).History(ctx, Single(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckDense(history); err != nil || len(history) != messages {
		t.Errorf("%d of %d messages are in the history (%v)", len(history), messages, err)
	}
	checkHealthy(t, s, 500)
}
