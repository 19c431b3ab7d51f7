package balance

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"

	"usher/routetable"
)

// queueing is a simulation, by events and without a clock, of endpoints with workers and
// a line of waiting requests each.
type queueing struct {
	random    *rand.Rand
	endpoints []*routetable.Endpoint
	servers   []server
	events    events
	now       float64
	took      []float64
}

// server is one endpoint: what is in it is served, by a worker each, or waits.
type server struct {
	mean          float64 // time of service, in seconds
	workers, busy int
	waiting       []float64 // since when
}

// event is the end of a service that a request got since it arrived.
type event struct {
	at, arrived float64
	server      int
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) } //nolint:forcetypeassert // it is
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// start gives a request to a worker.
func (q *queueing) start(i int, arrived float64) {
	q.servers[i].busy++
	heap.Push(&q.events, event{q.now + q.servers[i].mean*q.random.ExpFloat64(), arrived, i})
}

// arrive gives a request to the endpoint that was picked.
func (q *queueing) arrive(i int) {
	q.endpoints[i].State.InFlight.Add(1)
	if s := &q.servers[i]; s.busy < s.workers {
		q.start(i, q.now)
	} else {
		s.waiting = append(s.waiting, q.now)
	}
}

// end ends the services that are over by a time.
func (q *queueing) end(by float64) {
	for len(q.events) > 0 && q.events[0].at <= by {
		e := heap.Pop(&q.events).(event) //nolint:forcetypeassert // it is
		q.now = e.at
		took := e.at - e.arrived
		q.took = append(q.took, took)
		state := q.endpoints[e.server].State
		state.InFlight.Add(-1)
		state.Latency.Observe(int64(took*1e9), int64(q.now*1e9)+1)
		s := &q.servers[e.server]
		s.busy--
		if len(s.waiting) > 0 {
			first := s.waiting[0]
			s.waiting = s.waiting[1:]
			q.start(e.server, first)
		}
	}
	q.now = by
}

// simulate sends requests, at random moments, to endpoints that take these times on
// average, with four workers each. It returns the mean and the 99th percentile of the
// times that the requests took.
func simulate(t *testing.T, policy string, means []float64, rate float64, requests int) (mean, p99 float64) {
	t.Helper()
	q := &queueing{random: rand.New(rand.NewPCG(7, 11)), endpoints: fleet(len(means))}
	for _, m := range means {
		q.servers = append(q.servers, server{mean: m, workers: 4})
	}
	p := All()[policy](clusterOf(q.endpoints), &routetable.ClusterState{})
	v := viewOf(equal(len(means))...)
	for range requests {
		q.end(q.now + q.random.ExpFloat64()/rate)
		q.arrive(pick(t, p, v, &routetable.PickInfo{Now: int64(q.now*1e9) + 1}))
	}
	q.end(q.now + 1e6)
	slices.Sort(q.took)
	for _, took := range q.took {
		mean += took / float64(len(q.took))
	}
	return mean, q.took[len(q.took)*99/100]
}

// Where one endpoint of ten is twenty times as slow, or they are of all kinds, the
// policies that look beat the one that does not. What they draw by chance is not seeded,
// but the margins are several times what that can do.
func TestPoliciesOnMixedLatencies(t *testing.T) {
	slow := slices.Repeat([]float64{.01}, 10)
	slow[3] = .2
	mixed := []float64{.005, .01, .01, .02, .02, .02, .04, .04, .08, .08}
	for name, c := range map[string]struct {
		means []float64
		rate  float64
	}{
		// The slow one can serve 20 a second, a tenth of all is 100.
		"one is slow": {slow, 1000},
		"mixed":       {mixed, 600},
	} {
		got := map[string][2]float64{}
		for _, policy := range []string{"round_robin", "random", "least_request", "ewma"} {
			mean, p99 := simulate(t, policy, c.means, c.rate, 60_000)
			got[policy] = [2]float64{mean, p99}
			t.Logf("%s: %-13s mean %8.1f ms, p99 %8.1f ms", name, policy, mean*1e3, p99*1e3)
		}
		for _, policy := range []string{"least_request", "ewma"} {
			for i, what := range []string{"mean", "99th percentile"} {
				if got[policy][i] > got["round_robin"][i]/2 {
					t.Errorf("%s: %s of %s: %.4f s, of round_robin %.4f s",
						name, what, policy, got[policy][i], got["round_robin"][i])
				}
			}
		}
		if got["ewma"][0] > got["least_request"][0] {
			t.Errorf("%s: the mean of ewma is %.4f s, of least_request %.4f s",
				name, got["ewma"][0], got["least_request"][0])
		}
	}
}
