package service

import (
	"context"
	"slices"
	"time"

	"teamtalk/protocol"
)

// MessageStore is what Messages needs of the store.
type MessageStore interface {
	Executor
	// Start hands a command to the log in the order of the calls, without waiting for the commit.
	Start(ctx context.Context, cmd protocol.Command) (protocol.Pending, error)
	History(me protocol.UserID, s protocol.Session, begin protocol.MsgID, count int) ([]protocol.Message, error)
	MessagesByID(me protocol.UserID, s protocol.Session, ids []protocol.MsgID) ([]protocol.Message, error)
	LatestMsgID(me protocol.UserID, s protocol.Session) (protocol.MsgID, error)
	Unread(me protocol.UserID) ([]protocol.Unread, error)
	IsMember(g protocol.GroupID, u protocol.UserID) (bool, error)
}

// MessageRules are what an operator decides about messages.
type MessageRules struct {
	// RecallWindow is for how long after sending it an author may recall a message (2 min; below 1 ms: never) [TT-DEL-1].
	RecallWindow time.Duration
}

const defaultRecallWindow = 2 * time.Minute

// Messages sends, reads, marks as read, recalls and burns.
type Messages struct {
	store MessageStore
	rules MessageRules
	media *references // nil: messages show no blobs
}

// NewMessages makes the message rules over a store.
func NewMessages(store MessageStore, rules MessageRules) *Messages {
	if rules.RecallWindow == 0 {
		rules.RecallWindow = defaultRecallWindow
	}
	return &Messages{store: store, rules: rules}
}

const (
	maxHistory  = 1000 // messages per request [TT-MSG-11]
	maxByID     = 100  // messages per request [TT-MSG-12]
	historyPage = 64   // messages read at a time, so that a request for much sound does not fill the memory
	// answerData is how many bytes of messages an answer may hold before no more are read: the largest PDU holds no more.
	answerData = 4 << 20
)

// Begin checks a message and starts it on its way; messages begun by one caller get their ids in that order [TT-MSG-4]
// [TT-DIFF-15]. Wait of what is returned gives a protocol.SendResult once the message is durable, and an error if it is
// not stored [TT-MSG-3] [TT-DIFF-13]. Refused are empty, too
// large and mistyped data, messages to oneself [TT-MSG-1] [TT-MSG-15] and extras that can't be; what depends on others is
// refused by Wait: so is a ClientMsgID that was used for another message [TT-SESS-11].
func (m *Messages) Begin(ctx context.Context, cmd protocol.SendMessage) (protocol.Pending, error) {
	if err := checkMessage(cmd); err != nil {
		return nil, err
	}
	cmd.Blobs = m.media.of(&cmd)
	p, err := m.store.Start(ctx, &cmd)
	return p, wrap("send message", err)
}

// Send is Begin and Wait.
func (m *Messages) Send(ctx context.Context, cmd protocol.SendMessage) (protocol.SendResult, error) {
	p, err := m.Begin(ctx, cmd)
	if err != nil {
		return protocol.SendResult{}, err
	}
	result, err := p.Wait(ctx)
	return resultOf[protocol.SendResult]("send message", result, err)
}

func checkMessage(cmd protocol.SendMessage) error {
	if err := signedIn(cmd.From); err != nil {
		return err
	}
	if !cmd.Type.Valid() || !cmd.To.Valid() || cmd.Type.SessionType() != cmd.To.Type {
		return protocol.Errorf(protocol.CodeInvalid, "a message of type %#x cannot go to a session of type %d, id %d",
			uint8(cmd.Type), cmd.To.Type, cmd.To.ID)
	}
	if cmd.To == protocol.WithUser(cmd.From) {
		return protocol.Errorf(protocol.CodeInvalid, "a message cannot go to oneself")
	}
	least, most := 1, protocol.MaxTextData
	if cmd.Type.IsAudio() {
		least, most = protocol.AudioHeader+1, protocol.MaxAudioData
	}
	switch {
	case len(cmd.Data) < least:
		return protocol.Errorf(protocol.CodeInvalid, "a message of %d bytes: at least %d", len(cmd.Data), least)
	case len(cmd.Data) > most:
		return protocol.Errorf(protocol.CodeTooLarge, "a message of %d bytes: at most %d", len(cmd.Data), most)
	}
	return cmd.Extras.Check(cmd.To.Type)
}

// MarkRead moves a read position forward [TT-MSG-8].
func (m *Messages) MarkRead(ctx context.Context, cmd protocol.MarkRead) (protocol.MarkReadResult, error) {
	if err := m.mayRead(cmd.User, cmd.Session); err != nil {
		return protocol.MarkReadResult{}, err
	}
	return execute[protocol.MarkReadResult](ctx, m.store, "mark read", &cmd)
}

