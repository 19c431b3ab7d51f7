package core

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/proxy/wire"
	"usher/routetable"
)

// Exchange is one request and what becomes of it. An adapter keeps one for each
// request that can be under way and uses it again; Init once, then Reset before
// each request.
type Exchange struct {
	// The adapter sets these before Begin. The slices stay valid until End.

	Listener *Listener
	Peer     *Peer
	Shard    metrics.Shard
	// Head is the request's head, in raw form (DisableSpecialHeader). The core edits
	// it.
	Head *fasthttp.RequestHeader
	// Method, Target (origin form) and Host are as the client sent them; the
	// authority of an absolute-form target is the Host.
	Method, Target, Host []byte
	Flags                wire.Flags
	// Replayable says that the body, if there is one, can be sent a second time.
	Replayable bool
	// Start is when the head was complete, on the sweeper's clock.
	Start int64

	// The adapter adds to these while it copies bodies.

	Received, Sent uint64
	// Upstream is the time in nanoseconds that was spent waiting for the upstream.
	Upstream int64

	// Fields are added to the forwarded head, behind the client's own.
	Fields []Field
	// common is the number of those that are the same for every try.
	common int

	table    *routetable.Table
	route    *routetable.Route
	arm      int
	cluster  *routetable.Cluster
	policy   *config.Policy
	endpoint int
	held     bool
	pick     routetable.PickInfo
	// passed is how many of the picks were no tries: all connections were in use.
	passed  int
	lastErr *upstream.Error
	query   routetable.Request
	// said are the X-Forwarded-For fields as the client sent them, for a cluster whose
	// endpoints ask who is served: at a second try they are gone from the head.
	said [][]byte
	// usedScheme is what $scheme stands for; own is the answer of a route that sends no
	// request anywhere.
	usedScheme string
	own        Own

	attempt Attempt
	scratch scratch
}

// Field is a header field; the name is in canonical form and the value is Text, or
// Value when Text is empty.
type Field struct {
	Name  string
	Value []byte
	Text  string
}

// AppendTo appends the field as a line.
func (f *Field) AppendTo(dst []byte) []byte {
	dst = append(append(dst, f.Name...), ": "...)
	dst = append(append(dst, f.Text...), f.Value...)
	return append(dst, "\r\n"...)
}

// scratch holds the buffers an exchange builds its strings in.
type scratch struct {
	hostPort, path, target, host, forwarded, said []byte
	// client is what $client_ip stands for, fields holds values with variables, own the
	// fields of Own.
	client, fields, own []byte
}

// Attempt is one try at one endpoint. It is valid until the next call of Next.
type Attempt struct {
	Pool *upstream.Pool
	// Fresh asks for a new connection: a used one just turned out dead.
	Fresh bool
	// Target is what to ask for.
	Target []byte
	// Deadline bounds the whole request on the sweeper's clock, 0 for no bound.
	Deadline int64
	Policy   *config.Policy
}

// Init makes a zero Exchange usable.
func (x *Exchange) Init() { x.query.Header = func(name string) []byte { return x.Head.Peek(name) } }

// Reset forgets the last request.
func (x *Exchange) Reset() {
	x.Received, x.Sent, x.Upstream = 0, 0, 0
	x.Fields = x.Fields[:0]
	x.table, x.route, x.cluster, x.policy, x.lastErr = nil, nil, nil, nil, nil
	x.arm, x.endpoint, x.held, x.passed = 0, -1, false, 0
	x.Replayable = false
	x.query.Skip = nil
	x.pick.Reset()
}

