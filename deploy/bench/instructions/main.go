//go:build linux && amd64

// Command instructions counts what a small request costs usher in instructions, with
// what makes it resilient and without. docs/performance.md has the method.
//
// It needs no hardware counters: usher is executed one instruction at a time (ptrace).
// So the counts are the same on every machine, however busy it is. What the kernel does
// is not counted; a system call is one instruction.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// The defaults of services that are compared.
const (
	everything = "{balance: round_robin}"
	nothing    = "{balance: round_robin, outlier: {enabled: false}, retry: {attempts: 0}, " +
		"slow_start: 0s, panic_threshold: 0}"
)

// bench is what the command line says.
type bench struct {
	requests, rounds, functions int
	usher, on, off              string
	// environment is what usher is told beside where on is counted, field is one more of the requests of both.
	environment, field string
	most               float64
}

func main() {
	// usher is told when the thread that started it dies: the main one, which dies with
	// the process alone.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := measure(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "instructions:", err)
		os.Exit(1)
	}
}

func (b *bench) parse(args []string, stderr io.Writer) error {
	f := flag.NewFlagSet("instructions", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&b.requests, "requests", 50, "counted in a run")
	f.IntVar(&b.rounds, "rounds", 3, "runs of each, by turns")
	f.IntVar(&b.functions, "functions", 0, "print so many functions, those that differ most first")
	f.StringVar(&b.usher, "usher", "", "usher's `binary`, static and with symbols; default: built from this module")
	f.StringVar(&b.on, "on", everything, "the `defaults` of services")
	f.StringVar(&b.off, "off", nothing, "the `defaults` they are compared with")
	f.StringVar(&b.environment, "environment", "", "`A=1 B=2`: more of it for on alone")
	f.StringVar(&b.field, "field", "", "one more `field` of the requests, such as \"b3: 0\"")
	f.Float64Var(&b.most, "most", 0, "exit 1 when on costs so many per cent or more; 0: it may")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || b.requests < 1 || b.rounds < 1 {
		return errors.New("it takes flags alone, and at least a request and a round")
	}
	return nil
}

// measure counts and prints.
func measure(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b := &bench{}
	if err := b.parse(args, stderr); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "usher-instructions-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := b.build(ctx, dir); err != nil {
		return err
	}
	p, err := load(b.usher)
	if err != nil {
		return err
	}
	var on, off []run
	for round := range b.rounds {
		fmt.Fprintf(stderr, "round %d of %d\n", round+1, b.rounds)
		r, err := b.one(ctx, p, dir, b.on, strings.Fields(b.environment))
		if err != nil {
			return fmt.Errorf("on: %w", err)
		}
		on = append(on, r)
		if r, err = b.one(ctx, p, dir, b.off, nil); err != nil {
			return fmt.Errorf("off: %w", err)
		}
		off = append(off, r)
	}
	if err := write(stdout, on, off, b.functions); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	costs := more(spreadOf(medians(on)).median, spreadOf(medians(off)).median)
	if b.most > 0 && costs >= b.most {
		return fmt.Errorf("it costs %.2f %%, and may cost less than %v %%", costs, b.most)
	}
	return nil
}

// build builds usher as it is released, unless one is given.
func (b *bench) build(ctx context.Context, dir string) error {
	if b.usher != "" {
		return nil
	}
	b.usher = filepath.Join(dir, "usher")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", b.usher, "usher/cmd/usher")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build usher: %w\n%s", err, out)
	}
	return nil
}

// one runs usher once, with more of an environment.
func (b *bench) one(ctx context.Context, p *program, dir, defaults string, env []string) (run, error) {
	s, err := open(ctx, b.usher, dir, defaults, env)
	if err != nil {
		return run{}, err
	}
	defer s.close()
	if b.field != "" {
		s.request = request[:len(request)-2] + b.field + "\r\n\r\n"
	}
	r, err := s.measure(ctx, p, b.requests)
	if err != nil && s.said.Len() > 0 {
		err = fmt.Errorf("%w; usher said: %s", err, s.said.String())
	}
	return r, err
}
