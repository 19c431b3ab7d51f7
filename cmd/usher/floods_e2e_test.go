package main_test

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"usher/proxy/proxytest/flood"
)

// Connections that flood usher with frames, one after the other, end; the others are all
// served meanwhile, and memory is bounded.
func TestFloods(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "b", nil)
	c := newCredentials(t)
	e := startGateway(t, c, "services:\n"+serviceAt("s", "/", "", b.address()), "")
	others := clientOf(t, e.secure, c.Pool(), true)
	for _, kind := range flood.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			before := e.peak()
			f := startTrafficBy(t, others, "https://s.test/", lowRate, 0)
			floodFor(t, 2*time.Second, kind, e.secure, c)
			calls := f.end()
			mustAnswer(t, calls, "beside the flood")
			grown := (e.peak() - before) >> 20
			if grown > 64 {
				t.Errorf("usher has taken %d MiB more", grown)
			}
			t.Logf("%d requests beside it, p99 %v; usher has taken %d MiB more",
				len(calls), slowest(calls, 0.01), grown)
		})
	}
}

// floodFor floods, on one connection after the other for that long, an address over TLS.
func floodFor(t *testing.T, d time.Duration, kind flood.Kind, address string, c *credentials) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ends := map[string]int{}
	var sent int64
	for end := time.Now().Add(d); time.Now().Before(end); {
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: c.Pool(), NextProtos: []string{"h2"}}}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			t.Errorf("connect: %v", err)
			return
		}
		res := kind.Run(ctx, conn)
		if !res.Ended {
			t.Errorf("after %v and %d bytes it is still connected", res.Took, res.Bytes)
			return
		}
		sent += res.Bytes
		ends[res.Told]++
	}
	t.Logf("%d bytes; usher has ended the connections with %v", sent, ends)
}
