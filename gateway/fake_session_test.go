package gateway

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// ledger is the world's log and who may resume; guarded by the world's mutex where it has none of its own.
type ledger struct {
	mu       sync.Mutex // guards all
	log      []protocol.Event
	ahead    protocol.Cursor // the head is so far beyond what is applied
	follower bool
	noLeader error
	lost     protocol.Cursor // cursors below are not replayable
	epochs   map[any]protocol.Epoch
	invalid  bool   // Valid says no
	other    bool   // tokens are of another history
	reading  func() // called before and after events are read
}

type classKey struct {
	user   protocol.UserID
	mobile bool
}

type deviceKey struct {
	user   protocol.UserID
	device protocol.DeviceID
}

func (l *ledger) note(e protocol.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, e)
}

func (l *ledger) change(f func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *ledger) Applied() protocol.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appliedLocked()
}

func (l *ledger) appliedLocked() protocol.Cursor {
	if len(l.log) == 0 {
		return 0
	}
	return protocol.Cursor(l.log[len(l.log)-1].At.Index)
}

func (l *ledger) WaitApplied(ctx context.Context, c protocol.Cursor) error {
	for l.Applied() < c {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (l *ledger) Head() (protocol.Cursor, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appliedLocked() + l.ahead, !l.follower
}

func (l *ledger) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.noLeader
}

func (l *ledger) Replayable(_ protocol.UserID, after protocol.Cursor) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return after >= l.lost, nil
}

func (l *ledger) EventsAfter(me protocol.UserID, after protocol.Cursor, limit int) (events []protocol.Event, next protocol.Cursor, err error) {
	l.mu.Lock()
	if before := l.reading; before != nil {
		l.mu.Unlock()
		before()
		l.mu.Lock()
	}
	defer func() {
		after := l.reading
		l.mu.Unlock()
		if after != nil {
			after()
		}
	}()
	for _, e := range l.log {
		if protocol.Cursor(e.At.Index) <= after || !concernsUser(e.Body, me) {
			continue
		}
		if n := len(events); n >= limit && events[n-1].At.Index != e.At.Index {
			return events, protocol.Cursor(events[n-1].At.Index), nil
		}
		events = append(events, l.replayedLocked(e))
	}
	return events, max(after, l.appliedLocked()), nil
}

func concernsUser(body protocol.EventBody, me protocol.UserID) bool {
	switch e := body.(type) {
	case protocol.MessageSent:
		if c := e.Message.Conversation; c.Type == protocol.SessionSingle {
			return uint32(me) == c.A || uint32(me) == c.B
		}
		return slices.Contains(e.Members, me)
	case protocol.MessageDeleted:
		if c := e.Conversation; c.Type == protocol.SessionSingle {
			return uint32(me) == c.A || uint32(me) == c.B
		}
		return slices.Contains(e.Members, me)
	case protocol.ReadMoved:
		return e.User == me
	case protocol.MessageStateChanged:
		return e.From == me
	case protocol.SessionRemoved:
		return e.User == me
	case protocol.MembersChanged:
		return slices.Contains(e.Current, me) || slices.Contains(e.Changed, me)
	case protocol.GroupCreated:
		return slices.Contains(e.Members, me)
	case protocol.SignChanged, protocol.AvatarChanged:
		return true
	case protocol.OfflineFileAdded:
		return e.File.To == me
	}
	return false
}

func (l *ledger) Epoch(u protocol.User, d protocol.DeviceID, c protocol.ClientType) (protocol.Epoch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(u.Revoked, l.epochs[classKey{u.ID, c.IsMobile()}], l.epochs[deviceKey{u.ID, d}]), nil
}

func (l *ledger) Valid(d protocol.Device, e protocol.Epoch) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.invalid && e >= max(l.epochs[d.User], l.epochs[classKey{d.User, d.Client.IsMobile()}], l.epochs[deviceKey{d.User, d.ID}]), nil
}

// fakeToken is a token that hides nothing.
type fakeToken struct {
	Device protocol.Device
	Epoch  protocol.Epoch
}

func (l *ledger) Issue(d protocol.Device, e protocol.Epoch) (protocol.Credential, error) {
	b, err := json.Marshal(fakeToken{d, e})
	return protocol.Credential{Token: b, Expires: 7 * 24 * time.Hour}, err
}

func (l *ledger) Check(token []byte, d protocol.Device) (protocol.Grant, error) {
	var t fakeToken
	if err := json.Unmarshal(token, &t); err != nil || t.Device.ID != d.ID || t.Device.Client != d.Client {
		return protocol.Grant{}, protocol.Errorf(protocol.CodeUnauthenticated, "forged")
	}
	if ok, _ := l.Valid(t.Device, t.Epoch); !ok {
		return protocol.Grant{}, protocol.Errorf(protocol.CodeUnauthenticated, "revoked")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return protocol.Grant{Device: t.Device, Epoch: t.Epoch, SameHistory: !l.other}, nil
}

// sessionsOf is the part of the world that says who may resume.
type sessionsOf struct {
	*ledger
	w *world
}

// Revoke is world.Revoke.
func (s sessionsOf) Revoke(ctx context.Context, cmd protocol.RevokeSessions) error {
	return s.w.Revoke(ctx, cmd)
}

// Revoke raises the epoch and tells of it, as the log would.
func (w *world) Revoke(_ context.Context, cmd protocol.RevokeSessions) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	epoch := protocol.Epoch(w.index + 1)
	w.ledger.change(func(l *ledger) {
		if l.epochs == nil {
			l.epochs = make(map[any]protocol.Epoch)
		}
		switch cmd.Scope {
		case protocol.RevokePC:
			l.epochs[classKey{cmd.User, false}] = epoch
		case protocol.RevokeDevice:
			l.epochs[deviceKey{cmd.User, cmd.Device}] = epoch
		case protocol.RevokeAll:
			l.epochs[cmd.User] = epoch
		}
	})
	w.publish(protocol.AccessRevoked{User: cmd.User, Scope: cmd.Scope, Device: cmd.Device, Reason: "test"})
	return nil
}
