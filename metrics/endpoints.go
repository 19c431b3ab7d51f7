package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// otherEndpoints is the label of the endpoints that have no series of their own.
const otherEndpoints = "other"

// classes are the labels of what came of a try, indexed by the first digit of its status;
// 0 is a try that brought no response.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// alwaysShown are the classes that an endpoint shows at zero from its first try on: those
// that rates are taken of.
var alwaysShown = [...]bool{0: true, 2: true, 5: true}

// classCounts are numbers of tries by class.
type classCounts [len(classes)]uint64

func (c *classCounts) add(o classCounts) {
	for i, n := range o {
		c[i] += n
	}
}

func (c *classCounts) sub(o classCounts) {
	for i, n := range o {
		c[i] -= n
	}
}

// Endpoints counts the tries at the endpoints. Of the endpoints only so many as Limit says
// have series of their own; those beyond are counted together, by service.
type Endpoints struct {
	mu        sync.Mutex
	limit     int
	named     int
	endpoints map[endpointKey]*Endpoint
	services  map[string]*endpointService
}

type endpointKey struct{ service, address string }

// endpointService is what the endpoints of a service have together.
type endpointService struct {
	durations atomic.Pointer[Histogram]
	grow      sync.Mutex

	// endpoints is how many it has, others what those without series of their own had
	// counted that have left. Guarded by Endpoints.mu.
	endpoints int
	others    classCounts
}

// Endpoint holds the series of one endpoint: an address of a service. Its methods may be
// called from any goroutine.
type Endpoint struct {
	key     endpointKey
	service *endpointService
	tries   [len(classes)]atomic.Uint64

	// The rest is guarded by Endpoints.mu. inFlight are the gauges of its users, with how
	// many they are; named says that it has series of its own. Without, base is what it had
	// counted before that.
	inFlight map[*atomic.Int64]int
	shown    bool
	named    bool
	base     classCounts
}

// NewEndpoints returns Endpoints of which all have series of their own.
func NewEndpoints() *Endpoints {
	return &Endpoints{
		limit: int(^uint(0) >> 1), endpoints: map[endpointKey]*Endpoint{}, services: map[string]*endpointService{},
	}
}

// Limit says how many endpoints have series of their own, 0 for none.
func (e *Endpoints) Limit(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit = n
	for _, ep := range e.endpoints {
		switch {
		case ep.named && e.named > n:
			e.named--
			ep.named, ep.base = false, ep.counts()
		case !ep.named && e.named < n:
			e.named++
			ep.service.others.add(ep.since())
			ep.named = true
		}
	}
}

// Acquire returns the series of an endpoint for one more user, made at first. inFlight is
// how many requests it has; instances of one address have one each.
func (e *Endpoints) Acquire(service, address string, inFlight *atomic.Int64) *Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := endpointKey{service, address}
	ep := e.endpoints[key]
	if ep == nil {
		ep = &Endpoint{
			key: key, service: e.serviceOf(service), inFlight: map[*atomic.Int64]int{}, named: e.named < e.limit,
		}
		if ep.named {
			e.named++
		}
		ep.service.endpoints++
		e.endpoints[key] = ep
	}
	ep.inFlight[inFlight]++
	ep.shown = false
	return ep
}

func (e *Endpoints) serviceOf(name string) *endpointService {
	s := e.services[name]
	if s == nil {
		s = &endpointService{}
		e.services[name] = s
	}
	return s
}

// Release takes a user's hold away. Without the last one the series is shown once more and
// then forgotten.
func (e *Endpoints) Release(ep *Endpoint, inFlight *atomic.Int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ep.inFlight[inFlight]--; ep.inFlight[inFlight] == 0 {
		delete(ep.inFlight, inFlight)
	}
}

// Answered counts a try that brought a response of the given status, in the time that the
// endpoint took for it; 0: that is not known.
func (ep *Endpoint) Answered(shard Shard, status int, took time.Duration) {
	class := status / 100
	if class <= 0 || class >= len(classes) {
		class = 0
	}
	ep.tries[class].Add(1)
	if took > 0 {
		lazy(&ep.service.durations, &ep.service.grow, newDurations).Observe(shard, took)
	}
}

