package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore answers from maps and keeps the commands it was given.
type fakeStore struct {
	mu          sync.Mutex // guards what follows
	users       map[protocol.UserID]protocol.User
	hashes      map[protocol.UserID]string
	groups      map[protocol.GroupID]protocol.Group
	members     map[protocol.GroupID][]protocol.UserID
	shielded    map[protocol.GroupID]bool
	departments []protocol.Department
	messages    []protocol.Message // of the one conversation, ascending
	files       []protocol.OfflineFile
	newest      protocol.Time
	since       []protocol.Time // what UsersSince and DepartmentsSince were asked
	reads       int             // calls of History
	commands    []protocol.Command
	execute     func(protocol.Command) (any, error) // nil: a fitting empty result
	broken      error                               // what every read answers
}

func newFakeStore(users ...protocol.User) *fakeStore {
	s := &fakeStore{
		users: make(map[protocol.UserID]protocol.User), hashes: make(map[protocol.UserID]string),
		groups: make(map[protocol.GroupID]protocol.Group), members: make(map[protocol.GroupID][]protocol.UserID),
		shielded: make(map[protocol.GroupID]bool),
	}
	for _, u := range users {
		s.users[u.ID] = u
	}
	return s
}

func notFound() error { return protocol.Errorf(protocol.CodeNotFound, "not there") }

func (s *fakeStore) Execute(ctx context.Context, cmd protocol.Command) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.commands = append(s.commands, cmd)
	if s.execute != nil {
		return s.execute(cmd)
	}
	switch c := cmd.(type) {
	case *protocol.SendMessage:
		return protocol.SendResult{ID: protocol.MsgID(len(s.commands))}, nil
	case *protocol.MarkRead:
		return protocol.MarkReadResult{UpTo: c.UpTo, Moved: true}, nil
	case *protocol.CreateGroup:
		s.groups[9] = protocol.Group{ID: 9, Name: c.Name, Type: c.Type}
		return protocol.CreateGroupResult{Group: 9, Members: c.Members}, nil
	case *protocol.ChangeMembers:
		return protocol.ChangeMembersResult{Changed: c.Members}, nil
	case *protocol.PutDepartment:
		return protocol.PutDepartmentResult{ID: max(c.Department.ID, 77)}, nil
	case *protocol.AddUsers:
		return s.addLocked(c), nil
	case *protocol.SetPassword:
		if c.If != "" && s.hashes[c.User] != c.If {
			return nil, protocol.Errorf(protocol.CodeInvalid, "changed meanwhile")
		}
		s.hashes[c.User] = c.Hash
	}
	return nil, nil
}

func (s *fakeStore) addLocked(c *protocol.AddUsers) protocol.AddUsersResult {
	var r protocol.AddUsersResult
	for _, u := range c.Users {
		if u.User.ID == 0 {
			u.User.ID = protocol.UserID(len(s.users) + 1)
		}
		s.users[u.User.ID], s.hashes[u.User.ID] = u.User, u.PasswordHash
		r.IDs = append(r.IDs, u.User.ID)
	}
	return r
}

// started is a command whose result is there already.
type started struct {
	result any
	err    error
}

func (p started) Wait(context.Context) (any, error) { return p.result, p.err }

func (s *fakeStore) Start(ctx context.Context, cmd protocol.Command) (protocol.Pending, error) {
	result, err := s.Execute(ctx, cmd)
	return started{result, err}, nil
}

func (s *fakeStore) UserByID(id protocol.UserID) (protocol.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[id]
	if !ok && s.broken == nil {
		return u, notFound()
	}
	return u, s.broken
}

func (s *fakeStore) Login(name string) (protocol.User, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		if u.Name == name && s.broken == nil {
			return u, s.hashes[u.ID], nil
		}
	}
	if s.broken != nil {
		return protocol.User{}, "", s.broken
	}
	return protocol.User{}, "", notFound()
}

func (s *fakeStore) Users(ids []protocol.UserID) ([]protocol.User, error) {
	var found []protocol.User
	for _, id := range ids {
		if u, ok := s.users[id]; ok {
			found = append(found, u)
		}
	}
	return found, s.broken
}

func (s *fakeStore) ListUsers(after protocol.UserID, limit int) ([]protocol.User, error) {
	var found []protocol.User
	for _, u := range s.users {
		if u.ID > after {
			found = append(found, u)
		}
	}
	slices.SortFunc(found, func(a, b protocol.User) int { return int(a.ID) - int(b.ID) })
	return found[:min(limit, len(found))], s.broken
}

func (s *fakeStore) UserCount() (int, error) { return len(s.users), s.broken }

