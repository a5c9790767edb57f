package terminal

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/internal/texttable"
	"teamtalk/protocol"
)

// Line is something that happened: for scripts as JSON, whose field names stay, and for people as String says it.
type Line interface{ fmt.Stringer }

// MessageLine is a message.
type MessageLine struct {
	Event        string          `json:"event"` // message
	Conversation string          `json:"conversation"`
	Name         string          `json:"conversation_name"`
	ID           protocol.MsgID  `json:"id"`
	From         protocol.UserID `json:"from"`
	FromName     string          `json:"from_name"`
	Mine         bool            `json:"mine"`
	Time         string          `json:"time"` // RFC 3339, UTC
	Type         string          `json:"type"` // text, voice, or unreadable: a text that could not be decrypted
	Text         string          `json:"text"`
	ClientMsgID  string          `json:"client_msg_id,omitempty"`
	ReplyTo      protocol.MsgID  `json:"reply_to,omitempty"`
	State        string          `json:"state,omitempty"`        // recalled, burned, or gone: not yet known how
	BurnAfter    int             `json:"burn_after_s,omitempty"` // seconds from reading to deletion
	HubSeq       uint64          `json:"hub_seq,omitempty"`      // place in a group of several offices
	Attachments  []FileLine      `json:"attachments,omitempty"`
	Delivery     string          `json:"delivery,omitempty"` // of one's own to other offices: pending, delayed, delivered or undeliverable

	shown string // the text with words for the attachments
}

// FileLine is a picture, file or voice that a message shows.
type FileLine struct {
	Kind    string `json:"kind"`           // picture, file or voice
	Path    string `json:"path,omitempty"` // for teamtalk get; empty: it is on another server
	Name    string `json:"name,omitempty"`
	Size    string `json:"size,omitempty"` // for people
	Seconds int    `json:"seconds,omitempty"`
}

func fileLines(list []client.Attachment) []FileLine {
	var lines []FileLine
	for _, a := range list {
		kind := map[client.AttachmentKind]string{client.Picture: "picture", client.FileLink: "file", client.VoiceLink: "voice"}[a.Kind]
		lines = append(lines, FileLine{Kind: kind, Path: a.Path, Name: a.Name, Size: a.Size, Seconds: int(a.Duration / time.Second)})
	}
	return lines
}

// String is the message on a line; further lines of its text are indented.
func (l MessageLine) String() string {
	at, err := time.Parse(time.RFC3339, l.Time)
	shown := l.shown
	switch {
	case l.State != "":
		shown = "(" + l.State + ")"
	case l.Type != "text":
		shown = "(" + l.Type + ")"
	}
	stamp := ""
	if err == nil {
		stamp = at.Local().Format("2006-01-02 15:04:05 ")
	}
	where := l.Name
	if strings.HasPrefix(l.Conversation, "group:") {
		where = "#" + where
	}
	said := fmt.Sprintf("%s%s %d %s: %s", stamp, texttable.Printable(where), l.ID, texttable.Printable(l.FromName), indented(shown))
	switch l.Delivery {
	case client.StateDelayed.String():
		said += "  [delayed]"
	case client.StateUndeliverable.String():
		said += "  [not delivered]"
	}
	return said
}

func indented(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for i := range lines {
		lines[i] = texttable.Printable(strings.TrimRight(lines[i], "\r"))
	}
	return strings.Join(lines, "\n    ")
}

// MarkLine is how far a conversation was received or read.
type MarkLine struct {
	Event        string          `json:"event"` // mark: by another user; read: by this one, perhaps elsewhere; removed: from this user's list
	Conversation string          `json:"conversation"`
	Name         string          `json:"conversation_name"`
	User         protocol.UserID `json:"user,omitempty"`
	UserName     string          `json:"user_name,omitempty"`
	Delivered    protocol.MsgID  `json:"delivered,omitempty"`
	Read         protocol.MsgID  `json:"read,omitempty"`
}

// String says it.
func (l MarkLine) String() string {
	who := l.UserName
	switch {
	case l.Event == "removed":
		return fmt.Sprintf("-- %s is removed from your list", texttable.Printable(l.Name))
	case l.Event == "read":
		who = "you"
	}
	said := fmt.Sprintf("-- %s: %s", texttable.Printable(l.Name), texttable.Printable(who))
	if l.Delivered > 0 {
		said += fmt.Sprintf(", received up to %d", l.Delivered)
	}
	if l.Read > 0 {
		said += fmt.Sprintf(", read up to %d", l.Read)
	}
	return said
}