// Begin loads the table and matches the request. Any Reason but None is the
// answer; Answered stands for Own.
func (c *Core) Begin(x *Exchange) Reason {
	x.table = c.table.Load()
	if x.Flags&wire.HasLoop != 0 && c.looped(x) {
		return Loop
	}
	x.fillQuery()
	for {
		x.route = x.table.Match(&x.query)
		if x.route == nil {
			return NoRoute
		}
		if len(x.route.Arms) > 1 {
			x.arm = x.route.Arm(rand.Float64())
		}
		arm := &x.route.Arms[x.arm]
		x.cluster, x.policy = arm.Cluster, arm.Policy
		if !x.cluster.Answers {
			return None
		}
		if yes, reason := x.takes(); yes {
			return reason
		}
		x.query.Skip = append(x.query.Skip, x.route)
	}
}

// looped says whether this process has forwarded the request before (RFC 8586
// §2).
func (c *Core) looped(x *Exchange) (yes bool) {
	for _, v := range x.Head.PeekAll("Cdn-Loop") {
		wire.Tokens(v, func(t []byte) {
			id, _, _ := bytes.Cut(t, []byte(";"))
			yes = yes || string(bytes.TrimSpace(id)) == c.loopID
		})
	}
	return yes
}

// fillQuery sets what the table matches on.
func (x *Exchange) fillQuery() {
	q := &x.query
	q.Listener = x.Listener.Name
	q.Method = x.Method
	q.HostPort = x.Host
	if hasUpper(x.Host) {
		x.scratch.hostPort = appendLower(x.scratch.hostPort[:0], x.Host)
		q.HostPort = x.scratch.hostPort
	}
	q.Host, q.Port = wire.SplitHost(q.HostPort)
	q.Host = bytes.TrimSuffix(q.Host, []byte("."))
	q.Target = x.Target
	q.Path = wire.Path(x.Target)
	if x.Flags&wire.HasEscapes != 0 {
		x.scratch.path = wire.Unescape(x.scratch.path[:0], q.Path)
		q.Path = x.scratch.path
	}
}

func hasUpper(b []byte) bool {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// Next picks an endpoint for the next try and acquires it. Any Reason but None is
// the answer instead, Answered standing for Own: nothing was sent then, and no other
// endpoint is asked who would have let the client in.
func (c *Core) Next(x *Exchange) (*Attempt, Reason) {
	first := x.pick.Attempts() == 0
	i, err := x.choose()
	fresh := false
	if err != nil {
		if !x.sameAgain() {
			return nil, x.failure(NoHealthyEndpoint)
		}
		i, fresh = x.endpoint, true
	}
	x.pick.Try(i)
	x.endpoint = i
	e := x.cluster.Endpoints[i]
	if x.cluster.Restricted {
		if reason := x.admit(e.Access, first); reason != None {
			return nil, reason
		}
	}
	if e.Redirect != nil {
		x.redirect(e.Redirect)
		return nil, Answered
	}
	if first {
		c.prepare(x)
	}
	e.State.InFlight.Add(1)
	x.held = true
	x.attempt = Attempt{
		Pool: poolsOf(x.cluster)[i], Fresh: fresh,
		Target: x.rewrite(e), Deadline: after(x.Start, x.policy.TotalTimeout), Policy: x.policy,
	}
	return &x.attempt, None
}

// choose picks the endpoint of the next try. After one whose connections are all in use
// others of which that can be said are passed over.
func (x *Exchange) choose() (int, error) {
	for {
		i, err := x.cluster.Picker.Pick(x.view(), &x.pick)
		if err != nil || !x.refused() || !poolsOf(x.cluster)[i].Full() {
			return i, err
		}
		if !x.passOver(i) {
			return i, routetable.ErrNoEndpoint
		}
	}
}

// refused says whether the last try ended for want of a connection.
func (x *Exchange) refused() bool { return x.lastErr != nil && x.lastErr.Kind == upstream.Full }

// passOver notes an endpoint that is not tried, and says whether that could be noted:
// otherwise it would be picked again.
func (x *Exchange) passOver(i int) bool {
	n := x.pick.Attempts()
	x.pick.Try(i)
	x.passed++
	return x.pick.Attempts() > n
}

// sameAgain says whether the endpoint just tried is worth another try, on a new
// connection, when there is no other: its old connection was dead, which says
// nothing of the endpoint.
func (x *Exchange) sameAgain() bool {
	return x.lastErr != nil && x.lastErr.Reused && x.endpoint >= 0 && x.lastErr.Kind != upstream.Connect
}

// failure is the answer to a request whose tries came to nothing: the reason of
// the last one, or otherwise.
func (x *Exchange) failure(otherwise Reason) Reason {
	if x.lastErr == nil {
		return otherwise
	}
	return reasonOf(x.lastErr)
}

// reasonOf translates what the upstream met.
func reasonOf(err *upstream.Error) Reason {
	switch err.Kind {
	case upstream.Connect:
		if err.Timeout() {
			return ConnectTimeout
		}
		return ConnectFailed
	case upstream.Timeout:
		return UpstreamTimeout
	case upstream.Total:
		return TotalTimeout
	case upstream.Full:
		return Overloaded
	case upstream.Protocol:
		return UpstreamProtocol
	default:
		return UpstreamReset
	}
}

// Failed releases the endpoint of a try that brought no response, and says whether
// there is to be another one. Otherwise the Reason is the answer.
func (c *Core) Failed(x *Exchange, err *upstream.Error) (again bool, reason Reason) {
	e := x.cluster.Endpoints[x.endpoint]
	x.release()
	x.lastErr = err
	switch err.Kind {
	case upstream.Connect:
		c.health.ConnectFailed(e)
	case upstream.Full:
		x.passed++ // that was no try
		return true, None
	}
	if x.pick.Attempts()-x.passed > x.policy.Retry.Attempts || !x.repeatable(err) {
		return false, reasonOf(err)
	}
	return true, None
}

// repeatable says whether a request may be sent again after err. Nothing was sent,
// and nothing read of its body, when the connection could not be made. Otherwise the method must be idempotent
// (RFC 9110 §9.2.2), the body at hand, and no byte of a response seen.
func (x *Exchange) repeatable(err *upstream.Error) bool {
	switch err.Kind {
	case upstream.Connect:
		return true
	case upstream.Reset:
		return x.Replayable && idempotent(x.Method)
	default:
		return false
	}
}

func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	default:
		return false
	}
}

