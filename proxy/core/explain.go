package core

import (
	"bytes"
	"fmt"
	"slices"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/routetable"
)

// Explained is what would become of a request or a connection, and why. It is the
// caller's.
type Explained struct {
	// Reason is None where an endpoint would be asked, and Answered where there is an answer
	// that is no failure: Own.
	Reason Reason
	Own    Own
	// Why says more of the Reason, where there is more to say.
	Why string
	// Tried are the rules that were looked at, and those that were not.
	Tried []routetable.Tried
	// Route is the one that won; nil: none did, or the listener answers before any is looked
	// for.
	Route *routetable.Route
	// Arms are its; none where it answers by itself. Drawn is the one that the request is
	// given.
	Arms  []ExplainedArm
	Drawn int
	// Stream says that it is a connection that is carried as a whole.
	Stream bool
	// Target and Host are what the endpoint would be asked for, Head the whole head in its
	// text, where one would be asked by a request.
	Target, Host string
	Head         []byte
	// Attempt is the try, for the adapter that knows how the head is written.
	Attempt *Attempt
}

// ExplainedArm is one arm of a route, and what its picker would choose.
type ExplainedArm struct {
	Arm *routetable.Arm
	// Endpoints are aligned with the cluster's.
	Endpoints []ExplainedEndpoint
	Panic     bool
	// Chosen is the endpoint that the picker chose, -1 for none, or for an arm that was not
	// drawn. Certain says that another request like it would be sent there too, as long as
	// nothing changes.
	Chosen  int
	Certain bool
	Pick    ExplainedPick
}

// ExplainedPick is what the policy of a cluster found in the request.
type ExplainedPick struct {
	// Hashed says that the policy goes by a key, Key is its text, empty where the request has
	// no such thing.
	Hashed bool
	Key    string
	// Cookie is the name of the cookie that brings clients back, empty for none, and Home the
	// endpoint that it names, -1 for none.
	Cookie string
	Home   int
}

// ExplainedEndpoint is how an endpoint stands to the request.
type ExplainedEndpoint struct {
	// Usable says that it is among those to choose from, and Share by how much.
	Usable bool
	Share  float64
	// Busy says that it asked to be left alone, Full that it has all the requests it may have:
	// it is passed over while there is another.
	Busy, Full bool
	// Would is what would become of the request there: None where it would be asked, for
	// Target of Host, and Answered where the client is sent to Location. It is known of the
	// usable endpoints of the arm that was drawn.
	Would        Reason
	Target, Host string
	Location     string
}

// Explain says what would become of a request by a table, which need not be in use: it is
// sent the way of any other, but past copies of the clusters, so that nobody is counted,
// acquired or asked. The adapter has filled the Exchange as for Begin; between is what it
// does between Begin and Next. Any goroutine may call it; the Exchange is of no use after.
func (c *Core) Explain(x *Exchange, t *routetable.Table, between func() Reason) *Explained {
	trace := &routetable.Trace{}
	x.table, x.reserved = t, c.reserved.Load()
	x.query.Trace, x.aside = trace, asideOf(t)
	out := &Explained{}
	if f := c.challenges.Load(); f != nil && x.challenged(*f) {
		out.Reason, out.Why = Answered, "it asks for a proof of ACME, which usher gives by itself"
	} else if out.Reason = c.route(x); x.query.Path == nil {
		out.Why = "the listener answers before any route is looked for"
	} else {
		x.explainRules(t)
	}
	out.Tried = trace.Tried
	if out.Reason == None {
		out.Reason = between()
	}
	c.explainArms(x, out)
	out.explainReason(x)
	return out
}

// explainRules completes the trace. What that reads of the head is not parsed for it: one
// that goes on as the client wrote it still does.
func (x *Exchange) explainRules(t *routetable.Table) {
	parsed := x.Head != nil
	t.Explain(&x.query, x.route)
	if !parsed {
		x.Head = nil
	}
}

