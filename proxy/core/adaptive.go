package core

import (
	"math"
	"sync/atomic"
	"time"

	"usher/config"
)

const (
	// adaptWindow is how long latencies are gathered before the limit is looked at, and
	// adaptSamples how many there must be: where they come more slowly the window is longer.
	adaptWindow  = 100 * time.Millisecond
	adaptSamples = 10
	// relearnEvery is how often the latency without load is measured anew, under load at half
	// the limit: a service may have become slower for good.
	relearnEvery = 30 * time.Second
	// tolerance is by how much the latency may exceed the one without load.
	tolerance = 1.5
	// smoothing is the part of each step that is taken.
	smoothing = 0.2
)

// adaptive finds how many requests a service can have in flight, from the time it takes
// to answer (the gradient of its least latency to the current one). Up to its capacity a
// service takes the same time whatever it has to do; beyond it requests only wait. So
// while the latency is near the least that was seen the limit grows, by its square root,
// which is the queue that is let build up; when latency grows the limit falls with it.
//
// Its methods may be called from any goroutine and do not lock: the one that ends a
// window looks at it.
type adaptive struct {
	limit atomic.Int64

	// ends is when the window ends, on the caller's clock; busy while somebody looks at it.
	ends atomic.Int64
	// count and sum are the samples of the window and peak the most requests in flight.
	count, sum, peak atomic.Int64

	// The rest belongs to the one who looks.

	// exact is the limit before it is rounded, least the least latency, in nanoseconds.
	exact, least float64
	phase        phase
	// relearn is when the least is measured again.
	relearn  int64
	min, max atomic.Int64
}

// phase is what a window is for.
type phase uint8

const (
	// tracking follows the latency.
	tracking phase = iota
	// settling waits for what is queued to go, at half the limit; measuring takes the
	// window after that for the latency without load.
	settling
	measuring
)

// newAdaptive begins at the most that is allowed: before anything is known nothing is
// turned away.
func newAdaptive(s config.AdaptiveConcurrency) *adaptive {
	a := &adaptive{exact: float64(s.Max)}
	a.bound(s)
	a.limit.Store(int64(s.Max))
	return a
}

// bound sets what the limit stays between; it moves there at the end of the window.
func (a *adaptive) bound(s config.AdaptiveConcurrency) {
	a.min.Store(int64(s.Min))
	a.max.Store(int64(s.Max))
}

// busy is an end of a window that never comes.
const busy = math.MaxInt64

// observe takes the time that a response head took to come, in nanoseconds; inFlight is
// how many requests were. now is on the caller's clock.
func (a *adaptive) observe(now, took, inFlight int64) {
	a.sum.Add(took)
	if inFlight > a.peak.Load() {
		a.peak.Store(inFlight) // between two that are about the same any will do
	}
	n := a.count.Add(1)
	end := a.ends.Load()
	if now < end || n < adaptSamples || !a.ends.CompareAndSwap(end, busy) {
		return
	}
	count, sum, peak := a.count.Swap(0), a.sum.Swap(0), a.peak.Swap(0)
	if end == 0 {
		a.relearn = now + int64(time.Second) // soon: usher may have been started under load
	}
	if count > 0 {
		a.look(now, float64(sum)/float64(count), float64(peak))
	}
	a.ends.Store(now + int64(adaptWindow))
}

// look ends a window in which responses took so long in the mean.
func (a *adaptive) look(now int64, mean, peak float64) {
	lower, upper := float64(a.min.Load()), float64(a.max.Load())
	shown := 0.
	switch {
	case a.phase == settling:
		a.phase, shown = measuring, a.exact/2
	case a.phase == measuring:
		a.phase, a.least, a.relearn = tracking, mean, now+int64(relearnEvery)
	case now >= a.relearn && mean <= tolerance*a.least:
		a.least, a.relearn = mean, now+int64(relearnEvery) // there is no load to speak of
	case now >= a.relearn:
		// At half of what there is in flight, which may be far below the limit.
		a.exact = min(a.exact, max(2*peak, lower))
		a.phase, shown = settling, min(a.exact, peak)/2
	default:
		a.track(mean, peak)
	}
	a.exact = min(max(a.exact, lower), upper)
	if shown == 0 {
		shown = a.exact
	}
	a.limit.Store(int64(min(max(shown, lower), upper)))
}

// track moves the limit by what the latency says.
func (a *adaptive) track(mean, peak float64) {
	if a.least == 0 || mean < a.least {
		a.least = mean
	}
	gradient := min(max(tolerance*a.least/mean, 0.5), 1)
	switch {
	case gradient < 1:
		// What is not used says nothing: the fall begins at what is in flight.
		a.exact = min(a.exact, 2*peak)
	case 2*peak < a.exact:
		return // there is no need for more
	}
	target := a.exact*gradient + math.Sqrt(a.exact)
	a.exact += smoothing * (target - a.exact)
}
