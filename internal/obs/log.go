package obs

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger writes structured logs of at least the given level to w; format is "text" (key=value) or "json".
func NewLogger(w io.Writer, level slog.Level, format string) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q is not text or json", format)
}
