package service

import (
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

// [TT-BUDDY-1]
func TestRecentSessions(t *testing.T) {
	got, err := NewBuddies(newFakeStore(), nil).RecentSessions(t.Context(), 1, 0)
	if err != nil || len(got) != 100 {
		t.Errorf("%d, %v", len(got), err)
	}
}

// [TT-BUDDY-2]
func TestUsers(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1}, protocol.User{ID: 2}, protocol.User{ID: 3, Status: protocol.StatusLeft})
	b := NewBuddies(s, atNoon)
	got, err := b.Users(t.Context(), 1, []protocol.UserID{3, 9, 1, 3, 0, 2, 1})
	var ids []protocol.UserID
	for _, u := range got {
		ids = append(ids, u.ID)
	}
	if want := []protocol.UserID{1, 2, 3}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%v, %v", ids, err)
	}
	many := make([]protocol.UserID, maxIDs+1)
	for i := range many {
		many[i] = protocol.UserID(i + 1)
	}
	_, err = b.Users(t.Context(), 1, many)
	wantCode(t, "too many", err, protocol.CodeTooLarge)
}

// [TT-BUDDY-4] [TT-BUDDY-5] [TT-BUDDY-6] [TT-DIFF-11]
func TestUpdateTimes(t *testing.T) {
	now := protocol.TimeOf(noon)
	const second, day = protocol.Time(1000), protocol.Time(24 * 3600 * 1000)
	for _, tt := range []struct {
		name           string
		since, updated protocol.Time // asked with; of the only row
		asked          protocol.Time // of the store
		rows           int
		next           protocol.Time
	}{
		{"everything", 0, now - day + 300, 0, 1, now - day + second},
		{"since before", now - 2*day, now - day + 300, now - 2*day - 1, 1, now - day + second},
		{"since the same second, named before it was over", now - day, now - day + 300, now - day - 1, 1, now - day + second},
		{"since the second after", now - day + second, now - day + 300, now - day + second - 1, 0, now - day + second},
		{"since the very instant", now - day, now - day, now - day - 1, 1, now - day + second},
		{"a second not over for good", now - day, now - 30*second - 1, now - day - 1, 1, now - 31*second},
		{"in the future", now + 1, now - day + 300, now - day - 1, 1, now - day + second},
		{"far in the future, nothing new", now + 99*day, now - 2*day, now - day - 1, 0, now + 99*day},
		{"now", now, now - day, now - 1, 0, now},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newFakeStore(protocol.User{ID: 1, Updated: tt.updated})
			s.departments = []protocol.Department{{ID: 1, Updated: tt.updated}}
			s.newest = tt.updated
			b := NewBuddies(s, atNoon)
			users, next, err := b.AllUsers(t.Context(), 1, tt.since)
			if err != nil || len(users) != tt.rows || next != tt.next {
				t.Errorf("users: %d until %d, %v; want %d until %d", len(users), next-now, err, tt.rows, tt.next-now)
			}
			departments, next, err := b.Departments(t.Context(), 1, tt.since)
			if err != nil || len(departments) != tt.rows || next != tt.next {
				t.Errorf("departments: %d until %d, %v; want %d until %d", len(departments), next-now, err, tt.rows, tt.next-now)
			}
			if want := []protocol.Time{tt.asked, tt.asked}; !slices.Equal(s.since, want) {
				t.Errorf("the store was asked %v, want %v", s.since, want)
			}
		})
	}
}

// [TT-BUDDY-3]
func TestRemoveSession(t *testing.T) {
	s := newFakeStore()
	b := NewBuddies(s, atNoon)
	cmd := protocol.RemoveSession{User: 1, Session: protocol.WithUser(2), Origin: 42}
	if err := b.RemoveSession(t.Context(), cmd); err != nil {
		t.Error(err)
	}
	if got, ok := s.last().(*protocol.RemoveSession); !ok || *got != cmd {
		t.Errorf("%#v", s.last())
	}
	wantCode(t, "no session", b.RemoveSession(t.Context(), protocol.RemoveSession{User: 1}), protocol.CodeInvalid)
	s.execute = func(protocol.Command) (any, error) { return nil, notFound() }
	wantCode(t, "not on the list", b.RemoveSession(t.Context(), cmd), protocol.CodeNotFound)
}

// [TT-BUDDY-7] [TT-BUDDY-8]
func TestChangeSignAndAvatar(t *testing.T) {
	s := newFakeStore()
	b := NewBuddies(s, atNoon)
	ctx := t.Context()
	wantCode(t, "sign", b.ChangeSign(ctx, 1, strings.Repeat("签", 42)+"12"), 0)
	if c, ok := s.last().(*protocol.ChangeSign); !ok || c.User != 1 || len(c.Sign) != 128 {
		t.Errorf("%#v", s.last())
	}
	wantCode(t, "empty sign", b.ChangeSign(ctx, 1, ""), 0)
	wantCode(t, "sign of two lines", b.ChangeSign(ctx, 1, "a\nb"), 0)
	wantCode(t, "long sign", b.ChangeSign(ctx, 1, strings.Repeat("x", 129)), protocol.CodeTooLarge)
	wantCode(t, "sign no UTF-8", b.ChangeSign(ctx, 1, "\xff"), protocol.CodeInvalid)
	wantCode(t, "avatar", b.ChangeAvatar(ctx, 1, strings.Repeat("x", 255)), 0)
	if c, ok := s.last().(*protocol.ChangeAvatar); !ok || c.User != 1 || len(c.Avatar) != 255 {
		t.Errorf("%#v", s.last())
	}
	wantCode(t, "long avatar", b.ChangeAvatar(ctx, 1, strings.Repeat("x", 256)), protocol.CodeTooLarge)
	wantCode(t, "avatar of two lines", b.ChangeAvatar(ctx, 1, "a\nb"), protocol.CodeInvalid)
}
