package node

import (
	"context"
	"fmt"
	"slices"

	"teamtalk/protocol"
	"teamtalk/service"
)

// DemoConfig is the world that `teamtalkd dev` makes; no users, no world.
type DemoConfig struct {
	Users    int
	Company  bool   // they are DemoPeople with names and something to say, in a world where nobody is yet
	Password string // of all of them
}

// DemoGroup is the name of the group that has the demo users, the first DemoMembers of them.
const (
	DemoGroup   = "Everybody"
	DemoMembers = 200
)

// MaxDemoUsers is how many demo users there can be.
const MaxDemoUsers = 100_000

const demoPage = 1_000

// DevDefaults are the options whose default differs when a node is only tried out: everything on loopback, no limit on
// messages, and nothing logged that is not a problem.
func DevDefaults() map[string]string {
	return map[string]string{
		"listen.tcp":      "127.0.0.1:8000",
		"listen.tls":      "127.0.0.1:8443",
		"listen.quic":     "127.0.0.1:8443",
		"tls.development": "true",
		"listen.http":     "127.0.0.1:8080",
		"listen.files":    "127.0.0.1:8600",
		"listen.node":     "127.0.0.1:7000",
		"listen.ops":      "127.0.0.1:8090",
		"limits.rate":     "0",
		"log.level":       "warn",
	}
}

// demoStore is what the demo world needs of service.Admin.
type demoStore interface {
	AddDemoUsers(ctx context.Context, users []protocol.User, password string) error
	ListUsers(ctx context.Context, after protocol.UserID, limit int) ([]protocol.User, error)
	ListDepartments(ctx context.Context) ([]protocol.Department, error)
	PutDepartment(ctx context.Context, d protocol.Department) (protocol.Department, error)
	ListGroups(ctx context.Context, after protocol.GroupID, limit int) ([]protocol.Group, error)
	Members(ctx context.Context, g protocol.GroupID) ([]protocol.UserID, error)
	CreateGroup(ctx context.Context, c protocol.CreateGroup) (protocol.Group, error)
	ChangeMembers(ctx context.Context, c protocol.ChangeMembers) (protocol.ChangeMembersResult, error)
}

// makeDemo adds what is missing of the demo world, so that a second start on the same data does nothing.
func makeDemo(ctx context.Context, s demoStore, talker demoTalker, want DemoConfig) error {
	depts, err := demoDepartments(ctx, s)
	if err != nil {
		return fmt.Errorf("demo departments: %w", err)
	}
	have, err := usersByName(ctx, s)
	if err != nil {
		return fmt.Errorf("demo users: %w", err)
	}
	missing, isNew := missingUsers(want, depts, have), len(have) == 0
	if want.Company && isNew {
		missing = companyUsers(depts)
	}
	if len(missing) > 0 {
		if err := s.AddDemoUsers(ctx, missing, want.Password); err != nil {
			return fmt.Errorf("demo users: %w", err)
		}
		if have, err = usersByName(ctx, s); err != nil {
			return fmt.Errorf("demo users: %w", err)
		}
	}
	var members []protocol.UserID
	for n := 1; n <= min(want.Users, DemoMembers); n++ {
		members = append(members, have[demoName(n)])
	}
	group, err := demoGroup(ctx, s, members)
	if err != nil {
		return fmt.Errorf("demo group: %w", err)
	}
	if want.Company && isNew {
		return greet(ctx, talker, have, group)
	}
	return nil
}

func demoName(n int) string { return fmt.Sprintf("user%d", n) }

func demoDepartments(ctx context.Context, s demoStore) ([]protocol.DeptID, error) {
	all, err := s.ListDepartments(ctx)
	if err != nil {
		return nil, err
	}
	have := make(map[string]protocol.DeptID)
	for _, d := range all {
		have[d.Name] = d.ID
	}
	var ids []protocol.DeptID
	for i, d := range []struct{ name, parent string }{{"Engineering", ""}, {"Server team", "Engineering"}, {"Sales", ""}} {
		if have[d.name] == 0 {
			made, err := s.PutDepartment(ctx, protocol.Department{Name: d.name, Parent: have[d.parent], Priority: uint32(i)})
			if err != nil {
				return nil, err
			}
			have[d.name] = made.ID
		}
		ids = append(ids, have[d.name])
	}
	return ids, nil
}

func usersByName(ctx context.Context, s demoStore) (map[string]protocol.UserID, error) {
	have := make(map[string]protocol.UserID)
	for after := protocol.UserID(0); ; {
		users, err := s.ListUsers(ctx, after, demoPage)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			have[u.Name], after = u.ID, u.ID
		}
		if len(users) < demoPage {
			return have, nil
		}
	}
}

func missingUsers(want DemoConfig, depts []protocol.DeptID, have map[string]protocol.UserID) []protocol.User {
	var missing []protocol.User
	for n := 1; n <= want.Users; n++ {
		if have[demoName(n)] == 0 {
			missing = append(missing, protocol.User{Name: demoName(n), Nick: fmt.Sprintf("nick%d", n), Gender: uint8(1 + n%2),
				Department: depts[n%len(depts)], Email: demoName(n) + "@example.com", Domain: demoName(n)})
		}
	}
	return missing
}

func demoGroup(ctx context.Context, s demoStore, members []protocol.UserID) (protocol.GroupID, error) {
	for after := protocol.GroupID(0); ; {
		groups, err := s.ListGroups(ctx, after, demoPage)
		if err != nil {
			return 0, err
		}
		for _, g := range groups {
			if after = g.ID; g.Name == DemoGroup && !g.Closed {
				return g.ID, addMissing(ctx, s, g.ID, members)
			}
		}
		if len(groups) < demoPage {
			g, err := s.CreateGroup(ctx, protocol.CreateGroup{Type: protocol.GroupNormal, Name: DemoGroup, Members: members})
			return g.ID, err
		}
	}
}

func addMissing(ctx context.Context, s demoStore, g protocol.GroupID, members []protocol.UserID) error {
	have, err := s.Members(ctx, g)
	if err != nil {
		return err
	}
	var missing []protocol.UserID
	for _, u := range members {
		if _, found := slices.BinarySearch(have, u); !found {
			missing = append(missing, u)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = s.ChangeMembers(ctx, protocol.ChangeMembers{Group: g, Change: protocol.MembersAdd, Members: missing})
	return err
}

// ImportExample is a CSV file that shows what `user import` reads.
func ImportExample() string { return service.ExampleCSV }
