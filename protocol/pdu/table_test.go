package pdu_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func TestTableIsSortedAndFound(t *testing.T) {
	table := pdu.Table()
	if !slices.IsSortedFunc(table, func(a, b pdu.Info) int { return int(a.Command) - int(b.Command) }) {
		t.Error("not sorted: Lookup would miss rows")
	}
	for _, row := range table {
		found, ok := pdu.Lookup(row.Command)
		if !ok || found.Command != row.Command || found.Family != row.Family {
			t.Errorf("%v: found %v, %v", row.Command, found.Command, ok)
		}
		if row.Ignored != (row.New == nil) {
			t.Errorf("%v: a message and ignored, or neither", row.Command)
		}
		if row.Direction == 0 || row.Family == "" {
			t.Errorf("%v: incomplete row", row.Command)
		}
	}
}

// Commands without a row: unknown ones and those of legacy servers among themselves [TT-FRAME-6].
func TestLookupUnknown(t *testing.T) {
	for _, c := range []pdu.Command{0, 0x0100, 0x0110, 0x070c, 0x07ff, 0x7fff, 0xffff, pdu.CmdInnerValidateReq, pdu.CmdInnerFileAddressRes} {
		if row, ok := pdu.Lookup(c); ok {
			t.Errorf("%v has the row %+v", c, row)
		}
	}
	if row, ok := pdu.Lookup(pdu.CmdCallReport); !ok || !row.Ignored {
		t.Errorf("0x0735: %+v, %v; want it known and ignored", row, ok)
	}
	if _, err := pdu.Decode(pdu.PDU{Header: pdu.Header{Command: pdu.CmdCallReport}}, pdu.ClientToServer); !errors.Is(err, pdu.ErrNoMessage) {
		t.Errorf("decoding 0x0735: %v", err)
	}
}

// Only these are for connections not logged in [TT-LOGIN-1], 0x0101 and 0x0501 on ports of their own.
func TestBeforeLogin(t *testing.T) {
	var free []pdu.Command
	for _, row := range pdu.Table() {
		if !row.NeedsLogin {
			free = append(free, row.Command)
		}
		if want := row.Command == pdu.CmdAddressReq || row.Command == pdu.CmdAddressRes; want != (row.Port == pdu.PortLogin) {
			t.Errorf("%v on the %v port", row.Command, row.Port)
		}
	}
	want := []pdu.Command{pdu.CmdAddressReq, pdu.CmdLoginReq, pdu.CmdFileLoginReq, pdu.CmdHeartbeat, pdu.CmdHello, pdu.CmdQueue, pdu.CmdBye}
	if !slices.Equal(free, want) {
		t.Errorf("%v, want %v", free, want)
	}
}

