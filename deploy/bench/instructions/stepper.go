//go:build linux && amd64

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// stepper executes a process one instruction at a time and counts. Its loop belongs to
// one goroutine, on a thread of its own: Linux lets only the thread that attached go on.
//
// The thread by which Go's runtime watches the others is stopped for good when it is met.
// It would take the processor from goroutines that look slow, as they all do here.
type stepper struct {
	pid     int
	program *program
	clock   clock
	threads map[int]*thread
	// counting says that instructions are noted by function.
	counting  atomic.Bool
	functions []int64
	// busy are the threads that executed any while counting.
	busy map[int]bool

	// idle says that the process waits for the network, and nothing else in it runs;
	// executed is how many instructions it had executed by then. News comes by changed.
	idle     atomic.Bool
	executed atomic.Int64
	changed  chan struct{}

	total int64
	// since is when the wait for the network began.
	since time.Time
}

// thread is one of the process.
type thread struct {
	// at is the address of the instruction under way, 0 before the first one.
	at uint64
	// waits says that this is a wait for the network; asks that it is one of the vDSO's,
	// which writes the time to where.
	waits, asks bool
	clockID     uint64
	where       uint64
}

func newStepper(pid int, p *program) *stepper {
	return &stepper{
		pid: pid, program: p, threads: map[int]*thread{}, busy: map[int]bool{}, changed: make(chan struct{}, 1),
		functions: make([]int64, len(p.functions)),
	}
}

// run attaches and steps until the process ends; attached is closed when it is under way.
func (s *stepper) run(attached chan<- struct{}) error {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, detached
	if err := s.attach(); err != nil {
		return err
	}
	if err := s.share(); err != nil {
		return err
	}
	close(attached)
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("wait for a thread: %w", err)
		}
		if err := s.stopped(tid, status); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
}

// attach stops all threads, and sets the clock.
func (s *stepper) attach() error {
	var err error
	if s.clock, err = newClock(s.pid); err != nil {
		return err
	}
	for found := true; found; {
		found = false
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.pid))
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || s.threads[tid] != nil {
				continue
			}
			if err := unix.PtraceSeize(tid); err != nil {
				return fmt.Errorf("attach to thread %d: %w", tid, err)
			}
			if err := unix.PtraceInterrupt(tid); err != nil {
				return fmt.Errorf("stop thread %d: %w", tid, err)
			}
			s.threads[tid], found = &thread{}, true
		}
	}
	return nil
}

// share keeps the process on the processor of this thread. They take turns, and to wake
// another processor for each takes longer than everything else.
func (s *stepper) share() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("find a processor: %w", err)
	}
	last := len(allowed)*64 - 1
	for !allowed.IsSet(last) {
		last--
	}
	one.Set(last)
	for tid := range s.threads {
		if err := unix.SchedSetaffinity(tid, &one); err != nil {
			return fmt.Errorf("bind thread %d: %w", tid, err)
		}
	}
	return unix.SchedSetaffinity(0, &one)
}

// stopped goes on with a thread that has stopped, by one instruction.
func (s *stepper) stopped(tid int, status unix.WaitStatus) error {
	if status.Exited() || status.Signaled() {
		delete(s.threads, tid)
		return nil
	}
	t := s.threads[tid]
	if t == nil { // it has just been made
		t = &thread{}
		s.threads[tid] = t
	}
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return fmt.Errorf("registers of thread %d: %w", tid, err)
	}
	signal := 0
	switch event := int(status) >> 16; {
	case event == unix.PTRACE_EVENT_STOP:
		// Stopped by attach, or at its beginning. Threads made from now on come by themselves.
		if err := unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
			return fmt.Errorf("options of thread %d: %w", tid, err)
		}
	case event == 0 && status.StopSignal() != unix.SIGTRAP:
		signal = int(status.StopSignal())
	default:
		if s.stepped(tid, t, regs.Rip) {
			return nil // held
		}
	}
	if err := s.clock.follow(tid, t, &regs, s.total); err != nil {
		return err
	}
	s.begin(t, &regs)
	return step(tid, signal)
}

