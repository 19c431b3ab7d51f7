package core

import (
	"time"

	"usher/healthcheck"
	"usher/proxy/upstream"
)

// DrainHeader is the name of the response field by which the endpoint tells that it
// drains; empty: none.
func (x *Exchange) DrainHeader() string { return x.policy.DrainHeader }

// Answered tells that a response head has come from the endpoint, whose time is part of
// x.Upstream already. drain is the value of its DrainHeader.
func (c *Core) Answered(x *Exchange, status int, drain []byte) {
	o := healthcheck.Outcome{Status: status, Took: x.took()}
	if len(drain) > 0 {
		o.Draining = healthcheck.Drains(string(drain))
	}
	if x.GRPC() {
		x.judge(&o)
	}
	x.measure(c, nil)
	if x.recording != nil {
		x.recordAnswer(status)
	}
	x.tried(true)
	x.endpointSeries().Answered(x.Shard, status, o.Took)
	c.sampled(x)
	c.health.Observe(x.cluster.Endpoints[x.endpoint], o)
}

// took is how long the endpoint took for the try, 0 where that cannot be told from the time
// that the client took for its body.
func (x *Exchange) took() time.Duration {
	if x.Streams {
		return 0
	}
	return time.Duration(x.Upstream - x.waited)
}

// observeFailure tells of a try that brought no response, if that says something of the
// endpoint. A used connection that ends before a byte has come does not: endpoints close
// idle ones as they like.
func (c *Core) observeFailure(x *Exchange, err *upstream.Error) {
	o := healthcheck.Outcome{Took: x.took()}
	if x.hurried(err) {
		return
	}
	switch err.Kind {
	case upstream.Connect:
		o.Kind = healthcheck.ConnectFailed
	case upstream.Timeout, upstream.Total:
		o.Kind = healthcheck.TimedOut
	case upstream.Protocol, upstream.Partial, upstream.Refused:
		o.Kind = healthcheck.Broken
	case upstream.Reset:
		if err.Reused {
			return
		}
		o.Kind = healthcheck.Broken
	default:
		return
	}
	c.health.Observe(x.cluster.Endpoints[x.endpoint], o)
}

// hurried says that the try ended because the client gave the endpoint less time than the
// operator does: that says nothing of the endpoint.
func (x *Exchange) hurried(err *upstream.Error) bool {
	patience := x.policy.Timeout
	return err.Kind == upstream.Total && x.boundByClient() && (patience <= 0 || x.took() < patience)
}

// Hanging tells that a request has been waiting on a connection for a response head since
// a moment on the sweeper's clock. It may be called from any goroutine.
func (c *Core) Hanging(up *upstream.Conn, since int64, waited time.Duration) {
	c.health.Hanging(up.Endpoint(), since, waited)
}
