package node

import (
	"testing"

	"teamtalk/protocol"
)

// The demo company has names and something to say, once.
func TestCompany(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		cfg := testConfig(t, dir, nil)
		cfg.Demo = DemoConfig{Users: DemoPeople, Company: true, Password: "12345"}
		n := startNode(t, cfg)
		users, err := n.admin.ListUsers(t.Context(), 0, 100)
		if err != nil || len(users) != DemoPeople || users[0].Name != "user1" || users[0].Nick != company()[0].nick || users[19].Nick != company()[19].nick {
			t.Errorf("%d users, %v", len(users), err)
		}
		waiting, err := n.store.Unread(users[0].ID)
		if err != nil || len(waiting) != 2 || waiting[0].Count != 2 || waiting[1].Count != 2 {
			t.Errorf("unread of user1: %+v, %v", waiting, err)
		}
		stopNode(t, n)
	}
}

// Nobody's names or messages change where somebody is already.
func TestCompanyComesLate(t *testing.T) {
	dir := t.TempDir()
	for _, company := range []bool{false, true} {
		cfg := testConfig(t, dir, nil)
		cfg.Demo = DemoConfig{Users: 2, Company: company, Password: "12345"}
		n := startNode(t, cfg)
		u, err := n.store.UserByID(protocol.UserID(1))
		if err != nil || u.Nick != "nick1" {
			t.Errorf("user1 is called %s, %v", u.Nick, err)
		}
		if waiting, err := n.store.Unread(1); err != nil || len(waiting) != 0 {
			t.Errorf("unread: %+v, %v", waiting, err)
		}
		stopNode(t, n)
	}
}
