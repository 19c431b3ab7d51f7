package consultest

import (
	"testing"
	"time"
)

// Patience is how long Eventually waits: a passing test never waits so long.
const Patience = 30 * time.Second

// pollEvery is how often a condition is looked at.
const pollEvery = 20 * time.Millisecond

// Eventually waits until the condition holds, and fails the test when that takes
// too long. The condition is called from the test's goroutine.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", Patience, what)
		}
	}
}
