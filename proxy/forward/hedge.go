package forward

import (
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/upstream"
)

// hedge is a second try of a request, in a goroutine of its own, beside the one that the
// goroutine of the client's connection waits for. The server waits for it.
//
// The first byte of a response decides. Both goroutines then take mu: who finds that the
// other has not decided does. While nothing is decided the connection's goroutine does
// nothing but wait, and within mu the second one may use what is its. Once over is set
// it may not: it closes its own connection to the endpoint and ends.
type hedge struct {
	trip *Trip
	// forwarder is the Trip's, which may be another request's before run has begun.
	forwarder *Forwarder
	first     *upstream.Conn
	// began is when the first try did, until when both are over; 0: no bound.
	began, until int64
	// connected is closed when up is known, done in the end.
	connected, done chan struct{}

	mu sync.Mutex
	// begun says that try is, over that it is not wanted any more, won that its response
	// has begun first.
	begun, over, won bool
	try              core.Hedged
	out              []byte
	// up is its connection, nil while there is none.
	up *upstream.Conn
}

// hedged says whether the request may be sent a second time when it has waited. It costs
// those without hedging a comparison.
func (t *Trip) hedged(a *core.Attempt) bool {
	return a.Policy.Hedge.Delay > 0 && len(t.Upgrade) == 0 && t.X.Repeatable()
}

// race waits for the response to what t.up has been given to send, and after the delay
// for that of a second try too. t.up is the connection of the one that began first.
func (t *Trip) race(a *core.Attempt, began int64) error {
	h := t.newHedge(began, t.Until(began, a.Timeout))
	timer := time.AfterFunc(a.Policy.Hedge.Delay, h.run)
	_, err := t.up.Reader.Peek(1)
	if timer.Stop() {
		t.forwarder.hedges.Done()
	} else {
		err = h.settle(err)
	}
	if err != nil {
		return err
	}
	return t.readResponse(t.up)
}

// newHedge returns a hedge that the Forwarder waits for: run is to be called.
func (t *Trip) newHedge(began, until int64) *hedge {
	t.forwarder.hedges.Add(1)
	return &hedge{
		trip: t, forwarder: t.forwarder, first: t.up, began: began, until: until,
		connected: make(chan struct{}), done: make(chan struct{}),
	}
}

// settle decides between the two, for the goroutine of the connection; err is what has
// come of the first try.
func (h *hedge) settle(err error) error {
	t := h.trip
	h.mu.Lock()
	pending := h.begun && !h.won
	if pending && err != nil && !t.hold.gone.Load() && !errors.Is(err, upstream.ErrStale) {
		h.mu.Unlock()
		return h.await(t.upstreamError(t.up, err))
	}
	won := h.won
	if !won {
		h.end()
	}
	h.mu.Unlock()
	if won {
		return h.adopt()
	}
	return err
}

// end ends a try that is not wanted any more. The caller holds mu.
func (h *hedge) end() {
	h.over = true
	if h.up != nil {
		h.up.Abort()
	}
}

// await waits for the second try when the first has failed. The client is watched again
// once there is a connection.
func (h *hedge) await(failed *upstream.Error) error {
	t := h.trip
	<-h.connected // for as long as a connection may take
	t.drop()
	h.mu.Lock()
	up := h.up
	if t.hold.gone.Load() {
		h.end()
		up = nil
	}
	h.mu.Unlock()
	if up == nil {
		return failed
	}
	t.take(up, t.now())
	<-h.done // Probe and the deadline end this
	if h.won {
		return h.adopt()
	}
	t.drop()
	return failed
}

// errLeft is a client that has left while its request was with two endpoints.
var errLeft = errors.New("the client has left")

// adopt makes the second try the one that goes on, and closes the connection of the
// first.
func (h *hedge) adopt() error {
	t := h.trip
	<-h.done // it has nothing left to do
	t.drop()
	t.up.Close()
	t.up = h.up
	t.forwarder.Core.Overtaken(&t.X, &h.try, h.began)
	if t.hold.gone.Load() {
		return errLeft
	}
	t.take(t.up, t.now())
	return nil
}

// run makes the second try. It is called when the delay is over.
func (h *hedge) run() {
	defer h.forwarder.hedges.Done()
	defer close(h.done)
	defer h.recover()
	up := h.connect()
	if up == nil {
		return
	}
	h.try.Connected(up)
	up.Watch.Arm(h.until)
	up.Send(h.out)
	_, err := up.Reader.Peek(1)
	h.finish(err)
}

// recover keeps a fault in the second try from ending the process.
func (h *hedge) recover() {
	if v := recover(); v != nil {
		h.forwarder.Log.Error("panic while hedging a request", "panic", v, "stack", string(debug.Stack()))
	}
}

// connect returns a connection to another endpoint, nil when the request is not to go
// there.
func (h *hedge) connect() *upstream.Conn {
	defer close(h.connected)
	if !h.prepare() {
		return nil
	}
	up, err := h.try.Pool.Get(false, h.try.Policy.ConnectTimeout)
	for err == nil && up.Reused && !up.Alive() {
		up.Close()
		up, err = h.try.Pool.Get(false, h.try.Policy.ConnectTimeout)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err != nil:
		h.begun = false
		h.try.Unconnected(err)
		h.try.Leave(metrics.HedgeFailed)
		return nil
	case h.over:
		up.Release() // nothing was sent
		h.try.Leave(metrics.HedgeLost)
		return nil
	default:
		h.up = up
		return up
	}
}

// prepare picks an endpoint and writes down what it is asked.
func (h *hedge) prepare() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	t := h.trip
	h.try, h.begun = t.forwarder.Core.Hedge(&t.X)
	if h.begun {
		h.out = t.appendRequest(nil, &h.try.Attempt)
	}
	return h.begun
}

// finish decides between the two, for the second try.
func (h *hedge) finish(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && !h.over {
		h.won = true
		h.first.Abort()
		return
	}
	h.begun = false
	h.up.Close()
	h.up = nil
	if h.over {
		h.try.Leave(metrics.HedgeLost)
	} else {
		h.try.Leave(metrics.HedgeFailed)
	}
}
