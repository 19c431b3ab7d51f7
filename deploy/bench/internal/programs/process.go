// Package programs runs what the measurements in deploy/bench need: it starts other
// programs, waits for them, fills in their configurations and prints tables. Nothing
// outlives the process that uses it, however that ends.
package programs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long Until waits.
const patience = 20 * time.Second

// Process is a program that runs until Stop. One goroutine waits for its end. Its methods
// may be called from several goroutines.
type Process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	exited chan struct{}
}

// Command is a command bound to a core, or, if core is empty, to none. It and its children
// end by SIGTERM when ctx does, or when the thread that starts it dies: start it from a
// goroutine locked to the main thread, which dies with the process alone.
func Command(ctx context.Context, core string, command ...string) *exec.Cmd {
	if core != "" {
		command = append([]string{"taskset", "-c", core}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Start starts a command, see Command, whose output goes to a file. Stop it.
func Start(ctx context.Context, core, output string, command ...string) (*Process, error) {
	out, err := os.Create(output)
	if err != nil {
		return nil, fmt.Errorf("output of %s: %w", command[0], err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{cmd: Command(ctx, core, command...), cancel: cancel, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // it is ended by a signal; who waits for something else looks at exited
	}()
	return p, nil
}

// PID is the program's: taskset has become it by the time it serves.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Said is what the process has printed.
func (p *Process) Said() string {
	text, _ := os.ReadFile(p.cmd.Stdout.(*os.File).Name()) // it explains an error; without it there is less to say
	return string(text)
}

// Stop ends the process, a stopped one too, and waits until it is gone.
func (p *Process) Stop() {
	p.cancel()
	_ = p.Signal(syscall.SIGCONT) // it may be gone already
	<-p.exited
}

// Signal sends a signal to the process alone, not to its children.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %v to process %d: %w", s, p.PID(), err)
	}
	return nil
}

// Exited is closed when the process is gone.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Until asks again and again until the answer is yes. It gives up after 20 seconds, and
// when the process has ended.
func (p *Process) Until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-p.exited:
			return errors.New("it has exited")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// FreeAddresses returns ports of the loopback that nobody has now, below those that the
// system gives to outgoing connections: who listens there may end and listen again.
func FreeAddresses(n int) ([]string, error) {
	var all []string
	for tries := 0; len(all) < n; tries++ {
		port := 15000 + rand.IntN(32768-15000) // Linux's own ports begin there
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil && tries < 100*n {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // not before all are found, so that they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}