// stepped counts the instruction that a thread has executed, and says whether the thread
// is to be held.
func (s *stepper) stepped(tid int, t *thread, now uint64) (hold bool) {
	if t.waits {
		t.waits = false
		s.idle.Store(false)
		s.clock.slept += time.Since(s.since)
	}
	if t.at == 0 || t.at == now { // a repeated instruction stops after each round
		return false
	}
	f := s.program.function(t.at)
	if s.program.monitors[f] {
		return true
	}
	s.total++
	if s.counting.Load() {
		s.functions[f]++
		s.busy[tid] = true
	}
	return false
}

// begin notes what a thread is about to execute.
func (s *stepper) begin(t *thread, regs *unix.PtraceRegs) {
	t.at = regs.Rip
	t.waits = regs.Rax == unix.SYS_EPOLL_PWAIT && regs.R10 != 0 && s.program.isSyscall(t.at)
	if t.waits {
		s.since = time.Now()
		s.executed.Store(s.total)
		s.idle.Store(true)
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// waitIdle waits until the process waits for the network, and returns how many
// instructions it has executed by then. One goroutine may call it at a time.
func (s *stepper) waitIdle(ctx context.Context) (int64, error) {
	for !s.idle.Load() {
		select {
		case <-s.changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.executed.Load(), nil
}

// result is what was counted, once run has returned.
func (s *stepper) result(each []int64) run {
	r := run{each: each, functions: map[string]int64{}, threads: len(s.busy)}
	for i, count := range s.functions {
		if count > 0 {
			r.functions[s.program.functions[i].name] += count
		}
	}
	return r
}

// step lets a thread execute one instruction, and gives it a signal if there is one.
func step(tid, signal int) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(tid), 0, uintptr(signal), 0, 0)
	if errno != 0 {
		return fmt.Errorf("step thread %d: %w", tid, errno)
	}
	return nil
}

// clock is the time as the process sees it. Stepped it is a thousand times as slow as
// it is, and would do everything that is done now and then with every request. So its
// time goes on by a nanosecond an instruction, and while it waits for the network.
//
// The time is asked for in the vDSO, code that the kernel puts into every process: what
// that has written is written over when it returns.
type clock struct {
	start, end uint64 // where the vDSO is
	monotonic  int64
	wall       int64
	slept      time.Duration
}

func newClock(pid int) (clock, error) {
	var c clock
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return c, fmt.Errorf("find the vDSO: %w", err)
	}
	if c.start, c.end, err = vdso(string(maps)); err != nil {
		return c, err
	}
	var monotonic, wall unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic); err != nil {
		return c, fmt.Errorf("read the clock: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &wall); err != nil {
		return c, fmt.Errorf("read the clock: %w", err)
	}
	c.monotonic, c.wall = monotonic.Nano(), wall.Nano()
	return c, nil
}

// follow sees a thread enter and leave the vDSO. executed is the count so far.
func (c *clock) follow(tid int, t *thread, regs *unix.PtraceRegs, executed int64) error {
	inside := c.start <= regs.Rip && regs.Rip < c.end
	switch {
	case inside && !t.asks:
		t.asks, t.clockID, t.where = true, regs.Rdi, regs.Rsi
	case !inside && t.asks:
		t.asks = false
		now := unix.NsecToTimespec(c.now(t.clockID, executed))
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], uint64(now.Sec))
		binary.LittleEndian.PutUint64(b[8:], uint64(now.Nsec))
		if _, err := unix.PtracePokeData(tid, uintptr(t.where), b[:]); err != nil {
			return fmt.Errorf("set the time: %w", err)
		}
	}
	return nil
}

// now is the time that a clock shows, in nanoseconds.
func (c *clock) now(id uint64, executed int64) int64 {
	begin := c.monotonic
	if id == unix.CLOCK_REALTIME {
		begin = c.wall
	}
	return begin + executed + int64(c.slept)
}
