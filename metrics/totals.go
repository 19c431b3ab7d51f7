package metrics

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Totals are figures over all routes, or over those of one service. The counters never
// fall, but for those of a service that was without a route for a while.
type Totals struct {
	Requests uint64
	// Codes counts the answers by class, 2xx and so on, Errors those that usher made itself
	// by their reason. What never was is not in them.
	Codes, Errors  map[string]uint64
	Received, Sent uint64
	// InFlight and Connections are of now, and of all listeners; 0 for a service.
	InFlight, Connections int64
	// Durations are the requests by how long they took, cumulative. The last bucket, with a
	// bound of 0, has all.
	Durations []TotalsBucket
}

// TotalsBucket counts what took at most Le.
type TotalsBucket struct {
	Le    time.Duration
	Count uint64
}

// sums are Totals while they are added up.
type sums struct {
	codes          [10]uint64
	errors         []uint64
	received, sent uint64
	// durations has a place for each of durationBounds and one for what took longer.
	durations [15]uint64 // len(durationBounds)+1, which a test holds
}

// Totals returns the figures over all routes. Any goroutine may call it; it takes about as
// long as a scrape's share for requests.
func (d *Downstream) Totals() Totals {
	d.mu.Lock()
	sum := d.gone.all.clone()
	routes := slices.Collect(maps.Values(d.routes))
	listeners := slices.Collect(maps.Values(d.listeners))
	d.mu.Unlock() // tunnels that open wait for it
	for _, r := range routes {
		sum.add(r)
	}
	t := sum.totals(d.reasons)
	for _, l := range listeners {
		t.InFlight += l.InFlight.Value()
		t.Connections += l.Open.Value()
	}
	return t
}

// ServiceTotals returns the figures of a service, by the name it has in labels.
func (d *Downstream) ServiceTotals(service string) Totals {
	d.mu.Lock()
	var sum sums
	if gone := d.gone.services[service]; gone != nil {
		sum = gone.clone()
	}
	var routes []*Route
	for key, r := range d.routes {
		if key.service == service {
			routes = append(routes, r)
		}
	}
	d.mu.Unlock()
	for _, r := range routes {
		sum.add(r)
	}
	return sum.totals(d.reasons)
}

// gone are the figures of series that were forgotten.
type gone struct {
	all sums
	// services are those of services that have other series still.
	services map[string]*sums
}

// note takes over the figures of a series that is forgotten now.
func (g *gone) note(r *Route) {
	g.all.add(r)
	if g.services == nil {
		g.services = map[string]*sums{}
	}
	s := g.services[r.key.service]
	if s == nil {
		s = &sums{}
		g.services[r.key.service] = s
	}
	s.add(r)
}

// keep drops the figures of services that have no series any more.
func (g *gone) keep(routes map[seriesKey]*Route) {
	if len(g.services) == 0 {
		return
	}
	has := make(map[string]bool, len(g.services))
	for key := range routes {
		has[key.service] = true
	}
	for service := range g.services {
		if !has[service] {
			delete(g.services, service)
		}
	}
}

func (s *sums) clone() sums {
	out := *s
	out.errors = slices.Clone(s.errors)
	return out
}

// add adds the figures of a series.
func (s *sums) add(r *Route) {
	if list := r.requests.Load(); list != nil {
		for _, c := range *list {
			s.codes[min(int(c.code/100), len(s.codes)-1)] += c.n.Value()
		}
	}
	if c := r.received.Load(); c != nil {
		s.received += c.Value()
	}
	if c := r.sent.Load(); c != nil {
		s.sent += c.Value()
	}
	if h := r.durations.Load(); h != nil {
		h.addTo(s.durations[:])
	}
	cells := r.errors.Load()
	if cells == nil {
		return
	}
	if s.errors == nil {
		s.errors = make([]uint64, len(*cells))
	}
	for i := range *cells {
		s.errors[i] += (*cells)[i].Load()
	}
}

// addTo adds the count of each bucket, not cumulative, to out, which has a place for each
// bound and one more.
func (h *Histogram) addTo(out []uint64) {
	for base := 0; base < len(h.cells); base += h.stride {
		for i := 0; i <= len(h.bounds); i++ {
			out[i] += h.cells[base+i].Load()
		}
	}
}

func (s *sums) totals(reasons []string) Totals {
	t := Totals{
		Codes: map[string]uint64{}, Errors: map[string]uint64{}, Received: s.received, Sent: s.sent,
		Durations: make([]TotalsBucket, 0, len(s.durations)),
	}
	for class, n := range s.codes {
		if n > 0 {
			t.Codes[strconv.Itoa(class)+"xx"] = n
			t.Requests += n
		}
	}
	for i, n := range s.errors {
		if n > 0 {
			t.Errors[reasons[i]] = n
		}
	}
	count := uint64(0)
	for i, n := range s.durations {
		count += n
		b := TotalsBucket{Count: count}
		if i < len(durationBounds) {
			b.Le = durationBounds[i]
		}
		t.Durations = append(t.Durations, b)
	}
	return t
}
