package metrics

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// RetryCause is why a request was tried again.
type RetryCause uint8

// The causes.
const (
	// RetryConnect is a connection that could not be made.
	RetryConnect RetryCause = iota
	// RetryReset is a connection that ended before a byte of the response.
	RetryReset
	// RetryTimeout is a try that took longer than its own timeout.
	RetryTimeout
	// RetryStatus is a response with a status that is retried.
	RetryStatus
	// RetryOut is an endpoint that was taken out while its response was waited for.
	RetryOut
	retryCauses
)

// String returns the label.
func (r RetryCause) String() string {
	return [...]string{"connect_failed", "reset", "timeout", "status", "endpoint_out"}[r]
}

// Shed is the limit that a request was turned away for.
type Shed uint8

// The limits.
const (
	ShedRequests Shed = iota
	ShedEndpointRequests
	ShedAdaptive
	shedLimits
)

// String returns the label.
func (s Shed) String() string {
	return [...]string{"max_requests", "max_endpoint_requests", "adaptive_concurrency"}[s]
}

// HedgeOutcome is what came of a second try beside a slow first one.
type HedgeOutcome uint8

// The outcomes.
const (
	// HedgeWon is a response that began before that of the first try, HedgeLost one that
	// did not.
	HedgeWon HedgeOutcome = iota
	HedgeLost
	// HedgeFailed is a try that brought no response while the first was still waited for.
	HedgeFailed
	hedgeOutcomes
)

// String returns the label.
func (o HedgeOutcome) String() string { return [...]string{"won", "lost", "failed"}[o] }

// Resilience counts what is done about services that fail or are busy. It is a
// prometheus.Collector.
type Resilience struct {
	mu       sync.Mutex
	services map[string]*Guarded
}

// Guarded holds the series of one service. Those of a service without such trouble cost
// nothing: each is made at its first use. Its methods may be called from any goroutine.
type Guarded struct {
	service string

	// retries are by cause, and then by outcome: failed, answered.
	retries   atomic.Pointer[[retryCauses][2]atomic.Uint64]
	shed      atomic.Pointer[[shedLimits]atomic.Uint64]
	hedges    atomic.Pointer[[hedgeOutcomes]atomic.Uint64]
	exhausted atomic.Uint64
	grow      sync.Mutex

	// users and shown are as those of Route, state is what Watch set. Guarded by
	// Resilience.mu.
	users int
	shown bool
	state func() (CircuitState, bool)
}

// CircuitState is how a service stands to its limits.
type CircuitState struct {
	// Open says that it has as many requests in flight as it may, so that others are shed.
	Open bool
	// Limit is what adaptive concurrency has found; 0: it does not look.
	Limit int
}

// NewResilience returns a Resilience without services.
func NewResilience() *Resilience { return &Resilience{services: map[string]*Guarded{}} }

// Acquire returns the series of a service for one more user, made at first.
func (r *Resilience) Acquire(service string) *Guarded {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.services[service]
	if g == nil {
		g = &Guarded{service: service}
		r.services[service] = g
	}
	g.users++
	g.shown = false
	return g
}

// Release takes a user's hold away. Without the last one the series is shown once more
// and then forgotten.
func (r *Resilience) Release(g *Guarded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.users--
}

