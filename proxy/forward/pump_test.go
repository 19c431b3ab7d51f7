package forward

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
	trip := &Trip{forwarder: &Forwarder{Log: slog.New(slog.DiscardHandler)}}
	trip.Head.ContentLength = 1 // of which it has no client to read from
	if err := trip.sendSafely(nil, &core.Attempt{Policy: &config.Policy{}}); !errors.Is(err, errPanic) {
		t.Errorf("got %v", err)
	}
}
