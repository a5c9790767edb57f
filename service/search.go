package service

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"teamtalk/protocol"
)

const (
	maxSearchText = 64                      // bytes [TT-FED-6]
	maxFound      = 50                      // people [TT-FED-6]
	abroadTime    = 1500 * time.Millisecond // that other offices have to answer [TT-FED-6]
)

// Abroad are the other offices that share their directory.
type Abroad interface {
	// Search finds people there, who can be written to from then on. With an error it may have found some: not all offices have answered.
	Search(ctx context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error)
}

// WithAbroad lets Search ask other offices; it is called before anything else.
func (b *Buddies) WithAbroad(a Abroad) *Buddies {
	b.abroad = a
	return b
}

// Search finds people by a part of a login name, nick, its spelling or an address: those of this office, the best first, then those of others. An error
// means that nobody was found and that not everybody was asked [TT-FED-6].
func (b *Buddies) Search(ctx context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	text = strings.TrimSpace(text)
	if err := protocol.CheckName("search text", text, maxSearchText); err != nil {
		return nil, err
	}
	limit = min(max(limit, 1), maxFound)
	if err := b.people.refresh(b.store, protocol.TimeOf(b.now())); err != nil {
		return nil, wrap("search", err)
	}
	ids := b.people.find(text, limit)
	found, err := b.store.Users(ids)
	if err != nil {
		return nil, wrap("search", err)
	}
	slices.SortFunc(found, func(x, y protocol.User) int { return cmp.Compare(slices.Index(ids, x.ID), slices.Index(ids, y.ID)) })
	if b.abroad == nil || len(found) >= limit {
		return found, nil
	}
	others, err := b.searchAbroad(ctx, me, text, limit)
	for _, u := range others {
		if len(found) < limit && !slices.ContainsFunc(found, func(f protocol.User) bool { return f.ID == u.ID }) {
			found = append(found, u)
		}
	}
	if len(found) > 0 {
		err = nil // some office is slow or away: what was found is worth more than that
	}
	return found, wrap("search", err)
}

// searchAbroad asks the other offices. They know their people by login names: of an address they are asked for what is before the @.
func (b *Buddies) searchAbroad(ctx context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error) {
	ctx, cancel := context.WithTimeout(ctx, abroadTime)
	defer cancel()
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return b.abroad.Search(ctx, me, text, limit)
	}
	login := strings.TrimSpace(text[:at])
	if login == "" {
		return nil, nil
	}
	found, err := b.abroad.Search(ctx, me, login, maxFound)
	return slices.DeleteFunc(found, func(u protocol.User) bool {
		return !strings.Contains(strings.ToLower(u.Address), strings.ToLower(text))
	}), err
}

// people is what a search looks at: the names of all who have not left, read once and then kept up with. It is made by the first search.
type people struct {
	mu    sync.Mutex // guards all below
	names map[protocol.UserID][]string
	since protocol.Time // what changed before is known
}

func newPeople() *people { return &people{names: make(map[protocol.UserID][]string)} }

// refresh reads what has changed. A millisecond that is over for good is not read again: everybody may have been imported in it.
func (p *people) refresh(store BuddyStore, now protocol.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	users, newest, err := store.UsersSince(p.since)
	if err != nil {
		return err
	}
	for i := range users {
		u := &users[i]
		if u.Status == protocol.StatusLeft {
			delete(p.names, u.ID)
			continue
		}
		p.names[u.ID] = []string{strings.ToLower(u.Name), strings.ToLower(u.Nick), strings.ToLower(u.Domain)}
	}
	p.since = max(p.since, newest)
	if len(users) > 0 && now >= newest+protocol.Time(settled.Milliseconds()) {
		p.since = newest + 1
	}
	return nil
}

// match is somebody who is called so.
type match struct {
	id   protocol.UserID
	how  int // 0 is a whole name, 1 its beginning, 2 a part of it
	name string
}

// find returns the best matches for a text.
func (p *people) find(text string, limit int) []protocol.UserID {
	text = strings.ToLower(text)
	var all []match
	p.mu.Lock()
	for id, names := range p.names {
		if how := matches(names, text); how >= 0 {
			all = append(all, match{id, how, names[0]})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.id/protocol.MaxLocalID, b.id/protocol.MaxLocalID), cmp.Compare(a.how, b.how), strings.Compare(a.name, b.name), cmp.Compare(a.id, b.id))
	})
	ids := make([]protocol.UserID, 0, limit)
	for _, m := range all[:min(limit, len(all))] {
		ids = append(ids, m.id)
	}
	return ids
}

// matches is how well one of the names fits, -1 if none does.
func matches(names []string, text string) int {
	best := -1
	for _, name := range names {
		at := strings.Index(name, text)
		if at < 0 {
			continue
		}
		how := 2
		switch {
		case len(name) == len(text):
			return 0
		case at == 0:
			how = 1
		}
		if best < 0 || how < best {
			best = how
		}
	}
	return best
}
