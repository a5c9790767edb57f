//go:build linux

package e2e

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A deed is what somebody asks of a conversation.
type deed struct {
	kind deedKind
	user uint32
	text string // what he says; no two deeds have the same unless one repeats the other, with its client_msg_id
	upTo uint32 // of a mark: the read position he wants; of a look: how many messages
}

type deedKind uint8

const (
	deedSay    deedKind = iota
	deedMark            // moves his read position
	deedLook            // the newest messages
	deedLatest          // the newest id
	deedUnread          // how many messages of others are above his read position
)

// An outcome is what he is told. One that is not known may have come about, then or at any later time, or not.
type outcome struct {
	known bool
	id    uint32  // of the message that he says, or of the newest one
	lines []entry // the newest messages, newest first
	count uint32  // of unread messages
}

// An entry is a message in a history.
type entry struct {
	id, user uint32
	text     string
	millis   uint64 // create_time; 0 where a session isn't told. Not compared: only the server knows it
}

func (e entry) same(other entry) bool {
	return e.id == other.id && e.user == other.user && e.text == other.text
}

// chatState is a conversation as it should be: an append-only list with dense ids, and for each user a position that only rises.
type chatState struct {
	newest *spoken
	read   []position // by user
	// asked are the positions that were asked for without an answer, in order: from then on each may be taken on at any time.
	asked []position
}

type position struct{ user, upTo uint32 }

// spoken is a message and all before it, which never change.
type spoken struct {
	entry
	before *spoken
	sum    uint64 // of all texts up to here
}

func (s chatState) last() uint32 {
	if s.newest == nil {
		return 0
	}
	return s.newest.id
}

func (s chatState) sum() uint64 {
	if s.newest == nil {
		return 0
	}
	return s.newest.sum
}

func (s chatState) find(text string) *spoken {
	for m := s.newest; m != nil; m = m.before {
		if m.text == text {
			return m
		}
	}
	return nil
}

func (s chatState) position(user uint32) uint32 {
	for _, p := range s.read {
		if p.user == user {
			return p.upTo
		}
	}
	return 0
}

// advance is the state with a read position no lower than this one.
func (s chatState) advance(user, upTo uint32) chatState {
	if upTo <= s.position(user) {
		return s
	}
	s.read = slices.DeleteFunc(slices.Clone(s.read), func(p position) bool { return p.user == user })
	s.read = append(s.read, position{user, upTo})
	slices.SortFunc(s.read, position.compare)
	s.asked = slices.DeleteFunc(slices.Clone(s.asked), func(p position) bool { return p.user == user && p.upTo <= upTo })
	return s
}

// ask is the state in which a read position may come to be this one.
func (s chatState) ask(user, upTo uint32) chatState {
	p := position{user, upTo}
	if at, there := slices.BinarySearchFunc(s.asked, p, position.compare); !there && upTo > s.position(user) {
		s.asked = slices.Insert(slices.Clone(s.asked), at, p)
	}
	return s
}

func (p position) compare(other position) int {
	return cmp.Or(cmp.Compare(p.user, other.user), cmp.Compare(p.upTo, other.upTo))
}

// seen is the state in which so many messages are unread for a user: the one with his position, or the lowest that he may have come to. The higher ones
// he may still come to.
func (s chatState) seen(user, unread uint32) (bool, chatState) {
	for _, p := range append([]position{{user, s.position(user)}}, s.asked...) {
		if p.user != user {
			continue
		}
		if next := s.advance(user, p.upTo); next.unread(user) == unread {
			return true, next
		}
	}
	return false, s
}

// append is the state with one more message. Who says something in a group has read all before it [TT-MSG-10].
func (s chatState) append(user uint32, text string, group bool) chatState {
	id := s.last() + 1
	s.newest = &spoken{entry: entry{id: id, user: user, text: text}, before: s.newest, sum: maphash.Comparable(stateSeed, spokenSum{s.sum(), user, text})}
	if group {
		s = s.advance(user, id)
	}
	return s
}

type spokenSum struct {
	before uint64
	user   uint32
	text   string
}

var stateSeed = maphash.MakeSeed()

// unread counts the messages of others above a user's read position.
func (s chatState) unread(user uint32) (n uint32) {
	upTo := s.position(user)
	for m := s.newest; m != nil && m.id > upTo; m = m.before {
		if m.user != user {
			n++
		}
	}
	return n
}

// shows tells whether lines are the newest so many messages of the state.
func (s chatState) shows(lines []entry, most uint32) bool {
	if uint32(len(lines)) != min(most, s.last()) {
		return false
	}
	m := s.newest
	for _, l := range lines {
		if !m.same(l) {
			return false
		}
		m = m.before
	}
	return true
}

