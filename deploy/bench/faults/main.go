// Command faults measures what a client sees of faults behind and in usher, nginx and
// HAProxy on one machine: backends that are killed, stopped, broken or too slow, reloads,
// a stop, slow clients and overload. docs/resilience.md has the method.
//
// The backends are separate processes, this program started again. For each fault and
// each proxy everything is started anew. The main goroutine starts programs and makes the
// faults happen; another one, waited for, asks at a steady rate meanwhile. Everything is
// written in a temporary folder.
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

// descriptors are enough for the requests of --timeout that wait, on both sides of a proxy.
const descriptors = 20000

// bench is one run and what its command line says.
type bench struct {
	only, proxies, usher string
	rate                 int // requests a second
	timeout              time.Duration
	asJSON, asMarkdown   bool
	dir                  string // removed in the end
	progress             io.Writer
}

func main() {
	// A child is told when the thread that started it dies (Pdeathsig): the main one,
	// which dies with the process alone.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// run measures and prints; it is also the backend, if it is told so.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == backendCommand {
		return serveBackend(ctx, args[1:])
	}
	b := &bench{progress: stderr}
	if err := b.parse(args); err != nil {
		return err
	}
	if err := programs.Check(descriptors, "nginx", "haproxy"); err != nil {
		return err
	}
	rep := &report{Run: append(programs.Describe(ctx, "nginx -v", "haproxy -v"),
		fmt.Sprintf("%d requests a second, given up after %v", b.rate, b.timeout))}
	dir, err := os.MkdirTemp("", "usher-faults-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	b.dir = dir
	defer func() { _ = os.RemoveAll(dir) }()
	if b.usher == "" {
		fmt.Fprintln(b.progress, "building usher")
		if b.usher, err = programs.BuildUsher(ctx, b.dir); err != nil {
			return err
		}
	}
	err = b.measure(ctx, rep)
	// What was measured before an error is worth as much.
	return errors.Join(err, rep.write(stdout, b.asJSON, b.asMarkdown))
}

func (b *bench) parse(args []string) error {
	var names, proxyNames []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	for _, p := range proxies {
		proxyNames = append(proxyNames, p.name)
	}
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	f.SetOutput(b.progress)
	f.StringVar(&b.only, "only", strings.Join(names, ","), "which faults")
	f.StringVar(&b.proxies, "proxies", strings.Join(proxyNames, ","), "which proxies")
	f.IntVar(&b.rate, "rate", 2000, "requests a second")
	f.DurationVar(&b.timeout, "timeout", 5*time.Second, "after which the client gives up")
	f.BoolVar(&b.asJSON, "json", false, "print JSON")
	f.BoolVar(&b.asMarkdown, "markdown", false, "print Markdown")
	f.StringVar(&b.usher, "usher", "", "usher's `binary`; default: built from this module")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || b.rate < 1 || b.rate > 20000 || b.timeout < time.Second {
		return errors.New("it takes flags alone, a rate of 1 to 20000, and at least a second of patience")
	}
	return errors.Join(known("fault", b.only, names), known("proxy", b.proxies, proxyNames))
}

// known complains about a name in the list that is none of those there are.
func known(what, list string, all []string) error {
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(all, name) {
			return fmt.Errorf("no %s %q; there are %s", what, name, strings.Join(all, ", "))
		}
	}
	return nil
}

// measure fills in the report.
func (b *bench) measure(ctx context.Context, rep *report) error {
	for _, f := range faults {
		if !slices.Contains(strings.Split(b.only, ","), f.name) {
			continue
		}
		for _, p := range proxies {
			if !slices.Contains(strings.Split(b.proxies, ","), p.name) || p.off && !f.off {
				continue
			}
			fmt.Fprintf(b.progress, "%s (%s): %s\n", f.name, f.what, p.name)
			res, err := b.stage(ctx, f, p)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", f.name, p.name, err)
			}
			rep.Results = append(rep.Results, res)
		}
	}
	return nil
}

// stage lets one fault happen to one proxy.
func (b *bench) stage(ctx context.Context, f fault, p proxy) (result, error) {
	s := &stage{proxy: p, dir: filepath.Join(b.dir, "stage"), workers: f.workers, secure: f.flood != ""}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return result{}, fmt.Errorf("folder: %w", err)
	}
	// nginx's workers may be another user.
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return result{}, fmt.Errorf("folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	defer s.stop()
	if err := s.start(ctx, b.usher, max(f.backends, 3)); err != nil {
		return result{}, err
	}
	var err error
	if s.load, err = s.newLoad(f, b.rate, b.timeout); err != nil {
		return result{}, err
	}
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	loaded := make(chan struct{})
	began := time.Now()
	go func() { defer close(loaded); s.load.run(loadCtx, began) }()
	s.began = began
	err = f.script(ctx, s)
	if err != nil {
		cancel()
	}
	<-loaded
	if err = errors.Join(err, ctx.Err()); err != nil {
		return result{}, err
	}
	res := summarize(s.load, s.marked, s.healed)
	res.Fault, res.Proxy, res.Note = f.name, p.name, s.note
	if f.goodput {
		res.Recovery = 0 // there is nothing to recover from
		res.Note = goodput(s.load.records, float64(len(s.set.Backends)*f.workers)/f.delay.Seconds(), f.lasts)
	}
	res.Twice, res.Tries, err = s.executions(len(s.load.records))
	return res, err
}
