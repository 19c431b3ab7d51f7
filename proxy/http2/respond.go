package http2

// WriteHead sends the head of the response, given as the text of one in HTTP/1.1: status
// line, fields, and a blank line or none. A status of 1xx is an interim one, after which
// another head follows; end says that there is no body. It waits while the client does not
// take what was sent before. head is not kept.
func (s *Stream) WriteHead(head []byte, end bool) error {
	block, status := appendResponse(s.enc[:0], head)
	s.enc = block
	if status == 0 {
		return ErrNoHead
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.sendBlock(end && status >= 200)
}

// WriteTrailers ends the response with fields, given as lines of text as in HTTP/1.1. It
// waits as WriteHead does.
func (s *Stream) WriteTrailers(lines []byte) error {
	s.enc = appendFields(s.enc[:0], lines)
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.sendBlock(true)
}

// Respond sends a whole response, as WriteHead and WriteData would, but in one go if it is
// a small one.
func (s *Stream) Respond(head, data []byte) error {
	block, status := appendResponse(s.enc[:0], head)
	s.enc = block
	if status < 200 {
		return ErrNoHead
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.sendBlock(len(data) == 0); err != nil || len(data) == 0 {
		return err
	}
	return s.sendData(data, true)
}

// WriteData sends a part of the response's body; end says that it is the last one. It
// waits while the client's windows are empty or it does not take what was sent before. p
// is not kept.
func (s *Stream) WriteData(p []byte, end bool) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.sendData(p, end)
}

// Reset breaks the stream off. What was written before may still be sent.
func (s *Stream) Reset(code Code) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(s, code)
	s.end(ErrReset)
}

// sendBlock queues s.enc when there is space. The caller holds c.mu.
func (s *Stream) sendBlock(end bool) error {
	c := s.conn
	for len(c.out) >= outLimit {
		if err := s.unwritable(); err != nil {
			return err
		}
		if s.late {
			return ErrLate
		}
		c.space.Wait()
	}
	if err := s.unwritable(); err != nil {
		return err
	}
	c.appendBlock(s.id, s.enc, end)
	s.sent(end)
	return nil
}

// sendData queues p, frame by frame, as the windows and the space let it. The caller holds
// c.mu.
func (s *Stream) sendData(p []byte, end bool) error {
	c := s.conn
	for len(p) > 0 {
		n, err := s.awaitRoom(len(p))
		if err != nil {
			return err
		}
		last := end && n == len(p)
		c.appendData(s, p[:n], last)
		s.sent(last)
		p = p[n:]
		c.next()
		if last {
			return nil
		}
	}
	if err := s.unwritable(); err != nil || !end {
		return err
	}
	c.appendData(s, nil, true)
	s.sent(true)
	return nil
}

// sent has what was queued sent; end says that the response is complete.
func (s *Stream) sent(end bool) {
	s.conn.wake()
	if !end {
		return
	}
	s.outEnd = true
	if s.inEnd {
		s.conn.close(s, byEnd)
	}
}

func (s *Stream) unwritable() error {
	if s.err == nil && s.outEnd {
		return ErrEnded
	}
	return s.err
}

// awaitRoom waits until some of n bytes may be sent, and returns how many. Streams that
// wait for the connection take turns, a frame each; one that waits for its own window lets
// the others pass.
func (s *Stream) awaitRoom(n int) (int, error) {
	c := s.conn
	defer c.leaveLine(s)
	for {
		if err := s.unwritable(); err != nil {
			return 0, err
		}
		room := c.room()
		switch {
		case s.outWindow <= 0:
			c.leaveLine(s)
		case room > 0 && c.isFirst(s):
			return int(min(int64(n), s.outWindow, room)), nil
		default:
			c.enterLine(s)
		}
		if s.late {
			return 0, ErrLate
		}
		s.cond.Wait()
	}
}
