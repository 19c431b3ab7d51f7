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

	"usher/proxy/wire"
)

// readBuffer is the size of the buffer a connection in use reads through; it
// bounds the head of a response.
const readBuffer = 16 << 10

// readers are the buffers of connections in use.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

// Conn is a connection to an endpoint, in use by one goroutine.
type Conn struct {
	// TCP is the connection itself.
	TCP *net.TCPConn
	// Reader reads from it while the Conn is in use.
	Reader *bufio.Reader
	// Watch is its deadline.
	Watch wire.Watch
	// Reused says that it has served a request before.
	Reused bool

	pool   *Pool
	raw    syscall.RawConn
	peek   func(fd uintptr) bool
	dead   bool
	closed atomic.Bool
	// idleSince is when it was put back, on the sweeper's clock.
	idleSince int64
}

func newConn(p *Pool, tcp *net.TCPConn) (*Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{TCP: tcp, pool: p, raw: raw}
	c.peek = c.look
	p.owner.sweeper.Add(&c.Watch, c)
	return c, nil
}

// Read implements io.Reader for Reader.
func (c *Conn) Read(p []byte) (int, error) { return c.TCP.Read(p) }

// Expire implements wire.Expirer: whoever waits on the connection stops.
func (c *Conn) Expire() { _ = c.TCP.SetDeadline(time.Unix(1, 0)) }

// look is the callback of alive.
func (c *Conn) look(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	c.dead = !errors.Is(err, syscall.EAGAIN)
	return true
}

// alive says whether an idle connection is as it was left: open, and nothing
// received. Bytes that nobody asked for belong to no request.
func (c *Conn) alive() bool {
	return c.raw.Read(c.peek) == nil && !c.dead && !c.Watch.Fired()
}

// begin attaches a buffer.
func (c *Conn) begin() {
	c.Reader = readers.Get().(*bufio.Reader) //nolint:forcetypeassert // the list holds nothing else
	c.Reader.Reset(c)
}

// end takes the buffer away.
func (c *Conn) end() {
	if c.Reader != nil {
		c.Reader.Reset(nil)
		readers.Put(c.Reader)
		c.Reader = nil
	}
}

// Close closes the connection for good.
func (c *Conn) Close() {
	if c.closed.Swap(true) {
		return
	}
	c.end()
	c.pool.owner.sweeper.Remove(&c.Watch)
	_ = c.TCP.Close() // nothing is left to lose
	c.pool.open.Add(-1)
}

// Abort ends what another goroutine waits for on the connection; its owner still
// closes it.
func (c *Conn) Abort() { c.Expire() }

// Release puts the connection back for the next request. The caller has read the
// response to its end and armed nothing.
func (c *Conn) Release() {
	if c.Reader.Buffered() > 0 || c.Watch.Fired() {
		c.Close()
		return
	}
	c.Watch.Arm(0)
	c.end()
	c.Reused = true
	c.pool.put(c)
}

// EOF says whether err is the end of a connection, orderly or not.
func EOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrUnexpectedEOF)
}
