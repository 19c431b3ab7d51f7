package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"usher/deploy/bench/internal/programs"
)

const h2loadOutput = `starting benchmark...
Application protocol: h2

finished in 1.00s, 33598.00 req/s, 2.72MB/s
requests: 33598 total, 33614 started, 33590 done, 33580 succeeded, 10 failed, 2 errored, 1 timeout
status codes: 33580 2xx, 0 3xx, 4 4xx, 6 5xx
traffic: 2.72MB (2855950) total, 1.99MB (2083076) headers (space savings 34.74%), 164.05KB (167990) data
                     min         max         mean         sd        +/- sd
time for request:       30us     10.42ms       438us       485us    95.25%
`

func TestParseH2load(t *testing.T) {
	got, data, err := parseH2load(h2loadOutput)
	want := sample{requests: 33590, rps: 33598, errors: 10 + 2 + 1 + 4 + 6}
	if err != nil || got != want || data != 167990 {
		t.Fatalf("got %+v, %d, %v, want %+v", got, data, err, want)
	}
	for _, bad := range []string{
		"",
		strings.Replace(h2loadOutput, "33590 done", "0 done", 1),
		strings.Replace(h2loadOutput, "33590 done", "done", 1),
		strings.Replace(h2loadOutput, "finished in", "stopped after", 1),
		strings.Replace(h2loadOutput, "(167990) data", "", 1),
	} {
		if got, _, err := parseH2load(bad); err == nil {
			t.Errorf("no error, but %+v, from\n%s", got, bad)
		}
	}
	var log strings.Builder
	for i := range 200 {
		fmt.Fprintf(&log, "1795863037179547\t200\t%d\n", 1000*(200-i))
	}
	if p50, p99, err := parseH2loadLog(log.String()); err != nil || p50 != 101 || p99 != 199 {
		t.Errorf("p50 %v, p99 %v, %v", p50, p99, err)
	}
	for _, bad := range []string{"1 200\n", "1 200 -3\n", "1 200 x\n"} {
		if _, _, err := parseH2loadLog(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if p50, p99, err := parseH2loadLog(""); err != nil || p50 != 0 || p99 != 0 {
		t.Errorf("an empty log: %v, %v, %v", p50, p99, err)
	}
}

func TestParseTally(t *testing.T) {
	got, err := parseTally([]byte(`{"Requests": 300, "Errors": 2, "P50": 1.5, "P99": 9, "Seconds": 2}`))
	if want := (sample{requests: 300, errors: 2, rps: 150, p50: 1.5, p99: 9}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "{}", `{"Requests": 3}`, `{"Requests": -3, "Seconds": 2}`} {
		if got, err := parseTally([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

// TestLoads says that each load has a measure among the proxies that can have it, and usher.
func TestLoads(t *testing.T) {
	b := &bench{progress: io.Discard}
	if err := b.parse(nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range b.chosen() {
		var names []string
		for _, p := range b.those(l.over) {
			names = append(names, p.name)
		}
		if !slices.Contains(names, usher) || !slices.Contains(names, l.measure()) || l.bar == 0 {
			t.Errorf("%s: %v, measured by %s, bar %v", l.name, names, l.measure(), l.bar)
		}
	}
}

// TestGRPCBackend is asked by grpc-go: many calls at a time on one connection, more than a
// window has room for, over all of it.
func TestGRPCBackend(t *testing.T) {
	addr, err := programs.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serveGRPC(ctx, addr) }()
	conn, err := grpc.NewClient("passthrough:///"+addr[0],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(grpcHost))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 200 {
				out := new(wrapperspb.StringValue)
				err := conn.Invoke(ctx, grpcMethod, wrapperspb.String(grpcRequest), out, grpc.WaitForReady(true))
				if err != nil || out.Value != grpcReply {
					t.Errorf("%q, %v", out.Value, err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := callGRPC(ctx, addr[0], nil); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestFull makes full handshakes with a server of this process, and none is resumed.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	if err := programs.WriteCertificate(dir, host); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1<<16)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume || r.URL.Path != "/small" || r.Host != host {
			t.Errorf("resumed: %v; %s%s", r.TLS.DidResume, r.Host, r.URL.Path)
		}
		asked <- struct{}{}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	defer s.Close()
	var out strings.Builder
	err = loadFull(t.Context(), []string{dir, s.Listener.Addr().String(), "/small", "2", "200ms"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseTally([]byte(out.String()))
	if err != nil || got.errors > 0 || got.requests > len(asked) || got.p50 <= 0 {
		t.Errorf("%+v, %v, of %d: %s", got, err, len(asked), out.String())
	}
}
