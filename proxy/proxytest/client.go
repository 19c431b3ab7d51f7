package proxytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// Client is a raw HTTP/1.1 client on one connection.
type Client struct {
	*net.TCPConn
	R *bufio.Reader

	tb testing.TB
}

// Response is a response read to its end. Err is what ended its body, nil when
// that was whole.
type Response struct {
	*http.Response
	Text string
	Err  error
}

// Dial connects to the listener called web.
func (u *Usher) Dial() *Client {
	u.tb.Helper()
	return Dial(u.tb, u.Addr())
}

// Dial connects to an address. The connection ends with the test, or with
// Patience.
func Dial(tb testing.TB, address string) *Client {
	tb.Helper()
	c, err := TryDial(tb, address)
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	return c
}

// TryDial is Dial for goroutines that may not end the test.
func TryDial(tb testing.TB, address string) (*Client, error) {
	tb.Helper()
	return DialFrom(tb, "", address)
}

// DialFrom is TryDial from an address of this machine; empty: any.
func DialFrom(tb testing.TB, ip, address string) (*Client, error) {
	tb.Helper()
	d := net.Dialer{Timeout: Patience}
	if ip != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(ip)}
	}
	nc, err := d.DialContext(tb.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("not TCP: %T", nc)
	}
	_ = tcp.SetDeadline(time.Now().Add(Patience))
	tb.Cleanup(func() { tcp.Close() })
	return &Client{TCPConn: tcp, R: bufio.NewReader(tcp), tb: tb}, nil
}

// Send writes raw bytes.
func (c *Client) Send(format string, args ...any) {
	c.tb.Helper()
	s := format
	if len(args) > 0 {
		s = fmt.Sprintf(format, args...)
	}
	if _, err := io.WriteString(c.TCPConn, s); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

// Get asks for a path and reads the answer.
func (c *Client) Get(target string) *Response {
	c.tb.Helper()
	c.Send("GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n", target)
	return c.Read("GET")
}

// Begin reads the head of a response to a request of the given method.
func (c *Client) Begin(method string) *Response {
	c.tb.Helper()
	resp, err := c.TryBegin(method)
	if err != nil {
		c.tb.Fatalf("no response: %v", err)
	}
	return resp
}

// TryBegin is Begin for goroutines that may not end the test.
func (c *Client) TryBegin(method string) (*Response, error) {
	resp, err := http.ReadResponse(c.R, &http.Request{Method: method}) //nolint:bodyclose // it ends with the connection
	return &Response{Response: resp}, err
}

// Read reads a whole response.
func (c *Client) Read(method string) *Response {
	c.tb.Helper()
	r := c.Begin(method)
	b, err := io.ReadAll(r.Body)
	r.Text, r.Err = string(b), err
	return r
}

// OK reads a whole response and fails the test unless it has that text and the
// status 200.
func (c *Client) OK(method, text string) {
	c.tb.Helper()
	if r := c.Read(method); r.StatusCode != 200 || r.Text != text || r.Err != nil {
		c.tb.Fatalf("got %s %.200q (%v), want 200 %q", r.Status, r.Text, r.Err, text)
	}
}

// Closed fails the test unless usher closes the connection without another byte.
func (c *Client) Closed() {
	c.tb.Helper()
	b, err := io.ReadAll(c.R)
	if len(b) > 0 {
		c.tb.Fatalf("got %q, want the end of the connection", b)
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.tb.Fatalf("got %v, want the end of the connection", err)
	}
}

// Cut closes the connection with a reset.
func (c *Client) Cut() {
	_ = c.SetLinger(0)
	c.Close()
}
