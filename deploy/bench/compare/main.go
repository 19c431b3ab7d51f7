// Command compare measures usher beside nginx, HAProxy and a bare fasthttp proxy on one
// machine: requests a second, CPU time a request, latency and memory, and on demand the
// memory of idle connections and usher's system calls. docs/performance.md has the method.
//
// Each proxy runs alone on one core, the load (wrk, h2load, or this program started again)
// and the backends (nginx, for gRPC this program) on another.
// Every measurement starts its proxy anew, and proxies take turns within a round, so that
// whatever else the machine does meets all of them alike. Everything happens in the main
// goroutine, and everything written in a temporary folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"usher/deploy/bench/internal/programs"
)

// bench is one run and what its command line says.
type bench struct {
	loads, cores, usher string
	only                string // proxies
	profile             string
	rounds, conns, idle int
	duration            time.Duration
	syscalls, check     bool
	asJSON, asMarkdown  bool
	proxyCore, loadCore string
	dir                 string   // removed in the end
	backends            []string // addresses
	grpcBackends        []string
	progress            io.Writer
}

func main() {
	// A child is told when the thread that started it dies (Pdeathsig): the main one,
	// which dies with the process alone.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// run measures and prints; its error says what went wrong, or which bars were missed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if serve := roles()[strings.Join(args[:min(1, len(args))], "")]; serve != nil {
		return serve(ctx, args[1:], stdout)
	}
	b := &bench{progress: stderr}
	if err := errors.Join(b.parse(args), b.checkMachine()); err != nil {
		return err
	}
	rep := b.describe(ctx)
	dir, err := os.MkdirTemp("", "usher-compare-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	b.dir = dir
	defer func() { _ = os.RemoveAll(dir) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, server := range []proxy{backendServer(), grpcBackendServer()} {
		backends, _, err := b.launch(ctx, b.loadCore, server, server.speaks...)
		if err != nil {
			return err
		}
		defer backends.Stop()
	}
	if err := b.measure(ctx, rep); err != nil {
		return err
	}
	if err := rep.write(stdout, b.asJSON, b.asMarkdown); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if b.check {
		return rep.missed()
	}
	return nil
}

// roles are what this program does when it is started again, by its first argument.
func roles() map[string]func(ctx context.Context, args []string, stdout io.Writer) error {
	return map[string]func(ctx context.Context, args []string, stdout io.Writer) error{
		bareCommand: func(_ context.Context, args []string, _ io.Writer) error { return serveBare(args) },
		grpcCommand: func(ctx context.Context, args []string, _ io.Writer) error { return serveGRPC(ctx, args) },
		fullCommand: loadFull,
	}
}

func (b *bench) parse(args []string) error {
	var all, names []string
	for _, l := range loads {
		all = append(all, l.name)
	}
	for _, p := range proxies {
		names = append(names, p.name)
	}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(b.progress)
	f.StringVar(&b.loads, "loads", strings.Join(all, ","), `which loads; "" for none`)
	f.StringVar(&b.only, "proxies", strings.Join(names, ","), "which proxies")
	f.IntVar(&b.rounds, "rounds", 3, "rounds, figures being medians over them; 0 for none")
	f.DurationVar(&b.duration, "duration", 5*time.Second, "of one measurement, in whole seconds")
	f.IntVar(&b.conns, "connections", 64, "of the load generator")
	f.IntVar(&b.idle, "idle", 0, "measure the memory of so many idle connections too, plain, TLS and HTTP/2")
	f.BoolVar(&b.syscalls, "syscalls", false, "count usher's system calls too")
	f.BoolVar(&b.check, "check", false, "exit 1 when usher misses a bar")
	f.BoolVar(&b.asJSON, "json", false, "print JSON")
	f.BoolVar(&b.asMarkdown, "markdown", false, "print Markdown")
	f.StringVar(&b.cores, "cores", "0,1", "of the proxy, and of load and backends")
	f.StringVar(&b.profile, "profile", "", "write a CPU profile of usher under the loads to this `file`")
	f.StringVar(&b.usher, "usher", "", "usher's `binary`; default: built from this module")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || b.rounds < 0 || b.conns < 1 || b.idle < 0 || b.duration < time.Second {
		return errors.New("it takes flags alone, and at least a connection and a second")
	}
	var two bool
	if b.proxyCore, b.loadCore, two = strings.Cut(b.cores, ","); !two || b.proxyCore == b.loadCore {
		return fmt.Errorf("--cores %q: two different ones are needed", b.cores)
	}
	return errors.Join(known("load", b.loads, all), known("proxy", b.only, names))
}

// known complains about a name in the list that is none of those there are.
func known(what, list string, all []string) error {
	for _, name := range strings.FieldsFunc(list, isComma) {
		if !slices.Contains(all, name) {
			return fmt.Errorf("no %s %q; there are %s", what, name, strings.Join(all, ", "))
		}
	}
	return nil
}

func isComma(r rune) bool { return r == ',' }

// checkMachine tells everything that is missing, with how to get it, and makes room for
// the connections.
func (b *bench) checkMachine() error {
	list := []string{"nginx", "haproxy", "wrk", "h2load"}
	if b.syscalls {
		list = append(list, "strace")
	}
	err := programs.Check(b.room(), list...)
	if runtime.NumCPU() < 2 {
		err = errors.Join(err, errors.New("two cores are needed, one for the proxy and one for the load"))
	}
	return err
}

// room is how many descriptors a proxy may need: both sides, and some.
func (b *bench) room() int { return 2*(b.idle+b.conns) + 2048 }

// prepare builds usher, writes what is served and finds ports for the backends.
func (b *bench) prepare(ctx context.Context) (err error) {
	free, err := programs.FreeAddresses(6)
	if err != nil {
		return err
	}
	b.backends, b.grpcBackends = free[:3], free[3:]
	if b.usher == "" {
		fmt.Fprintln(b.progress, "building usher")
		if b.usher, err = programs.BuildUsher(ctx, b.dir); err != nil {
			return err
		}
	}
	www := filepath.Join(b.dir, "www")
	return errors.Join(
		os.Chmod(b.dir, 0o755), // nginx's workers may be another user
		os.Mkdir(www, 0o755),
		os.WriteFile(filepath.Join(www, "10k"), make([]byte, 10<<10), 0o644),
		os.WriteFile(filepath.Join(www, "1m"), make([]byte, 1<<20), 0o644),
		os.WriteFile(filepath.Join(b.dir, "message"), grpcMessage(grpcRequest), 0o644),
		programs.WriteCertificate(b.dir, host, grpcHost),
	)
}

// chosen are the loads of the command line.
func (b *bench) chosen() []load {
	names := strings.FieldsFunc(b.loads, isComma)
	return slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return !slices.Contains(names, l.name) })
}

