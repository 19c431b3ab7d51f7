package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"usher/deploy/bench/internal/programs"
)

// h2load puts 16 streams at a time on each of 16 connections.
func h2load(ctx context.Context, b *bench, l load, addr string, d time.Duration) (sample, error) {
	s, _, err := b.h2load(ctx, l, addr, d, "-H", ":authority: "+host)
	return s, err
}

// h2loadGRPC is the same with gRPC calls. h2load knows nothing of their status: an answer
// without a message counts as an error.
func h2loadGRPC(ctx context.Context, b *bench, l load, addr string, d time.Duration) (sample, error) {
	s, data, err := b.h2load(ctx, l, addr, d, "-H", ":authority: "+grpcHost, "-H", "content-type: application/grpc",
		"-H", "te: trailers", "-d", filepath.Join(b.dir, "message"))
	s.errors += max(0, s.requests-data/len(grpcMessage(grpcReply)))
	return s, err
}

// h2load runs h2load; data is how many bytes the bodies have had.
func (b *bench) h2load(
	ctx context.Context, l load, addr string, d time.Duration, flags ...string,
) (s sample, data int, err error) {
	log := filepath.Join(b.dir, "h2load.log")
	if err := os.RemoveAll(log); err != nil { // it is written to its end
		return s, 0, fmt.Errorf("h2load: %w", err)
	}
	command := append([]string{
		"h2load", "-c", "16", "-m", "16", "-D", strconv.Itoa(int(d.Seconds())), "--log-file", log,
	}, flags...)
	out, err := programs.Command(ctx, b.loadCore, append(command, l.url(addr))...).CombinedOutput()
	if err != nil {
		return s, 0, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	s, data, err = parseH2load(string(out))
	if err != nil {
		return s, 0, fmt.Errorf("h2load: %w in\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return s, 0, fmt.Errorf("h2load: %w", err)
	}
	s.p50, s.p99, err = parseH2loadLog(string(text))
	return s, data, err
}

// parseH2load reads what h2load prints. A run without an answer is an error.
func parseH2load(text string) (s sample, data int, err error) {
	count := func(pattern string) (sum int) {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			err = errors.Join(err, fmt.Errorf("nothing matches %s", pattern))
			return 0
		}
		for _, digits := range m[1:] {
			n, e := strconv.ParseUint(digits, 10, 48) // sums stay positive
			err = errors.Join(err, e)
			sum += int(n)
		}
		return sum
	}
	s.requests = count(`(?m)^requests: .* (\d+) done, `)
	s.errors = count(`(?m)^requests: .* (\d+) failed, (\d+) errored, (\d+) timeout$`)
	s.errors += count(`(?m)^status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$`)
	data = count(`(?m)^traffic: .* \((\d+)\) data$`)
	rps := regexp.MustCompile(`(?m)^finished in .* (\S+) req/s,`).FindStringSubmatch(text)
	if rps == nil {
		return s, 0, errors.Join(err, errors.New("it has not finished"))
	}
	var e error
	s.rps, e = strconv.ParseFloat(rps[1], 64)
	if err = errors.Join(err, e); err == nil && s.requests == 0 {
		err = errors.New("no request was answered")
	}
	return s, data, err
}

// parseH2loadLog reads the median and the 99th percentile, in milliseconds, from a log
// whose lines are begin, status and duration, both times in microseconds.
func parseH2loadLog(text string) (p50, p99 float64, err error) {
	var all []float64
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return 0, 0, fmt.Errorf("h2load's log: %q", lines.Text())
		}
		took, err := strconv.ParseUint(f[2], 10, 63)
		if err != nil {
			return 0, 0, fmt.Errorf("h2load's log: %q", lines.Text())
		}
		all = append(all, float64(took)/1000)
	}
	if err := lines.Err(); err != nil {
		return 0, 0, fmt.Errorf("h2load's log: %w", err)
	}
	p50, p99 = percentiles(all)
	return p50, p99, nil
}

// percentiles are the median and the 99th percentile; they sort the values.
func percentiles(all []float64) (p50, p99 float64) {
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}
