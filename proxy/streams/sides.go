package streams

import (
	"syscall"

	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/proxy/http2"
)

// Buffered implements forward.Source.
func (r *request) Buffered() []byte { return r.stream.Buffered() }

// PeekBody implements forward.Source.
func (r *request) PeekBody(most int64) ([]byte, error) {
	if len(r.part) == 0 {
		part, err := r.stream.Next()
		if err != nil {
			return nil, err
		}
		r.part = part
	}
	return r.part[:min(int64(len(r.part)), most)], nil
}

// TookBody implements forward.Source.
func (r *request) TookBody(n int) { r.part = r.part[n:] }

// BulkBody implements forward.Source: frames are in the way.
func (r *request) BulkBody() (raw syscall.RawConn, ok bool) { return nil, false }

// ReadBody implements forward.Source. It is not called, for BulkBody says no.
func (r *request) ReadBody(p []byte) (int, error) { return r.stream.Read(p) }

// StopBody implements forward.Source.
func (r *request) StopBody() { r.stream.StopBody() }

// Frame implements forward.Sink: the end of a stream needs no framing.
func (r *request) Frame(from forward.Framing, _ core.Reason) forward.Framing { return from }

// EndHead implements forward.Sink.
func (r *request) EndHead(dst []byte, _ forward.Framing) []byte {
	r.headLen = len(dst)
	return dst
}

// AppendData implements forward.Sink.
func (r *request) AppendData(dst, data []byte, _ forward.Framing) []byte { return append(dst, data...) }

// AppendEnd implements forward.Sink.
func (r *request) AppendEnd(dst, trailers []byte, _ forward.Framing) []byte {
	r.trailers = trailers
	return dst
}

// Write implements forward.Sink.
func (r *request) Write(b []byte, end bool) error {
	head, data := b[:r.headLen], b[r.headLen:]
	r.headLen = 0
	last := end && len(r.trailers) == 0
	switch {
	case len(head) > 0 && last:
		return r.stream.Respond(head, data)
	case len(head) > 0:
		if err := r.stream.WriteHead(head, false); err != nil {
			return err
		}
	}
	if len(data) > 0 || last {
		if err := r.stream.WriteData(data, last); err != nil {
			return err
		}
	}
	if end && !last {
		return r.stream.WriteTrailers(r.trailers)
	}
	return nil
}

// Interim implements forward.Sink.
func (r *request) Interim(head []byte) error { return r.stream.WriteHead(head, false) }

// Bulk implements forward.Sink.
func (r *request) Bulk() (raw syscall.RawConn, ok bool) { return nil, false }

// Truncate implements forward.Sink.
func (r *request) Truncate(forward.Framing) { r.stream.Reset(http2.InternalError) }
