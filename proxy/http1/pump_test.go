package http1

import (
	"errors"
	"log/slog"
	"testing"

	"usher/config"
	"usher/proxy/core"
)

// A fault while a body is sent ends that request, not the process.
func TestPumpPanic(t *testing.T) {
	t.Parallel()
	c := &conn{server: &Server{log: slog.New(slog.DiscardHandler)}, work: &work{}}
	c.head.ContentLength = 1 // of which it has no buffer to read
	if err := c.sendSafely(nil, &core.Attempt{Policy: &config.Policy{}}); !errors.Is(err, errPanic) {
		t.Errorf("got %v", err)
	}
}
