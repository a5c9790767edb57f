package chat

import (
	"cmp"
	"slices"
	"unicode"

	"teamtalk/protocol"
)

// Choice is something that a jump may go to.
type Choice struct {
	In     protocol.Session
	Title  string
	Unread int
	score  int
}

// rank lists what a query may mean: conversations in the order of the list, then people one has not talked with.
func (m *Model) rank(query string) []Choice {
	var found []Choice
	add := func(in protocol.Session, title string, unread, extra int, aliases ...string) {
		best, ok := match(query, title)
		for _, a := range aliases {
			if s, fits := match(query, a); fits && (!ok || s > best) {
				best, ok = s, true
			}
		}
		if ok {
			found = append(found, Choice{in, title, unread, best + extra})
		}
	}
	for _, c := range m.list {
		alias := ""
		if !c.Group() {
			alias = m.Person(c.In.Peer()).Nick
		}
		add(c.In, m.Title(c), c.Unread, 2, alias)
	}
	for _, p := range m.People() {
		if in := protocol.WithUser(p.ID); m.all[in] == nil && p.ID != m.Me {
			add(in, p.Name, 0, 0, p.Nick)
		}
	}
	slices.SortStableFunc(found, func(a, b Choice) int { return cmp.Compare(b.score, a.score) })
	return found
}

// match tells whether all characters of a query occur in a name in this order, and how well: at its beginning, at the beginnings
// of words and next to each other is better.
func match(query, name string) (score int, ok bool) {
	q, n := fold(query), fold(name)
	if len(q) == 0 {
		return 0, true
	}
	if len(n) == 0 {
		return 0, false
	}
	at, before := 0, -2
	for i, r := range n {
		if at == len(q) {
			break
		}
		if r != q[at] {
			continue
		}
		switch {
		case i == 0:
			score += 12
		case before == i-1:
			score += 8
		case !unicode.IsLetter(n[i-1]) && !unicode.IsDigit(n[i-1]):
			score += 6
		default:
			score += 1
		}
		at, before = at+1, i
	}
	return score*4 - len(n), at == len(q)
}

// fold is a text without differences of case, blanks and the sign of groups.
func fold(s string) []rune {
	var out []rune
	for _, r := range s {
		if !unicode.IsSpace(r) && r != '#' {
			out = append(out, unicode.ToLower(r))
		}
	}
	return out
}