// Unanswered counts a try that brought no response.
func (ep *Endpoint) Unanswered() { ep.tries[0].Add(1) }

func (ep *Endpoint) counts() (c classCounts) {
	for i := range c {
		c[i] = ep.tries[i].Load()
	}
	return c
}

// since is what was counted while the endpoint had no series of its own.
func (ep *Endpoint) since() classCounts {
	c := ep.counts()
	c.sub(ep.base)
	return c
}

var (
	descTries = prometheus.NewDesc("usher_upstream_requests_total",
		"Tries at endpoints, by the class of the status; none: no response came.",
		[]string{"service", "upstream", "code_class"}, nil)
	descTriesInFlight = prometheus.NewDesc("usher_upstream_requests_in_flight",
		"Requests that endpoints have, until the end of their bodies.", []string{"service", "upstream"}, nil)
	descTryDuration = prometheus.NewDesc("usher_upstream_request_duration_seconds",
		"Time that endpoints take until the head of their response is there.", []string{"service"}, nil)
)

// Describe implements prometheus.Collector.
func (e *Endpoints) Describe(ch chan<- *prometheus.Desc) {
	ch <- descTries
	ch <- descTriesInFlight
	ch <- descTryDuration
}

// Collect implements prometheus.Collector.
func (e *Endpoints) Collect(ch chan<- prometheus.Metric) {
	rows, durations := e.snapshot()
	for key, row := range rows {
		row.collect(ch, key)
	}
	for service, h := range durations {
		collectHistogram(ch, descTryDuration, h, service)
	}
}

// endpointRow is what is shown of an endpoint, or of several together.
type endpointRow struct {
	counts   classCounts
	inFlight int64
}

// snapshot returns what is to be shown, so that it can be without the lock, and forgets
// what was shown for the last time.
func (e *Endpoints) snapshot() (rows map[endpointKey]*endpointRow, durations map[string]*Histogram) {
	e.mu.Lock()
	defer e.mu.Unlock()
	rows = make(map[endpointKey]*endpointRow, min(len(e.endpoints), e.named+len(e.services)))
	for key, ep := range e.endpoints {
		left := len(ep.inFlight) == 0
		if left && ep.shown {
			e.forget(key, ep)
			continue
		}
		ep.shown = left
		if ep.counts() != (classCounts{}) || ep.requests() > 0 {
			ep.addTo(rows)
		}
	}
	durations = make(map[string]*Histogram, len(e.services))
	for name, s := range e.services {
		if row := rows[endpointKey{name, otherEndpoints}]; row != nil {
			row.counts.add(s.others)
		}
		if h := s.durations.Load(); h != nil {
			durations[name] = h
		}
	}
	return rows, durations
}

// forget drops an endpoint that has left. The caller holds e.mu.
func (e *Endpoints) forget(key endpointKey, ep *Endpoint) {
	delete(e.endpoints, key)
	if ep.named {
		e.named--
	} else {
		ep.service.others.add(ep.since())
	}
	if ep.service.endpoints--; ep.service.endpoints == 0 {
		delete(e.services, key.service)
	}
}

// addTo adds the endpoint to the row it is shown in.
func (ep *Endpoint) addTo(rows map[endpointKey]*endpointRow) {
	key, counts := ep.key, ep.counts()
	if !ep.named {
		key.address, counts = otherEndpoints, ep.since()
	}
	row := rows[key]
	if row == nil {
		row = &endpointRow{}
		rows[key] = row
	}
	row.counts.add(counts)
	row.inFlight += ep.requests()
}

// requests is how many the endpoint has.
func (ep *Endpoint) requests() (n int64) {
	for gauge := range ep.inFlight {
		n += gauge.Load()
	}
	return n
}

func (r *endpointRow) collect(ch chan<- prometheus.Metric, key endpointKey) {
	ch <- prometheus.MustNewConstMetric(descTriesInFlight, prometheus.GaugeValue, float64(r.inFlight),
		key.service, key.address)
	for class, n := range r.counts {
		if n > 0 || class < len(alwaysShown) && alwaysShown[class] {
			ch <- prometheus.MustNewConstMetric(descTries, prometheus.CounterValue, float64(n),
				key.service, key.address, classes[class])
		}
	}
}
