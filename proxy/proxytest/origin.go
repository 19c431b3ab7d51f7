package proxytest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Origin is a raw TCP server that records what it receives.
type Origin struct {
	Addr string

	tb      testing.TB
	ln      net.Listener
	serving sync.WaitGroup

	mu       sync.Mutex
	accepted int
	open     map[*Conn]struct{}
	received bytes.Buffer
	closed   bool
}

// Conn is one connection to an Origin, for the function that serves it. It closes
// when that returns.
type Conn struct {
	net.Conn
	// R reads from the connection; what passes is recorded.
	R *bufio.Reader
	// Nth counts the connections from 1.
	Nth int

	origin *Origin
	// disowned says that somebody else closes it.
	disowned bool
	// taken is what was read since Taken was called last.
	taken bytes.Buffer
}

// Raw starts an Origin that calls serve for each connection.
func Raw(tb testing.TB, serve func(c *Conn)) *Origin {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	o := &Origin{Addr: ln.Addr().String(), tb: tb, ln: ln, open: map[*Conn]struct{}{}}
	o.serving.Go(func() { o.accept(serve) })
	tb.Cleanup(o.Close)
	return o
}

func (o *Origin) accept(serve func(c *Conn)) {
	for {
		nc, err := o.ln.Accept()
		if err != nil {
			return
		}
		c := o.add(nc)
		if c == nil {
			return
		}
		o.serving.Go(func() {
			defer o.remove(c)
			serve(c)
		})
	}
}

func (o *Origin) add(nc net.Conn) *Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		nc.Close()
		return nil
	}
	o.accepted++
	_ = nc.SetDeadline(time.Now().Add(2 * Patience))
	c := &Conn{Conn: nc, Nth: o.accepted, origin: o}
	c.R = bufio.NewReader(io.TeeReader(nc, c))
	o.open[c] = struct{}{}
	return c
}

func (o *Origin) remove(c *Conn) {
	if !c.disowned {
		c.Close()
	}
	o.mu.Lock()
	delete(o.open, c)
	o.mu.Unlock()
}

// Close stops the Origin and cuts its connections.
func (o *Origin) Close() {
	o.mu.Lock()
	o.closed = true
	o.ln.Close()
	for c := range o.open {
		c.Close()
	}
	o.mu.Unlock()
	o.serving.Wait()
}

// Accepted is how many connections have come.
func (o *Origin) Accepted() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.accepted
}

// Open is how many connections are being served.
func (o *Origin) Open() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.open)
}

// Received is all that has come.
func (o *Origin) Received() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.received.String()
}

// Write implements io.Writer for the recorder.
//
// It is promoted over net.Conn's: answers go out through Reply.
func (c *Conn) Write(p []byte) (int, error) {
	c.taken.Write(p)
	c.origin.mu.Lock()
	defer c.origin.mu.Unlock()
	return c.origin.received.Write(p)
}

// Taken returns what was received since the last call.
func (c *Conn) Taken() string {
	s := c.taken.String()
	c.taken.Reset()
	return s
}

// Disown leaves the connection open when serve returns: somebody else has it.
func (c *Conn) Disown() {
	_ = c.SetDeadline(time.Time{})
	c.disowned = true
}

// CloseWrite ends what the origin says.
func (c *Conn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() } //nolint:forcetypeassert // it is TCP

// Reset closes the connection with a reset.
func (c *Conn) Reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // it is TCP
	c.Close()
}

// Reply writes raw bytes to usher and says whether that went well.
func (c *Conn) Reply(format string, args ...any) bool {
	s := format
	if len(args) > 0 {
		s = fmt.Sprintf(format, args...)
	}
	_, err := io.WriteString(c.Conn, s)
	return err == nil
}

// Request reads a whole request, its body included; nil at the end of the
// connection. raw is what came.
func (c *Conn) Request() (req *http.Request, body, raw string) {
	req, err := http.ReadRequest(c.R)
	if err != nil {
		return nil, "", c.Taken()
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, string(b), c.Taken()
	}
	return req, string(b), c.Taken()
}

// Head reads up to the blank line behind a head; empty at the end of the
// connection.
func (c *Conn) Head() string {
	var b strings.Builder
	for {
		line, err := c.R.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// Gone waits until usher closes the connection and says whether it did in time.
func (c *Conn) Gone() bool {
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	_, err := io.Copy(io.Discard, c.R)
	ne, ok := err.(net.Error) //nolint:errorlint // it comes from the socket itself
	return !ok || !ne.Timeout()
}

// OK is a small answer.
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// Echo starts an Origin whose answers hold the requests as they came, byte for
// byte.
func Echo(tb testing.TB) *Origin {
	tb.Helper()
	return Raw(tb, func(c *Conn) {
		for {
			req, _, raw := c.Request()
			if req == nil {
				return
			}
			head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(raw))
			if req.Method == http.MethodHead {
				raw = ""
			}
			if !c.Reply("%s", head+raw) {
				return
			}
		}
	})
}

// Answering starts an Origin that gives each request the same raw answer.
func Answering(tb testing.TB, answer string) *Origin {
	tb.Helper()
	return Raw(tb, func(c *Conn) {
		for {
			if req, _, _ := c.Request(); req == nil || !c.Reply("%s", answer) {
				return
			}
		}
	})
}

// Nowhere is an address that refuses connections, and nobody else's until the test
// ends.
func Nowhere(tb testing.TB) string {
	tb.Helper()
	_, address := bound(tb)
	return address
}

// bound binds a socket that does not listen.
func bound(tb testing.TB) (fd int, address string) {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	in, ok := sa.(*unix.SockaddrInet4)
	if err != nil || !ok {
		tb.Fatalf("%T: %v", sa, err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", in.Port)
}

// Deaf is an address whose connections are neither taken nor refused: its queue is
// full.
func Deaf(tb testing.TB) string {
	tb.Helper()
	fd, address := bound(tb)
	if err := unix.Listen(fd, 0); err != nil {
		tb.Fatal(err)
	}
	for range 8 {
		nc, err := (&net.Dialer{Timeout: 50 * time.Millisecond}).DialContext(tb.Context(), "tcp", address)
		if err != nil {
			return address
		}
		tb.Cleanup(func() { nc.Close() })
	}
	tb.Fatal("the queue does not fill")
	return ""
}