// Watch makes f say, at each collection, how the service stands; false: it has had no
// request yet, and nothing of it is shown.
func (r *Resilience) Watch(g *Guarded, f func() (CircuitState, bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.state = f
}

// Retried counts a retry when it is over: answered says whether a response came.
func (g *Guarded) Retried(why RetryCause, answered bool) {
	type cells = [retryCauses][2]atomic.Uint64
	by := lazy(&g.retries, &g.grow, func() *cells { return &cells{} })
	outcome := 0
	if answered {
		outcome = 1
	}
	by[why][outcome].Add(1)
}

// Hedged counts a second try when it is over.
func (g *Guarded) Hedged(o HedgeOutcome) {
	type cells = [hedgeOutcomes]atomic.Uint64
	lazy(&g.hedges, &g.grow, func() *cells { return &cells{} })[o].Add(1)
}

// BudgetExhausted counts a retry that the budget did not allow.
func (g *Guarded) BudgetExhausted() { g.exhausted.Add(1) }

// Shed counts a request that was turned away.
func (g *Guarded) Shed(limit Shed) {
	lazy(&g.shed, &g.grow, func() *[shedLimits]atomic.Uint64 { return &[shedLimits]atomic.Uint64{} })[limit].Add(1)
}

var (
	descRetries = prometheus.NewDesc("usher_upstream_retries_total",
		"Tries after the first of a request, by the cause and by whether a response came.",
		[]string{"service", "reason", "outcome"}, nil)
	descHedges = prometheus.NewDesc("usher_upstream_hedges_total",
		"Second tries beside a slow first one, by outcome.", []string{"service", "outcome"}, nil)
	descBudgetExhausted = prometheus.NewDesc("usher_upstream_retry_budget_exhausted_total",
		"Retries that the budget of their service did not allow.", []string{"service"}, nil)
	descShed = prometheus.NewDesc("usher_requests_shed_total",
		"Requests answered 503 because a limit of their service was reached, by limit.",
		[]string{"service", "limit"}, nil)
	descCircuitOpen = prometheus.NewDesc("usher_circuit_open",
		"1 while a service has as many requests in flight as it may.", []string{"service"}, nil)
	descConcurrency = prometheus.NewDesc("usher_upstream_concurrency_limit",
		"Requests that adaptive concurrency lets be in flight.", []string{"service"}, nil)
)

// Describe implements prometheus.Collector.
func (r *Resilience) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		descRetries, descHedges, descBudgetExhausted, descShed, descCircuitOpen, descConcurrency,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (r *Resilience) Collect(ch chan<- prometheus.Metric) {
	for _, g := range r.snapshot() {
		g.collect(ch)
	}
}

// snapshot returns what is to be shown, so that it can be without the lock, and forgets
// what was shown for the last time.
func (r *Resilience) snapshot() []*shownGuarded {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, g := range r.services {
		if g.users == 0 && g.shown {
			delete(r.services, name)
		}
		g.shown = g.users == 0
	}
	out := make([]*shownGuarded, 0, len(r.services))
	for _, g := range slices.Collect(maps.Values(r.services)) {
		out = append(out, &shownGuarded{g, g.state})
	}
	return out
}

// shownGuarded is a Guarded as it is when the lock is given up.
type shownGuarded struct {
	*Guarded
	state func() (CircuitState, bool)
}

func (g *shownGuarded) collect(ch chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	if cells := g.retries.Load(); cells != nil {
		for why := range cells {
			for i, outcome := range []string{"failed", "answered"} {
				if n := cells[why][i].Load(); n > 0 {
					counter(descRetries, n, g.service, RetryCause(why).String(), outcome)
				}
			}
		}
	}
	if cells := g.hedges.Load(); cells != nil {
		for o := range cells {
			if n := cells[o].Load(); n > 0 {
				counter(descHedges, n, g.service, HedgeOutcome(o).String())
			}
		}
	}
	if cells := g.shed.Load(); cells != nil {
		for limit := range cells {
			if n := cells[limit].Load(); n > 0 {
				counter(descShed, n, g.service, Shed(limit).String())
			}
		}
	}
	g.collectState(ch)
}

// collectState shows the figures that begin at zero with the first request.
func (g *shownGuarded) collectState(ch chan<- prometheus.Metric) {
	if g.state == nil {
		return
	}
	state, used := g.state()
	if !used {
		return
	}
	ch <- prometheus.MustNewConstMetric(descBudgetExhausted, prometheus.CounterValue,
		float64(g.exhausted.Load()), g.service)
	open := 0.
	if state.Open {
		open = 1
	}
	ch <- prometheus.MustNewConstMetric(descCircuitOpen, prometheus.GaugeValue, open, g.service)
	if state.Limit > 0 {
		ch <- prometheus.MustNewConstMetric(descConcurrency, prometheus.GaugeValue, float64(state.Limit), g.service)
	}
}
