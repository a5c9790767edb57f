package service

import (
	"context"
	"time"

	"teamtalk/protocol"
)

// BuddyStore is what Buddies needs of the store.
type BuddyStore interface {
	Executor
	RecentSessions(me protocol.UserID, after protocol.Time, limit int) ([]protocol.RecentSession, error)
	Users(ids []protocol.UserID) ([]protocol.User, error)
	// UsersSince: for time 0 all who have not left, else all updated at or after it.
	UsersSince(t protocol.Time) (users []protocol.User, newest protocol.Time, err error)
	// DepartmentsSince: all updated after the time, deleted ones too.
	DepartmentsSince(t protocol.Time) (departments []protocol.Department, newest protocol.Time, err error)
}

// Buddies answers for the directory and the lists of conversations.
type Buddies struct {
	store  BuddyStore
	now    func() time.Time
	people *people
	abroad Abroad // nil: there are no other offices
}

// NewBuddies makes the directory rules over a store; now nil means time.Now.
func NewBuddies(store BuddyStore, now func() time.Time) *Buddies {
	if now == nil {
		now = time.Now
	}
	return &Buddies{store: store, now: now, people: newPeople()}
}

const (
	maxRecentSessions = 100            // [TT-BUDDY-1]
	futureMargin      = 24 * time.Hour // [TT-BUDDY-6]
	// settled is how old a second has to be before no entry of it can still be on its way from a leader whose clock is behind.
	settled = time.Minute
)

// RecentSessions is the user's conversations that changed after the given time, newest first, at most 100 [TT-BUDDY-1].
func (b *Buddies) RecentSessions(_ context.Context, me protocol.UserID, after protocol.Time) ([]protocol.RecentSession, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	sessions, err := b.store.RecentSessions(me, after, maxRecentSessions)
	return sessions, wrap("recent sessions", err)
}

// RemoveSession takes a conversation off the user's list; CodeNotFound if it is not on it [TT-BUDDY-3].
func (b *Buddies) RemoveSession(ctx context.Context, cmd protocol.RemoveSession) error {
	if err := signedIn(cmd.User); err != nil {
		return err
	}
	if !cmd.Session.Valid() {
		return protocol.Errorf(protocol.CodeInvalid, "no session of type %d, id %d", cmd.Session.Type, cmd.Session.ID)
	}
	return execute0(ctx, b.store, "remove session", &cmd)
}

// Users is the users that exist among ids, ascending, each once [TT-BUDDY-2].
func (b *Buddies) Users(_ context.Context, me protocol.UserID, ids []protocol.UserID) ([]protocol.User, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	wanted, err := distinct(ids, maxIDs)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	users, err := b.store.Users(wanted)
	return users, wrap("users", err)
}

// AllUsers is the directory for a client that knows it as it was at since (0: not at all), and the time to ask with next:
// since itself if nothing is returned [TT-BUDDY-4] [TT-BUDDY-6].
func (b *Buddies) AllUsers(_ context.Context, me protocol.UserID, since protocol.Time) ([]protocol.User, protocol.Time, error) {
	if err := signedIn(me); err != nil {
		return nil, 0, err
	}
	users, newest, err := b.store.UsersSince(b.justBefore(since))
	if err != nil {
		return nil, 0, wrap("all users", err)
	}
	if len(users) == 0 {
		return nil, since, nil
	}
	return users, b.nextTime(newest), nil
}

// Departments is the departments updated since the given time (0: all), and the time to ask with next: since itself if
// nothing is returned [TT-BUDDY-5] [TT-BUDDY-6].
func (b *Buddies) Departments(_ context.Context, me protocol.UserID, since protocol.Time) ([]protocol.Department, protocol.Time, error) {
	if err := signedIn(me); err != nil {
		return nil, 0, err
	}
	departments, newest, err := b.store.DepartmentsSince(b.justBefore(since))
	if err != nil {
		return nil, 0, wrap("departments", err)
	}
	if len(departments) == 0 {
		return nil, since, nil
	}
	return departments, b.nextTime(newest), nil
}

// justBefore is the time to ask the store with: a millisecond early, so that nothing stored in the first instant of the
// second that nextTime named is missed.
func (b *Buddies) justBefore(since protocol.Time) protocol.Time {
	return max(0, b.notFuture(since)-1)
}

// notFuture takes a time in the future for one day ago. COMPAT: Android sends its own clock, which may be ahead; it
// misses nothing as long as it is ahead by less than that day [TT-BUDDY-6] [TT-DIFF-11].
func (b *Buddies) notFuture(t protocol.Time) protocol.Time {
	now := b.now()
	if t <= protocol.TimeOf(now) {
		return t
	}
	return protocol.TimeOf(now.Add(-futureMargin))
}

// nextTime is the time of the newest row in whole seconds, as clients keep it. Rounded down it would bring the rows of
// that second again at every login, which may be the whole directory if it was imported at once; so it is rounded up as
// soon as that second is over for good.
func (b *Buddies) nextTime(newest protocol.Time) protocol.Time {
	down := newest - newest%1000
	up := down + 1000
	if protocol.TimeOf(b.now()) >= up+protocol.Time(settled.Milliseconds()) {
		return up
	}
	return down
}

// ChangeSign sets the user's signature, at most 128 bytes [TT-BUDDY-8].
func (b *Buddies) ChangeSign(ctx context.Context, me protocol.UserID, sign string) error {
	if err := signedIn(me); err != nil {
		return err
	}
	if err := protocol.CheckText("signature", sign, protocol.MaxSign); err != nil {
		return err
	}
	return execute0(ctx, b.store, "change signature", &protocol.ChangeSign{User: me, Sign: sign})
}

// ChangeAvatar sets the user's picture, at most 255 bytes [TT-BUDDY-7].
func (b *Buddies) ChangeAvatar(ctx context.Context, me protocol.UserID, avatar string) error {
	if err := signedIn(me); err != nil {
		return err
	}
	if err := protocol.CheckLine("avatar", avatar, protocol.MaxAvatar); err != nil {
		return err
	}
	return execute0(ctx, b.store, "change avatar", &protocol.ChangeAvatar{User: me, Avatar: avatar})
}
