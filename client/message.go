package client

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
)

// Message is a message of a conversation: as an event, in a history, or as the latest of a list.
type Message struct {
	Session     protocol.Session
	ID          protocol.MsgID
	From        protocol.UserID
	Mine        bool // this user wrote it, on this device or another
	Time        time.Time
	Type        protocol.MsgType
	Text        string // of a text message that could be decrypted
	Raw         bool   // a text message that could not be: Data has it as it came
	Data        []byte // sound with its header of 4 bytes, or what Raw says
	ClientMsgID protocol.ClientMsgID
	FromAddress string // user@domain, of a remote author
	ContentType string
	ReplyTo     protocol.MsgID
	BurnAfter   time.Duration // from reading to deletion; 0: stays. It is left when the content has gone
	// Gone: there is neither Text nor Data any more. Histories say in Deleted how it went. An event does not know that yet: the
	// MessageDeleted that says so follows, and lists leave it open [TT-DEL-4].
	Gone    bool
	Deleted protocol.Deletion
	HubSeq  uint64       // place in a group of several offices, the same at all of them; 0: not known, or there is one office only. See Arrange
	State   MessageState // of one's own, in histories; a MessageStateChanged tells of changes
}

// codec turns messages of the wire into Messages and back.
type codec struct{ cipher *crypt.Cipher }

// open fills in what the data of a message says. No client can send a message without data, so that is one whose content has gone.
func (c codec) open(m *Message, data []byte) {
	if m.Gone = len(data) == 0 || m.Deleted != 0; m.Gone {
		return
	}
	if m.Type.IsAudio() {
		m.Data = data
		return
	}
	text, err := c.cipher.Decrypt(data)
	if err != nil {
		m.Raw, m.Data = true, data
		return
	}
	m.Text = text
}

// pushed is a message as 0x0301 brings it to user me.
func (c codec) pushed(d *pb.IMMsgData, me protocol.UserID) *Message {
	m := &Message{
		ID: protocol.MsgID(d.GetMsgId()), From: protocol.UserID(d.GetFromUserId()), Type: protocol.MsgType(d.GetMsgType()),
		Time: wireTime(d.GetCreateTime(), d.GetCreateTimeMs()), FromAddress: d.GetFromAddress(), ContentType: d.GetContentType(),
		ReplyTo: protocol.MsgID(d.GetReplyToMsgId()), BurnAfter: time.Duration(d.GetBurnAfterReadS()) * time.Second,
		ClientMsgID: clientMsgID(d.GetClientMsgId()), HubSeq: d.GetHubSeq(),
	}
	m.Mine = m.From == me
	switch {
	case m.Type.SessionType() == protocol.SessionGroup:
		m.Session = protocol.InGroup(protocol.GroupID(d.GetToSessionId()))
	case m.Mine:
		m.Session = protocol.WithUser(protocol.UserID(d.GetToSessionId()))
	default:
		m.Session = protocol.WithUser(m.From)
	}
	c.open(m, d.GetMsgData())
	return m
}

// listed is a message of a history.
func (c codec) listed(i *pb.MsgInfo, in protocol.Session, me protocol.UserID) *Message {
	m := &Message{
		Session: in, ID: protocol.MsgID(i.GetMsgId()), From: protocol.UserID(i.GetFromSessionId()), Type: protocol.MsgType(i.GetMsgType()),
		Time: wireTime(i.GetCreateTime(), i.GetCreateTimeMs()), FromAddress: i.GetFromAddress(), ContentType: i.GetContentType(),
		ReplyTo: protocol.MsgID(i.GetReplyToMsgId()), BurnAfter: time.Duration(i.GetBurnAfterReadS()) * time.Second,
		ClientMsgID: clientMsgID(i.GetClientMsgId()), Deleted: protocol.Deletion(min(i.GetState(), 255)),
		HubSeq: i.GetHubSeq(), State: MessageState(min(i.GetDelivery(), 255)),
	}
	m.Mine = m.From == me
	c.open(m, i.GetMsgData())
	return m
}

