package routetable

import (
	"math"
	"sync"
	"testing"
	"time"
)

// ms is a time in nanoseconds.
func ms(n int) int64 { return int64(n) * int64(time.Millisecond) }

// near says whether an average is within a twentieth of what is wanted.
func near(got, want float64) bool { return math.Abs(got-want) <= want/20+1 }

func TestLatency(t *testing.T) {
	var l Latency
	if _, known := l.Average(ms(1)); known {
		t.Error("the zero value knows something")
	}
	average := func(at, want int64) {
		t.Helper()
		if got, known := l.Average(at); !known || !near(got, float64(want)) {
			t.Errorf("at %d ms: got %.2f ms (%t), want %.2f", at/1e6, got/1e6, known, float64(want)/1e6)
		}
	}
	l.Observe(ms(10), ms(1000))
	average(ms(1000), ms(10))
	l.Observe(ms(100), ms(1000)) // a rise counts at once
	average(ms(1000), ms(100))
	l.Observe(ms(10), ms(1001)) // a fall does not
	average(ms(1001), ms(100))
	l.Observe(ms(10), ms(6000)) // after half the time constant
	average(ms(6000), ms(10)+90*ms(1)*1000/1625)
	l.Raise(ms(1), ms(16_000)) // a failure is no quick answer
	average(ms(6000), ms(10)+90*ms(1)*1000/1625)
	l.Raise(ms(500), ms(16_000))
	average(ms(16_000), ms(500))
	average(ms(26_000), ms(200)) // it fades
	average(0, ms(500))          // where the time is not known it does not
	average(ms(15_000), ms(500)) // nor backwards
}

// A slow endpoint that has become quick is known as quick within half a minute; one that
// nobody asks fades as fast.
func TestLatencyFalls(t *testing.T) {
	var asked, left Latency
	asked.Observe(ms(1000), ms(1))
	left.Observe(ms(1000), ms(1))
	for at := 10; at < 30_000; at += 10 {
		asked.Observe(ms(1), ms(at))
	}
	x, _ := asked.Average(ms(30_000))
	y, _ := left.Average(ms(30_000))
	if x > 100e6 || y > 200e6 {
		t.Errorf("after 30 s: %.1f ms, %.1f ms", x/1e6, y/1e6)
	}
}

func TestLatencyConcurrently(t *testing.T) {
	var l Latency
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := range 10_000 {
				l.Observe(ms(10+g), ms(i))
				if got, known := l.Average(ms(i)); !known || got < 1e6 || got > 14e6 {
					t.Errorf("got %v, %t", got, known)
					return
				}
			}
		})
	}
	wait.Wait()
}

func TestLatencyAllocs(t *testing.T) {
	var l Latency
	at := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		at += 1e7
		l.Observe(at%1e6, at)
		l.Average(at)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLatency(b *testing.B) {
	var l Latency
	now := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 20_000
		l.Observe(now%1_000_000, now)
	}
}
