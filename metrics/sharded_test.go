package metrics

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"
)

func TestShardCount(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for procs, want := range map[int]int{1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8, 9: 16, 16: 16, 17: 16, 64: 16} {
		runtime.GOMAXPROCS(procs)
		if got := shardCount(); got != want {
			t.Errorf("GOMAXPROCS=%d: got %d, want %d", procs, got, want)
		}
		// Any shard is valid, whatever the number of cells.
		c, h := NewCounter(), NewHistogram(durationBounds)
		for _, s := range []Shard{0, 1, 7, 15, 16, 1000, math.MaxUint32} {
			c.Add(s, 1)
			h.Observe(s, time.Second)
		}
		if n, _, _ := h.Snapshot(); n != 7 || c.Value() != 7 {
			t.Errorf("GOMAXPROCS=%d: %d and %d of 7", procs, n, c.Value())
		}
	}
}

// Two shards never share a cache line.
func TestCellsAreCacheLines(t *testing.T) {
	if got := unsafe.Sizeof(cell{}); got != cacheLine {
		t.Errorf("a cell has %d bytes", got)
	}
	for n := range 20 {
		h := NewHistogram(make([]time.Duration, n))
		if h.stride*8%cacheLine != 0 || h.stride < n+2 {
			t.Errorf("%d bounds: stride %d", n, h.stride)
		}
	}
}

func TestCounterConcurrently(t *testing.T) {
	const goroutines, each = 16, 5_000
	c, g, h := NewCounter(), NewGauge(), NewHistogram([]time.Duration{time.Millisecond})
	var wait sync.WaitGroup
	for i := range goroutines {
		wait.Go(func() {
			for n := range each {
				c.Add(Shard(i), 2)
				g.Inc(Shard(i))
				h.Observe(Shard(i), time.Duration(n%2+1)*time.Millisecond)
				if n%5 != 0 {
					g.Dec(Shard(i + n))
				}
				if n%1000 == 0 {
					c.Value()
					h.Snapshot()
				}
			}
		})
	}
	wait.Wait()
	if got := c.Value(); got != 2*goroutines*each {
		t.Errorf("counter %d, want %d", got, 2*goroutines*each)
	}
	if got := g.Value(); got != goroutines*each/5 {
		t.Errorf("gauge %d, want %d", got, goroutines*each/5)
	}
	count, sum, buckets := h.Snapshot()
	if count != goroutines*each || buckets[.001] != goroutines*each/2 {
		t.Errorf("histogram %d, %v", count, buckets)
	}
	if want := 1.5e-3 * goroutines * each; math.Abs(sum-want) > 1e-6*want {
		t.Errorf("sum %g, want %g", sum, want)
	}
}

// A gauge whose decrements fall on other shards than its increments adds up, and
// goes below zero where it must.
func TestGauge(t *testing.T) {
	g := NewGauge()
	g.Inc(0)
	g.Inc(0)
	g.Dec(1)
	if got := g.Value(); got != 1 {
		t.Errorf("got %d", got)
	}
	g.Dec(5)
	g.Dec(6)
	if got := g.Value(); got != -1 {
		t.Errorf("got %d", got)
	}
}

func TestHistogramBuckets(t *testing.T) {
	h := NewHistogram([]time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second})
	for s, d := range []time.Duration{
		0, time.Millisecond, time.Millisecond + 1, 10 * time.Millisecond, 999 * time.Millisecond,
		time.Second + 1, time.Hour,
	} {
		h.Observe(Shard(s), d)
	}
	count, sum, buckets := h.Snapshot()
	if want := map[float64]uint64{.001: 2, .01: 4, 1: 5}; count != 7 || !maps.Equal(buckets, want) {
		t.Errorf("got %d, %v, want 7, %v", count, buckets, want)
	}
	if want := 3602.011 + 2e-9; math.Abs(sum-want) > 1e-6 {
		t.Errorf("sum %v, want %v", sum, want)
	}
	// A clock that went backwards takes nothing off the sum.
	h.Observe(0, -time.Hour)
	if count, after, buckets := h.Snapshot(); count != 8 || after != sum || buckets[.001] != 3 {
		t.Errorf("a negative duration: %d, %v, %v", count, after, buckets)
	}
}

func TestBoundsAscend(t *testing.T) {
	for name, bounds := range map[string][]time.Duration{"duration": durationBounds, "overhead": overheadBounds} {
		if !slices.IsSorted(bounds) || len(slices.Compact(slices.Clone(bounds))) != len(bounds) {
			t.Errorf("%s: %v", name, bounds)
		}
	}
}

func ExampleCounter() {
	c := NewCounter()
	c.Add(0, 2) // one connection
	c.Add(1, 3) // another
	fmt.Println(c.Value())
	// Output: 5
}

func ExampleHistogram() {
	h := NewHistogram([]time.Duration{time.Millisecond, time.Second})
	h.Observe(0, 500*time.Microsecond)
	h.Observe(1, 500*time.Millisecond)
	h.Observe(2, 2*time.Second)
	count, _, buckets := h.Snapshot()
	fmt.Println(count, buckets[.001], buckets[1])
	// Output: 3 1 2
}
