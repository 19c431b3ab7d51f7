package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"usher/proxy/proxytest"
)

// paths are those a request may take that must not allocate. body is the length of
// the request's body; every answer has the same end.
var paths = []struct {
	name, request string
	body          int
	answer        string
}{
	{
		"GET", "GET /orders/1 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", 0,
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nhello" + theEnd,
	},
	{
		"browser",
		"GET /orders/1?a=%20b HTTP/1.1\r\nHost: Shop.example.com:8080\r\nConnection: keep-alive\r\n" +
			"Cookie: a=b; c=d\r\nAccept-Encoding: gzip\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", 0,
		"HTTP/1.1 200 OK\r\nServer: x\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\n" +
			"Set-Cookie: a=b\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\nhello" + theEnd,
	},
	{
		"POST", "POST /orders HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\n\r\nhello", 5,
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello" + theEnd,
	},
	{
		"gRPC",
		"POST /pkg.Service/Get HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: application/grpc\r\n" +
			"TE: trailers\r\ngrpc-timeout: 20S\r\nContent-Length: 5\r\n\r\nhello", 5,
		"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"5\r\nhello\r\n0\r\ngrpc-status: 0\r\ngrpc-message:" + theEnd,
	},
	{
		"chunks", "GET /orders HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 0,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b" + theEnd,
	},
	{
		"16KiB", "GET /orders HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 0,
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", 16<<10, strings.Repeat("x", 16<<10-4), theEnd),
	},
	{
		"1MiB", "GET /orders HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", 0,
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", 1<<20, strings.Repeat("x", 1<<20-4), theEnd),
	},
}

// theEnd is how each answer ends, as chunked ones must.
const theEnd = "\r\n\r\n"

// steady starts an origin that allocates nothing: it takes the head of each
// request, and the body, and gives the same answer.
func steady(tb testing.TB, body int, answer string) string {
	tb.Helper()
	out := []byte(answer)
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		_ = c.SetDeadline(time.Time{})
		br := bufio.NewReaderSize(c.Conn, 16<<10)
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) != len("\r\n") {
				continue
			}
			_, _ = br.Discard(body)
			if _, err := c.Conn.Write(out); err != nil {
				return
			}
		}
	}).Addr
}

// exchange is a client that allocates nothing: it sends the same request and
// expects an answer of the same length.
type exchange struct {
	nc              net.Conn
	request, answer []byte
}

func newExchange(tb testing.TB, address, request string) *exchange {
	tb.Helper()
	nc := proxytest.Dial(tb, address).TCPConn
	_ = nc.SetDeadline(time.Time{})
	x := &exchange{nc: nc, request: []byte(request)}
	if _, err := nc.Write(x.request); err != nil {
		tb.Fatal(err)
	}
	buf := make([]byte, 2<<20)
	n := 0
	for !bytes.HasSuffix(buf[:n], []byte(theEnd)) || bytes.Count(buf[:n], []byte(theEnd)) < 2 {
		m, err := nc.Read(buf[n:])
		if err != nil {
			tb.Fatalf("%v after %q", err, buf[:min(n, 200)])
		}
		n += m
	}
	x.answer = buf[:n]
	return x
}

// do sends the request and reads the answer.
func (x *exchange) do() error {
	if _, err := x.nc.Write(x.request); err != nil {
		return err
	}
	if _, err := io.ReadFull(x.nc, x.answer); err != nil {
		return err
	}
	if string(x.answer[:12]) != "HTTP/1.1 200" || string(x.answer[len(x.answer)-len(theEnd):]) != theEnd {
		return fmt.Errorf("got %.200q", x.answer)
	}
	return nil
}

// The common paths allocate nothing from end to end: what is counted is every
// allocation of the process over a few thousand requests.
func TestAllocations(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	for _, tc := range paths {
		t.Run(tc.name, func(t *testing.T) {
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(steady(t, tc.body, tc.answer))})
			x := newExchange(t, u.Addr(), tc.request)
			budget := 0.05
			if len(tc.answer) > 64<<10 {
				budget = 4.05 // what is spliced costs one for each 256 KiB
			}
			if per := mallocs(t, x, 4000*100/(100+len(tc.answer)/1000)); per >= budget {
				t.Errorf("%.3f allocations a request", per)
			}
		})
	}
}

// mallocs returns the allocations for each of n requests.
func mallocs(t *testing.T, x *exchange, n int) float64 {
	t.Helper()
	// A collection would empty the pools, which is not the path's doing.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	for i := range 2 * n {
		if i == n {
			runtime.ReadMemStats(&before)
		}
		if err := x.do(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

func BenchmarkProxyKeepAlive(b *testing.B) {
	for _, tc := range paths {
		b.Run(tc.name, func(b *testing.B) {
			u := proxytest.Start(b, proxytest.Options{Services: proxytest.Origins(steady(b, tc.body, tc.answer))})
			x := newExchange(b, u.Addr(), tc.request)
			b.ReportAllocs()
			b.SetBytes(int64(len(x.answer)))
			for b.Loop() {
				if err := x.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
