//go:build race

package proxytest

// Race says whether the race detector is on, which allocates by itself.
const Race = true