// those are the proxies of the command line that can be reached over a way.
func (b *bench) those(over string) []proxy {
	names := strings.FieldsFunc(b.only, isComma)
	return slices.DeleteFunc(slices.Clone(proxies), func(p proxy) bool {
		return !slices.Contains(names, p.name) || !slices.Contains(p.speaks, over)
	})
}

// measure fills in the report.
func (b *bench) measure(ctx context.Context, rep *report) error {
	samples := map[key][]sample{}
	for round := range b.rounds {
		for _, l := range b.chosen() {
			of := b.those(l.over)
			for i := range of {
				p := of[(i+round)%len(of)] // each is the first once
				fmt.Fprintf(b.progress, "round %d of %d, %s: %s\n", round+1, b.rounds, l.name, p.name)
				s, err := b.sample(ctx, p, l)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name, l.name, err)
				}
				samples[key{l.name, p.name}] = append(samples[key{l.name, p.name}], s)
			}
		}
	}
	rep.Results = summarize(samples)
	if err := b.measureAllIdle(ctx, rep); err != nil {
		return err
	}
	if b.profile != "" {
		fmt.Fprintln(b.progress, "profile")
		if err := b.takeProfile(ctx); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	if !b.syscalls {
		return nil
	}
	fmt.Fprintln(b.progress, "system calls")
	var err error
	if rep.Syscalls, err = b.countSyscalls(ctx); err != nil {
		return fmt.Errorf("system calls: %w", err)
	}
	return nil
}

// sample measures one proxy, started for it, under one load.
func (b *bench) sample(ctx context.Context, p proxy, l load) (sample, error) {
	proc, at, err := b.launch(ctx, b.proxyCore, p, l.over)
	if err != nil {
		return sample{}, err
	}
	defer proc.Stop()
	addr := at[l.over]
	if _, err := b.generate(ctx, l, addr, time.Second); err != nil { // warms connections, code and heap
		return sample{}, err
	}
	before, err := proc.cpuTime()
	if err != nil {
		return sample{}, err
	}
	s, err := b.generate(ctx, l, addr, b.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := proc.cpuTime()
	if err != nil {
		return sample{}, err
	}
	s.cpu = float64((after - before).Microseconds()) / float64(s.requests)
	s.rss, err = proc.memory("VmHWM")
	return s, err
}
