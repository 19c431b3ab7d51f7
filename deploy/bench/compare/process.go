package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"usher/deploy/bench/internal/programs"
)

// tick is the unit of /proc's processor times, the same on every Linux.
const tick = 10 * time.Millisecond

// process is a program that runs until Stop.
type process struct {
	*programs.Process
	admin string // address of usher's admin listener
}

// ready waits until addr answers all that is asked over that way. The certificate is in dir.
func (p *process) ready(ctx context.Context, dir, over, addr string) error {
	pool, err := programs.Pool(dir)
	if err != nil {
		return err
	}
	var last error
	err = p.Until(ctx, func() bool {
		last = nil
		for _, k := range kinds {
			// What is passed through is HTTP/1.1.
			if k.over == over || k.over == overPlain && over == overTCP {
				last = errors.Join(last, k.once(ctx, addr, pool))
			}
		}
		if over == overTLS {
			last = errors.Join(last, callGRPC(ctx, addr, pool))
		}
		if over == overH2C {
			last = errors.Join(last, callGRPC(ctx, addr, nil))
		}
		return last == nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
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
	for _, member := range family(p.PID()) {
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
	for _, member := range family(p.PID()) {
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