// explainReason says more of a reason where the Exchange knows more.
func (out *Explained) explainReason(x *Exchange) {
	switch out.Reason {
	case Loop:
		out.Why = "its CDN-Loop field says that this usher has forwarded it before"
	case Overloaded:
		g := clusterOf(x.cluster).guard
		if limit, by := g.limit(); limit > 0 && g.inFlight.Load() >= limit {
			out.Why = fmt.Sprintf("%s: all %d requests that the service may have are in flight", by, limit)
		} else {
			out.Why = "max_endpoint_requests: each endpoint has all the requests that it may have"
		}
	case NoHealthyEndpoint:
		out.Why = "no endpoint of the route may be sent requests"
	case AccessDenied, Unauthorized:
		e := x.cluster.Endpoints[x.endpoint]
		out.Why = fmt.Sprintf("%s lets in: %s", e.ID, e.Access)
	}
}

// ExplainStream is Explain for a connection that is carried as a whole, whose route was
// found in the table, nil for none.
func (c *Core) ExplainStream(x *Exchange, t *routetable.Table, r *routetable.Route) *Explained {
	x.aside = asideOf(t)
	out := &Explained{Stream: true, Reason: c.BeginStream(x, t, r)}
	c.explainArms(x, out)
	out.explainReason(x)
	return out
}

// explainArms goes on with Next, and tells of the arms of the route.
func (c *Core) explainArms(x *Exchange, out *Explained) {
	out.Route = x.route
	if x.route == nil || x.route.Answers() {
		out.keepOwn(x)
		return
	}
	out.Drawn = x.arm
	for i := range x.route.Arms {
		arm := &x.route.Arms[i]
		out.Arms = append(out.Arms, explainedArm(arm, arm.Cluster.View()))
	}
	drawn := explainedArm(&x.route.Arms[x.arm], x.view())
	if out.Reason == None {
		x.explainKey(&drawn.Pick) // Next edits the head
		out.Attempt, out.Reason = c.Next(x)
		out.keepOwn(x)
		c.explainPick(x, &drawn)
		if x.stay.guard != nil {
			c.explainEndpoints(x, &drawn)
		}
		out.sent(x)
	}
	out.Arms[x.arm] = drawn
}

// keepOwn keeps the answer, which lies in the Exchange's buffers.
func (out *Explained) keepOwn(x *Exchange) {
	if out.Reason == Answered {
		out.Own = Own{x.own.Status, bytes.Clone(x.own.Fields), bytes.Clone(x.own.Body)}
	}
}

// sent notes what the endpoint is asked for. It is worked out anew: other endpoints' was in
// between.
func (out *Explained) sent(x *Exchange) {
	if out.Reason != None || x.stream {
		return
	}
	x.attempt.Target, x.attempt.Host = x.rewrite(x.cluster.Endpoints[x.endpoint])
	out.Target, out.Host = string(x.attempt.Target), string(x.attempt.Host)
}

// explainedArm is an arm by its view alone.
func explainedArm(arm *routetable.Arm, v *routetable.View) ExplainedArm {
	e := ExplainedArm{
		Arm: arm, Panic: v.Panic, Chosen: -1, Pick: ExplainedPick{Home: -1},
		Endpoints: make([]ExplainedEndpoint, len(arm.Cluster.Endpoints)),
	}
	for at, i := range v.Usable {
		share := 1 / float64(len(v.Usable))
		if v.Weights != nil {
			share = float64(v.Weights[at]) / float64(v.Sums[len(v.Sums)-1])
		}
		e.Endpoints[i].Usable, e.Endpoints[i].Share = true, share
	}
	return e
}

// explainKey tells the key that is hashed, where one is.
func (x *Exchange) explainKey(p *ExplainedPick) {
	w := &clusterOf(x.cluster).wants
	if p.Hashed = w.hashed; w.hashed && (!x.stream || w.key.Source == config.HashClientIP) {
		p.Key = string(x.hashed(w.key))
	}
}

