package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"usher/deploy/bench/internal/programs"
)

// quiet is how long connections are idle before their memory is read: enough for a
// proxy to give back what it will.
const quiet = 5 * time.Second

// idleResult is what idle client connections cost a proxy.
type idleResult struct {
	Proxy    string  `json:"proxy"`
	KiB      float64 `json:"kib_each"`
	Upstream int     `json:"upstream_connections"` // that the proxy keeps meanwhile
	Before   float64 `json:"before_mib"`
	After    float64 `json:"after_mib"`
}

// measureIdle opens the connections, asks once on each, on as many at the same time as
// the loads have, so that the proxy needs upstream connections too, and leaves them alone.
func (b *bench) measureIdle(ctx context.Context, p proxy) (idleResult, error) {
	res := idleResult{Proxy: p.name}
	proc, addr, err := b.launch(ctx, b.proxyCore, p)
	if err != nil {
		return res, err
	}
	defer proc.Stop()
	if res.Before, err = proc.memory("VmRSS"); err != nil {
		return res, err
	}
	before := proc.sockets()
	for left := b.idle; left > 0; left -= b.conns {
		conns, err := dial(ctx, addr, min(left, b.conns))
		for _, c := range conns {
			defer c.Close()
		}
		if err != nil {
			return res, err
		}
		if err := exchange(conns...); err != nil {
			return res, err
		}
	}
	select {
	case <-time.After(quiet):
	case <-ctx.Done():
		return res, ctx.Err()
	}
	res.After, err = proc.memory("VmRSS")
	res.KiB = (res.After - res.Before) * 1024 / float64(b.idle)
	res.Upstream = max(0, proc.sockets()-before-b.idle)
	return res, err
}

// dial opens n connections; the caller closes those it gets, on an error too.
func dial(ctx context.Context, addr string, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, n)
	for range n {
		d := net.Dialer{Timeout: 5 * time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return conns, fmt.Errorf("connect: %w", err)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// exchange sends a small request on every connection, then reads every answer.
func exchange(conns ...net.Conn) error {
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
			return fmt.Errorf("ask: %w", err)
		}
	}
	for _, c := range conns {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answer: %s %w", resp.Status, err)
		}
	}
	return nil
}

// takeProfile puts all loads on usher, one after the other, the first of them three times
// as long, and writes the CPU profile of that: what usher is built along.
func (b *bench) takeProfile(ctx context.Context) error {
	proc, addr, err := b.launch(ctx, b.proxyCore, usherProxy())
	if err != nil {
		return err
	}
	defer proc.Stop()
	whole := time.Duration(len(loads)+2) * b.duration
	taken := make(chan error, 1)
	go func() { taken <- fetchProfile(ctx, proc.admin, whole, b.profile) }()
	for i, l := range loads {
		d := b.duration
		if i == 0 {
			d *= 3
		}
		if _, err := b.wrk(ctx, l, addr, d); err != nil {
			return err
		}
	}
	return <-taken
}

// fetchProfile asks usher for its profile over d.
func fetchProfile(ctx context.Context, admin string, d time.Duration, file string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, int(d.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer: %s %w", resp.Status, err)
	}
	return os.WriteFile(file, data, 0o644)
}

// countSyscalls puts the first load on usher with strace attached and returns how many
// calls a request took, by name.
func (b *bench) countSyscalls(ctx context.Context) (map[string]float64, error) {
	proc, addr, err := b.launch(ctx, b.proxyCore, usherProxy())
	if err != nil {
		return nil, err
	}
	defer proc.Stop()
	if _, err := b.wrk(ctx, loads[0], addr, time.Second); err != nil {
		return nil, err
	}
	summary := filepath.Join(b.dir, "syscalls")
	tracer, err := programs.Start(ctx, b.proxyCore, filepath.Join(b.dir, "strace.out"),
		"strace", "-f", "-c", "-o", summary, "-p", strconv.Itoa(proc.PID()))
	if err != nil {
		return nil, err
	}
	defer tracer.Stop()
	if err := tracer.Until(ctx, func() bool { return traced(proc.PID()) }); err != nil {
		return nil, fmt.Errorf("strace: %w\n%s", err, tracer.Said())
	}
	s, err := b.wrk(ctx, loads[0], addr, b.duration)
	if err != nil {
		return nil, err
	}
	tracer.Stop() // it writes its summary then
	text, err := os.ReadFile(summary)
	if err != nil {
		return nil, fmt.Errorf("strace's summary: %w", err)
	}
	calls := parseStrace(string(text))
	for name := range calls {
		calls[name] /= float64(s.requests)
	}
	return calls, nil
}

// traced says whether strace has got hold of every thread of the process.
func traced(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, name := range threads {
		text, _ := os.ReadFile(name)
		if tracer, err := parseStatus(string(text), "TracerPid"); err != nil || tracer == 0 {
			return false
		}
	}
	return len(threads) > 0
}

// parseStrace reads the calls by name from the summary of strace -c. Its rows are share,
// seconds, microseconds a call, calls, errors (or nothing) and name.
func parseStrace(text string) map[string]float64 {
	calls := map[string]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		if n, err := strconv.ParseUint(f[3], 10, 63); err == nil {
			calls[f[len(f)-1]] = float64(n)
		}
	}
	return calls
}
