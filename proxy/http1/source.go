package http1

import "syscall"

// Buffered implements forward.Source.
func (c *conn) Buffered() []byte {
	b, _ := c.br.Peek(c.Body.Buffered)
	return b
}

// PeekBody implements forward.Source.
func (c *conn) PeekBody(most int64) ([]byte, error) {
	if c.Head.Chunked {
		return c.chunks.Next()
	}
	if c.br.Buffered() == 0 {
		if _, err := c.br.Peek(1); err != nil {
			return nil, err
		}
	}
	return c.br.Peek(int(min(most, int64(c.br.Buffered()))))
}

// TookBody implements forward.Source.
func (c *conn) TookBody(n int) {
	if c.Head.Chunked {
		c.chunks.Advance(n)
		return
	}
	_, _ = c.br.Discard(n)
}

// BulkBody implements forward.Source.
func (c *conn) BulkBody() (raw syscall.RawConn, ok bool) {
	raw, _ = c.Bulk()
	return raw, c.br.Buffered() == 0
}

// ReadBody implements forward.Source.
func (c *conn) ReadBody(p []byte) (int, error) {
	if c.secure != nil {
		return c.secure.Read(p)
	}
	return c.nc.Read(p)
}

// StopBody implements forward.Source.
func (c *conn) StopBody() { _ = c.nc.SetReadDeadline(past) }

// Bulk implements forward.Sink.
func (c *conn) Bulk() (raw syscall.RawConn, ok bool) {
	if c.secure != nil {
		return nil, false
	}
	return c.raw, true
}
