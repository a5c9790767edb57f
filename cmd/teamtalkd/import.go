package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"teamtalk/internal/admin"
	"teamtalk/internal/node"
)

type userImportCmd struct {
	target
	Example bool   `help:"Print an example file that explains the columns, and do nothing else."`
	File    string `arg:"" optional:"" help:"CSV file; - reads the standard input."`
}

// Run imports the file.
func (c *userImportCmd) Run(t *terminal) error {
	if c.Example {
		_, err := fmt.Fprint(t.out, node.ImportExample())
		return err
	}
	if c.File == "" {
		return errors.New("no file given: teamtalkd user import FILE.csv (--example prints one)")
	}
	file, closeFile, err := c.open(t)
	if err != nil {
		return err
	}
	defer closeFile()
	return c.call(func(ctx context.Context, api *admin.Client) error {
		started := time.Now()
		show, done := progress(t)
		added, err := api.ImportUsers(ctx, file, show)
		done()
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(t.out, map[string]int{"added": added})
		}
		_, err = fmt.Fprintf(t.out, "%d users added in %.1f s\n", added, time.Since(started).Seconds())
		return err
	})
}

func (c *userImportCmd) open(t *terminal) (r io.Reader, closeFile func(), err error) {
	if c.File == "-" {
		return t.in, func() {}, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil
}

// progress shows how far an import is: a bar on a terminal, else a line for each tenth.
func progress(t *terminal) (show func(admin.ImportProgress), done func()) {
	if t.errFile == nil || !term.IsTerminal(int(t.errFile.Fd())) {
		return progressLines(t), func() {}
	}
	var bar *progressbar.ProgressBar
	show = func(p admin.ImportProgress) {
		if bar == nil {
			bar = progressbar.NewOptions(p.Total, progressbar.OptionSetWriter(t.err), progressbar.OptionSetDescription("users"),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set(p.Done) // only fails when the terminal is gone
	}
	done = func() {
		if bar != nil {
			_ = bar.Exit()
			t.say("\n")
		}
	}
	return show, done
}

func progressLines(t *terminal) func(admin.ImportProgress) {
	tenth := -1
	return func(p admin.ImportProgress) {
		now := p.Done * 10 / max(1, p.Total)
		if now != tenth {
			tenth = now
			t.say("%d of %d users ready\n", p.Done, p.Total)
		}
	}
}
