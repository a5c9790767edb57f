package main

import (
	"context"
	"io"

	"teamtalk/internal/node"
)

// nodeTools are those of this program's nodes.
func nodeTools() offlineTools {
	return offlineTools{
		restore: func(_ context.Context, dir string, backup io.Reader) (restored, error) {
			r, err := node.Restore(dir, backup)
			return restored(r), err
		},
		inspect: func(_ context.Context, dir string) (remains, error) {
			r, err := node.Inspect(dir)
			return remains(r), err
		},
		recover: func(_ context.Context, dir string) (remains, error) {
			r, err := node.Recover(dir)
			return remains(r), err
		},
	}
}
