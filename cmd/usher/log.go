package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"

	"usher/config"
	"usher/metrics"
)

// logging is the process's logger and what a reload may change of it.
type logging struct {
	*slog.Logger
	level slog.LevelVar
}

// newLogging returns a logger that writes to w and counts into m.
func newLogging(w io.Writer, c config.Log, m *metrics.Process) *logging {
	l := &logging{}
	l.setLevel(c)
	opts := &slog.HandlerOptions{Level: &l.level}
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if c.Format == "text" || (c.Format == "auto" && isTerminal(w)) {
		h = slog.NewTextHandler(w, opts)
	}
	l.Logger = slog.New(countingHandler{h, m})
	return l
}

func (l *logging) setLevel(c config.Log) {
	var level slog.Level
	if level.UnmarshalText([]byte(c.Level)) == nil { // the configuration is validated
		l.level.Set(level)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// countingHandler counts what is logged.
type countingHandler struct {
	slog.Handler
	m *metrics.Process
}

func (h countingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.m.Logged(strings.ToLower(r.Level.String()))
	return h.Handler.Handle(ctx, r)
}

func (h countingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return countingHandler{h.Handler.WithAttrs(attrs), h.m}
}

func (h countingHandler) WithGroup(name string) slog.Handler {
	return countingHandler{h.Handler.WithGroup(name), h.m}
}
