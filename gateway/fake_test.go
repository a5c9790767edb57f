package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"teamtalk/protocol"
)

const testPassword = "e10adc3949ba59abbe56e057f20f883e"

var errUnauthenticated = protocol.Errorf(protocol.CodeUnauthenticated, "用户名/密码错误")

// feed is a subscription that tests fill.
type feed[T any] struct {
	mu    sync.Mutex
	items []T
	wake  chan struct{}
}

func newFeed[T any]() *feed[T] { return &feed[T]{wake: make(chan struct{}, 1)} }

func (f *feed[T]) put(items ...T) {
	f.mu.Lock()
	f.items = append(f.items, items...)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed[T]) Next(ctx context.Context) ([]T, error) {
	for {
		f.mu.Lock()
		items := f.items
		f.items = nil
		f.mu.Unlock()
		if len(items) > 0 {
			return items, nil
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// world is everything around the gateway, in memory and without rules beyond what the tests need. User n is called usern.
type world struct {
	events  *feed[protocol.Event]
	signals *feed[protocol.Signal]

	mu       sync.Mutex // guards what follows
	online   map[protocol.ConnID]protocol.LiveSession
	stored   map[protocol.Conversation][]protocol.Message
	members  map[protocol.GroupID][]protocol.UserID
	readUpTo map[string]protocol.MsgID
	tokens   map[protocol.UserID]string
	shields  map[string]bool
	removed  map[string]bool
	files    []protocol.OfflineFile
	fail     error // of everything that fails with a result
	users    int   // how many AllUsers returns
	authWait chan struct{}

	mail
	offices
	ledger ledger
}

// mail is what a world does with messages; guarded by its mutex.
type mail struct {
	index     uint64
	begun     []protocol.SendMessage           // in order
	begin     func(protocol.SendMessage) error // called by Begin, without the lock
	result    func(protocol.SendMessage) error // the outcome of a message
	hold      bool                             // messages stay on their way until release
	queue     bool                             // they wait for a leader there
	held      []*pending
	forget    bool           // keep no messages
	forgotten protocol.MsgID // how many
}

func newWorld() *world {
	return &world{
		events: newFeed[protocol.Event](), signals: newFeed[protocol.Signal](),
		online: map[protocol.ConnID]protocol.LiveSession{}, stored: map[protocol.Conversation][]protocol.Message{},
		members: map[protocol.GroupID][]protocol.UserID{7: {1, 2, 3}}, readUpTo: map[string]protocol.MsgID{},
		tokens: map[protocol.UserID]string{}, shields: map[string]bool{}, removed: map[string]bool{}, users: 3,
	}
}

func (w *world) services() Services {
	return Services{Accounts: w, Devices: w, Buddies: w, Messages: w, Groups: w, Files: w, Sessions: sessionsOf{&w.ledger, w}}
}

func (w *world) publish(body protocol.EventBody) {
	w.index++
	e := protocol.Event{At: protocol.Position{Index: w.index}, Body: body}
	w.ledger.note(e)
	w.events.put(e)
}

func (w *world) failWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fail
}

func testUser(id protocol.UserID) protocol.User {
	return protocol.User{ID: id, Name: fmt.Sprintf("user%d", id), Nick: fmt.Sprintf("nick%d", id), Status: protocol.StatusActive}
}

func (w *world) Signal(s protocol.Signal) { w.signals.put(s) }

func (w *world) Join(s protocol.LiveSession, instead ...protocol.ConnID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.online[s.Conn] = s
	for _, c := range instead {
		delete(w.online, c)
	}
}

func (w *world) Leave(u protocol.UserID, c protocol.ConnID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.online[c].User == u {
		delete(w.online, c)
	}
}

func (w *world) PCOnline(u protocol.UserID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.online {
		if s.User == u && !s.Client.IsMobile() {
			return true
		}
	}
	return false
}

// A node alone needs none of these.
func (w *world) Touched(protocol.UserID, protocol.ConnID) {}
func (w *world) Shown(protocol.UserID) bool               { return false }
func (w *world) AwaitFormer(context.Context, protocol.UserID, protocol.DeviceID, protocol.ConnID) error {
	return nil
}

func (w *world) Authenticate(ctx context.Context, name, password string, _ netip.Addr) (protocol.User, error) {
	if name == "slow" {
		select {
		case <-w.authWait:
		case <-ctx.Done():
			return protocol.User{}, ctx.Err()
		}
		return testUser(99), nil
	}
	if err := w.failure(); err != nil {
		return protocol.User{}, err
	}
	var id protocol.UserID
	if _, err := fmt.Sscanf(name, "user%d", &id); err != nil || password != testPassword || strings.ContainsAny(name, "' ") {
		return protocol.User{}, errUnauthenticated
	}
	return testUser(id), nil
}

func (w *world) Register(_ context.Context, me protocol.UserID, _ protocol.ClientType, token string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[me] = token
	return w.fail
}

func (w *world) SetPushShield(_ context.Context, me protocol.UserID, on bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shields[fmt.Sprint(me)] = on
	return w.fail
}

func (w *world) PushShield(_ context.Context, me protocol.UserID) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shields[fmt.Sprint(me)], w.fail
}

func (w *world) RecentSessions(_ context.Context, me protocol.UserID, _ protocol.Time) (list []protocol.RecentSession, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, ms := range w.stored {
		last := ms[len(ms)-1]
		list = append(list, protocol.RecentSession{Session: c.Seen(me), Updated: last.Time, Latest: last})
	}
	return list, w.fail
}

func (w *world) RemoveSession(_ context.Context, cmd protocol.RemoveSession) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	key := fmt.Sprint(cmd.User, cmd.Session)
	if w.removed[key] {
		return protocol.Errorf(protocol.CodeNotFound, "no such session")
	}
	w.removed[key] = true
	w.publish(protocol.SessionRemoved(cmd))
	return nil
}

