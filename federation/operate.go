package federation

import (
	"context"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

var errNotYet = protocol.Errorf(protocol.CodeUnavailable, "not yet")

// Init makes this cluster one that others can know, or changes what it is called.
func (m *Manager) Init(context.Context, Naming) error { return errNotYet }

// Self is this cluster as others know it; CodeNotFound before Init.
func (m *Manager) Self() (About, error) { return About{}, errNotYet }

// RotateKey puts the next link key into use; now leaves the former one out at once.
func (m *Manager) RotateKey(_ context.Context, _ bool) error { return errNotYet }

// Invite makes a code for another cluster.
func (m *Manager) Invite(context.Context, time.Duration) (fed.Invitation, error) {
	return fed.Invitation{}, errNotYet
}

// AcceptInvitation introduces this cluster to the one that made the code, through a proxy unless that is empty.
func (m *Manager) AcceptInvitation(_ context.Context, _, _ string) (PeerView, error) {
	return PeerView{}, errNotYet
}

// Confirm opens the link with a peer whose fingerprint an operator has compared.
func (m *Manager) Confirm(_ context.Context, _, _ string, _, _ fed.Allow) error { return errNotYet }

// SetPolicy changes the rules of a link.
func (m *Manager) SetPolicy(_ context.Context, _ string, _ Policy) error { return errNotYet }

// Pause stops a link and keeps what waits.
func (m *Manager) Pause(_ context.Context, _ string) error { return errNotYet }

// Resume opens a paused link; restored says that this cluster was restored from a backup and that the one before is gone (the peer is not named then).
func (m *Manager) Resume(_ context.Context, _ string, _ bool) error { return errNotYet }

// Remove ends a link for good.
func (m *Manager) Remove(_ context.Context, _ string) error { return errNotYet }

// Status is how all links are.
func (m *Manager) Status(context.Context) (Status, error) { return Status{}, errNotYet }

// Trace is what is known of a message.
func (m *Manager) Trace(context.Context, string) (TraceView, error) { return TraceView{}, errNotYet }

// DeadLetters are the newest events that were not accepted, the newest first.
func (m *Manager) DeadLetters(_ context.Context, _ string, _ int) ([]fed.DeadLetter, error) {
	return nil, errNotYet
}

// Handle answers a call that another node's Config.Leader has sent here.
func (m *Manager) Handle(context.Context, []byte) ([]byte, error) { return nil, errNotYet }

// ChangeMembers asks the hub of a group for a change.
func (m *Manager) ChangeMembers(_ context.Context, _ protocol.UserID, _ protocol.GroupID, _ protocol.MemberChange, _ []protocol.UserID) error {
	return errNotYet
}

// Search finds people of peers that share their directory.
func (m *Manager) Search(_ context.Context, _ protocol.UserID, _ string, _ int) ([]protocol.User, error) {
	return nil, errNotYet
}
