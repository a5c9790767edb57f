package client_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// linID is somebody of another office.
const linID protocol.UserID = protocol.MaxLocalID

func lin() *pb.UserInfo {
	u := user(linID, "lin@hangzhou.example")
	u.Address, u.Remote = proto.String("lin@hangzhou.example"), proto.Bool(true)
	return u
}

func stateOf(in protocol.Session, id protocol.MsgID, state uint32, reason string, hubSeq uint64) *chatpb.State {
	return &chatpb.State{SessionType: uint32(in.Type), SessionId: in.ID, MsgId: uint32(id), State: state, Reason: reason, HubSeq: hubSeq}
}

// stated waits for the event that tells what became of a message.
func (r *rig) stated(want client.MessageStateChanged) {
	r.t.Helper()
	if ev, ok := r.event().(*client.MessageStateChanged); !ok || *ev != want {
		r.t.Fatalf("got %+v, want %+v", ev, want)
	}
}

// What becomes of a message on its way to another office is told to the app, and by Outgoing, once: also across a break and a restart, and when a replay has
// the last state only [TT-FED-4] [TT-SESS-20].
func TestStates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Storage = &client.MemoryStorage{}
		r.server.noCursor = true
		r.open()
		o := r.send("hello")
		r.sent(o)
		r.message("hello")
		in := o.Session()
		change := func(state uint32, reason string, hubSeq uint64) {
			r.server.event(pdu.CmdState, stateOf(in, 1, state, reason, hubSeq))
		}
		change(1, "", 0)
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: client.StatePending})
		change(2, "far away", 0)
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: client.StateDelayed, Reason: "far away"})
		if d := o.State(); d.Phase != client.PhaseSent || d.State != client.StateDelayed || d.Reason != "far away" {
			t.Errorf("%+v", d)
		}
		r.net.setDown(true, dialTLS)
		r.server.cut(true)
		r.state(client.Offline)
		r.server.do(func() { // while it is away; of the former ones nothing is left
			r.server.log = r.server.log[:1]
			r.server.log = append(r.server.log, entry{cmd: pdu.CmdState, m: stateOf(in, 1, 3, "", 0)})
		})
		r.net.setDown(false, dialTLS)
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: client.StateDelivered})
		if d := o.State(); d.Phase != client.PhaseDelivered || d.State != client.StateDelivered || d.Reason != "" {
			t.Errorf("%+v", d)
		}
		change(2, "", 0)
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: client.StateDelayed})
		change(3, "", 0)
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: client.StateDelivered})
		r.server.cut(true)
		r.nothing() // of what the replay brings
		r.close()
		r.net.closed = false
		r.open()
		change(0, "", 4711)
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: client.StateSent, HubSeq: 4711})
		change(300, "", 0) // of a later version
		r.stated(client.MessageStateChanged{Session: in, ID: 1, State: 255})
		r.nothing()
	})
}

// Messages and histories say who wrote from where, the place in the group, and what became of one's own [TT-FED-2] [TT-FED-3] [TT-FED-4].
func TestFromAbroad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.server.event(pdu.CmdMsgData, &pb.IMMsgData{
			FromUserId: u32(uint32(linID)), ToSessionId: u32(1 << 30), MsgId: u32(1), CreateTime: u32(1), MsgType: pb.MsgType_MSG_TYPE_GROUP_TEXT.Enum(),
			MsgData: r.server.cipher.Encrypt("hi"), FromAddress: proto.String("lin@hangzhou.example"), HubSeq: proto.Uint64(4711),
		})
		if m := r.message("hi"); m.FromAddress != "lin@hangzhou.example" || m.HubSeq != 4711 || m.From != linID || m.Session != protocol.InGroup(1<<30) || m.Mine {
			t.Errorf("%+v", m)
		}
		r.server.do(func() {
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdMsgListReq {
					return false
				}
				info := func(id, from uint32) *pb.MsgInfo {
					return &pb.MsgInfo{MsgId: u32(id), FromSessionId: u32(from), CreateTime: u32(1), MsgType: pb.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte{}}
				}
				theirs, waits, failed := info(1, uint32(linID)), info(2, uint32(meID)), info(3, uint32(meID))
				theirs.HubSeq, theirs.FromAddress = proto.Uint64(9), proto.String("lin@hangzhou.example")
				waits.Delivery, failed.Delivery = u32(2), u32(4)
				c.push(pdu.CmdMsgListRes, p.Header.Seq, &pb.IMGetMsgListRsp{UserId: u32(7), SessionType: pb.SessionType_SESSION_TYPE_GROUP.Enum(),
					SessionId: u32(1 << 30), MsgIdBegin: u32(0), MsgList: []*pb.MsgInfo{failed, waits, theirs}})
				return true
			}
		})
		list, err := c.History(t.Context(), protocol.InGroup(1<<30), 0, 3)
		if err != nil || len(list.Items) != 3 {
			t.Fatalf("%v, %v", list, err)
		}
		client.Arrange(list.Items, (*client.Message).Place)
		var got []string
		for _, m := range list.Items {
			got = append(got, fmt.Sprintf("%d %d %v %s", m.ID, m.HubSeq, m.State, m.FromAddress))
		}
		if want := []string{"1 9 sent lin@hangzhou.example", "3 0 undeliverable ", "2 0 delayed "}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// [TT-FED-6]: people of other offices are found; servers that can't search say so, each in its way.
