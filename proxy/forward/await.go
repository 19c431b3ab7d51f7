package forward

import (
	"cmp"
	"time"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// waiter watches the client while its request waits for a connection to an endpoint: a
// wait that nobody is interested in any more ends, and so does one that the client's
// connection is cut in.
type waiter struct {
	watch   wire.Watch
	trip    *Trip
	pending *upstream.Pending
}

// Expire implements wire.Expirer.
func (w *waiter) Expire() { w.pending.Cancel() }

// Probe implements wire.Prober.
func (w *waiter) Probe() {
	if w.trip.client.Left() {
		w.trip.hold.gone.Store(true)
		w.pending.Cancel()
	}
}

// await waits for a connection to an endpoint whose connections are all in use.
func (t *Trip) await(a *core.Attempt) (*upstream.Conn, *upstream.Error) {
	now := t.now()
	limit := cmp.Or(a.Policy.PendingTimeout, a.Policy.ConnectTimeout)
	if a.Deadline > 0 {
		limit = min(limit, time.Duration(a.Deadline-now))
	}
	pending, err := a.Pool.Queue()
	if err != nil {
		return nil, err
	}
	t.watch.Arm(0) // what the client sends next is not waited for now
	w := &waiter{trip: t, pending: pending}
	t.forwarder.Core.Sweeper.Add(&w.watch, w)
	defer t.forwarder.Core.Sweeper.Remove(&w.watch)
	w.watch.Wait(now)
	up, err := pending.Wait(limit, a.Policy.ConnectTimeout)
	if err != nil && a.Deadline > 0 && t.now() >= a.Deadline {
		err.Kind = upstream.Total
	}
	return up, err
}
