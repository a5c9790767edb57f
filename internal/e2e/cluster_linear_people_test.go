//go:build linux

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// A stage is one conversation, and all that was asked of it.
type stage struct {
	name  string
	began time.Time

	mu         sync.Mutex // guards what follows
	operations []porcupine.Operation
	views      []view
	transcript transcript
	ever       int64 // when what was never answered counts as over
}

func newStage(name string, group bool) *stage {
	return &stage{name: name, began: time.Now(), transcript: transcript{group: group, acked: map[string]uint32{}, begun: map[string]time.Duration{},
		wanted: map[uint32][]want{}}}
}

func (s *stage) now() time.Duration { return time.Since(s.began) }

// begin notes that somebody is about to do something and returns the moment.
func (s *stage) begin(d deed) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.now()
	switch _, repeated := s.transcript.begun[d.text]; {
	case d.kind == deedSay && !repeated:
		s.transcript.begun[d.text] = at
	case d.kind == deedMark:
		s.transcript.wanted[d.user] = append(s.transcript.wanted[d.user], want{at, d.upTo})
	}
	return at
}

// done notes what came of it. What is not known may come about at any later time.
func (s *stage) done(row int, d deed, o outcome, from time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := int64(math.MaxInt64)
	switch {
	case o.known:
		until = int64(s.now())
	case d.kind == deedMark:
		until = int64(from) // from then on it may come about, says the model
	}
	if d.kind == deedSay && o.known {
		s.transcript.acked[d.text] = o.id
	}
	s.operations = append(s.operations, porcupine.Operation{ClientId: row, Input: d, Output: o, Call: int64(from), Return: until})
}

func (s *stage) see(v view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.ended = s.now()
	s.views = append(s.views, v)
}

// settle makes of the deeds without an answer what the conversation says of them: a message that is not in it in the end never was, one that is has
// the id that it has there; when it got there stays open.
func (s *stage) settle(final []entry) {
	c := &s.transcript
	c.final = final
	ids := map[string]uint32{}
	for _, e := range final {
		ids[e.text] = e.id
	}
	s.ever = int64(s.now()) + 1
	s.operations = slices.DeleteFunc(s.operations, func(op porcupine.Operation) bool {
		d, o := op.Input.(deed), op.Output.(outcome)
		return d.kind == deedSay && !o.known && ids[d.text] == 0
	})
	for i := range s.operations {
		op := &s.operations[i]
		d, o := op.Input.(deed), op.Output.(outcome)
		if op.Return == math.MaxInt64 {
			op.Return = s.ever
		}
		if d.kind != deedSay {
			continue
		}
		if !o.known {
			op.Output = outcome{known: true, id: ids[d.text]}
		}
		if c.group {
			c.wanted[d.user] = append(c.wanted[d.user], want{time.Duration(op.Call), ids[d.text]})
		}
	}
}

// A voice is how somebody asks: one session after another, of the SDK or not.
type voice interface {
	say(ctx context.Context, text string) outcome
	mark(ctx context.Context, upTo uint32) outcome
	// see asks for messages from an id downwards (0: from the newest), their newest id, or how many are unread; not known: no answer.
	see(ctx context.Context, kind deedKind, from, most uint32) outcome
	// session names the session that there is now.
	session() string
	close()
}

// answerWithin is how long a session may keep somebody waiting until he looks for another node.
const answerWithin = 4 * time.Second

// rawVoice is a client that is not of the SDK: an existing one, or with a device one that has client_msg_ids.
type rawVoice struct {
	cluster *Cluster
	user    uint32
	device  string // "": an existing client
	chat    Chat
	place   int // of the node it is at or tries next
	conn    *Client
	life    int
}

func (v *rawVoice) session() string {
	return fmt.Sprintf("user%d's session %d of %q at node %d", v.user, v.life, v.device, v.place%len(v.cluster.Nodes)+1)
}

func (v *rawVoice) close() {
	if v.conn != nil {
		v.conn.Close()
		v.conn = nil
	}
}

// leave gives up the connection; the next one is at another node.
func (v *rawVoice) leave() {
	v.close()
	v.place++
}

