package forward

import (
	"errors"
	"time"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// errMoved is a response that came just when its endpoint was taken out.
var errMoved = errors.New("the request was moved elsewhere")

// movable lets move do so during the try that begins, if that is allowed.
func (t *Trip) movable() {
	m := t.forwarder.Core.Mover(&t.X)
	t.moves = m != nil
	if t.hold.mover.Load() != m { // mostly the one of the request before
		t.hold.mover.Store(m)
	}
	if t.hold.moved.Load() {
		t.hold.moved.Store(false)
	}
}

// unmovable says that the endpoint is at work on the request: it has sent an interim
// response. The request is not sent to another then.
func (t *Trip) unmovable() {
	t.X.Replayable = false
	if t.moves {
		t.moves = false
		t.hold.mover.Store(nil)
	}
}

// settle says that a response has come, so that the request is not moved any more; false
// when it was. A response that is at hand to its end needs no more of its connection.
func (t *Trip) settle() bool {
	if !t.moves || t.wholeResponse() {
		return true
	}
	t.hold.mover.Store(nil)
	return t.hold.upstream.Load() != nil || t.hold.gone.Load()
}

// wholeResponse says whether the response, whose head was read, is in the buffer whole.
func (t *Trip) wholeResponse() bool {
	switch t.responseFraming() {
	case Bodyless:
		return true
	case ByLength:
		have := t.up.Reader.Buffered()
		if t.verbatim {
			have -= t.upHead.Len
		}
		return t.responseLength() <= int64(have)
	default:
		return false
	}
}

// unwanted says whether the response is to be dropped for another try.
func (t *Trip) unwanted() bool {
	status := t.upHead.Status
	switch {
	case t.verbatim:
		return false
	case t.upHead.GRPCStatus > 0 && t.X.GRPC():
		t.retain()
		return t.forwarder.Core.UnwantedCall(&t.X, t.resp.Peek("Grpc-Retry-Pushback-Ms"), t.drainField())
	default:
		return status >= 400 && t.forwarder.Core.Unwanted(&t.X, status, t.resp.Peek("Retry-After"), t.drainField())
	}
}

// dropResponse does away with a response: its connection serves others if that costs no
// wait.
func (t *Trip) dropResponse() {
	up := t.up
	whole := t.wholeResponse() && !t.resp.ConnectionClose() && !t.pump.started
	if whole && t.responseFraming() == ByLength {
		_, _ = up.Reader.Discard(t.resp.ContentLength())
	}
	if !whole || up.Reader.Buffered() > 0 || !t.drop() {
		_ = t.abandon() // a request whose body is streamed is not repeated
		return
	}
	t.up = nil
	up.Release()
}

// pauser watches the client while its request waits for the next try.
type pauser struct {
	watch  wire.Watch
	client Client
	// over is closed when nobody waits for the request any more. Expire and Probe are called
	// by one goroutine at a time.
	over  chan struct{}
	ended bool
}

// Expire implements wire.Expirer.
func (p *pauser) Expire() {
	if !p.ended {
		p.ended = true
		close(p.over)
	}
}

// Probe implements wire.Prober.
func (p *pauser) Probe() {
	if p.client.Left() {
		p.Expire()
	}
}

// pause waits between two tries. It ends early when the client leaves, when its connection
// is cut, and with the time for the whole request: the Reason then is the answer.
func (t *Trip) pause(d time.Duration) core.Reason {
	if d <= 0 {
		if t.late() {
			return t.X.OutOfTime()
		}
		return core.None
	}
	now := t.now()
	late := t.Deadline > 0 && now+int64(d) >= t.Deadline
	if late {
		d = time.Duration(t.Deadline - now)
	}
	t.watch.Arm(0) // what the client sends next is not waited for now
	p := &pauser{client: t.client, over: make(chan struct{})}
	t.forwarder.Core.Sweeper.Add(&p.watch, p)
	defer t.forwarder.Core.Sweeper.Remove(&p.watch)
	p.watch.Wait(now)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.over:
		return core.ClientGone
	case <-timer.C:
	}
	if late {
		return t.X.OutOfTime()
	}
	return core.None
}
