package client

import (
	"maps"
	"slices"
	"sync"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// Storage keeps a client's session from one run of the program to the next. What it keeps is secret: the token logs in. It is for one
// client at a time; Load is called once, before any Save.
type Storage interface {
	// Load returns what was saved last, or a zero Saved.
	Load() (Saved, error)
	// Save replaces it. When it returns nil, Saved survives the end of the program.
	Save(s Saved) error
}

// Saved is what a Storage keeps.
type Saved struct {
	Name    string            `json:"name,omitempty"` // whose it is
	User    protocol.UserID   `json:"user,omitempty"`
	Device  protocol.DeviceID `json:"device,omitempty"`
	Token   []byte            `json:"token,omitempty"` // resumes the session
	Expires time.Time         `json:"expires,omitzero"`
	Cursor  protocol.Cursor   `json:"cursor,omitempty"`  // the app has had every event up to here
	Handed  []Handed          `json:"handed,omitempty"`  // the newest it has had, per conversation
	Beyond  map[string]int    `json:"beyond,omitempty"`  // other events it has had beyond the cursor
	Shown   map[string]string `json:"shown,omitempty"`   // of the profiles in Beyond: what the app has had last
	Outbox  []Queued          `json:"outbox,omitempty"`  // not acked yet, in order
	Winner  *Winner           `json:"winner,omitempty"`  // the transport that worked last
	Version int               `json:"version,omitempty"` // of this form: 1
}

// Handed is the newest message and the read position of a conversation that the app has had.
type Handed struct {
	Session protocol.Session `json:"session"`
	Message protocol.MsgID   `json:"message,omitempty"`
	Read    protocol.MsgID   `json:"read,omitempty"`
}

// Queued is a message that waits for its ack.
type Queued struct {
	ID      protocol.ClientMsgID `json:"id"`
	Session protocol.Session     `json:"session"`
	Type    protocol.MsgType     `json:"type"`
	Data    []byte               `json:"data"` // as it goes on the wire
	Extras  protocol.Extras      `json:"extras,omitzero"`
	Made    time.Time            `json:"made"`
}

// Winner is the transport that worked on a network.
type Winner struct {
	Network   string         `json:"network"`
	Transport dial.Transport `json:"transport"`
	At        time.Time      `json:"at"`
}

// export writes down what the app has had.
func (s *seen) export(to *Saved) {
	to.Handed = make([]Handed, 0, len(s.last))
	for in, id := range s.last {
		to.Handed = append(to.Handed, Handed{Session: in, Message: id, Read: s.read[in]})
	}
	for in, id := range s.read {
		if _, ok := s.last[in]; !ok {
			to.Handed = append(to.Handed, Handed{Session: in, Read: id})
		}
	}
	to.Beyond = maps.Clone(s.recent)
	to.Shown = make(map[string]string)
	for who, what := range s.profile {
		if s.recent[who+" "+what] > 0 {
			to.Shown[who] = what
		}
	}
}

// restore is the opposite of export.
func (s *seen) restore(from *Saved) {
	s.reset()
	for _, h := range from.Handed {
		if h.Message != 0 {
			s.last[h.Session] = h.Message
		}
		if h.Read != 0 {
			s.read[h.Session] = h.Read
		}
	}
	maps.Copy(s.recent, from.Beyond)
	maps.Copy(s.profile, from.Shown)
}

// clone shares nothing that changes.
func (s Saved) clone() Saved {
	s.Token = slices.Clone(s.Token)
	s.Handed = slices.Clone(s.Handed)
	s.Beyond = maps.Clone(s.Beyond)
	s.Shown = maps.Clone(s.Shown)
	s.Outbox = slices.Clone(s.Outbox)
	if s.Winner != nil {
		w := *s.Winner
		s.Winner = &w
	}
	return s
}

// MemoryStorage keeps the Saved as long as it is itself kept: for tests, and for clients that are closed and opened again. The zero value is ready.
type MemoryStorage struct {
	mu    sync.Mutex // guards state
	state Saved
}

// Load returns what was saved last.
func (m *MemoryStorage) Load() (Saved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.clone(), nil
}

// Save replaces it; it never fails.
func (m *MemoryStorage) Save(s Saved) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s.clone()
	return nil
}
