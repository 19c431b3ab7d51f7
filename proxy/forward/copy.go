package forward

import (
	"io"
	"sync"
	"time"

	"usher/proxy/core"
	"usher/proxy/upstream"
)

// copyBuffer is how much of a large body is moved at once where the kernel cannot do
// it: over TLS.
const copyBuffer = 64 << 10

var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, copyBuffer)
	return &b
}}

// copyResponse relays n bytes in large pieces. It is for who cannot spliceResponse.
func (t *Trip) copyResponse(a *core.Attempt, n int64) core.Reason {
	buf, _ := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for n > 0 {
		begin := t.now()
		t.awaitEndpoint(a, begin)
		m, err := t.up.Fill((*buf)[:min(n, copyBuffer)])
		now := t.now()
		t.X.Upstream += now - begin
		if m == 0 && err != nil {
			return t.cutReason()
		}
		n -= int64(m)
		t.X.Sent += uint64(m)
		t.watch.Arm(t.Until(now, a.Policy.IdleTimeout))
		if t.client.Write((*buf)[:m], n == 0) != nil {
			return core.ClientGone
		}
	}
	return core.None
}

// copyBody sends the rest of a request's body in large pieces. It is for who cannot
// spliceBody.
func (t *Trip) copyBody(up *upstream.Conn, left int64, idle time.Duration) error {
	buf, _ := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for left > 0 {
		t.armPump(after(t.now(), idle))
		n, err := t.client.ReadBody((*buf)[:min(left, copyBuffer)])
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return &clientError{err}
		}
		t.pump.last.Store(int64(n) == left)
		if err := t.sendUp(up, (*buf)[:n], idle); err != nil {
			return err
		}
		left -= int64(n)
		t.pump.sent.Add(uint64(n))
	}
	return nil
}