// open logs in where there is no connection.
func (v *rawVoice) open(ctx context.Context) error {
	if v.conn != nil {
		return nil
	}
	n := v.cluster.Nodes[v.place%len(v.cluster.Nodes)]
	conn, err := v.cluster.dialNode(ctx, n)
	if err != nil {
		v.place++
		return err
	}
	v.life++
	v.conn = newClient(conn)
	if v.device != "" {
		err = v.conn.Hello(ctx, v.device, pb.ClientType_CLIENT_TYPE_WINDOWS)
	}
	if err == nil {
		_, err = v.conn.Login(ctx, fmt.Sprintf("user%d", v.user), "123456", pb.ClientType_CLIENT_TYPE_WINDOWS)
	}
	if err != nil {
		v.leave()
	}
	return err
}

// dialNode connects to the port for plain TCP, from where the clients are.
func (c *Cluster) dialNode(ctx context.Context, n *ClusterNode) (net.Conn, error) {
	from := c.clientNetwork()
	if from == nil {
		from = dial.Machine()
	}
	return from.DialContext(ctx, "tcp", net.JoinHostPort(n.Host.IP, clusterTCP))
}

// call asks and decodes the answer if it is the one that is hoped for; false: there was none, or another.
func (v *rawVoice) call(ctx context.Context, ask pdu.Command, m proto.Message, answer pdu.Command, into proto.Message) bool {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if v.open(ctx) != nil {
		return false
	}
	v.conn.discard()
	p, err := v.conn.Call(ctx, ask, m)
	if err != nil {
		v.leave()
		return false
	}
	return p.Header.Command == answer && proto.Unmarshal(p.Body, into) == nil
}

func (v *rawVoice) say(ctx context.Context, text string) outcome {
	m := v.chat.TextMessage(text)
	if v.device != "" {
		key := sha256.Sum256([]byte(text))
		m.ClientMsgId = key[:16]
	}
	ack := &pb.IMMsgDataAck{}
	if !v.call(ctx, pdu.CmdMsgData, m, pdu.CmdMsgDataAck, ack) {
		return outcome{}
	}
	return outcome{known: true, id: ack.GetMsgId()}
}

// mark moves the read position. Nothing answers that; but a request for the time waits for it, and extended sessions are told when it failed.
func (v *rawVoice) mark(ctx context.Context, upTo uint32) outcome {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if v.open(ctx) != nil {
		return outcome{}
	}
	seq := v.conn.nextSeq()
	v.conn.discard()
	if err := v.conn.Send(ctx, pdu.CmdReadAck, seq, &pb.IMMsgDataReadAck{UserId: new(uint32), SessionId: &v.chat.ID, SessionType: v.chat.Type.Enum(),
		MsgId: &upTo}); err != nil {
		v.leave()
		return outcome{}
	}
	if p, err := v.conn.Call(ctx, pdu.CmdTimeReq, nil); err != nil || p.Header.Command != pdu.CmdTimeRes {
		v.leave()
		return outcome{}
	}
	_, refused, _ := v.conn.poll(func(p pdu.PDU) bool { return p.Header.Command == pdu.CmdError && p.Header.Seq == seq })
	return outcome{known: v.device != "" && !refused}
}

func (v *rawVoice) see(ctx context.Context, kind deedKind, from, most uint32) outcome {
	switch kind {
	case deedLatest:
		res := &pb.IMGetLatestMsgIdRsp{}
		if !v.call(ctx, pdu.CmdLatestMsgIDReq, &pb.IMGetLatestMsgIdReq{UserId: new(uint32), SessionType: v.chat.Type.Enum(), SessionId: &v.chat.ID},
			pdu.CmdLatestMsgIDRes, res) {
			return outcome{}
		}
		return outcome{known: true, id: res.GetLatestMsgId()}
	case deedUnread:
		res := &pb.IMUnreadMsgCntRsp{}
		if !v.call(ctx, pdu.CmdUnreadReq, &pb.IMUnreadMsgCntReq{UserId: new(uint32)}, pdu.CmdUnreadRes, res) {
			return outcome{}
		}
		for _, u := range res.GetUnreadinfoList() {
			if u.GetSessionType() == v.chat.Type && u.GetSessionId() == v.chat.ID {
				return outcome{known: true, id: u.GetLatestMsgId(), count: u.GetUnreadCnt()}
			}
		}
		return outcome{known: true}
	default:
		res := &pb.IMGetMsgListRsp{}
		if !v.call(ctx, pdu.CmdMsgListReq, &pb.IMGetMsgListReq{UserId: new(uint32), SessionType: v.chat.Type.Enum(), SessionId: &v.chat.ID,
			MsgIdBegin: &from, MsgCnt: &most}, pdu.CmdMsgListRes, res) {
			return outcome{}
		}
		return outcome{known: true, lines: entries(res.GetMsgList())}
	}
}

