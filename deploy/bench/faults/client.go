package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// host is what every request asks for.
const host = "bench.example.com"

// record is what became of one request. An empty kind is success.
type record struct {
	took   time.Duration // since it was due
	kind   string
	resent bool // by the client itself, on a new connection
}

// load asks at a steady rate, whatever becomes of the requests asked before: each one has
// its time, and is late if the answer to it is late for any reason.
type load struct {
	addr, method   string
	rate           int
	delay, timeout time.Duration
	tls            *tls.Config // nil: without TLS
	records        []record    // one a request, written by its goroutine alone
	mu             sync.Mutex
	idle           []*clientConn // guarded by mu
}

// clientConn is a connection to the proxy, of one request at a time.
type clientConn struct {
	net.Conn
	tcp  *net.TCPConn // below it
	r    *bufio.Reader
	kept bool // it has had a request
}

func newLoad(addr string, f fault, rate int, timeout time.Duration) *load {
	l := &load{addr: addr, method: http.MethodGet, rate: rate, delay: ordinary, timeout: timeout}
	if f.method != "" {
		l.method = f.method
	}
	if f.rate > 0 {
		l.rate = f.rate
	}
	if f.delay > 0 {
		l.delay = f.delay
	}
	n := f.requests
	if n == 0 {
		n = int(f.lasts.Seconds() * float64(l.rate))
	}
	l.records = make([]record, n)
	return l
}

// run asks, waits for the answers and closes its connections. It began when it is told.
func (l *load) run(ctx context.Context, began time.Time) {
	var asked sync.WaitGroup
	pace(ctx, began, l.rate, len(l.records), func(i int) {
		asked.Go(func() { l.records[i] = l.ask(ctx, i, began.Add(due(i, l.rate))) })
	})
	asked.Wait()
	for _, c := range l.idle {
		_ = c.Close()
	}
}

// due is when request i is sent at that rate.
func due(i, rate int) time.Duration {
	return time.Duration(float64(i) / float64(rate) * float64(time.Second))
}

// pace calls send for 0 to n-1, each when it is due, until ctx ends. What is overdue is
// sent at once.
func pace(ctx context.Context, began time.Time, rate, n int, send func(i int)) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; ; {
		for ; i < n && time.Since(began) >= due(i, rate); i++ {
			send(i)
		}
		if i == n {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask sends request i. Like every HTTP client it sends a GET again when a kept connection
// ends without a word: the proxy may have closed it in that moment.
func (l *load) ask(ctx context.Context, i int, at time.Time) record {
	var rec record
	end := at.Add(l.timeout)
	for {
		kind, stale := l.try(ctx, strconv.Itoa(i), end)
		if stale && l.method == http.MethodGet {
			rec.resent = true
			continue // each time takes one of the kept connections away
		}
		rec.took, rec.kind = time.Since(at), kind
		return rec
	}
}

// try returns what went wrong; stale says that it was a kept connection that had ended.
func (l *load) try(ctx context.Context, id string, end time.Time) (kind string, stale bool) {
	c, err := l.connection(ctx, end)
	if err != nil {
		return kindOf(err), false
	}
	good := false
	defer func() { l.giveBack(c, good) }()
	_ = c.SetDeadline(end) // it fails on a closed connection, as what follows does
	_, err = fmt.Fprintf(c, "%s /?id=%s&delay=%v HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n",
		l.method, id, l.delay, host)
	if err == nil {
		_, err = c.r.Peek(1)
	}
	if err != nil {
		return kindOf(err), c.kept && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return kindOf(err), false
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it is read, or the connection is closed
	switch good = err == nil && !resp.Close; {
	case resp.StatusCode != http.StatusOK:
		return strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + resp.Header.Get("X-Usher-Reason")), false
	case err != nil:
		return kindOf(err), false
	case string(body) != id:
		return "wrong answer", false
	}
	return "", false
}

func (l *load) connection(ctx context.Context, end time.Time) (*clientConn, error) {
	for {
		l.mu.Lock()
		n := len(l.idle)
		if n == 0 {
			l.mu.Unlock()
			break
		}
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		if c.open() {
			return c, nil
		}
		_ = c.Close()
	}
	d := net.Dialer{Deadline: end}
	c, err := d.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	if l.tls != nil {
		secure := tls.Client(c, l.tls)
		_ = c.SetDeadline(end) // what follows fails on a closed connection
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		c = secure
	}
	return &clientConn{Conn: c, tcp: tcp, r: bufio.NewReader(c)}, nil
}

// open says whether the other side has left the connection alone.
func (c *clientConn) open() bool {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
	})
	return open && err == nil
}

func (l *load) giveBack(c *clientConn, good bool) {
	if !good {
		_ = c.Close()
		return
	}
	c.kept = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, c)
}

// kindOf is an error in a word.
func kindOf(err error) string {
	var netErr net.Error
	switch {
	case errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return "other"
}
