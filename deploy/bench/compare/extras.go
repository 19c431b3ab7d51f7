package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"usher/deploy/bench/internal/programs"
)

// takeProfile puts the chosen loads on usher, one after the other, the first of them three times
// as long, and writes the CPU profile of that: what usher is built along.
func (b *bench) takeProfile(ctx context.Context) error {
	chosen := b.chosen()
	if len(chosen) == 0 {
		return errors.New("no load was chosen")
	}
	var over []string
	for _, l := range chosen {
		if !slices.Contains(over, l.over) {
			over = append(over, l.over)
		}
	}
	proc, at, err := b.launch(ctx, b.proxyCore, usherProxy(), over...)
	if err != nil {
		return err
	}
	defer proc.Stop()
	whole := time.Duration(len(chosen)+2) * b.duration
	taken := make(chan error, 1)
	go func() { taken <- fetchProfile(ctx, proc.admin, whole, b.profile) }()
	for i, l := range chosen {
		d := b.duration
		if i == 0 {
			d *= 3
		}
		if _, err := b.generate(ctx, l, at[l.over], d); err != nil {
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
	proc, at, err := b.launch(ctx, b.proxyCore, usherProxy(), overPlain)
	if err != nil {
		return nil, err
	}
	defer proc.Stop()
	addr := at[overPlain]
	if _, err := b.generate(ctx, loads[0], addr, time.Second); err != nil {
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
	s, err := b.generate(ctx, loads[0], addr, b.duration)
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
