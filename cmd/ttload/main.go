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
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"teamtalk/internal/load"
	"teamtalk/protocol"
)

// cli is the command line.
type cli struct {
	Pairs      pairsCmd      `cmd:"" help:"Pairs of users, one sending to the other."`
	Group      groupCmd      `cmd:"" help:"One user sends to a group, made for the run."`
	Idle       idleCmd       `cmd:"" help:"Connections that log in and do nothing: what they cost the server in memory."`
	Login      loginCmd      `cmd:"" help:"Logins: connect, log in, close, again."`
	Reconnect  reconnectCmd  `cmd:"" help:"Start a server, log in clients of the session extension, cut them all off at once and watch them come back."`
	Storm      stormCmd      `cmd:"" help:"Start a server, let many log in at once and watch the queue that they wait in."`
	Echo       echoCmd       `cmd:"" help:"A raw echo over loopback, without any server: what this machine can do."`
	Transports transportsCmd `cmd:"" help:"Start servers on empty directories and measure all transports beside each other."`
	Cluster    clusterCmd    `cmd:"" help:"Start clusters of three nodes on empty directories and measure them, also while the leader is killed, nodes join and backups are made."`
	Federation federationCmd `cmd:"" help:"Start offices of one node each, link them over a network with a delay and measure that, also when much waits for a link, in a large group and with many links."`
	Scale      scaleCmd      `cmd:"" help:"Reckon what many federated clusters need, and model what an outage of some does to them; nothing is started."`
	Bench      benchCmd      `cmd:"" help:"Start servers on empty directories and measure all of it, transports included."`

	JSON    bool   `help:"Print JSON with the facts of the machine."`
	DiskDir string `help:"Where to measure fdatasync for the facts of the machine." default:"." type:"existingdir"`
}

// target are the flags that say where the server is, how to reach it and whom to log in as.
type target struct {
	Server      string `help:"host:port that the transport uses." default:"127.0.0.1:8000"`
	LoginURL    string `name:"login" help:"Ask this URL (http://…/msg_server) for the address of the native protocol instead." placeholder:"URL"`
	Data        string `help:"Data directory of a server on this machine, which knows its addresses and whom to trust, instead." type:"existingdir"`
	Via         string `help:"Transport." enum:"${vias}" default:"tcp"`
	CA          string `name:"ca" help:"File of the authority that signed the server's certificate; none: the system's." type:"existingfile"`
	Extended    bool   `help:"Begin sessions with HELLO."`
	Library     bool   `help:"Let TCP go by the client library as the other transports do."`
	Sources     int    `help:"Connect from so many addresses of the loopback, so that limits per address do not bite." default:"1"`
	UserPattern string `help:"Login name of the n-th user." default:"user%d"`
	First       int    `help:"Number of the first user." default:"1"`
	Password    string `help:"Password of all users." default:"12345" json:"-"`
	Client      string `help:"Client type. PC types make the server announce presence to all PC sessions." enum:"windows,mac,ios,android" default:"android"`
	AllowRemote bool   `help:"Allow a server on another machine."`
}

func (t target) resolve(ctx context.Context) (load.Target, error) {
	out, err := t.find(ctx)
	if err != nil {
		return out, err
	}
	if !t.AllowRemote {
		if err := load.RequireLoopback(ctx, out.Server); err != nil {
			return out, err
		}
	}
	out.UserPattern, out.First, out.Password, out.Extended, out.Library, out.Sources = t.UserPattern, t.First, t.Password, t.Extended, t.Library, t.Sources
	out.Client = map[string]protocol.ClientType{"windows": protocol.ClientWindows, "mac": protocol.ClientMac, "ios": protocol.ClientIOS,
		"android": protocol.ClientAndroid}[t.Client]
	return out, nil
}