func (w *world) Users(_ context.Context, _ protocol.UserID, ids []protocol.UserID) (list []protocol.User, err error) {
	for _, id := range ids {
		switch {
		case id < 1000:
			list = append(list, testUser(id))
		case id >= protocol.MaxLocalID:
			list = append(list, w.remoteUser(id))
		}
	}
	return list, w.failure()
}

func (w *world) AllUsers(_ context.Context, _ protocol.UserID, since protocol.Time) (list []protocol.User, newest protocol.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since > 0 {
		return nil, since, w.fail
	}
	for id := range w.users {
		list = append(list, testUser(protocol.UserID(id+1)))
	}
	return list, 5000, w.fail
}

func (w *world) Departments(_ context.Context, _ protocol.UserID, since protocol.Time) ([]protocol.Department, protocol.Time, error) {
	if since > 0 {
		return nil, since, w.failure()
	}
	return []protocol.Department{{ID: 1, Name: "Engineering"}, {ID: 2, Name: "Sales", Parent: 1, Priority: 2, Deleted: true}}, 6000, w.failure()
}

func (w *world) ChangeSign(_ context.Context, me protocol.UserID, sign string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil {
		w.publish(protocol.SignChanged{User: me, Sign: sign})
	}
	return w.fail
}

func (w *world) ChangeAvatar(_ context.Context, me protocol.UserID, avatar string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil {
		w.publish(protocol.AvatarChanged{User: me, Avatar: avatar})
	}
	return w.fail
}

// pending is a message on its way; done is closed when it has landed.
type pending struct {
	w    *world
	cmd  protocol.SendMessage
	done chan struct{}
	res  protocol.SendResult
	err  error

	queued bool // waits for a leader: whoever stops waiting for it gives it up for good
}

func (p *pending) Wait(ctx context.Context) (any, error) {
	select {
	case <-p.done:
		return p.res, p.err
	case <-ctx.Done():
		if p.queued {
			return nil, protocol.Errorf(protocol.CodeUnavailable, "gave up waiting: %w", ctx.Err())
		}
		return nil, protocol.OutcomeUnknownf("gave up waiting: %w", ctx.Err())
	}
}

func (w *world) Begin(_ context.Context, cmd protocol.SendMessage) (protocol.Pending, error) {
	w.mu.Lock()
	hook := w.begin
	w.mu.Unlock()
	if hook != nil {
		if err := hook(cmd); err != nil {
			return nil, err
		}
	}
	if len(cmd.Data) == 0 || cmd.To == protocol.WithUser(cmd.From) {
		return nil, protocol.Errorf(protocol.CodeInvalid, "nothing, or to oneself")
	}
	if err := cmd.Extras.Check(cmd.To.Type); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.forget {
		w.begun = append(w.begun, cmd)
	}
	p := &pending{w: w, cmd: cmd, done: make(chan struct{}), queued: w.queue}
	if w.hold {
		w.held = append(w.held, p)
		return p, nil
	}
	p.landLocked()
	return p, nil
}

