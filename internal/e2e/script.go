package e2e

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A Mark says whose behaviour a line of a recorded conversation is.
type Mark byte

// Marks: of both servers, only of the legacy servers (kept for the reader, not done and not expected), only of this server.
const (
	MarkBoth   Mark = ' '
	MarkLegacy Mark = '-'
	MarkOurs   Mark = '+'
)

type statementKind uint8

const (
	stmtNone    statementKind = iota // blank or comment
	stmtServer                       // server ARGS
	stmtCtl                          // ctl ARGS
	stmtHTTP                         // http GET /path
	stmtConnect                      // connect NAME [to login] [via TRANSPORT]
	stmtLogin                        // login NAME USER CLIENT [via TRANSPORT]
	stmtClose                        // close NAME
	stmtIgnore                       // ignore CID_…
	stmtProcess                      // stop | kill | restart
	stmtSend                         // NAME > …
	stmtExpect                       // NAME < CID_…
	stmtClosed                       // NAME < closed
	stmtNothing                      // NAME < nothing
	stmtOutput                       // | text, below ctl and http
)

// A Statement is one line of a script (or several, while a brace is open).
type Statement struct {
	Line  int
	Lines []string // as written
	Mark  Mark
	Keys  []string // the [TT-…] rules cited in the line's comment
	Note  string   // the comment

	kind statementKind
	conn string
	args []string // of the command, split at blanks outside quotes
	pdu  *pduPattern
	raw  []byte // of "> hex"
	text string // of "| …"

	after *edit    // what an update puts in its place
	added []string // what an update puts below it
}

// A Script is a conversation.
type Script struct {
	Name       string
	Continues  string // the script whose world this one goes on in
	Recorded   bool   // a recording of other servers: an update keeps what they said
	Statements []*Statement
}

