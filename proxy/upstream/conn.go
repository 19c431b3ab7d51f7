package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"usher/proxy/upstream/h2"
	"usher/proxy/wire"
	"usher/routetable"
)

// readBuffer is the size of the buffer a connection in use reads through; it
// bounds the head of a response.
const readBuffer = 16 << 10

// readers are the buffers of connections in use.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

// Conn is a connection to an endpoint, in use by one goroutine. While that one reads,
// another may write. To an endpoint that speaks HTTP/2 it is one stream of a connection that
// others share; what is written to it and read from it is the text of HTTP/1.1 all the same.
type Conn struct {
	// Reader reads from it while the Conn is in use.
	Reader *bufio.Reader
	// Watch is its deadline.
	Watch wire.Watch
	// Reused says that it has served a request before.
	Reused bool
	// Waiter, if there is one, is told before each read of a response: what has been
	// read must not lie about while the next bytes are waited for.
	Waiter Waiter

	pool *Pool
	// told says that it began with the name of a client.
	told bool
	tcp  wire.Socket
	raw  syscall.RawConn
	// secure is TLS over tcp; nil: plain.
	secure *secure
	// look and talk are the callbacks of Alive and Read, made once.
	look, talk func(fd uintptr) bool
	dead       bool
	// request is what the next Read sends before it waits; in, n and err are that
	// Read's buffer and result.
	request []byte
	in      []byte
	n       int
	err     error
	sent    bool
	closed  atomic.Bool
	// stream is what it is by HTTP/2; begun says that the head was written, and the body is
	// not at hand. Nil: it is the connection itself.
	stream *h2.Stream
	begun  bool
	// idleSince is when it was put back, on the sweeper's clock.
	idleSince int64
}

// Endpoint is whom the connection is to. It may be called from any goroutine.
func (c *Conn) Endpoint() *routetable.Endpoint { return c.pool.endpoint }

// Waiter is told before a read that may wait. Its error is the read's.
type Waiter interface{ BeforeRead() error }

// newConn wraps a connection of a pool. It is under no deadline yet.
func newConn(p *Pool, tcp wire.Socket) (*Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{tcp: tcp, pool: p, raw: raw}
	c.look = func(fd uintptr) bool {
		c.dead = !wire.RawQuiet(fd)
		return true
	}
	c.talk = c.sendAndRead
	return c, nil
}

// ErrStale is an idle connection that turned out closed, or with bytes nobody asked
// for. Nothing was sent on it.
var ErrStale = errors.New("idle connection is no good any more")

// Plain returns the connection itself, for who moves bytes within the kernel; ok says
// that this can be done: not over TLS, nor by HTTP/2. Nobody else reads from or writes to it meanwhile.
func (c *Conn) Plain() (tcp wire.Socket, raw syscall.RawConn, ok bool) {
	return c.tcp, c.raw, c.secure == nil && c.stream == nil
}

// Write implements io.Writer. It may wait until the connection expires. The first write of a
// request holds its whole head.
func (c *Conn) Write(p []byte) (int, error) {
	if c.stream != nil {
		return c.writeStream(p)
	}
	if c.secure != nil {
		return c.secure.Write(p)
	}
	return c.tcp.Write(p)
}

// CloseWrite ends what is sent; the peer may still answer. Over TLS that is a goodbye,
// for which it waits some seconds where the peer does not read. Nobody writes meanwhile,
// or after it; another goroutine may read.
func (c *Conn) CloseWrite() error {
	if c.stream != nil {
		return c.stream.WriteEnd()
	}
	if c.secure != nil {
		return c.secure.CloseWrite()
	}
	return c.tcp.CloseWrite()
}

// Send gives the connection a request to write. It is written by the first read of
// the response, which begins to wait without trying to read where the connection was
// used before: the answer to something not yet sent cannot be there. The bytes must stay
// until then.
func (c *Conn) Send(request []byte) { c.request, c.sent = request, false }

// Read implements io.Reader for Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if c.Waiter != nil {
		if err := c.Waiter.BeforeRead(); err != nil {
			return 0, err
		}
	}
	if c.stream != nil {
		return c.readStream(p)
	}
	if c.secure != nil {
		return c.sendAndReadSecure(p)
	}
	if len(c.request) == 0 {
		return c.tcp.Read(p)
	}
	c.in, c.n, c.err = p, 0, nil
	if err := c.raw.Read(c.talk); err != nil {
		c.err = err
	}
	if len(c.request) == 0 || c.err != nil {
		c.in, c.request = nil, nil
		return c.n, c.err
	}
	// The socket took a part: write the rest as the scheduler likes it.
	rest := c.request
	c.in, c.request = nil, nil
	if _, err := c.tcp.Write(rest); err != nil {
		return 0, err
	}
	return c.tcp.Read(p)
}