func (w *world) allBegun() []protocol.SendMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.begun)
}

// release lands the first n messages that are held; -1 all.
func (w *world) release(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n < 0 || n > len(w.held) {
		n = len(w.held)
	}
	for _, p := range w.held[:n] {
		p.landLocked()
	}
	w.held = w.held[n:]
}

func (p *pending) landLocked() {
	defer close(p.done)
	w := p.w
	if w.result != nil {
		if p.err = w.result(p.cmd); p.err != nil && !protocol.IsOutcomeUnknown(p.err) {
			return
		}
	}
	if p.cmd.To.Type == protocol.SessionGroup && !slices.Contains(w.members[p.cmd.To.Group()], p.cmd.From) {
		p.err = protocol.Errorf(protocol.CodeForbidden, "not a member")
		return
	}
	c := p.cmd.To.Conversation(p.cmd.From)
	for _, m := range w.stored[c] {
		if m.ClientMsgID == p.cmd.ClientMsgID && !m.ClientMsgID.IsZero() {
			if m.Deleted == 0 && (string(m.Data) != string(p.cmd.Data) || m.Extras != p.cmd.Extras) {
				p.err = protocol.Errorf(protocol.CodeInvalid, "another message has this id")
				return
			}
			p.res = protocol.SendResult{ID: m.ID, Time: m.Time, At: m.At, Repeated: true}
			return
		}
	}
	w.index++
	m := protocol.Message{Conversation: c, ID: protocol.MsgID(len(w.stored[c]) + 1), From: p.cmd.From, Time: 1_000_000, Type: p.cmd.Type,
		Data: p.cmd.Data, ClientMsgID: p.cmd.ClientMsgID, Extras: p.cmd.Extras, At: protocol.Position{Index: w.index}}
	if w.forget {
		w.forgotten++
		m.ID = w.forgotten
	} else {
		w.stored[c] = append(w.stored[c], m)
	}
	p.res = protocol.SendResult{ID: m.ID, Time: m.Time, At: m.At}
	sent := protocol.MessageSent{Message: m}
	if c.Type == protocol.SessionGroup {
		sent.Members = w.members[p.cmd.To.Group()]
	}
	e := protocol.Event{At: m.At, Body: sent}
	if !w.forget {
		w.ledger.note(e)
	}
	w.events.put(e)
}

func (w *world) MarkRead(_ context.Context, cmd protocol.MarkRead) (protocol.MarkReadResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return protocol.MarkReadResult{}, w.fail
	}
	last := protocol.MsgID(len(w.stored[cmd.Session.Conversation(cmd.User)]))
	to := cmd.UpTo
	if to == 0 || to > last {
		to = last
	}
	key := fmt.Sprint(cmd.User, cmd.Session)
	if to <= w.readUpTo[key] {
		return protocol.MarkReadResult{UpTo: w.readUpTo[key]}, nil
	}
	w.readUpTo[key] = to
	w.publish(protocol.ReadMoved{User: cmd.User, Session: cmd.Session, UpTo: to, Origin: cmd.Origin})
	return protocol.MarkReadResult{UpTo: to, Moved: true}, nil
}

func (w *world) History(_ context.Context, me protocol.UserID, with protocol.Session, begin protocol.MsgID, count uint32) (list []protocol.Message, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if with.Type == protocol.SessionGroup && !slices.Contains(w.members[with.Group()], me) {
		return nil, protocol.Errorf(protocol.CodeForbidden, "not a member")
	}
	for _, m := range slices.Backward(w.stored[with.Conversation(me)]) {
		if uint32(len(list)) < count && (begin == 0 || m.ID <= begin) {
			list = append(list, m)
		}
	}
	return list, w.fail
}

func (w *world) ByID(ctx context.Context, me protocol.UserID, with protocol.Session, ids []protocol.MsgID) ([]protocol.Message, error) {
	all, err := w.History(ctx, me, with, 0, 1_000_000)
	return slices.DeleteFunc(all, func(m protocol.Message) bool { return !slices.Contains(ids, m.ID) }), err
}

func (w *world) LatestID(ctx context.Context, me protocol.UserID, with protocol.Session) (protocol.MsgID, error) {
	all, err := w.History(ctx, me, with, 0, 1)
	if len(all) == 0 {
		return 0, err
	}
	return all[0].ID, err
}