func TestSearch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		list, err := c.Search(t.Context(), "li", 5)
		if err != nil || len(list.Items) != 2 || list.Items[0].Remote || list.Items[1].ID != linID || !list.Items[1].Remote || list.Items[1].Address != "lin@hangzhou.example" {
			t.Errorf("%+v, %v", list, err)
		}
		var asked chatpb.SearchReq
		r.server.do(func() {
			if err := proto.Unmarshal(r.server.got[len(r.server.got)-1].Body, &asked); err != nil || asked.GetText() != "li" || asked.GetLimit() != 5 {
				t.Errorf("asked %v, %v", &asked, err)
			}
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdSearchReq {
					return false
				}
				c.push(pdu.CmdError, 0, &sessionpb.Error{Command: uint32(p.Header.Command), Seq: uint32(p.Header.Seq), Code: sessionpb.Code_INVALID, Message: "unknown command"})
				return true
			}
		})
		if _, err := c.Search(t.Context(), "li", 0); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Error(err)
		}
	})
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.TCP)
		r.cfg.Legacy = client.LegacyOnly
		_, err := r.open().Search(t.Context(), "li", 0)
		is(t, err, client.ErrLegacyServer)
	})
}

// post is a message or a note of a conversation.
type post struct {
	client.Place
	name int
}

func (p post) place() client.Place { return p.Place }

// The order does not depend on how the messages came; those with a place are in it; what has none is behind what came before it; without other offices it is
// that of the numbers [TT-FED-3].
func TestArrange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "n")
		places := rapid.Permutation(slices.Collect(func(yield func(uint64) bool) {
			for i := range n {
				if !yield(uint64(i + 1)) {
					return
				}
			}
		})).Draw(t, "places")
		var list []post
		for i := range n {
			p := post{name: i, Place: client.Place{ID: protocol.MsgID(i + 1)}}
			switch rapid.SampledFrom([]string{"placed", "placed", "loose", "waiting"}).Draw(t, "kind") {
			case "placed":
				p.HubSeq = places[i]
			case "waiting":
				p.Waiting = true
			}
			list = append(list, p)
			if rapid.IntRange(0, 4).Draw(t, "note") == 0 {
				list = append(list, post{name: 100 + i, Place: client.Place{ID: p.ID, Note: true}})
			}
		}
		sorted := slices.Clone(rapid.Permutation(list).Draw(t, "order"))
		sorted = append(sorted, post{name: 200}, post{name: 201})
		client.Arrange(sorted, post.place)
		other := slices.Clone(list)
		other = slices.Insert(other, rapid.IntRange(0, len(other)).Draw(t, "at"), post{name: 200}, post{name: 201})
		client.Arrange(other, post.place)
		if !slices.Equal(sorted, other) {
			t.Fatalf("%v or %v, as they come", sorted, other)
		}
		checkOrder(t, sorted)
	})
	for _, in := range []protocol.Session{protocol.WithUser(linID), protocol.InGroup(1 << 30)} { // in a single chat nothing waits for a place
		m := client.Message{Session: in, ID: 7, Mine: true, State: client.StateDelayed}
		if got := m.Place(); got != (client.Place{ID: 7, Waiting: in.Type == protocol.SessionGroup}) {
			t.Errorf("%v: %+v", in, got)
		}
	}
	all := []post{{client.Place{ID: 3}, 0}, {client.Place{ID: 1}, 0}, {client.Place{}, 0}, {client.Place{ID: 2}, 0}}
	client.Arrange(all, post.place)
	for i, id := range []protocol.MsgID{1, 2, 3, 0} {
		if all[i].ID != id {
			t.Errorf("at %d is %d", i, all[i].ID)
		}
	}
}

func checkOrder(t *rapid.T, sorted []post) {
	if k := len(sorted); sorted[k-2].name != 200 || sorted[k-1].name != 201 {
		t.Fatalf("what is not stored is not at the end: %v", sorted)
	}
	for i, p := range sorted {
		if p.Note && (i == 0 || sorted[i-1].ID != p.ID) {
			t.Fatalf("a note is not behind its message: %v", sorted)
		}
		for _, q := range sorted[i+1:] {
			switch {
			case p.Note || q.Note || q.ID == 0:
			case p.HubSeq > 0 && q.HubSeq > 0 && p.HubSeq > q.HubSeq:
				t.Fatalf("%v stands before %v", p, q)
			case p.Waiting && !q.Waiting:
				t.Fatalf("%v waits before %v", p, q)
			case p.Waiting == q.Waiting && p.HubSeq == 0 && q.ID < p.ID:
				t.Fatalf("%v came later than %v", p, q)
			}
		}
	}
}
