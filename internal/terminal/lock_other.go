//go:build !unix

package terminal

import (
	"errors"
	"os"
)

var errLocked = errors.New("in use by another program")

// tryLock knows no locks here: two commands at once on one profile end with one of them replaced by the other, which the server tells.
func tryLock(*os.File) error { return nil }
