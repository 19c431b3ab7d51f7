package core

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"usher/config"
)

// plant is a simulated service: workers that each serve one request at a time, those that
// wait do so in line. Its time is that of its events.
type plant struct {
	workers, busy int
	service       func() time.Duration
	queue         []int64
	events        events

	now             int64
	inFlight        int64
	served, refused int
	waited          time.Duration
}

// event is something that happens at a time: an arrival, or the end of a request that
// began then.
type event struct {
	at, began int64
	arrival   bool
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) } //nolint:forcetypeassert // it is ours
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// capacity is how many requests the plant can serve in a second.
func (p *plant) capacity() float64 { return float64(p.workers) / p.service().Seconds() }

// run lets requests arrive at a rate for a while, random but for the seed, through a; nil
// turns nobody away. It returns the share of the capacity that was served.
func (p *plant) run(a *adaptive, r *rand.Rand, rate float64, d time.Duration) (goodput float64) {
	p.served, p.refused, p.waited = 0, 0, 0
	end := p.now + int64(d)
	p.arrive(r, rate)
	for len(p.events) > 0 {
		e := heap.Pop(&p.events).(event) //nolint:forcetypeassert // it is ours
		if e.at >= end {
			heap.Push(&p.events, e)
			break
		}
		p.now = e.at
		if e.arrival {
			p.admit(a)
			p.arrive(r, rate)
		} else {
			p.finish(a, e)
		}
	}
	p.now = end
	p.events = slices.DeleteFunc(p.events, func(e event) bool { return e.arrival })
	heap.Init(&p.events)
	return float64(p.served) / d.Seconds() / p.capacity()
}

func (p *plant) arrive(r *rand.Rand, rate float64) {
	gap := r.ExpFloat64() / rate * float64(time.Second)
	heap.Push(&p.events, event{at: p.now + int64(gap) + 1, arrival: true})
}

func (p *plant) admit(a *adaptive) {
	switch {
	case a != nil && p.inFlight >= a.limit.Load():
		p.refused++
	case p.busy < p.workers:
		p.inFlight++
		p.start(p.now)
	default:
		p.inFlight++
		p.queue = append(p.queue, p.now)
	}
}

func (p *plant) start(began int64) {
	p.busy++
	heap.Push(&p.events, event{at: p.now + int64(p.service()), began: began})
}

func (p *plant) finish(a *adaptive, e event) {
	p.busy--
	p.served++
	took := p.now - e.began
	p.waited = max(p.waited, time.Duration(took))
	if a != nil {
		a.observe(p.now, took, p.inFlight)
	}
	p.inFlight--
	if len(p.queue) > 0 {
		began := p.queue[0]
		p.queue = p.queue[1:]
		p.start(began)
	}
}

func TestAdaptive(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		workers int
		service time.Duration
	}{
		"few workers":   {4, 20 * time.Millisecond},
		"some workers":  {32, 10 * time.Millisecond},
		"many workers":  {100, 50 * time.Millisecond},
		"quick service": {8, 4 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			p := &plant{workers: tc.workers, service: func() time.Duration { return tc.service }}
			a := newAdaptive(config.AdaptiveConcurrency{Min: 2, Max: 1000})
			// Below its capacity nobody is turned away.
			p.run(a, r, 0.7*p.capacity(), 5*time.Second)
			if p.refused > 0 {
				t.Errorf("%d refused of %d at 70 %%", p.refused, p.served)
			}
			p.run(a, r, 3*p.capacity(), 5*time.Second) // it takes some time to see what is up
			for range 3 {
				goodput := p.run(a, r, 3*p.capacity(), 15*time.Second)
				if goodput < 0.9 {
					t.Errorf("goodput %.2f of the capacity", goodput)
				}
				if p.waited > 4*tc.service {
					t.Errorf("somebody waited for %v", p.waited)
				}
				t.Logf("goodput %.3f, limit %d, waited %v", goodput, a.limit.Load(), p.waited)
			}
			// And when it is over, all is as before.
			p.run(a, r, 0.7*p.capacity(), time.Second)
			p.run(a, r, 0.7*p.capacity(), 60*time.Second)
			if share := float64(p.refused) / float64(p.served); share > 0.01 {
				t.Errorf("%.3f refused after the overload", share)
			}
		})
	}
}

// Without a bound the same overload makes everybody wait, longer and longer.
func TestWithoutAdaptive(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	p := &plant{workers: 32, service: func() time.Duration { return 10 * time.Millisecond }}
	p.run(nil, r, 3*p.capacity(), 15*time.Second)
	if p.waited < 5*time.Second {
		t.Errorf("somebody waited for no more than %v", p.waited)
	}
}

// A usher that starts under load, or a service that becomes slower for good, does not
// take that for overload, nor overload for what is usual.
func TestAdaptiveLearnsAnew(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	took := 10 * time.Millisecond
	p := &plant{workers: 32, service: func() time.Duration { return took }}
	a := newAdaptive(config.AdaptiveConcurrency{Min: 2, Max: 1000})
	p.run(a, r, 3*p.capacity(), 10*time.Second)
	if goodput := p.run(a, r, 3*p.capacity(), 20*time.Second); goodput < 0.9 || p.waited > 200*time.Millisecond {
		t.Errorf("begun under load: goodput %.2f, waited %v", goodput, p.waited)
	}
	took = 40 * time.Millisecond
	p.run(a, r, 0.7*p.capacity(), 2*relearnEvery)
	p.run(a, r, 0.7*p.capacity(), 30*time.Second)
	if share := float64(p.refused) / float64(p.served); share > 0.02 {
		t.Errorf("%.3f refused of a service that has become slower", share)
	}
}

// The limit stays within its bounds, also when they change.
func TestAdaptiveBounds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	p := &plant{workers: 4, service: func() time.Duration { return 10 * time.Millisecond }}
	a := newAdaptive(config.AdaptiveConcurrency{Min: 50, Max: 60})
	p.run(a, r, 3*p.capacity(), 10*time.Second)
	if n := a.limit.Load(); n < 50 || n > 60 {
		t.Errorf("limit %d, want 50 to 60", n)
	}
	a.bound(config.AdaptiveConcurrency{Min: 1, Max: 5})
	p.run(a, r, 3*p.capacity(), 10*time.Second)
	if n := a.limit.Load(); n < 1 || n > 5 {
		t.Errorf("limit %d, want 1 to 5", n)
	}
}