func entries(list []*pb.MsgInfo) (lines []entry) {
	for _, m := range list {
		lines = append(lines, entry{id: m.GetMsgId(), user: m.GetFromSessionId(), text: plain(m.GetMsgData()), millis: m.GetCreateTimeMs()})
	}
	return lines
}

// plain is what a message says, which only the SDK encrypts here.
func plain(data []byte) string {
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		return err.Error()
	}
	if text, err := cipher.Decrypt(data); err == nil {
		return text
	}
	return string(data)
}

// sdkVoice is the SDK, whose one session goes on at other nodes.
type sdkVoice struct{ *guest }

func (v sdkVoice) session() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprintf("%s's SDK after %d gaps", v.name, len(v.gaps))
}

func (v sdkVoice) close() { _ = v.sdk.Close() } // what it says of that is looked at in the end

func (v sdkVoice) say(ctx context.Context, text string) outcome {
	out, err := v.sdk.Send(ctx, v.with, client.Text(text))
	if err != nil || out.Wait(ctx) != nil {
		return outcome{}
	}
	return outcome{known: true, id: uint32(out.State().ID)}
}

func (v sdkVoice) mark(ctx context.Context, upTo uint32) outcome {
	_ = v.sdk.MarkRead(ctx, v.with, protocol.MsgID(upTo)) // it goes on by itself, and never says when it is done
	return outcome{}
}

func (v sdkVoice) see(ctx context.Context, kind deedKind, from, most uint32) outcome {
	if kind == deedUnread {
		list, err := v.sdk.Unread(ctx)
		if err != nil {
			return outcome{}
		}
		for _, u := range list.Items {
			if u.Session == v.with {
				return outcome{known: true, id: uint32(u.Latest.ID), count: u.Count}
			}
		}
		return outcome{known: true}
	}
	page, err := v.sdk.History(ctx, v.with, protocol.MsgID(from), int(most))
	if err != nil {
		return outcome{}
	}
	o := outcome{known: true}
	for _, m := range page.Items {
		o.lines = append(o.lines, entry{id: uint32(m.ID), user: uint32(m.From), text: m.Text + string(m.Data), millis: uint64(m.Time.UnixMilli())})
	}
	if kind == deedLatest && len(o.lines) > 0 {
		o.id = o.lines[0].id
	}
	return o
}

// A character does one thing after another in a conversation, with one voice or two. Two say everything at the same time, with one client_msg_id.
type character struct {
	stage  *stage
	act    string
	user   uint32
	row    int // in the pictures; the one after it has what he looks at
	voices []voice
	keyed  bool // what has no answer is repeated
	synced bool // his sessions stay on one node, so that a look after a write of the same session shows at least that

	numbers int
	pending string // what he has said without an answer
	known   uint32 // the newest id he knows of
	acked   map[string]uint32
	marked  map[string]uint32
}