// DeletedLine says that the content of a message is gone: whoever kept it should drop it.
type DeletedLine struct {
	Event        string          `json:"event"` // deleted
	Conversation string          `json:"conversation"`
	Name         string          `json:"conversation_name"`
	ID           protocol.MsgID  `json:"id"`
	State        string          `json:"state"`        // recalled or burned
	By           protocol.UserID `json:"by,omitempty"` // 0: its time had come
	ByName       string          `json:"by_name,omitempty"`
}

// String says it.
func (l DeletedLine) String() string {
	said := fmt.Sprintf("-- %s: message %d was %s", texttable.Printable(l.Name), l.ID, l.State)
	if l.By != 0 {
		said += " by " + texttable.Printable(l.ByName)
	}
	return said
}

// StateLine says what became of a message of this user's on its way to other offices.
type StateLine struct {
	Event        string         `json:"event"` // state
	Conversation string         `json:"conversation"`
	Name         string         `json:"conversation_name"`
	ID           protocol.MsgID `json:"id"`
	Delivery     string         `json:"delivery"` // sent, pending, delayed, delivered or undeliverable
	Reason       string         `json:"reason,omitempty"`
	HubSeq       uint64         `json:"hub_seq,omitempty"`
}

// String says it.
func (l StateLine) String() string {
	said := l.Delivery
	if l.Delivery == client.StateUndeliverable.String() {
		said = "not delivered"
	}
	said = fmt.Sprintf("-- %s: message %d is %s", texttable.Printable(l.Name), l.ID, said)
	if l.Reason != "" {
		said += ": " + texttable.Printable(l.Reason)
	}
	return said
}

// Quiet reports whether only scripts care: that all goes well needs no line.
func (l StateLine) Quiet() bool {
	return l.Delivery != client.StateDelayed.String() && l.Delivery != client.StateUndeliverable.String()
}

// GroupLine is a change of a group's members.
type GroupLine struct {
	Event        string            `json:"event"` // group
	Conversation string            `json:"conversation"`
	Name         string            `json:"conversation_name"`
	By           protocol.UserID   `json:"by"`     // 0: an operator
	Change       string            `json:"change"` // added or removed
	Users        []protocol.UserID `json:"users"`
	UserNames    []string          `json:"user_names"`
	Members      []protocol.UserID `json:"members"`
}

// String says it.
func (l GroupLine) String() string {
	return fmt.Sprintf("-- #%s: %s %s, %d members now", texttable.Printable(l.Name), l.Change, texttable.Printable(strings.Join(l.UserNames, ", ")), len(l.Members))
}

// PersonLine is something that a user did besides writing.
type PersonLine struct {
	Event    string          `json:"event"` // profile, presence, signal or file
	User     protocol.UserID `json:"user"`
	UserName string          `json:"user_name"`
	Sign     *string         `json:"sign,omitempty"`
	Avatar   *string         `json:"avatar,omitempty"`
	Online   *bool           `json:"online,omitempty"` // on a PC
	Data     string          `json:"data,omitempty"`   // of a signal; the name of a file
}

// String says it.
func (l PersonLine) String() string {
	who := texttable.Printable(l.UserName)
	switch {
	case l.Sign != nil:
		return fmt.Sprintf("-- %s signs: %s", who, texttable.Printable(*l.Sign))
	case l.Avatar != nil:
		return fmt.Sprintf("-- %s has a new picture", who)
	case l.Online != nil && *l.Online:
		return fmt.Sprintf("-- %s is on a PC", who)
	case l.Online != nil:
		return fmt.Sprintf("-- %s has left the PC", who)
	}
	return fmt.Sprintf("-- %s from %s: %s", l.Event, who, texttable.Printable(l.Data))
}

// GapLine says that events were missed that won't come: histories have to be fetched again.
type GapLine struct {
	Event string `json:"event"` // gap
	Why   string `json:"why"`
}

// String says it.
func (l GapLine) String() string {
	return fmt.Sprintf("-- events were missed (%s): see history and unread", texttable.Printable(l.Why))
}

