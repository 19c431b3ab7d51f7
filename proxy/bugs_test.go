package proxy_test

import (
	"os"
	"strings"
	"testing"
)

// bugs is what is known to be wrong, by the beginning of the names of the tests that
// show it. A line goes when its bug does; USHER_KNOWN_BUGS=1 runs them all.
var bugs = map[string]string{
	"TestListenFinishesRequests/changed": "a replaced server may begin to drain only after Listen has returned",
}

// known skips a test of a known bug.
func known(t *testing.T) {
	t.Helper()
	if os.Getenv("USHER_KNOWN_BUGS") != "" {
		return
	}
	for name, bug := range bugs {
		if strings.HasPrefix(t.Name(), name) {
			t.Skip("bug: " + bug)
		}
	}
}
