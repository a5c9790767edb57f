package chat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// Command is something that is done by a line that begins with a slash.
type Command struct {
	Name  string // with the slash
	Usage string // what follows the name
	Help  string
}

// Commands are all there are.
func Commands() []Command {
	return []Command{
		{"/open", "NAME", "open the conversation with a user or of a group"},
		{"/find", "TEXT", "find people, also of other offices"},
		{"/group", "NAME MEMBERS…", "make a group of you and others"},
		{"/invite", "MEMBERS…", "add members to this group"},
		{"/leave", "", "leave this group"},
		{"/recall", "[N]", "take back your last message here, or the Nth from the end"},
		{"/burn", "SECONDS TEXT", "send a text that is deleted so long after it was read"},
		{"/burnnow", "[N]", "delete your last message that burns, or the Nth, at once"},
		{"/file", "PATH", "send a file of this machine; pictures are shown as such"},
		{"/save", "[N] [PATH]", "save the last picture or file here, or the Nth from the end"},
		{"/retry", "", "send again what failed here"},
		{"/who", "", "who is in this conversation"},
		{"/sign", "TEXT", "change your signature"},
		{"/history", "[N]", "fetch N older messages, else 50"},
		{"/help", "", "show the keys and commands"},
		{"/quit", "", "leave; what waits to be sent is kept"},
	}
}

// command obeys a line. What is wrong with it is said, and then it stays where it can be mended.
func (m *Model) command(line string) {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	doers := map[string]func(string) string{
		"/open": m.openCommand, "/find": m.findCommand, "/group": m.groupCommand, "/invite": m.inviteCommand, "/leave": m.leaveCommand, "/recall": m.recallCommand,
		"/burn": m.burnCommand, "/burnnow": m.burnNowCommand, "/retry": m.retryCommand, "/file": m.fileCommand, "/save": m.saveCommand, "/who": m.whoCommand, "/sign": m.signCommand,
		"/history": m.historyCommand, "/help": m.helpCommand, "/quit": m.quitCommand,
	}
	run, ok := doers[name]
	if !ok {
		run = func(string) string { return unknown(name) }
	}
	m.Draft().Set("")
	if wrong := run(rest); wrong != "" {
		m.Notice = wrong
		m.Draft().Set(line)
	}
}

// unknown says what a command that there isn't may have meant.
func unknown(name string) string {
	best, least := "", 3
	for _, c := range Commands() {
		if n := distance(name, c.Name); n < least {
			best, least = c.Name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("there is no %s; %s? /help lists all, and a text that begins with a slash is typed with two", name, best)
	}
	return fmt.Sprintf("there is no %s; /help lists all, and a text that begins with a slash is typed with two", name)
}

// distance is how many letters of a word differ, are missing or too many.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func (m *Model) openCommand(name string) string {
	if name == "" {
		m.Jump = &Jump{}
		return ""
	}
	in, err := m.Find(name)
	switch {
	case err == nil:
		m.Show(in)
	case !m.lists.here:
		m.lists.wanted = name
		m.looking()
	default:
		return err.Error()
	}
	return ""
}

// looking says what what is entered waits for.
func (m *Model) looking() {
	m.Notice = "looking for " + m.lists.wanted + "…"
	if n := len(m.lists.lines); n > 0 {
		m.Notice += fmt.Sprintf(" %d to do there (Esc: not yet)", n)
	}
}

// found opens the conversation that was asked for before it was known, and does there what was entered meanwhile.
func (m *Model) found() {
	in, err := m.Find(m.lists.wanted)
	if m.lists.wanted == "" || err != nil {
		return
	}
	lines, typing := m.lists.lines, m.lists.typing
	m.lists.wanted, m.lists.lines, m.lists.typing, m.Notice = "", nil, Editor{}, ""
	m.Show(in)
	for _, line := range lines {
		m.entered(line)
	}
	if d := m.Draft(); d.Text() == "" { // else a command there was wrong, and stays to be mended
		*d = typing
	} else if typing.Text() != "" {
		d.Insert("\n" + typing.Text())
	}
}

// Listed tells that all that LoadLists asks for has come.
func (m *Model) Listed() {
	m.lists.here = true
	if m.lists.wanted != "" {
		_, err := m.Find(m.lists.wanted)
		m.stopLooking()
		m.Notice = Reason(err)
	}
}