// Message is a message as a line.
func (s *Session) Message(ctx context.Context, m *client.Message) MessageLine {
	l := MessageLine{Event: "message", Conversation: Key(m.Session), Name: s.Name(ctx, m.Session), ID: m.ID, From: m.From, Mine: m.Mine,
		Time: m.Time.UTC().Format(time.RFC3339), Type: "text", Text: m.Text, ReplyTo: m.ReplyTo, State: gone(m.Deleted),
		BurnAfter: int(m.BurnAfter / time.Second), HubSeq: m.HubSeq}
	files, _ := m.Attachments()
	l.Attachments, l.shown = fileLines(files), m.Shown()
	if m.State != client.StateSent {
		l.Delivery = m.State.String()
	}
	if l.FromName = m.FromAddress; l.FromName == "" {
		l.FromName = s.UserName(ctx, m.From)
	}
	switch {
	case m.Type.IsAudio():
		l.Type = "voice"
	case m.Raw:
		l.Type = "unreadable"
	}
	if !m.ClientMsgID.IsZero() {
		l.ClientMsgID = hex.EncodeToString(m.ClientMsgID[:])
	}
	if m.Gone && l.State == "" {
		l.State = "gone"
	}
	return l
}

// gone says how the content of a message went; empty: it is there, as far as is known.
func gone(d protocol.Deletion) string {
	switch d {
	case protocol.Recalled:
		return "recalled"
	case protocol.Burned:
		return "burned"
	}
	return ""
}

// Line is an event as a line; nil: one that is not shown, such as a change of the connection's state.
func (s *Session) Line(ctx context.Context, ev client.Event) Line {
	switch ev := ev.(type) {
	case *client.Message:
		return s.Message(ctx, ev)
	case *client.Mark:
		return MarkLine{Event: "mark", Conversation: Key(ev.Session), Name: s.Name(ctx, ev.Session), User: ev.User,
			UserName: s.UserName(ctx, ev.User), Delivered: ev.Delivered, Read: ev.Read}
	case *client.ReadMoved:
		return MarkLine{Event: "read", Conversation: Key(ev.Session), Name: s.Name(ctx, ev.Session), Read: ev.UpTo}
	case *client.MessageDeleted:
		l := DeletedLine{Event: "deleted", Conversation: Key(ev.Session), Name: s.Name(ctx, ev.Session), ID: ev.ID, State: gone(ev.Kind), By: ev.By}
		if ev.By != 0 {
			l.ByName = s.UserName(ctx, ev.By)
		}
		return l
	case *client.MessageStateChanged:
		return StateLine{Event: "state", Conversation: Key(ev.Session), Name: s.Name(ctx, ev.Session), ID: ev.ID, Delivery: ev.State.String(),
			Reason: ev.Reason, HubSeq: ev.HubSeq}
	case *client.SessionRemoved:
		return MarkLine{Event: "removed", Conversation: Key(ev.Session), Name: s.Name(ctx, ev.Session)}
	case *client.GroupChanged:
		return s.groupLine(ctx, ev)
	case *client.ProfileChanged:
		return PersonLine{Event: "profile", User: ev.User, UserName: s.UserName(ctx, ev.User), Sign: ev.Sign, Avatar: ev.Avatar}
	case *client.Presence:
		return PersonLine{Event: "presence", User: ev.User, UserName: s.UserName(ctx, ev.User), Online: &ev.Online}
	case *client.OwnPC:
		return PersonLine{Event: "presence", User: s.Me(), UserName: s.UserName(ctx, s.Me()), Online: &ev.Online}
	case *client.P2P:
		return PersonLine{Event: "signal", User: ev.From, UserName: s.UserName(ctx, ev.From), Data: ev.Data}
	case *client.FileOffered:
		return PersonLine{Event: "file", User: ev.From, UserName: s.UserName(ctx, ev.From), Data: ev.Name}
	case *client.Gap:
		return GapLine{Event: "gap", Why: ev.Why}
	}
	return nil
}

func (s *Session) groupLine(ctx context.Context, ev *client.GroupChanged) Line {
	in := protocol.InGroup(ev.Group)
	l := GroupLine{Event: "group", Conversation: Key(in), Name: s.Name(ctx, in), By: ev.By, Change: "added", Users: ev.Changed, Members: ev.Members}
	if ev.Change == protocol.MembersDel {
		l.Change = "removed"
	}
	for _, u := range ev.Changed {
		l.UserNames = append(l.UserNames, s.UserName(ctx, u))
	}
	return l
}

// FirstLine is what of an error fits on a line.
func FirstLine(err error) string {
	if err == nil {
		return "no reason given"
	}
	lines := strings.Split(err.Error(), "\n")
	return texttable.Printable(strings.TrimPrefix(strings.TrimSpace(lines[0]), "client: "))
}
