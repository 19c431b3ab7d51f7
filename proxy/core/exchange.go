package core

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"usher/config"
	"usher/metrics"
	"usher/proxy/preface"
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
	// Source parses the head when something is asked of it that the scanner did not note.
	Source HeadSource
	// Head is the request's head, in raw form (DisableSpecialHeader); nil until it is
	// parsed. The core edits it.
	Head *fasthttp.RequestHeader
	// Method, Target (origin form) and Host are as the client sent them; the
	// authority of an absolute-form target is the Host.
	Method, Target, Host []byte
	Flags                wire.Flags
	// Replayable says that the body, if there is one, can be sent a second time.
	Replayable bool
	// Streams says that the body is sent while it comes from the client: how long a try
	// takes tells nothing of the endpoint then.
	Streams bool
	// CallTimeout is the time that the client of a gRPC call gives it, 0 for no bound.
	CallTimeout time.Duration
	// Start is when the head was complete, on the sweeper's clock.
	Start int64

	// The adapter adds to these while it copies bodies.

	Received, Sent uint64
	// Said is the length of the body of an answer of usher's own.
	Said uint64
	// Upstream is the time in nanoseconds that was spent waiting for the upstream.
	Upstream int64

	// Fields are added to the forwarded head, behind the client's own.
	Fields []Field
	// common is the number of those that are the same for every try.
	common int
	// prepared says that the head is to go on: what concerns one connection only is not
	// in it any more.
	prepared bool

	// reserved are the names that clients cannot send; nil: there are none.
	reserved *[]string

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
	// sticky is the cluster's where a cookie brings its clients back; nil: none does.
	sticky sticky
	// waited is what Upstream was when the try began.
	waited int64
	// resting is the first endpoint passed over though it might take the request, -1 for
	// none; capped says that one was because it had all the requests it may have.
	resting int
	capped  bool
	// began is when the try began, where that is measured, on the sweeper's clock.
	began   int64
	stay    stay
	retrial retrial
	call    call
	query   routetable.Request
	// said are the X-Forwarded-For fields as the client sent them, for a cluster whose
	// endpoints ask who is served: at a second try they are gone from the head.
	said [][]byte
	// usedScheme is what $scheme stands for; own is the answer of a route that sends no
	// request anywhere.
	usedScheme string
	own        Own
	// stream says that it is no request, but a connection that is carried as a whole.
	stream bool
	// recording is what is recorded of it; nil: nothing is.
	recording *recording
	// aside returns what stands in for a cluster while the request is only explained; nil: it
	// is served.
	aside func(*routetable.Cluster) *routetable.Cluster
	// word is what an answer that is no failure is known by, beside Reasons.
	word string
	// noted are the lines of the response's head that are logged.
	noted []byte
	// sampled is the request as it is remembered; nil: it is not.
	sampled *Sampled

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
	Pool upstream.Source
	// Fresh asks for a new connection: a used one just turned out dead.
	Fresh bool
	// Target is what to ask for.
	Target []byte
	// Deadline bounds the whole request on the sweeper's clock, 0 for no bound.
	Deadline int64
	// Timeout bounds the wait for the response header, 0 for no bound. Moves says that
	// another try may follow when it is over.
	Timeout time.Duration
	Moves   bool
	Policy  *config.Policy
	// Host is the Host to ask for.
	Host []byte
}

// HeadSource parses the head of a request.
type HeadSource interface {
	// ParseHead returns the head as the client sent it. It is called once a request.
	ParseHead() *fasthttp.RequestHeader
	// HasField says whether a field of that name, given in lower case, is in the head as the
	// client sent it.
	HasField(name string) bool
	// Field returns the value of the nth field of that name, given in lower case, as the
	// client sent it; ok: there is one. The bytes stay valid until End.
	Field(name string, nth int) (value []byte, ok bool)
	// Text is the head as the client sent it, nil if none was taken; Protocol is what the
	// client speaks, as in HTTP/1.1, as far as that is known.
	Text() []byte
	Protocol() string
	// Traceparent and B3 return the values of the fields of these names; empty where there
	// is none, or more than one.
	Traceparent() []byte
	B3() []byte
}

// Init makes a zero Exchange usable.
func (x *Exchange) Init() { x.query.Header = func(name string) []byte { return x.head().Peek(name) } }