// Answered tells that a response head has come from the endpoint.
func (c *Core) Answered(x *Exchange) { c.health.Succeeded(x.cluster.Endpoints[x.endpoint]) }

// End releases the endpoint and records the request. code is the status that was
// sent, 0 when none was; reason is None when the upstream's answer was relayed
// whole.
func (c *Core) End(x *Exchange, code int, reason Reason, now int64) {
	service := 0
	if x.endpoint >= 0 {
		service = x.cluster.Endpoints[x.endpoint].ServiceIndex
	}
	x.release()
	if code == 0 {
		code = ClientGone.Status()
	}
	took := now - x.Start
	s := metrics.Sample{
		Listener: x.Listener.Metrics, Shard: x.Shard, Method: metrics.MethodOf(x.Method), Code: code,
		Reason: reason.sampleIndex(), Duration: duration(took), Received: x.Received, Sent: x.Sent,
	}
	series := c.unmatched
	if x.route != nil {
		series = runtimeOf(x.route).series[x.arm][service]
	}
	series.Count(&s)
	c.metrics.Overhead.Observe(x.Shard, duration(took-x.Upstream))
}

// BodyIdle is how long the next bytes of the request's body may take.
func (c *Core) BodyIdle(x *Exchange) time.Duration { return x.policy.IdleTimeout }

// Deadline bounds the whole request on the sweeper's clock, 0 for no bound. It is known
// from Begin on.
func (c *Core) Deadline(x *Exchange) int64 { return after(x.Start, x.policy.TotalTimeout) }

func (x *Exchange) release() {
	if x.held {
		x.held = false
		x.cluster.Endpoints[x.endpoint].State.InFlight.Add(-1)
	}
}
