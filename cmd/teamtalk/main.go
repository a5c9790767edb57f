// Command teamtalk is a TeamTalk client for terminals and scripts, and the doctor who says why a network does not let one in.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"teamtalk/internal/obs"
)

// commands is the command line.
type commands struct {
	Login    loginCmd    `cmd:"" help:"Log in and keep the session in the profile."`
	Logout   logoutCmd   `cmd:"" help:"End the sessions of the profile."`
	Chat     chatCmd     `cmd:"" help:"Chat on the whole screen of the terminal."`
	Send     sendCmd     `cmd:"" help:"Send a message and wait until the server has stored it."`
	Get      getCmd      `cmd:"" help:"Save a picture or a file that a message shows."`
	Tail     tailCmd     `cmd:"" help:"Print what happens until interrupted, beginning where the last tail ended."`
	History  historyCmd  `cmd:"" help:"Print the newest messages of a conversation."`
	Contacts contactsCmd `cmd:"" help:"List the users of the directory."`
	Find     findCmd     `cmd:"" help:"Find people by a part of their name or address, also at other offices."`
	Unread   unreadCmd   `cmd:"" help:"List the conversations with unread messages."`
	Doctor   doctorCmd   `cmd:"" help:"Try every way to a server, and say what blocks."`
	Version  versionCmd  `cmd:"" help:"Say what this binary was built from."`
}

// terminalIO is what a command reads from and writes to.
type terminalIO struct {
	in       *os.File
	out, err io.Writer
}

// say writes for the user, beside the command's output. A terminal that is gone cannot be told so.
func (t *terminalIO) say(format string, args ...any) { _, _ = fmt.Fprintf(t.err, format, args...) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &terminalIO{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, term *terminalIO) int {
	var cli commands
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name("teamtalk"),
		kong.Description("TeamTalk in the terminal. `teamtalk login --server chat.example.com NAME` comes first; docs/TERMINAL.md tells the rest."),
		kong.Writers(term.out, term.err),
		kong.Exit(func(code int) { exited = code }), // --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		term.say("teamtalk: %v\n", err)
		return 2
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		term.say("teamtalk: %v (teamtalk --help)\n", err)
		return 2
	}
	err = command.Run(term)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil: // who interrupts knows why it ended
		return 130
	case errors.Is(err, errNoWay):
		return 1 // which the report has told
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		term.say("teamtalk: %s\n", strings.TrimPrefix(line, "client: "))
	}
	return 1
}

type versionCmd struct{}

// Run prints the version.
func (c *versionCmd) Run(term *terminalIO) error {
	_, err := fmt.Fprintln(term.out, obs.BuildVersion())
	return err
}