// latest is the message that a list shows for a conversation. Sound appears as a text in its place.
func (c codec) latest(in protocol.Session, id, from uint32, typ pb.MsgType, data []byte, me protocol.UserID) Message {
	m := Message{Session: in, ID: protocol.MsgID(id), From: protocol.UserID(from), Type: protocol.MsgType(typ)}
	m.Mine = m.From == me
	if m.Gone = len(data) == 0; m.Gone {
		return m
	}
	text, err := c.cipher.Decrypt(data)
	if err != nil {
		m.Raw, m.Data = true, data
	}
	m.Text = text
	return m
}

// wireTime prefers milliseconds.
func wireTime(s uint32, ms uint64) time.Time {
	if ms != 0 {
		return time.UnixMilli(int64(ms)).UTC()
	}
	return time.Unix(int64(s), 0).UTC()
}

func clientMsgID(b []byte) protocol.ClientMsgID {
	var id protocol.ClientMsgID
	if len(b) == len(id) {
		copy(id[:], b)
	}
	return id
}

// newClientMsgID is unique: 6 bytes of milliseconds, so that ids sort by time, then 10 random ones [TT-SESS-11].
func newClientMsgID(now time.Time) protocol.ClientMsgID {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	var id protocol.ClientMsgID
	copy(id[:6], ms[2:])
	_, _ = rand.Read(id[6:]) // never fails: it ends the program instead
	return id
}

// Content is what Send sends: Text, Voice or Data.
type Content interface{ isContent() }

// Text is a text message.
type Text string

// Voice is a voice message.
type Voice struct {
	Seconds uint32
	Sound   []byte // Speex in Ogg
}

// Rich is a text with what extended clients may say about it. Legacy servers and clients see the text alone.
type Rich struct {
	Text        string
	ContentType string         // MIME type of the text; empty: plain
	ReplyTo     protocol.MsgID // message of the same conversation that it answers; 0: none
	BurnAfter   time.Duration  // whole seconds from reading to deletion; 0: stays
}

func (Text) isContent()  {}
func (Voice) isContent() {}
func (Rich) isContent()  {}

// seal makes what is sent of c in a conversation; the error is an *Error.
func (c codec) seal(in protocol.Session, content Content) (Queued, error) {
	q := Queued{Session: in, Type: protocol.MsgSingleText}
	most := protocol.MaxTextData
	switch content := content.(type) {
	case Text:
		q.Data = c.cipher.Encrypt(string(content))
	case Rich:
		q.Data = c.cipher.Encrypt(content.Text)
		q.Extras = protocol.Extras{ContentType: content.ContentType, ReplyTo: content.ReplyTo, BurnAfter: uint32(content.BurnAfter / time.Second)}
	case Voice:
		q.Type, most = protocol.MsgSingleAudio, protocol.MaxAudioData
		q.Data = append(binary.BigEndian.AppendUint32(nil, content.Seconds), content.Sound...)
	default:
		return q, &Error{Code: protocol.CodeInvalid, Message: "nothing to send"}
	}
	if in.Type == protocol.SessionGroup {
		q.Type |= 0x10
	}
	if !in.Valid() {
		return q, &Error{Code: protocol.CodeInvalid, Message: "no such conversation"}
	}
	if len(q.Data) > most {
		return q, &Error{Code: protocol.CodeTooLarge, Message: "the message is too long"}
	}
	return q, nil
}

// wire is a queued message as 0x0301; a legacy server gets no extension fields.
func (q *Queued) wire(me protocol.UserID, legacy bool) *pb.IMMsgData {
	d := &pb.IMMsgData{
		FromUserId: proto.Uint32(uint32(me)), ToSessionId: proto.Uint32(q.Session.ID), MsgId: proto.Uint32(0), CreateTime: proto.Uint32(0),
		MsgType: pb.MsgType(q.Type).Enum(), MsgData: q.Data,
	}
	if legacy {
		return d
	}
	d.ClientMsgId = q.ID[:]
	if q.Extras.ContentType != "" {
		d.ContentType = proto.String(q.Extras.ContentType)
	}
	if q.Extras.ReplyTo != 0 {
		d.ReplyToMsgId = proto.Uint32(uint32(q.Extras.ReplyTo))
	}
	if q.Extras.BurnAfter != 0 {
		d.BurnAfterReadS = proto.Uint32(q.Extras.BurnAfter)
	}
	return d
}
