package http1

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
func (c *conn) copyResponse(a *core.Attempt, n int64) core.Reason {
	buf, _ := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for n > 0 {
		begin := c.now()
		c.awaitEndpoint(a, begin)
		m, err := c.up.Fill((*buf)[:min(n, copyBuffer)])
		now := c.now()
		c.x.Upstream += now - begin
		if m == 0 && err != nil {
			return c.cutReason()
		}
		n -= int64(m)
		c.x.Sent += uint64(m)
		c.watch.Arm(c.until(now, a.Policy.IdleTimeout))
		if c.write((*buf)[:m]) != nil {
			return core.ClientGone
		}
	}
	return core.None
}

// copyBody sends the rest of a request's body in large pieces. It is for who cannot
// spliceBody.
func (c *conn) copyBody(up *upstream.Conn, left int64, idle time.Duration) error {
	buf, _ := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for left > 0 {
		c.armPump(c.until(c.now(), idle))
		n, err := c.nc.Read((*buf)[:min(left, copyBuffer)])
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return &clientError{err}
		}
		c.pump.last.Store(int64(n) == left)
		if err := c.sendUp(up, (*buf)[:n], idle); err != nil {
			return err
		}
		left -= int64(n)
		c.pump.sent.Add(uint64(n))
	}
	return nil
}
