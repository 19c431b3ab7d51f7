package core

import (
	"math"
	"sync/atomic"
	"time"

	"usher/config"
)

// budgetWindow is how long a request counts as live after it began: with weights that
// fall off, so that there are no slots to turn over.
const budgetWindow = 10 * time.Second

// budget bounds the retries of a service to a part of its requests, so that one that
// fails is not asked more often for it. Requests and retries both fade with the same
// time: retries are never more than their share of the requests, over any time, but for
// the few that are always allowed.
//
// It is asked at failures only. What the requests cost is one number counted up, which
// is read then. Its methods may be called from any goroutine and do not lock.
type budget struct{ last atomic.Pointer[tally] }

// tally is what a budget knows at a time. It is immutable.
type tally struct {
	// at is the time, on the sweeper's clock; begun is how many requests had begun by then.
	at    int64
	begun uint64
	// requests and retries are those of the window.
	requests, retries float64
}

// take takes one retry from the budget, if there is one. begun is how many requests of
// the service have begun, ever, and live how many of them are in flight.
func (b *budget) take(now int64, begun uint64, live int64, s config.RetryBudget) bool {
	for {
		old := b.last.Load()
		next := old.faded(now, begun)
		allowed := max(s.Share*max(next.requests, float64(live)), s.MinPerSecond*budgetWindow.Seconds())
		if next.retries+1 > allowed {
			return false
		}
		next.retries++
		if b.last.CompareAndSwap(old, &next) {
			return true
		}
	}
}

// faded is the tally at a later time. The requests that began meanwhile did so evenly, as
// far as anybody knows. Nil is the beginning.
func (t *tally) faded(now int64, begun uint64) tally {
	if t == nil {
		return tally{at: now, begun: begun, requests: float64(begun)}
	}
	next := tally{at: max(t.at, now), begun: max(t.begun, begun)}
	past := float64(next.at-t.at) / float64(budgetWindow)
	keep, fresh := math.Exp(-past), 1.
	if past > 0 {
		fresh = -math.Expm1(-past) / past
	}
	next.retries = t.retries * keep
	next.requests = t.requests*keep + float64(next.begun-t.begun)*fresh
	return next
}