func (s *fakeStore) UsersSince(t protocol.Time) ([]protocol.User, protocol.Time, error) {
	s.since = append(s.since, t)
	var found []protocol.User
	for _, u := range s.users {
		if u.Updated >= t {
			found = append(found, u)
		}
	}
	return found, s.newest, s.broken
}

func (s *fakeStore) DepartmentsSince(t protocol.Time) ([]protocol.Department, protocol.Time, error) {
	s.since = append(s.since, t)
	var found []protocol.Department
	for _, d := range s.departments {
		if t == 0 || d.Updated > t {
			found = append(found, d)
		}
	}
	return found, s.newest, s.broken
}

func (s *fakeStore) RecentSessions(_ protocol.UserID, _ protocol.Time, limit int) ([]protocol.RecentSession, error) {
	return make([]protocol.RecentSession, limit), s.broken
}

func (s *fakeStore) History(_ protocol.UserID, _ protocol.Session, begin protocol.MsgID, count int) ([]protocol.Message, error) {
	s.reads++
	var found []protocol.Message
	for _, m := range slices.Backward(s.messages) {
		if len(found) < count && (begin == 0 || m.ID <= begin) {
			found = append(found, m)
		}
	}
	return found, s.broken
}

func (s *fakeStore) MessagesByID(_ protocol.UserID, _ protocol.Session, ids []protocol.MsgID) ([]protocol.Message, error) {
	var found []protocol.Message
	for _, m := range s.messages {
		if slices.Contains(ids, m.ID) {
			found = append(found, m)
		}
	}
	return found, s.broken
}

func (s *fakeStore) LatestMsgID(protocol.UserID, protocol.Session) (protocol.MsgID, error) {
	return protocol.MsgID(len(s.messages)), s.broken
}

func (s *fakeStore) Unread(protocol.UserID) ([]protocol.Unread, error) {
	return []protocol.Unread{{Count: 1}}, s.broken
}

func (s *fakeStore) GroupByID(id protocol.GroupID) (protocol.Group, error) {
	g, ok := s.groups[id]
	if !ok && s.broken == nil {
		return g, notFound()
	}
	return g, s.broken
}

func (s *fakeStore) ListGroups(after protocol.GroupID, limit int) ([]protocol.Group, error) {
	var found []protocol.Group
	for _, g := range s.groups {
		if g.ID > after && len(found) < limit {
			found = append(found, g)
		}
	}
	return found, s.broken
}

func (s *fakeStore) Members(g protocol.GroupID) ([]protocol.UserID, error) {
	return s.members[g], s.broken
}

func (s *fakeStore) IsMember(g protocol.GroupID, u protocol.UserID) (bool, error) {
	if _, ok := s.groups[g]; !ok && s.broken == nil {
		return false, notFound()
	}
	return slices.Contains(s.members[g], u), s.broken
}

func (s *fakeStore) GroupsOf(u protocol.UserID) ([]protocol.Group, error) {
	var found []protocol.Group
	for id, members := range s.members {
		if slices.Contains(members, u) {
			found = append(found, s.groups[id])
		}
	}
	slices.SortFunc(found, func(a, b protocol.Group) int { return int(a.ID) - int(b.ID) })
	return found, s.broken
}

func (s *fakeStore) Shielded(g protocol.GroupID, _ protocol.UserID) (bool, error) {
	return s.shielded[g], s.broken
}

// MaySendFile lets nothing go to where nothing can come from.
func (s *fakeStore) MaySendFile(_, to protocol.UserID) error {
	if to == deaf {
		return protocol.Errorf(protocol.CodeForbidden, "that office takes no files")
	}
	return nil
}

func (s *fakeStore) OfflineFiles(to protocol.UserID) ([]protocol.OfflineFile, error) {
	var found []protocol.OfflineFile
	for _, f := range s.files {
		if f.To == to {
			found = append(found, f)
		}
	}
	return found, s.broken
}

func (s *fakeStore) PushShield(u protocol.UserID) (bool, error) {
	return s.users[u].PushShield, s.broken
}

// last is the newest command, nil if none came.
func (s *fakeStore) last() protocol.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.commands) == 0 {
		return nil
	}
	return s.commands[len(s.commands)-1]
}

func newVerifier(t testing.TB, c password.Config) *password.Verifier {
	t.Helper()
	c.Params = password.Params{MemoryKiB: 64, Passes: 1, Lanes: 1}
	v, err := password.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t testing.TB, what string, err error, want protocol.Code) {
	t.Helper()
	if got := protocol.CodeOf(err); got != want {
		t.Errorf("%s: %v (%v), want %v", what, err, got, want)
	}
}

