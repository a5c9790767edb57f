package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// A Runner plays scripts against one server: the world that a script begins and others may go on in.
type Runner struct {
	tb     testing.TB
	dir    string // where the scripts are: the working directory of ctl
	server *Server
	conns  map[string]*scriptConn
	names  []string // of the connections, in the order in which they came
	vars   Vars
	ignore map[pdu.Command]bool
	under  *settling // the step being played
	update bool
	// recorded: the script being played is a recording.
	recorded bool
	wait     time.Duration
	// Servers are what a server line starts, and what connections and commands go to in turn; nil: one server.
	Servers Servers
	// Args are added to those of each server line.
	Args []string
	// Via is what connections go by whose line doesn't say; ViaTCP unless it is set.
	Via Via
	// Log receives every PDU and action if set.
	Log func(format string, args ...any)
}

// Servers are several servers that are one to their clients.
type Servers interface {
	// Start starts them all, with the arguments of a server line.
	Start(config ServerConfig) error
	// Next is the one whose turn it is.
	Next() *Server
	// All does to all of them what a line says: stop, kill, restart.
	All(what string) error
	// Agreed tells whether all know what any of them knows, and have so many sessions; if not, it is asked again.
	Agreed(sessions int) (bool, error)
}

// NewRunner makes a runner for the scripts of a folder. With update it doesn't judge but notes what the expectations should be.
func NewRunner(tb testing.TB, dir string, update bool) *Runner {
	r := &Runner{tb: tb, dir: dir, conns: map[string]*scriptConn{}, vars: Vars{}, ignore: map[pdu.Command]bool{}, update: update,
		wait: Patience, Via: ViaTCP, Log: func(string, ...any) {}}
	if update {
		r.wait = 6 * time.Second
	}
	tb.Cleanup(r.close)
	return r
}

// UseServer lets scripts without a server line talk to this one.
func (r *Runner) UseServer(s *Server) {
	r.server = s
	r.bindAddresses()
}

func (r *Runner) close() {
	for _, c := range r.conns {
		c.client.Close()
	}
}

// A step is what happens between two moments at which everything must have been answered: some actions, then what must come of them.
type step struct {
	actions []*Statement
	expects []*Statement
}

func (s *Script) steps() []step {
	var steps []step
	cur := step{}
	for _, st := range s.Statements {
		switch {
		case st.kind == stmtNone || st.Mark == MarkLegacy:
		case st.kind == stmtExpect || st.kind == stmtClosed || st.kind == stmtNothing:
			cur.expects = append(cur.expects, st)
		default:
			if len(cur.expects) > 0 {
				steps = append(steps, cur)
				cur = step{}
			}
			cur.actions = append(cur.actions, st)
		}
	}
	return append(steps, cur)
}

// Run plays a script; the error names its first line that didn't come true.
func (r *Runner) Run(s *Script) error {
	r.recorded = s.Recorded
	steps := s.steps()
	for i := range steps {
		if err := r.play(&steps[i]); err != nil {
			return fmt.Errorf("%s:%w", s.Name, err)
		}
	}
	return nil
}

func (r *Runner) play(s *step) error {
	var before *Statement
	for i, st := range s.actions {
		if st.kind == stmtOutput {
			continue
		}
		if before != nil && before.conn != st.conn {
			if err := r.between(s); err != nil {
				return fmt.Errorf("%d: %w", before.Line, err)
			}
		}
		before = st
		r.Log("%s", strings.Join(st.Lines, "\n"))
		if err := r.act(st, outputsAfter(s.actions[i+1:])); err != nil {
			return fmt.Errorf("%d: %w", st.Line, err)
		}
	}
	return r.settle(s)
}

// between has servers agree before what one of them is asked after another one: a lone server does things in the order in which they come.
func (r *Runner) between(s *step) error {
	if r.Servers == nil || r.server == nil {
		return nil
	}
	w := r.begin(s)
	if err := w.fence(); err != nil {
		return err
	}
	return w.agree()
}

// turn has the next of several servers be the one that is used.
func (r *Runner) turn() {
	if r.Servers != nil {
		r.server = r.Servers.Next()
		r.bindAddresses()
	}
}

func outputsAfter(list []*Statement) []*Statement {
	n := slices.IndexFunc(list, func(st *Statement) bool { return st.kind != stmtOutput })
	if n < 0 {
		n = len(list)
	}
	return list[:n]
}

func (r *Runner) act(st *Statement, output []*Statement) error {
	if st.kind != stmtServer && st.kind != stmtIgnore && r.server == nil {
		return fmt.Errorf("there is no server yet: begin with a server line")
	}
	switch st.kind {
	case stmtServer:
		config := ServerConfig{Args: slices.Concat(st.args[1:], r.Args)}
		if len(config.Args) > 0 && !strings.HasPrefix(config.Args[0], "-") {
			config.Mode, config.Args = config.Args[0], config.Args[1:]
		}
		if r.Servers != nil {
			defer r.turn()
			return r.Servers.Start(config)
		}
		r.server = New(r.tb, config)
		defer r.bindAddresses()
		return r.server.Run(r.tb)
	case stmtProcess:
		return r.process(st.args[0])
	case stmtCtl:
		r.turn()
		return r.ctl(st, output)
	case stmtHTTP:
		r.turn()
		return r.http(st, output)
	case stmtIgnore:
		return r.ignoreCommands(st.args[1:])
	case stmtConnect:
		return r.connect(st.conn, st.args[2:])
	case stmtLogin:
		return r.login(st)
	case stmtClose:
		return r.closeConn(st)
	case stmtSend:
		return r.send(st)
	default:
		return fmt.Errorf("not an action")
	}
}

