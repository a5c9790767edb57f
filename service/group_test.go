package service

import (
	"slices"
	"strings"
	"testing"

	"teamtalk/protocol"
)

func groupStore() *fakeStore {
	s := newFakeStore(protocol.User{ID: 1}, protocol.User{ID: 2}, protocol.User{ID: 3}, protocol.User{ID: 4, Status: protocol.StatusLeft})
	s.groups[1] = protocol.Group{ID: 1, Type: protocol.GroupNormal, Version: 3, Name: "normal"}
	s.groups[2] = protocol.Group{ID: 2, Type: protocol.GroupTemp, Version: 5, Name: "temporary"}
	s.groups[3] = protocol.Group{ID: 3, Type: protocol.GroupNormal, Version: 1, Name: "not mine"}
	s.groups[4] = protocol.Group{ID: 4, Type: protocol.GroupNormal, Version: 9, Name: "closed", Closed: true}
	for id, members := range map[protocol.GroupID][]protocol.UserID{1: {1, 2}, 2: {1, 2, 3}, 3: {2, 3}, 4: {1}} {
		s.members[id] = members
	}
	s.shielded[2] = true
	return s
}

// [TT-GROUP-1]
func TestNormalGroups(t *testing.T) {
	got, err := NewGroups(groupStore()).Normal(t.Context(), 1)
	if err != nil || len(got) != 1 || got[0].ID != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// [TT-GROUP-2] [TT-DIFF-21] [TT-DIFF-24]
func TestGroupInfo(t *testing.T) {
	s := groupStore()
	got, err := NewGroups(s).Info(t.Context(), 1, []protocol.GroupVersion{
		{ID: 2}, {ID: 3}, {ID: 99}, {ID: 4}, {ID: 1, Version: 2}, {ID: 2}, {ID: 0},
	})
	if err != nil || len(got) != 2 || got[0].ID != 2 || got[1].ID != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if !got[0].Shielded || got[1].Shielded || !slices.Equal(got[0].Members, []protocol.UserID{1, 2, 3}) {
		t.Errorf("%+v", got)
	}
	for version, want := range map[protocol.GroupVersion]int{{ID: 1, Version: 3}: 0, {ID: 1, Version: 4}: 0, {ID: 1, Version: 0}: 1} {
		if got, err := NewGroups(s).Info(t.Context(), 1, []protocol.GroupVersion{version}); err != nil || len(got) != want {
			t.Errorf("%+v: %+v, %v", version, got, err)
		}
	}
	s.broken = protocol.Errorf(protocol.CodeInternal, "damaged")
	_, err = NewGroups(s).Info(t.Context(), 1, []protocol.GroupVersion{{ID: 1}})
	wantCode(t, "damaged", err, protocol.CodeInternal)
}

// [TT-GROUP-3]
func TestCreateGroup(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cmd     protocol.CreateGroup
		want    protocol.Code
		members []protocol.UserID
	}{
		{"members sorted, each once, those who exist", protocol.CreateGroup{Type: 2, Name: "g", Members: []protocol.UserID{3, 1, 9, 3, 4, 0}}, 0, []protocol.UserID{1, 3}},
		{"without the creator", protocol.CreateGroup{Type: 2, Name: "g", Members: []protocol.UserID{2}}, 0, []protocol.UserID{2}},
		{"normal", protocol.CreateGroup{Type: 1, Name: "g", Members: []protocol.UserID{1}}, protocol.CodeForbidden, nil},
		{"no name", protocol.CreateGroup{Type: 2, Name: " ", Members: []protocol.UserID{1}}, protocol.CodeInvalid, nil},
		{"long name", protocol.CreateGroup{Type: 2, Name: strings.Repeat("x", 769), Members: []protocol.UserID{1}}, protocol.CodeTooLarge, nil},
		{"long avatar", protocol.CreateGroup{Type: 2, Name: "g", Avatar: strings.Repeat("x", 256), Members: []protocol.UserID{1}}, protocol.CodeTooLarge, nil},
		{"no member", protocol.CreateGroup{Type: 2, Name: "g"}, protocol.CodeInvalid, nil},
		{"no known member", protocol.CreateGroup{Type: 2, Name: "g", Members: []protocol.UserID{4, 9}}, protocol.CodeInvalid, nil},
		{"too many", protocol.CreateGroup{Type: 2, Name: "g", Members: upTo(maxMembers + 1)}, protocol.CodeTooLarge, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := groupStore()
			tt.cmd.Actor = 1
			result, err := NewGroups(s).Create(t.Context(), tt.cmd)
			wantCode(t, "create", err, tt.want)
			if !slices.Equal(result.Members, tt.members) {
				t.Errorf("members %v", result.Members)
			}
			if (s.last() == nil) != (tt.want != 0) {
				t.Errorf("executed: %#v", s.last())
			}
		})
	}
}

func upTo(n int) (ids []protocol.UserID) {
	for i := range n {
		ids = append(ids, protocol.UserID(i+1))
	}
	return ids
}

// [TT-GROUP-4] [TT-DIFF-22]
func TestChangeMembers(t *testing.T) {
	const add, del = protocol.MembersAdd, protocol.MembersDel
	for _, tt := range []struct {
		name    string
		cmd     protocol.ChangeMembers
		want    protocol.Code
		members []protocol.UserID
	}{
		{"add those who exist", protocol.ChangeMembers{Group: 2, Change: add, Members: []protocol.UserID{3, 1, 9, 4, 3}}, 0, []protocol.UserID{1, 3}},
		{"remove, also who has left", protocol.ChangeMembers{Group: 2, Change: del, Members: []protocol.UserID{4, 3}}, 0, []protocol.UserID{3, 4}},
		{"leave", protocol.ChangeMembers{Group: 2, Change: del, Members: []protocol.UserID{1}}, 0, []protocol.UserID{1}},
		{"nobody known", protocol.ChangeMembers{Group: 2, Change: add, Members: []protocol.UserID{9}}, protocol.CodeInvalid, nil},
		{"nobody", protocol.ChangeMembers{Group: 2, Change: del}, protocol.CodeInvalid, nil},
		{"unknown group", protocol.ChangeMembers{Group: 9, Change: add, Members: []protocol.UserID{9}}, protocol.CodeNotFound, nil},
		{"closed group", protocol.ChangeMembers{Group: 4, Change: add, Members: []protocol.UserID{2}}, protocol.CodeNotFound, nil},
		{"unknown change", protocol.ChangeMembers{Group: 2, Change: 3, Members: []protocol.UserID{2}}, protocol.CodeInvalid, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := groupStore()
			tt.cmd.Actor, tt.cmd.Origin = 1, 42
			result, err := NewGroups(s).ChangeMembers(t.Context(), tt.cmd)
			wantCode(t, "change", err, tt.want)
			if !slices.Equal(result.Changed, tt.members) {
				t.Errorf("changed %v", result.Changed)
			}
			if c, ok := s.last().(*protocol.ChangeMembers); ok && (c.Actor != 1 || c.Origin != 42) {
				t.Errorf("%#v", c)
			}
		})
	}
}

// [TT-GROUP-8]
func TestShield(t *testing.T) {
	s := groupStore()
	if err := NewGroups(s).Shield(t.Context(), 1, 2, true); err != nil {
		t.Error(err)
	}
	if c, ok := s.last().(*protocol.ShieldGroup); !ok || *c != (protocol.ShieldGroup{User: 1, Group: 2, On: true}) {
		t.Errorf("%#v", s.last())
	}
}
