package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of /proc's processor times, the same on every Linux.
const tick = 10 * time.Millisecond

// process is a program that runs until stop. One goroutine waits for its end.
type process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	exited chan struct{}
	admin  string // address of usher's admin listener
}

// pinned is a command bound to a core. It and its children end by SIGTERM when ctx does,
// or when the main thread of this process dies.
func pinned(ctx context.Context, core string, command ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", core}, command...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// start starts a command whose output goes to a file.
func start(ctx context.Context, core, output string, command ...string) (*process, error) {
	out, err := os.Create(output)
	if err != nil {
		return nil, fmt.Errorf("output of %s: %w", command[0], err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cmd: pinned(ctx, core, command...), cancel: cancel, exited: make(chan struct{})}
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

// pid is the program's: taskset has become it by the time it serves.
func (p *process) pid() int { return p.cmd.Process.Pid }

// said is what the process has printed.
func (p *process) said() string {
	text, _ := os.ReadFile(p.cmd.Stdout.(*os.File).Name()) // it explains an error; without it there is less to say
	return string(text)
}

// stop ends the process and waits until it is gone.
func (p *process) stop() {
	p.cancel()
	<-p.exited
}

// ready waits until addr answers a small request.
func (p *process) ready(ctx context.Context, addr string) error {
	return p.until(ctx, func() bool {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		return exchange(c) == nil
	})
}

// until asks again and again until the answer is yes. It gives up after 20 seconds, and
// when the process has ended.
func (p *process) until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
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

// freeAddresses returns ports of the loopback that nobody has now.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // not before all are found, so that they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// family is a process and its descendants: nginx's work is done by a child.
func family(pid int) []int {
	all := []int{pid}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range threads {
		text, _ := os.ReadFile(name) // a thread that has just ended has none
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, family(child)...)
			}
		}
	}
	return all
}

// sum adds up what parse finds in the file of that name of each member of the family.
func (p *process) sum(name string, parse func(text string) (int64, error)) (int64, error) {
	var total int64
	for _, member := range family(p.pid()) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", member, name))
		if err != nil {
			return 0, fmt.Errorf("read %s of process %d: %w", name, member, err)
		}
		n, err := parse(string(text))
		if err != nil {
			return 0, fmt.Errorf("%s of process %d: %w", name, member, err)
		}
		total += n
	}
	return total, nil
}

// cpuTime is the processor time that the family has had, user and system.
func (p *process) cpuTime() (time.Duration, error) {
	ticks, err := p.sum("stat", parseStat)
	return time.Duration(ticks) * tick, err
}

// memory is VmRSS (now) or VmHWM (at most) of the family, in MiB.
func (p *process) memory(field string) (float64, error) {
	kib, err := p.sum("status", func(text string) (int64, error) { return parseStatus(text, field) })
	return float64(kib) / 1024, err
}

// sockets is how many descriptors the family has open.
func (p *process) sockets() int {
	n := 0
	for _, member := range family(p.pid()) {
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", member)) // a stranger's are not shown
		n += len(open)
	}
	return n
}

// parseStat reads user and system time, in ticks, from /proc/PID/stat. The program's
// name, in parentheses, may hold spaces and parentheses itself.
func parseStat(text string) (int64, error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("too short: %q", text)
	}
	user, err1 := strconv.ParseUint(fields[11], 10, 32)
	system, err2 := strconv.ParseUint(fields[12], 10, 32)
	return int64(user + system), errors.Join(err1, err2)
}

// parseStatus reads a number, where it has a unit in KiB, from /proc/PID/status.
func parseStatus(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if name == field {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s", field)
}
