package accesslog

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/metrics"
)

// limit is how long a test waits for what must come.
const limit = 20 * time.Second

// scene is a log under test.
type scene struct {
	*Log
	tb      testing.TB
	dropped *metrics.Counter
	told    *lockedLines
}

// lockedLines are the lines that the process's log was told.
type lockedLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// begin opens a log with the defaults of a configuration, which change may change.
func begin(tb testing.TB, output string, change func(*config.AccessLog)) *scene {
	tb.Helper()
	return beginWith(tb, Options{}, output, change)
}

func beginWith(tb testing.TB, o Options, output string, change func(*config.AccessLog)) *scene {
	tb.Helper()
	o.Config = config.AccessLog{
		Output: output, Format: config.AccessJSON, Sample: 1, Slow: time.Second, BufferSize: 4 << 20,
		FlushInterval: 10 * time.Millisecond,
	}
	if change != nil {
		change(&o.Config)
	}
	epoch := time.Now()
	s := &scene{tb: tb, dropped: metrics.NewCounter(), told: &lockedLines{}}
	o.Clock, o.Dropped = func() int64 { return int64(time.Since(epoch)) + 1 }, s.dropped
	o.Log = slog.New(slog.NewTextHandler(s.told, nil))
	var err error
	if s.Log, err = Open(o); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.end)
	return s
}

// end closes the log, and waits for that.
func (s *scene) end() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.Close(ctx)
}

// endNow closes the log without waiting for its output.
func (s *scene) endNow() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Close(ctx)
}

// wait waits until ok.
func wait(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			tb.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// example is an entry with everything in it.
func example() *Entry {
	return &Entry{
		Start: 1, Listener: "web", Client: []byte("192.0.2.7"), Peer: []byte("10.0.0.1"), PeerPort: 4711,
		Method: []byte("GET"), Target: []byte("/a?token=s3cret&b=1"), Host: []byte("shop.test"), Scheme: "https",
		Protocol: "HTTP/2", RequestID: []byte("abc"), Status: 503, Reason: "overloaded", Failed: true,
		GRPC: metrics.CallOf(config.GRPCUnavailable), Received: 12, Sent: 34, Duration: 1234567 * time.Microsecond,
		Upstream: 5 * time.Millisecond, Route: "shop.test/", Service: "shop", Endpoint: "shop-1",
		Address: "10.1.1.1:80", Attempts: 2, Hedged: true, Generation: 9, Trace: [16]byte{1, 2, 15: 255},
		Retries: 1<<metrics.RetryConnect | 1<<metrics.RetryStatus,
		TLS:     &TLS{Version: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", Name: "shop.test", Identity: "CN=client"},
		Head: []byte("GET /a HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: curl/8\r\nreferer: http://x/?password=p\r\n" +
			"Authorization: Bearer s3cret\r\nX-Tenant: one\r\nX-Tenant: two\r\n\r\n"),
		Response: []byte("X-Cache: hit\r\nSet-Cookie: a=s3cret\r\n"),
	}
}

// file returns the path of a file that is not there.
func fresh(tb testing.TB) string { return filepath.Join(tb.TempDir(), "access.log") }

func read(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// splitLines returns the lines, of which the last must end.
func splitLines(tb testing.TB, text string) []string {
	tb.Helper()
	if text == "" {
		return nil
	}
	if !strings.HasSuffix(text, "\n") {
		tb.Errorf("the last line has no end: %q", text[max(0, len(text)-80):])
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

var _ io.Writer = (*lockedLines)(nil)