// explainPick tells what was chosen, after Next.
func (c *Core) explainPick(x *Exchange, e *ExplainedArm) {
	w := &clusterOf(x.cluster).wants
	e.Chosen = x.endpoint
	if w.sticky != nil {
		e.Pick.Cookie, e.Pick.Home = w.sticky.Cookie(), x.pick.Home()
	}
	v := x.view()
	home := e.Pick.Home >= 0 && e.Pick.Home == e.Chosen
	e.Certain = e.Chosen >= 0 && (home || x.pick.HasKey || len(v.Usable) == 1)
	now := c.Sweeper.Now()
	for i, end := range x.cluster.Endpoints {
		if !e.Endpoints[i].Usable {
			continue
		}
		e.Endpoints[i].Busy = end.State.BusyUntil.Load() > now
		limit := int64(x.policy.MaxEndpointRequests)
		inFlight := end.State.InFlight.Load()
		if i == e.Chosen && x.held {
			inFlight-- // that is this request
		}
		e.Endpoints[i].Full = limit > 0 && inFlight >= limit
	}
}

// explainEndpoints tells what would become of the request at each endpoint that may be
// chosen.
func (c *Core) explainEndpoints(x *Exchange, e *ExplainedArm) {
	own := x.own
	for i, end := range x.cluster.Endpoints {
		out := &e.Endpoints[i]
		if !out.Usable {
			continue
		}
		if x.cluster.Restricted {
			out.Would = x.admit(end.Access, false)
		}
		switch {
		case out.Would != None || x.stream:
		case end.Redirect != nil:
			asked := x.asked()
			out.Would, out.Location = Answered, string(end.Redirect.AppendLocation(nil, &asked))
		default:
			target, host := x.rewrite(end)
			out.Target, out.Host = string(target), string(host)
		}
	}
	x.own = own
}

// asideOf returns what stands in for the clusters of a table while a request is explained:
// one copy of each, with a guard that counts for nobody.
func asideOf(t *routetable.Table) func(*routetable.Cluster) *routetable.Cluster {
	made := map[*routetable.Cluster]*routetable.Cluster{}
	return func(c *routetable.Cluster) *routetable.Cluster {
		a := made[c]
		if a == nil {
			a = t.Aside(c)
			a.Attachment = &clusterRuntime{
				pools: make([]*upstream.Pool, len(c.Endpoints)), guard: guardAside(c), wants: wantsOf(a),
			}
			made[c] = a
		}
		return a
	}
}

// guardAside is a copy of a cluster's guard as it is now; a new one where the cluster was
// never published.
func guardAside(c *routetable.Cluster) *guard {
	g := &guard{series: metrics.NewResilience().Acquire(c.SettingsName())}
	rt, published := c.Attachment.(*clusterRuntime)
	if !published {
		g.adopt(&c.Policy)
		return g
	}
	budgeted := *rt.guard.budgeted.Load()
	g.budgeted.Store(&budgeted)
	g.bound.Store(rt.guard.bound.Load())
	g.inFlight.Store(rt.guard.inFlight.Load())
	g.adaptive.Store(rt.guard.adaptive.Load())
	return g
}

// Policy is what applies to the request; nil where no endpoint is asked.
func (out *Explained) Policy() *config.Policy {
	if len(out.Arms) == 0 {
		return nil
	}
	return out.Arms[out.Drawn].Arm.Policy
}

// Endpoint is the one that was chosen; nil: none was.
func (out *Explained) Endpoint() *routetable.Endpoint {
	if len(out.Arms) == 0 || out.Arms[out.Drawn].Chosen < 0 {
		return nil
	}
	arm := &out.Arms[out.Drawn]
	return arm.Arm.Cluster.Endpoints[arm.Chosen]
}

// Status is what the answer would have, where usher makes it; 0: an endpoint does.
func (out *Explained) Status() int {
	switch out.Reason {
	case None:
		return 0
	case Answered:
		return out.Own.Status
	default:
		return out.Reason.Status()
	}
}

// Usable says whether an endpoint of the drawn arm may be chosen.
func (arm *ExplainedArm) Usable() bool {
	return slices.ContainsFunc(arm.Endpoints, func(e ExplainedEndpoint) bool { return e.Usable })
}
