// Command ttload puts load on a TeamTalk server and checks that every message acked arrived once, in order. It exits with
// an error when one did not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"teamtalk/internal/load"
	"teamtalk/protocol"
)

// cli is the command line.
type cli struct {
	Pairs pairsCmd `cmd:"" help:"Pairs of users, one sending to the other."`
	Group groupCmd `cmd:"" help:"One user sends to a group, made for the run."`
	Idle  idleCmd  `cmd:"" help:"Connections that log in and do nothing: what they cost the server in memory."`
	Login loginCmd `cmd:"" help:"Logins: connect, log in, close, again."`
	Echo  echoCmd  `cmd:"" help:"A raw echo over loopback, without any server: what this machine can do."`
	Bench benchCmd `cmd:"" help:"Start a server on an empty directory and measure all of it."`

	JSON    bool   `help:"Print JSON with the facts of the machine."`
	DiskDir string `help:"Where to measure fdatasync for the facts of the machine." default:"." type:"existingdir"`
}

// target are the flags that say where the server is and whom to log in as.
type target struct {
	Server      string `help:"host:port of the native protocol." default:"127.0.0.1:8000"`
	LoginURL    string `name:"login" help:"Ask this URL (http://…/msg_server) for the address instead." placeholder:"URL"`
	UserPattern string `help:"Login name of the n-th user." default:"user%d"`
	First       int    `help:"Number of the first user." default:"1"`
	Password    string `help:"Password of all users." default:"12345" json:"-"`
	Client      string `help:"Client type. PC types make the server announce presence to all PC sessions." enum:"windows,mac,ios,android" default:"android"`
	AllowRemote bool   `help:"Allow a server on another machine."`
}

func (t target) resolve(ctx context.Context) (load.Target, error) {
	client := map[string]protocol.ClientType{"windows": protocol.ClientWindows, "mac": protocol.ClientMac, "ios": protocol.ClientIOS,
		"android": protocol.ClientAndroid}[t.Client]
	server := t.Server
	if t.LoginURL != "" {
		var err error
		if server, err = load.Discover(ctx, t.LoginURL); err != nil {
			return load.Target{}, err
		}
	}
	if !t.AllowRemote {
		if err := load.RequireLoopback(ctx, server); err != nil {
			return load.Target{}, err
		}
	}
	return load.Target{Server: server, UserPattern: t.UserPattern, First: t.First, Password: t.Password, Client: client}, nil
}

// messages are the flags of the runs that send.
type messages struct {
	Window   int           `help:"Messages that a sender has unacked at most." default:"1"`
	Payload  int           `help:"Bytes of a message, 40 at least." default:"64"`
	Warmup   time.Duration `help:"Run so long before measuring." default:"1s"`
	Duration time.Duration `help:"Measure so long." default:"10s"`
	Count    int           `help:"End after so many messages, if that comes first; 0 for no limit."`
	Drain    time.Duration `help:"Wait so long at the end for what is under way." default:"10s"`
}

func (m messages) options() load.MessageOptions {
	return load.MessageOptions{Window: m.Window, Payload: m.Payload, Warmup: m.Warmup, Duration: m.Duration, Count: m.Count, Drain: m.Drain}
}

type pairsCmd struct {
	target
	messages
	Pairs int `help:"Pairs of users." default:"64"`
}

// Run measures and reports.
func (c *pairsCmd) Run(ctx context.Context, r *report) error {
	t, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	result, err := load.Pairs(ctx, t, c.Pairs, c.options())
	if err != nil {
		return err
	}
	return errors.Join(r.print(ctx, "pairs", c, result), result.Verdict())
}

type groupCmd struct {
	target
	messages
	Members int `help:"Members who receive." default:"100"`
}

// Run measures and reports.
func (c *groupCmd) Run(ctx context.Context, r *report) error {
	t, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	result, err := load.Group(ctx, t, c.Members, c.options())
	if err != nil {
		return err
	}
	return errors.Join(r.print(ctx, "group", c, result), result.Verdict())
}

