package core

import (
	"net/http"
	"strconv"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// call is what an exchange knows of how its gRPC call ends.
type call struct {
	// replied says that the endpoint's response is one of gRPC, open that only its trailers
	// tell how it ends.
	replied, open bool
	// status is the code that came, where known says so.
	known  bool
	status config.GRPCStatus
	// took is how long the head of the response took.
	took time.Duration
}

// GRPC says whether the request is a call of gRPC.
func (x *Exchange) GRPC() bool { return x.Flags&wire.HasGRPC != 0 }

// deadline bounds the whole request, 0 for no bound: by the operator's word, and by that
// of the client of a call.
func (x *Exchange) deadline() int64 {
	if x.boundByClient() {
		return after(x.Start, x.CallTimeout)
	}
	return after(x.Start, x.policy.TotalTimeout)
}

// boundByClient says whether the client's bound comes before the operator's.
func (x *Exchange) boundByClient() bool {
	total := x.policy.TotalTimeout
	return x.CallTimeout > 0 && (total <= 0 || x.CallTimeout < total)
}

// OutOfTime is the reason of a request whose deadline is over.
func (x *Exchange) OutOfTime() Reason {
	if x.boundByClient() {
		return DeadlineExceeded
	}
	return TotalTimeout
}

// shorten tells the endpoint of a further try how much is left of the time that the client
// gave.
func (x *Exchange) shorten(now int64) {
	left := time.Duration(x.deadlineOfClient() - now)
	var room [16]byte
	x.head().SetBytesV("Grpc-Timeout", wire.AppendGRPCTimeout(room[:0], left))
}

func (x *Exchange) deadlineOfClient() int64 { return after(x.Start, x.CallTimeout) }

// Replied tells what the head of the response to a call says: whether it is one of gRPC,
// and with which grpc-status, -1 where that is for the trailers to say. It is called before
// Unwanted and Answered.
func (x *Exchange) Replied(grpc bool, status int) {
	x.call = call{replied: grpc, known: status >= 0}
	if status >= 0 {
		x.call.status = config.GRPCStatus(status)
	}
}

// RetriesCall says whether a response with this grpc-status in its head, -1 for none, may be
// dropped for another try.
func (x *Exchange) RetriesCall(status int) bool {
	return status > 0 && x.GRPC() && x.policy.Retry.CausesGRPC(config.GRPCStatus(status))
}

// UnwantedCall is Unwanted for a call by the status in the head of its response. pushback is
// the response's field of that name: how many milliseconds the endpoint wants to be left
// alone, or that the call is not to be tried again.
func (c *Core) UnwantedCall(x *Exchange, pushback, drain []byte) bool {
	if !x.call.known || !x.RetriesCall(int(x.call.status)) {
		return false
	}
	if len(pushback) > 0 {
		ms, err := strconv.ParseUint(string(pushback), 10, 31)
		if err != nil {
			return false
		}
		x.stayAway(c, time.Duration(ms)*time.Millisecond)
	}
	return x.Replayable && c.drop(x, http.StatusOK, drain)
}

// stayAway leaves the endpoint alone for a while, as Retry-After does.
func (x *Exchange) stayAway(c *Core, d time.Duration) {
	if d > 0 {
		x.cluster.Endpoints[x.endpoint].State.BusyUntil.Store(c.Sweeper.Now() + int64(min(d, busyLimit)))
	}
}

// repeatsCall says whether a call whose try ended without a response may be sent again,
// though it may have been executed: by the operator's word for what the client would be told.
func (x *Exchange) repeatsCall(err *upstream.Error) bool {
	return x.GRPC() && x.Replayable && x.policy.Retry.CausesGRPC(x.reasonOf(err).GRPC())
}

// judge makes the outcome of a response's head that of a call. With a status still to come
// it says no more than that the endpoint answers.
func (x *Exchange) judge(o *healthcheck.Outcome) {
	switch {
	case x.call.known:
		o.Status = x.evidence(x.call.status)
	case x.call.replied && o.Status == http.StatusOK:
		o.Kind = healthcheck.Began
		x.call.open, x.call.took = true, o.Took
	}
}

// Concluded tells what the end of the response to a call says: the grpc-status among its
// trailers, -1 where there is none. It is called where the endpoint has ended its response.
func (c *Core) Concluded(x *Exchange, status int) {
	if !x.call.open {
		return
	}
	x.call.open, x.call.known = false, true
	x.call.status = config.GRPCUnknown
	if status >= 0 {
		x.call.status = config.GRPCStatus(status)
	}
	c.health.Observe(x.cluster.Endpoints[x.endpoint], healthcheck.Outcome{
		Status: x.evidence(x.call.status), Took: x.call.took,
	})
}

// evidence is the status of HTTP that says of the endpoint what a status of gRPC does. What
// is the client's doing is none of a server's failures: a method that there is not, or a
// deadline that the client has set.
func (x *Exchange) evidence(s config.GRPCStatus) int {
	switch s {
	case config.GRPCOK:
		return http.StatusOK
	case config.GRPCUnknown, config.GRPCInternal, config.GRPCDataLoss:
		return http.StatusInternalServerError
	case config.GRPCUnavailable:
		return http.StatusServiceUnavailable
	case config.GRPCDeadlineExceeded:
		if x.CallTimeout > 0 {
			return http.StatusBadRequest
		}
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadRequest
	}
}

// GRPCStatus is the status of gRPC that a Reason is answered with, as Status is that of HTTP.
func (x *Exchange) GRPCStatus(r Reason) config.GRPCStatus {
	if r == RetryBudget && x.retrial.failed != None {
		return x.retrial.failed.GRPC()
	}
	return r.GRPC()
}

// count adds how the call ended to a sample. status is that of HTTP, which stands for one of
// gRPC where the response was none of gRPC's, as for clients.
func (x *Exchange) count(s *metrics.Sample, reason Reason) {
	status := x.call.status
	switch {
	case !x.GRPC():
		return
	case reason != None:
		status = x.GRPCStatus(reason)
	case !x.call.known:
		status = grpcOfHTTP(s.Code)
	}
	s.Call = metrics.CallOf(status)
}

// grpcOfHTTP is what a client takes a response without a grpc-status for
// (github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func grpcOfHTTP(status int) config.GRPCStatus {
	switch status {
	case http.StatusBadRequest:
		return config.GRPCInternal
	case http.StatusUnauthorized:
		return config.GRPCUnauthenticated
	case http.StatusForbidden:
		return config.GRPCPermissionDenied
	case http.StatusNotFound:
		return config.GRPCUnimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return config.GRPCUnavailable
	default:
		return config.GRPCUnknown
	}
}