// [TT-DIFF-1]
func TestNobodyActsAsOperator(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1, Name: "a"}, protocol.User{ID: 2, Name: "b"})
	s.groups[1], s.members[1] = protocol.Group{ID: 1, Type: protocol.GroupTemp}, []protocol.UserID{0, 1}
	ctx := t.Context()
	with := protocol.WithUser(1)
	m, b, g, f, d := NewMessages(s, MessageRules{}), NewBuddies(s, nil), NewGroups(s), NewFiles(s, nil), NewDevices(s)
	for what, call := range map[string]func() error{
		"send": func() error {
			_, err := m.Send(ctx, protocol.SendMessage{To: with, Type: 1, Data: []byte("x")})
			return err
		},
		"read":    func() error { _, err := m.MarkRead(ctx, protocol.MarkRead{Session: with}); return err },
		"history": func() error { _, err := m.History(ctx, 0, with, 0, 1); return err },
		"by id":   func() error { _, err := m.ByID(ctx, 0, with, []protocol.MsgID{1}); return err },
		"latest":  func() error { _, err := m.LatestID(ctx, 0, with); return err },
		"unread":  func() error { _, err := m.Unread(ctx, 0); return err },
		"delete": func() error {
			return m.Delete(ctx, protocol.DeleteMessage{Session: with, ID: 1, Deletion: protocol.Recalled})
		},
		"recent": func() error { _, err := b.RecentSessions(ctx, 0, 0); return err },
		"remove": func() error { return b.RemoveSession(ctx, protocol.RemoveSession{Session: with}) },
		"users":  func() error { _, err := b.Users(ctx, 0, []protocol.UserID{1}); return err },
		"all":    func() error { _, _, err := b.AllUsers(ctx, 0, 0); return err },
		"depts":  func() error { _, _, err := b.Departments(ctx, 0, 0); return err },
		"sign":   func() error { return b.ChangeSign(ctx, 0, "x") },
		"avatar": func() error { return b.ChangeAvatar(ctx, 0, "x") },
		"normal": func() error { _, err := g.Normal(ctx, 0); return err },
		"info":   func() error { _, err := g.Info(ctx, 0, []protocol.GroupVersion{{ID: 1}}); return err },
		"create": func() error {
			_, err := g.Create(ctx, protocol.CreateGroup{Type: 2, Name: "x", Members: []protocol.UserID{1}})
			return err
		},
		"change": func() error {
			_, err := g.ChangeMembers(ctx, protocol.ChangeMembers{Group: 1, Change: 1, Members: []protocol.UserID{2}})
			return err
		},
		"shield":      func() error { return g.Shield(ctx, 0, 1, true) },
		"request":     func() error { _, _, err := f.Request(ctx, 0, 1, "f", 1, false); return err },
		"offline":     func() error { _, err := f.Offline(ctx, 0); return err },
		"add file":    func() error { return f.AddOffline(ctx, 0, 1, "t", "f", 1) },
		"delete file": func() error { return f.DeleteOffline(ctx, 0, 0, 1, "t") },
		"register":    func() error { return d.Register(ctx, 0, protocol.ClientIOS, "t") },
		"set shield":  func() error { return d.SetPushShield(ctx, 0, true) },
		"get shield":  func() error { _, err := d.PushShield(ctx, 0); return err },
	} {
		wantCode(t, what, call(), protocol.CodeUnauthenticated)
	}
	if s.last() != nil {
		t.Errorf("%#v was executed", s.last())
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1, Name: "a"})
	for _, tt := range []struct {
		name    string
		err     error
		code    protocol.Code
		unknown bool
	}{
		{"refused", protocol.Errorf(protocol.CodeForbidden, "no"), protocol.CodeForbidden, false},
		{"no leader", protocol.Errorf(protocol.CodeUnavailable, "no leader"), protocol.CodeUnavailable, false},
		{"lost leader", protocol.OutcomeUnknownf("lost"), protocol.CodeUnavailable, true},
		{"gave up", context.DeadlineExceeded, protocol.CodeUnavailable, true},
		{"bug", errors.New("bug"), protocol.CodeInternal, false},
	} {
		s.execute = func(protocol.Command) (any, error) { return nil, tt.err }
		_, err := NewMessages(s, MessageRules{}).Send(t.Context(), protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: 1, Data: []byte("x")})
		wantCode(t, tt.name, err, tt.code)
		if !errors.Is(err, tt.err) || protocol.IsOutcomeUnknown(err) != tt.unknown {
			t.Errorf("%s: %v, outcome unknown %v", tt.name, err, protocol.IsOutcomeUnknown(err))
		}
	}
	s.execute = func(protocol.Command) (any, error) { return "?", nil }
	_, err := NewMessages(s, MessageRules{}).Send(t.Context(), protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: 1, Data: []byte("x")})
	wantCode(t, "another result", err, protocol.CodeInternal)
}
