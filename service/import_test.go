package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

func importStore() *fakeStore {
	s := newFakeStore(protocol.User{ID: 7, Name: "zoe"})
	s.departments = []protocol.Department{
		{ID: 1, Name: "Engineering"}, {ID: 2, Name: "Sales"}, {ID: 3, Name: "twin"}, {ID: 4, Name: "twin"},
		{ID: 5, Name: "gone", Deleted: true}, {ID: 6, Name: "销售部"},
	}
	return s
}

func TestImportExample(t *testing.T) {
	s := importStore()
	a := newAdmin(t, s)
	var reports []string
	n, err := a.ImportUsers(t.Context(), strings.NewReader(ExampleCSV), func(done, total int) {
		reports = append(reports, fmt.Sprint(done, "/", total))
	})
	if n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if got := strings.Join(reports, " "); got != "1/3 2/3 3/3" {
		t.Errorf("progress %q", got)
	}
	add, ok := s.last().(*protocol.AddUsers)
	if !ok || len(s.commands) != 1 {
		t.Fatalf("%d commands", len(s.commands))
	}
	alice := protocol.User{
		Name: "alice", Nick: "Alice", Gender: 2, Email: "alice@example.com", Phone: "555-0101", Department: 1, Domain: "alice",
	}
	if add.Users[0].User != alice {
		t.Errorf("alice: %+v", add.Users[0].User)
	}
	if ok, err := a.verifier.Check(t.Context(), add.Users[0].PasswordHash, password.Secret("secret")); !ok || err != nil {
		t.Errorf("alice's password: %v, %v", ok, err)
	}
	if bob := add.Users[1]; bob.PasswordHash != "md5$1234$"+salted1234 || bob.User.Sign != "On the road" {
		t.Errorf("bob: %+v", bob)
	}
	if carl := add.Users[2]; carl.PasswordHash != "" || carl.User.Status != protocol.StatusLeft {
		t.Errorf("carol: %+v", carl)
	}
}

func TestImportForms(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       protocol.User
	}{
		{"only names", "name\nalice\n", protocol.User{Name: "alice"}},
		{"no end of line", "name\nalice", protocol.User{Name: "alice"}},
		{"UTF-8 mark and CRLF", "\ufeffname,nick\r\nalice,爱丽丝\r\n", protocol.User{Name: "alice", Nick: "爱丽丝"}},
		{"mark before a quote", "\ufeff\"name\",nick\nalice,A\n", protocol.User{Name: "alice", Nick: "A"}},
		{"other order, blanks, capitals", " Nick ,NAME\nA, alice \n", protocol.User{Name: "alice", Nick: "A"}},
		{"quotes and commas", "name,nick\nalice,\"A, the \"\"first\"\"\"\n", protocol.User{Name: "alice", Nick: `A, the "first"`}},
		{"sign of two lines", "name,sign\nalice,\"a\nb\"\n", protocol.User{Name: "alice", Sign: "a\nb"}},
		{"empty lines", "name\n\nalice\n\n", protocol.User{Name: "alice"}},
		{"department by id", "name,department\nalice,2\n", protocol.User{Name: "alice", Department: 2}},
		{"department by name", "name,department\nalice,销售部\n", protocol.User{Name: "alice", Department: 6}},
		{"no department", "name,department\nalice,0\n", protocol.User{Name: "alice"}},
		{"twin by id", "name,department\nalice,4\n", protocol.User{Name: "alice", Department: 4}},
		{"status by number", "name,status\nalice,3\n", protocol.User{Name: "alice", Status: 3}},
		{"status by name", "name,status\nalice,Intern\n", protocol.User{Name: "alice", Status: 4}},
		{"gender by number", "name,gender\nalice,2\n", protocol.User{Name: "alice", Gender: 2}},
		{"gender by name", "name,gender\nalice,MALE\n", protocol.User{Name: "alice", Gender: 1}},
		{"id", "id,name\n42,alice\n", protocol.User{ID: 42, Name: "alice"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := importStore()
			n, err := newAdmin(t, s).ImportUsers(t.Context(), strings.NewReader(tt.file), nil)
			if n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if add, ok := s.last().(*protocol.AddUsers); !ok || add.Users[0].User != tt.want {
				t.Errorf("%#v", s.last())
			}
		})
	}
}

