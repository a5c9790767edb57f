package state

import (
	"errors"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// Queries read the state. Each one sees one moment of it: one read transaction. Errors are *protocol.Error.
type Queries struct {
	members *memberCache
	read    func(func(*bbolt.Tx) error) error
	applied func() protocol.Cursor
}

// view runs fn in a read transaction. What is not a *protocol.Error is hidden behind one.
func (q *Queries) view(fn func(*txn) error) error {
	err := q.read(func(tx *bbolt.Tx) error { return fn(&txn{tx: tx}) })
	var known *protocol.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return protocol.Errorf(protocol.CodeInternal, "the state can't be read: %w", err)
}
