package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"teamtalk/protocol"
)

// seen tells events that the app has had from those it has not, when a resumed session repeats what followed the last cursor
// [TT-SESS-3] [TT-SESS-20]. Messages are known by their number, read positions by their value. For the other durable events it remembers
// what came since the last cursor: a replay brings exactly that again, in the same order, before anything new.
type seen struct {
	last   map[protocol.Session]protocol.MsgID
	read   map[protocol.Session]protocol.MsgID
	recent map[string]int // keys of events since the cursor
	expect map[string]int // keys that a replay may bring again

	// A replay may collapse the changes of a profile to the last one, which may equal one before the last that the app has had.
	profile map[string]string // what the app has had last
	passed  map[string]*ProfileChanged
}

func newSeen() *seen {
	s := &seen{}
	s.reset()
	return s
}

// reset forgets everything: after a gap the numbers may begin anew.
func (s *seen) reset() {
	*s = seen{
		last: make(map[protocol.Session]protocol.MsgID), read: make(map[protocol.Session]protocol.MsgID),
		recent: make(map[string]int), expect: make(map[string]int),
		profile: make(map[string]string), passed: make(map[string]*ProfileChanged),
	}
}

// fresh reports whether the app has not had ev, and notes that it has it now.
func (s *seen) fresh(ev Event) bool {
	switch ev := ev.(type) {
	case *Message:
		return advance(s.last, ev.Session, ev.ID)
	case *ReadMoved:
		return advance(s.read, ev.Session, ev.UpTo)
	}
	key := durableKey(ev)
	if key == "" {
		return true
	}
	s.recent[key]++
	who, what := profileKey(ev)
	if s.expect[key] == 0 {
		if who != "" {
			s.profile[who] = what
			delete(s.passed, who)
		}
		return true
	}
	if s.expect[key]--; s.expect[key] == 0 {
		delete(s.expect, key)
	}
	if p, ok := ev.(*ProfileChanged); ok {
		s.passed[who] = p
	}
	return false
}

func advance(m map[protocol.Session]protocol.MsgID, at protocol.Session, to protocol.MsgID) bool {
	if to <= m[at] {
		return false
	}
	m[at] = to
	return true
}

// resuming begins a replay of what followed the cursor.
func (s *seen) resuming() {
	for key, n := range s.recent {
		s.expect[key] += n
	}
	s.recent = make(map[string]int)
}

// atCursor notes that everything so far lies behind the cursor; it returns what the app has had beyond it.
func (s *seen) atCursor() map[string]int {
	s.recent = make(map[string]int)
	return maps.Clone(s.expect)
}

// live ends a replay. It returns the profiles that were taken for known and are not the last the app has had.
func (s *seen) live() []*ProfileChanged {
	var missed []*ProfileChanged
	for _, who := range slices.Sorted(maps.Keys(s.passed)) {
		if _, what := profileKey(s.passed[who]); s.profile[who] != what {
			s.profile[who] = what
			missed = append(missed, s.passed[who])
		}
	}
	s.expect = make(map[string]int)
	s.passed = make(map[string]*ProfileChanged)
	return missed
}

// durableKey tells durable events without a number from each other; empty for all others.
func durableKey(ev Event) string {
	switch ev := ev.(type) {
	case *MessageDeleted: // each message once [TT-DEL-6]
		return fmt.Sprintf("d %d %d %d", ev.Session.Type, ev.Session.ID, ev.ID)
	case *MessageStateChanged:
		return fmt.Sprintf("m %d %d %d %d %d", ev.Session.Type, ev.Session.ID, ev.ID, ev.State, ev.HubSeq)
	case *SessionRemoved:
		return fmt.Sprintf("s %d %d", ev.Session.Type, ev.Session.ID)
	case *GroupChanged:
		ids := make([]string, len(ev.Changed))
		for i, u := range ev.Changed {
			ids[i] = fmt.Sprint(u)
		}
		return fmt.Sprintf("g %d %d %d %s", ev.Group, ev.Change, ev.By, strings.Join(ids, ","))
	case *ProfileChanged:
		who, what := profileKey(ev)
		return who + " " + what
	case *FileOffered:
		if !ev.Ready { // nothing that lasts; that it is ready comes later, and is not a repeat of this
			return ""
		}
		return fmt.Sprintf("f %d %q", ev.From, ev.Task)
	}
	return ""
}

// profileKey is whose and which part of a profile changed, and to what.
func profileKey(ev Event) (who, what string) {
	p, ok := ev.(*ProfileChanged)
	switch {
	case !ok:
		return "", ""
	case p.Sign != nil:
		return fmt.Sprintf("p %d sign", p.User), *p.Sign
	case p.Avatar != nil:
		return fmt.Sprintf("p %d avatar", p.User), *p.Avatar
	}
	return "", ""
}
