package http2

import (
	"sync"

	"golang.org/x/net/http2/hpack"
)

// readBuffer holds the largest frame and what comes with it.
const readBuffer = 32 << 10

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

func getReadBuffer() []byte {
	return readBuffers.Get().(*[readBuffer]byte)[:] //nolint:forcetypeassert // the pool holds nothing else
}

// reader is what belongs to the goroutine that reads.
type reader struct {
	// early is what was read before the connection came here.
	early []byte
	// buf holds what has come from r to w; it is nil while the connection is parked.
	buf  []byte
	r, w int
	// resting says that there was no stream when the last batch ended, first is what wakes
	// the connection then.
	resting bool
	first   [1]byte
	// stage is what may come next.
	stage stage
	dec   *hpack.Decoder
	t     translator
	block block
	// ready are the streams of this batch: they begin when it ends, since what there is of
	// their bodies has come by then.
	ready []*Stream
	// deaf says that what comes is dropped; discarded is how much that was.
	deaf      bool
	discarded int
}

// stage is how far the connection has come.
type stage uint8

const (
	awaitPreface stage = iota
	awaitSettings
	established
)

// headerTable is the size of the table that a client's encoder may have us keep: what it
// is without a setting (RFC 7541 §4.2).
const headerTable = 4096

// release gives back what only a busy connection needs.
func (r *reader) release() {
	readBuffers.Put((*[readBuffer]byte)(r.buf))
	r.buf, r.r, r.w = nil, 0, 0
	r.ready, r.t.cookie = nil, nil
	// The decoder still points at what it was fed last, which is the buffer. A field of the
	// static table that nobody is told of changes nothing else.
	r.dec.SetEmitEnabled(false)
	_, _ = r.dec.Write(innocent[:])
	r.dec.SetEmitEnabled(true)
}

// innocent is a header block: ":method: GET".
var innocent = [1]byte{0x82}

// fill reads what has come, and waits for it.
func (c *Conn) fill() error {
	if c.resting && c.w == c.r && len(c.early) == 0 {
		return c.awaken()
	}
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if len(c.early) > 0 {
		n := copy(c.buf[c.w:], c.early)
		c.early = c.early[n:]
		c.w += n
		return nil
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// awaken is fill for a connection without streams: it waits without a buffer, with one byte
// for the first that comes. Over TLS the others need no further system call.
func (c *Conn) awaken() error {
	c.release()
	n, err := c.nc.Read(c.first[:])
	c.buf = getReadBuffer()
	if n == 0 {
		return err
	}
	c.buf[0], c.w = c.first[0], n
	return nil
}

// frames takes the frames that are complete.
func (c *Conn) frames() error {
	if c.stage == awaitPreface && !c.deaf {
		if err := c.preface(); err != nil || c.stage == awaitPreface {
			return err
		}
	}
	for !c.deaf {
		b := c.buf[c.r:c.w]
		if len(b) < frameHeader {
			return nil
		}
		f := parseFrame(b)
		if f.length > maxFrame {
			return &fault{FrameSizeError, "frame larger than SETTINGS_MAX_FRAME_SIZE"}
		}
		if len(b) < frameHeader+f.length {
			return nil
		}
		c.r += frameHeader + f.length
		if err := c.frame(f, b[frameHeader:frameHeader+f.length]); err != nil {
			return err
		}
	}
	c.discarded += c.w - c.r
	c.r = c.w
	return nil
}

// preface takes the client's, as far as it has come.
func (c *Conn) preface() error {
	b := c.buf[c.r:c.w]
	n := min(len(b), len(Preface))
	if string(b[:n]) != Preface[:n] {
		return &fault{ProtocolError, "no HTTP/2 preface"}
	}
	if n == len(Preface) {
		c.r += n
		c.stage = awaitSettings
	}
	return nil
}

// frame takes one. The payload is valid until it returns.
func (c *Conn) frame(f frame, payload []byte) error {
	if c.stage == awaitSettings {
		if f.kind != frameSettings || f.has(flagAck) {
			return &fault{ProtocolError, "the first frame is not SETTINGS"}
		}
		c.stage = established
	}
	if c.block.stream != 0 && (f.kind != frameContinuation || f.stream != c.block.stream) {
		return &fault{ProtocolError, "frame within a header block"}
	}
	switch f.kind {
	case frameData:
		return c.onData(f, payload)
	case frameHeaders:
		return c.onHeaders(f, payload)
	case frameContinuation:
		return c.onContinuation(f, payload)
	case frameReset:
		return c.onReset(f, payload)
	case frameWindowUpdate:
		return c.onWindowUpdate(f, payload)
	case framePriority:
		return c.onPriority(f, payload)
	case frameSettings:
		return c.onSettings(f, payload)
	case framePing:
		return c.onPing(f, payload)
	case frameGoAway:
		return c.onGoAway(f, payload)
	case framePushPromise:
		return &fault{ProtocolError, "PUSH_PROMISE from a client"}
	default:
		return c.waste(1) // frames that are not known are ignored (RFC 9113 §5.5)
	}
}

// partial sets the deadline for the rest of what has come in part. That of a body may come
// slowly, as long as it comes. The caller holds c.mu.
func (c *Conn) partial() {
	open := c.block.stream != 0 || c.w > c.r
	rolls := c.w-c.r > 3 && kind(c.buf[c.r+3]) == frameData
	if !open || c.ending || c.stage == awaitPreface {
		c.partBy = 0
	} else if c.partBy == 0 || rolls {
		c.partBy = after(c.now(), c.server.HeaderTimeout)
	}
}

// block is a header block, or what has come of it.
type block struct {
	// stream is whose it is, 0 for none; end says that nothing follows it.
	stream uint32
	end    bool
	// malformed is what is wrong with it, whatever it says.
	malformed string
	// fragments is how many frames it has come in.
	fragments int
	buf       []byte
}

// maxFragments is how many frames a header block may come in, beside those that its size
// calls for.
const maxFragments = 16

// onHeaders takes a HEADERS frame (RFC 9113 §6.2).
func (c *Conn) onHeaders(f frame, payload []byte) error {
	if f.stream%2 == 0 {
		return &fault{ProtocolError, "HEADERS on a stream that a client cannot open"}
	}
	b, err := unpad(f, payload)
	if err != nil {
		return err
	}
	h := block{stream: f.stream, end: f.has(flagEndStream), fragments: 1}
	if f.has(flagPriority) {
		if len(b) < 5 {
			return &fault{FrameSizeError, "HEADERS too short for its priority"}
		}
		if dependsOnItself(f.stream, b) {
			h.malformed = selfDependent
		}
		b = b[5:]
	}
	if f.has(flagEndHeaders) {
		h.buf = b
		return c.onBlock(h)
	}
	h.buf = append(reserve(nil, len(b)), b...)
	c.block = h
	return nil
}

// onContinuation takes a CONTINUATION frame (RFC 9113 §6.10). The block is put together
// before it is decoded; one that is too long to be answered ends the connection.
func (c *Conn) onContinuation(f frame, payload []byte) error {
	p := &c.block
	if p.stream == 0 {
		return &fault{ProtocolError, "CONTINUATION without HEADERS"}
	}
	p.fragments++
	if p.fragments > maxFragments+4*c.t.max/maxFrame || len(p.buf)+len(payload) > 4*c.t.max {
		return &fault{EnhanceYourCalm, "header block too long"}
	}
	p.buf = append(reserve(p.buf, len(payload)), payload...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	whole := *p
	*p = block{}
	defer putBuffer(whole.buf)
	return c.onBlock(whole)
}
