package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"teamtalk/protocol"
)

// desk is what a run leaves for the next one.
type desk struct {
	Open   protocol.Session `json:"open,omitzero"` // the conversation that was shown
	Drafts []draft          `json:"drafts"`
}

type draft struct {
	In   protocol.Session `json:"in"`
	Text string           `json:"text"`
}

// Restore takes up the drafts of an earlier run and opens the conversation that was open; a file that is missing, and an empty name, have none.
func (m *Model) Restore(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var was desk
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	if err != nil {
		return fmt.Errorf("drafts: %w", err)
	}
	for _, d := range was.Drafts {
		if d.In.Valid() {
			m.conversation(d.In).Draft.Set(d.Text)
		}
	}
	m.Show(was.Open)
	return nil
}

// Keep writes the drafts, and what is open, for the next run, so that only the file's owner can read them.
func (m *Model) Keep(file string) error {
	if file == "" {
		return nil
	}
	was := desk{Drafts: []draft{}}
	if m.open != nil {
		was.Open = m.open.In
	}
	for _, c := range m.list {
		if text := c.Draft.Text(); strings.TrimSpace(text) != "" {
			was.Drafts = append(was.Drafts, draft{c.In, text})
		}
	}
	text, err := json.Marshal(was)
	if err == nil {
		err = os.WriteFile(file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("drafts: %w", err)
	}
	return nil
}
