package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"teamtalk/internal/node"
	"teamtalk/internal/obs"
)

type serveCmd struct {
	Config string `name:"config" short:"c" placeholder:"FILE" env:"TEAMTALK_CONFIG" help:"Configuration file (YAML)."`
	Join   string `name:"join" placeholder:"TOKEN" env:"TEAMTALK_JOIN" help:"Join the cluster that made this token (teamtalkd cluster token); the data directory has to be empty. A node that has joined needs it no more."`
	kong.Plugins

	flags func() map[string]string
}

// Run serves until a signal or a failure.
func (c *serveCmd) Run(term *terminal) error {
	cfg, warnings, err := node.Load(node.Sources{File: c.Config, Environ: os.Environ(), Flags: c.flags()})
	if err != nil {
		return err
	}
	cfg.Join = c.Join
	return serve(term, cfg, warnings, nil)
}

// serve runs a node; ready is called once it accepts clients, nil for nothing to do.
func serve(term *terminal, cfg *node.Config, warnings []string, ready func(*node.Node) error) error {
	log, err := obs.NewLogger(term.err, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		log.Warn("configuration", "problem", w)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n, err := node.Start(ctx, cfg, log)
	if err != nil {
		return err
	}
	if ready != nil {
		if err := ready(n); err != nil {
			log.Warn("start message not shown", "error", err)
		}
	}
	if err := n.Wait(ctx); err != nil {
		// The state of the disk is unknown: nothing may be written any more, not even for a good end.
		return err
	}
	stop() // from here a second signal is not ours: the runtime's default ends the process at once
	return leave(log, cfg, n)
}

func leave(log *slog.Logger, cfg *node.Config, n *node.Node) error {
	log.Info("leaving: accepting nothing more, answering what was read", "timeout", cfg.Shutdown.Timeout)
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Shutdown.Timeout)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	log.Info("left")
	return nil
}