// Reset forgets the last request.
func (x *Exchange) Reset() {
	x.Received, x.Sent, x.Said, x.Upstream = 0, 0, 0, 0
	x.Fields = x.Fields[:0]
	x.table, x.route, x.cluster, x.policy, x.lastErr = nil, nil, nil, nil, nil
	x.Head, x.prepared, x.reserved = nil, false, nil
	x.arm, x.endpoint, x.held, x.passed = 0, -1, false, 0
	x.Replayable, x.Streams, x.sticky = false, false, nil
	x.resting, x.capped, x.began = -1, false, 0
	x.stay, x.retrial, x.call, x.CallTimeout = stay{}, retrial{}, call{}, 0
	x.query.Skip, x.stream, x.recording, x.sampled = nil, false, nil, nil
	x.word, x.noted = "", x.noted[:0]
	x.pick.Reset()
}

// Begin loads the table and matches the request. Any Reason but None is the
// answer; Answered stands for Own.
func (c *Core) Begin(x *Exchange) Reason {
	if f := c.challenges.Load(); f != nil && x.challenged(*f) {
		return Answered
	}
	x.table = c.table.Load()
	if x.reserved = c.reserved.Load(); x.reserved != nil && x.Head != nil {
		x.disown()
	}
	if c.Tracer != nil {
		c.record(x)
	}
	return c.route(x)
}

// route matches the request by its table.
func (c *Core) route(x *Exchange) Reason {
	if yes, reason := x.toHTTPS(); yes {
		return reason
	}
	if x.Flags&wire.HasLoop != 0 && c.looped(x) {
		return Loop
	}
	x.fillQuery()
	if r := c.recent.Load(); r != nil && x.aside == nil {
		x.sample(r)
	}
	for {
		x.route = x.table.Match(&x.query)
		if x.route == nil {
			return NoRoute
		}
		if len(x.route.Arms) > 1 {
			x.arm = x.route.Arm(rand.Float64())
		}
		x.enterArm()
		if !x.cluster.Answers {
			return x.crowded()
		}
		if yes, reason := x.takes(); yes {
			return reason
		}
		x.query.Skip = append(x.query.Skip, x.route)
	}
}

// enterArm sets what the request has of the arm that was drawn.
func (x *Exchange) enterArm() {
	arm := &x.route.Arms[x.arm]
	x.cluster, x.policy = arm.Cluster, arm.Policy
	if x.aside != nil {
		x.cluster = x.aside(x.cluster)
	}
}

