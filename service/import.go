package service

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

// ExampleCSV shows what ImportUsers reads. The first line names the columns, in any order; only name is needed. A row
// has a password as typed, or a legacy hash with its salt (columns password and salt of the table IMUser), or neither:
// then nobody can log in as that user until a password is set. Departments are given by name or id.
const ExampleCSV = `name,nick,gender,email,phone,department,domain,status,avatar,sign,password,legacy_hash,legacy_salt,id
alice,Alice,female,alice@example.com,555-0101,Engineering,alice,active,,,secret,,,
bob,Bob,male,bob@example.com,555-0102,Engineering,bob,active,,On the road,,b605e86d02eef8bfd0646f6a704c17c9,1234,
carol,Carol,,,,,,left,,,,,,
`

// ImportError says what is wrong with a file of users. It wraps a *protocol.Error of CodeInvalid.
type ImportError struct {
	Lines []LineError // at most 50, ascending
	More  int         // how many there are besides
}

// LineError is what is wrong with a line.
type LineError struct {
	Line    int // from 1, the header
	Problem string
}

// Error is the first problem, and how many there are.
func (e *ImportError) Error() string {
	if n := len(e.Lines) + e.More; n > 1 {
		return fmt.Sprintf("%s (and %d more problems); nothing was imported", e.Details()[0], n-1)
	}
	return e.Details()[0] + "; nothing was imported"
}

// Unwrap is the error as a *protocol.Error.
func (e *ImportError) Unwrap() error { return protocol.Errorf(protocol.CodeInvalid, "%s", e.Error()) }

// Details is one text for each problem: "line 17: …".
func (e *ImportError) Details() []string {
	texts := make([]string, 0, len(e.Lines)+1)
	for _, l := range e.Lines {
		texts = append(texts, fmt.Sprintf("line %d: %s", l.Line, l.Problem))
	}
	if e.More > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", e.More))
	}
	return texts
}

const (
	maxImportBytes    = 32 << 20
	maxImportUsers    = 100_000
	maxImportProblems = 50
)

// ImportUsers adds the users of a CSV file (see ExampleCSV), all or none, and returns how many. Everything that can be
// seen beforehand is checked first and returned together as an *ImportError. Progress, if not nil, is called now and
// then, never concurrently, with how many users are ready to be stored and of how many.
func (a *Admin) ImportUsers(ctx context.Context, csv io.Reader, progress func(done, total int)) (int, error) {
	rows, err := a.readImport(csv)
	if err != nil {
		return 0, err
	}
	users, err := a.hashRows(ctx, rows, progress)
	if err != nil {
		return 0, err
	}
	added, err := a.addUsers(ctx, users)
	return len(added), err
}

// readImport reads and checks a whole file.
func (a *Admin) readImport(csv io.Reader) ([]importRow, error) {
	limited := &io.LimitedReader{R: csv, N: maxImportBytes + 1}
	departments, _, err := a.directory.DepartmentsSince(0)
	if err != nil {
		return nil, wrap("import users", err)
	}
	var p problems
	rows, err := readRows(limited, departments, &p)
	switch {
	case err != nil:
		return nil, err
	case limited.N <= 0:
		return nil, protocol.Errorf(protocol.CodeTooLarge, "import users: a file of more than %d MiB", maxImportBytes>>20)
	case len(rows) > maxImportUsers:
		return nil, protocol.Errorf(protocol.CodeTooLarge, "import users: more than %d users in a file", maxImportUsers)
	}
	findDuplicates(rows, &p)
	if err := a.findExisting(rows, &p); err != nil {
		return nil, wrap("import users", err)
	}
	if len(rows) == 0 && p.found == nil {
		p.add(1, "no users in the file")
	}
	return rows, p.err()
}

// findDuplicates reports names and ids that appear twice in the file.
func findDuplicates(rows []importRow, p *problems) {
	names, ids := make(map[string]int, len(rows)), make(map[protocol.UserID]int)
	for _, r := range rows {
		if first, ok := names[r.user.Name]; ok && r.user.Name != "" {
			p.add(r.line, "the name %q is in line %d already", r.user.Name, first)
		} else {
			names[r.user.Name] = r.line
		}
		if r.user.ID == 0 {
			continue
		}
		if first, ok := ids[r.user.ID]; ok {
			p.add(r.line, "the id %d is in line %d already", r.user.ID, first)
		} else {
			ids[r.user.ID] = r.line
		}
	}
}

// findExisting reports names and ids that the directory has already.
func (a *Admin) findExisting(rows []importRow, p *problems) error {
	for _, r := range rows {
		u, _, err := a.directory.Login(r.user.Name)
		if unlessNotFound(err) != nil {
			return err
		}
		if err == nil {
			p.add(r.line, "there is a user %q already, with id %d", r.user.Name, u.ID)
		}
		if r.user.ID == 0 {
			continue
		}
		u, err = a.directory.UserByID(r.user.ID)
		if unlessNotFound(err) != nil {
			return err
		}
		if err == nil {
			p.add(r.line, "there is a user with id %d already, %q", r.user.ID, u.Name)
		}
	}
	return nil
}

// hashRows gives every row its stored form. Passwords as typed cost an argon2id computation each, as many at a time as the
// verifier allows; logins take turns with them.
func (a *Admin) hashRows(ctx context.Context, rows []importRow, progress func(done, total int)) ([]protocol.NewUser, error) {
	users := make([]protocol.NewUser, len(rows))
	report := reporter(progress, len(rows))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(a.verifier.Concurrency())
	for i, r := range rows {
		users[i] = protocol.NewUser{User: r.user, PasswordHash: r.legacy}
		if r.typed == "" {
			report()
			continue
		}
		g.Go(func() (err error) {
			// Once one has failed, the others fail at once, too.
			users[i].PasswordHash, err = a.verifier.Hash(gctx, password.Secret(r.typed))
			report()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, wrap("import users", err)
	}
	return users, nil
}

// reporter counts to total and passes on about a hundred of the steps, and the last.
func reporter(progress func(done, total int), total int) func() {
	if progress == nil {
		return func() {}
	}
	var mu sync.Mutex // guards done, and lets progress be called by one at a time
	done, step := 0, max(1, total/100)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done++
		if done%step == 0 || done == total {
			progress(done, total)
		}
	}
}

// problems collects what is wrong with a file.
type problems struct {
	found []LineError
	more  int
}

func (p *problems) add(line int, format string, args ...any) {
	if len(p.found) >= maxImportProblems {
		p.more++
		return
	}
	p.found = append(p.found, LineError{line, strings.TrimSpace(fmt.Sprintf(format, args...))})
}

func (p *problems) err() error {
	if p.found == nil {
		return nil
	}
	sortLines(p.found)
	return &ImportError{Lines: p.found, More: p.more}
}