func (w *world) Unread(_ context.Context, me protocol.UserID) (list []protocol.Unread, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, ms := range w.stored {
		s := c.Seen(me)
		if n := len(ms) - int(w.readUpTo[fmt.Sprint(me, s)]); n > 0 {
			list = append(list, protocol.Unread{Session: s, Count: uint32(n), Latest: ms[len(ms)-1]})
		}
	}
	return list, w.fail
}

func (w *world) Normal(context.Context, protocol.UserID) ([]protocol.Group, error) {
	if err := w.failure(); err != nil {
		return nil, err
	}
	return []protocol.Group{{ID: 7, Version: 3}}, nil
}

func (w *world) Info(_ context.Context, me protocol.UserID, want []protocol.GroupVersion) (list []protocol.GroupInfo, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range want {
		if members := w.members[v.ID]; slices.Contains(members, me) && v.Version < 3 {
			list = append(list, protocol.GroupInfo{Group: protocol.Group{ID: v.ID, Name: "seven", Creator: 1, Type: protocol.GroupNormal, Version: 3},
				Members: members, Shielded: w.shields[fmt.Sprint(me, v.ID)]})
		}
	}
	return list, w.fail
}

func (w *world) Create(_ context.Context, cmd protocol.CreateGroup) (protocol.CreateGroupResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil && (cmd.Name == "" || len(cmd.Members) == 0) {
		return protocol.CreateGroupResult{}, protocol.Errorf(protocol.CodeInvalid, "no name or no member")
	}
	w.members[8] = slices.Sorted(slices.Values(cmd.Members))
	return protocol.CreateGroupResult{Group: 8, Members: w.members[8]}, w.fail
}

func (w *world) ChangeMembers(_ context.Context, cmd protocol.ChangeMembers) (protocol.ChangeMembersResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.fail != nil:
		return protocol.ChangeMembersResult{}, w.fail
	case w.members[cmd.Group] == nil:
		return protocol.ChangeMembersResult{}, protocol.Errorf(protocol.CodeNotFound, "no such group")
	case cmd.Actor != 1:
		return protocol.ChangeMembersResult{}, protocol.Errorf(protocol.CodeForbidden, "not the creator")
	}
	now := slices.Clone(w.members[cmd.Group])
	if cmd.Change == protocol.MembersAdd {
		now = append(now, cmd.Members...)
	} else {
		now = slices.DeleteFunc(now, func(u protocol.UserID) bool { return slices.Contains(cmd.Members, u) })
	}
	w.members[cmd.Group] = now
	w.publish(protocol.MembersChanged{Actor: cmd.Actor, Group: cmd.Group, Change: cmd.Change, Current: now, Changed: cmd.Members, Origin: cmd.Origin})
	return protocol.ChangeMembersResult{Current: now, Changed: cmd.Members}, nil
}

func (w *world) Shield(_ context.Context, me protocol.UserID, g protocol.GroupID, on bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.members[g] == nil:
		return protocol.Errorf(protocol.CodeNotFound, "no such group")
	case !slices.Contains(w.members[g], me):
		return protocol.Errorf(protocol.CodeForbidden, "not a member")
	}
	w.shields[fmt.Sprint(me, g)] = on
	return w.fail
}

// Request offers a file; nobody is there to take it while it is sent but user 2.
func (w *world) Request(_ context.Context, me, to protocol.UserID, _ string, size uint32, online bool) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if size > 1000 {
		return "", false, protocol.Errorf(protocol.CodeTooLarge, "too large")
	}
	return fmt.Sprintf("task %d to %d", me, to), online && to == 2, w.fail
}

func (w *world) Offline(_ context.Context, me protocol.UserID) ([]protocol.OfflineFile, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.files), func(f protocol.OfflineFile) bool { return f.To != me }), w.fail
}

func (w *world) AddOffline(_ context.Context, me, to protocol.UserID, taskID, name string, size uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := protocol.OfflineFile{From: me, To: to, TaskID: taskID, Name: name, Size: size}
	w.files = append(w.files, f)
	w.publish(protocol.OfflineFileAdded{File: f})
	return w.fail
}

func (w *world) DeleteOffline(_ context.Context, me, from, to protocol.UserID, taskID string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if me != from && me != to {
		return protocol.Errorf(protocol.CodeForbidden, "not a party")
	}
	w.files = slices.DeleteFunc(w.files, func(f protocol.OfflineFile) bool { return f.From == from && f.To == to && f.TaskID == taskID })
	return nil
}