func TestImportErrors(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []string // parts of the details, in order
	}{
		{"empty", "", []string{"line 1: the file is empty"}},
		{"only a header", "name\n", []string{"line 1: no users"}},
		{"unknown column", "name,nik\na,b\n", []string{`line 1: unknown column "nik"; known are name, nick`}},
		{"column twice", "name,Name\na,b\n", []string{`line 1: column "name" twice`}},
		{"no name column", "nick\na\n", []string{`line 1: no column "name"`}},
		{"all of them", "name,nick,gender,status,department,id,legacy_hash,legacy_salt,password\n" +
			"a,,x,,,,,,\n" + // 2
			",,,,,,,,\n" + // 3
			"b,,,x,Nowhere,0,,,\n" + // 4
			"c,,,,twin,,,1234,\n" + // 5
			"d,,,,gone,,abc,,\n" + // 6
			"e,,,,,," + salted1234 + ",1234,secret\n" + // 7
			"f,,,\n" + // 8
			"a,,,,,,,,\n" + // 9
			"zoe,,,,,,,,\n" + // 10
			"g,,,,,7,,,\n" + // 11
			"h,,,,,8,,,\ni,,,,,8,,,\n", // 12, 13
			[]string{
				`line 2: gender "x"`, "line 3: login name is empty", `line 4: status "x"`, `line 4: id "0"`,
				`line 4: no department "Nowhere"; add it first`, `line 5: more than one department has the name "twin"`,
				"line 5: legacy_salt without legacy_hash", `line 6: no department "gone"`, "line 6: a legacy hash is 32 hex digits",
				"line 7: both password and legacy_hash", "line 8: 4 fields, but the header names 9 columns",
				`line 9: the name "a" is in line 2 already`, `line 10: there is a user "zoe" already, with id 7`,
				`line 11: there is a user with id 7 already, "zoe"`, "line 13: the id 8 is in line 12 already",
			}},
		{"line numbers after fields of two lines", "name,sign\na,\"x\ny\"\nb b ,\n ,\n", []string{"line 5: login name is empty"}},
		{"not UTF-8", "name\n\xff\n", []string{"line 2: not UTF-8", "line 2: login name is not UTF-8"}},
		{"quote in a field", "name,nick\na,x\"y\nb,\n\xff,\n", []string{"line 2: no valid CSV", "line 4: not UTF-8", "line 4: login"}},
		{"quote not closed", "name,nick\na,\"x\nb,y\n", []string{"line 2: no valid CSV"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := importStore()
			n, err := newAdmin(t, s).ImportUsers(t.Context(), strings.NewReader(tt.file), nil)
			var file *ImportError
			if n != 0 || !errors.As(err, &file) {
				t.Fatalf("%d, %v", n, err)
			}
			wantCode(t, "import", err, protocol.CodeInvalid)
			got := file.Details()
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tt.want[i])
				}
			}
			if s.last() != nil {
				t.Error("something was executed")
			}
		})
	}
}

func TestImportReportsFiftyProblems(t *testing.T) {
	_, err := newAdmin(t, importStore()).ImportUsers(t.Context(), strings.NewReader("name,id\n"+strings.Repeat("zoe,x\n", 60)), nil)
	var file *ImportError
	if !errors.As(err, &file) || len(file.Lines) != 50 || file.More != 60+59+60-50 {
		t.Fatalf("%v", err)
	}
	details := file.Details()
	if len(details) != 51 || details[50] != "and 129 more" || !strings.Contains(err.Error(), "and 178 more problems") {
		t.Errorf("%v: %v", details, err)
	}
}