// The table and the one in docs/PROTOCOL.md say the same.
func TestTableMatchesDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (0x[0-9a-f]{4}) \| (\S+) \| (\S+) \| ([^|]+) \| (\S+) \|`)
	var got, want []string
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	for _, r := range pdu.Table() {
		want = append(want, describe(r))
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("row %d\nin the document %q\nin the table    %q", i, at(got, i), at(want, i))
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

func describe(r pdu.Info) string {
	name, message := r.Command.String(), "none"
	if strings.HasPrefix(name, "0x") {
		name = "(none)"
	}
	if r.New != nil {
		message = string(r.New().ProtoReflect().Descriptor().Name())
	}
	if r.FromServer != nil {
		message = string(r.FromServer().ProtoReflect().Descriptor().Name()) + " (from a client " + message + ")"
	}
	if r.Ignored {
		message = "ignored"
	}
	number := "0x" + strings.Repeat("0", 4-len(strconv.FormatUint(uint64(r.Command), 16))) + strconv.FormatUint(uint64(r.Command), 16)
	return strings.Join([]string{number, name, r.Direction.String(), message, r.Port.String()}, " ")
}

// The Go constants are the numbers of the protocol's own enums.
func TestCommandNames(t *testing.T) {
	for _, c := range []struct {
		command pdu.Command
		name    string
		service uint16
	}{
		{pdu.CmdLoginReq, "CID_LOGIN_REQ_USERLOGIN", 1},
		{pdu.CmdSignNotify, "CID_BUDDY_LIST_SIGN_INFO_CHANGED_NOTIFY", 2},
		{pdu.CmdMsgData, "CID_MSG_DATA", 3},
		{pdu.CmdGroupChangeNotify, "CID_GROUP_CHANGE_MEMBER_NOTIFY", 4},
		{pdu.CmdDelOfflineFile, "CID_FILE_DEL_OFFLINE_REQ", 5},
		{pdu.CmdP2P, "CID_SWITCH_P2P_CMD", 6},
		{pdu.CmdHeartbeat, "CID_OTHER_HEARTBEAT", 7},
		{pdu.CmdInnerFileAddressRes, "CID_OTHER_FILE_SERVER_IP_RSP", 7},
		{pdu.CmdCallReport, "0x0735", 7},
		{pdu.CmdHello, "HELLO", 9},
		{pdu.CmdQueue, "QUEUE", 9},
		{pdu.CmdDeleted, "DELETED", 10},
		{pdu.CmdMark, "MARK", 10},
		{pdu.CmdState, "STATE", 10},
		{pdu.CmdSearchReq, "SEARCH_REQ", 10},
		{pdu.CmdSearchRsp, "SEARCH_RSP", 10},
		{pdu.CmdMediaReq, "MEDIA_REQ", 10},
		{pdu.CmdMediaRsp, "MEDIA_RSP", 10},
		{0x0910, "0x0910", 9},
		{0x0201 + 0x0100, "CID_MSG_DATA", 3},
	} {
		if c.command.String() != c.name || c.command.Service() != c.service {
			t.Errorf("0x%04x is %v of service %d, want %v of %d", uint16(c.command), c.command, c.command.Service(), c.name, c.service)
		}
	}
	for _, names := range []map[int32]string{
		pb.LoginCmdID_name, pb.BuddyListCmdID_name, pb.MessageCmdID_name, pb.GroupCmdID_name, pb.FileCmdID_name, pb.SwitchServiceCmdID_name,
	} {
		for id := range names {
			if _, ok := pdu.Lookup(pdu.Command(id)); !ok {
				t.Errorf("0x%04x has no row", id)
			}
		}
	}
}

// iOS asks for the removal of a session with the id of the answer [TT-BUDDY-3].
func TestRemoveSessionFromIOS(t *testing.T) {
	body, err := proto.Marshal(&pb.IMRemoveSessionReq{UserId: proto.Uint32(0), SessionType: pb.SessionType_SESSION_TYPE_GROUP.Enum(), SessionId: proto.Uint32(9)})
	if err != nil {
		t.Fatal(err)
	}
	m, err := pdu.Decode(pdu.PDU{Header: pdu.Header{Command: pdu.CmdRemoveSessionRes}, Body: body}, pdu.ClientToServer)
	if req, ok := m.(*pb.IMRemoveSessionReq); err != nil || !ok || req.GetSessionId() != 9 {
		t.Errorf("%v, %v", m, err)
	}
}

// A client type outside the enum makes a login unreadable [TT-FRAME-5] [TT-LOGIN-7]; where the field is optional it counts as not set.
func TestEnumsAreClosed(t *testing.T) {
	login := &pb.IMLoginReq{
		UserName: proto.String("user1"), Password: proto.String("e10adc3949ba59abbe56e057f20f883e"),
		OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: pb.ClientType_CLIENT_TYPE_WEB.Enum(),
	}
	decode := func(c pdu.Command, m proto.Message) (proto.Message, error) {
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return pdu.Decode(pdu.PDU{Header: pdu.Header{Command: c}, Body: body}, pdu.ClientToServer)
	}
	if m, err := decode(pdu.CmdLoginReq, login); err != nil {
		t.Errorf("client type 3: %v, %v", m, err)
	}
	for _, unknown := range []pb.ClientType{0, 5, 0x13, -1} {
		login.ClientType = &unknown
		if m, err := decode(pdu.CmdLoginReq, login); err == nil {
			t.Errorf("client type %d read as %v", unknown, m)
		}
		m, err := decode(pdu.CmdDeviceTokenReq, &pb.IMDeviceTokenReq{UserId: proto.Uint32(1), DeviceToken: proto.String("t"), ClientType: &unknown})
		if token, ok := m.(*pb.IMDeviceTokenReq); err != nil || !ok || token.ClientType != nil {
			t.Errorf("optional client type %d: %v, %v", unknown, m, err)
		}
	}
	list := &pb.IMUsersStatRsp{UserId: proto.Uint32(1), UserStatList: []*pb.UserStat{{UserId: proto.Uint32(2), Status: pb.UserStatType(9).Enum()}}}
	if m, err := decode(pdu.CmdUsersStatusRes, list); err == nil {
		t.Errorf("a status of 9 inside a list read as %v", m)
	}
}

// Lists of integers are read packed or not, and written unpacked [TT-FRAME-7].
func TestPackedLists(t *testing.T) {
	packed := []byte{0x08, 1, 0x12, 4, 1, 2, 0xac, 0x02}
	m, err := pdu.Decode(pdu.PDU{Header: pdu.Header{Command: pdu.CmdUsersStatusReq}, Body: packed}, pdu.ClientToServer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pdu.Append(nil, pdu.CmdUsersStatusReq, 0, m)
	if want := []byte{0x08, 1, 0x10, 1, 0x10, 2, 0x10, 0xac, 0x02}; err != nil || !slices.Equal(got[pdu.HeaderLen:], want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}

// The numbers of the extension fields, and the one kept free.
func TestExtensionFields(t *testing.T) {
	for _, c := range []struct {
		message proto.Message
		numbers []int32
	}{
		{&pb.IMMsgData{}, []int32{100, 101, 102, 103, 104, 105, 107}},
		{&pb.IMMsgDataAck{}, []int32{100, 101}},
		{&pb.MsgInfo{}, []int32{100, 101, 102, 103, 104, 105, 106, 107, 108}},
		{&pb.UserInfo{}, []int32{100, 101}},
		{&pb.GroupInfo{}, []int32{100, 101}},
	} {
		var got []int32
		fields := c.message.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if n := int32(fields.Get(i).Number()); n >= 100 {
				got = append(got, n)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.numbers) {
			t.Errorf("%T has the extension fields %v, want %v", c.message, got, c.numbers)
		}
	}
	if !new(pb.IMMsgData).ProtoReflect().Descriptor().ReservedRanges().Has(106) {
		t.Error("106 is not reserved in IMMsgData")
	}
}

// FuzzDecode gives arbitrary bytes to every message of the table: nothing panics, and what was decoded can be sent.
func FuzzDecode(f *testing.F) {
	for _, vectors := range readVectors(f) {
		for _, v := range vectors {
			if len(v.frame) > pdu.HeaderLen {
				f.Add(v.frame[pdu.HeaderLen:])
			}
		}
	}
	table := pdu.Table()
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, row := range table {
			for _, from := range []pdu.Direction{pdu.ClientToServer, pdu.ServerToClient} {
				m, err := pdu.Decode(pdu.PDU{Header: pdu.Header{Command: row.Command}, Body: body}, from)
				if err != nil {
					continue
				}
				if len(m.ProtoReflect().GetUnknown()) > 0 {
					t.Fatalf("%v keeps unknown fields", row.Command)
				}
				if _, err := pdu.Append(nil, row.Command, 1, m); err != nil {
					t.Fatalf("%v: decoded but not encoded: %v", row.Command, err)
				}
			}
		}
	})
}
