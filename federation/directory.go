package federation

import (
	"slices"
	"strings"
	"sync"
	"time"

	"teamtalk/protocol"
)

const (
	mostFound  = 50  // people that a search finds at most
	mostText   = 128 // bytes of what is searched
	searchRate = 20  // searches of all peers in a second that are answered
)

// directory is what this cluster's people are called, for searches by others. It is read when somebody searches, from then on only what has changed, and forgotten
// when nobody has for a while. Its zero value is ready.
type directory struct {
	mu      sync.Mutex // guards what follows
	entries []entry
	places  map[protocol.UserID]int // in entries
	newest  protocol.Time           // of what was read
	used    time.Time               // zero: nothing was read
	rate    perSecond[struct{}]
}

// entry is somebody as he is searched, in lower case; of one who has left all is empty.
type entry struct {
	id                   protocol.UserID
	login, nick, phonics string
}

// find returns the ids of those whose login name, nick or phonetic name is the text, begins with it, or holds it, in that order. CodeRateLimited if too
// many are searching.
func (d *directory) find(people People, text string, limit int) ([]protocol.UserID, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.rate.allow(time.Now(), struct{}{}, searchRate) {
		return nil, protocol.Errorf(protocol.CodeRateLimited, "too many searches at once: later")
	}
	if err := d.readLocked(people); err != nil {
		return nil, err
	}
	var ranks [3][]protocol.UserID
	for i := range d.entries {
		e := &d.entries[i]
		if r := e.rank(text); r < len(ranks) && len(ranks[r]) < limit {
			ranks[r] = append(ranks[r], e.id)
		}
	}
	found := slices.Concat(ranks[:]...)
	return found[:min(len(found), limit)], nil
}

// rank is how well a text fits: 0 it is the name, 1 the beginning, 2 a part, 3 not at all.
func (e *entry) rank(text string) int {
	best := 3
	for _, name := range [...]string{e.login, e.nick, e.phonics} {
		switch at := strings.Index(name, text); {
		case at < 0:
		case name == text:
			best = 0
		case at == 0:
			best = min(best, 1)
		default:
			best = min(best, 2)
		}
	}
	return best
}

// readLocked brings the entries up to date.
func (d *directory) readLocked(people People) error {
	users, newest, err := people.UsersSince(d.newest)
	if err != nil {
		return err
	}
	if d.places == nil {
		d.places = make(map[protocol.UserID]int, len(users))
	}
	for i := range users {
		u := &users[i]
		if u.ID >= protocol.MaxLocalID {
			continue
		}
		e := entry{id: u.ID}
		if u.Status != protocol.StatusLeft {
			e.login, e.nick, e.phonics = strings.ToLower(u.Name), strings.ToLower(u.Nick), strings.ToLower(u.Domain)
		}
		at, known := d.places[u.ID]
		if !known {
			at = len(d.entries)
			d.places[u.ID] = at
			d.entries = append(d.entries, entry{})
		}
		d.entries[at] = e
	}
	d.newest, d.used = newest, time.Now()
	return nil
}

// forget frees the memory of a directory that nobody searches.
func (d *directory) forget(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.used.IsZero() && now.Sub(d.used) >= searchAfter {
		d.entries, d.places, d.newest, d.used = nil, nil, 0, time.Time{}
	}
}

// perSecond counts what each of many does within a second. Its zero value is ready; it is for one goroutine at a time.
type perSecond[K comparable] struct {
	begun time.Time
	n     map[K]int
}

const mostCounted = 1 << 16 // of whom is counted in a second; who comes later has to wait

// allow counts one more, unless there were most already.
func (p *perSecond[K]) allow(now time.Time, k K, most int) bool { return p.take(now, k, 1, most) }

// take counts so many more, unless that would be more than most.
func (p *perSecond[K]) take(now time.Time, k K, more, most int) bool {
	if p.n == nil || now.Sub(p.begun) >= time.Second {
		p.begun, p.n = now, make(map[K]int)
	}
	n, known := p.n[k]
	if n+more > most || !known && len(p.n) >= mostCounted {
		return false
	}
	p.n[k] = n + more
	return true
}