func TestImportFails(t *testing.T) {
	s := importStore()
	a := newAdmin(t, s)
	ctx := t.Context()
	_, err := a.ImportUsers(ctx, io.MultiReader(strings.NewReader("name\na"), iotest.ErrReader(io.ErrUnexpectedEOF)), nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken off: %v", err)
	}
	_, err = a.ImportUsers(ctx, io.MultiReader(strings.NewReader("name\n"), strings.NewReader(strings.Repeat("a\n", maxImportUsers+1))), nil)
	wantCode(t, "too many", err, protocol.CodeTooLarge)
	_, err = a.ImportUsers(ctx, strings.NewReader("name\n"+strings.Repeat("a", maxImportBytes)), nil)
	wantCode(t, "too large", err, protocol.CodeTooLarge)
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err = a.ImportUsers(over, strings.NewReader("name,password\na,x\nb,y\n"), nil)
	wantCode(t, "given up", err, protocol.CodeUnavailable)
	if s.last() != nil {
		t.Error("something was executed")
	}
	s.execute = func(protocol.Command) (any, error) { return nil, protocol.Errorf(protocol.CodeInvalid, "raced") }
	_, err = a.ImportUsers(ctx, strings.NewReader("name\na\n"), nil)
	wantCode(t, "refused by the store", err, protocol.CodeInvalid)
	s.broken = errors.New("damaged")
	_, err = a.ImportUsers(ctx, strings.NewReader("name\na\n"), nil)
	wantCode(t, "store damaged", err, protocol.CodeInternal)
}

// indexed looks names up as quickly as the real store.
type indexed struct {
	*fakeStore
	byName map[string]protocol.User
}

func (s indexed) Login(name string) (protocol.User, string, error) {
	if u, ok := s.byName[name]; ok {
		return u, "", nil
	}
	return protocol.User{}, "", notFound()
}

func legacyFile(n int) string {
	var b strings.Builder
	b.WriteString("name,nick,department,legacy_hash,legacy_salt\n")
	for i := range n {
		fmt.Fprintf(&b, "user%d,Nick %d,Engineering,%s,1234\n", i+1, i+1, salted1234)
	}
	return b.String()
}

func TestImportTwentyThousand(t *testing.T) {
	s := importStore()
	delete(s.users, 7)
	a := NewAdmin(indexed{s, nil}, s, newVerifier(t, password.Config{}))
	calls, last := 0, 0
	start := time.Now()
	n, err := a.ImportUsers(t.Context(), strings.NewReader(legacyFile(20_000)), func(done, total int) {
		if done <= last || total != 20_000 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		calls, last = calls+1, done
	})
	if n != 20_000 || err != nil || last != 20_000 || calls > 200 {
		t.Errorf("%d, %v; %d calls of progress to %d", n, err, calls, last)
	}
	t.Logf("20,000 users with legacy hashes: %v", time.Since(start))
}

func BenchmarkImportLegacy(b *testing.B) {
	s := importStore()
	file := legacyFile(20_000)
	s.execute = func(c protocol.Command) (any, error) {
		add, _ := c.(*protocol.AddUsers)
		return protocol.AddUsersResult{IDs: make([]protocol.UserID, len(add.Users))}, nil
	}
	a := NewAdmin(indexed{s, nil}, s, newVerifier(b, password.Config{}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.ImportUsers(b.Context(), strings.NewReader(file), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(ExampleCSV))
	f.Add([]byte("\ufeffname,id\r\n\"a\nb\",1\r\n"))
	f.Add([]byte("name,nick\na,\"x"))
	f.Fuzz(func(t *testing.T, file []byte) {
		s := importStore()
		var p problems
		rows, err := readRows(strings.NewReader(string(file)), s.departments, &p)
		if err != nil {
			t.Fatalf("an error of reading from memory: %v", err)
		}
		findDuplicates(rows, &p)
		if p.err() != nil {
			if p.err().Error() == "" || len(p.found) > maxImportProblems {
				t.Error("problems without end or text")
			}
			return
		}
		names := make(map[string]bool)
		for _, r := range rows {
			if r.user.Check() != nil || names[r.user.Name] || password.Validate(r.legacy) != nil {
				t.Errorf("accepted %+v", r)
			}
			names[r.user.Name] = true
		}
	})
}