// stopLooking gives up a conversation that was asked for and is not known yet; what was typed for it stays to be read, unsent.
func (m *Model) stopLooking() {
	if m.lists.wanted == "" {
		return
	}
	typed := strings.Join(append(slices.Clone(m.lists.lines), m.lists.typing.Text()), "\n")
	m.lists.wanted, m.lists.lines, m.lists.typing, m.Notice = "", nil, Editor{}, ""
	if text := strings.TrimRight(typed, "\n"); text != "" {
		m.Draft().Insert(text)
	}
}

func (m *Model) findCommand(text string) string {
	if text == "" {
		return "whom? /find lin"
	}
	m.do(Find{text})
	return ""
}

// members are the users that names mean.
func (m *Model) members(names []string) (ids []protocol.UserID, wrong string) {
	for _, name := range names {
		id, ok := m.user(strings.TrimSuffix(name, ","))
		switch {
		case !ok:
			return nil, fmt.Sprintf("there is no user named %q", name)
		case id != m.Me && !slices.Contains(ids, id):
			ids = append(ids, id)
		}
	}
	return ids, ""
}

func (m *Model) groupCommand(rest string) string {
	words := strings.Fields(rest)
	if len(words) < 2 {
		return "a name and members: /group Lunch user2 user3"
	}
	ids, wrong := m.members(words[1:])
	if wrong == "" {
		m.do(CreateGroup{words[0], ids})
	}
	return wrong
}

// here is the group shown; what is said if there is none.
func (m *Model) here() (c *Conversation, wrong string) {
	if m.open == nil || !m.open.Group() {
		return nil, "this is for groups: open one first"
	}
	return m.open, ""
}

func (m *Model) inviteCommand(rest string) string {
	c, wrong := m.here()
	if wrong != "" {
		return wrong
	}
	ids, wrong := m.members(strings.Fields(rest))
	if wrong == "" && len(ids) == 0 {
		return "whom? /invite user2 user3"
	}
	ids = slices.DeleteFunc(ids, func(id protocol.UserID) bool { return slices.Contains(c.Members, id) })
	if wrong == "" && len(ids) == 0 {
		return "they are members already"
	}
	if wrong == "" {
		m.do(Invite{c.In.Group(), ids})
	}
	return wrong
}

func (m *Model) leaveCommand(string) string {
	c, wrong := m.here()
	if wrong == "" {
		m.do(Leave{c.In.Group()})
	}
	return wrong
}

// own is the nth message of one's own from the end, among those that count; what is said if there is none.
func (m *Model) own(text string, counts func(*Entry) bool) (*Entry, string) {
	n := 1
	if text != "" {
		var ok bool
		if n, ok = number(text, 1000); !ok {
			return nil, fmt.Sprintf("%q is no number from 1, the last message, to 1000", text)
		}
	}
	if m.open == nil {
		return nil, "no conversation is open"
	}
	for _, e := range slices.Backward(m.open.Entries) {
		if !e.Mine || !e.Live() || e.Phase == client.PhaseFailed || !counts(e) {
			continue
		}
		switch n--; {
		case n > 0:
		case e.ID == 0: // and not the one before it, which is not what was asked for
			return nil, "this message is still on its way: again when it has its ✓"
		default:
			return e, ""
		}
	}
	return nil, "there is no such message of yours here"
}

func (m *Model) recallCommand(rest string) string {
	e, wrong := m.own(rest, func(*Entry) bool { return true })
	if wrong == "" {
		m.do(Recall{m.open.In, e.ID})
	}
	return wrong
}

func (m *Model) burnNowCommand(rest string) string {
	e, wrong := m.own(rest, func(e *Entry) bool { return e.Burn > 0 })
	if wrong == "" {
		m.do(BurnNow{m.open.In, e.ID})
	}
	return wrong
}

func (m *Model) burnCommand(rest string) string {
	seconds, text, _ := strings.Cut(rest, " ")
	n, ok := number(seconds, 604_800)
	switch {
	case !ok || strings.TrimSpace(text) == "":
		return "seconds, up to 604800, and a text: /burn 30 the door code is 4711"
	case m.open == nil:
		return "no conversation is open"
	case m.open.Group():
		return "only messages to one person can burn"
	}
	m.say(strings.TrimSpace(text), time.Duration(n)*time.Second)
	return ""
}

