package service

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"teamtalk/protocol"
)

type fakeTransfers struct{ offers int }

// Offer gives every second file another mode than was asked for.
func (f *fakeTransfers) Offer(_ context.Context, _, _ protocol.UserID, _ string, _ uint32, online bool) (string, bool, error) {
	f.offers++
	return f.task(f.offers), online == (f.offers%2 == 0), nil
}

func (f *fakeTransfers) IsTask(id string) bool { return strings.HasPrefix(id, "task of ours ") }

func (f *fakeTransfers) task(n int) string { return fmt.Sprint("task of ours ", n) }

// [TT-FILE-1] [TT-FILE-5]
func TestRequestFile(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1}, protocol.User{ID: 2})
	ctx := t.Context()
	_, _, err := NewFiles(s, nil).Request(ctx, 1, 2, "f", 10, true)
	wantCode(t, "no transfers", err, protocol.CodeUnavailable)
	transfers := new(fakeTransfers)
	for i, want := range []bool{false, true} { // every second receiver of the fake is online
		n := i + 1
		task, online, err := NewFiles(s, transfers).Request(ctx, 1, 2, "f", 10, true)
		if err != nil || task != transfers.task(n) || online != want {
			t.Errorf("offer %d: %q online %v, %v", n, task, online, err)
		}
	}
	for to, want := range map[protocol.UserID]protocol.Code{3: protocol.CodeNotFound, 1: protocol.CodeInvalid} {
		_, _, err = NewFiles(s, transfers).Request(ctx, 1, to, "f", 10, true)
		wantCode(t, "to nobody", err, want)
	}
	if transfers.offers != 2 {
		t.Errorf("%d offers", transfers.offers)
	}
}

// [TT-FILE-6]: what this server carries is recorded when it is stored, not when its sender says so.
func TestAddOfflineOfATask(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1}, protocol.User{ID: 2})
	transfers := new(fakeTransfers)
	wantCode(t, "a task", NewFiles(s, transfers).AddOffline(t.Context(), 1, 2, transfers.task(7), "f", 10), 0)
	if s.last() != nil {
		t.Errorf("executed %#v", s.last())
	}
	wantCode(t, "another's", NewFiles(s, transfers).AddOffline(t.Context(), 1, 2, "7", "f", 10), 0)
	if s.last() == nil {
		t.Error("nothing was executed")
	}
}

// [TT-FILE-2] [TT-FILE-3]
func TestOfflineFiles(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1}, protocol.User{ID: 2}, protocol.User{ID: 3, Status: protocol.StatusLeft})
	s.files = []protocol.OfflineFile{{From: 2, To: 1, TaskID: "a"}, {From: 1, To: 2, TaskID: "b"}}
	f := NewFiles(s, nil)
	ctx := t.Context()
	if got, err := f.Offline(ctx, 1); err != nil || len(got) != 1 || got[0].TaskID != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, tt := range []struct {
		name       string
		to         protocol.UserID
		task, file string
		want       protocol.Code
	}{
		{"fine", 2, "task", "C:/path/file.txt", 0},
		{"no task", 2, "", "f", protocol.CodeInvalid},
		{"long task", 2, strings.Repeat("t", 129), "f", protocol.CodeTooLarge},
		{"no name", 2, "task", "", protocol.CodeInvalid},
		{"long name", 2, "task", strings.Repeat("f", 1025), protocol.CodeTooLarge},
		{"to oneself", 1, "task", "f", protocol.CodeInvalid},
		{"to nobody", 9, "task", "f", protocol.CodeNotFound},
		{"to one who left", 3, "task", "f", protocol.CodeNotFound},
	} {
		s.commands = nil
		wantCode(t, tt.name, f.AddOffline(ctx, 1, tt.to, tt.task, tt.file, 10), tt.want)
		if (s.last() != nil) != (tt.want == 0) {
			t.Errorf("%s: executed %#v", tt.name, s.last())
		}
	}
}

// [TT-FILE-4] [TT-DIFF-20]
func TestDeleteOfflineFile(t *testing.T) {
	s := newFakeStore()
	f := NewFiles(s, nil)
	for actor, want := range map[protocol.UserID]protocol.Code{1: 0, 2: 0, 3: protocol.CodeForbidden} {
		s.commands = nil
		wantCode(t, "delete", f.DeleteOffline(t.Context(), actor, 1, 2, "task' or '1'='1"), want)
		c, ok := s.last().(*protocol.DeleteOfflineFile)
		if ok != (want == 0) || ok && *c != (protocol.DeleteOfflineFile{Actor: actor, From: 1, To: 2, TaskID: "task' or '1'='1"}) {
			t.Errorf("by %d: executed %#v", actor, s.last())
		}
	}
	wantCode(t, "no task", f.DeleteOffline(t.Context(), 1, 1, 2, ""), protocol.CodeInvalid)
}

// [TT-LOGIN-8] [TT-LOGIN-9] [TT-DIFF-6]
func TestRegisterDevice(t *testing.T) {
	s := newFakeStore()
	d := NewDevices(s)
	ctx := t.Context()
	wantCode(t, "mobile", d.Register(ctx, 1, protocol.ClientIOS, strings.Repeat("a", 64)), 0)
	if c, ok := s.last().(*protocol.RegisterDevice); !ok || c.User != 1 || c.Client != protocol.ClientIOS || len(c.Token) != 64 {
		t.Errorf("%#v", s.last())
	}
	wantCode(t, "unregister", d.Register(ctx, 1, protocol.ClientAndroid, ""), 0)
	s.commands = nil
	wantCode(t, "PC", d.Register(ctx, 1, protocol.ClientWindows, ""), protocol.CodeForbidden)
	wantCode(t, "long", d.Register(ctx, 1, protocol.ClientIOS, strings.Repeat("a", 513)), protocol.CodeTooLarge)
	if s.last() != nil {
		t.Errorf("executed %#v", s.last())
	}
}

// [TT-LOGIN-10]
func TestPushShield(t *testing.T) {
	s := newFakeStore(protocol.User{ID: 1, PushShield: true}, protocol.User{ID: 2})
	d := NewDevices(s)
	for id, want := range map[protocol.UserID]bool{1: true, 2: false} {
		if on, err := d.PushShield(t.Context(), id); on != want || err != nil {
			t.Errorf("%d: %v, %v", id, on, err)
		}
	}
	if err := d.SetPushShield(t.Context(), 2, true); err != nil {
		t.Error(err)
	}
	if c, ok := s.last().(*protocol.SetPushShield); !ok || *c != (protocol.SetPushShield{User: 2, On: true}) {
		t.Errorf("%#v", s.last())
	}
}
