package h2

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/net/http2"

	"usher/proxy/wire"
)

// state is where a stream is.
type state uint8

const (
	// reserved has a place and is not on the wire, open has both, gone has neither.
	reserved state = iota
	open
	gone
)

// Stream is one request and its response. All but req is guarded by the session's mutex.
type Stream struct {
	session            *Session
	readable, writable sync.Cond
	req                request
	// due says that it is among those to be woken, starving that it is among those that wait
	// for room.
	due, starving bool
	exchange
}

// exchange is what a stream knows of its request.
type exchange struct {
	state state
	id    uint32
	// sent is when it was begun, on the clock; lingers is since when its owner is done with
	// it and the endpoint is not, 0: it is not so.
	sent, lingers int64
	// expired says that its time is over, or that it was aborted.
	expired bool

	// sendWindow is how much of the body may be sent, left how much there is, -1 for chunks.
	sendWindow, left int64
	// unsent is what Open was given of the body and could not send yet.
	unsent []byte
	// waits says that somebody waits for room.
	waits      bool
	localEnded bool
	writeErr   error

	// text is to be read from at on: heads, or what frames a chunk. Behind it is what is
	// left of the chunk.
	text      []byte
	at        int
	chunkLeft int
	in        queue
	trailers  []byte
	// final says that the final head has come, chunked that its body is read in chunks,
	// closed that the last of them was.
	isHead, final, chunked, closed bool
	// heard says that any head has come.
	heard bool
	// want is what is to come of the body by the response's word, -1: there is none.
	want        int64
	remoteEnded bool
	readErr     error
	// window is what may come, consumed what was read since that was told.
	window, consumed int
}

func newStream(s *Session) *Stream {
	st := &Stream{session: s}
	st.readable.L, st.writable.L = &s.mu, &s.mu
	st.reset()
	return st
}

// reset makes it ready for another request.
func (st *Stream) reset() {
	st.in.reset()
	st.exchange = exchange{
		text: st.text[:0], unsent: st.unsent[:0], trailers: st.trailers[:0], in: st.in, window: streamWindow, want: -1,
	}
}

// Read implements io.Reader: it gives the response as the text of HTTP/1.1. What came
// before an error is read before it.
func (st *Stream) Read(p []byte) (int, error) {
	const most = 32 << 10 // are copied while others wait
	s := st.session
	s.mu.Lock()
	defer s.unlock()
	for {
		if st.expired {
			return 0, os.ErrDeadlineExceeded
		}
		if n := st.take(p[:min(len(p), most)]); n > 0 {
			st.credit()
			return n, nil
		}
		switch {
		case st.readErr != nil:
			return 0, st.readErr
		case st.remoteEnded:
			return 0, io.EOF
		case st.state == gone:
			return 0, errEnded
		}
		st.readable.Wait()
	}
}

// take copies what is there.
func (st *Stream) take(p []byte) (n int) {
	for n < len(p) {
		switch {
		case st.at < len(st.text):
			m := copy(p[n:], st.text[st.at:])
			n += m
			if st.at += m; st.at == len(st.text) {
				st.text, st.at = st.text[:0], 0
			}
		case st.chunkLeft > 0:
			m := st.in.read(p[n:min(len(p), n+st.chunkLeft)])
			n += m
			st.consumed += m
			if st.chunkLeft -= m; st.chunkLeft == 0 {
				st.text = append(st.text, "\r\n"...)
			}
		case st.in.len > 0 && st.chunked:
			st.chunkLeft = st.in.len
			st.text = wire.AppendChunkHeader(st.text, st.in.len)
		case st.in.len > 0:
			m := st.in.read(p[n:])
			n += m
			st.consumed += m
		case st.remoteEnded && st.chunked && !st.closed:
			st.closed = true
			st.text = append(append(append(st.text, "0\r\n"...), st.trailers...), "\r\n"...)
		default:
			return n
		}
	}
	return n
}

// received takes data that has come, and perhaps its end.
func (st *Stream) received(b []byte, end bool) {
	switch {
	case st.remoteEnded:
		st.cancel(http2.ErrCodeStreamClosed)
		return
	case !st.final:
		st.malformed(http2.ErrCodeProtocol, "a body without a head")
		return
	case st.want >= 0 && int64(len(b)) > st.want:
		st.malformed(http2.ErrCodeProtocol, "a body longer than its content-length")
		return
	case st.want >= 0:
		st.want -= int64(len(b))
	}
	if len(b) > 0 {
		st.in.write(b)
		st.session.give(st)
	}
	if end {
		st.endRemote()
	}
}

