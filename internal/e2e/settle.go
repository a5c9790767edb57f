package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"teamtalk/protocol/pdu"
)

// fenceSeq begins the sequence numbers of the runner's own requests; scripts stay below.
const fenceSeq = 0xfe00

// An arrival is something that came on a connection: a PDU, or its end.
type arrival struct {
	conn   *scriptConn
	pdu    pdu.PDU
	closed bool
}

// settling is a step being brought to its end.
type settling struct {
	r       *Runner
	step    *step
	pending map[*Statement]bool
	expects []*Statement
	got     []arrival // only for an update
}

// begin takes up a step: what has come of it so far is crossed off.
func (r *Runner) begin(s *step) *settling {
	if r.under == nil || r.under.step != s {
		r.under = &settling{r: r, step: s, pending: map[*Statement]bool{}, expects: s.expects}
		for _, st := range s.expects {
			if st.kind != stmtNothing {
				r.under.pending[st] = true
			}
		}
	}
	return r.under
}

// settle waits until all that is expected has come, then makes sure with fences that nothing else has.
func (r *Runner) settle(s *step) error {
	w := r.begin(s)
	for _, st := range s.expects {
		if st.kind != stmtNothing {
			if _, err := r.conn(st); err != nil {
				return fmt.Errorf("%d: %w", st.Line, err)
			}
		}
	}
	if err := w.collect(func() bool { return len(w.pending) == 0 }); err != nil {
		return err
	}
	// The first round ends what the requests of this step have set off, the second what that has set off on other connections.
	for range 2 {
		if err := w.fence(); err != nil {
			return err
		}
		if err := w.agree(); err != nil {
			return err
		}
	}
	if r.update {
		r.note(s, w.got)
		return nil
	}
	for _, st := range s.expects {
		if w.pending[st] {
			return fmt.Errorf("%d: it didn't come within %s: %s", st.Line, r.wait, shorten(strings.Join(st.Lines, " ")))
		}
	}
	return nil
}

// collect takes what arrives until done says so or time is up.
func (w *settling) collect(done func() bool) error {
	limit := time.After(w.r.wait)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if err := w.drain(); err != nil || done() {
			return err
		}
		select {
		case <-tick.C:
		case <-limit:
			return nil
		}
	}
}

func (w *settling) drain() error {
	for _, name := range w.r.names {
		c := w.r.conns[name]
		if c.gone() {
			continue
		}
		for {
			p, ok, ended := c.client.poll(func(pdu.PDU) bool { return true })
			if ok {
				if err := w.consume(c, p); err != nil {
					return err
				}
				continue
			}
			if ended != nil {
				c.over = true
				c.client.Close()
				if err := w.closed(c, ended); err != nil {
					return err
				}
			}
			break
		}
	}
	return nil
}

// agree waits until several servers know the same, and that the sessions are over whose connections are.
func (w *settling) agree() error {
	if w.r.Servers == nil {
		return nil
	}
	agreed, failed := false, error(nil)
	if err := w.collect(func() bool {
		agreed, failed = w.r.Servers.Agreed(w.r.sessions())
		return agreed || failed != nil
	}); err != nil {
		return err
	}
	if failed == nil && !agreed {
		failed = fmt.Errorf("the servers don't agree after %s, or have not %d sessions", w.r.wait, w.r.sessions())
	}
	return failed
}

// sessions is how many connections are logged in.
func (r *Runner) sessions() (n int) {
	for _, c := range r.conns {
		if c.loggedIn && !c.deaf && !c.gone() && c.client.Ended() == nil {
			n++
		}
	}
	return n
}

