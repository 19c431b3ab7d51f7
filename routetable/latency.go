package routetable

import (
	"math"
	"sync/atomic"
)

// Latency is how long an endpoint takes until its response begins: a moving average
// that follows a rise at once and a fall within some seconds, so that trouble counts
// when it begins (the peak EWMA of Twitter's Finagle). The zero value knows nothing.
//
// Its methods may be called from any goroutine; they neither lock nor allocate. The
// times they take are in nanoseconds on one clock.
type Latency struct {
	// word is the average in nanoseconds, the bits of a float32, above the time of the
	// last change in ticks; 0: nothing is known.
	word atomic.Uint64
}

const (
	// tickBits makes 4 ms of nanoseconds: what comes more often than that only counts
	// when it raises the average, so most observations write nothing.
	tickBits = 22
	// fading is the time constant of the fall, in ticks: 10 s.
	fading = 10e9 / (1 << tickBits)
)

// Observe notes that a response began after took nanoseconds, at now.
func (l *Latency) Observe(took, now int64) { l.observe(took, now, false) }

// Raise notes that a try had come to nothing when it failed after took nanoseconds. It
// is not taken for a quick answer: it can only raise the average.
func (l *Latency) Raise(took, now int64) { l.observe(took, now, true) }

func (l *Latency) observe(took, now int64, only bool) {
	sample := float32(max(took, 1))
	// The loser of a race tries again; after a few that is no longer worth it.
	for range 4 {
		old := l.word.Load()
		average, age := unpack(old, now)
		switch {
		case old == 0 || sample >= average:
			average = sample
		case only || age <= 0:
			return
		default:
			average = sample + (average-sample)*fade(age)
		}
		if l.word.CompareAndSwap(old, uint64(math.Float32bits(average))<<32|uint64(uint32(now>>tickBits))) {
			return
		}
	}
}

// Average returns what is known at now, in nanoseconds, and whether that is anything.
// It fades while nothing is observed: an endpoint that was slow is tried again.
func (l *Latency) Average(now int64) (nanoseconds float64, known bool) {
	word := l.word.Load()
	average, age := unpack(word, now)
	if age <= 0 || now == 0 {
		return float64(average), word != 0
	}
	return float64(average * fade(age)), word != 0
}

// fade is what is left of an average after so many ticks: close to the exponential
// function at first, and cheaper.
func fade(age int32) float32 {
	x := float32(age) / fading
	return 1 / (1 + x + x*x/2)
}

// unpack returns the average of a word, and its age at now in ticks.
func unpack(word uint64, now int64) (average float32, age int32) {
	return math.Float32frombits(uint32(word >> 32)), int32(uint32(now>>tickBits) - uint32(word))
}
