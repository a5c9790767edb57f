package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
)

// target says which running server an operator command is for, and in which form it answers.
type target struct {
	Data      string `name:"data" placeholder:"DIR" default:"data" env:"TEAMTALK_DATA" help:"Data directory of the running server. [${default}]"`
	Ops       string `name:"ops" placeholder:"URL" help:"Ops listener of the server, if it runs elsewhere: http://host:port."`
	TokenFile string `name:"token-file" placeholder:"FILE" help:"File with the admin token, for --ops."`
	JSON      bool   `name:"json" help:"Answer as JSON."`
}

// call runs f with a client for the server; an interrupt cancels it.
func (t *target) call(f func(context.Context, *admin.Client) error) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return f(ctx, c)
}

func (t *target) client() (*admin.Client, error) {
	switch {
	case t.Ops == "" && t.TokenFile == "":
		return admin.ClientOf(t.Data)
	case t.Ops == "":
		return nil, errors.New("--token-file needs --ops: say which server it is the token of")
	case t.TokenFile == "":
		return nil, fmt.Errorf("--ops needs --token-file: a copy of %s from the server's data directory", admin.TokenFile)
	}
	token, err := admin.ReadToken(t.TokenFile)
	if err != nil {
		return nil, err
	}
	return admin.NewClient(t.Ops, token)
}

// answer prints v as JSON if that was asked for, else the table.
func (t *target) answer(term *terminal, v any, rows texttable.Table) error {
	if t.JSON {
		return printJSON(term.out, v)
	}
	return rows.Print(term.out)
}

// passwordFlag is how a password is given: never in a log, and on the command line only if the operator insists.
type passwordFlag struct {
	Password *string `name:"password" placeholder:"PASSWORD" help:"The password; - reads it from the standard input. Without this flag it is asked for."`
}

// read returns the password, asking for it if need be.
func (p *passwordFlag) read(t *terminal, who string) (string, error) {
	switch {
	case p.Password == nil:
		return askPassword(t, who)
	case *p.Password == "-":
		line, err := bufio.NewReader(io.LimitReader(t.in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("password from the standard input: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("the standard input holds no password")
		}
		return line, nil
	case *p.Password == "":
		return "", errors.New("the password is empty")
	}
	return *p.Password, nil
}

// orLine is an argument, or the first line of the standard input if it is "-".
func orLine(t *terminal, argument string) (string, error) {
	if argument != "-" {
		return argument, nil
	}
	line, err := bufio.NewReader(io.LimitReader(t.in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("standard input: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// passphraseFlag says where the passphrase of a file is: on the command line it would be in everybody's list of processes.
type passphraseFlag struct {
	PassphraseFile string `name:"passphrase-file" placeholder:"FILE" help:"File whose first line is the passphrase that the backup is encrypted with; - reads it from the standard input."`
}

func (p *passphraseFlag) given() bool { return p.PassphraseFile != "" }

// read returns the passphrase, empty if none is given.
func (p *passphraseFlag) read(t *terminal) (string, error) {
	if !p.given() {
		return "", nil
	}
	from := t.in
	if p.PassphraseFile != "-" {
		f, err := os.Open(p.PassphraseFile)
		if err != nil {
			return "", err
		}
		defer f.Close()
		from = f
	}
	line, err := bufio.NewReader(io.LimitReader(from, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("passphrase: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fmt.Errorf("the first line of %s is empty: there is no passphrase in it", p.PassphraseFile)
	}
	return line, nil
}

// askSecret asks on the terminal; otherwise is the error where there is none.
func askSecret(t *terminal, prompt, otherwise string) (string, error) {
	fd := int(t.in.Fd())
	if !term.IsTerminal(fd) {
		return "", errors.New(otherwise)
	}
	t.say("%s", prompt)
	b, err := term.ReadPassword(fd)
	t.say("\n")
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return string(b), nil
}

func askPassword(t *terminal, who string) (string, error) {
	ask := func(prompt string) (string, error) {
		return askSecret(t, prompt, "no password given: use --password PASSWORD, or --password - to read it from the standard input")
	}
	first, err := ask("Password for " + who + ": ")
	if err != nil {
		return "", err
	}
	again, err := ask("Once more: ")
	switch {
	case err != nil:
		return "", err
	case first != again:
		return "", errors.New("the two passwords differ: nothing was changed")
	case first == "":
		return "", errors.New("the password is empty: nothing was changed")
	}
	return first, nil
}