// fence asks something harmless on every connection that answers and waits for the answers: what the server had to say before is in
// then. It is the time once logged in, for that waits for the requests before it, else a heartbeat.
func (w *settling) fence() error {
	ctx, cancel := w.r.context()
	defer cancel()
	var out []*scriptConn
	for i, name := range w.r.names {
		c := w.r.conns[name]
		if !c.canFence() {
			continue
		}
		c.fence = fenceSeq + uint16(i%0xff) + 1
		ask := pdu.CmdHeartbeat
		if c.loggedIn {
			ask = pdu.CmdTimeReq
		}
		if err := c.client.Send(ctx, ask, c.fence, nil); err != nil && !isReset(err) {
			return fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, c)
	}
	if err := w.collect(func() bool {
		return !slices.ContainsFunc(out, func(c *scriptConn) bool { return c.fence != 0 && !c.gone() })
	}); err != nil {
		return err
	}
	for _, c := range out {
		if c.fence != 0 && !c.gone() {
			return fmt.Errorf("%s: a request for the time, or a heartbeat, was not answered", c.name)
		}
	}
	return nil
}

func (w *settling) consume(c *scriptConn, p pdu.PDU) error {
	cmd := p.Header.Command
	if c.fence != 0 && p.Header.Seq == c.fence && (cmd == pdu.CmdHeartbeat || cmd == pdu.CmdTimeRes) {
		c.fence = 0
		return nil
	}
	c.learn(p)
	if w.r.ignore[cmd] {
		return nil
	}
	w.r.Log("  %s < %s", c.name, renderPDU(p, nil, w.r.vars))
	if w.r.update {
		w.got = append(w.got, arrival{conn: c, pdu: p})
		w.tick(c, cmd)
		return nil
	}
	var first *Statement
	var differs []Mismatch
	for _, st := range w.expects {
		if !w.pending[st] || st.kind != stmtExpect || st.conn != c.name || !st.pdu.is(cmd) {
			continue
		}
		bad := st.pdu.differences(p, w.r.vars)
		if len(bad) == 0 {
			delete(w.pending, st)
			return nil
		}
		if first == nil {
			first, differs = st, bad
		}
		if cmd != pdu.CmdUserStatusNotify { // no order is promised between the presence of different users
			break
		}
	}
	if first != nil {
		return fmt.Errorf("%d: %s %s differs:\n%s\n  it is: %s", first.Line, c.name, first.pdu.name, listMismatches(differs),
			renderPDU(p, first.pdu, w.r.vars))
	}
	if w.r.Servers != nil && cmd == pdu.CmdUserStatusNotify && w.awaitsKick(c) {
		return nil // the news that its user is online on another node may be quicker than the kick that comes of it
	}
	return fmt.Errorf("%d: %s got something that is not expected: %s", w.line(), c.name, renderPDU(p, nil, w.r.vars))
}

// awaitsKick tells whether a connection is to be kicked and has not been yet.
func (w *settling) awaitsKick(c *scriptConn) bool {
	return slices.ContainsFunc(w.expects, func(st *Statement) bool {
		return w.pending[st] && st.kind == stmtExpect && st.conn == c.name && st.pdu.is(pdu.CmdKickUser)
	})
}

// tick takes the first expectation of this command off the list, whatever its fields: an update waits for no more than was there before.
func (w *settling) tick(c *scriptConn, cmd pdu.Command) {
	for _, st := range w.expects {
		if w.pending[st] && st.kind == stmtExpect && st.conn == c.name && st.pdu.is(cmd) {
			delete(w.pending, st)
			return
		}
	}
}

func (w *settling) closed(c *scriptConn, why error) error {
	w.r.Log("  %s < closed (%v)", c.name, why)
	if w.r.update {
		w.got = append(w.got, arrival{conn: c, closed: true})
	}
	for _, st := range w.expects {
		if w.pending[st] && st.kind == stmtClosed && st.conn == c.name {
			delete(w.pending, st)
			return nil
		}
	}
	if w.r.update {
		return nil
	}
	return fmt.Errorf("%d: %s was closed by the server (%w), which is not expected", w.line(), c.name, why)
}

// line is where in the script something unexpected came.
func (w *settling) line() int {
	if len(w.expects) == 0 {
		return 0
	}
	return w.expects[len(w.expects)-1].Line
}

func (p *pduPattern) is(cmd pdu.Command) bool {
	named, ok := commandNamed(p.name)
	return ok && named == cmd
}

func listMismatches(bad []Mismatch) string {
	lines := make([]string, len(bad))
	for i, m := range bad {
		lines[i] = "  " + m.String()
	}
	return strings.Join(lines, "\n")
}
