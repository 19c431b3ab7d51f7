package core

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/routetable"
)

// The most that an endpoint's Retry-After is heeded: whoever asks for more is asked again
// before.
const busyLimit = 10 * time.Second

// retrial is what an exchange knows of its retries.
type retrial struct {
	// under says that the try under way is a retry, cause for what.
	under bool
	cause metrics.RetryCause
	// pause is how long to wait before the next try.
	pause time.Duration
	// causes has a bit for each cause of a retry there was, and hedged says that a second try
	// ran beside the first.
	causes uint8
	hedged bool
	// failed is what the try ended for that the budget allowed no other after.
	failed Reason
}

// again says whether there is to be another try after one that brought no response.
// Otherwise the Reason is the answer.
func (c *Core) again(x *Exchange, err *upstream.Error) (yes bool, reason Reason) {
	x.tried(false)
	cause, safe := x.causeOf(err)
	switch {
	case !safe || !x.mayTry():
		return false, x.reasonOf(err)
	case !x.elsewhere() && !x.sameAgain():
		return false, x.reasonOf(err)
	case err.Kind != upstream.Out && !x.stale(err) && !c.affords(x):
		x.retrial.failed = x.reasonOf(err)
		return false, RetryBudget
	}
	n := x.tries()
	x.retry(cause)
	x.retrial.pause = backoff(&x.policy.Retry.Backoff, n, rand.Float64())
	if n == 1 && (err.Kind != upstream.Reset || err.Reused) {
		x.retrial.pause = 0 // nothing says that the next endpoint needs a rest
	}
	return true, None
}

// retry notes that the next try is a retry, and for what.
func (x *Exchange) retry(cause metrics.RetryCause) {
	x.retrial.under, x.retrial.cause = true, cause
	x.retrial.causes |= 1 << cause
}

// stale says that the try came to nothing at an endpoint that is known to be dead, or is
// about to be, while there is a better one: it cannot be connected to. The retry, of which
// nothing was sent before, is no burden to anybody.
func (x *Exchange) stale(err *upstream.Error) bool {
	if err.Kind != upstream.Connect {
		return false
	}
	view := x.view()
	if !view.Panic {
		return slices.ContainsFunc(view.Usable, func(i int32) bool {
			return !x.pick.Tried(i) && !x.cluster.Endpoints[i].State.Out()
		})
	}
	return x.betterThan(view, x.endpoint)
}

// betterThan says whether the view, one in panic, has an endpoint that was not tried and
// keeps more of its own weight than endpoint i: in panic those that refuse connections stay
// in the view with a tenth of theirs.
func (x *Exchange) betterThan(view *routetable.View, i int) bool {
	kept := func(at int) float64 {
		return float64(view.Weights[at]) / x.cluster.Endpoints[view.Usable[at]].Weight
	}
	mine := slices.Index(view.Usable, int32(i))
	if mine < 0 || view.Weights == nil {
		return false
	}
	for at, other := range view.Usable {
		if !x.pick.Tried(other) && kept(at) > 2*kept(mine) {
			return true
		}
	}
	return false
}

// causeOf is what a failed try may be repeated for, and whether it is safe to. Nothing
// was sent, and nothing read of the body, when the connection could not be made. What the
// endpoint says it has not acted upon may be sent again, if the body is at hand.
// Otherwise the method must be idempotent (RFC 9110 §9.2.2), the body at hand, and no
// byte of a response seen.
func (x *Exchange) causeOf(err *upstream.Error) (cause metrics.RetryCause, safe bool) {
	on := x.policy.Retry.On
	switch err.Kind {
	case upstream.Connect:
		return metrics.RetryConnect, slices.Contains(on, config.RetryConnectFailed)
	case upstream.Refused:
		return metrics.RetryConnect, x.Replayable && slices.Contains(on, config.RetryConnectFailed)
	case upstream.Reset:
		return metrics.RetryReset, x.Repeatable() && slices.Contains(on, config.RetryReset) || x.repeatsCall(err)
	case upstream.Timeout:
		return metrics.RetryTimeout, x.Repeatable() && x.attempt.Moves
	case upstream.Out:
		return metrics.RetryOut, x.Repeatable()
	default:
		return 0, false
	}
}

// Repeatable says whether the request may be sent a second time though it may have been
// executed: its method is idempotent and its body at hand. The adapter clears Replayable
// when a part of a response was passed on.
func (x *Exchange) Repeatable() bool { return x.Replayable && idempotent(x.Method) }

func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	default:
		return false
	}
}

// tries is how many there were, without the endpoints that were passed over.
func (x *Exchange) tries() int { return x.pick.Attempts() - x.passed }

// mayTry says whether the number of tries allows another one.
func (x *Exchange) mayTry() bool { return x.tries() <= x.policy.Retry.Attempts }

