package metrics

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ConnectError is why a connection to an endpoint could not be made.
type ConnectError uint8

// The reasons.
const (
	// ConnectRefused is an endpoint where nobody listens.
	ConnectRefused ConnectError = iota
	// ConnectTimeout is a connection, its handshake included, not made in time.
	ConnectTimeout
	// ConnectCertificate is a certificate that usher does not accept.
	ConnectCertificate
	// ConnectHandshake is another failure of the TLS handshake.
	ConnectHandshake
	// ConnectOther is anything else: no way there, no descriptor left.
	ConnectOther
	connectErrors
)

// String returns the label.
func (e ConnectError) String() string {
	return [...]string{"refused", "timeout", "certificate", "handshake", "other"}[e]
}

// Upstream counts the connections to endpoints. It is a prometheus.Collector.
type Upstream struct {
	mu       sync.Mutex
	services map[string]*Connections
	idle     func() map[*Connections]int64
}

// Connections holds the series of one service. Those of a service nobody connects to
// cost nothing: each is made at its first use. Its methods may be called from any
// goroutine.
type Connections struct {
	service string

	open      atomic.Int64
	exhausted atomic.Pointer[Counter]
	durations atomic.Pointer[Histogram]
	errors    atomic.Pointer[[connectErrors]atomic.Uint64]
	grow      sync.Mutex

	// users and shown are as those of Route. Guarded by Upstream.mu.
	users int
	shown bool
}

// NewUpstream returns an Upstream without services.
func NewUpstream() *Upstream { return &Upstream{services: map[string]*Connections{}} }

// IdleFrom makes f say, at each collection, how many of the open connections of each
// service are idle: taking one and putting it back then costs no counting.
func (u *Upstream) IdleFrom(f func() map[*Connections]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.idle = f
}

// Acquire returns the series of a service for one more user, made at first.
func (u *Upstream) Acquire(service string) *Connections {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.services[service]
	if c == nil {
		c = &Connections{service: service}
		u.services[service] = c
	}
	c.users++
	c.shown = false
	return c
}

// Release takes a user's hold away. Without the last one the series is shown once
// more and then forgotten, unless connections are still open.
func (u *Upstream) Release(c *Connections) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c.users--
}

// Opened counts a connection that was made, in the time it took.
func (c *Connections) Opened(took time.Duration) {
	c.open.Add(1)
	lazy(&c.durations, &c.grow, newConnectDurations).Observe(anyShard(), took)
}

// Closed counts the end of a connection that was Opened.
func (c *Connections) Closed() { c.open.Add(-1) }

// Failed counts a connection that could not be made.
func (c *Connections) Failed(why ConnectError) {
	cells := lazy(&c.errors, &c.grow, func() *[connectErrors]atomic.Uint64 { return &[connectErrors]atomic.Uint64{} })
	cells[why].Add(1)
}

// Exhausted counts a request that found all connections of an endpoint in use.
func (c *Connections) Exhausted() { lazy(&c.exhausted, &c.grow, NewCounter).Add(anyShard(), 1) }

// anyShard spreads what is counted apart from client connections.
func anyShard() Shard { return Shard(rand.Uint32()) }

func newConnectDurations() *Histogram { return NewHistogram(connectBounds) }

var connectBounds = []time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
	2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

var (
	descUpstreamConnections = prometheus.NewDesc("usher_upstream_connections",
		"Connections open to endpoints, by whether a request uses them.", []string{"service", "state"}, nil)
	descPoolExhausted = prometheus.NewDesc("usher_upstream_pool_exhausted_total",
		"Times a request found all connections in use that an endpoint may have.", []string{"service"}, nil)
	descConnectDuration = prometheus.NewDesc("usher_upstream_connect_duration_seconds",
		"Time to connect to an endpoint, a TLS handshake included.", []string{"service"}, nil)
	descConnectErrors = prometheus.NewDesc("usher_upstream_connect_errors_total",
		"Connections to endpoints that could not be made, by reason.", []string{"service", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (u *Upstream) Describe(ch chan<- *prometheus.Desc) {
	ch <- descUpstreamConnections
	ch <- descPoolExhausted
	ch <- descConnectDuration
	ch <- descConnectErrors
}

// Collect implements prometheus.Collector.
func (u *Upstream) Collect(ch chan<- prometheus.Metric) {
	services, idle := u.snapshot()
	var waiting map[*Connections]int64
	if idle != nil {
		waiting = idle()
	}
	for _, c := range services {
		c.collect(ch, waiting[c])
	}
}

// snapshot returns what is to be shown, so that it can be without the lock, and
// forgets what was shown for the last time.
func (u *Upstream) snapshot() ([]*Connections, func() map[*Connections]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name, c := range u.services {
		over := c.users == 0 && c.open.Load() == 0
		if over && c.shown {
			delete(u.services, name)
		}
		c.shown = over
	}
	return slices.Collect(maps.Values(u.services)), u.idle
}

// collect shows one service; idle is how many of its open connections are.
func (c *Connections) collect(ch chan<- prometheus.Metric, idle int64) {
	if h := c.durations.Load(); h != nil {
		open := c.open.Load()
		idle = min(idle, open) // the two are not read at the same moment
		gauge := func(n int64, state string) {
			ch <- prometheus.MustNewConstMetric(descUpstreamConnections, prometheus.GaugeValue, float64(n),
				c.service, state)
		}
		gauge(idle, "idle")
		gauge(open-idle, "active")
		collectHistogram(ch, descConnectDuration, h, c.service)
	}
	if n := c.exhausted.Load(); n != nil || c.durations.Load() != nil {
		v := 0.0
		if n != nil {
			v = float64(n.Value())
		}
		ch <- prometheus.MustNewConstMetric(descPoolExhausted, prometheus.CounterValue, v, c.service)
	}
	cells := c.errors.Load()
	for why := ConnectError(0); cells != nil && why < connectErrors; why++ {
		if n := cells[why].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(descConnectErrors, prometheus.CounterValue, float64(n),
				c.service, why.String())
		}
	}
}
