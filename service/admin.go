package service

import (
	"context"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

// AdminDirectory is what Admin needs of the store about users and departments.
type AdminDirectory interface {
	Executor
	UserByID(id protocol.UserID) (protocol.User, error)
	Login(name string) (user protocol.User, stored string, err error)
	ListUsers(after protocol.UserID, limit int) ([]protocol.User, error)
	UserCount() (int, error)
	DepartmentsSince(t protocol.Time) (departments []protocol.Department, newest protocol.Time, err error)
}

// AdminGroups is what Admin needs of the store about groups.
type AdminGroups interface {
	Executor
	ListGroups(after protocol.GroupID, limit int) ([]protocol.Group, error)
	GroupByID(id protocol.GroupID) (protocol.Group, error)
	Members(g protocol.GroupID) ([]protocol.UserID, error)
}

// Admin is what operators may do; who is one is decided by the caller.
type Admin struct {
	directory AdminDirectory
	groups    AdminGroups
	verifier  *password.Verifier
}

// NewAdmin makes the operator's rules over a store, which is both directory and groups.
func NewAdmin(directory AdminDirectory, groups AdminGroups, verifier *password.Verifier) *Admin {
	return &Admin{directory, groups, verifier}
}

const (
	maxListed = 10_000 // rows of one listing
	// usersPerCommand bounds how long other commands wait behind one that adds users which need not come all or none.
	usersPerCommand = 5_000
)

// page is the number of rows to list: what was asked for within the bound, or the bound.
func page(limit int) int {
	if limit <= 0 || limit > maxListed {
		return maxListed
	}
	return limit
}

// ListUsers is at most limit (0: 10,000) users with ids above after, ascending.
func (a *Admin) ListUsers(_ context.Context, after protocol.UserID, limit int) ([]protocol.User, error) {
	users, err := a.directory.ListUsers(after, page(limit))
	return users, wrap("list users", err)
}

// UserCount is the number of users, with those who have left.
func (a *Admin) UserCount(context.Context) (int, error) {
	n, err := a.directory.UserCount()
	return n, wrap("count users", err)
}

// User is the user with an id; CodeNotFound if there is none.
func (a *Admin) User(_ context.Context, id protocol.UserID) (protocol.User, error) {
	u, err := a.directory.UserByID(id)
	return u, wrap("user", err)
}

// UserNamed is the user with a login name; CodeNotFound if there is none.
func (a *Admin) UserNamed(_ context.Context, name string) (protocol.User, error) {
	u, _, err := a.directory.Login(name)
	return u, wrap("user", err)
}

// AddUser adds a user with a password as typed; "" means that nobody can log in until there is one. ID 0 takes the next.
func (a *Admin) AddUser(ctx context.Context, u protocol.User, typed string) (protocol.User, error) {
	if err := a.checkNewUser(u); err != nil {
		return protocol.User{}, err
	}
	hash, err := a.hash(ctx, typed)
	if err != nil {
		return protocol.User{}, err
	}
	added, err := a.addUsers(ctx, []protocol.NewUser{{User: u, PasswordHash: hash}})
	if err != nil {
		return protocol.User{}, err
	}
	return a.User(ctx, added[0])
}

// AddDemoUsers adds users who share one password, hashed once: not for people. Some may have been added when it fails.
func (a *Admin) AddDemoUsers(ctx context.Context, users []protocol.User, typed string) error {
	hash, err := a.hash(ctx, typed)
	if err != nil {
		return err
	}
	added := make([]protocol.NewUser, 0, len(users))
	for _, u := range users {
		if err := u.Check(); err != nil {
			return wrap("user "+u.Name, err)
		}
		added = append(added, protocol.NewUser{User: u, PasswordHash: hash})
	}
	for len(added) > 0 {
		n := min(len(added), usersPerCommand)
		if _, err := a.addUsers(ctx, added[:n]); err != nil {
			return err
		}
		added = added[n:]
	}
	return nil
}

// addUsers adds users all or none; the ids are in their order.
func (a *Admin) addUsers(ctx context.Context, users []protocol.NewUser) ([]protocol.UserID, error) {
	result, err := execute[protocol.AddUsersResult](ctx, a.directory, "add users", &protocol.AddUsers{Users: users})
	if err == nil && len(result.IDs) != len(users) {
		return nil, protocol.Errorf(protocol.CodeInternal, "add users: %d ids for %d users", len(result.IDs), len(users))
	}
	return result.IDs, err
}

// EditUser replaces the fields given; Status disables and enables.
func (a *Admin) EditUser(ctx context.Context, cmd protocol.EditUser) (protocol.User, error) {
	if err := execute0(ctx, a.directory, "edit user", &cmd); err != nil {
		return protocol.User{}, err
	}
	return a.User(ctx, cmd.User)
}

// SetPassword sets a password as typed and ends the user's sessions; "" means that nobody can log in until there is one.
func (a *Admin) SetPassword(ctx context.Context, id protocol.UserID, typed string) error {
	if _, err := a.User(ctx, id); err != nil {
		return err
	}
	hash, err := a.hash(ctx, typed)
	if err != nil {
		return err
	}
	return execute0(ctx, a.directory, "set password", &protocol.SetPassword{User: id, Hash: hash})
}

// hash is the stored form of a password as typed, "" of none.
func (a *Admin) hash(ctx context.Context, typed string) (string, error) {
	if typed == "" {
		return "", nil
	}
	return a.verifier.Hash(ctx, password.Secret(typed))
}

func (a *Admin) checkNewUser(u protocol.User) error {
	if err := u.Check(); err != nil {
		return err
	}
	return a.checkDepartment(u.Department)
}