// step does a deed; false: this is not what comes of it in this state.
func (s chatState) step(d deed, o outcome, group bool) (bool, chatState) {
	switch d.kind {
	case deedSay:
		if former := s.find(d.text); former != nil { // stored once [TT-SESS-11]
			return !o.known || o.id == former.id, s
		}
		next := s.append(d.user, d.text, group)
		return !o.known || o.id == next.last(), next
	case deedMark:
		upTo := d.upTo
		if upTo == 0 || upTo > s.last() {
			upTo = s.last()
		}
		if !o.known {
			return true, s.ask(d.user, upTo)
		}
		return true, s.advance(d.user, upTo)
	case deedLook:
		return s.shows(o.lines, d.upTo), s
	case deedLatest:
		return o.id == s.last(), s
	default:
		return s.seen(d.user, o.count)
	}
}

// chatModel is what a conversation promises, for the checker.
func chatModel(group bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return chatState{} },
		Step: func(state, input, output any) (bool, any) {
			return state.(chatState).step(input.(deed), output.(outcome), group)
		},
		Equal: func(a, b any) bool {
			x, y := a.(chatState), b.(chatState)
			return x.last() == y.last() && x.sum() == y.sum() && slices.Equal(x.read, y.read) && slices.Equal(x.asked, y.asked)
		},
		Hash: func(state any) uint64 { return state.(chatState).sum() },
		DescribeOperation: func(input, output any) string {
			return describeDeed(input.(deed), output.(outcome))
		},
		DescribeState: func(state any) string {
			s := state.(chatState)
			return fmt.Sprintf("%d messages, read: %v, perhaps: %v", s.last(), s.read, s.asked)
		},
	}
}

func describeDeed(d deed, o outcome) string {
	what := map[deedKind]string{
		deedSay:  fmt.Sprintf("says %q → %d", d.text, o.id),
		deedMark: fmt.Sprintf("has read up to %d", d.upTo),
		deedLook: fmt.Sprintf("the newest %d are %s", d.upTo, describeLines(o.lines)), deedLatest: fmt.Sprintf("the newest is %d", o.id),
		deedUnread: fmt.Sprintf("%d are unread", o.count),
	}[d.kind]
	if !o.known {
		what += " (no answer)"
	}
	return fmt.Sprintf("user%d: %s", d.user, what)
}

