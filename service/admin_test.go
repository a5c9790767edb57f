package service

import (
	"fmt"
	"strings"
	"testing"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

func newAdmin(t testing.TB, s *fakeStore) *Admin {
	t.Helper()
	return NewAdmin(s, s, newVerifier(t, password.Config{}))
}

func ptr[T any](v T) *T { return &v }

func TestAddUser(t *testing.T) {
	s := newFakeStore()
	s.departments = []protocol.Department{{ID: 3, Name: "Sales"}, {ID: 4, Name: "gone", Deleted: true}}
	a := newAdmin(t, s)
	ctx := t.Context()
	u, err := a.AddUser(ctx, protocol.User{Name: "alice", Nick: "Alice", Department: 3}, "123456")
	if err != nil || u.ID != 1 || u.Nick != "Alice" {
		t.Fatalf("%+v, %v", u, err)
	}
	if ok, err := a.verifier.Check(ctx, s.hashes[1], secret123456); !ok || err != nil {
		t.Errorf("stored %q: %v, %v", s.hashes[1], ok, err)
	}
	if u, err = a.AddUser(ctx, protocol.User{Name: "bob"}, ""); err != nil || s.hashes[u.ID] != "" {
		t.Errorf("without a password: %+v, %q, %v", u, s.hashes[u.ID], err)
	}
	for _, tt := range []struct {
		name string
		user protocol.User
		want protocol.Code
	}{
		{"no name", protocol.User{}, protocol.CodeInvalid},
		{"blank at the end", protocol.User{Name: "carl "}, protocol.CodeInvalid},
		{"control character", protocol.User{Name: "ca\trl"}, protocol.CodeInvalid},
		{"no UTF-8", protocol.User{Name: "carl", Nick: "\xff"}, protocol.CodeInvalid},
		{"long name", protocol.User{Name: strings.Repeat("x", 65)}, protocol.CodeTooLarge},
		{"long nick", protocol.User{Name: "carl", Nick: strings.Repeat("x", 129)}, protocol.CodeTooLarge},
		{"long sign", protocol.User{Name: "carl", Sign: strings.Repeat("x", 129)}, protocol.CodeTooLarge},
		{"gender", protocol.User{Name: "carl", Gender: 3}, protocol.CodeInvalid},
		{"status", protocol.User{Name: "carl", Status: 5}, protocol.CodeInvalid},
		{"id of another cluster", protocol.User{Name: "carl", ID: protocol.MaxLocalID}, protocol.CodeInvalid},
		{"unknown department", protocol.User{Name: "carl", Department: 9}, protocol.CodeNotFound},
		{"deleted department", protocol.User{Name: "carl", Department: 4}, protocol.CodeNotFound},
	} {
		_, err := a.AddUser(ctx, tt.user, "x")
		wantCode(t, tt.name, err, tt.want)
	}
	if len(s.users) != 2 {
		t.Errorf("%d users", len(s.users))
	}
}

func TestAddDemoUsers(t *testing.T) {
	s := newFakeStore()
	a := newAdmin(t, s)
	users := make([]protocol.User, usersPerCommand+1)
	for i := range users {
		users[i] = protocol.User{Name: fmt.Sprint("user", i+1)}
	}
	if err := a.AddDemoUsers(t.Context(), users, "12345"); err != nil {
		t.Fatal(err)
	}
	if n, err := a.UserCount(t.Context()); n != len(users) || err != nil || len(s.commands) != 2 {
		t.Errorf("%d users by %d commands, %v", n, len(s.commands), err)
	}
	if s.hashes[1] == "" || s.hashes[1] != s.hashes[protocol.UserID(len(users))] {
		t.Error("they share no hash")
	}
	wantCode(t, "bad name", a.AddDemoUsers(t.Context(), []protocol.User{{Name: ""}}, "x"), protocol.CodeInvalid)
	if listed, err := a.ListUsers(t.Context(), 10, 5); err != nil || len(listed) != 5 || listed[0].ID != 11 {
		t.Errorf("%v, %v", listed, err)
	}
}

func TestEditUser(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1, Name: "alice", Nick: "Alice"})
	a := newAdmin(t, s)
	ctx := t.Context()
	cmd := protocol.EditUser{User: 1, Status: ptr(protocol.StatusLeft)}
	if _, err := a.EditUser(ctx, cmd); err != nil {
		t.Error(err)
	}
	if c, ok := s.last().(*protocol.EditUser); !ok || *c != cmd {
		t.Errorf("%#v", s.last())
	}
	_, err := a.EditUser(ctx, protocol.EditUser{User: 2, Nick: ptr("x")})
	wantCode(t, "unknown user", err, protocol.CodeNotFound)
	if u, err := a.UserNamed(ctx, "alice"); u.ID != 1 || err != nil {
		t.Errorf("%+v, %v", u, err)
	}
	_, err = a.UserNamed(ctx, "bob")
	wantCode(t, "by an unknown name", err, protocol.CodeNotFound)
}

