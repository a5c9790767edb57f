package node

import (
	"context"
	"io"

	"teamtalk/raftstore/state"
)

// backups are copies of this node's state.
type backups struct{ store *state.Store }

// Backup writes a consistent copy of the state.
func (b backups) Backup(ctx context.Context, to io.Writer) error {
	_, err := b.store.Engine().Backup(ctx, to)
	return err
}

// HoldsRootKey reports whether a copy would hold what this cluster proves to others that it is itself by [FED-ID-4].
func (b backups) HoldsRootKey() (bool, error) {
	identity, err := b.store.FedIdentity()
	return identity != nil, err
}
