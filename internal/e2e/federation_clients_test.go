//go:build linux

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// A newcomer is a user with the SDK who remembers everything that happens.
type newcomer struct {
	sdk     *client.Client
	changed chan struct{} // holds one token when something happened

	mu     sync.Mutex // guards events
	events []client.Event
}

// arrive logs a user of an office in over one transport.
func (o *office) arrive(ctx context.Context, t *testing.T, user int, transport string) *newcomer {
	t.Helper()
	return o.arriveAt(ctx, t, user, transport, 0)
}

// arriveAt is arrive at the node of a place; the others come after it.
func (o *office) arriveAt(ctx context.Context, t *testing.T, user int, transport string, place int) *newcomer {
	t.Helper()
	conf, err := o.Nodes[0].trust()
	if err != nil {
		t.Fatal(err)
	}
	d, err := dial.New(o.addresses(transport, place), dial.Options{TLS: conf, Net: o.clientNetwork()})
	if err != nil {
		t.Fatal(err)
	}
	n := &newcomer{changed: make(chan struct{}, 1)}
	n.sdk, err = client.Open(ctx, client.Config{Name: fmt.Sprintf("user%d", user), Password: "123456", Dialer: dialer{d, true}, OnEvent: n.note})
	if err == nil {
		err = n.sdk.WaitOnline(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.sdk.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *newcomer) note(_ *client.Client, e client.Event) {
	n.mu.Lock()
	n.events = append(n.events, e)
	n.mu.Unlock()
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// forget drops what has happened so far, and tells how much that was.
func (n *newcomer) forget() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	many := len(n.events)
	n.events = nil
	return many
}

// await waits until something has happened, perhaps before.
func await[E client.Event](ctx context.Context, t *testing.T, n *newcomer, what string, is func(E) bool) (found E) {
	t.Helper()
	for {
		n.mu.Lock()
		for _, e := range n.events {
			if typed, ok := e.(E); ok && is(typed) {
				n.mu.Unlock()
				return typed
			}
		}
		n.mu.Unlock()
		select {
		case <-n.changed:
		case <-ctx.Done():
			t.Fatalf("the SDK was not told of %s; of %s", what, n.told())
		}
	}
}

// told is all that has happened.
func (n *newcomer) told() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, e := range n.events {
		all = append(all, fmt.Sprintf("%T%+v", e, e))
	}
	return strings.Join(all, "\n")
}

// say sends a text, waits for its ack, and returns its id.
func (n *newcomer) say(ctx context.Context, t *testing.T, in protocol.Session, text string) protocol.MsgID {
	t.Helper()
	out, err := n.sdk.Send(ctx, in, client.Text(text))
	if err == nil {
		err = out.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return out.State().ID
}

// hears waits for a text.
func (n *newcomer) hears(ctx context.Context, t *testing.T, text string) *client.Message {
	t.Helper()
	return await(ctx, t, n, text, func(m *client.Message) bool { return m.Text == text && !m.Mine })
}

// A veteran is a user with a client of before, over TCP.
type veteran struct {
	*Client
	cipher *crypt.Cipher
}

// arriveAsBefore logs a user of an office in as clients of before do.
func (o *office) arriveAsBefore(ctx context.Context, t *testing.T, user int) *veteran {
	t.Helper()
	conn, err := o.host.DialContext(ctx, "tcp", o.Nodes[0].Addr.TCP)
	if err != nil {
		t.Fatal(err)
	}
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	v := &veteran{newClient(conn), cipher}
	t.Cleanup(v.Close)
	if _, err := v.Login(ctx, fmt.Sprintf("user%d", user), "123456", pb.ClientType_CLIENT_TYPE_WINDOWS); err != nil {
		t.Fatal(err)
	}
	return v
}

// ask sends a request and reads what it is answered.
func (v *veteran) ask(ctx context.Context, t *testing.T, cmd pdu.Command, req, answer proto.Message) {
	t.Helper()
	p, err := v.Call(ctx, cmd, req)
	if err == nil {
		err = proto.Unmarshal(p.Body, answer)
	}
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
}

// say sends a text and returns its id.
func (v *veteran) say(ctx context.Context, t *testing.T, in Chat, text string) uint32 {
	t.Helper()
	m := in.TextMessage("")
	m.MsgData = v.cipher.Encrypt(text)
	ack := &pb.IMMsgDataAck{}
	v.ask(ctx, t, pdu.CmdMsgData, m, ack)
	if ack.GetMsgId() == 0 {
		t.Fatalf("%q has no id", text)
	}
	return ack.GetMsgId()
}

// hears waits for the next message, which has to be a text.
func (v *veteran) hears(ctx context.Context, t *testing.T, text string) *pb.IMMsgData {
	t.Helper()
	m := &pb.IMMsgData{}
	if _, err := v.Expect(ctx, pdu.CmdMsgData, m); err != nil {
		t.Fatalf("the existing client waits for %q: %v", text, err)
	}
	if got, err := v.cipher.Decrypt(m.GetMsgData()); err != nil || got != text {
		t.Fatalf("the existing client got %q (%v), want %q", got, err, text)
	}
	if m.GetFromUserId() < uint32(protocol.MaxLocalID) || m.GetFromUserId() > 1<<31-1 {
		t.Errorf("%q is from %#x, which is no number of somebody of another office", text, m.GetFromUserId())
	}
	return m
}

// texts are what a conversation holds, oldest first.
func (v *veteran) texts(ctx context.Context, t *testing.T, in Chat) (all []string) {
	t.Helper()
	history, err := v.History(ctx, in)
	if err == nil {
		err = CheckDense(history)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range history {
		text, err := v.cipher.Decrypt(m.GetMsgData())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

// acquaintance is a client of before in one office and the SDK in another one, and what each calls the other and their group.
type acquaintance struct {
	company     *company
	old         *veteran
	oldAs       protocol.UserID // at the newcomer's office
	modern      *newcomer
	modernAs    uint32 // at the veteran's office
	group       protocol.GroupID
	groupAbroad uint32 // at the veteran's office
}

// TestFederationOldAndNew: an existing client over TCP in one office and the SDK over QUIC in another one chat with each other and in a group, see who is
// online, how far the other has read, and what has become of what they said, before, during and after an outage [FED-AL-1] [FED-AL-2] [FED-AL-3] [FED-EPH-1]
// [FED-HUB-2] [TT-FED-4].
func TestFederationOldAndNew(t *testing.T) {
	together(t)
	c := newCompany(t, seed(t), 1, 1)
	c.introduce(t)
	ctx, cancel := c.patience(t)
	defer cancel()
	a := &acquaintance{company: c, old: c.offices[0].arriveAsBefore(ctx, t, 1), modern: c.offices[1].arrive(ctx, t, 2, "quic")}
	a.meet(ctx, t)
	a.seePresence(ctx, t)
	a.gather(ctx, t)
	a.endure(ctx, t)
}

// meet has the newcomer find the veteran and write to him, and the veteran answer.
func (a *acquaintance) meet(ctx context.Context, t *testing.T) {
	const address = "user1@hangzhou.example"
	found, err := a.modern.sdk.Search(ctx, "user1", 0)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(found.Items, func(u client.User) bool { return u.Address == address })
	if i < 0 || !found.Items[i].Remote || found.Items[i].Nick != "nick1 (Hangzhou)" {
		t.Fatalf("the SDK finds %+v", found.Items)
	}
	a.oldAs = found.Items[i].ID
	hello := a.modern.say(ctx, t, protocol.WithUser(a.oldAs), "hello")
	m := a.old.hears(ctx, t, "hello")
	a.modernAs = m.GetFromUserId()
	await(ctx, t, a.modern, "the delivery", func(e *client.MessageStateChanged) bool {
		return e.Session == protocol.WithUser(a.oldAs) && e.ID == hello && e.State == client.StateDelivered
	})
	info := &pb.IMUsersInfoRsp{}
	a.old.ask(ctx, t, pdu.CmdUserInfoReq, &pb.IMUsersInfoReq{UserId: proto.Uint32(0), UserIdList: []uint32{a.modernAs}}, info)
	if list := info.GetUserInfoList(); len(list) != 1 || list[0].GetUserNickName() != "nick2 (Beijing)" {
		t.Errorf("the existing client sees %v", list)
	}
	unread := &pb.IMUnreadMsgCntRsp{}
	a.old.ask(ctx, t, pdu.CmdUnreadReq, &pb.IMUnreadMsgCntReq{UserId: proto.Uint32(0)}, unread)
	if list := unread.GetUnreadinfoList(); unread.GetTotalCnt() != 1 || len(list) != 1 || list[0].GetSessionId() != a.modernAs {
		t.Errorf("unread at the existing client: %v", unread)
	}
	read := &pb.IMMsgDataReadAck{UserId: proto.Uint32(0), SessionId: proto.Uint32(a.modernAs), MsgId: m.MsgId, SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()}
	if err := a.old.Send(ctx, pdu.CmdReadAck, 900, read); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, a.modern, "the reading", func(e *client.Mark) bool {
		return e.Session == protocol.WithUser(a.oldAs) && e.User == a.oldAs && e.Read == hello
	})
	a.old.say(ctx, t, Single(a.modernAs), "hello to you")
	if m := a.modern.hears(ctx, t, "hello to you"); m.From != a.oldAs || m.FromAddress != address || m.Session != protocol.WithUser(a.oldAs) {
		t.Errorf("the SDK has %+v", m)
	}
}

// seePresence has the veteran go and come back.
func (a *acquaintance) seePresence(ctx context.Context, t *testing.T) {
	took := awaitStatus(t, ctx, a.old.Client, a.modernAs, pb.UserStatType_USER_STATUS_ONLINE)
	t.Logf("the existing client sees the other one online after %s", took)
	if _, err := a.modern.sdk.Presence(ctx, a.oldAs); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the SDK to see the other one online", func() bool {
		list, err := a.modern.sdk.Presence(ctx, a.oldAs)
		return err == nil && len(list.Items) == 1 && list.Items[0].Online
	})
	a.old.Close()
	await(ctx, t, a.modern, "his leaving", func(e *client.Presence) bool { return e.User == a.oldAs && !e.Online })
	gone := a.modern.forget()
	a.old = a.company.offices[0].arriveAsBefore(ctx, t, 1)
	await(ctx, t, a.modern, "his return", func(e *client.Presence) bool { return e.User == a.oldAs && e.Online })
	t.Logf("after %d events the SDK has seen him go and come", gone)
}

// earlier is what was said in the group before the veteran was in it.
const earlier = "before he came"

// gather has the newcomer make a group, say something in it, and take the veteran in, who gets what is said from then on; both write in it.
func (a *acquaintance) gather(ctx context.Context, t *testing.T) {
	const colleague protocol.UserID = 3
	var err error
	if a.group, err = a.modern.sdk.CreateGroup(ctx, "both", colleague); err != nil {
		t.Fatal(err)
	}
	a.modern.say(ctx, t, protocol.InGroup(a.group), earlier)
	if _, err := a.modern.sdk.ChangeMembers(ctx, a.group, protocol.MembersAdd, a.oldAs); err != nil {
		t.Fatal(err)
	}
	a.modern.say(ctx, t, protocol.InGroup(a.group), "welcome")
	m := a.old.hears(ctx, t, "welcome")
	a.groupAbroad = m.GetToSessionId()
	if m.GetMsgType() != pb.MsgType_MSG_TYPE_GROUP_TEXT || a.groupAbroad < uint32(protocol.MaxLocalID) {
		t.Errorf("the existing client has the group's message as %v", m)
	}
	info := &pb.IMGroupInfoListRsp{}
	a.old.ask(ctx, t, pdu.CmdGroupInfoReq, &pb.IMGroupInfoListReq{UserId: proto.Uint32(0),
		GroupVersionList: []*pb.GroupVersionInfo{{GroupId: proto.Uint32(a.groupAbroad), Version: proto.Uint32(0)}}}, info)
	if list := info.GetGroupInfoList(); len(list) != 1 || !strings.HasPrefix(list[0].GetGroupName(), "both") || len(list[0].GetGroupMemberList()) != 3 ||
		!slices.Contains(list[0].GetGroupMemberList(), 1) || !slices.Contains(list[0].GetGroupMemberList(), a.modernAs) ||
		slices.Contains(list[0].GetGroupMemberList(), uint32(colleague)) || slices.Contains(list[0].GetGroupMemberList(), 2) {
		t.Errorf("the existing client sees the group as %v", list)
	}
	a.old.say(ctx, t, Group(a.groupAbroad), "thanks")
	if m := a.modern.hears(ctx, t, "thanks"); m.Session != protocol.InGroup(a.group) || m.From != a.oldAs || m.HubSeq != 2 {
		t.Errorf("the SDK has %+v", m)
	}
}

// endure has both write while nothing passes. Nobody waits for the other office, and both have everything afterwards.
func (a *acquaintance) endure(ctx context.Context, t *testing.T) {
	access := a.company.offices[1].access
	end := access.Blackout(5 * time.Second)
	access.SetLoss(1) // and for as long as a busy machine takes for what follows
	a.old.say(ctx, t, Single(a.modernAs), "are you there?")
	a.old.say(ctx, t, Group(a.groupAbroad), "is anybody there?")
	direct := a.modern.say(ctx, t, protocol.WithUser(a.oldAs), "I can't hear you")
	a.modern.say(ctx, t, protocol.InGroup(a.group), "nobody")
	pending, err := a.modern.sdk.MessagesByID(ctx, protocol.WithUser(a.oldAs), direct)
	if err != nil || len(pending.Items) != 1 || pending.Items[0].State != client.StatePending {
		t.Errorf("in the outage the SDK has it as %+v, %v", pending.Items, err)
	}
	access.SetLoss(accessLoss)
	await(ctx, t, a.modern, "the delivery", func(e *client.MessageStateChanged) bool {
		return e.Session == protocol.WithUser(a.oldAs) && e.ID == direct && e.State == client.StateDelivered
	})
	a.modern.hears(ctx, t, "are you there?")
	a.modern.hears(ctx, t, "is anybody there?")
	t.Logf("all had arrived %s after the outage", time.Since(end).Round(time.Millisecond))
	both, alone := []string{"hello", "hello to you", "I can't hear you", "are you there?"}, []string{"welcome", "thanks", "nobody", "is anybody there?"}
	Eventually(t, "everything at the existing client", func() bool {
		return len(a.old.texts(ctx, t, Single(a.modernAs))) == len(both) && len(a.old.texts(ctx, t, Group(a.groupAbroad))) == len(alone)
	})
	for in, want := range map[Chat][]string{Single(a.modernAs): both, Group(a.groupAbroad): alone} {
		if got := a.old.texts(ctx, t, in); !sameSet(got, want) {
			t.Errorf("the existing client has %q, want %q", got, want)
		}
	}
	places := map[uint64]string{}
	for in, want := range map[protocol.Session][]string{protocol.WithUser(a.oldAs): both, protocol.InGroup(a.group): alone} {
		list, err := a.modern.sdk.History(ctx, in, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range list.Items {
			if m.Text != earlier {
				got = append(got, m.Text)
			}
			if in.Type == protocol.SessionGroup {
				places[m.HubSeq] = m.Text
			}
		}
		if !sameSet(got, want) {
			t.Errorf("the SDK has %q, want %q", got, want)
		}
	}
	if len(places) != len(alone)+1 || places[0] != earlier || places[1] != "welcome" { // before, the group had one office only
		t.Errorf("the group's order is %v", places)
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
