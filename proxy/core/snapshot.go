package core

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"

	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/proxy/wire"
	"usher/routetable"
)

// Core holds the table in use and what all requests share. Its methods may be
// called from any goroutine, but for Publish.
type Core struct {
	Sweeper *wire.Sweeper

	snapshot atomic.Pointer[snapshot]
	pools    *upstream.Pools
	health   *healthcheck.Monitor
	metrics  *metrics.Downstream
	// loopID is what this process signs forwarded requests with (RFC 8586).
	loopID string
}

// snapshot is a table and what was resolved for it at publish. It is immutable.
type snapshot struct {
	table *routetable.Table
	// routes and clusters are aligned with those of the table.
	routes   []routeRuntime
	clusters []clusterRuntime
	// unmatched takes the requests without a route.
	unmatched *metrics.Route
}

// routeRuntime holds a route's series: for each arm one for each of its services.
type routeRuntime struct{ series [][]*metrics.Route }

// clusterRuntime holds the pools of a cluster's endpoints.
type clusterRuntime struct{ pools []*upstream.Pool }

// New returns a Core with an empty table.
func New(sweeper *wire.Sweeper, pools *upstream.Pools, health *healthcheck.Monitor, m *metrics.Downstream) *Core {
	c := &Core{Sweeper: sweeper, pools: pools, health: health, metrics: m, loopID: newLoopID()}
	c.Publish(&routetable.Table{})
	return c
}

// newLoopID returns a name that no other process has.
func newLoopID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "usher-" + hex.EncodeToString(b[:])
}

// Publish puts t in use: requests that begin from now on see it, whole. Its views
// must have been written. Pools of endpoints that are in no table any more close
// when their last request has ended. Publish is called by one goroutine.
func (c *Core) Publish(t *routetable.Table) {
	s := &snapshot{
		table: t, routes: make([]routeRuntime, len(t.Routes)), clusters: make([]clusterRuntime, len(t.Clusters)),
	}
	c.pools.Swap(func(pool func(*routetable.Endpoint) *upstream.Pool) {
		for i, cl := range t.Clusters {
			s.clusters[i].pools = make([]*upstream.Pool, len(cl.Endpoints))
			for j, e := range cl.Endpoints {
				s.clusters[i].pools[j] = pool(e)
			}
		}
		c.metrics.Publish(s.resolve)
		c.snapshot.Store(s)
	})
}

// resolve looks up the series of every route.
func (s *snapshot) resolve(series func(route, service string) *metrics.Route) {
	s.unmatched = series("none", "none")
	for i, r := range s.table.Routes {
		s.routes[i].series = make([][]*metrics.Route, len(r.Arms))
		for j, arm := range r.Arms {
			for _, service := range arm.Cluster.Services {
				s.routes[i].series[j] = append(s.routes[i].series[j], series(r.ID, service))
			}
		}
	}
}

// Table returns the table in use.
func (c *Core) Table() *routetable.Table { return c.snapshot.Load().table }
