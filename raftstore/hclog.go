package raftstore

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger lets raft write into a slog.Logger. What raft takes for information (each step of each shortening of the
// log) is debugging to an operator; who leads is logged by leaderWatch.
type raftLogger struct {
	to   *slog.Logger
	args []any
	name string
	lone bool // the only voter: it elects itself at every start, which is nothing to warn of
}

const electionMessage = "heartbeat timeout reached, starting election"

func newRaftLogger(to *slog.Logger, lone bool) hclog.Logger {
	return &raftLogger{to: to.With("part", "raft"), lone: lone}
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelDebug
	}
}

// Log writes msg and its pairs.
func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slogLevel(level)
	if l.lone && msg == electionMessage {
		to = slog.LevelDebug
	}
	if !l.to.Enabled(context.Background(), to) {
		return
	}
	pairs := make([]any, len(args))
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			if format, ok := f[0].(string); ok {
				a = fmt.Sprintf(format, f[1:]...)
			}
		}
		pairs[i] = a
	}
	l.to.Log(context.Background(), to, msg, pairs...) //nolint:sloglint // the message is raft's
}

// Trace is below slog's levels and becomes Debug.
func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug writes at slog's Debug.
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info writes at slog's Debug.
func (l *raftLogger) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn writes at slog's Warn.
func (l *raftLogger) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error writes at slog's Error.
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) enabled(level slog.Level) bool {
	return l.to.Enabled(context.Background(), level)
}

// IsTrace reports whether Trace writes anything.
func (l *raftLogger) IsTrace() bool { return l.enabled(slog.LevelDebug) }

// IsDebug reports whether Debug writes anything.
func (l *raftLogger) IsDebug() bool { return l.enabled(slog.LevelDebug) }

// IsInfo reports whether Info writes anything.
func (l *raftLogger) IsInfo() bool { return l.enabled(slog.LevelDebug) }

// IsWarn reports whether Warn writes anything.
func (l *raftLogger) IsWarn() bool { return l.enabled(slog.LevelWarn) }

// IsError reports whether Error writes anything.
func (l *raftLogger) IsError() bool { return l.enabled(slog.LevelError) }

// ImpliedArgs are the pairs given to With.
func (l *raftLogger) ImpliedArgs() []any { return l.args }

// With adds pairs to all that is written.
func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{to: l.to.With(args...), args: append(append([]any(nil), l.args...), args...), name: l.name, lone: l.lone}
}

// Name is the name given to Named.
func (l *raftLogger) Name() string { return l.name }

// Named adds a part to the name.
func (l *raftLogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

// ResetNamed replaces the name.
func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{to: l.to, args: l.args, name: name, lone: l.lone}
}

// SetLevel does nothing: the level is the slog handler's.
func (l *raftLogger) SetLevel(hclog.Level) {}

// GetLevel is the lowest level that is written.
func (l *raftLogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Warn, hclog.Error} {
		if l.enabled(slogLevel(level)) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger writes lines at Debug.
func (l *raftLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.to.Handler(), slog.LevelDebug)
}

// StandardWriter writes lines at Debug.
func (l *raftLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(o).Writer()
}
