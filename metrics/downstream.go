package metrics

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Listener holds the series of one listener.
type Listener struct {
	name        string
	InFlight    Gauge
	Open        Gauge
	Connections *Counter

	mu sync.Mutex
	// ended counts by code what was ended of HTTP/2 for the client's fault.
	ended map[string]uint64
}

// EndedHTTP2 counts a stream or a connection that was ended for its client's fault, by the
// name of the code that told it so. Any goroutine may call it.
func (l *Listener) EndedHTTP2(code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == nil {
		l.ended = map[string]uint64{}
	}
	l.ended[code]++
}

// Downstream counts what clients ask for and get. It is a prometheus.Collector.
type Downstream struct {
	// Overhead is the time usher itself took for a request, the upstream's not
	// counted.
	Overhead *Histogram
	// Upstream counts the connections to endpoints; it is shown with the rest.
	Upstream *Upstream
	// Resilience counts retries and limits; it is shown with the rest too.
	Resilience *Resilience
	// Endpoints counts the tries at each endpoint; it is shown with the rest too.
	Endpoints *Endpoints

	reasons []string

	mu        sync.Mutex
	routes    map[seriesKey]*Route
	listeners map[string]*Listener
	// past holds what forgotten series of routes that go on had counted.
	past map[string]*routeTotals
	// gone holds what forgotten series had counted, for Totals.
	gone gone
	// tunnels counts the upgraded connections by service.
	tunnels map[string]int64
}

// newDownstream returns an empty Downstream; reasons are the words that
// Sample.Reason indexes.
func newDownstream(reasons []string) *Downstream {
	return &Downstream{
		Overhead: NewHistogram(overheadBounds), Upstream: NewUpstream(), reasons: reasons,
		Resilience: NewResilience(), Endpoints: NewEndpoints(),
		routes: map[seriesKey]*Route{}, listeners: map[string]*Listener{},
		past: map[string]*routeTotals{}, tunnels: map[string]int64{},
	}
}

var overheadBounds = []time.Duration{
	25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond,
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond,
}

// Listener returns the series of the listener called name, made at first use.
func (d *Downstream) Listener(name string) *Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.listeners[name]
	if l == nil {
		l = &Listener{name: name, InFlight: NewGauge(), Open: NewGauge(), Connections: NewCounter()}
		d.listeners[name] = l
	}
	return l
}

// Acquire returns the series of a route and service for one more user, made at
// first.
func (d *Downstream) Acquire(route, service string) *Route {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := seriesKey{route, service}
	r := d.routes[key]
	if r == nil {
		r = &Route{key: key, reasons: d.reasons}
		d.routes[key] = r
	}
	r.users++
	r.shown = false
	return r
}

// Release takes a user's hold away. Without the last one the series is shown once
// more and then forgotten.
func (d *Downstream) Release(r *Route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.users--
}

// ByService returns how many requests each service has had, by the series that are in
// use.
func (d *Downstream) ByService() map[string]uint64 {
	d.mu.Lock()
	routes := slices.Collect(maps.Values(d.routes))
	d.mu.Unlock()
	out := map[string]uint64{}
	for _, r := range routes {
		if n := r.total(); n > 0 {
			out[r.key.service] += n
		}
	}
	return out
}

var (
	descRequests = prometheus.NewDesc("usher_requests_total",
		"Requests answered, by listener, route, service, method and status (499: the client left).",
		[]string{"listener", "route", "service", "method", "code"}, nil)
	descDuration = prometheus.NewDesc("usher_request_duration_seconds",
		"Time from a request's first byte to the end of its answer.", []string{"route", "service"}, nil)
	descErrors = prometheus.NewDesc("usher_request_errors_total",
		"Answers usher made itself because a request failed, by reason.", []string{"route", "reason"}, nil)
	descReceived = prometheus.NewDesc("usher_request_body_bytes_total",
		"Bytes of request bodies.", []string{"route"}, nil)
	descSent = prometheus.NewDesc("usher_response_body_bytes_total",
		"Bytes of response bodies.", []string{"route"}, nil)
	descInFlight = prometheus.NewDesc("usher_requests_in_flight",
		"Requests being served.", []string{"listener"}, nil)
	descConnections = prometheus.NewDesc("usher_connections_total",
		"Client connections accepted.", []string{"listener"}, nil)
	descOpen = prometheus.NewDesc("usher_open_connections",
		"Client connections open.", []string{"listener"}, nil)
	descEnded = prometheus.NewDesc("usher_http2_errors_total",
		"Streams and connections of HTTP/2 that were ended for their client's fault, by error code.",
		[]string{"listener", "code"}, nil)
	descOverhead = prometheus.NewDesc("usher_proxy_overhead_seconds",
		"Time usher itself took for a request, the upstream's not counted.", nil, nil)
)

