package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"teamtalk/internal/doctor"
	"teamtalk/internal/terminal"
	"teamtalk/internal/texttable"
)

// errNoWay is the exit code of a doctor who has told everything.
var errNoWay = errors.New("no way in")

type doctorCmd struct {
	access
	PlainURL string        `name:"plain-url" placeholder:"URL" help:"Ask this by plain HTTP for the time and for login pages; else http://HOST/lp."`
	Each     time.Duration `default:"5s" help:"How long each check may take; all are made at once. [5s]"`
	JSON     bool          `name:"json" help:"Print the report as a JSON object, for scripts and support desks."`
}

// Run examines the way to the server; no login is needed.
func (c *doctorCmd) Run(ctx context.Context, t *terminalIO) error {
	_, full, err := c.resolve(t)
	if err != nil {
		return err
	}
	if len(full.Servers) == 0 {
		return errors.New("which server? --server ADDRESS")
	}
	trust, err := terminal.Trust(full.CA)
	if err != nil {
		return err
	}
	r, err := doctor.Examine(ctx, doctor.Config{Addresses: full.Servers, TLS: trust, AllowPlain: full.AllowPlain, Timeout: c.Each, PlainURL: c.PlainURL})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	show := printReport
	if c.JSON {
		show = func(t *terminalIO, r *doctor.Report) error { return printSheet(t, r.Sheet(full.Servers, time.Now())) }
	}
	if err := show(t, r); err != nil {
		return err
	}
	if !r.OK() {
		return errNoWay
	}
	return nil
}

// printSheet prints a report for programs.
func printSheet(t *terminalIO, s doctor.Sheet) error {
	out := json.NewEncoder(t.out)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(s)
}

// printReport prints what was tried, and then the diagnosis, what to do next, and what else was found.
func printReport(t *terminalIO, r *doctor.Report) error {
	rows := texttable.Table{{"CHECK", "TARGET", "RESULT", "TIME", "DETAIL"}}
	for _, check := range r.Checks {
		target := check.Target
		if check.Proxy != "" {
			target += " through " + check.Proxy
		}
		rows = append(rows, []string{check.What, target, check.Result(), check.Took.Round(100 * time.Microsecond).String(), check.Detail})
	}
	if err := rows.Print(t.out); err != nil {
		return err
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(t.out, "\n%s: %s\n  next: %s\n", f.Kind, texttable.Printable(f.What), texttable.Printable(f.Next)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t.out, "\n%s\n", r.Summary())
	return err
}
