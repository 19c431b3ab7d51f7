package config

import (
	"slices"
	"time"
)

// The causes that a Retry may name.
const (
	// RetryConnectFailed is a connection that could not be made: nothing was sent.
	RetryConnectFailed = "connect_failed"
	// RetryReset is a connection that ended before a byte of the response.
	RetryReset = "reset"
	// RetryGatewayErrors are the responses 502, 503 and 504.
	RetryGatewayErrors = "gateway_errors"
)

// Retry is how often a request is tried, each time on another endpoint, and why. Only
// what is safe to repeat ever is, whatever On says: a request of which nothing was sent,
// or one with an idempotent method (RFC 9110 §9.2.2) whose body is at hand and of whose
// response no byte was passed on.
type Retry struct {
	// Attempts is the number of tries after the first. 0: never again.
	Attempts int `yaml:"attempts"`
	// On are the causes: RetryConnectFailed and the others. Empty: none but those of
	// RetriableStatus and PerTryTimeout.
	On []string `yaml:"on"`
	// RetriableStatus are statuses, from 400 to 599, that are causes too.
	RetriableStatus []int `yaml:"retriable_status"`
	// GRPCStatus are the statuses of gRPC, by their names in lower case, that are causes
	// for calls whose body is at hand. A call may have been executed then: who lists one
	// says that its methods can be called twice.
	GRPCStatus []string `yaml:"grpc_status"`
	// PerTryTimeout bounds the wait for the response header of every try that another one
	// may follow; the last has the whole Timeout. 0: no bound.
	PerTryTimeout time.Duration `yaml:"per_try_timeout"`
	// Backoff is how long is waited between two tries.
	Backoff Backoff `yaml:"backoff"`
	// Budget bounds the retries of all requests to the service together.
	Budget RetryBudget `yaml:"budget"`
}

// Backoff is the wait before a retry: a random part of Base, which doubles from retry to
// retry up to Max.
type Backoff struct {
	// Base is the most that is waited before the first retry, Max before any.
	Base time.Duration `yaml:"base"`
	Max  time.Duration `yaml:"max"`
}

// RetryBudget bounds the retries of a service to a part of its live requests: those in
// flight, or those of the last ten seconds if they are more.
type RetryBudget struct {
	// Share is the number of retries for each live request.
	Share float64 `yaml:"share"`
	// MinPerSecond is how many retries a second there may be however few requests are live.
	MinPerSecond float64 `yaml:"min_per_second"`
}

// AdaptiveConcurrency bounds the requests in flight to a service by what is measured:
// while the time to the response header grows beyond what it is without load, the bound
// falls.
type AdaptiveConcurrency struct {
	// Enabled is whether there is such a bound.
	Enabled bool `yaml:"enabled"`
	// Min and Max are what the bound stays between.
	Min int `yaml:"min"`
	Max int `yaml:"max"`
}

// Causes says whether a status is one of those that a request is retried for.
func (r *Retry) Causes(status int) bool {
	if slices.Contains(r.RetriableStatus, status) {
		return true
	}
	return status >= 502 && status <= 504 && slices.Contains(r.On, RetryGatewayErrors)
}

// defaultRetry is the Retry of a service that says nothing else.
func defaultRetry() Retry {
	return Retry{
		Attempts: 2, On: []string{RetryConnectFailed, RetryReset},
		Backoff: Backoff{Base: 25 * time.Millisecond, Max: 250 * time.Millisecond},
		Budget:  RetryBudget{Share: 0.2, MinPerSecond: 3},
	}
}

// The bounds of what a Retry may ask for.
const (
	maxAttempts = 10
	// maxBudgetShare is as many retries as any request may have: no bound.
	maxBudgetShare = maxAttempts
)

// retry checks what is written of a Retry.
func (c *checker) retry(r Retry, at string) {
	if path := child(at, "attempts"); c.where.given(path) && (r.Attempts < 0 || r.Attempts > maxAttempts) {
		c.bad(path, "attempts must be from 0 to %d, found %d", maxAttempts, r.Attempts)
	}
	if path := child(at, "on"); c.where.given(path) && !c.failed[path] {
		for i, cause := range r.On {
			c.word(index(path, i), "cause of a retry", cause, RetryConnectFailed, RetryReset, RetryGatewayErrors)
		}
	}
	if path := child(at, "retriable_status"); c.where.given(path) && !c.failed[path] {
		for i, status := range r.RetriableStatus {
			if status < 400 || status > 599 {
				c.bad(index(path, i), "retriable_status must be from 400 to 599, found %d", status)
			}
		}
	}
	c.grpcStatuses(r, at)
	c.backoff(r.Backoff, child(at, "backoff"))
	budget := child(at, "budget")
	share := r.Budget.Share
	if path := child(budget, "share"); c.where.given(path) && (share < 0 || share > maxBudgetShare) {
		c.bad(path, "share must be from 0 to %d, found %v", maxBudgetShare, share)
	}
	if path := child(budget, "min_per_second"); c.where.given(path) && r.Budget.MinPerSecond < 0 {
		c.bad(path, "min_per_second must be at least 0, found %v", r.Budget.MinPerSecond)
	}
}

func (c *checker) backoff(b Backoff, at string) {
	path := at
	for _, key := range []string{"base", "max"} {
		if c.where.given(child(at, key)) {
			path = child(at, key)
		}
	}
	if path != at && b.Max < b.Base {
		c.bad(path, "max of a backoff must be at least its base, which is %s, found %s", b.Base, b.Max)
	}
}

// inFlight checks what bounds the requests in flight.
func (c *checker) inFlight(p Policy, at string) {
	if path := child(at, "max_requests"); c.where.given(path) {
		c.number(path, "max_requests", p.MaxRequests, 0)
	}
	if path := child(at, "max_endpoint_requests"); c.where.given(path) {
		c.number(path, "max_endpoint_requests", p.MaxEndpointRequests, 0)
	}
	at = child(at, "adaptive_concurrency")
	least, most := child(at, "min"), child(at, "max")
	if c.where.given(least) {
		c.number(least, "min", p.AdaptiveConcurrency.Min, 1)
	}
	if (c.where.given(least) || c.where.given(most)) && p.AdaptiveConcurrency.Max < p.AdaptiveConcurrency.Min {
		c.bad(most, "max must be at least min, which is %d, found %d",
			p.AdaptiveConcurrency.Min, p.AdaptiveConcurrency.Max)
	}
}
