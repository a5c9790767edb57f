package transfer

import (
	"io"
	"sync"

	"teamtalk/protocol"
)

// fetchers counts the connections by which users fetch files, so that nobody fills the node with them [TT-FILE-11].
type fetchers struct {
	most int // of one user

	mu sync.Mutex // guards what follows
	of map[protocol.UserID]int
}

// enter counts one more of a user, until leave; false: he has too many.
func (f *fetchers) enter(u protocol.UserID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of[u] >= f.most {
		return false
	}
	f.of[u]++
	return true
}

// leave takes back what enter counted.
func (f *fetchers) leave(u protocol.UserID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of[u]--; f.of[u] == 0 {
		delete(f.of, u)
	}
}

// fetched is a file that is being fetched.
type fetched struct {
	io.ReadSeekCloser
	leave func()
}

// Close makes room for the user's next one; called once.
func (f fetched) Close() error {
	defer f.leave()
	return f.ReadSeekCloser.Close()
}
