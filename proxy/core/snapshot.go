package core

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"

	"usher/healthcheck"
	"usher/metrics"
	"usher/metrics/accesslog"
	"usher/metrics/tracing"
	"usher/proxy/upstream"
	"usher/proxy/wire"
	"usher/routetable"
)

// Core holds the table in use and what all requests share. Its methods may be
// called from any goroutine, but for Publish.
type Core struct {
	Sweeper *wire.Sweeper
	// Poller waits for quiet connections; nil: there is none, and each waits by itself.
	Poller *wire.Poller
	// Parked counts the connections handed to it.
	Parked atomic.Int64
	// Tracer records requests; nil: none is.
	Tracer *tracing.Tracer

	table atomic.Pointer[routetable.Table]
	// recent are the requests that are remembered; nil: none are.
	recent atomic.Pointer[Recent]
	// challenges are nil while nothing is obtained by ACME.
	challenges atomic.Pointer[Challenges]

	// accessLog is nil where there is none.
	accessLog atomic.Pointer[accesslog.Log]

	pools   *upstream.Pools
	health  *healthcheck.Monitor
	metrics *metrics.Downstream
	// unmatched takes the requests without a route.
	unmatched *metrics.Route
	// guards belong to the goroutine that publishes.
	guards guards
	// loopID is what this process signs forwarded requests with (RFC 8586).
	loopID string
	// reserved are the fields that clients cannot send, in lower case; nil: none.
	reserved atomic.Pointer[[]string]
}

// routeRuntime is a route's Attachment: for each arm the series of each of its
// services.
type routeRuntime struct{ series [][]*metrics.Route }

// clusterRuntime is a cluster's Attachment: the pools and the series of its endpoints,
// aligned, what guards its service, and what its policy wants to know of a request.
type clusterRuntime struct {
	pools  []*upstream.Pool
	series []*metrics.Endpoint
	guard  *guard
	wants  wants
}

// New returns a Core with an empty table.
func New(sweeper *wire.Sweeper, pools *upstream.Pools, health *healthcheck.Monitor, m *metrics.Downstream) *Core {
	c := &Core{
		Sweeper: sweeper, pools: pools, health: health, metrics: m, loopID: newLoopID(),
		unmatched: m.Acquire("none", "none"), guards: guards{},
	}
	c.table.Store(routetable.Empty())
	return c
}

// newLoopID returns a name that no other process has.
func newLoopID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "usher-" + hex.EncodeToString(b[:])
}

// Publish puts t in use: requests that begin from now on see it, whole. It must
// have been built from the table in use, and its views must have been written.
// Pools of endpoints that are in no table any more close when their last request
// has ended. Publish is called by one goroutine.
func (c *Core) Publish(t *routetable.Table) {
	d := t.Delta()
	for _, cl := range d.AddedClusters {
		cl.Attachment = c.attachCluster(cl)
	}
	for _, r := range d.AddedRoutes {
		r.Attachment = c.attachRoute(r)
	}
	c.table.Store(t)
	for _, r := range d.RemovedRoutes {
		c.detachRoute(r)
	}
	now := c.Sweeper.Now()
	for _, cl := range d.RemovedClusters {
		c.guards.release(cl, now)
		series := clusterOf(cl).series
		for i, e := range cl.Endpoints {
			c.pools.Release(e)
			c.metrics.Endpoints.Release(series[i], &e.State.InFlight)
		}
	}
	c.guards.forget(now, c.metrics.Resilience)
}

func (c *Core) attachCluster(cl *routetable.Cluster) *clusterRuntime {
	rt := &clusterRuntime{
		pools:  make([]*upstream.Pool, len(cl.Endpoints)),
		series: make([]*metrics.Endpoint, len(cl.Endpoints)),
		guard:  c.acquireGuard(cl), wants: wantsOf(cl),
	}
	for i, e := range cl.Endpoints {
		rt.pools[i] = c.pools.Acquire(e)
		rt.series[i] = c.metrics.Endpoints.Acquire(e.Service.Service, e.Address, &e.State.InFlight)
	}
	return rt
}

func (c *Core) attachRoute(r *routetable.Route) *routeRuntime {
	rt := &routeRuntime{series: make([][]*metrics.Route, len(r.Arms))}
	for i, arm := range r.Arms {
		for _, service := range arm.Cluster.Services {
			rt.series[i] = append(rt.series[i], c.metrics.Acquire(r.ID, service))
		}
	}
	return rt
}

func (c *Core) detachRoute(r *routetable.Route) {
	for _, arm := range runtimeOf(r).series {
		for _, series := range arm {
			c.metrics.Release(series)
		}
	}
}

// runtimeOf returns what attachRoute made: every route of a published table has it.
func runtimeOf(r *routetable.Route) *routeRuntime {
	return r.Attachment.(*routeRuntime) //nolint:forcetypeassert // nobody else sets it
}

// clusterOf returns what attachCluster made: every cluster of a published table has it.
func clusterOf(c *routetable.Cluster) *clusterRuntime {
	return c.Attachment.(*clusterRuntime) //nolint:forcetypeassert // nobody else sets it
}

// endpointSeries are those of the endpoint of the try under way.
func (x *Exchange) endpointSeries() *metrics.Endpoint { return clusterOf(x.cluster).series[x.endpoint] }

// poolsOf returns the pools of a cluster of a published table.
func poolsOf(c *routetable.Cluster) []*upstream.Pool { return clusterOf(c).pools }

// Cut ends every wait of every request: for clients, for endpoints, for connects.
func (c *Core) Cut() {
	c.Sweeper.ExpireAll()
	c.pools.CancelDials()
}

// Table returns the table in use.
func (c *Core) Table() *routetable.Table { return c.table.Load() }
