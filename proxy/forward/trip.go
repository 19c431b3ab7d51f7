package forward

import (
	"bufio"
	"bytes"
	"errors"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// readBuffer is the size of the buffers that bound a head.
const readBuffer = 16 << 10

// Forwarder is what the requests of one listener share. Its methods may be called from
// any goroutine.
type Forwarder struct {
	Core     *core.Core
	Listener *core.Listener
	Log      *slog.Logger
	// HTTP2 says what the clients of the requests speak.
	HTTP2 bool
	// hedges are the second tries that are under way.
	hedges sync.WaitGroup
}

// Wait waits for the second tries that are still under way. Without requests none begins.
func (f *Forwarder) Wait() { f.hedges.Wait() }

// Trip is one request's way to an endpoint and back. An adapter keeps one for each
// request that can be under way and uses it again: Init once, then Begin, and for a
// request whose head was read Take, before Forward.
type Trip struct {
	// X is the exchange.
	X core.Exchange
	// Head is the scanned head, and Wrote its text; the adapter sets both before Take.
	Head  wire.Head
	Wrote []byte
	// Body is what is known of the request's body.
	Body Body
	// Upgrade is the protocol that the endpoint is asked for, as the client wrote it;
	// empty: none.
	Upgrade []byte
	// Sent is the status whose head has begun to leave, 0 for none.
	Sent int
	// Serving says that a request has begun that has not been recorded.
	Serving bool
	// Deadline bounds the whole request, 0 for no bound.
	Deadline int64
	// Clock is the time of the last read from the client while nothing was waited for
	// since, else 0. Ended is when the request was over.
	Clock, Ended int64
	// Malformed is what the codec says of the head.
	Malformed error
	// Out is where a message is built.
	Out []byte

	forwarder *Forwarder
	client    Client
	hold      *Hold
	watch     *wire.Watch

	// upHead is the head of the response.
	upHead wire.Head
	req    fasthttp.RequestHeader
	resp   fasthttp.ResponseHeader
	// verbatim says that the response's head goes on as it lies in the buffer, and is not
	// in resp.
	verbatim bool
	// upChunks decodes the response's body.
	upChunks wire.Chunked

	// kept is what was read of a streamed body that is small, so that it can be sent again.
	// whole says that it is all of it, resumes that the rest is still to come from the client.
	kept           []byte
	whole, resumes bool

	up *upstream.Conn
	// attempt is the try whose body is being relayed.
	attempt *core.Attempt
	pump    pump
	// moves says that the request may be moved during this try.
	moves bool
	// interim says that the try at hand has brought an interim response.
	interim bool
	// answered is when the response began.
	answered int64
}

// Body is what is known of a request's body.
type Body struct {
	// Asterisk is a request for the server itself, which has no route.
	Asterisk bool
	// Buffered is the length of a body that lies whole at hand.
	Buffered int
	// Streamed says that the body is read while it is sent.
	Streamed bool
	// Taken says that it was read to its end.
	Taken bool
}

// Init makes a zero Trip usable.
func (t *Trip) Init() {
	t.Out = make([]byte, 0, readBuffer)
	t.req.DisableSpecialHeader()
	t.resp.SetNoDefaultContentType(true)
	t.X.Init()
	t.pump.done = make(chan error, 1)
}

// Begin makes the Trip ready for a request of a client, whose deadline watch is. The three
// are the client's for as long as it lasts, and outlive the Trip.
func (t *Trip) Begin(f *Forwarder, client Client, hold *Hold, watch *wire.Watch) {
	t.forwarder, t.client, t.hold, t.watch = f, client, hold, watch
	t.X.Reset()
	t.X.Listener, t.X.Source = f.Listener, t
	t.X.Method, t.X.Target, t.X.Host, t.X.Flags = nil, nil, nil, 0
	t.Body, t.Upgrade = Body{}, t.Upgrade[:0]
	t.whole, t.resumes = false, false
	t.up = nil
	t.Serving, t.Sent, t.Deadline, t.Malformed = true, 0, 0, nil
	hold.gone.Store(false)
	hold.left.Store(false)
}

// Forget lets go of what belongs to the client: the Trip is for another one's use.
func (t *Trip) Forget() {
	t.forwarder, t.client, t.hold, t.watch = nil, nil, nil, nil
	t.X.Head, t.X.Source, t.X.Listener, t.X.Peer = nil, nil, nil, nil
}

// Take fills the exchange from the head.
func (t *Trip) Take() (core.Reason, string) {
	x := &t.X
	x.Start = t.lately()
	t.Clock = x.Start
	x.Flags = t.Head.Flags
	x.Method = t.Head.Method.Of(t.Wrote)
	target, err := wire.ParseTarget(x.Method, t.Head.Target.Of(t.Wrote))
	if err != nil {
		return core.BadRequest, err.Error()
	}
	t.Body.Asterisk = target.Asterisk
	x.Target = target.Origin
	x.Host = t.Head.Host.Of(t.Wrote)
	if target.Authority != nil {
		x.Host = target.Authority
	}
	t.Body.Taken = t.Head.ContentLength <= 0 && !t.Head.Chunked
	if x.GRPC() {
		t.takeCall()
	}
	return core.None, ""
}

// takeCall takes what the head says of a call. What is no POST is none, whatever it says.
func (t *Trip) takeCall() {
	if string(t.X.Method) != "POST" {
		t.X.Flags &^= wire.HasGRPC
		return
	}
	t.X.CallTimeout = max(0, t.Head.CallTimeout)
}

// Recover answers for a fault in serving the request, v, and records it. It is called in
// the place of what Forward would have done.
func (t *Trip) Recover(log *slog.Logger, v any) {
	log.Error("panic while serving a request", "panic", v, "stack", string(debug.Stack()))
	_ = t.abandon() // the request fails already
	if !t.Serving {
		return
	}
	if t.Sent == 0 {
		_ = t.answer(core.Internal, "")
	}
	t.end(core.Internal)
}

// end records the request.
func (t *Trip) end(reason core.Reason) {
	t.Serving = false
	t.Ended = t.now()
	t.forwarder.Core.End(&t.X, t.Sent, reason, t.Ended)
}

// now is the time on the sweeper's clock.
func (t *Trip) now() int64 { return t.forwarder.Core.Sweeper.Now() }

// lately is the time as of the last read, if nothing was waited for since. Looking at the
// clock is no system call, and yet the dearest of what a request does more than once.
func (t *Trip) lately() int64 {
	now := t.Clock
	t.Clock = 0
	if now == 0 {
		now = t.now()
	}
	return now
}

// Until is the deadline d from now, or the request's if that is sooner. A d of 0 is no
// bound.
func (t *Trip) Until(now int64, d time.Duration) int64 {
	if d <= 0 {
		return t.Deadline
	}
	at := now + int64(d)
	if t.Deadline > 0 {
		at = min(at, t.Deadline)
	}
	return at
}

// late says that the time for the whole request is over.
func (t *Trip) late() bool { return t.Deadline > 0 && t.now() >= t.Deadline }

// after is the deadline d from now, whatever the request's is. A d of 0 is no bound.
func after(now int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return now + int64(d)
}

// errGone is a client that has left.
var errGone = errors.New("client closed the connection")

// ParseHead implements core.HeadSource.
func (t *Trip) ParseHead() *fasthttp.RequestHeader {
	r := heads.Get().(*headReader) //nolint:forcetypeassert // the list holds nothing else
	defer heads.Put(r)
	r.bytes.Reset(t.Wrote)
	buffer := r.buffer
	if len(t.Wrote) > buffer.Size() { // a listener may take larger heads by HTTP/2
		buffer = bufio.NewReaderSize(nil, len(t.Wrote))
	}
	buffer.Reset(&r.bytes)
	if t.Malformed = t.req.Read(buffer); t.Malformed != nil {
		t.req.Reset()
		t.req.DisableSpecialHeader()
	}
	t.req.SetProtocol("HTTP/1.1")
	t.frame()
	if string(t.req.Peek("Host")) != string(t.X.Host) {
		t.req.SetBytesV("Host", t.X.Host)
	}
	if t.X.Flags&wire.HasUnderscore != 0 && t.X.Listener.UnderscoreHeaders != "keep" {
		t.dropUnderscored()
	}
	return &t.req
}

// Text implements core.HeadSource. What Wrote holds before Take may be another request's.
func (t *Trip) Text() []byte {
	if t.X.Method == nil {
		return nil
	}
	return t.Wrote
}

// Protocol implements core.HeadSource.
func (t *Trip) Protocol() string {
	switch {
	case t.forwarder.HTTP2:
		return "HTTP/2"
	case t.X.Method == nil:
		return ""
	case t.Head.Minor == 0:
		return "HTTP/1.0"
	default:
		return "HTTP/1.1"
	}
}

// HasField implements core.HeadSource.
func (t *Trip) HasField(name string) bool { return t.Head.HasField(t.Wrote, name) }

// Field implements core.HeadSource.
func (t *Trip) Field(name string, nth int) (value []byte, ok bool) {
	return t.Head.Field(t.Wrote, name, nth)
}

// Traceparent implements core.HeadSource.
func (t *Trip) Traceparent() []byte { return t.Head.Traceparent.Of(t.Wrote) }

// B3 implements core.HeadSource.
func (t *Trip) B3() []byte { return t.Head.B3.Of(t.Wrote) }

// frame writes anew what frames the body: no zeros or spelling that another might read
// otherwise.
func (t *Trip) frame() {
	switch {
	case t.Head.Chunked:
		t.req.Set("Transfer-Encoding", "chunked")
	case t.Head.ContentLength >= 0:
		var room [20]byte
		t.req.SetBytesV("Content-Length", strconv.AppendInt(room[:0], t.Head.ContentLength, 10))
	}
}

// dropUnderscored deletes the fields with an underscore in their name: CGI-like
// upstreams take X_Forwarded_For for X-Forwarded-For.
func (t *Trip) dropUnderscored() {
	for _, line := range bytes.Split(t.Wrote, []byte("\r\n"))[1:] {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if bytes.IndexByte(name, '_') >= 0 {
			t.req.DelBytes(name)
		}
	}
}

// headReader hands a head to the codec.
type headReader struct {
	bytes  bytes.Reader
	buffer *bufio.Reader
}

var heads = sync.Pool{New: func() any { return &headReader{buffer: bufio.NewReaderSize(nil, readBuffer)} }}
