package core

import (
	"testing"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/routetable"
)

// guarded is an exchange on its way to a cluster of two endpoints, after its first pick.
func guarded(p *config.Policy) (*Core, *Exchange) {
	c := &Core{metrics: metrics.New("test", Reasons()).Downstream, guards: guards{}}
	cl := &routetable.Cluster{
		Name: "s", Services: []string{"s"}, Policy: *p,
		Endpoints: []*routetable.Endpoint{{State: &routetable.State{}}, {State: &routetable.State{}}},
	}
	cl.SetView(routetable.NewView([]int32{0, 1}, []float64{1, 1}))
	cl.Attachment = &clusterRuntime{guard: c.acquireGuard(cl)}
	x := &Exchange{cluster: cl, policy: &cl.Policy, Method: []byte("GET"), Replayable: true}
	x.pick.Try(0)
	return c, x
}

// What retries and limits cost a request that needs neither: a few nanoseconds, and no
// allocation.
func BenchmarkGuarded(b *testing.B) {
	for name, p := range map[string]*config.Policy{
		"default":      {Retry: config.Retry{Attempts: 2}},
		"max_requests": {Retry: config.Retry{Attempts: 2}, MaxRequests: 100},
	} {
		b.Run(name, func(b *testing.B) {
			c, x := guarded(p)
			b.ReportAllocs()
			for b.Loop() {
				if x.crowded() != None || x.enter() != None || c.Mover(x) == nil {
					b.Fatal("shed")
				}
				x.stay.leave(x.Shard)
			}
		})
	}
}

func TestGuardAllocatesNothing(t *testing.T) {
	c, x := guarded(&config.Policy{Retry: config.Retry{Attempts: 2}, MaxRequests: 1})
	got := testing.AllocsPerRun(1000, func() {
		if x.enter() != None || c.Mover(x) == nil {
			t.Fatal("shed")
		}
		x.stay.leave(x.Shard)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// A guard stays for a while when its service leaves, and goes then.
func TestGuardsAreForgotten(t *testing.T) {
	t.Parallel()
	c, x := guarded(&config.Policy{})
	cl, first := x.cluster, clusterOf(x.cluster).guard
	c.guards.release(cl, 1)
	c.guards.forget(1+int64(guardGrace), c.metrics.Resilience)
	if c.acquireGuard(cl) != first {
		t.Error("forgotten too early")
	}
	c.guards.forget(int64(time.Hour), c.metrics.Resilience)
	if c.guards["s"] != first {
		t.Error("forgotten while it is held")
	}
	c.guards.release(cl, 1)
	c.guards.forget(int64(time.Hour), c.metrics.Resilience)
	if len(c.guards) != 0 {
		t.Error("never forgotten")
	}
}
