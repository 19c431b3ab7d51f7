package wire

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Secure is TLS with a client.
//
// Its records are not written one by one: they gather until Flush, or until a read is
// about to wait. So a session ticket and the first response, or the last response, the
// farewell and the end of the connection, are one system call and one segment each.
//
// While one goroutine reads another may write.
type Secure struct {
	*tls.Conn
	sock *secureSocket
}

// NewSecure begins TLS as the server of c, whose Early bytes are the first it reads.
// Nothing is read before Handshake.
func NewSecure(c *Client, cfg *tls.Config) *Secure {
	sock := &secureSocket{TCPConn: c.TCP, early: c.Early}
	sock.heard.Store(len(c.Early) > 0)
	c.Early = nil
	return &Secure{Conn: tls.Server(sock, cfg), sock: sock}
}

// Shake makes the handshake. It waits for the client, which the deadline of the
// connection bounds. What is left to write for it, a ticket, leaves with what is written
// next; what tells the client why it failed has left.
func (s *Secure) Shake() error {
	err := s.HandshakeContext(context.Background()) // without Done it costs no goroutine
	if err != nil {
		_ = s.Flush() // the client may be gone
	}
	return err
}

// Heard says whether the client has said anything, or left. Any goroutine may call it.
func (s *Secure) Heard() bool { return s.sock.heard.Load() }

// Partial says whether a record has come in part. The goroutine that reads calls it.
func (s *Secure) Partial() bool { return s.sock.record.partial() }

// Within makes reads and writes go by fd, and reads not wait, until Without: it is called
// in a callback of syscall.RawConn.Read, when the socket has become readable. Where there
// is nothing to read, a read ends with ErrAgain, and goes on there when it is repeated.
func (s *Secure) Within(fd uintptr) { s.sock.fd, s.sock.within, s.sock.ready = fd, true, true }

// Without ends Within.
func (s *Secure) Without() { s.sock.within = false }

// Ready has the next read within the callback look, though the last one has found nothing
// more.
func (s *Secure) Ready() { s.sock.ready = true }

// Send writes b and everything before it. last says that nothing follows: the client is
// told so, and the socket's end leaves with it.
func (s *Secure) Send(b []byte, last bool) error {
	s.sock.sending.Store(true)
	err := s.send(b, last)
	s.sock.sending.Store(false)
	if err == nil && s.sock.left.Load() {
		s.sock.left.Store(false)
		err = s.Flush()
	}
	return err
}

func (s *Secure) send(b []byte, last bool) error {
	if len(b) > 0 {
		if _, err := s.Write(b); err != nil {
			return err
		}
	}
	if !last {
		return s.Flush()
	}
	if err := s.Conn.CloseWrite(); err != nil {
		return err
	}
	return s.sock.flush(true)
}

// Flush writes what has gathered.
func (s *Secure) Flush() error { return s.sock.flush(false) }

// CloseWrite ends what is sent, with a farewell.
func (s *Secure) CloseWrite() error { return s.Send(nil, true) }

// Goodbye says farewell if there is room for it in the socket, and does not wait. It is
// for a connection that closes, from the goroutine that owns it.
func (s *Secure) Goodbye() {
	s.sock.hasty.Store(true)
	_ = s.Conn.CloseWrite() // it may have been said
	_ = s.Flush()
}

// Eager returns the connection for who writes whole batches: each Write leaves at once, and
// Close says farewell.
func (s *Secure) Eager() net.Conn { return &eager{Secure: s} }

type eager struct {
	*Secure
	// writing says that a Write is under way.
	writing atomic.Bool
}

