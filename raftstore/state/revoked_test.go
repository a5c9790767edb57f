package state

import (
	"bytes"
	"strings"
	"testing"

	"teamtalk/protocol"
)

func testCluster(n byte) (c protocol.Cluster) {
	for i, b := range [][]byte{c.ID[:], c.History[:], c.TokenKey[:], c.AddressKey[:]} {
		copy(b, bytes.Repeat([]byte{n + byte(16*i)}, len(b)))
	}
	return c
}

func TestFoundCluster(t *testing.T) {
	n := newNode(t)
	if _, err := n.Cluster(); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("before the founding: %v", err)
	}
	for what, spoil := range map[string]func(*protocol.Cluster){
		"id":          func(c *protocol.Cluster) { c.ID = [16]byte{} },
		"history":     func(c *protocol.Cluster) { c.History = [16]byte{} },
		"token key":   func(c *protocol.Cluster) { c.TokenKey = [32]byte{} },
		"address key": func(c *protocol.Cluster) { c.AddressKey = [32]byte{} },
	} {
		c := testCluster(1)
		spoil(&c)
		if n.refuse(bad, &protocol.FoundCluster{Cluster: c}); t.Failed() {
			t.Fatalf("without %s", what)
		}
	}
	first, second := testCluster(1), testCluster(2)
	if got := n.do(&protocol.FoundCluster{Cluster: first}); got != first {
		t.Errorf("the founding answered %+v", got)
	}
	before := n.contents()
	if got := n.do(&protocol.FoundCluster{Cluster: second}); got != first {
		t.Errorf("founding again answered %+v", got)
	}
	if !sameContents(before, n.contents()) || len(n.events) != 0 {
		t.Error("founding again changed something")
	}
	n.reopen()
	if got, err := n.Cluster(); err != nil || got != first {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
}

// TestEpochs raises epochs one after the other and looks at what each one concerns. [TT-SESS-7] [TT-SESS-9]
func TestEpochs(t *testing.T) {
	type kind struct {
		device protocol.DeviceID
		client protocol.ClientType
	}
	desk, web := kind{"desk", protocol.ClientWindows}, kind{"web", protocol.ClientWeb}
	phone, oldPC, oldPhone := kind{"phone", protocol.ClientIOS}, kind{"", protocol.ClientMac}, kind{"", protocol.ClientAndroid}
	all := []kind{desk, web, phone, oldPC, oldPhone}
	n := newNode(t)
	n.people(2)
	n.do(&protocol.FoundCluster{Cluster: testCluster(1)})
	for _, tt := range []struct {
		name    string
		cmd     protocol.Command
		event   protocol.EventBody // nil: none
		touched []kind
	}{
		{"kick PC", &protocol.RevokeSessions{User: 1, Scope: protocol.RevokePC},
			protocol.AccessRevoked{User: 1, Reason: "kicked", Scope: protocol.RevokePC}, []kind{desk, web, oldPC}},
		{"log out", &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: "phone"},
			protocol.AccessRevoked{User: 1, Reason: "logged out", Scope: protocol.RevokeDevice, Device: "phone"}, []kind{phone}},
		{"log out of web", &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: "web"},
			protocol.AccessRevoked{User: 1, Reason: "logged out", Scope: protocol.RevokeDevice, Device: "web"}, []kind{web}},
		{"password", &protocol.SetPassword{User: 1, Hash: "h"},
			protocol.AccessRevoked{User: 1, Reason: "password changed", Scope: protocol.RevokeAll}, all},
		{"rewrapped password", &protocol.SetPassword{User: 1, Hash: "h2", If: "h"}, nil, nil},
		{"all", &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeAll},
			protocol.AccessRevoked{User: 1, Reason: "revoked", Scope: protocol.RevokeAll}, all},
		{"probation", &protocol.EditUser{User: 1, Status: ptr(protocol.StatusProbation)}, protocol.DirectoryChanged{}, nil},
		{"left", &protocol.EditUser{User: 1, Status: ptr(protocol.StatusLeft)},
			protocol.AccessRevoked{User: 1, Reason: "left", Scope: protocol.RevokeAll}, all},
		{"left already", &protocol.EditUser{User: 1, Status: ptr(protocol.StatusLeft), Nick: ptr("n")}, protocol.DirectoryChanged{}, nil},
		{"back", &protocol.EditUser{User: 1, Status: ptr(protocol.StatusActive)}, protocol.DirectoryChanged{}, nil},
	} {
		epochs := func() (e []protocol.Epoch) {
			for _, k := range all {
				epoch, err := n.Revoked(1, k.device, k.client)
				if err != nil {
					t.Fatal(err)
				}
				e = append(e, epoch)
			}
			return e
		}
		before, told := epochs(), len(n.events)
		n.do(tt.cmd)
		for i, now := range epochs() {
			want := before[i]
			for _, k := range tt.touched {
				if k == all[i] {
					want = n.applied
				}
			}
			if now != want {
				t.Errorf("%s: epoch of %v is %d, want %d", tt.name, all[i], now, want)
			}
		}
		var last protocol.EventBody
		if len(n.events) > told {
			last = n.events[len(n.events)-1].Body
		}
		if last != tt.event {
			t.Errorf("%s: event %+v, want %+v", tt.name, last, tt.event)
		}
	}
	n.reopen()
	if e, err := n.Revoked(2, "desk", protocol.ClientWindows); e != 0 || err != nil {
		t.Errorf("another user: %d, %v", e, err)
	}
	if _, err := n.Revoked(3, "", protocol.ClientIOS); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("nobody: %v", err)
	}
}