// Delete recalls or burns a message for everybody in the conversation. That it is deleted already is no error. Refused are
// what one can't see (NotFound), what may not be recalled, or no more (Forbidden), and what was not sent to be burned
// (Invalid). How long an author may recall is decided here, not by cmd [TT-DEL-1] [TT-DEL-2] [TT-DEL-6] [TT-DEL-8].
func (m *Messages) Delete(ctx context.Context, cmd protocol.DeleteMessage) error {
	if err := signedIn(cmd.Actor); err != nil {
		return err
	}
	if !cmd.Session.Valid() {
		return protocol.Errorf(protocol.CodeInvalid, "no session of type %d, id %d", cmd.Session.Type, cmd.Session.ID)
	}
	if !cmd.Deletion.Valid() {
		return protocol.Errorf(protocol.CodeInvalid, "kind of deletion %d: 1 recall or 2 burn", cmd.Deletion)
	}
	cmd.Within = max(0, m.rules.RecallWindow.Milliseconds())
	return execute0(ctx, m.store, "delete message", &cmd)
}

// History is up to count messages (at most 1,000) from begin (0: the newest) downwards, newest first; as many as were
// asked for if there are as many [TT-MSG-11], but it ends with the message that makes it 4 MiB of data.
func (m *Messages) History(ctx context.Context, me protocol.UserID, s protocol.Session, begin protocol.MsgID, count uint32) ([]protocol.Message, error) {
	if err := m.mayRead(me, s); err != nil {
		return nil, err
	}
	var out []protocol.Message
	data, left := 0, int(min(count, maxHistory))
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return nil, protocol.Errorf(protocol.CodeUnavailable, "history: %w", err)
		}
		want := min(left, historyPage)
		page, err := m.store.History(me, s, begin, want)
		if err != nil {
			return nil, wrap("history", err)
		}
		out = append(out, withinAnswer(page, &data)...)
		if len(page) < want || data >= answerData || page[len(page)-1].ID <= 1 {
			return out, nil
		}
		left -= want
		begin = page[len(page)-1].ID - 1
	}
	return out, nil
}

// ByID is the messages listed that the user may see, newest first, at most the 100 newest [TT-MSG-12].
func (m *Messages) ByID(_ context.Context, me protocol.UserID, s protocol.Session, ids []protocol.MsgID) ([]protocol.Message, error) {
	if err := m.mayRead(me, s); err != nil {
		return nil, err
	}
	wanted, err := distinct(ids, maxIDs)
	if err != nil {
		return nil, err
	}
	wanted = wanted[max(0, len(wanted)-maxByID):]
	if len(wanted) == 0 {
		return nil, nil
	}
	found, err := m.store.MessagesByID(me, s, wanted)
	if err != nil {
		return nil, wrap("messages by id", err)
	}
	slices.SortFunc(found, func(a, b protocol.Message) int { return int(int64(b.ID) - int64(a.ID)) })
	data := 0
	return withinAnswer(found, &data), nil
}

// withinAnswer is the messages up to and with the one that brings data to the bound.
func withinAnswer(page []protocol.Message, data *int) []protocol.Message {
	for i := range page {
		*data += len(page[i].Data)
		if *data >= answerData {
			return page[:i+1]
		}
	}
	return page
}

// LatestID is the id of the session's newest message, 0 if there is none [TT-MSG-12].
func (m *Messages) LatestID(_ context.Context, me protocol.UserID, s protocol.Session) (protocol.MsgID, error) {
	if err := m.mayRead(me, s); err != nil {
		return 0, err
	}
	id, err := m.store.LatestMsgID(me, s)
	return id, wrap("latest message id", err)
}

// Unread is the sessions in which others wrote what the user has not read [TT-MSG-10].
func (m *Messages) Unread(_ context.Context, me protocol.UserID) ([]protocol.Unread, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	unread, err := m.store.Unread(me)
	return unread, wrap("unread", err)
}

// mayRead refuses sessions that make no sense and groups the user is not in [TT-MSG-11].
func (m *Messages) mayRead(me protocol.UserID, s protocol.Session) error {
	if err := signedIn(me); err != nil {
		return err
	}
	if !s.Valid() {
		return protocol.Errorf(protocol.CodeInvalid, "no session of type %d, id %d", s.Type, s.ID)
	}
	if s.Type != protocol.SessionGroup {
		return nil
	}
	in, err := m.store.IsMember(s.Group(), me)
	if err != nil {
		return wrap("read session", err)
	}
	if !in {
		return protocol.Errorf(protocol.CodeForbidden, "not a member of group %d", s.ID)
	}
	return nil
}
