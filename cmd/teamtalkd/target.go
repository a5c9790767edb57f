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

func askPassword(t *terminal, who string) (string, error) {
	fd := int(t.in.Fd())
	if !term.IsTerminal(fd) {
		return "", errors.New("no password given: use --password PASSWORD, or --password - to read it from the standard input")
	}
	ask := func(prompt string) (string, error) {
		t.say("%s", prompt)
		b, err := term.ReadPassword(fd)
		t.say("\n")
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		return string(b), nil
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
