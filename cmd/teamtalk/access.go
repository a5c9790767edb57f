package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"teamtalk/internal/obs"
	"teamtalk/internal/terminal"
	"teamtalk/internal/texttable"
)

// access are the flags about whom to log in as and where; what is not given is the profile's.
type access struct {
	Server     []string      `placeholder:"ADDRESS" help:"Server: a host, HOST:PORT, or a URL such as wss://chat.example.com; several may be given."`
	User       string        `placeholder:"NAME" help:"Login name."`
	Password   string        `placeholder:"PASSWORD" env:"TEAMTALK_PASSWORD" help:"Password; - reads it from the standard input. It is asked for when it is needed."`
	Profile    string        `placeholder:"DIR" env:"TEAMTALK_PROFILE" help:"Folder of the session; else teamtalk in your folder of configurations."`
	CA         string        `name:"ca" placeholder:"FILE" type:"path" help:"Trust the authority in this file too."`
	HTTP       string        `name:"http" placeholder:"URL" help:"HTTP port of the server, for pictures and files, where the server's address does not say it."`
	AllowPlain bool          `help:"Also try connections that are not encrypted."`
	Legacy     string        `placeholder:"MODE" enum:",off,fallback,only" default:"" help:"Servers of the old protocol: off, fallback or only. [off]"`
	Log        string        `placeholder:"LEVEL" enum:",debug,info,warn,error" default:"" help:"Log the connection to stderr: debug, info, warn or error."`
	Timeout    time.Duration `default:"30s" help:"How long to wait for a connection and answers. [30s]"`
}

func (a *access) profile() (terminal.Profile, error) {
	if a.Profile == "" {
		return terminal.DefaultProfile()
	}
	return terminal.Profile{Dir: a.Profile}, nil
}

// resolve puts the flags before what the profile has.
func (a *access) resolve(t *terminalIO) (terminal.Profile, terminal.Access, error) {
	p, err := a.profile()
	if err != nil {
		return p, terminal.Access{}, err
	}
	kept, err := p.Account()
	if err != nil {
		return p, terminal.Access{}, err
	}
	ca, err := a.authority()
	if err != nil {
		return p, terminal.Access{}, err
	}
	log, err := a.logger(t.err)
	if err != nil {
		return p, terminal.Access{}, err
	}
	full := terminal.Access{Version: obs.BuildVersion().String(), Log: log, Waiting: t.passing(a.Log).waiting(), Account: terminal.Account{Servers: kept.Servers,
		User: cmp.Or(a.User, kept.User), CA: cmp.Or(ca, kept.CA), AllowPlain: a.AllowPlain || kept.AllowPlain, Legacy: cmp.Or(a.Legacy, kept.Legacy), HTTP: cmp.Or(a.HTTP, kept.HTTP)}}
	if len(a.Server) > 0 {
		full.Servers = a.Server
	}
	if a.Password != "" {
		full.Password, err = readPassword(t, a.Password)
	}
	return p, full, err
}

// authority is the file as a command in another folder finds it.
func (a *access) authority() (string, error) {
	if a.CA == "" {
		return "", nil
	}
	return filepath.Abs(a.CA)
}

func (a *access) logger(w io.Writer) (*slog.Logger, error) {
	if a.Log == "" {
		return slog.New(slog.DiscardHandler), nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.Log)); err != nil {
		return nil, fmt.Errorf("--log: %w", err)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

// with runs f with a session that is online; all of it has the time of --timeout.
func (a *access) with(ctx context.Context, t *terminalIO, f func(context.Context, *terminal.Session) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	return a.unhurried(ctx, t, f)
}

// unhurried is with for what takes as long as it takes: only getting online has the time of --timeout.
func (a *access) unhurried(ctx context.Context, t *terminalIO, f func(context.Context, *terminal.Session) error) error {
	p, full, err := a.resolve(t)
	if err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	s, err := p.Open(opening, terminal.ForCommands, full)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, s), s.Close())
}

// readPassword reads the line of the standard input that a - stands for.
func readPassword(t *terminalIO, given string) (string, error) {
	if given != "-" {
		return given, nil
	}
	line, err := bufio.NewReader(io.LimitReader(t.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("password from the standard input: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("the standard input holds no password")
	}
	return line, nil
}

func askPassword(t *terminalIO, who string) (string, error) {
	fd := int(t.in.Fd())
	if !term.IsTerminal(fd) {
		return "", errors.New("no password given: set TEAMTALK_PASSWORD, or use --password - to read it from the standard input")
	}
	t.say("Password for %s: ", texttable.Printable(who))
	b, err := term.ReadPassword(fd)
	t.say("\n")
	switch {
	case err != nil:
		return "", fmt.Errorf("password: %w", err)
	case len(b) == 0:
		return "", errors.New("the password is empty")
	}
	return string(b), nil
}
