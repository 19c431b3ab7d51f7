package streams

import (
	"sync"

	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/proxy/http2"
	"usher/proxy/wire"
)

// bufferMost is how large a body may be to be taken whole before it is sent on: it can be
// sent again then, and a slow client keeps no endpoint waiting.
const bufferMost = 16 << 10

// request is a stream's request. It belongs to its http2.Stream, which is used again, and
// so is what others may do to it while it waits; the rest belongs to the goroutine that
// serves it.
type request struct {
	server *Server
	stream *http2.Stream
	hold   forward.Hold
	*work
}

// work is what a request needs while it is served; it is used again by others.
type work struct {
	forward.Trip

	// part is what is at hand of a body that is streamed.
	part []byte
	// headLen is the length of the response's head at the front of what is written next, 0
	// once it was.
	headLen int
	// trailers end the response.
	trailers []byte
}

var works = sync.Pool{New: func() any {
	w := &work{}
	w.Init()
	return w
}}

// requestOf returns the request of a stream, made at its first use.
func (s *Server) requestOf(stream *http2.Stream) *request {
	r, ok := stream.Attachment.(*request)
	if !ok {
		r = &request{stream: stream}
		stream.Attachment = r
	}
	if r.server != s { // a Probe of the request before may be under way, which reads it
		r.server = s
	}
	return r
}

// handler is the Server as what serves streams.
type handler struct{ server *Server }

// Serve implements http2.Handler.
func (h handler) Serve(stream *http2.Stream) {
	r := h.server.requestOf(stream)
	r.work = works.Get().(*work) //nolint:forcetypeassert // the list holds nothing else
	defer r.release()
	defer r.recover()
	r.begin()
	if !stream.Hold(r) {
		return // the client was faster
	}
	r.serve()
	stream.Drop()
}

// begin makes the work ready for the stream.
func (r *request) begin() {
	c := connectionOf(r.stream.Conn())
	r.Begin(&r.server.forwarder, r, &r.hold, r.stream.Watch())
	r.X.Peer, r.X.Shard = &c.arrival.Peer, c.shard
	r.part, r.headLen, r.trailers = nil, 0, nil
	r.Head.Reset()
	r.Clock, r.Ended = 0, 0
}

// release gives the buffers back. After a panic they are left to the collector.
func (r *request) release() {
	w := r.work
	r.work = nil
	if w == nil {
		return
	}
	w.Forget()
	w.Wrote, w.part, w.trailers = nil, nil, nil
	works.Put(w)
}

// recover keeps a fault in one request from ending the process.
func (r *request) recover() {
	if v := recover(); v != nil {
		r.stream.Drop()
		r.Recover(r.server.forwarder.Log, v)
		r.work = nil
	}
}

// serve answers the request.
func (r *request) serve() {
	r.Wrote = r.stream.Head()
	if err := r.scan(); err != nil {
		r.Refuse(err)
		return
	}
	metrics, shard := r.server.forwarder.Listener.Metrics, r.X.Shard
	metrics.InFlight.Inc(shard)
	defer metrics.InFlight.Dec(shard)
	if reason, why := r.Take(); reason != core.None {
		r.Fail(reason, why)
		return
	}
	if r.Body.Asterisk {
		r.AnswerOptions()
		return
	}
	if reason := r.server.forwarder.Core.Begin(&r.X); reason != core.None {
		r.Fail(reason, "")
		return
	}
	if r.Malformed != nil {
		r.Fail(core.BadRequest, "malformed head")
		return
	}
	if reason, why := r.takeBody(); reason != core.None {
		r.Fail(reason, why)
		return
	}
	r.Forward() // what has come of it is recorded
}

var errHeadTooLarge = &wire.Refused{Status: 431, Why: "the request's head is larger than this listener takes"}

// scan reads the head.
func (r *request) scan() error {
	if r.stream.TooLarge() {
		return errHeadTooLarge
	}
	return r.Head.ScanRequest(r.Wrote)
}

// takeBody decides how the request's body is forwarded. A small one whose length is known
// is waited for.
func (r *request) takeBody() (core.Reason, string) {
	n := r.Head.ContentLength
	limit := int64(r.server.forwarder.Listener.MaxBodySize)
	switch {
	case limit > 0 && n > limit:
		return core.BodyTooLarge, "the request's body is larger than this listener takes"
	case r.Head.Chunked:
		r.Body.Streamed = true
	case n <= 0:
	case n <= bufferMost:
		return r.bufferBody(int(n))
	default:
		r.Body.Streamed = true
	}
	r.X.Replayable, r.X.Streams = !r.Body.Streamed, r.Body.Streamed
	if r.Body.Streamed {
		return r.sendContinue()
	}
	return core.None, ""
}

// bufferBody waits until the body has come.
func (r *request) bufferBody(n int) (core.Reason, string) {
	_, whole := r.stream.Body()
	if !whole {
		if reason, why := r.sendContinue(); reason != core.None {
			return reason, why
		}
		c := r.server.forwarder.Core
		r.Deadline = c.Deadline(&r.X)
		watch := r.stream.Watch()
		watch.Arm(r.Until(c.Sweeper.Now(), c.BodyIdle(&r.X)))
		var err error
		if whole, err = r.stream.Gather(n); err != nil || !whole {
			if watch.Fired() {
				return core.RequestTimeout, "the request's body did not come in time"
			}
			return core.ClientGone, ""
		}
	}
	r.X.Replayable = true
	r.Body.Buffered, r.Body.Taken = n, true
	r.X.Received = uint64(n)
	return core.None, ""
}

// sendContinue lets a client that waits for it send its body (RFC 9110 §10.1.1).
func (r *request) sendContinue() (core.Reason, string) {
	if r.Head.Has(wire.HasExpect) && r.stream.WriteHead([]byte("HTTP/1.1 100 Continue\r\n"), false) != nil {
		return core.ClientGone, ""
	}
	return core.None, ""
}

// Abort implements http2.Aborter: the client has broken the stream off, or left.
func (r *request) Abort() { r.hold.Leave() }

// Probe is asked of what waits for an endpoint, each Tick of the sweeper.
func (r *request) Probe() { r.hold.Probe(&r.server.forwarder, r, r.stream.Watch()) }

// Left implements forward.Client.
func (r *request) Left() bool { return r.stream.Gone() }
