package service

import (
	"context"
	"time"

	"teamtalk/protocol"
)

// SessionStore is what Sessions needs of the store.
type SessionStore interface {
	Executor
	// Cluster is CodeNotFound until the cluster is founded.
	Cluster() (protocol.Cluster, error)
	// Revoked is the epoch that counts for a user, a device ("": a legacy client's) and the client's class, each included.
	Revoked(u protocol.UserID, d protocol.DeviceID, c protocol.ClientType) (protocol.Epoch, error)
	UserByID(id protocol.UserID) (protocol.User, error)
}

// Sessions decides which sessions may go on, and with what they are resumed.
type Sessions struct {
	store SessionStore
	now   func() time.Time
}

// NewSessions makes the session rules over a store; now is nil for time.Now.
func NewSessions(store SessionStore, now func() time.Time) *Sessions {
	if now == nil {
		now = time.Now
	}
	return &Sessions{store, now}
}

// tokenLife is how long a resume token is good from when it was issued [TT-SESS-6].
const tokenLife = 7 * 24 * time.Hour

// What a user reads whose session is not resumed.
const (
	tokenExpired = "the session has expired: log in again"
	tokenRevoked = "the session was ended: log in again"
	tokenForeign = "the session is that of another device: log in again"
	tokenForged  = "the session is not known here: log in again"
)

// Epoch is the epoch of a session that u, as he was when his password was checked, begins now [TT-SESS-7]. If all his
// sessions were revoked since then, it is one that Valid refuses: the password may be another one by now.
func (s *Sessions) Epoch(u protocol.User, d protocol.DeviceID, c protocol.ClientType) (protocol.Epoch, error) {
	epoch, err := s.store.Revoked(u.ID, d, c)
	if err != nil {
		return 0, wrap("epoch", err)
	}
	// Read after the epoch: if it is the same now, it was the same in the epoch. Were the epoch alone looked at, that of a
	// device revoked a moment after the password was changed would cover the change.
	now, err := s.store.UserByID(u.ID)
	if err != nil {
		return 0, wrap("epoch", err)
	}
	if now.Revoked != u.Revoked {
		return u.Revoked, nil
	}
	return max(epoch, u.Revoked), nil
}

// Valid reports whether a session with this epoch may go on; of a legacy client's (no device id) only the user and the
// class matter [TT-SESS-7] [TT-SESS-9].
func (s *Sessions) Valid(d protocol.Device, e protocol.Epoch) (bool, error) {
	needed, err := s.store.Revoked(d.User, d.ID, d.Client)
	return err == nil && e >= needed, wrap("check session", err)
}

// Issue makes what the client of a session resumes it with for 7 days. It does not end what was issued before [TT-SESS-6].
func (s *Sessions) Issue(d protocol.Device, e protocol.Epoch) (protocol.Credential, error) {
	if d.User == 0 || d.ID == "" || len(d.ID) > protocol.MaxDeviceID {
		return protocol.Credential{}, protocol.Errorf(protocol.CodeInvalid, "a session of user %d, with a device id of %d bytes, can't be resumed", d.User, len(d.ID))
	}
	c, err := s.cluster()
	if err != nil {
		return protocol.Credential{}, err
	}
	t := token{cluster: c.ID, history: c.History, device: d, epoch: e, expires: s.now().Add(tokenLife).Unix()}
	return protocol.Credential{Token: t.seal(c.TokenKey[:]), Expires: tokenLife}, nil
}

// Check is what a resume token proves for a client that says to be on this device; d.User is not looked at.
// CodeUnauthenticated means that the user has to log in, and the message tells him why [TT-SESS-6] [TT-SESS-7].
func (s *Sessions) Check(sealed []byte, d protocol.Device) (protocol.Grant, error) {
	c, err := s.cluster()
	if err != nil {
		return protocol.Grant{}, err
	}
	t, ok := openToken(sealed, c.TokenKey[:])
	switch {
	case !ok || t.cluster != c.ID:
		return protocol.Grant{}, unauthenticated(tokenForged)
	case t.device.ID != d.ID || t.device.Client != d.Client:
		return protocol.Grant{}, unauthenticated(tokenForeign)
	case s.now().Unix() >= t.expires:
		return protocol.Grant{}, unauthenticated(tokenExpired)
	}
	g := protocol.Grant{Device: t.device, Epoch: t.epoch, SameHistory: t.history == c.History}
	if err := s.checkEpoch(g); err != nil {
		return protocol.Grant{}, err
	}
	return g, nil
}

func unauthenticated(message string) error {
	return protocol.Errorf(protocol.CodeUnauthenticated, "%s", message)
}

// checkEpoch refuses sessions that were revoked, and those of users who can't log in any more.
func (s *Sessions) checkEpoch(g protocol.Grant) error {
	user, err := s.store.UserByID(g.Device.User)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return unauthenticated(tokenRevoked)
	}
	if err != nil {
		return wrap("check session", err)
	}
	needed, err := s.store.Revoked(g.Device.User, g.Device.ID, g.Device.Client)
	switch {
	case err != nil:
		return wrap("check session", err)
	case user.Status != protocol.StatusActive, g.Epoch < needed:
		return unauthenticated(tokenRevoked)
	case !g.SameHistory && g.Epoch != needed:
		// Log indexes of two histories can't be compared, so a larger one does not say that it is later.
		return unauthenticated(tokenExpired)
	}
	return nil
}

// cluster is CodeUnavailable while there are no keys: that ends by itself.
func (s *Sessions) cluster() (protocol.Cluster, error) {
	c, err := s.store.Cluster()
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return c, protocol.Errorf(protocol.CodeUnavailable, "this node does not know the cluster's keys yet: %w", err)
	}
	return c, wrap("cluster", err)
}

// Revoke ends sessions, live or to be resumed, on all nodes [TT-SESS-7].
func (s *Sessions) Revoke(ctx context.Context, cmd protocol.RevokeSessions) error {
	if err := signedIn(cmd.User); err != nil {
		return err
	}
	return execute0(ctx, s.store, "revoke sessions", &cmd)
}
