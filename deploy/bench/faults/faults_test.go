package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"usher/config"
	"usher/deploy/bench/internal/programs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--only", "R1,R99"},
		{"--only", ""},
		{"--proxies", "usher,apache"},
		{"--rate", "0"},
		{"--timeout", "10ms"},
		{"more"},
	} {
		if err := (&bench{progress: io.Discard}).parse(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	b := &bench{progress: io.Discard}
	if err := b.parse([]string{"--only", "R4,mixed", "--proxies", "usher"}); err != nil || b.rate != 2000 {
		t.Errorf("rate %d, %v", b.rate, err)
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		pace(t.Context(), began, 500, 1000, func(int) { at = append(at, time.Since(began)) })
		if len(at) != 1000 || at[0] != 0 {
			t.Fatalf("%d requests, the first after %v", len(at), at[0])
		}
		for i, got := range at {
			if want := time.Duration(i) * 2 * time.Millisecond; got < want || got > want+time.Millisecond {
				t.Fatalf("request %d after %v, want %v", i, got, want)
			}
		}
		// A pace that was held up makes up for it.
		n := 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		pace(ctx, time.Now().Add(-time.Second), 100, 1000, func(int) { n++ })
		if n < 199 || n > 201 {
			t.Errorf("%d requests in a second that began a second late, want 200", n)
		}
	})
}

func TestPercentile(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*time.Millisecond)
	}
	for share, want := range map[float64]float64{0: 1, 0.5: 100, 0.99: 198, 1: 200} {
		if got := percentile(all, share); got != want {
			t.Errorf("%v: %v ms, want %v", share, got, want)
		}
	}
	if got := percentile(nil, 0.99); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestSummarize(t *testing.T) {
	l := &load{rate: 100, delay: ordinary, records: make([]record, 1000)}
	for i := range l.records {
		l.records[i].took = 10 * time.Millisecond
	}
	l.records[1] = record{took: time.Second} // before the fault
	l.records[400].kind = "502"
	l.records[450].took = 400 * time.Millisecond
	l.records[500] = record{took: 2 * time.Second, resent: true}
	got := summarize(l, 3*time.Second, 4*time.Second)
	if got.Success < 99.89 || got.Success > 99.91 || got.Errors["502"] != 1 || got.Resent != 1 {
		t.Errorf("%+v", got)
	}
	if got.Recovery != 1 || got.P50 != 10 || got.Before != 10 {
		t.Errorf("recovery %v s, p50 %v ms, p99 before %v ms", got.Recovery, got.P50, got.Before)
	}
	records := []record{{took: 60 * time.Millisecond}, {took: 3 * time.Second}, {took: 5e6, kind: "503"}}
	if got, want := goodput(records, 2, time.Second), "goodput 50 %, shed in 5.0 ms (p99 5.0)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r := report{Run: []string{"here"}, Results: []result{
		{Fault: "R1", Proxy: "usher", Success: 99.9996, Errors: map[string]int{"reset": 1, "502": 2}},
	}}
	var text strings.Builder
	if err := r.write(&text, false, true); err != nil ||
		!strings.Contains(text.String(), "| R1 | usher | 0 | 99.99 |") ||
		!strings.Contains(text.String(), "502: 2, reset: 1") {
		t.Errorf("%v in\n%s", err, text.String())
	}
	text.Reset()
	if err := r.write(&text, true, false); err != nil || !json.Valid([]byte(text.String())) {
		t.Errorf("JSON: %v\n%s", err, text.String())
	}
}

// TestLoad asks a backend in this process, in every way it can be.
func TestLoad(t *testing.T) {
	executed, err := os.Create(filepath.Join(t.TempDir(), "executed"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = executed.Close() }()
	b := &backend{executed: executed, workers: make(chan struct{}, 5)}
	server := httptest.NewServer(b)
	defer server.Close()
	for mode, want := range map[string]string{
		modeGood: "", modeFail: "500", modeSilent: "timeout", modeReset: "reset",
	} {
		if err := get(t.Context(), server.URL+"/control?mode="+mode); err != nil {
			t.Fatal(err)
		}
		f := fault{requests: 20, delay: time.Millisecond}
		l := newLoad(server.Listener.Addr().String(), f, 1000, 10*time.Second)
		if mode == modeSilent {
			l.timeout = 100 * time.Millisecond // which nobody answers in
		}
		l.run(t.Context(), time.Now())
		for i, rec := range l.records {
			if rec.kind != want {
				t.Errorf("%s: request %d: %q, want %q", mode, i, rec.kind, want)
			}
		}
	}
	text, err := os.ReadFile(executed.Name())
	if lines := strings.Count(string(text), "\n"); err != nil || lines < 60 {
		t.Errorf("%d executions were noted, %v", lines, err)
	}
}

// TestResend closes each connection after one answer, without saying so.
func TestResend(t *testing.T) {
	for method, want := range map[string]string{http.MethodGet: "", http.MethodPost: "closed"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() { answerOnce(l) })
		load := newLoad(l.Addr().String(), fault{requests: 2, method: method}, 1000, 10*time.Second)
		for i := range load.records {
			load.records[i] = load.ask(t.Context(), i, time.Now())
		}
		if got := load.records[1]; got.kind != want || got.resent != (method == http.MethodGet) {
			t.Errorf("%s: %+v", method, got)
		}
		_ = l.Close()
		for _, c := range load.idle {
			_ = c.Close()
		}
		served.Wait()
	}
}

// answerOnce answers the first request of each connection, and closes it upon the second.
func answerOnce(l net.Listener) {
	for i := 0; ; i++ {
		c, err := l.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 1024)
		_, _ = c.Read(buf)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", i)
		_, _ = c.Read(buf)
		_ = c.Close()
	}
}

func TestKinds(t *testing.T) {
	for want, err := range map[string]error{
		"timeout": fmt.Errorf("read: %w", os.ErrDeadlineExceeded),
		"refused": &net.OpError{Err: syscall.ECONNREFUSED},
		"reset":   syscall.EPIPE,
		"closed":  io.ErrUnexpectedEOF,
		"other":   errors.New("what?"),
	} {
		if got := kindOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestExecutions(t *testing.T) {
	s := &stage{dir: t.TempDir(), backends: make([]*programs.Process, 2)}
	for i, text := range []string{"1\n2\n3\n3\n3\n", "2\n"} {
		name := filepath.Join(s.dir, "backend"+strconv.Itoa(i)+".executed")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if twice, each, err := s.executions(4); err != nil || twice != 2 || each != 1.5 {
		t.Errorf("%d twice, %v each, %v", twice, each, err)
	}
	s.backends = append(s.backends, nil)
	if _, _, err := s.executions(4); err == nil {
		t.Error("a file that is missing is nothing executed")
	}
}

// TestConfigs has usher's own reader look at every variant.
func TestConfigs(t *testing.T) {
	for _, set := range []settings{{}, {Off: true}, {Shed: true, Generation: 4}} {
		set.Dir, set.Listen, set.Admin = t.TempDir(), "127.0.0.1:1", "127.0.0.1:2"
		set.Backends = []string{"127.0.0.1:3"}
		if err := programs.WriteConfigs(configs, set.Dir, set); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(set.Dir, "usher.yaml"))
		if err != nil || strings.Contains(string(text), "no value") {
			t.Fatalf("%v\n%s", err, text)
		}
		if _, err := config.Load(filepath.Join(set.Dir, "usher.yaml"), config.Options{}); err != nil {
			t.Errorf("%+v: %v", set, err)
		}
	}
}
