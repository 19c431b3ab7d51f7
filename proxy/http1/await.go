package http1

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
	client  *conn
	pending *upstream.Pending
}

// Expire implements wire.Expirer.
func (w *waiter) Expire() { w.pending.Cancel() }

// Probe implements wire.Prober.
func (w *waiter) Probe() {
	if wire.Ended(w.client.raw) {
		w.client.gone.Store(true)
		w.pending.Cancel()
	}
}

// await waits for a connection to an endpoint whose connections are all in use.
func (c *conn) await(a *core.Attempt) (*upstream.Conn, *upstream.Error) {
	now := c.now()
	limit := cmp.Or(a.Policy.PendingTimeout, a.Policy.ConnectTimeout)
	if a.Deadline > 0 {
		limit = min(limit, time.Duration(a.Deadline-now))
	}
	pending, err := a.Pool.Queue()
	if err != nil {
		return nil, err
	}
	c.watch.Arm(0) // what the client sends next is not waited for now
	w := &waiter{client: c, pending: pending}
	c.server.sweeper.Add(&w.watch, w)
	defer c.server.sweeper.Remove(&w.watch)
	w.watch.Wait(now)
	up, err := pending.Wait(limit, a.Policy.ConnectTimeout)
	if err != nil && a.Deadline > 0 && c.now() >= a.Deadline {
		err.Kind = upstream.Total
	}
	return up, err
}