func (m *Model) fileCommand(path string) string {
	switch {
	case path == "":
		return "which one? /file report.pdf"
	case m.open == nil:
		return "no conversation is open"
	}
	m.Notice = "sending " + path + "…"
	m.do(Attach{In: m.open.In, Path: path})
	return ""
}

func (m *Model) saveCommand(rest string) string {
	if m.open == nil {
		return "no conversation is open"
	}
	first, path, _ := strings.Cut(rest, " ")
	nth, ok := number(first, 1000)
	if !ok {
		nth, path = 1, rest
	}
	for _, e := range slices.Backward(m.open.Entries) {
		for _, a := range slices.Backward(e.Files) {
			if nth--; nth == 0 {
				m.Notice = "fetching " + a.FileName() + "…"
				m.do(Save{a, strings.TrimSpace(path)})
				return ""
			}
		}
	}
	return "there is no such picture or file here"
}

func (m *Model) retryCommand(string) string {
	if m.open == nil {
		return "no conversation is open"
	}
	n := 0
	for _, e := range slices.Clone(m.open.Entries) {
		if !e.Mine || e.Phase != client.PhaseFailed {
			continue
		}
		n++
		if e.Client.IsZero() { // the SDK never had it
			m.open.remove(e)
			m.say(e.Text, e.Burn)
		} else {
			e.Phase, e.Why = client.PhaseQueued, ""
			m.do(Retry{e.Client})
		}
	}
	if n == 0 {
		return "nothing has failed here"
	}
	return ""
}

func (m *Model) whoCommand(string) string {
	c := m.open
	if c == nil {
		return "no conversation is open"
	}
	ids := []protocol.UserID{c.In.Peer(), m.Me}
	title := "In this conversation"
	if c.Group() {
		ids, title = c.Members, fmt.Sprintf("%s, %d members", m.Title(c), len(c.Members))
		if c.office != "" {
			title += ", of " + c.office
		}
	}
	lines := []string{title, ""}
	for _, id := range ids {
		p := m.Person(id)
		line := p.Name
		if p.Nick != "" && p.Nick != p.Name {
			line += " (" + p.Nick + ")"
		}
		if id == m.Me {
			line += ", you"
		}
		if c.Group() && id == c.creator {
			line += ", made the group"
		}
		if p.Online {
			line += ", online"
		}
		if p.Sign != "" {
			line += ": " + p.Sign
		}
		lines = append(lines, "  "+line)
	}
	m.Panel = &Panel{Lines: append(lines, "", "Esc closes this")}
	return ""
}

func (m *Model) signCommand(rest string) string {
	m.do(Sign{rest})
	return ""
}

func (m *Model) historyCommand(rest string) string {
	n := page
	if rest != "" {
		var ok bool
		if n, ok = number(rest, 1000); !ok {
			return fmt.Sprintf("%q is no number from 1 to 1000", rest)
		}
	}
	switch c := m.open; {
	case c == nil:
		return "no conversation is open"
	case c.Complete:
		m.Notice = "this is all there is"
	case c.oldest() > 1:
		m.load(c, c.oldest()-1, n)
	default:
		m.load(c, 0, n)
	}
	return ""
}

func (m *Model) quitCommand(string) string {
	m.do(Quit{})
	return ""
}

func (m *Model) helpCommand(string) string {
	lines := []string{
		"Enter sends, Alt-Enter begins a new line", "Tab, Ctrl-N, Ctrl-P, Up, Down  change the conversation", "Ctrl-K  jump to one by its name",
		"PgUp, PgDn  scroll; older messages are fetched", "Esc  close this, back to the newest", "Ctrl-C  leave", "",
		"… sending   ✓ stored   ✓ delayed: another office is out of reach   ✓✓ delivered   ✓✓ read   ✗ failed", "",
	}
	for _, c := range Commands() {
		lines = append(lines, strings.TrimSpace(c.Name+" "+c.Usage)+"  "+c.Help)
	}
	lines = append(lines, "", "A text that begins with a slash is typed with two: //usr/bin")
	m.Panel = &Panel{Lines: lines}
	return ""
}