// TestNoEpochsBeforeTheFounding: a node of the version before executes these commands too, and must come to the same rows.
func TestNoEpochsBeforeTheFounding(t *testing.T) {
	n := newNode(t)
	n.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a", Revoked: 77}}}})
	n.do(&protocol.SetPassword{User: 1, Hash: "h"})
	n.do(&protocol.EditUser{User: 1, Status: ptr(protocol.StatusLeft)})
	if u, err := n.UserByID(1); err != nil || u.Revoked != 0 {
		t.Errorf("user %+v, %v", u, err)
	}
	n.do(&protocol.FoundCluster{Cluster: testCluster(1)})
	n.do(&protocol.SetPassword{User: 1, Hash: "h"})
	if u, err := n.UserByID(1); err != nil || u.Revoked != n.applied {
		t.Errorf("user %+v, %v, want revoked %d", u, err, n.applied)
	}
}

func TestRevocationsRefused(t *testing.T) {
	n := town(t)
	for _, tt := range []refusal{
		{"nobody", none, &protocol.RevokeSessions{User: 99, Scope: protocol.RevokePC}},
		{"no scope", bad, &protocol.RevokeSessions{User: 1}},
		{"unknown scope", bad, &protocol.RevokeSessions{User: 1, Scope: 4}},
		{"no device", bad, &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice}},
		{"a device of all", bad, &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeAll, Device: "d"}},
		{"a device of the PCs", bad, &protocol.RevokeSessions{User: 1, Scope: protocol.RevokePC, Device: "d"}},
		{"long device", large, &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: protocol.DeviceID(strings.Repeat("d", 65))}},
		{"binary device", bad, &protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: "\xff"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.TB = t
			n.refuse(tt.code, tt.cmd)
		})
	}
	n.TB = t
}

// TestRevocationsAreSwept: what no token can be older than is forgotten, but never before.
func TestRevocationsAreSwept(t *testing.T) {
	n := newNode(t)
	n.people(1)
	device := func(i int) protocol.DeviceID { return protocol.DeviceID("device-" + itoa(i)) }
	rows := func() (count int) {
		for k := range n.contents() {
			if strings.HasPrefix(k, bRevoked.name()+"/") {
				count++
			}
		}
		return count
	}
	for i := range 100 {
		n.do(&protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: device(i)})
	}
	n.clock += revokedKeep - 200*1000
	for i := range 100 {
		n.do(&protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: device(100 + i)})
		if i == 40 {
			n.reopen()
		}
	}
	for i := range 200 {
		if e, err := n.Revoked(1, device(i), protocol.ClientIOS); err != nil || e == 0 {
			t.Fatalf("device %d: %d, %v", i, e, err)
		}
	}
	n.clock += 300 * 1000
	for range 20 { // 16 rows each
		n.do(&protocol.RevokeSessions{User: 1, Scope: protocol.RevokePC})
	}
	if got := rows(); got != 101 {
		t.Errorf("%d rows, want 101", got)
	}
}
