package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"teamtalk/protocol"
)

// Users is what the API needs to know about people. Refusals are *protocol.Error; an error with a method
// Details() []string has more to say than its message.
type Users interface {
	ListUsers(ctx context.Context, after protocol.UserID, limit int) ([]protocol.User, error)
	User(ctx context.Context, id protocol.UserID) (protocol.User, error)
	UserNamed(ctx context.Context, name string) (protocol.User, error)
	AddUser(ctx context.Context, u protocol.User, password string) (protocol.User, error)
	EditUser(ctx context.Context, e protocol.EditUser) (protocol.User, error)
	SetPassword(ctx context.Context, id protocol.UserID, password string) error
	ImportUsers(ctx context.Context, csv io.Reader, progress func(done, total int)) (added int, err error)
}

func userOf(u protocol.User) User {
	return User{ID: u.ID, Name: u.Name, Nick: u.Nick, Gender: Gender(u.Gender), Avatar: u.Avatar, Department: u.Department,
		Email: u.Email, Phone: u.Phone, Domain: u.Domain, Status: Status(u.Status), Sign: u.Sign,
		Created: u.Created.Std(), Updated: u.Updated.Std()}
}

func (s *server) listUsers(ctx context.Context, r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	users, err := s.users.ListUsers(ctx, protocol.UserID(after), limit)
	if err != nil {
		return nil, err
	}
	p := UserPage{Users: make([]User, 0, len(users))}
	for _, u := range users {
		p.Users = append(p.Users, userOf(u))
	}
	if len(users) == limit {
		p.Next = users[len(users)-1].ID
	}
	return p, nil
}

func (s *server) showUser(ctx context.Context, r *http.Request) (any, error) {
	u, err := s.user(ctx, r.PathValue("user"))
	if err != nil {
		return nil, err
	}
	return userOf(u), nil
}

func (s *server) addUser(ctx context.Context, r *http.Request) (any, error) {
	var n NewUser
	if err := readJSON(r, &n); err != nil {
		return nil, err
	}
	e, err := s.userEdit(ctx, 0, n.UserEdit)
	if err != nil {
		return nil, err
	}
	u, err := s.users.AddUser(ctx, newUser(n.Name, e), n.Password)
	if err != nil {
		return nil, err
	}
	s.log.Info("user added", "user", u.ID, "name", u.Name)
	return userOf(u), nil
}

func newUser(name string, e protocol.EditUser) protocol.User {
	u := protocol.User{Name: name, Nick: name}
	for _, f := range []struct{ to, from *string }{{&u.Nick, e.Nick}, {&u.Avatar, e.Avatar}, {&u.Email, e.Email},
		{&u.Phone, e.Phone}, {&u.Domain, e.Domain}, {&u.Sign, e.Sign}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if e.Gender != nil {
		u.Gender = *e.Gender
	}
	if e.Department != nil {
		u.Department = *e.Department
	}
	if e.Status != nil {
		u.Status = *e.Status
	}
	return u
}

func (s *server) editUser(ctx context.Context, r *http.Request) (any, error) {
	var edit UserEdit
	if err := readJSON(r, &edit); err != nil {
		return nil, err
	}
	u, err := s.user(ctx, r.PathValue("user"))
	if err != nil {
		return nil, err
	}
	e, err := s.userEdit(ctx, u.ID, edit)
	if err != nil {
		return nil, err
	}
	if u, err = s.users.EditUser(ctx, e); err != nil {
		return nil, err
	}
	s.log.Info("user edited", "user", u.ID, "status", Status(u.Status))
	return userOf(u), nil
}

// userEdit translates, finding the department.
func (s *server) userEdit(ctx context.Context, id protocol.UserID, e UserEdit) (protocol.EditUser, error) {
	c := protocol.EditUser{User: id, Nick: e.Nick, Gender: (*uint8)(e.Gender), Avatar: e.Avatar, Email: e.Email, Phone: e.Phone,
		Domain: e.Domain, Status: (*protocol.UserStatus)(e.Status), Sign: e.Sign}
	if e.Department != nil {
		dept, err := s.departmentID(ctx, *e.Department)
		if err != nil {
			return c, err
		}
		c.Department = &dept
	}
	return c, nil
}

func (s *server) setPassword(ctx context.Context, r *http.Request) (any, error) {
	var p Password
	if err := readJSON(r, &p); err != nil {
		return nil, err
	}
	u, err := s.user(ctx, r.PathValue("user"))
	if err != nil {
		return nil, err
	}
	if p.Password == "" {
		return nil, protocol.Errorf(protocol.CodeInvalid, "the password is empty")
	}
	if err := s.users.SetPassword(ctx, u.ID, p.Password); err != nil {
		return nil, err
	}
	s.log.Info("password set by operator", "user", u.ID)
	return nil, nil
}

const (
	maxImport     = 64 << 20 // bytes of CSV
	progressEvery = 100 * time.Millisecond
)

// importUsers reads CSV from the body and answers with lines of JSON while it works; the last one tells the outcome.
func (s *server) importUsers(w http.ResponseWriter, r *http.Request) {
	// Lines go out while the file still comes in; a server that cannot do this only shows the progress later.
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	var (
		enc   = json.NewEncoder(w)
		last  time.Time
		write = func(p ImportProgress) {
			_ = enc.Encode(p) // a client that went away cancels the context, which ends the import
			_ = http.NewResponseController(w).Flush()
		}
	)
	added, err := s.users.ImportUsers(r.Context(), http.MaxBytesReader(w, r.Body, maxImport), func(done, total int) {
		if now := time.Now(); done == total || now.Sub(last) >= progressEvery {
			last = now
			write(ImportProgress{Done: done, Total: total})
		}
	})
	if err != nil {
		write(ImportProgress{Ended: true, Error: s.failure(r, err)})
		return
	}
	s.log.Info("users imported", "added", added)
	write(ImportProgress{Ended: true, Added: added})
}
