package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"usher/deploy/bench/internal/programs"
)

// The bars that are no load's own.
const rssBar = 40.0 // MiB at most, under any load

// How clients reach a proxy: each way has its address.
const (
	overPlain = "plain" // HTTP/1.1
	overTLS   = "TLS"   // HTTP/1.1, HTTP/2 and gRPC
	overTCP   = "TCP"   // passed through to the backends
	overH2C   = "h2c"   // gRPC without TLS, the backends alone
)

// load is one way to ask.
type load struct {
	name, path string
	bar        float64 // usher's CPU time a request, at most so many times the measure's
	over       string
	generator  generator // nil: wrk
	flags      []string  // of wrk
}

// generator puts a load on an address for whole seconds.
type generator func(ctx context.Context, b *bench, l load, addr string, d time.Duration) (sample, error)

// loads is everything that is asked, and what usher must reach.
var loads = []load{
	{name: "small", path: "/small", bar: 1.0, over: overPlain},
	{name: "10k", path: "/10k", bar: 1.0, over: overPlain},
	{name: "1m", path: "/1m", bar: 0.35, over: overPlain},
	{name: "post1k", path: "/post", bar: 0.95, over: overPlain, flags: []string{"-s", "post.lua"}},
	{name: "new", path: "/small", bar: 1.2, over: overPlain, flags: anew()},
	{name: "tls", path: "/small", bar: 1.0, over: overTLS},
	{name: "tlsnew", path: "/small", bar: 1.0, over: overTLS, flags: anew()},
	{name: "tlsfull", path: "/small", bar: 1.0, over: overTLS, generator: full},
	{name: "h2", path: "/small", bar: 0.9, over: overTLS, generator: h2load},
	{name: "grpc", path: grpcMethod, bar: 1.0, over: overTLS, generator: h2loadGRPC},
	{name: "tcp", path: "/small", bar: 1.1, over: overTCP},
	{name: "tcp1m", path: "/1m", bar: 1.1, over: overTCP},
	{name: "tcpnew", path: "/small", bar: 1.1, over: overTCP, flags: anew()},
}

// anew makes wrk ask each time on a new connection.
func anew() []string { return []string{"-H", "Connection: close"} }

// measure is the proxy that the others are compared with.
func (l load) measure() string {
	if l.over == overTCP {
		return haproxy // Debian's nginx does not pass TCP through without a further package
	}
	return nginx
}

// generate puts a load on addr for whole seconds.
func (b *bench) generate(ctx context.Context, l load, addr string, d time.Duration) (sample, error) {
	if l.generator == nil {
		l.generator = wrk
	}
	return l.generator(ctx, b, l, addr, d)
}

// sample is one measurement: the generator tells the first five, the proxy's processes the others.
type sample struct {
	requests, errors int
	rps              float64
	p50, p99         float64 // milliseconds
	cpu              float64 // microseconds a request
	rss              float64 // MiB at most
}

// wrk is the generator of most loads. It resumes its TLS sessions.
func wrk(ctx context.Context, b *bench, l load, addr string, d time.Duration) (sample, error) {
	command := []string{
		"wrk", "-t1", "-c", strconv.Itoa(b.conns), "-d", strconv.Itoa(int(d.Seconds())), "--latency",
		"-H", "Host: " + host,
	}
	cmd := programs.Command(ctx, b.loadCore, append(append(command, l.flags...), l.url(addr))...)
	cmd.Dir = b.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	s, err := parseWrk(string(out))
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w in\n%s", err, out)
	}
	return s, nil
}

// url is what is asked for.
func (l load) url(addr string) string {
	if l.over == overTLS {
		return "https://" + addr + l.path
	}
	return "http://" + addr + l.path
}

// parseWrk reads what wrk --latency prints. A run without an answer is an error.
func parseWrk(text string) (s sample, err error) {
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			err = errors.Join(err, fmt.Errorf("nothing matches %s", pattern))
			return "0"
		}
		return m[1]
	}
	milliseconds := func(text string) float64 {
		d, e := time.ParseDuration(text)
		err = errors.Join(err, e)
		return float64(d) / float64(time.Millisecond)
	}
	count := func(text string) int {
		n, e := strconv.Atoi(text)
		err = errors.Join(err, e)
		return n
	}
	s.requests = count(find(`(?m)^ +(\d+) requests in `))
	// A space follows where the unit has one letter.
	s.p50 = milliseconds(find(`(?m)^ +50% +(\S+) *$`))
	s.p99 = milliseconds(find(`(?m)^ +99% +(\S+) *$`))
	rps, e := strconv.ParseFloat(find(`(?m)^Requests/sec: +(\S+)$`), 64)
	s.rps, err = rps, errors.Join(err, e)
	// These are there only if there is something to tell.
	complaints := regexp.MustCompile(`(?:connect|read|write|timeout|Non-2xx or 3xx responses:) (\d+)`)
	for _, m := range complaints.FindAllStringSubmatch(text, -1) {
		s.errors += count(m[1])
	}
	if err == nil && s.requests == 0 {
		err = errors.New("no request was answered")
	}
	return s, err
}
