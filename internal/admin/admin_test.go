package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"teamtalk/protocol"
)

const testToken = "0123456789abcdef0123456789abcdef"

// people is a directory in memory.
type people struct {
	users     []protocol.User
	depts     []protocol.Department
	groups    []protocol.Group
	members   map[protocol.GroupID][]protocol.UserID
	passwords map[protocol.UserID]string
	fail      error // of every read of a user
}

func newPeople(names ...string) *people {
	p := &people{members: make(map[protocol.GroupID][]protocol.UserID), passwords: make(map[protocol.UserID]string)}
	for _, name := range names {
		p.users = append(p.users, protocol.User{ID: protocol.UserID(len(p.users) + 1), Name: name, Created: 1000, Updated: 2000})
	}
	return p
}

func (p *people) ListUsers(_ context.Context, after protocol.UserID, limit int) ([]protocol.User, error) {
	var found []protocol.User
	for _, u := range p.users {
		if u.ID > after && len(found) < limit {
			found = append(found, u)
		}
	}
	return found, nil
}

func (p *people) find(match func(protocol.User) bool) (protocol.User, error) {
	if p.fail != nil {
		return protocol.User{}, p.fail
	}
	for _, u := range p.users {
		if match(u) {
			return u, nil
		}
	}
	return protocol.User{}, protocol.Errorf(protocol.CodeNotFound, "no such user")
}

func (p *people) User(_ context.Context, id protocol.UserID) (protocol.User, error) {
	return p.find(func(u protocol.User) bool { return u.ID == id })
}

func (p *people) UserNamed(_ context.Context, name string) (protocol.User, error) {
	return p.find(func(u protocol.User) bool { return u.Name == name })
}

func (p *people) AddUser(_ context.Context, u protocol.User, password string) (protocol.User, error) {
	u.ID = protocol.UserID(len(p.users) + 1)
	p.users = append(p.users, u)
	p.passwords[u.ID] = password
	return u, nil
}

func (p *people) EditUser(_ context.Context, e protocol.EditUser) (protocol.User, error) {
	u := &p.users[e.User-1]
	if e.Nick != nil {
		u.Nick = *e.Nick
	}
	if e.Status != nil {
		u.Status = *e.Status
	}
	return *u, nil
}

func (p *people) SetPassword(_ context.Context, id protocol.UserID, password string) error {
	p.passwords[id] = password
	return nil
}

type importProblem struct{ error }

func (importProblem) Details() []string { return []string{"line 2: bad", "line 3: worse"} }
func (e importProblem) Unwrap() error   { return e.error }

func (p *people) ImportUsers(_ context.Context, csv io.Reader, progress func(done, total int)) (int, error) {
	b, err := io.ReadAll(csv)
	if err != nil {
		return 0, err
	}
	if strings.Contains(string(b), "bad") {
		return 0, importProblem{protocol.Errorf(protocol.CodeInvalid, "line 2: bad (and 1 more)")}
	}
	lines := strings.Count(string(b), "\n")
	progress(lines, lines)
	return lines, nil
}

func (p *people) ListDepartments(context.Context) ([]protocol.Department, error) { return p.depts, nil }

func (p *people) PutDepartment(_ context.Context, d protocol.Department) (protocol.Department, error) {
	if d.ID == 0 {
		d.ID = protocol.DeptID(len(p.depts) + 1)
		p.depts = append(p.depts, d)
	}
	p.depts[d.ID-1] = d
	return d, nil
}

func (p *people) ListGroups(context.Context, protocol.GroupID, int) ([]protocol.Group, error) {
	return p.groups, nil
}

func (p *people) Group(_ context.Context, id protocol.GroupID) (protocol.Group, error) {
	if id == 0 || int(id) > len(p.groups) {
		return protocol.Group{}, protocol.Errorf(protocol.CodeNotFound, "no such group")
	}
	return p.groups[id-1], nil
}

func (p *people) Members(_ context.Context, g protocol.GroupID) ([]protocol.UserID, error) {
	return p.members[g], nil
}

func (p *people) CreateGroup(_ context.Context, c protocol.CreateGroup) (protocol.Group, error) {
	g := protocol.Group{ID: protocol.GroupID(len(p.groups) + 1), Name: c.Name, Type: c.Type, Version: 1}
	p.groups = append(p.groups, g)
	p.members[g.ID] = c.Members
	return g, nil
}

func (p *people) EditGroup(_ context.Context, e protocol.EditGroup) (protocol.Group, error) {
	if e.Group == 0 || int(e.Group) > len(p.groups) {
		return protocol.Group{}, protocol.Errorf(protocol.CodeNotFound, "no such group")
	}
	g := &p.groups[e.Group-1]
	if e.Name != nil {
		g.Name = *e.Name
	}
	g.Closed = e.Close
	return *g, nil
}