// limitTry bounds the try by its own timeout, where another one may follow: what is slow
// everywhere is answered by the last.
func (x *Exchange) limitTry() {
	limit := x.policy.Retry.PerTryTimeout
	if limit <= 0 || !x.Repeatable() || !x.mayTry() || !x.elsewhere() {
		return
	}
	if a := &x.attempt; a.Timeout <= 0 || limit < a.Timeout {
		a.Timeout, a.Moves = limit, true
	}
}

// elsewhere says whether there is an endpoint that was not tried.
func (x *Exchange) elsewhere() bool {
	for _, i := range x.view().Usable {
		if !x.pick.Tried(i) {
			return true
		}
	}
	return false
}

// backoff is the wait before retry n, which counts from 1; r is from 0 to 1.
func backoff(b *config.Backoff, n int, r float64) time.Duration {
	most := b.Base
	for range n - 1 {
		if most >= b.Max/2 {
			most = b.Max
			break
		}
		most *= 2
	}
	return time.Duration(r * float64(min(most, b.Max)))
}

// Pause is how long the adapter waits before it calls Next again: mostly not at all. It
// holds no connection to an endpoint meanwhile.
func (x *Exchange) Pause() time.Duration { return x.retrial.pause }

// tried counts how the try that is over went, if it was a retry.
func (x *Exchange) tried(answered bool) {
	if x.retrial.under {
		x.retrial.under = false
		x.stay.guard.series.Retried(x.retrial.cause, answered)
	}
}

// Status is the one that a Reason is answered with: for a retry that the budget did not
// allow, that of the failure before it.
func (x *Exchange) Status(r Reason) int {
	if r == RetryBudget && x.retrial.failed != None {
		return x.retrial.failed.Status()
	}
	return r.Status()
}

// Why says more of a Reason; empty: there is nothing to say.
func (x *Exchange) Why(r Reason) string {
	switch r {
	case RetryBudget:
		return x.retrial.failed.String()
	case DeadlineExceeded:
		return "the time that the client gave is over"
	default:
		return ""
	}
}

// Retries says whether responses with a status may be dropped for another try.
func (x *Exchange) Retries(status int) bool { return x.policy.Retry.Causes(status) }

// Unwanted says whether a response whose head has come is to be dropped for another try,
// because of its status; nothing of it has been passed on. The endpoint is released then,
// and the adapter goes on with Next. retryAfter is the response's field of that name, drain
// the value of its DrainHeader.
//
// It replaces Answered for the responses that are dropped.
func (c *Core) Unwanted(x *Exchange, status int, retryAfter, drain []byte) bool {
	if !x.policy.Retry.Causes(status) {
		return false
	}
	e := x.cluster.Endpoints[x.endpoint]
	if status == http.StatusServiceUnavailable {
		c.rest(e.State, retryAfter)
	}
	return x.Repeatable() && c.drop(x, status, drain)
}

// drop lets go of a response for another try, if there may be one, and says whether it did.
func (c *Core) drop(x *Exchange, status int, drain []byte) bool {
	if !x.mayTry() || !x.elsewhere() || !c.affords(x) {
		return false
	}
	c.Answered(x, status, drain)
	if x.recording != nil {
		c.endTry(x)
	}
	n := x.tries()
	x.release()
	x.lastErr = &upstream.Error{Kind: upstream.Status}
	x.retry(metrics.RetryStatus)
	x.retrial.pause = backoff(&x.policy.Retry.Backoff, n, rand.Float64())
	return true
}

// rest leaves an endpoint alone for as long as it asked (RFC 9110 §10.2.3), within
// reason. Where all have asked they are tried all the same.
func (c *Core) rest(s *routetable.State, retryAfter []byte) {
	if d := retryAfterOf(retryAfter, time.Now()); d > 0 {
		s.BusyUntil.Store(c.Sweeper.Now() + int64(min(d, busyLimit)))
	}
}

// retryAfterOf reads a Retry-After: seconds, or a date. 0: it says nothing.
func retryAfterOf(value []byte, now time.Time) time.Duration {
	if len(value) == 0 {
		return 0
	}
	if seconds, err := strconv.ParseUint(string(value), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(string(value))
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// Mover moves requests away from endpoints that are taken out while they wait for the
// head of a response. Its methods may be called from any goroutine.
type Mover struct {
	core  *Core
	guard *guard
}

// Mover returns what may move the request during the try under way, nil when it is not to
// be moved: it is not safe to repeat, or there is nowhere to go. It is the same for all
// requests to a service.
func (c *Core) Mover(x *Exchange) *Mover {
	if !x.Repeatable() || !x.mayTry() || len(x.cluster.View().Usable) <= x.pick.Attempts() {
		return nil
	}
	return &clusterOf(x.cluster).guard.mover
}

// Moves says whether a request that waits for the endpoint is to go elsewhere, and takes a
// retry from the budget for it if so. The try then ends with the kind Out.
func (m *Mover) Moves(s *routetable.State) bool {
	return s.Out() && m.guard.take(m.core.Sweeper.Now())
}