// sendAndRead is the callback of Read. Called first it writes, called again, when
// the socket has become readable, it reads. The write must be within the callback:
// the answer's arrival must come after the poller was made ready for it.
func (c *Conn) sendAndRead(fd uintptr) bool {
	if !c.sent {
		if c.sendNow(fd) {
			return true
		}
		if c.Reused { // there was nothing to read just now
			return false
		}
		// What a peer says or ends as soon as it is connected has come before this wait
		// began, and the poller does not tell it again.
	}
	c.n, c.err = wire.RawRead(fd, c.in)
	if errors.Is(c.err, wire.ErrAgain) {
		c.err = nil
		return false
	}
	c.request = nil
	return true
}

// sendNow writes the request, on a connection that is still as it was left. It
// returns true when the waiting is not to be done here.
func (c *Conn) sendNow(fd uintptr) bool {
	if c.Reused && !wire.RawQuiet(fd) {
		c.err = ErrStale
		return true
	}
	n, err := wire.RawWrite(fd, c.request)
	if err != nil && !errors.Is(err, wire.ErrAgain) {
		c.err = err
		return true
	}
	c.sent = n == len(c.request)
	if !c.sent {
		c.request = c.request[n:]
	}
	return !c.sent
}

// sendAndReadSecure is Read over TLS, whose records leave no room for the callback.
func (c *Conn) sendAndReadSecure(p []byte) (int, error) {
	if request := c.request; len(request) > 0 {
		c.request = nil
		if c.Reused && !c.secure.quiet() {
			return 0, ErrStale
		}
		if _, err := c.secure.Write(request); err != nil {
			return 0, c.secure.saidBefore(err)
		}
	}
	return c.secure.Read(p)
}

// Fill waits for the next bytes and reads as much as is there, up to len(p). An error
// that came behind some bytes is that of the next call.
func (c *Conn) Fill(p []byte) (int, error) {
	n, err := c.Read(p)
	if c.secure == nil {
		return n, err
	}
	for err == nil && n < len(p) {
		m, later := c.secure.readNow(p[n:])
		n += m
		if later != nil {
			break
		}
	}
	return n, err
}

// Expire implements wire.Expirer: whoever waits on the connection stops.
func (c *Conn) Expire() {
	if c.stream != nil {
		c.stream.Expire()
		return
	}
	_ = c.tcp.SetDeadline(time.Unix(1, 0))
}

// Unbuffer gives the buffer up for good: the owner reads from the Conn itself. Nothing is
// in it.
func (c *Conn) Unbuffer() {
	if c.Reader != nil {
		c.Reader.Reset(nil)
		readers.Put(c.Reader)
		c.Reader = nil
	}
}

// Alive says whether an idle connection is as it was left: open, and nothing
// received. Bytes that nobody asked for belong to no request.
func (c *Conn) Alive() bool {
	if c.Watch.Fired() {
		return false
	}
	if c.stream != nil {
		return c.stream.Alive()
	}
	if c.secure != nil {
		return c.secure.quiet()
	}
	return c.raw.Read(c.look) == nil && !c.dead
}

// begin attaches a buffer.
func (c *Conn) begin() {
	if c.stream != nil {
		c.pool.owner.sweeper.Add(&c.Watch, c)
	}
	c.Reader = readers.Get().(*bufio.Reader) //nolint:forcetypeassert // the list holds nothing else
	c.Reader.Reset(c)
}

// end takes the buffer away.
func (c *Conn) end() {
	c.Waiter = nil
	c.Unbuffer()
}

// Close closes the connection for good. It does not wait.
func (c *Conn) Close() {
	if c.closed.Swap(true) {
		return
	}
	idle := c.Reader == nil
	c.end()
	c.pool.owner.sweeper.Remove(&c.Watch)
	switch {
	case c.stream != nil:
		c.stream.Close()
		return
	case c.secure != nil && idle:
		_ = c.secure.Close() // nothing is under way: there is room for a farewell
	default:
		_ = c.tcp.Close() // nothing is left to lose
	}
	c.pool.closed()
}

// Dead says whether the peer has closed or reset the connection.
func (c *Conn) Dead() bool {
	if c.stream != nil {
		return !c.stream.Alive()
	}
	return wire.Ended(c.raw)
}

// Idle says whether the connection is open and has nothing to read.
func (c *Conn) Idle() bool {
	if c.stream != nil {
		return c.stream.Quiet()
	}
	return wire.Quiet(c.raw)
}

// Abort ends what another goroutine waits for on the connection; its owner still
// closes it.
func (c *Conn) Abort() {
	if c.stream != nil {
		c.stream.Abort()
		return
	}
	c.Expire()
}

// Release puts the connection back for the next request. The caller has read the
// response to its end and armed nothing.
func (c *Conn) Release() {
	c.Watch.Arm(0) // before the question whether it has fired: after that it cannot
	if c.told || c.Reader.Buffered() > 0 || c.Watch.Fired() {
		c.Close()
		return
	}
	c.end()
	if c.stream != nil {
		c.pool.owner.sweeper.Remove(&c.Watch)
	}
	c.Reused = true
	c.pool.put(c)
}

// EOF says whether err is the end of a connection, orderly or not. A TLS peer that
// ends it by an alert, such as one that wants another certificate, is among them.
func EOF(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