// find says where the server is and whom to trust.
func (t target) find(ctx context.Context) (load.Target, error) {
	via, err := load.ViaNamed(t.Via)
	if err != nil {
		return load.Target{}, err
	}
	if t.Data != "" {
		place, err := load.FindServer(t.Data)
		if err != nil {
			return load.Target{}, err
		}
		return place.Target(via, t.Password)
	}
	out := load.Target{Server: t.Server, Via: via}
	if t.LoginURL != "" {
		if out.Server, err = load.Discover(ctx, t.LoginURL); err != nil {
			return out, err
		}
	}
	out.TLS, err = load.Trust(t.CA)
	return out, err
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
	PID         int           `help:"The server's process, to read its memory, with --data also once garbage was collected; 0 reads none."`
}

// Run measures and reports.
func (c *idleCmd) Run(ctx context.Context, r *report) error {
	t, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	o := load.IdleOptions{Connections: c.Connections, Hold: c.Hold, PID: c.PID}
	if c.Data != "" && c.PID != 0 {
		place, err := load.FindServer(c.Data)
		if err != nil {
			return err
		}
		o.Collect = place.Collect
	}
	result, err := load.Idle(ctx, t, o)
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

type reconnectCmd struct {
	place
	Clients int           `help:"Clients, each of its own user." default:"15000"`
	Via     string        `help:"Transport." enum:"${vias}" default:"tls"`
	Sources int           `help:"Connect from so many addresses of the loopback, so that limits per address do not bite." default:"64"`
	Before  time.Duration `help:"Watch the two who chat meanwhile so long before the cut." default:"5s"`
	Limit   time.Duration `help:"Wait so long for all to be back." default:"3m"`
}

// Run measures and reports.
func (c *reconnectCmd) Run(ctx context.Context, r *report) error {
	via, err := load.ViaNamed(c.Via)
	if err != nil {
		return err
	}
	return c.in(func(dir string) error {
		result, err := load.BenchReconnect(ctx, c.Binary, dir, via, load.ReconnectOptions{Clients: c.Clients, Sources: c.Sources, Before: c.Before, Limit: c.Limit})
		if err != nil {
			return err
		}
		return errors.Join(r.print(ctx, "reconnect", c, result), result.Verdict())
	})
}

type stormCmd struct {
	place
	Logins  int           `help:"Clients of the session extension that log in at once, each of its own user." default:"15000"`
	Legacy  int           `help:"Legacy logins by TCP among them." default:"200"`
	Resumes int           `help:"Sessions that are resumed in the middle." default:"500"`
	Pairs   int           `help:"Pairs of users who chat throughout." default:"4"`
	Slots   int           `help:"Passwords that the server checks at the same time; so many may overtake a login. 0: half as many as there are cores, the default of the server."`
	Via     string        `help:"Transport." enum:"${vias}" default:"tls"`
	Sources int           `help:"Connect from so many addresses of the loopback, so that limits per address do not bite." default:"64"`
	Before  time.Duration `help:"Watch the pairs so long before the storm." default:"5s"`
	Limit   time.Duration `help:"Wait so long for all to be in." default:"30m"`
	Slack   time.Duration `help:"Forgive so much lateness: the clients, too, wait for a processor." default:"500ms"`
	Flags   []string      `name:"server-flag" help:"Further flags of the server, as --server-flag=--password-argon2-memory=4MiB." placeholder:"FLAG"`
}

// Run measures and reports.
func (c *stormCmd) Run(ctx context.Context, r *report) error {
	via, err := load.ViaNamed(c.Via)
	if err != nil {
		return err
	}
	if c.Slots < 1 {
		c.Slots = max(1, runtime.NumCPU()/2)
	}
	return c.in(func(dir string) error {
		result, err := load.BenchLoginStorm(ctx, c.Binary, dir, via, load.LoginStormOptions{Logins: c.Logins, Legacy: c.Legacy, Resumes: c.Resumes,
			Pairs: c.Pairs, Slots: c.Slots, Sources: c.Sources, Before: c.Before, Limit: c.Limit, Slack: c.Slack, Flags: c.Flags})
		if err != nil {
			return err
		}
		return errors.Join(r.print(ctx, "storm", c, result), result.Verdict())
	})
}

type echoCmd struct {
	Via         string        `help:"Transport, of which only the library is used." enum:"${vias}" default:"tcp"`
	Connections int           `help:"Connections." default:"64"`
	Window      int           `help:"Frames that a connection has under way." default:"1"`
	Payload     int           `help:"Bytes of a frame." default:"64"`
	Duration    time.Duration `help:"Measure so long." default:"5s"`
}

// Run measures and reports.
func (c *echoCmd) Run(ctx context.Context, r *report) error {
	result, err := load.Echo(ctx, load.EchoOptions{Via: load.Via(c.Via), Connections: c.Connections, Window: c.Window, Payload: c.Payload, Duration: c.Duration})
	if err != nil {
		return err
	}
	return r.print(ctx, "echo", c, result)
}

// place says which server to start and where it keeps its data.
type place struct {
	Binary string `help:"The server." default:"bin/teamtalkd" type:"existingfile"`
	Dir    string `help:"Make the servers' data directories below this one." default:"." type:"existingdir"`
}

// in runs body with a new directory, which stays when something fails: the servers' logs are in it.
func (p place) in(body func(dir string) error) error {
	dir, err := os.MkdirTemp(p.Dir, "ttload-bench-")
	if err != nil {
		return err
	}
	if err := body(dir); err != nil {
		_ = os.Remove(dir) // fails if there is anything in it
		return err
	}
	return os.RemoveAll(dir)
}

// grid are the flags of what is measured beside each other.
type grid struct {
	Cell     time.Duration `help:"Measure each combination so long." default:"10s"`
	Payload  int           `help:"Bytes of a message, 40 at least." default:"64"`
	Sessions int           `help:"Idle sessions by each transport; 0 for none." default:"15000"`
}

type transportsCmd struct {
	place
	grid
	Vias     []string `name:"via" help:"Transports." enum:"${vias}" default:"${vias}"`
	Extended bool     `help:"Begin sessions with HELLO."`
}

// Run measures and reports.
func (c *transportsCmd) Run(ctx context.Context, r *report) error {
	return c.in(func(dir string) error {
		o := load.TransportsOptions{BenchOptions: load.BenchOptions{Binary: c.Binary, Dir: dir, Cell: c.Cell, Payload: c.Payload},
			Sessions: c.Sessions, Extended: c.Extended}
		for _, name := range c.Vias {
			o.Vias = append(o.Vias, load.Via(name))
		}
		result, err := load.Transports(ctx, o, os.Stderr)
		if err != nil {
			return err
		}
		return r.whole(result)
	})
}

type benchCmd struct {
	place
	grid
	Idle    int `help:"Idle connections by TCP without the client library; 0 for none." default:"5000"`
	Members int `help:"Members of the group that one sends to; 0 for no group." default:"1000"`
}

// Run measures and reports.
func (c *benchCmd) Run(ctx context.Context, r *report) error {
	return c.in(func(dir string) error {
		o := load.BenchOptions{Binary: c.Binary, Dir: dir, Cell: c.Cell, Idle: c.Idle, Members: c.Members, Payload: c.Payload}
		result, err := load.Bench(ctx, o, os.Stderr)
		if err != nil {
			return err
		}
		result.Transports, err = load.Transports(ctx, load.TransportsOptions{BenchOptions: o, Vias: load.Vias(), Sessions: c.Sessions}, os.Stderr)
		if err != nil {
			return err
		}
		return r.whole(result)
	})
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

// whole writes a result that has the facts of the machine in it.
func (r *report) whole(res result) error {
	if r.json {
		return r.encode(res)
	}
	return res.Print(r.out)
}

func (r *report) encode(v any) error {
	e := json.NewEncoder(r.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// vias lists the transports for flags.
func vias() string {
	var names []string
	for _, v := range load.Vias() {
		names = append(names, string(v))
	}
	return strings.Join(names, ",")
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
	parser, err := kong.New(&c, kong.Name("ttload"), kong.Description("Load generator for TeamTalk servers."), kong.Vars{"vias": vias(), "parts": strings.Join(load.ClusterParts(), ","), "fedparts": strings.Join(load.FederationParts(), ",")})
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
