//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		counts []int64
		want   spread
	}{
		{nil, spread{}},
		{[]int64{7}, spread{7, 7, 7}},
		{[]int64{9, 1, 5}, spread{5, 1, 9}},
		{[]int64{4, 1, 3, 2}, spread{2, 1, 4}},
	} {
		if got := spreadOf(c.counts); got != c.want {
			t.Errorf("spreadOf(%v) = %v, want %v", c.counts, got, c.want)
		}
	}
}

func TestMore(t *testing.T) {
	for _, c := range []struct {
		on, off int64
		want    float64
	}{{103, 100, 3}, {100, 100, 0}, {95, 100, -5}, {5, 0, 0}} {
		if got := more(c.on, c.off); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("more(%d, %d) = %v, want %v", c.on, c.off, got, c.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	on := []run{
		{each: []int64{10, 10}, functions: map[string]int64{"a": 12, "b": 8}},
		{each: []int64{10, 10}, functions: map[string]int64{"a": 12, "b": 8}},
	}
	off := []run{{each: []int64{9}, functions: map[string]int64{"a": 6, "c": 3}}}
	want := []difference{{"b", 4, 0}, {"c", 0, 3}, {"a", 6, 6}}
	if got := differences(on, off); !reflect.DeepEqual(got, want) {
		t.Errorf("differences = %v, want %v", got, want)
	}
}

func TestWrite(t *testing.T) {
	on := []run{{each: []int64{102, 104, 900}, functions: map[string]int64{"a": 30}, threads: 1}}
	off := []run{{each: []int64{100, 99, 101}, threads: 2}}
	var out strings.Builder
	if err := write(&out, on, off, 1); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"104 to 104", "102 to 900", "99 to 101", "+4.00 %", "+10.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestProgram(t *testing.T) {
	p := &program{base: 100, text: []byte{0x90, 0x0f, 0x05, 0x0f}, functions: []function{
		{"runtime.sysmon", 300, 310}, {"a", 100, 102}, {"runtime.notetsleep_internal", 200, 210},
	}}
	if err := p.index(); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint64]string{
		99: outside, 100: "a", 101: "a", 102: outside, 205: "runtime.notetsleep_internal", 310: outside,
	} {
		if got := p.functions[p.function(addr)].name; got != want {
			t.Errorf("address %d is in %q, want %q", addr, got, want)
		}
	}
	if !p.monitors[p.function(300)] || p.monitors[p.function(100)] {
		t.Error("the wrong functions are monitors")
	}
	for _, addr := range []uint64{0, 99, 100, 101, 102, 103, 104, math.MaxUint64} {
		if got := p.isSyscall(addr); got != (addr == 101) {
			t.Errorf("isSyscall(%d) = %v", addr, got)
		}
	}
	if err := (&program{}).index(); err == nil {
		t.Error("a program without Go's runtime was taken")
	}
}

func TestVDSO(t *testing.T) {
	start, end, err := vdso("00400000-00bb2000 r-xp 0 fe:00 1 /usher\n7ffd0000-7ffd2000 r-xp 0 00:00 0  [vdso]\n")
	if start != 0x7ffd0000 || end != 0x7ffd2000 || err != nil {
		t.Errorf("vdso = %#x, %#x, %v", start, end, err)
	}
	for _, text := range []string{"", "\n", "x [vdso]\n", "00400000-00bb2000 r-xp 0 fe:00 1 /usher\n"} {
		if _, _, err := vdso(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// The clock goes by what is executed and by the waits for the network alone.
func TestClock(t *testing.T) {
	c := clock{monotonic: 1000, wall: 5000, slept: 3 * time.Microsecond}
	if got := c.now(unix.CLOCK_MONOTONIC, 20); got != 4020 {
		t.Errorf("monotonic: %d, want 4020", got)
	}
	if got := c.now(unix.CLOCK_REALTIME, 20); got != 8020 {
		t.Errorf("wall: %d, want 8020", got)
	}
}

func TestParse(t *testing.T) {
	for _, args := range []string{"more", "--requests=0", "--rounds=0", "--unknown"} {
		if err := (&bench{}).parse([]string{args}, t.Output()); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

// What makes usher resilient costs a small request less than three instructions in a
// hundred. Of so few requests the counts are some tens off: a timer, another seed.
func TestMachineryIsCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("some 400,000 steps")
	}
	var out strings.Builder
	err := measure(t.Context(), []string{"--requests=3", "--rounds=1", "--functions=5", "--most=3"}, &out, t.Output())
	if errors.Is(err, unix.EPERM) {
		t.Skip("processes may not be traced here: ", err)
	}
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	var on, off int64
	for line := range strings.Lines(out.String()) {
		_, _ = fmt.Sscanf(line, "on %d", &on) // the line is another one
		_, _ = fmt.Sscanf(line, "off %d", &off)
	}
	const least = 5000 // about what reading, writing and waiting alone take
	if on < least || off < least {
		t.Errorf("%d instructions with, %d without: not what is counted", on, off)
	}
}