// endRemote takes the end of the response.
func (st *Stream) endRemote() {
	if st.want > 0 {
		st.malformed(http2.ErrCodeProtocol, "a body shorter than its content-length")
		return
	}
	st.remoteEnded = true
	st.session.give(st)
	if st.localEnded {
		st.leaveWire()
	}
}

// malformed ends a stream for what has come on it.
func (st *Stream) malformed(code http2.ErrCode, why string) {
	if !st.remoteEnded && st.readErr == nil {
		st.readErr = fmt.Errorf("%w: %s", ErrMalformed, why)
	}
	st.cancel(code)
}

// resetBy ends a stream that the endpoint has reset. After the whole response that concerns
// the request's body alone.
func (st *Stream) resetBy(code http2.ErrCode) {
	var err error = &ResetError{code}
	if code == http2.ErrCodeRefusedStream && !st.heard {
		err = ErrRefused
	}
	st.end(err)
}

// cancel resets the stream.
func (st *Stream) cancel(code http2.ErrCode) {
	s := st.session
	if st.state == open && s.failure == nil {
		s.out = appendReset(s.out, st.id, code)
		s.wake()
	}
	st.end(errEnded)
}

// end takes a stream off the wire that has no more to come. What has come can be read.
func (st *Stream) end(err error) {
	if !st.remoteEnded && st.readErr == nil {
		st.readErr = err
	}
	if st.writeErr == nil {
		st.writeErr = err
	}
	st.readable.Signal()
	st.writable.Signal()
	st.leaveWire()
}

// leaveWire gives up the stream's place.
func (st *Stream) leaveWire() {
	s := st.session
	if st.state == gone {
		return
	}
	if st.state == open {
		delete(s.streams, st.id)
	}
	st.state = gone
	if st.lingers > 0 {
		st.recycle()
	}
	s.vacate()
}

// maxFree bounds the streams that a session keeps for later, keepText the memory of each.
const (
	maxFree  = 64
	keepText = 4 << 10
)

// recycle keeps the stream for another request. Nobody else knows it any more.
func (st *Stream) recycle() {
	s := st.session
	if len(s.free) == maxFree || s.leaving {
		st.in.reset()
		return
	}
	if cap(st.text) > keepText || cap(st.unsent) > keepText || cap(st.req.block) > keepText {
		st.text, st.unsent, st.req.block = nil, nil, nil
	}
	st.reset()
	s.free = append(s.free, st)
}

// Release gives the stream up whose response was read whole, or that was never begun.
// Nobody uses it any more, or will.
func (st *Stream) Release() {
	s := st.session
	s.mu.Lock()
	defer s.unlock()
	switch {
	case st.state == open && !st.remoteEnded && st.readErr == nil:
		st.lingers = s.clock() // the end that says so is still to come
		return
	case st.state == open:
		st.cancel(http2.ErrCodeCancel) // nobody sends the rest of the request
	case st.state == reserved:
		st.leaveWire()
	}
	st.recycle()
}

// Close gives the stream up. If it is not over it is reset. Expire and Abort may still be
// called.
func (st *Stream) Close() {
	s := st.session
	s.mu.Lock()
	defer s.unlock()
	if st.state == reserved {
		st.end(errEnded)
	} else {
		st.cancel(http2.ErrCodeCancel)
	}
	st.in.reset()
}

// Expire ends what waits on the stream: its time is over. It does not wait.
func (st *Stream) Expire() {
	st.session.mu.Lock()
	defer st.session.unlock()
	st.session.doubt(st)
	st.abort()
}

// Abort ends what waits on the stream. It does not wait.
func (st *Stream) Abort() {
	st.session.mu.Lock()
	defer st.session.unlock()
	st.abort()
}

func (st *Stream) abort() {
	st.expired = true
	st.readable.Signal()
	st.writable.Signal()
}

// Alive says whether the stream is of use: nothing has ended it, and if it was not begun, it
// can be.
func (st *Stream) Alive() bool {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.state == reserved {
		return st.startable() == nil
	}
	return st.readErr == nil && !st.expired
}

// Quiet says whether the stream is alive and has nothing to read.
func (st *Stream) Quiet() bool {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.readErr == nil && !st.remoteEnded && st.at == len(st.text) && st.in.len == 0
}

// Heard says whether anything of a response has come.
func (st *Stream) Heard() bool {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.heard
}