// Write implements net.Conn.
func (e *eager) Write(p []byte) (int, error) {
	e.writing.Store(true)
	defer e.writing.Store(false)
	if err := e.Send(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn. It does not wait.
func (e *eager) Close() error {
	if !e.writing.Load() { // which might wait for a client that does not read
		e.Goodbye()
	}
	return e.sock.Close()
}

// gatherMost is how much may gather before it is written, whoever asks.
const gatherMost = 68 << 10

// gathered are the buffers that records wait in.
var gathered = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// secureSocket is what TLS reads from and writes to.
type secureSocket struct {
	*net.TCPConn
	// early is what was read before.
	early []byte
	// within says that fd may be read from without waiting; ready that there may be
	// something.
	fd            uintptr
	within, ready bool
	// record is where what was read ends.
	record record
	// hasty makes writes not wait.
	hasty atomic.Bool
	// sending says that who sends will flush; left that a read has left that to it.
	sending, left atomic.Bool
	// heard says that something has come.
	heard atomic.Bool

	mu sync.Mutex
	// out are the records that have gathered; nil: none.
	out *[]byte
}

// Read implements net.Conn.
func (s *secureSocket) Read(p []byte) (int, error) {
	n, err := s.read(p)
	s.record.took(p[:n])
	return n, err
}

func (s *secureSocket) read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	if !s.within {
		if err := s.flushToWait(); err != nil {
			return 0, err
		}
		n, err := s.TCPConn.Read(p)
		s.heard.Store(true)
		return n, err
	}
	n, err := 0, ErrAgain
	if s.ready {
		n, err = RawRead(s.fd, p)
		s.ready = n == len(p)
	}
	if err == ErrAgain { //nolint:errorlint // it is never wrapped here
		if failed := s.flush(false); failed != nil {
			return 0, failed
		}
	}
	return n, err
}

// flushToWait writes what has gathered before a read waits: it may be what the client waits
// for. While another goroutine sends that is left to it: it may wait for a client that does
// not read, and such a client is heard nevertheless.
func (s *secureSocket) flushToWait() error {
	s.left.Store(true) // before it is asked who sends, and who has sent asks for it after that
	if s.sending.Load() || !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	if s.sending.Load() {
		return nil
	}
	s.left.Store(false)
	return s.flushLocked(false)
}

// SetWriteDeadline implements net.Conn. Only crypto/tls calls it: it lets the time for
// writing pass once it has said farewell, which has only been gathered by then.
func (s *secureSocket) SetWriteDeadline(time.Time) error { return nil }

// Write implements net.Conn: it gathers.
func (s *secureSocket) Write(p []byte) (int, error) {
	s.mu.Lock()
	if s.out == nil {
		s.out = gathered.Get().(*[]byte) //nolint:forcetypeassert // the list holds nothing else
	}
	*s.out = append(*s.out, p...)
	full := len(*s.out) > gatherMost
	s.mu.Unlock()
	if full {
		return len(p), s.flush(false)
	}
	return len(p), nil
}

// flush writes what has gathered; last says that nothing follows.
func (s *secureSocket) flush(last bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushLocked(last)
}

// flushLocked is flush for who holds mu.
func (s *secureSocket) flushLocked(last bool) error {
	if s.out == nil {
		if last {
			return s.CloseWrite()
		}
		return nil
	}
	b := *s.out
	rest, err := s.writeNow(b, last)
	if err == nil && len(rest) > 0 && !s.hasty.Load() {
		_, err = s.TCPConn.Write(rest)
	}
	if err == nil && last && (len(rest) > 0 || !s.within) {
		err = s.CloseWrite()
	}
	*s.out = b[:0]
	if cap(b) <= gatherMost+(16<<10) {
		gathered.Put(s.out)
	}
	s.out = nil
	return err
}

// writeNow writes what the socket takes without waiting, where that can be told, and
// returns the rest.
func (s *secureSocket) writeNow(b []byte, last bool) (rest []byte, err error) {
	n := 0
	switch {
	case s.within && last:
		n, err = RawWriteLast(s.fd, b)
	case s.within:
		n, err = RawWrite(s.fd, b)
	case s.hasty.Load():
		n, err = s.tryWrite(b)
	}
	if err == ErrAgain { //nolint:errorlint // it is never wrapped here
		err = nil
	}
	return b[n:], err
}

// tryWrite is RawWrite from outside of a callback.
func (s *secureSocket) tryWrite(b []byte) (n int, err error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { n, failed = RawWrite(fd, b) }); err != nil {
		return 0, err
	}
	return n, failed
}

// HungUp says whether the peer of a connection has closed or reset it, though it may have
// left something to read: over TLS it leaves a farewell. It may be called while another
// goroutine reads.
func HungUp(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, failed := unix.Poll(p, 0)
		yes = failed == nil && n > 0
	})
	return yes || err != nil
}
