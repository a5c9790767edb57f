package terminal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"teamtalk/client"
)

// Use is what a session is for. Each has a device id of its own, so that commands can run while a tail or a chat follows what happens.
type Use string

// Uses.
const (
	ForCommands Use = "commands"
	ForTail     Use = "tail"
	ForChat     Use = "chat"
)

// follows tells whether a session is for whoever reads its events, perhaps for days.
func (u Use) follows() bool { return u == ForTail || u == ForChat }

// Profile is a folder that only its owner can read: who is logged in where, and the sessions to resume.
type Profile struct{ Dir string }

// DefaultProfile is the folder teamtalk in the user's folder of configurations.
func DefaultProfile() (Profile, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return Profile{}, fmt.Errorf("no folder for the profile: %w; say --profile DIR", err)
	}
	return Profile{filepath.Join(dir, "teamtalk")}, nil
}

// Account is who is logged in, and how the server is reached.
type Account struct {
	Servers    []string `json:"servers"`
	User       string   `json:"user"`
	CA         string   `json:"ca,omitempty"` // file of an authority that is trusted besides the system's
	AllowPlain bool     `json:"allow_plain,omitempty"`
	Legacy     string   `json:"legacy,omitempty"` // off, fallback or only; empty: off
	HTTP       string   `json:"http,omitempty"`   // URL of the server's HTTP port, where the servers do not say it
}

func (p Profile) account() string { return filepath.Join(p.Dir, "profile.json") }

func (p Profile) session(u Use) string { return filepath.Join(p.Dir, string(u)+".session") }

// Account reads who is logged in; a zero Account: nobody.
func (p Profile) Account() (Account, error) {
	text, err := os.ReadFile(p.account())
	if errors.Is(err, fs.ErrNotExist) {
		return Account{}, nil
	}
	var a Account
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return Account{}, fmt.Errorf("profile %s: %w", p.account(), err)
	}
	return a, nil
}

func (p Profile) keep(a Account) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = os.WriteFile(p.account()+".new", append(text, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(p.account()+".new", p.account())
	}
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// Drafts is the file for what was typed in a chat and not sent.
func (p Profile) Drafts() string { return filepath.Join(p.Dir, "chat.drafts.json") }

// storage is where a session is kept.
func (p Profile) storage(u Use) (*client.FileStorage, error) {
	return client.NewFileStorage(p.session(u))
}

// lock keeps other programs from a session, for as long as ctx says waiting for one that has it.
func (p Profile) lock(ctx context.Context, u Use) (unlock func(), err error) {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(p.Dir, string(u)+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := tryLock(f)
		if err == nil {
			return func() { f.Close() }, nil // which unlocks
		}
		if !errors.Is(err, errLocked) {
			return nil, errors.Join(fmt.Errorf("profile: lock: %w", err), f.Close())
		}
		if u.follows() {
			return nil, errors.Join(fmt.Errorf("a %s is running on the profile %s: end it, or use another --profile", u, p.Dir), f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another command is using the profile %s: %w", p.Dir, ctx.Err()), f.Close())
		}
	}
}