// bindAddresses makes the server's ports known to scripts: $tcp_port, $http_port, $login_port.
func (r *Runner) bindAddresses() {
	for name, address := range map[string]string{"tcp": r.server.Addr.TCP, "http": r.server.Addr.HTTP, "login": r.server.Addr.Login} {
		if _, port, ok := strings.Cut(address, ":"); ok {
			var n int64
			if _, err := fmt.Sscan(port, &n); err == nil {
				r.vars[name+"_port"] = n
			}
		}
	}
}

func (r *Runner) process(what string) error {
	if r.Servers != nil {
		return r.Servers.All(what)
	}
	switch what {
	case "stop":
		return r.server.Stop()
	case "kill":
		r.server.Kill()
		return nil
	}
	defer r.bindAddresses()
	return r.server.Restart(r.tb)
}

func (r *Runner) ignoreCommands(names []string) error {
	for _, n := range names {
		cmd, ok := commandNamed(n)
		if !ok {
			return fmt.Errorf("no command %s", n)
		}
		r.ignore[cmd] = true
	}
	return nil
}

func (r *Runner) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), r.wait)
}

func (r *Runner) connect(name string, words []string) error {
	if old := r.conns[name]; old != nil && !old.gone() {
		return fmt.Errorf("%s is connected", name)
	}
	ctx, cancel := r.context()
	defer cancel()
	client, native, err := r.dial(ctx, words)
	if err != nil {
		return err
	}
	if _, known := r.conns[name]; !known {
		r.names = append(r.names, name)
	}
	r.conns[name] = &scriptConn{name: name, client: client, deaf: !native}
	return nil
}

// dial connects as the words of a line say: "to login", "via wss". native: to the chat port of some transport.
func (r *Runner) dial(ctx context.Context, words []string) (client *Client, native bool, err error) {
	if at, ok := r.toldAddress(words); ok {
		client, err = Dial(ctx, at)
		return client, true, err
	}
	via := r.Via
	r.turn()
	for ; len(words) >= 2; words = words[2:] {
		switch words[0] {
		case "via":
			if via, err = viaNamed(words[1]); err != nil {
				return nil, false, err
			}
			continue
		case "to":
			if words[1] == "login" {
				client, err = Dial(ctx, r.server.Addr.Login)
				return client, false, err
			}
		}
		return nil, false, fmt.Errorf("%q is neither \"to login\" nor \"via TRANSPORT\"", words)
	}
	if len(words) > 0 {
		return nil, false, fmt.Errorf("%q is one word too many", words[0])
	}
	client, err = r.server.Dial(ctx, via)
	return client, true, err
}

// toldAddress is that of "to $HOST:$PORT", which the server has named.
func (r *Runner) toldAddress(words []string) (string, bool) {
	if len(words) != 2 || words[0] != "to" {
		return "", false
	}
	host, port, hasPort := strings.Cut(words[1], ":$")
	host, isVar := strings.CutPrefix(host, "$")
	return net.JoinHostPort(fmt.Sprint(r.vars[host]), fmt.Sprint(r.vars[port])), hasPort && isVar
}

func (r *Runner) login(st *Statement) error {
	client, ok := clientType(st.args[3])
	if !ok {
		return fmt.Errorf("%q is no client type", st.args[3])
	}
	how, device := st.args[4:], ""
	if i := slices.Index(how, "device"); i >= 0 && i+1 < len(how) {
		device, how = how[i+1], slices.Delete(slices.Clone(how), i, i+2)
	}
	if err := r.connect(st.conn, how); err != nil {
		return err
	}
	ctx, cancel := r.context()
	defer cancel()
	c := r.conns[st.conn]
	if device != "" {
		if err := c.client.Hello(ctx, device, client); err != nil {
			return err
		}
	}
	if _, err := c.client.Login(ctx, st.args[2], r.password(), client); err != nil {
		return err
	}
	c.loggedIn = true
	if device == "" {
		return nil
	}
	credential := &sessionpb.Credential{}
	if _, err := c.client.Expect(ctx, pdu.CmdCredential, credential); err != nil {
		return fmt.Errorf("login %s: %w", st.args[2], err)
	}
	r.vars[st.conn+"_token"], r.vars[st.conn+"_cursor"] = string(credential.GetResumeToken()), int64(credential.GetCursor())
	return nil
}

// password is the one the server line gave all users.
func (r *Runner) password() string {
	for i, a := range r.server.config.Args {
		if p, ok := strings.CutPrefix(a, "--password="); ok {
			return p
		}
		if a == "--password" && i+1 < len(r.server.config.Args) {
			return r.server.config.Args[i+1]
		}
	}
	return "12345"
}

func (r *Runner) closeConn(st *Statement) error {
	c, err := r.conn(st)
	if err != nil {
		return err
	}
	c.client.Close()
	c.left = true
	return nil
}

func (r *Runner) conn(st *Statement) (*scriptConn, error) {
	c := r.conns[st.conn]
	if c == nil {
		return nil, fmt.Errorf("%s has not connected", st.conn)
	}
	return c, nil
}

func (r *Runner) send(st *Statement) error {
	c, err := r.conn(st)
	if err != nil {
		return err
	}
	frame := st.raw
	if st.pdu != nil {
		if frame, err = st.pdu.frame(r.vars); err != nil {
			return err
		}
	}
	ctx, cancel := r.context()
	defer cancel()
	c.stream.sent(frame)
	return c.client.Write(ctx, frame)
}