// looped says whether this process has forwarded the request before (RFC 8586
// §2).
func (c *Core) looped(x *Exchange) (yes bool) {
	for _, v := range x.head().PeekAll("Cdn-Loop") {
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
	q.Method, q.GRPC = x.Method, x.GRPC()
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
	if x.stay.guard == nil {
		if reason := x.enter(); reason != None {
			return nil, reason
		}
	}
	first := x.pick.Attempts() == 0
	i, err := c.choose(x)
	fresh := false
	if err != nil {
		if !x.sameAgain() {
			return nil, x.without()
		}
		i, fresh = x.endpoint, true
	}
	x.pick.Try(i)
	x.endpoint, x.waited = i, x.Upstream
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
	if first && !x.stream {
		c.prepare(x)
	}
	if !x.held {
		x.held = true
		e.State.InFlight.Add(1)
	}
	c.begin(x, i, fresh)
	return &x.attempt, None
}

// begin makes the attempt at endpoint i.
func (c *Core) begin(x *Exchange, i int, fresh bool) {
	x.attempt = Attempt{
		Pool: x.source(i), Fresh: fresh,
		Deadline: x.deadline(), Timeout: x.policy.Timeout, Policy: x.policy,
	}
	if x.CallTimeout > 0 {
		x.attempt.Timeout = 0 // the client says how long the answer may take
		if x.tries() > 1 {
			x.shorten(c.Sweeper.Now())
		}
	}
	if !x.stream {
		x.attempt.Target, x.attempt.Host = x.rewrite(x.cluster.Endpoints[i])
	}
	if x.recording != nil {
		x.recording.try = c.recordTry(x, x.cluster.Endpoints[i], x.attempt.Target)
	}
	x.limitTry()
	if x.stay.guard.adaptive.Load() != nil {
		x.began = c.Sweeper.Now()
	}
}

// source is where connections to endpoint i come from.
func (x *Exchange) source(i int) upstream.Source {
	pool := poolsOf(x.cluster)[i]
	version := x.cluster.Endpoints[i].ProxyProtocol
	if version == "" {
		return pool
	}
	return &upstream.Teller{Pool: pool, Preface: preface.Header(version, x.Peer.Remote, x.Peer.Local)}
}

// choose picks the endpoint of the next try, and passes over those that cannot take it.
// One that only had better be left alone is better than none.
func (c *Core) choose(x *Exchange) (int, error) {
	if x.pick.Attempts() == 0 {
		x.recognise()
	}
	for {
		i, err := x.cluster.Picker.Pick(x.view(), &x.pick)
		if err == nil && c.spare(x, i) {
			return i, nil
		}
		if err == nil && x.passOver(i) {
			continue
		}
		if i, x.resting = x.resting, -1; i >= 0 && x.room(i) {
			return i, nil
		}
		return -1, routetable.ErrNoEndpoint
	}
}

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
// nothing of the endpoint, or had no room for the request.
func (x *Exchange) sameAgain() bool {
	if x.lastErr == nil || x.endpoint < 0 {
		return false
	}
	return x.lastErr.Kind == upstream.Reset && x.lastErr.Reused || x.lastErr.Kind == upstream.Refused
}

// failure is the answer to a request whose tries came to nothing: the reason of
// the last one, or otherwise.
func (x *Exchange) failure(otherwise Reason) Reason {
	if x.lastErr == nil {
		return otherwise
	}
	return x.reasonOf(x.lastErr)
}

// reasonOf translates what the try met.
func (x *Exchange) reasonOf(err *upstream.Error) Reason {
	if err.Kind == upstream.Total {
		return x.OutOfTime()
	}
	return reasonOf(err)
}

// reasonOf translates what the upstream met.
func reasonOf(err *upstream.Error) Reason {
	if upstream.Denied(err) {
		return MeshDenied
	}
	switch err.Kind {
	case upstream.Connect:
		if err.Timeout() {
			return ConnectTimeout
		}
		return ConnectFailed
	case upstream.Timeout, upstream.Out:
		return UpstreamTimeout
	case upstream.Status:
		return NoHealthyEndpoint
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
// there is to be another one, after the Pause. Otherwise the Reason is the answer.
func (c *Core) Failed(x *Exchange, err *upstream.Error) (again bool, reason Reason) {
	x.release()
	x.measure(c, err)
	x.lastErr = err
	x.retrial.pause = 0
	if x.recording != nil {
		c.recordFailure(x, err)
	}
	c.observeFailure(x, err)
	switch err.Kind {
	case upstream.Timeout, upstream.Total:
		if !x.hurried(err) {
			c.sampled(x)
		}
	case upstream.Full:
		x.passed++ // that was no try
		return true, None
	}
	x.endpointSeries().Unanswered()
	return c.again(x, err)
}

// End releases the endpoint and records the request. code is the status that was
// sent, 0 when none was; reason is None when the upstream's answer was relayed
// whole.
func (c *Core) End(x *Exchange, code int, reason Reason, now int64) {
	service := 0
	if x.endpoint >= 0 {
		service = x.cluster.Endpoints[x.endpoint].ServiceIndex
	}
	x.release()
	x.stay.leave(x.Shard)
	status := code
	if code == 0 {
		code = ClientGone.Status()
	}
	took := now - x.Start
	s := metrics.Sample{
		Listener: x.Listener.Metrics, Shard: x.Shard, Method: metrics.MethodOf(x.Method), Code: code,
		Reason: reason.sampleIndex(), Duration: duration(took), Received: x.Received, Sent: x.Sent,
		Trace: x.TraceID(),
	}
	x.count(&s, reason)
	series := c.unmatched
	if x.route != nil {
		series = runtimeOf(x.route).series[x.arm][service]
	}
	series.Count(&s)
	if l := c.accessLog.Load(); l != nil && x.Listener.AccessLog {
		c.log(l, x, &s, reason)
	}
	c.metrics.Overhead.Observe(x.Shard, duration(took-x.Upstream))
	if x.recording != nil {
		x.endRecording(&s, status, reason, service, now)
	}
	if x.sampled != nil {
		c.tellEnd(x, service, code, reason)
	}
}

// BodyIdle is how long the next bytes of the request's body may take.
func (c *Core) BodyIdle(x *Exchange) time.Duration { return x.policy.IdleTimeout }

// Deadline bounds the whole request on the sweeper's clock, 0 for no bound. It is known
// from Begin on.
func (c *Core) Deadline(x *Exchange) int64 { return x.deadline() }

func (x *Exchange) release() {
	if x.held {
		x.held = false
		x.cluster.Endpoints[x.endpoint].State.InFlight.Add(-1)
	}
}
