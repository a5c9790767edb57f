package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
)

// ctl runs an operator command. `ctl!` must fail. `ctl group add … -> $g` binds the id in the command's JSON answer.
func (r *Runner) ctl(st *Statement, output []*Statement) error {
	args, bind := st.args[1:], ""
	if n := len(args); n > 2 && args[n-2] == "->" {
		args, bind = append(args[:n-2:n-2], "--json"), strings.TrimPrefix(args[n-1], "$")
	}
	for i, a := range args {
		if name, isVar := strings.CutPrefix(a, "$"); isVar {
			bound, ok := r.vars[name]
			if !ok {
				return fmt.Errorf("$%s is not bound", name)
			}
			args[i] = fmt.Sprint(bound)
		}
	}
	out, err := r.server.Ctl(r.tb, r.dir, args...)
	r.Log("%s", out)
	switch failsWanted := st.args[0] == "ctl!"; {
	case err != nil && !failsWanted:
		return fmt.Errorf("%w\n%s", err, out)
	case err == nil && failsWanted:
		return fmt.Errorf("the command was to fail, but did not:\n%s", out)
	}
	if bind != "" {
		if err := r.bindID(bind, out); err != nil {
			return err
		}
	}
	return r.checkOutput(output, out)
}

// bindID takes the "id" of the (first) object that a command printed.
func (r *Runner) bindID(name, out string) error {
	var object struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		var list []struct {
			ID int64 `json:"id"`
		}
		if json.Unmarshal([]byte(out), &list) != nil || len(list) == 0 {
			return fmt.Errorf("no JSON with an id: %w\n%s", err, out)
		}
		object.ID = list[0].ID
	}
	if object.ID == 0 {
		return fmt.Errorf("no id in: %s", out)
	}
	r.vars[name] = object.ID
	return nil
}

// http sends one plain request and compares the answer, line by line, with the | lines below.
func (r *Runner) http(st *Statement, output []*Statement) error {
	ctx, cancel := r.context()
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.server.Addr.HTTP)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	// No "Connection: close": who closes is part of the answer.
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", st.args[1], st.args[2], r.server.Addr.HTTP); err != nil {
		return err
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("reading the answer to its end: %w", err)
	}
	return r.checkOutput(output, string(raw))
}

// checkOutput wants every expected line in the output, in this order; other lines may be between them.
func (r *Runner) checkOutput(want []*Statement, out string) error {
	var lines []string
	for l := range strings.Lines(out) {
		lines = append(lines, strings.TrimRight(l, "\r\n"))
	}
	rest := lines
	for _, st := range want {
		at := -1
		for i, l := range rest {
			if r.glob(st.text, l) {
				at = i
				break
			}
		}
		if at < 0 {
			return fmt.Errorf("no line %q (line %d of the script) in:\n%s", st.text, st.Line, out)
		}
		rest = rest[at+1:]
	}
	return nil
}

// glob compares a line with a pattern in which * is any text and $name the value of a variable.
func (r *Runner) glob(pattern, line string) bool {
	for name, v := range r.vars {
		pattern = strings.ReplaceAll(pattern, "${"+name+"}", fmt.Sprint(v))
	}
	parts := strings.Split(strings.Join(strings.Fields(pattern), " "), "*")
	line = strings.Join(strings.Fields(line), " ")
	for i, part := range parts {
		at := strings.Index(line, part)
		if at < 0 || i == 0 && at != 0 {
			return false
		}
		line = line[at+len(part):]
	}
	return line == "" || parts[len(parts)-1] == "" || strings.HasSuffix(line, parts[len(parts)-1])
}