var (
	keyPattern  = regexp.MustCompile(`\[(TT-[A-Z0-9]+-[0-9]+)\]`)
	connPattern = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.-]*)\s+([<>])\s+(.+)$`)
)

// ParseScript reads a conversation; errors name the line.
func ParseScript(name, text string) (*Script, error) {
	s := &Script{Name: name}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		n := statementLines(lines[i:])
		st := &Statement{Line: i + 1, Lines: lines[i : i+n], Mark: MarkBoth}
		if err := st.parse(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		s.head(st)
		s.Statements = append(s.Statements, st)
		i += n
	}
	return s, nil
}

// head takes what a line says about the script as a whole.
func (s *Script) head(st *Statement) {
	if st.kind != stmtNone || len(st.args) == 0 {
		return
	}
	switch st.args[0] {
	case "continues":
		s.Continues = st.args[1]
	case "recorded":
		s.Recorded = true
	}
}

// statementLines counts the lines until all braces opened on the first are closed.
func statementLines(lines []string) int {
	if strings.HasPrefix(strings.TrimSpace(lines[0]), "|") {
		return 1
	}
	depth := 0
	for i, l := range lines {
		code, _ := splitComment(l)
		depth += braceDepth(code)
		if depth <= 0 {
			return i + 1
		}
	}
	return 1
}

func braceDepth(code string) int {
	depth, inString := 0, false
	for i := 0; i < len(code); i++ {
		switch c := code[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && c == '{':
			depth++
		case !inString && c == '}':
			depth--
		}
	}
	return depth
}

// splitComment cuts at a # that begins the line or follows a blank, outside strings.
func splitComment(l string) (code, comment string) {
	inString := false
	for i := 0; i < len(l); i++ {
		switch c := l[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && c == '#' && (i == 0 || l[i-1] == ' ' || l[i-1] == '\t'):
			return l[:i], strings.TrimSpace(l[i+1:])
		}
	}
	return l, ""
}

func (st *Statement) parse() error {
	first := strings.TrimSpace(st.Lines[0])
	if strings.HasPrefix(first, "|") {
		st.kind, st.text = stmtOutput, strings.TrimPrefix(strings.TrimPrefix(first, "|"), " ")
		return nil
	}
	code, notes := st.code()
	st.Note = strings.Join(notes, " ")
	for _, m := range keyPattern.FindAllStringSubmatch(st.Note, -1) {
		st.Keys = append(st.Keys, m[1])
	}
	if len(code) > 1 && (code[0] == '-' || code[0] == '+') && code[1] == ' ' {
		st.Mark, code = Mark(code[0]), strings.TrimSpace(code[2:])
	}
	if st.Mark != MarkBoth && len(st.Keys) == 0 {
		return fmt.Errorf("a line marked %c cites the difference it stands for: # [TT-DIFF-n]", st.Mark)
	}
	if code == "" {
		return nil
	}
	if strings.HasPrefix(code, "|") {
		st.kind, st.text = stmtOutput, strings.TrimPrefix(strings.TrimPrefix(code, "|"), " ")
		return nil
	}
	if m := connPattern.FindStringSubmatch(code); m != nil {
		st.conn = m[1]
		return st.parsePDU(m[2], m[3])
	}
	return st.parseCommand(code)
}

func (st *Statement) code() (string, []string) {
	var code, notes []string
	for _, l := range st.Lines {
		c, note := splitComment(l)
		code = append(code, strings.TrimSpace(c))
		if note != "" {
			notes = append(notes, note)
		}
	}
	return strings.TrimSpace(strings.Join(code, " ")), notes
}

func (st *Statement) parseCommand(code string) error {
	args, err := splitWords(code)
	if err != nil {
		return err
	}
	st.args = args
	kinds := map[string]statementKind{
		"server": stmtServer, "ctl": stmtCtl, "ctl!": stmtCtl, "http": stmtHTTP, "connect": stmtConnect, "login": stmtLogin,
		"close": stmtClose, "ignore": stmtIgnore, "stop": stmtProcess, "kill": stmtProcess, "restart": stmtProcess, "continues": stmtNone, "recorded": stmtNone,
	}
	kind, ok := kinds[args[0]]
	if !ok {
		return fmt.Errorf("what is %q? a command or NAME > … or NAME < … is expected", args[0])
	}
	st.kind = kind
	least := map[string]int{"connect": 2, "login": 4, "close": 2, "ignore": 2, "http": 3, "ctl": 2, "ctl!": 2, "continues": 2}
	if len(args) < least[args[0]] {
		return fmt.Errorf("%s needs %d words", args[0], least[args[0]]-1)
	}
	if kind == stmtConnect || kind == stmtLogin || kind == stmtClose {
		st.conn = args[1]
	}
	return nil
}

// splitWords splits at blanks; a "quoted" word may hold them.
func splitWords(s string) ([]string, error) {
	var words []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimLeft(s, " \t") {
		if s[0] == '"' {
			text, rest, err := unquote(s)
			if err != nil {
				return nil, err
			}
			words, s = append(words, text), rest
			continue
		}
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		words, s = append(words, s[:end]), s[end:]
	}
	return words, nil
}

func (st *Statement) parsePDU(direction, rest string) error {
	switch {
	case direction == "<" && rest == "closed":
		st.kind = stmtClosed
		return nil
	case direction == "<" && rest == "nothing":
		st.kind = stmtNothing
		return nil
	case direction == "<":
		st.kind = stmtExpect
	default:
		st.kind = stmtSend
		if digits, ok := strings.CutPrefix(rest, "hex "); ok {
			raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
			st.raw = raw
			return err
		}
	}
	p, err := parsePDUPattern(rest)
	st.pdu = p
	return err
}

// pduPattern is a PDU as a script writes it: CID_NAME seq=1 [version=… flag=… service=… reserved=… length=…] { fields } or body=hex.
type pduPattern struct {
	name   string
	header map[string]uint32 // only what was written
	seqVar string            // seq=$name
	body   *Pattern          // nil: raw
	raw    []byte
}

func parsePDUPattern(s string) (*pduPattern, error) {
	head, fields, hasFields := strings.Cut(s, "{")
	words := strings.Fields(head)
	if len(words) == 0 {
		return nil, fmt.Errorf("a command's name is missing")
	}
	p := &pduPattern{name: words[0], header: map[string]uint32{}}
	for _, w := range words[1:] {
		if err := p.attribute(w); err != nil {
			return nil, err
		}
	}
	if p.raw != nil {
		if hasFields {
			return nil, fmt.Errorf("body= and { … } exclude each other")
		}
		return p, nil
	}
	fields = strings.TrimSpace(fields)
	if hasFields && !strings.HasSuffix(fields, "}") {
		return nil, fmt.Errorf("the last } is missing")
	}
	body, err := ParsePattern(strings.TrimSuffix(fields, "}"))
	p.body = body
	return p, err
}

func (p *pduPattern) attribute(w string) error {
	key, value, ok := strings.Cut(w, "=")
	if !ok {
		return fmt.Errorf("%q is no attribute=value", w)
	}
	switch key {
	case "body":
		raw, err := hex.DecodeString(value)
		p.raw = append([]byte{}, raw...)
		return err
	case "seq", "version", "flag", "service", "reserved", "length":
		if name, isVar := strings.CutPrefix(value, "$"); isVar && key == "seq" {
			p.seqVar = name
			return nil
		}
		n, err := strconv.ParseUint(value, 0, 32)
		p.header[key] = uint32(n)
		return err
	}
	return fmt.Errorf("unknown attribute %q", key)
}
