package forward

import "strconv"

// The message of a unary call mostly comes right behind its head, but not always with it:
// nobody knows then that it is all there is, and it is sent on as a stream. So that such a
// call can be sent again, what is small is kept while it is sent.
//
// An endpoint may refuse a call between its head and its message, because it is about to
// end. What was read is sent to another one then, and the rest as it comes.

// keep keeps a part of the body that is sent, as long as all of it is small. It is called by
// the pump.
func (t *Trip) keep(b []byte) {
	if !t.pump.keeps {
		return
	}
	if len(t.kept)+len(b) > readBuffer {
		t.pump.keeps = false
		return
	}
	t.kept = append(t.kept, b...)
}

// retain makes a body that was sent to its end one that is at hand, if it was kept. The
// response has come by then: the pump is about to hear that the last piece is written.
func (t *Trip) retain() {
	if !t.pump.started || !t.BodyGone() {
		return
	}
	err, ended := t.awaitPump()
	if !ended {
		return
	}
	t.pump.done <- err // for who stops it, whenever that is
	if err == nil {
		_ = t.stopPump()
		t.keepBody()
	}
}

// keepBody makes what was kept the body of further tries. Where the endpoint took no more
// they go on with what is still to come from the client.
func (t *Trip) keepBody() {
	switch {
	case !t.pump.keeps:
		t.X.Replayable = false
	case t.Body.Taken:
		t.wholeBody()
	case t.pump.cut:
		t.X.Replayable, t.resumes = true, true
	}
}

// wholeBody makes what was kept a body that is at hand.
func (t *Trip) wholeBody() {
	t.whole, t.Body.Streamed = true, false
	t.X.Replayable, t.X.Streams = true, false
	t.Head.Chunked, t.Head.ContentLength = false, int64(len(t.kept))
	h := t.X.Parsed() // a head with chunks was read by the codec
	h.Del("Transfer-Encoding")
	var room [20]byte
	h.SetBytesV("Content-Length", strconv.AppendInt(room[:0], t.Head.ContentLength, 10))
}
