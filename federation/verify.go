package federation

import (
	"context"
	"errors"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// verify checks who has signed an event that the peer has sent: the peer itself, and within what it has ordered as a hub, the origin [FED-SIG-4].
// It returns who is counted for it.
func (l *link) verify(ctx context.Context, in *laneIn, e *fed.SignedEvent) (author fed.UserRef, err error) {
	if err := e.Verify(l.peer, l.keeper.newestKeys()); err != nil {
		return author, err
	}
	event, err := fed.DecodeEvent(e.Event)
	if err != nil || event.Type != fed.TypeHubPost {
		return event.Author, err
	}
	post, err := fed.BodyOf[fed.HubPost](&event)
	if err != nil {
		return author, err
	}
	err = l.verifyInner(ctx, l.peer, &post.Inner, func() error { return in.idle(ctx) })
	if isUnknownKey(err) {
		l.miss(fed.Gap{Group: event.Group, From: post.Seq, To: post.Seq})
	}
	return author, err
}

// verifyInner checks the event in a place of a hub's group. Those of the hub's own users need no signature besides the hub's. before waits until what
// came earlier has its effect: a cluster may have been named just now.
func (l *link) verifyInner(ctx context.Context, hub fed.ClusterID, inner *fed.SignedEvent, before func() error) error {
	if len(inner.Event) == 0 {
		return nil // deleted
	}
	event, err := fed.DecodeEvent(inner.Event)
	if err != nil {
		return err
	}
	origin := event.ID.Cluster
	if origin == hub {
		return nil
	}
	err = inner.Verify(origin, l.keeper.term.keysOf(origin))
	if err == nil {
		return nil
	}
	if werr := before(); werr != nil {
		return werr
	}
	keys, rerr := l.m.freshKeys(ctx, l.keeper.term, origin)
	if rerr != nil {
		return rerr
	}
	if _, known := keys[inner.Signature.Key]; !known {
		return &unknownKey{protocol.Errorf(protocol.CodeForbidden, "the event in a place of the group is by cluster %v, signed with key %x, which is not known here (yet)",
			origin, inner.Signature.Key)}
	}
	return inner.Verify(origin, keys)
}

// unknownKey is an event that can't be checked now: its origin's manifest may come.
type unknownKey struct{ why *protocol.Error }

// Error tells which key.
func (u *unknownKey) Error() string { return u.why.Error() }

// Unwrap is the error with its code.
func (u *unknownKey) Unwrap() error { return u.why }

func isUnknownKey(err error) bool {
	var u *unknownKey
	return errors.As(err, &u)
}

// keysOf are a cluster's keys as they were known a moment ago; nil: none.
func (t *term) keysOf(c fed.ClusterID) fed.Keys {
	if keys := t.keys.Load(); keys != nil {
		return (*keys)[c]
	}
	return nil
}

// freshWait bounds how often the state is asked for keys that are not known.
const freshWait = 50 * time.Millisecond

// freshKeys are a cluster's keys as the state has them; nil: none. Who asks often waits.
func (m *Manager) freshKeys(ctx context.Context, t *term, c fed.ClusterID) (fed.Keys, error) {
	select {
	case <-time.After(freshWait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if own := t.self.Load(); own.cluster == c {
		return own.keys, nil
	}
	p, err := m.readPeer(c)
	if err != nil || p == nil {
		return nil, err
	}
	manifest, err := p.Manifest.Open()
	if err != nil {
		return nil, err
	}
	return manifest.LinkKeys(), nil
}

// idle waits until everything that was started of a lane is committed.
func (in *laneIn) idle(ctx context.Context) error {
	settled := make(chan struct{})
	select {
	case in.pending <- receipt{settled: settled}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