func TestSetPassword(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1, Name: "alice"})
	a := newAdmin(t, s)
	if err := a.SetPassword(t.Context(), 1, "123456"); err != nil {
		t.Fatal(err)
	}
	c, ok := s.last().(*protocol.SetPassword)
	if !ok || c.If != "" || c.Hash == "" {
		t.Fatalf("%#v", s.last())
	}
	if ok, err := a.verifier.Check(t.Context(), c.Hash, secret123456); !ok || err != nil {
		t.Error(ok, err)
	}
	if err := a.SetPassword(t.Context(), 1, ""); err != nil || s.hashes[1] != "" {
		t.Errorf("%q, %v", s.hashes[1], err)
	}
	wantCode(t, "unknown", a.SetPassword(t.Context(), 2, "x"), protocol.CodeNotFound)
}

func TestPutDepartment(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    protocol.Department
		want protocol.Code
		id   protocol.DeptID
	}{
		{"new", protocol.Department{Name: "Sales", Parent: 2}, 0, 77},
		{"with the name of a deleted one", protocol.Department{Name: "Old"}, 0, 77},
		{"moved", protocol.Department{ID: 2, Name: "Servers", Parent: 3}, 0, 77},
		{"deleted, with children", protocol.Department{ID: 1, Name: "Engineering", Deleted: true}, 0, 77},
		{"deleted one again", protocol.Department{ID: 4, Name: "Engineering", Deleted: true}, 0, 77},
		{"no name", protocol.Department{}, protocol.CodeInvalid, 0},
		{"long name", protocol.Department{Name: strings.Repeat("x", 129)}, protocol.CodeTooLarge, 0},
		{"name taken", protocol.Department{Name: "Servers"}, protocol.CodeInvalid, 0},
		{"undeleted, name taken", protocol.Department{ID: 4, Name: "Servers"}, protocol.CodeInvalid, 0},
		{"unknown", protocol.Department{ID: 9, Name: "x"}, protocol.CodeNotFound, 0},
		{"unknown parent", protocol.Department{Name: "x", Parent: 9}, protocol.CodeNotFound, 0},
		{"deleted parent", protocol.Department{Name: "x", Parent: 4}, protocol.CodeNotFound, 0},
		{"inside itself", protocol.Department{ID: 1, Name: "x", Parent: 1}, protocol.CodeInvalid, 0},
		{"inside its child", protocol.Department{ID: 1, Name: "x", Parent: 2}, protocol.CodeInvalid, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newFakeStore()
			s.departments = []protocol.Department{
				{ID: 1, Name: "Engineering"}, {ID: 2, Name: "Servers", Parent: 1}, {ID: 3, Name: "Office"}, {ID: 4, Name: "Old", Deleted: true},
			}
			d, err := newAdmin(t, s).PutDepartment(t.Context(), tt.d)
			wantCode(t, "put", err, tt.want)
			if d.ID != tt.id || (s.last() != nil) != (tt.want == 0) {
				t.Errorf("%+v, executed %#v", d, s.last())
			}
			if all, err := newAdmin(t, s).ListDepartments(t.Context()); len(all) != 4 || err != nil {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
	circle := []protocol.Department{{ID: 1, Name: "a", Parent: 2}, {ID: 2, Name: "b", Parent: 1}}
	wantCode(t, "circle", checkPlace(protocol.Department{Name: "x", Parent: 1}, circle), protocol.CodeInvalid)
}

// [TT-GROUP-6]
func TestAdminGroups(t *testing.T) {
	s := groupStore()
	a := newAdmin(t, s)
	ctx := t.Context()
	g, err := a.CreateGroup(ctx, protocol.CreateGroup{Actor: 5, Name: "all", Members: []protocol.UserID{1}})
	if err != nil || g.Name != "all" || g.Type != protocol.GroupNormal {
		t.Errorf("%+v, %v", g, err)
	}
	if c, ok := s.last().(*protocol.CreateGroup); !ok || c.Actor != 0 {
		t.Errorf("%#v", s.last())
	}
	_, err = a.CreateGroup(ctx, protocol.CreateGroup{Type: 3, Name: "all"})
	wantCode(t, "type", err, protocol.CodeInvalid)
	_, err = a.CreateGroup(ctx, protocol.CreateGroup{})
	wantCode(t, "no name", err, protocol.CodeInvalid)
	_, err = a.ChangeMembers(ctx, protocol.ChangeMembers{Actor: 5, Group: 1, Change: protocol.MembersAdd, Members: []protocol.UserID{3, 3}})
	if c, ok := s.last().(*protocol.ChangeMembers); !ok || err != nil || c.Actor != 0 || len(c.Members) != 1 {
		t.Errorf("%#v, %v", s.last(), err)
	}
	_, err = a.ChangeMembers(ctx, protocol.ChangeMembers{Group: 1, Change: protocol.MembersAdd})
	wantCode(t, "nobody", err, protocol.CodeInvalid)
	_, err = a.EditGroup(ctx, protocol.EditGroup{Group: 99, Close: true})
	wantCode(t, "unknown", err, protocol.CodeNotFound)
	if g, err := a.EditGroup(ctx, protocol.EditGroup{Group: 1, Name: ptr("new")}); err != nil || g.ID != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	if g, err := a.EditGroup(ctx, protocol.EditGroup{Group: 1, Close: true}); err != nil || !g.Closed {
		t.Errorf("%+v, %v", g, err)
	}
	if all, err := a.ListGroups(ctx, 0, 3); len(all) != 3 || err != nil {
		t.Errorf("%+v, %v", all, err)
	}
	if members, err := a.Members(ctx, 2); len(members) != 3 || err != nil {
		t.Errorf("%+v, %v", members, err)
	}
}
