//go:build unix

package terminal

import (
	"errors"
	"os"
	"syscall"
)

var errLocked = errors.New("in use by another program")

func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
