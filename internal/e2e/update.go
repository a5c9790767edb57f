package e2e

import "strings"

// note turns what came in a step into its new expectations. Lines that came true stay as they are, variables and wildcards included.
func (r *Runner) note(s *step, got []arrival) {
	used := make([]bool, len(got))
	last := s.last()
	for _, st := range s.expects {
		if st.kind == stmtNothing {
			continue
		}
		i := st.first(got, used)
		if i < 0 {
			st.after = st.retracted(r.recorded)
			continue
		}
		used[i] = true
		if !got[i].closed && len(st.pdu.differences(got[i].pdu, r.vars)) > 0 {
			line := st.conn + " < " + renderPDU(got[i].pdu, st.pdu, r.vars)
			st.after = st.replaced(line, r.recorded)
		}
	}
	for i, a := range got {
		if used[i] {
			continue
		}
		line := a.conn.name + " < closed"
		if !a.closed {
			line = a.conn.name + " < " + renderPDU(a.pdu, nil, r.vars)
		}
		if r.recorded {
			line = "+ " + line + unexplained
		}
		last.added = append(last.added, line)
	}
}

// unexplained is for the author to complete: a script with such a line doesn't parse.
const unexplained = "  # [TT-DIFF-?]"

func (s *step) last() *Statement {
	if len(s.expects) > 0 {
		return s.expects[len(s.expects)-1]
	}
	return s.actions[len(s.actions)-1]
}

// first finds what came for this expectation.
func (st *Statement) first(got []arrival, used []bool) int {
	for i, a := range got {
		if used[i] || a.conn.name != st.conn || a.closed != (st.kind == stmtClosed) {
			continue
		}
		if a.closed || st.pdu.is(a.pdu.Header.Command) {
			return i
		}
	}
	return -1
}

// An edit is what shall stand in a statement's place.
type edit struct{ lines []string }

// replaced: in a recording the recorded line stays, marked as the other server's.
func (st *Statement) replaced(line string, recorded bool) *edit {
	note := ""
	if st.Note != "" {
		note = "  # " + st.Note
	}
	switch {
	case !recorded:
		return &edit{[]string{line + note}}
	case st.Mark == MarkOurs:
		return &edit{[]string{"+ " + line + note}}
	}
	return &edit{append(st.marked(), "+ "+line+unexplained)}
}

func (st *Statement) retracted(recorded bool) *edit {
	if !recorded || st.Mark == MarkOurs {
		return &edit{}
	}
	return &edit{st.marked()}
}

func (st *Statement) marked() []string {
	lines := append([]string{"- " + st.Lines[0]}, st.Lines[1:]...)
	lines[len(lines)-1] += unexplained
	return lines
}

// Text is the script as it stands in its file, with what an update changed.
func (s *Script) Text() string {
	var lines []string
	for _, st := range s.Statements {
		if st.after != nil {
			lines = append(lines, st.after.lines...)
		} else {
			lines = append(lines, st.Lines...)
		}
		lines = append(lines, st.added...)
	}
	return strings.Join(lines, "\n") + "\n"
}