type idleCmd struct {
	target
	Connections int           `help:"Connections, each of its own user." default:"1000"`
	Hold        time.Duration `help:"Hold them so long." default:"5s"`
	PID         int           `help:"The server's process, to read its memory; 0 reads none."`
}

// Run measures and reports.
func (c *idleCmd) Run(ctx context.Context, r *report) error {
	t, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	result, err := load.Idle(ctx, t, load.IdleOptions{Connections: c.Connections, Hold: c.Hold, PID: c.PID})
	if err != nil {
		return err
	}
	if result.Dropped > 0 {
		err = fmt.Errorf("%d connections were dropped", result.Dropped)
	}
	return errors.Join(r.print(ctx, "idle", c, result), err)
}

type loginCmd struct {
	target
	Users    int           `help:"Users who take turns." default:"1000"`
	At       int           `help:"Logins under way at once." default:"32"`
	Duration time.Duration `help:"Measure so long." default:"10s"`
	Count    int           `help:"End after so many logins, if that comes first; 0 for no limit."`
}

// Run measures and reports.
func (c *loginCmd) Run(ctx context.Context, r *report) error {
	t, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	result, err := load.Logins(ctx, t, load.LoginOptions{Users: c.Users, At: c.At, Duration: c.Duration, Count: c.Count})
	if err != nil {
		return err
	}
	return r.print(ctx, "login", c, result)
}

type echoCmd struct {
	Connections int           `help:"Connections." default:"64"`
	Window      int           `help:"Frames that a connection has under way." default:"1"`
	Payload     int           `help:"Bytes of a frame." default:"64"`
	Duration    time.Duration `help:"Measure so long." default:"5s"`
}

// Run measures and reports.
func (c *echoCmd) Run(ctx context.Context, r *report) error {
	result, err := load.Echo(ctx, load.EchoOptions{Connections: c.Connections, Window: c.Window, Payload: c.Payload, Duration: c.Duration})
	if err != nil {
		return err
	}
	return r.print(ctx, "echo", c, result)
}

type benchCmd struct {
	Binary  string        `help:"The server." default:"bin/teamtalkd" type:"existingfile"`
	Dir     string        `help:"Make the server's data directory below this one." default:"." type:"existingdir"`
	Cell    time.Duration `help:"Measure each combination so long." default:"10s"`
	Idle    int           `help:"Idle connections at the end; 0 for none." default:"5000"`
	Payload int           `help:"Bytes of a message, 40 at least." default:"64"`
}

// Run measures and reports. The directory stays when something fails: the server's log is in it.
func (c *benchCmd) Run(ctx context.Context, r *report) error {
	dir, err := os.MkdirTemp(c.Dir, "ttload-bench-")
	if err != nil {
		return err
	}
	result, err := load.Bench(ctx, load.BenchOptions{Binary: c.Binary, Dir: dir, Cell: c.Cell, Idle: c.Idle, Payload: c.Payload}, os.Stderr)
	if err != nil {
		return err
	}
	if r.json {
		err = r.encode(result)
	} else {
		err = result.Print(r.out)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// report writes what a run came to.
type report struct {
	out     io.Writer
	json    bool
	diskDir string
}

// result is what every run comes to.
type result interface {
	Print(w io.Writer) error
}

func (r *report) print(ctx context.Context, mode string, params any, res result) error {
	if !r.json {
		return res.Print(r.out)
	}
	machine, err := load.Inspect(ctx, r.diskDir)
	if err != nil {
		return err
	}
	return r.encode(map[string]any{"mode": mode, "params": params, "machine": machine, "result": res})
}

func (r *report) encode(v any) error {
	e := json.NewEncoder(r.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ttload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var c cli
	parser, err := kong.New(&c, kong.Name("ttload"), kong.Description("Load generator for TeamTalk servers."))
	if err != nil {
		return err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return err
	}
	k.BindTo(ctx, (*context.Context)(nil))
	return k.Run(&report{out: out, json: c.JSON, diskDir: c.DiskDir})
}
