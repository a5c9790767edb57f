package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"teamtalk/protocol"
)

const maxBody = 4 << 20 // of a JSON request: a group of 100,000 members fits

// Config is what the API needs.
type Config struct {
	Users       Users
	Departments Departments
	Groups      Groups
	Cluster     Cluster    // nil: there is nothing about a cluster
	Backups     Backups    // nil: no backups
	Federation  Federation // nil: there is nothing about other clusters
	Log         *slog.Logger
}

type server struct {
	users       Users
	departments Departments
	groups      Groups
	cluster     Cluster
	backups     Backups
	federation  Federation
	log         *slog.Logger
}

// Handler serves the API under /api/v1/. It does not check the token: put RequireToken around it.
func Handler(c Config) http.Handler {
	s := &server{users: c.Users, departments: c.Departments, groups: c.Groups, cluster: c.Cluster, backups: c.Backups, federation: c.Federation, log: c.Log}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]handler{
		"GET /api/v1/users":                      s.listUsers,
		"POST /api/v1/users":                     s.addUser,
		"GET /api/v1/users/{user}":               s.showUser,
		"PATCH /api/v1/users/{user}":             s.editUser,
		"POST /api/v1/users/{user}/password":     s.setPassword,
		"GET /api/v1/departments":                s.listDepartments,
		"POST /api/v1/departments":               s.addDepartment,
		"GET /api/v1/departments/{department}":   s.showDepartment,
		"PATCH /api/v1/departments/{department}": s.editDepartment,
		"GET /api/v1/groups":                     s.listGroups,
		"POST /api/v1/groups":                    s.addGroup,
		"GET /api/v1/groups/{group}":             s.showGroup,
		"PATCH /api/v1/groups/{group}":           s.editGroup,
		"DELETE /api/v1/groups/{group}":          s.closeGroup,
		"POST /api/v1/groups/{group}/members":    s.changeMembers,
	} {
		mux.Handle(pattern, s.json(handle))
	}
	for _, more := range []map[string]handler{s.clusterHandlers(), s.federationHandlers()} {
		for pattern, handle := range more {
			mux.Handle(pattern, s.json(handle))
		}
	}
	mux.HandleFunc("POST /api/v1/users/import", s.importUsers)
	if s.backups != nil {
		mux.HandleFunc("GET /api/v1/cluster/backup", s.backup)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusNotFound, &Error{Code: "not_found", Message: fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path)})
	})
	return mux
}

// handler carries out a request and returns what is answered as JSON.
type handler func(ctx context.Context, r *http.Request) (any, error)

func (s *server) json(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		body, err := h(r.Context(), r)
		if err != nil {
			e := s.failure(r, err)
			writeJSON(w, e.Status, e)
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

// failure is the one place where errors become answers: what the caller did wrong is told, what is our fault is logged and hidden.
func (s *server) failure(r *http.Request, err error) *Error {
	code := protocol.CodeOf(err)
	var refused *Error
	if errors.As(err, &refused) {
		return refused
	}
	if code == protocol.CodeInternal {
		s.log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		return &Error{Status: http.StatusInternalServerError, Code: code.String(), Message: "internal error: the server's log says more"}
	}
	e := &Error{Status: statusOf(code), Code: code.String(), Message: err.Error()}
	var several interface{ Details() []string }
	if errors.As(err, &several) {
		e.Details = several.Details()
	}
	return e
}

func statusOf(c protocol.Code) int {
	switch c {
	case protocol.CodeInvalid:
		return http.StatusBadRequest
	case protocol.CodeUnauthenticated:
		return http.StatusUnauthorized
	case protocol.CodeForbidden:
		return http.StatusForbidden
	case protocol.CodeNotFound:
		return http.StatusNotFound
	case protocol.CodeRateLimited:
		return http.StatusTooManyRequests
	case protocol.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case protocol.CodeUnavailable, protocol.CodeOverloaded, protocol.CodeDraining:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if body == nil {
		body = struct{}{}
	}
	// The only error left is a client that went away.
	_ = json.NewEncoder(w).Encode(body)
}

func readJSON(r *http.Request, to any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return protocol.Errorf(protocol.CodeTooLarge, "the request has more than %d bytes", large.Limit)
		}
		return protocol.Errorf(protocol.CodeInvalid, "the request is not what this call takes: %w", err)
	}
	if d.More() {
		return protocol.Errorf(protocol.CodeInvalid, "the request holds more than one JSON value")
	}
	return nil
}

const (
	defaultPage = 500
	maxPage     = 1000
)

// page reads where a listing begins and how long it may be.
func page(r *http.Request) (after uint32, limit int, err error) {
	limit = defaultPage
	q := r.URL.Query()
	if s := q.Get("after"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return 0, 0, protocol.Errorf(protocol.CodeInvalid, "after=%q is not an id", s)
		}
		after = uint32(n)
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxPage {
			return 0, 0, protocol.Errorf(protocol.CodeInvalid, "limit=%q is not a number from 1 to %d", s, maxPage)
		}
		limit = n
	}
	return after, limit, nil
}

// idOf reads a reference as a number, which is an id.
func idOf(ref string) (uint32, bool) {
	n, err := strconv.ParseUint(ref, 10, 32)
	return uint32(n), err == nil
}

// user finds a user by id or by name.
func (s *server) user(ctx context.Context, ref string) (protocol.User, error) {
	if id, ok := idOf(ref); ok {
		u, err := s.users.User(ctx, protocol.UserID(id))
		if protocol.CodeOf(err) == protocol.CodeNotFound {
			return u, protocol.Errorf(protocol.CodeNotFound, "there is no user with id %d", id)
		}
		return u, err
	}
	name := strings.TrimPrefix(ref, "name:")
	u, err := s.users.UserNamed(ctx, name)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return u, protocol.Errorf(protocol.CodeNotFound, "there is no user %q", name)
	}
	return u, err
}

// userIDs finds several users; the error names the first that does not exist.
func (s *server) userIDs(ctx context.Context, refs []string) ([]protocol.UserID, error) {
	ids := make([]protocol.UserID, 0, len(refs))
	for _, ref := range refs {
		u, err := s.user(ctx, ref)
		if err != nil {
			return nil, err
		}
		ids = append(ids, u.ID)
	}
	return ids, nil
}
