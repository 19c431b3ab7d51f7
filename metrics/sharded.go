package metrics

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	cacheLine = 64
	maxShards = 16
)

// Shard says which cell of each counter a connection adds to. Any value is valid.
type Shard uint32

// cell is one shard of a counter, alone on its cache line.
type cell struct {
	n atomic.Uint64
	_ [cacheLine - 8]byte
}

// shardCount is the power of two at or above GOMAXPROCS, bounded.
func shardCount() int {
	n := min(runtime.GOMAXPROCS(0), maxShards)
	return 1 << bits.Len(uint(n-1))
}

// Counter only grows. Its methods may be called from any goroutine.
type Counter struct{ cells []cell }

// NewCounter returns a Counter at zero.
func NewCounter() *Counter { return &Counter{cells: make([]cell, shardCount())} }

// Add adds n on the given shard.
func (c *Counter) Add(s Shard, n uint64) { c.cells[int(s)&(len(c.cells)-1)].n.Add(n) }

// Value returns the sum.
func (c *Counter) Value() (sum uint64) {
	for i := range c.cells {
		sum += c.cells[i].n.Load()
	}
	return sum
}

// Gauge goes up and down. Its methods may be called from any goroutine.
type Gauge struct{ c *Counter }

// NewGauge returns a Gauge at zero.
func NewGauge() Gauge { return Gauge{NewCounter()} }

// Inc adds one on the given shard.
func (g Gauge) Inc(s Shard) { g.c.Add(s, 1) }

// Dec takes one away, on any shard.
func (g Gauge) Dec(s Shard) { g.c.Add(s, ^uint64(0)) }

// Value returns the sum of all increments and decrements.
func (g Gauge) Value() int64 { return int64(g.c.Value()) }

// Histogram counts durations in fixed buckets. Its methods may be called from any
// goroutine.
type Histogram struct {
	bounds []time.Duration
	stride int
	// cells holds, for each shard, one cell a bucket, the one above the last bound
	// and the sum in nanoseconds, padded to whole cache lines.
	cells []atomic.Uint64
	// exemplars are nil until something traced was observed.
	exemplars atomic.Pointer[exemplars]
}

// NewHistogram returns an empty Histogram with the given upper bounds, ascending.
// It keeps the slice.
func NewHistogram(bounds []time.Duration) *Histogram {
	const perLine = cacheLine / 8
	stride := (len(bounds) + 2 + perLine - 1) / perLine * perLine
	return &Histogram{bounds: bounds, stride: stride, cells: make([]atomic.Uint64, stride*shardCount())}
}

// Observe counts d on the given shard.
func (h *Histogram) Observe(s Shard, d time.Duration) {
	i := h.bucketOf(d)
	base := (int(s) & (len(h.cells)/h.stride - 1)) * h.stride
	h.cells[base+i].Add(1)
	h.cells[base+len(h.bounds)+1].Add(uint64(max(d, 0)))
}

// bucketOf is the index of the bucket that d is counted in.
func (h *Histogram) bucketOf(d time.Duration) int {
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	return i
}

// Snapshot returns the number of observations, their sum in seconds and the
// cumulative count of each bound in seconds, as Prometheus wants them.
func (h *Histogram) Snapshot() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(h.bounds))
	for i := 0; i <= len(h.bounds); i++ {
		for base := 0; base < len(h.cells); base += h.stride {
			count += h.cells[base+i].Load()
		}
		if i < len(h.bounds) {
			buckets[h.bounds[i].Seconds()] = count
		}
	}
	for base := 0; base < len(h.cells); base += h.stride {
		sum += time.Duration(h.cells[base+len(h.bounds)+1].Load()).Seconds()
	}
	return count, sum, buckets
}
