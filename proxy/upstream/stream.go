package upstream

import (
	"errors"
	"sync"

	"usher/proxy/upstream/h2"
	"usher/proxy/wire"
)

// chunkBuffers are for framing the chunks of bodies.
var chunkBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, readBuffer+64)
	return &b
}}

// WriteChunk writes a part of a body that has no Content-Length, which is not empty. It may
// wait as Write does.
func (c *Conn) WriteChunk(p []byte) error {
	if c.stream != nil {
		return c.stream.WriteChunk(p)
	}
	buf, _ := chunkBuffers.Get().(*[]byte)
	defer chunkBuffers.Put(buf)
	*buf = append(append(wire.AppendChunkHeader((*buf)[:0], len(p)), p...), "\r\n"...)
	_, err := c.Write(*buf)
	return err
}

// WriteLastChunk ends a body that has no Content-Length.
func (c *Conn) WriteLastChunk() error {
	if c.stream != nil {
		return c.stream.WriteEnd()
	}
	_, err := c.Write([]byte("0\r\n\r\n"))
	return err
}

// readStream is Read by HTTP/2.
func (c *Conn) readStream(p []byte) (int, error) {
	if request := c.request; len(request) > 0 {
		c.request = nil
		if err := c.stream.Open(request, true); err != nil {
			return 0, c.streamError(err)
		}
	}
	n, err := c.stream.Read(p)
	if err != nil {
		err = c.streamError(err)
	}
	return n, err
}

// writeStream is Write by HTTP/2.
func (c *Conn) writeStream(p []byte) (int, error) {
	if c.begun {
		return c.stream.Write(p)
	}
	if err := c.stream.Open(p, false); err != nil {
		return 0, c.streamError(err)
	}
	c.begun = true
	return len(p), nil
}

// streamError says what an error of a stream is for the request. One that was not sent may
// be sent again as if nothing had been: on another connection at once if this one was used
// before, unless a part of the body is gone.
func (c *Conn) streamError(err error) error {
	switch {
	case errors.Is(err, h2.ErrUnsent) && c.Reused && !c.begun:
		return ErrStale
	case errors.Is(err, h2.ErrUnsent), errors.Is(err, h2.ErrRefused):
		return &Error{Kind: Refused, Err: err}
	case errors.Is(err, h2.ErrMalformed), errors.Is(err, h2.ErrRequest), c.heard():
		return err
	case errors.As(err, new(*h2.ResetError)), errors.Is(err, h2.ErrViolation), errors.Is(err, h2.ErrSilent):
		return &Error{Kind: Reset, Err: err} // that is no idle connection that was closed
	default:
		return err
	}
}

// heard says whether anything of a response has come.
func (c *Conn) heard() bool { return c.stream.Heard() }
