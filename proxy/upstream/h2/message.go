package h2

import "golang.org/x/net/http2"

// data reads a frame of data. Its bytes go to the stream as they come.
func (s *Session) data(fh http2.FrameHeader) error {
	if fh.StreamID == 0 {
		return protocol("DATA on no stream")
	}
	left, pad := int(fh.Length), 0
	if fh.Flags.Has(http2.FlagDataPadded) {
		var err error
		if pad, err = s.padding(left, 1); err != nil {
			return err
		}
		left -= 1 + pad
	}
	end := fh.Flags.Has(http2.FlagDataEndStream)
	if err := s.expect(fh, left, end); err != nil {
		return err
	}
	for first := true; left > 0 || first; first = false {
		if err := s.fill(min(left, 1)); err != nil {
			return err
		}
		b, _ := s.reader.br.Peek(min(left, s.reader.br.Buffered()))
		left -= len(b)
		s.mu.Lock()
		if st := s.streams[fh.StreamID]; st != nil {
			st.received(b, end && left == 0)
		}
		s.unlock()
		_, _ = s.reader.br.Discard(len(b)) // they are at hand
	}
	return s.discard(pad)
}

// padding reads the length of a frame's padding; other bytes of its payload of so many
// come in front of what it pads.
func (s *Session) padding(length, other int) (int, error) {
	if length < other {
		return 0, &violation{http2.ErrCodeFrameSize, "a frame too short for its flags"}
	}
	if err := s.fill(1); err != nil {
		return 0, err
	}
	b, _ := s.reader.br.ReadByte() // it is at hand
	if int(b) > length-other {
		return 0, protocol("more padding than there is of the frame")
	}
	return int(b), nil
}

func (s *Session) discard(n int) error {
	for n > 0 {
		if err := s.fill(1); err != nil {
			return err
		}
		m, _ := s.reader.br.Discard(min(n, s.reader.br.Buffered()))
		n -= m
	}
	return nil
}

// expect checks a frame of data against the windows, and takes its length off them.
func (s *Session) expect(fh http2.FrameHeader, data int, end bool) error {
	n := int(fh.Length)
	r := &s.reader
	if r.left -= n; r.left < 0 {
		return &violation{http2.ErrCodeFlowControl, "more data than the session's window takes"}
	}
	s.mu.Lock()
	defer s.unlock()
	if s.never(fh.StreamID) {
		return protocol("DATA on a stream that was not begun")
	}
	s.peer.floods++
	if data > 0 || end {
		s.peer.floods = 0
	}
	if s.peer.floods > maxFloods {
		return &violation{http2.ErrCodeEnhanceYourCalm, "a flood of empty frames"}
	}
	s.ping.useful = true
	if r.received += n; r.received >= sessionWindow/2 {
		s.out = appendWindowUpdate(s.out, 0, r.received)
		s.wake()
		r.left += r.received
		r.received = 0
	}
	if st := s.streams[fh.StreamID]; st != nil {
		st.expect(n, n-data)
	}
	return nil
}

// headers reads the fields of a response, or of its trailers, in as many frames as they
// take. Those of a stream that is gone are read as well: the table is the session's.
func (s *Session) headers(fh http2.FrameHeader) error {
	id, end := fh.StreamID, fh.Flags.Has(http2.FlagHeadersEndStream)
	s.mu.Lock()
	known := !s.never(id)
	st := s.streams[id]
	s.reader.block.reset(st)
	s.peer.floods = 0
	s.ping.useful = true
	s.mu.Unlock()
	if !known {
		return protocol("HEADERS on a stream that was not begun")
	}
	left, pad, err := s.headersStart(fh)
	if err != nil {
		return err
	}
	if err := s.fragment(left); err != nil {
		return err
	}
	if err := s.discard(pad); err != nil {
		return err
	}
	for !fh.Flags.Has(http2.FlagHeadersEndHeaders) {
		if fh, err = s.header(); err != nil {
			return err
		}
		if err := s.fragment(int(fh.Length)); err != nil {
			return err
		}
	}
	if err := s.reader.hpack.Close(); err != nil {
		return &violation{http2.ErrCodeCompression, err.Error()}
	}
	s.mu.Lock()
	defer s.unlock()
	if st := s.streams[id]; st != nil {
		st.fields(&s.reader.block, end)
	}
	return nil
}

// headersStart reads what comes in front of the fields and says how long they are, and
// what is behind them.
func (s *Session) headersStart(fh http2.FrameHeader) (left, pad int, err error) {
	left = int(fh.Length)
	front := 0
	if fh.Flags.Has(http2.FlagHeadersPriority) {
		front = 5
	}
	if fh.Flags.Has(http2.FlagHeadersPadded) {
		front++
		if pad, err = s.padding(left, front); err != nil {
			return 0, 0, err
		}
		left--
		front--
	}
	if left < front {
		return 0, 0, &violation{http2.ErrCodeFrameSize, "a frame too short for its flags"}
	}
	return left - front - pad, pad, s.discard(front)
}

// maxFragments bounds the fields of one block as they are on the wire, and the frames that
// they come in: what the compression makes of it is bounded apart.
const (
	maxFragments = 2 * maxHead
	maxFrames    = 16
)

// fragment reads n bytes of a block of fields.
func (s *Session) fragment(n int) error {
	b := &s.reader.block
	b.frames++
	if b.wire += n; b.wire > maxFragments || b.frames > maxFrames {
		return &violation{http2.ErrCodeEnhanceYourCalm, "more fields than are taken"}
	}
	for n > 0 {
		if err := s.fill(1); err != nil {
			return err
		}
		p, _ := s.reader.br.Peek(min(n, s.reader.br.Buffered()))
		if _, err := s.reader.hpack.Write(p); err != nil {
			return &violation{http2.ErrCodeCompression, err.Error()}
		}
		n -= len(p)
		_, _ = s.reader.br.Discard(len(p)) // they are at hand
	}
	return nil
}
