//go:build linux && amd64

package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// program is the code of a static executable.
type program struct {
	text []byte
	base uint64
	// functions are by address, the first one is whatever is not in the executable.
	functions []function
	// monitors are the indices of the functions by which Go's runtime watches its threads,
	// and sleeps meanwhile.
	monitors map[int]bool
}

type function struct {
	name       string
	start, end uint64
}

// outside is the name of everything that is not the executable's: the vDSO.
const outside = "(outside: vDSO)"

// load reads an executable.
func load(path string) (*program, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the executable: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	section := f.Section(".text")
	if section == nil {
		return nil, fmt.Errorf("%s has no code", path)
	}
	text, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read the code: %w", err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read the symbols: %w", err)
	}
	p := &program{text: text, base: section.Addr}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0 {
			p.functions = append(p.functions, function{s.Name, s.Value, s.Value + s.Size})
		}
	}
	return p, p.index()
}

// index makes functions searchable.
func (p *program) index() error {
	slices.SortFunc(p.functions, func(a, b function) int { return int(int64(a.start) - int64(b.start)) })
	p.functions = slices.Insert(p.functions, 0, function{name: outside})
	p.monitors = map[int]bool{}
	for i, f := range p.functions {
		if f.name == "runtime.sysmon" || f.name == "runtime.notetsleep_internal" {
			p.monitors[i] = true
		}
	}
	if len(p.monitors) != 2 {
		return errors.New("it is not a Go program with its symbols")
	}
	return nil
}

// function is the index of the one that an address belongs to, 0 for none.
func (p *program) function(addr uint64) int {
	i := sort.Search(len(p.functions), func(i int) bool { return p.functions[i].start > addr }) - 1
	if addr >= p.functions[i].end {
		return 0
	}
	return i
}

// isSyscall says whether the instruction at an address is a system call.
func (p *program) isSyscall(addr uint64) bool {
	at := addr - p.base // huge when it is before the code
	n := uint64(len(p.text))
	return at < n && at+1 < n && p.text[at] == 0x0f && p.text[at+1] == 0x05
}

// vdso finds the vDSO in the text of /proc/PID/maps.
func vdso(maps string) (start, end uint64, err error) {
	for line := range strings.Lines(maps) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[len(fields)-1] != "[vdso]" {
			continue
		}
		low, high, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(low, 16, 64)
		end, err2 := strconv.ParseUint(high, 16, 64)
		return start, end, errors.Join(err1, err2)
	}
	return 0, 0, errors.New("the process has no vDSO")
}
