package http2

import (
	"runtime"
	"slices"
	"sync"
)

// sender is what goes to the client; Conn.mu guards it.
type sender struct {
	// out are the frames to be sent next, whole ones; nil when there are none.
	out []byte
	// outWindow is what may be sent on all streams together, initialWindow what a new
	// stream may send.
	outWindow, initialWindow int64
	// updates is how many WINDOW_UPDATE the client may send for what it was sent.
	updates int64
	// line are the streams that wait for the connection, first come first served: a window
	// or room in out. turn is the one whose turn it is.
	line []*Stream
	turn *Stream
	// tableless says that the client knows that its table of HPACK is not used.
	tableless bool
	// writing says that the writer runs, asleep that it waits for output, quit that it is
	// to end when there is none.
	writing, asleep, quit bool
	// output wakes the writer, space those who wait for out to be taken.
	output, space sync.Cond
}

const (
	// outLimit is how much may be queued before streams wait; a frame more may come on top,
	// or a head.
	outLimit = large - maxFrame - 2*frameHeader
	// outBound is how much there may be of everything: beyond it the client sends what
	// must be answered and does not take the answers.
	outBound = 2 * large
)

// control makes out what it was with an answer to the client appended. Those do not wait:
// if there are too many the connection ends. The caller holds c.mu.
func (c *Conn) control(out []byte) error {
	c.out = out
	if len(out) > outBound {
		return &fault{EnhanceYourCalm, "answers not taken"}
	}
	c.wake()
	return nil
}

// wake has the writer send what is queued. The caller holds c.mu.
func (c *Conn) wake() {
	if !c.writing {
		c.writing = true
		go c.write()
	} else if c.asleep {
		c.asleep = false
		c.output.Signal()
	}
}

// write is the writer, a goroutine of its own.
func (c *Conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.awaitOutput() {
		// Whoever is about to answer gets the chance to: what comes together goes out in
		// one write.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		if !c.flush() {
			break
		}
	}
	c.writing = false
	c.over.Broadcast()
}

// awaitOutput waits until there is something to send; false means the end.
func (c *Conn) awaitOutput() bool {
	for len(c.out) == 0 {
		if c.quit {
			c.sayGoodbye()
			return false
		}
		c.asleep = true
		c.output.Wait()
		c.asleep = false
	}
	return true
}

// flush sends what is queued, and says whether that went well. Meanwhile c.mu is free.
func (c *Conn) flush() bool {
	b := c.out
	c.out = nil
	c.space.Broadcast()
	c.next()
	limit := c.server.KeepaliveTimeout
	if c.faulty {
		limit = lingerTime
	}
	c.taking.Arm(after(c.now(), limit))
	c.mu.Unlock()
	_, err := c.nc.Write(b)
	c.taking.Arm(0)
	putBuffer(b)
	if err != nil {
		_ = c.nc.Close() // the reader sees to the rest
	}
	c.mu.Lock()
	return err == nil
}

// sayGoodbye ends what is sent, and has the client close the connection.
func (c *Conn) sayGoodbye() {
	if !c.ending {
		return // it is only to be parked
	}
	c.taking.Arm(c.now() + int64(lingerTime))
	c.mu.Unlock()
	closeWrite(c.nc)
	c.mu.Lock()
}

// closeWrite ends what is sent on a connection, or all of it where that is not possible.
func closeWrite(nc any) {
	switch nc := nc.(type) {
	case interface{ CloseWrite() error }:
		_ = nc.CloseWrite() // the connection ends anyway
	case interface{ Close() error }:
		_ = nc.Close() // likewise
	}
}

// grow makes room in out for a frame with n bytes of payload.
func (c *Conn) grow(n int) { c.out = reserve(c.out, n+frameHeader) }

// room is how much of a body may be queued now.
func (c *Conn) room() int64 {
	if len(c.out) >= outLimit {
		return 0
	}
	return max(0, min(c.outWindow, maxFrame))
}

// next lets the first stream of the line go on if it can. The caller holds c.mu.
func (c *Conn) next() {
	if c.room() == 0 {
		return
	}
	if c.turn == nil {
		if len(c.line) == 0 {
			return
		}
		c.turn = c.line[0]
		c.turn.inLine = false
		c.line = slices.Delete(c.line, 0, 1)
	}
	c.turn.cond.Broadcast()
}

// isFirst says whether no other stream waits that was there before.
func (c *Conn) isFirst(s *Stream) bool { return c.turn == s || c.turn == nil && len(c.line) == 0 }

func (c *Conn) enterLine(s *Stream) {
	if c.turn != s && !s.inLine {
		s.inLine = true
		c.line = append(c.line, s)
	}
}

func (c *Conn) leaveLine(s *Stream) {
	if c.turn == s {
		c.turn = nil
		c.next()
	} else if s.inLine {
		s.inLine = false
		c.line = slices.Delete(c.line, slices.Index(c.line, s), slices.Index(c.line, s)+1)
	}
}

// appendData queues a DATA frame. The caller holds c.mu and has seen that it may be sent.
func (c *Conn) appendData(s *Stream, p []byte, end bool) {
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	c.outWindow -= int64(len(p))
	s.outWindow -= int64(len(p))
	c.grow(len(p))
	c.out = append(appendFrame(c.out, len(p), frameData, flags, s.id), p...)
	c.noise.earn(earned)
	c.updates = min(c.updates+earned+int64(len(p))/updatePiece, maxUpdates)
}

// appendBlock queues a header block, in as many frames as it takes. The caller holds c.mu.
func (c *Conn) appendBlock(id uint32, block []byte, end bool) {
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	size := min(len(block), maxFrame-1)
	first, rest := block[:size], block[size:]
	if len(rest) == 0 {
		flags |= flagEndHeaders
	}
	c.grow(len(block) + 1)
	if !c.tableless {
		c.tableless = true
		c.out = append(appendFrame(c.out, size+1, frameHeaders, flags, id), emptyTable)
	} else {
		c.out = appendFrame(c.out, size, frameHeaders, flags, id)
	}
	c.out = append(c.out, first...)
	for len(rest) > 0 {
		part := rest[:min(len(rest), maxFrame)]
		rest = rest[len(part):]
		flags = 0
		if len(rest) == 0 {
			flags = flagEndHeaders
		}
		c.out = append(appendFrame(c.out, len(part), frameContinuation, flags, id), part...)
	}
	c.noise.earn(earned)
}

// updatePiece is for how much of a body a client may send a WINDOW_UPDATE: net/http gives
// both windows back every 4 KiB, however late its user reads. maxUpdates bounds how many it
// may be behind with.
const (
	updatePiece = 2 << 10
	maxUpdates  = 1 << 16
)

// earned is how many frames that carry nothing a client may send for each frame it is
// sent: it gives back the windows of the stream and of the connection.
const earned = 2
