// Command teamtalkd is the TeamTalk server and the operator's commands for it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"teamtalk/internal/admin"
	"teamtalk/internal/node"
	"teamtalk/internal/obs"
)

// commands is the command line.
type commands struct {
	Dev        devCmd        `cmd:"" help:"Run one node on this machine with demo users, to try things out."`
	Serve      serveCmd      `cmd:"" help:"Run a node."`
	User       userCmd       `cmd:"" help:"Add, list, change and import users of a running server."`
	Department departmentCmd `cmd:"" help:"Add, list and change departments of a running server."`
	Group      groupCmd      `cmd:"" help:"Add, list and change groups of a running server."`
	Cluster    clusterCmd    `cmd:"" help:"Show the nodes of a cluster, let them join, drain and remove them."`
	Federation federationCmd `cmd:"" help:"Link this cluster with those of other offices, and look after the links."`
	Backup     backupCmd     `cmd:"" help:"Write a consistent copy of all data of a running server to a file."`
	Restore    restoreCmd    `cmd:"" help:"Offline: make the data directory of a new server from a backup."`
	Config     configCmd     `cmd:"" help:"List every key of the configuration with its value and meaning."`
	Version    versionCmd    `cmd:"" help:"Say what this binary was built from."`
}

// terminal is what a command reads from and writes to, and works with where no server runs.
type terminal struct {
	in       *os.File
	out, err io.Writer
	errFile  *os.File // err, if it is a file: a progress bar needs to know whether it is a terminal
	offline  offlineTools
}

// say writes for the operator, beside the command's output. A terminal that is gone cannot be told so.
func (t *terminal) say(format string, args ...any) { _, _ = fmt.Fprintf(t.err, format, args...) }

func main() {
	os.Exit(run(os.Args[1:], &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, errFile: os.Stderr, offline: nodeTools()}))
}

func run(args []string, term *terminal) int {
	var cli commands
	cli.Dev.Plugins, cli.Dev.flags = optionFlags(node.DevDefaults())
	cli.Serve.Plugins, cli.Serve.flags = optionFlags(nil)
	cli.Restore.tools, cli.Cluster.Recover.tools = term.offline, term.offline
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name("teamtalkd"),
		kong.Description("TeamTalk server. `teamtalkd dev` starts one to try; docs/OPERATIONS.md tells the rest."),
		kong.Writers(term.out, term.err),
		kong.Exit(func(code int) { exited = code }), // --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(context.Background(), (*context.Context)(nil)),
	)
	if err != nil {
		term.say("teamtalkd: %v\n", err)
		return 2
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		term.say("teamtalkd: %v (teamtalkd %s--help)\n", err, helpPath(args))
		return 2
	}
	return outcome(command.Run(term), term)
}

// outcome tells why a command failed: one line for each problem, nothing else.
func outcome(err error, term *terminal) int {
	var refused *admin.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refused) && len(refused.Details) > 0:
		term.say("teamtalkd: %v\n", err)
		for _, d := range refused.Details {
			term.say("  %s\n", d)
		}
		return 1
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		term.say("teamtalkd: %s\n", line)
	}
	return 1
}

// helpPath is the command words at the beginning of args: whose help to read.
func helpPath(args []string) string {
	var b strings.Builder
	for _, a := range args {
		if strings.HasPrefix(a, "-") || b.Len() > 20 {
			break
		}
		b.WriteString(a + " ")
	}
	return b.String()
}

type versionCmd struct {
	JSON bool `name:"json" help:"As JSON."`
}

// Run prints the version.
func (c *versionCmd) Run(term *terminal) error {
	v := obs.BuildVersion()
	if c.JSON {
		return printJSON(term.out, v)
	}
	_, err := fmt.Fprintln(term.out, v)
	return err
}