// live goes on until it is told to stop.
func (c *character) live(ctx context.Context, stop <-chan struct{}, random *rand.Rand) {
	c.acked, c.marked = map[string]uint32{}, map[string]uint32{}
	for {
		pause := time.NewTimer(time.Duration(5+random.IntN(25)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-stop:
			return
		}
		switch n := random.IntN(10); {
		case n < 5 || c.known == 0:
			c.say(ctx, random)
		case n < 7:
			c.mark(ctx, random)
		default:
			c.look(ctx, c.voices[random.IntN(len(c.voices))], random)
		}
	}
}

func (c *character) say(ctx context.Context, random *rand.Rand) {
	if c.pending == "" || !c.keyed {
		c.numbers++
		c.pending = fmt.Sprintf("%s user%d %d", c.act, c.user, c.numbers)
	}
	d := deed{kind: deedSay, user: c.user, text: c.pending}
	var both sync.WaitGroup
	answers, began, sessions := make([]outcome, len(c.voices)), make([]time.Duration, len(c.voices)), make([]string, len(c.voices))
	for i, v := range c.voices {
		both.Go(func() { // ends with its answer
			began[i] = c.stage.begin(d)
			answers[i] = v.say(ctx, d.text)
			sessions[i] = v.session()
			c.stage.done(c.row+2*i, d, answers[i], began[i])
		})
	}
	both.Wait()
	for i, o := range answers {
		if !o.known {
			continue
		}
		c.pending = ""
		c.known = max(c.known, o.id)
		c.acked[sessions[i]] = max(c.acked[sessions[i]], o.id)
		if c.synced && random.IntN(2) == 0 {
			c.lookBehind(ctx, i, sessions[i], began[i], random)
		}
	}
}

func (c *character) mark(ctx context.Context, random *rand.Rand) {
	i := random.IntN(len(c.voices))
	d := deed{kind: deedMark, user: c.user, upTo: c.known - uint32(random.IntN(int(min(c.known, 8))))}
	from := c.stage.begin(d)
	o := c.voices[i].mark(ctx, d.upTo)
	c.stage.done(c.row+2*i, d, o, from)
	if !o.known {
		return
	}
	session := c.voices[i].session()
	c.marked[session] = max(c.marked[session], d.upTo)
	if c.synced {
		c.lookBehind(ctx, i, session, from, random)
	}
}

// lookBehind looks right after a write that has been answered: the node has that in its state then, so that what it shows was so at some moment between
// the beginning of the write and the end of the look.
func (c *character) lookBehind(ctx context.Context, i int, session string, from time.Duration, random *rand.Rand) {
	d := deed{kind: deedLook + deedKind(random.IntN(3)), user: c.user, upTo: uint32(1 + random.IntN(12))}
	o := c.voices[i].see(ctx, d.kind, 0, d.upTo)
	if o.known && c.voices[i].session() == session {
		c.stage.done(c.row+2*i+1, d, o, from)
	}
}

// look looks as anybody may at any time.
func (c *character) look(ctx context.Context, v voice, random *rand.Rand) {
	shown := view{user: c.user, kind: deedLook + deedKind(random.IntN(3)), most: uint32(1 + random.IntN(30))}
	shown.session = v.session()
	shown.acked, shown.marked = c.acked[shown.session], c.marked[shown.session]
	if shown.kind == deedLook && shown.acked > 0 && random.IntN(3) == 0 {
		shown.from = 1 + uint32(random.IntN(int(shown.acked)))
	}
	shown.out = v.see(ctx, shown.kind, shown.from, shown.most)
	if !shown.out.known || v.session() != shown.session {
		return
	}
	c.known = max(c.known, shown.out.id)
	if len(shown.out.lines) > 0 {
		c.known = max(c.known, shown.out.lines[0].id)
	}
	c.stage.see(shown)
}

// visit has somebody write at the node he is at and see what is there then; it returns when that began. On a busy machine any moment may be one in which
// nobody leads, which is waited for.
func (s *stage) visit(ctx context.Context, t *testing.T, v *rawVoice, row int) time.Duration {
	t.Helper()
	d, place := deed{kind: deedMark, user: v.user, upTo: 1}, v.place
	for {
		from := s.begin(d)
		o := v.mark(ctx, d.upTo)
		s.done(row, d, o, from)
		if o.known {
			if seen := v.see(ctx, deedUnread, 0, 0); seen.known {
				s.done(row+1, deed{kind: deedUnread, user: v.user}, seen, from)
				return from
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: node %s does not take user%d's read position", s.name, v.cluster.Nodes[place].ID, v.user)
		}
		v.close()
		v.place = place
		v.cluster.WaitHealthy(t)
	}
}

// finish has each user look at each node, after a write there, and judges all that was done and shown. It returns how many deeds were judged.
func (s *stage) finish(ctx context.Context, t *testing.T, c *Cluster, chats map[uint32]Chat) int {
	t.Helper()
	var final []entry
	row := 100
	for place, n := range c.Nodes {
		for _, user := range slices.Sorted(maps.Keys(chats)) {
			v := &rawVoice{cluster: c, user: user, device: fmt.Sprintf("reader of %s", s.name), chat: chats[user], place: place}
			from := s.visit(ctx, t, v, row)
			history, err := v.conn.History(ctx, v.chat)
			if err != nil {
				t.Fatalf("%s: the history of node %s for user%d: %v", s.name, n.ID, user, err)
			}
			lines := entries(history)
			if final == nil {
				final = lines
			} else if !slices.Equal(lines, final) {
				t.Errorf("%s: node %s shows user%d %d messages which are not the %d of another", s.name, n.ID, user, len(lines), len(final))
			}
			newest := slices.Clone(lines)
			slices.Reverse(newest)
			s.done(row+1, deed{kind: deedLook, user: user, upTo: math.MaxUint32}, outcome{known: true, lines: newest}, from)
			v.close()
			row += 2
		}
	}
	s.settle(final)
	for _, err := range []error{s.transcript.checkFinal(), s.transcript.checkViews(s.views), checkLinear(t, s.name, s.transcript.group, s.operations)} {
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	return len(s.operations) + len(s.views)
}
