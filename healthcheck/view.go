package healthcheck

import (
	"usher/routetable"
)

// viewOf computes the view of a cluster: the endpoints of the nearest tier that has
// one to offer. When every endpoint that may be sent requests is ejected, those of
// the nearest tier are tried all the same: a try may fail, but without one nothing
// could succeed.
func viewOf(c *routetable.Cluster, now int64) *routetable.View {
	may := candidates(c, now)
	if v := nearest(c, may, func(e *routetable.Endpoint) bool { return e.State.EjectedUntil.Load() <= now }); v != nil {
		return v
	}
	if v := nearest(c, may, func(*routetable.Endpoint) bool { return true }); v != nil {
		return v
	}
	return routetable.NewView(nil, nil)
}

// candidates are the indexes of the endpoints that may be sent requests. Those that
// the registry no longer lists (held ones) may while too few of their service's
// listed ones are usable.
func candidates(c *routetable.Cluster, now int64) []int32 {
	var confirmed []int
	out := make([]int32, 0, len(c.Endpoints))
	for i, e := range c.Endpoints {
		if e.Held != nil && confirmed == nil {
			confirmed = countConfirmed(c, now)
		}
		if takesTraffic(e) && (e.Held == nil || confirmed[e.ServiceIndex] < e.Held.Quorum) {
			out = append(out, int32(i))
		}
	}
	return out
}

// countConfirmed counts, for each service of a cluster, the usable endpoints that its
// registry lists.
func countConfirmed(c *routetable.Cluster, now int64) []int {
	n := make([]int, max(1, len(c.Services)))
	for _, e := range c.Endpoints {
		if e.Held == nil && takesTraffic(e) && e.State.EjectedUntil.Load() <= now {
			n[e.ServiceIndex]++
		}
	}
	return n
}

// nearest is the view of the candidates that are fit, in the lowest tier that has one;
// nil when none is.
func nearest(c *routetable.Cluster, may []int32, fit func(*routetable.Endpoint) bool) *routetable.View {
	usable := make([]int32, 0, len(may))
	weights := make([]float64, 0, len(may))
	tier := uint8(0)
	for _, i := range may {
		e := c.Endpoints[i]
		if !fit(e) || (len(usable) > 0 && e.Tier > tier) {
			continue
		}
		if len(usable) > 0 && e.Tier < tier {
			usable, weights = usable[:0], weights[:0]
		}
		tier = e.Tier
		usable, weights = append(usable, i), append(weights, e.Weight)
	}
	if len(usable) == 0 {
		return nil
	}
	return routetable.NewView(usable, weights)
}

// takesTraffic is the registry's verdict.
func takesTraffic(e *routetable.Endpoint) bool { return e.Weight > 0 && e.Up() }