func (p *people) ChangeMembers(_ context.Context, c protocol.ChangeMembers) (protocol.ChangeMembersResult, error) {
	p.members[c.Group] = append(p.members[c.Group], c.Members...)
	return protocol.ChangeMembersResult{Current: p.members[c.Group], Changed: c.Members}, nil
}

// start serves the API and returns a client for it, and the log.
func start(t *testing.T, p *people) (*Client, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	h := Handler(Config{Users: p, Departments: p, Groups: p, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s := httptest.NewServer(RequireToken(testToken, h))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, testToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &log
}

func TestUserIsFoundByIDAndByName(t *testing.T) {
	c, _ := start(t, newPeople("alice", "2", "b/ob"))
	for ref, want := range map[string]protocol.UserID{"alice": 1, "1": 1, "2": 2, "name:2": 2, "b/ob": 3} {
		if u, err := c.User(t.Context(), ref); err != nil || u.ID != want {
			t.Errorf("%q: user %d, %v; want %d", ref, u.ID, err, want)
		}
	}
	_, err := c.User(t.Context(), "carol")
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 404 || refused.Code != "not_found" || refused.Message != `there is no user "carol"` {
		t.Errorf("got %v", err)
	}
}

func TestUserTravelsWhole(t *testing.T) {
	p := newPeople()
	c, _ := start(t, p)
	p.depts = []protocol.Department{{ID: 1, Name: "Sales"}}
	nick, dept, gender := "Ali", "Sales", Gender(2)
	u, err := c.AddUser(t.Context(), NewUser{Name: "alice", Password: "secret", UserEdit: UserEdit{Nick: &nick, Department: &dept, Gender: &gender}})
	if err != nil {
		t.Fatal(err)
	}
	want := User{ID: 1, Name: "alice", Nick: "Ali", Gender: 2, Department: 1, Created: protocol.Time(0).Std(), Updated: protocol.Time(0).Std()}
	if diff := cmp.Diff(want, u); diff != "" {
		t.Error(diff)
	}
	if p.passwords[1] != "secret" {
		t.Error("the password did not arrive")
	}
}

func TestPasswordsAndTokensAreNotLogged(t *testing.T) {
	p := newPeople("alice")
	c, log := start(t, p)
	if _, err := c.AddUser(t.Context(), NewUser{Name: "bob", Password: "hunter2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetPassword(t.Context(), "alice", "hunter3"); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); !strings.Contains(s, "password set") || strings.Contains(s, "hunter") || strings.Contains(s, testToken) {
		t.Errorf("log: %s", s)
	}
}

func TestPagesCoverAllUsersOnce(t *testing.T) {
	var names []string
	for n := range 7 {
		names = append(names, fmt.Sprintf("u%d", n))
	}
	c, _ := start(t, newPeople(names...))
	var got []string
	for after := protocol.UserID(0); ; {
		p, err := c.Users(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range p.Users {
			got = append(got, u.Name)
		}
		if after = p.Next; after == 0 {
			break
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Users(t.Context(), 0, maxPage+1); err == nil {
		t.Error("a page without bounds was served")
	}
}

func TestOurFaultIsLoggedAndHidden(t *testing.T) {
	p := newPeople("alice")
	p.fail = errors.New("page 7 of the database is torn")
	c, log := start(t, p)
	_, err := c.User(t.Context(), "alice")
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 500 || strings.Contains(refused.Message, "torn") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "torn") {
		t.Error("not logged")
	}
}

func TestRequestsThatAreWrong(t *testing.T) {
	p := newPeople("alice")
	c, _ := start(t, p)
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "users", `{"name":"x","nickname":"y"}`, 400, `unknown field "nickname"`},
		{"POST", "users", `{"name":"x"} {}`, 400, "more than one JSON value"},
		{"POST", "users", `{"name":"x","gender":"blue"}`, 400, `gender "blue" is not one of ["unknown" "male" "female"]`},
		{"POST", "users", `{"name":"x","department":"Moon"}`, 404, `there is no department "Moon"`},
		{"POST", "users/alice/password", `{"password":""}`, 400, "the password is empty"},
		{"POST", "groups", `{"name":"g","members":["bob"]}`, 404, `there is no user "bob"`},
		{"POST", "groups/1/members", `{}`, 400, "nobody was named"},
		{"POST", "groups/1/members", `{"add":["alice"],"remove":["alice"]}`, 400, "not both"},
		{"GET", "groups/Friends", ``, 400, "groups are named by number"},
		{"GET", "groups/1", ``, 404, "there is no group with id 1"},
		{"GET", "users?after=x", ``, 400, "is not an id"},
		{"GET", "nonsense", ``, 404, "there is no GET /api/v1/nonsense"},
		{"POST", "users", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "more than"},
	} {
		req, err := c.request(t.Context(), test.method, test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.do(req)
		if err == nil {
			resp.Body.Close()
		}
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != test.status || !strings.Contains(refused.Message, test.want) {
			t.Errorf("%s %s %.60s: got %v, want %d %s", test.method, test.path, test.body, err, test.status, test.want)
		}
	}
}

func TestImportStreams(t *testing.T) {
	c, _ := start(t, newPeople())
	var seen []ImportProgress
	added, err := c.ImportUsers(t.Context(), strings.NewReader("a\nb\nc\n"), func(p ImportProgress) { seen = append(seen, p) })
	if err != nil || added != 3 {
		t.Errorf("added %d, %v", added, err)
	}
	if diff := cmp.Diff([]ImportProgress{{Done: 3, Total: 3}}, seen); diff != "" {
		t.Error(diff)
	}
	_, err = c.ImportUsers(t.Context(), strings.NewReader("bad\n"), func(ImportProgress) {})
	var refused *Error
	if !errors.As(err, &refused) || len(refused.Details) != 2 || refused.Details[1] != "line 3: worse" {
		t.Errorf("got %v", err)
	}
}

func TestDepartmentsByNameAndID(t *testing.T) {
	p := newPeople()
	c, _ := start(t, p)
	sales, err := c.AddDepartment(t.Context(), NewDepartment{Name: "Sales"})
	if err != nil {
		t.Fatal(err)
	}
	parent := "Sales"
	if _, err := c.AddDepartment(t.Context(), NewDepartment{Name: "Asia", Parent: &parent}); err != nil {
		t.Fatal(err)
	}
	disabled := true
	if _, err := c.EditDepartment(t.Context(), "Sales", DepartmentEdit{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	want := []protocol.Department{{ID: 1, Name: "Sales", Deleted: true}, {ID: 2, Name: "Asia", Parent: sales.ID}}
	if diff := cmp.Diff(want, p.depts); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Department(t.Context(), "Sales"); err == nil {
		t.Error("a disabled department was found by name")
	}
	if d, err := c.Department(t.Context(), "1"); err != nil || !d.Disabled {
		t.Errorf("by id: %+v, %v", d, err)
	}
}

func TestGroupsAndTheirMembers(t *testing.T) {
	p := newPeople("alice", "bob")
	c, _ := start(t, p)
	g, err := c.AddGroup(t.Context(), NewGroup{Name: "Friends", Members: []string{"alice"}})
	if err != nil || g.Type.String() != "normal" || len(g.Members) != 1 {
		t.Fatalf("%+v, %v", g, err)
	}
	done, err := c.ChangeMembers(t.Context(), g.ID, Members{Add: []string{"bob"}})
	if err != nil || done.Members != 2 || !cmp.Equal(done.Added, []protocol.UserID{2}) {
		t.Errorf("%+v, %v", done, err)
	}
	if err := c.CloseGroup(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if g, err := c.Group(t.Context(), g.ID); err != nil || !g.Closed || g.Members != nil {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestTokenIsNeeded(t *testing.T) {
	h := RequireToken(testToken, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	for header, want := range map[string]int{"": 401, "Bearer ": 401, "Bearer wrong": 401, testToken: 401, "Basic " + testToken: 401,
		"Bearer " + testToken + "x": 401, "Bearer " + testToken: 204} {
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", header, w.Code, want)
		}
	}
}

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	token, err := LoadToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, TokenFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := LoadToken(dir)
	if err != nil || again != token || len(token) < minTokenLen {
		t.Errorf("token %q, then %q, %v", token, again, err)
	}
	if err := os.WriteFile(filepath.Join(dir, TokenFile), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadToken(dir); err == nil || !strings.Contains(err.Error(), "remove the file and restart") {
		t.Errorf("an empty token was taken: %v", err)
	}
}

func TestClientOfSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := ClientOf(dir); err == nil || !strings.Contains(err.Error(), "no server is running on the data directory") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, AddressesFile), []byte(`{"tcp":"127.0.0.1:1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ClientOf(dir); err == nil || !strings.Contains(err.Error(), "ops listener off") {
		t.Errorf("got %v", err)
	}
}

func TestClientOfSomethingElse(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	c, err := NewClient(s.URL, testToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.User(t.Context(), "alice"); err == nil || !strings.Contains(err.Error(), "not an admin API") {
		t.Errorf("got %v", err)
	}
	if _, err := NewClient("localhost:8090", testToken); err == nil {
		t.Error("a URL without a scheme was taken")
	}
}

func FuzzRequestBody(f *testing.F) {
	f.Add("POST", "users", `{"name":"x"}`)
	f.Add("PATCH", "users/1", `{"status":"left"}`)
	f.Add("POST", "groups/1/members", `{"add":["1"]}`)
	p := newPeople("alice")
	h := Handler(Config{Users: p, Departments: p, Groups: p, Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://x/api/v1/", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.URL.Path += path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == 500 {
			t.Errorf("%s %s %q: %s", method, path, body, w.Body)
		}
	})
}