func describeLines(lines []entry) string {
	var all []string
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%d %q", l.id, l.text))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// checkLinear has the checker look for an order in which all that was told is right, and in which nothing comes before what had ended when it began.
// Where there is none the error names a page that shows how far it got.
func checkLinear(t *testing.T, name string, group bool, operations []porcupine.Operation) error {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(chatModel(group), operations, Patience)
	if result == porcupine.Ok {
		return nil
	}
	page := filepath.Join(t.ArtifactDir(), strings.ReplaceAll(name, " ", "-")+".html")
	if err := porcupine.VisualizePath(chatModel(group), info, page); err != nil {
		return fmt.Errorf("not linearizable: %s; no picture: %w", result, err)
	}
	return fmt.Errorf("%d deeds are not linearizable (%s); see %s (go test -artifacts keeps it)", len(operations), result, page)
}

// A view is what a session was told at some moment, which may be old: a prefix of the conversation that never shrinks and holds what the session was acked.
type view struct {
	session       string
	user          uint32
	ended         time.Duration
	acked, marked uint32 // what this session had been acked, and how far it was known to have read, before it asked
	kind          deedKind
	from, most    uint32 // where the messages that it asked for begin, no higher than acked (0: with the newest), and how many
	out           outcome
}

// A transcript is what a conversation came to, for the checks of views.
type transcript struct {
	group  bool
	final  []entry // oldest first
	acked  map[string]uint32
	begun  map[string]time.Duration
	wanted map[uint32][]want // of each user
}

// A want is a read position that a user asked for at some moment.
type want struct {
	at   time.Duration
	upTo uint32
}

// checkViews judges the views of all sessions, each in the order in which they were asked for.
func (c *transcript) checkViews(views []view) error {
	newest := map[string]uint32{} // a session has seen that many
	lowest := map[string]uint32{} // and its read position is at least this
	for _, v := range views {
		if v.kind == deedUnread {
			if err := c.checkUnread(v, newest, lowest); err != nil {
				return fmt.Errorf("%s, after %s: %w", v.session, v.ended.Round(time.Millisecond), err)
			}
			continue
		}
		last := v.out.id
		if v.kind == deedLook {
			last = v.from
			if v.from > 0 && (len(v.out.lines) == 0 || v.out.lines[0].id != v.from) {
				return fmt.Errorf("%s, after %s: it is not shown message %d, and %d was acked to it", v.session, v.ended.Round(time.Millisecond), v.from, v.acked)
			}
			if len(v.out.lines) > 0 {
				last = v.out.lines[0].id
			}
		}
		least := max(newest[v.session], v.acked)
		if v.from > 0 {
			least = 0 // it asked for old ones
		}
		if err := c.checkPrefix(v, last, least); err != nil {
			return fmt.Errorf("%s, after %s: %w", v.session, v.ended.Round(time.Millisecond), err)
		}
		newest[v.session] = max(newest[v.session], last)
	}
	return nil
}

// checkPrefix judges a history that ends with the message of an id, of a session that must see at least so many.
func (c *transcript) checkPrefix(v view, last, least uint32) error {
	switch {
	case v.from == 0 && last < v.acked:
		return fmt.Errorf("message %d was acked to it, and it is shown %d messages", v.acked, last)
	case last < least:
		return fmt.Errorf("it has seen %d messages, and is shown %d", least, last)
	case int(last) > len(c.final):
		return fmt.Errorf("it is shown message %d, and there are %d in the end", last, len(c.final))
	}
	if last > 0 && c.begun[c.final[last-1].text] > v.ended {
		return fmt.Errorf("it is shown message %d, which is said only after %s", last, c.begun[c.final[last-1].text])
	}
	if v.kind != deedLook {
		return nil
	}
	if want := min(v.most, last); uint32(len(v.out.lines)) != want {
		return fmt.Errorf("it is shown %d messages instead of the %d newest of %d", len(v.out.lines), want, last)
	}
	for i, l := range v.out.lines {
		if want := c.final[int(last)-1-i]; !want.same(l) {
			return fmt.Errorf("it is shown %d %q of user%d, which in the end is %d %q of user%d", l.id, l.text, l.user, want.id, want.text, want.user)
		}
	}
	return nil
}

// checkUnread judges a count of unread messages: it is that of a read position which is no lower than before and no higher than anybody asked for. A
// conversation without any is not listed, and then has no newest message.
func (c *transcript) checkUnread(v view, newest, lowest map[string]uint32) error {
	last := v.out.id
	if v.out.count > 0 {
		if err := c.checkPrefix(v, last, max(newest[v.session], v.acked)); err != nil {
			return err
		}
		newest[v.session] = last
	} else {
		last = min(max(newest[v.session], v.acked), uint32(len(c.final)))
	}
	low, high, ok := c.positions(v.user, last, v.out.count)
	if v.out.count == 0 {
		high = uint32(len(c.final))
	}
	highest := uint32(0)
	for _, w := range c.wanted[v.user] {
		if w.at <= v.ended {
			highest = max(highest, w.upTo)
		}
	}
	switch least := max(lowest[v.session], v.marked); {
	case !ok:
		return fmt.Errorf("%d of %d messages are unread, and others have said less", v.out.count, last)
	case high < least:
		return fmt.Errorf("%d of %d messages are unread: it has read up to %d at most, and had read up to %d", v.out.count, last, high, least)
	case low > highest:
		return fmt.Errorf("%d of %d messages are unread: it has read up to %d at least, and nobody has asked for more than %d", v.out.count, last, low, highest)
	}
	lowest[v.session] = max(lowest[v.session], low)
	return nil
}

// positions are the lowest and the highest read position with which so many of the first messages are unread.
func (c *transcript) positions(user, last, count uint32) (low, high uint32, ok bool) {
	found := uint32(0)
	high = last
	for id := last; ; id-- {
		if found == count && !ok {
			high, ok = id, true
		}
		if id == 0 {
			return 0, high, ok
		}
		if c.final[id-1].user != user {
			if found == count {
				return id, high, true
			}
			found++
		}
	}
}

// checkFinal judges the conversation as a whole: what it came to on one node, and what was said.
func (c *transcript) checkFinal() error {
	seen := map[string]uint32{}
	for i, e := range c.final {
		switch former, twice := seen[e.text]; {
		case e.id != uint32(i+1):
			return fmt.Errorf("message %d has id %d", i+1, e.id)
		case twice:
			return fmt.Errorf("%q is there twice, as %d and %d", e.text, former, e.id)
		case i > 0 && e.millis < c.final[i-1].millis:
			return fmt.Errorf("message %d is older than the one before it", e.id)
		}
		if _, said := c.begun[e.text]; !said {
			return fmt.Errorf("message %d, %q, was never said", e.id, e.text)
		}
		seen[e.text] = e.id
	}
	for text, id := range c.acked {
		if seen[text] != id {
			return fmt.Errorf("%q was acked as %d and is there as %d (0: not at all)", text, id, seen[text])
		}
	}
	return nil
}