// Describe implements prometheus.Collector.
func (d *Downstream) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		descRequests, descDuration, descErrors, descReceived, descSent,
		descInFlight, descConnections, descOpen, descEnded, descOverhead, descUpgraded, descCalls,
	} {
		ch <- desc
	}
	d.Upstream.Describe(ch)
	d.Resilience.Describe(ch)
	d.Endpoints.Describe(ch)
}

// Collect implements prometheus.Collector.
func (d *Downstream) Collect(ch chan<- prometheus.Metric) {
	listeners, routes, totals := d.snapshot()
	for _, l := range listeners {
		l.collect(ch)
	}
	for _, r := range routes {
		r.collect(ch)
		totalsOf(totals, r.key.route).add(r)
	}
	for route, t := range totals {
		t.collect(ch, route, d.reasons)
	}
	d.collectTunnels(ch)
	d.Upstream.Collect(ch)
	d.Resilience.Collect(ch)
	d.Endpoints.Collect(ch)
	collectHistogram(ch, descOverhead, d.Overhead)
}

// snapshot returns what is to be shown, so that it can be without the lock, and
// forgets what was shown for the last time. The totals begin with what the
// forgotten series of routes that go on had counted: a counter must not fall.
func (d *Downstream) snapshot() (ls []*Listener, rs []*Route, totals map[string]*routeTotals) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ls = slices.Collect(maps.Values(d.listeners))
	totals = map[string]*routeTotals{}
	for key, r := range d.routes {
		if r.users == 0 && r.shown {
			delete(d.routes, key)
			totalsOf(d.past, key.route).add(r)
			d.gone.note(r)
			continue
		}
		r.shown = r.users == 0
		rs = append(rs, r)
		totals[key.route] = &routeTotals{}
	}
	for route, t := range d.past {
		if now := totals[route]; now != nil {
			now.addTotals(t)
		} else {
			delete(d.past, route)
		}
	}
	d.gone.keep(d.routes)
	return ls, rs, totals
}

func (l *Listener) collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, g Gauge) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(g.Value()), l.name)
	}
	gauge(descInFlight, l.InFlight)
	gauge(descOpen, l.Open)
	n := float64(l.Connections.Value())
	ch <- prometheus.MustNewConstMetric(descConnections, prometheus.CounterValue, n, l.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	for code, n := range l.ended {
		ch <- prometheus.MustNewConstMetric(descEnded, prometheus.CounterValue, float64(n), l.name, code)
	}
}

func (r *Route) collect(ch chan<- prometheus.Metric) {
	if list := r.requests.Load(); list != nil {
		for _, c := range *list {
			ch <- prometheus.MustNewConstMetric(descRequests, prometheus.CounterValue, float64(c.n.Value()),
				c.listener.name, r.key.route, r.key.service, methods[c.method], strconv.Itoa(int(c.code)))
		}
	}
	if h := r.durations.Load(); h != nil {
		collectHistogram(ch, descDuration, h, r.key.route, r.key.service)
	}
	r.collectCalls(ch)
}

func collectHistogram(ch chan<- prometheus.Metric, desc *prometheus.Desc, h *Histogram, labels ...string) {
	count, sum, buckets := h.Snapshot()
	ch <- withExemplars(prometheus.MustNewConstHistogram(desc, count, sum, buckets, labels...), h)
}

// routeTotals are the figures of a route over all its services.
type routeTotals struct {
	received, sent uint64
	errors         []uint64
}

func totalsOf(m map[string]*routeTotals, route string) *routeTotals {
	t := m[route]
	if t == nil {
		t = &routeTotals{}
		m[route] = t
	}
	return t
}

func (t *routeTotals) add(r *Route) {
	if c := r.received.Load(); c != nil {
		t.received += c.Value()
	}
	if c := r.sent.Load(); c != nil {
		t.sent += c.Value()
	}
	cells := r.errors.Load()
	if cells == nil {
		return
	}
	for i := range *cells {
		t.addErrors(i, len(*cells), (*cells)[i].Load())
	}
}

func (t *routeTotals) addTotals(o *routeTotals) {
	t.received += o.received
	t.sent += o.sent
	for i, n := range o.errors {
		t.addErrors(i, len(o.errors), n)
	}
}

// addErrors adds to one of the reasons.
func (t *routeTotals) addErrors(reason, reasons int, n uint64) {
	if t.errors == nil {
		t.errors = make([]uint64, reasons)
	}
	t.errors[reason] += n
}

func (t *routeTotals) collect(ch chan<- prometheus.Metric, route string, reasons []string) {
	ch <- prometheus.MustNewConstMetric(descReceived, prometheus.CounterValue, float64(t.received), route)
	ch <- prometheus.MustNewConstMetric(descSent, prometheus.CounterValue, float64(t.sent), route)
	if t.errors == nil && route == "none" {
		t.errors = make([]uint64, len(reasons))
	}
	for i, n := range t.errors {
		if n > 0 || route == "none" {
			ch <- prometheus.MustNewConstMetric(descErrors, prometheus.CounterValue, float64(n), route, reasons[i])
		}
	}
}
