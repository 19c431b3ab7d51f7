package upstream_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"usher/proxy/proxytest"
	"usher/proxy/upstream"
	"usher/routetable"
)

// steadyH2 starts an endpoint that allocates nothing: it answers each request with the same
// frames, as soon as its stream ends. It heeds no window: bodies fit in.
func steadyH2(tb testing.TB, body int) (address string) {
	tb.Helper()
	answer, ids := steadyAnswer(body)
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		_ = c.SetDeadline(time.Time{})
		br := bufio.NewReaderSize(c.Conn, 64<<10)
		bw := bufio.NewWriterSize(c.Conn, 64<<10)
		_, _ = br.Discard(len(http2.ClientPreface))
		_ = http2.NewFramer(bw, nil).WriteSettings()
		out := bytes.Clone(answer)
		for {
			if br.Buffered() == 0 && bw.Flush() != nil {
				return
			}
			b, err := br.Peek(9)
			if err != nil {
				return
			}
			length, kind, flags := int(b[0])<<16|int(b[1])<<8|int(b[2]), http2.FrameType(b[3]), http2.Flags(b[4])
			id := binary.BigEndian.Uint32(b[5:])
			_, _ = br.Discard(9 + length)
			if kind > http2.FrameHeaders || !flags.Has(http2.FlagDataEndStream) {
				continue
			}
			for _, at := range ids {
				binary.BigEndian.PutUint32(out[at:], id)
			}
			_, _ = bw.Write(out)
		}
	}).Addr
}

// steadyAnswer is a response with a body of so many bytes, and where its frames tell their
// stream. Its fields need no table.
func steadyAnswer(body int) (answer []byte, ids []int) {
	var out, fields bytes.Buffer
	enc := hpack.NewEncoder(&fields)
	enc.SetMaxDynamicTableSizeLimit(0)
	for _, f := range []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "content-length", Value: strconv.Itoa(body)},
	} {
		_ = enc.WriteField(f)
	}
	fr := http2.NewFramer(&out, nil)
	ids = append(ids, out.Len()+5)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: fields.Bytes()})
	for left := body; left > 0; left -= 16 << 10 {
		n := min(left, 16<<10)
		ids = append(ids, out.Len()+5)
		_ = fr.WriteData(1, n == left, make([]byte, n))
	}
	return out.Bytes(), ids
}

// BenchmarkH2 is a request over a stream, beside one over a connection of HTTP/1.1.
func BenchmarkH2(b *testing.B) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"
	h2c := h2Transport{protocol: "h2c"}
	plain := transport{}
	old := plain.raw(b, func(p *peer) {
		answer := append([]byte(head), make([]byte, 100)...)
		for {
			line, err := p.R.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				_, _ = p.Conn.Conn.Write(answer)
			}
		}
	})
	s := newScene(b)
	for _, tc := range []struct {
		name string
		size int
		at   *routetable.Endpoint
	}{
		{"http1/100B", 100, endpoint(old.Addr)},
		{"h2/100B", 100, h2c.endpoint(steadyH2(b, 100))},
		{"h2/10KiB", 10 << 10, h2c.endpoint(steadyH2(b, 10<<10))},
		{"h2/100KiB", 100 << 10, h2c.endpoint(steadyH2(b, 100<<10))},
	} {
		exchange := s.exchanges(s.Acquire(tc.at), tc.size)
		for _, parallel := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", tc.name, parallel), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(tc.size))
				b.SetParallelism(parallel)
				if parallel == 1 {
					for b.Loop() {
						if err := exchange(); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := exchange(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// exchanges returns what does a request and reads its response, of so many bytes.
func (s *scene) exchanges(p *upstream.Pool, size int) func() error {
	text := []byte("GET /orders/1 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	return func() error {
		c, failed := p.Get(false, proxytest.Patience)
		if failed != nil {
			return failed
		}
		c.Send(text)
		for {
			line, err := c.Reader.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := c.Reader.Discard(size); err != nil {
			return err
		}
		c.Release()
		return nil
	}
}

// A request over a stream allocates what its response's fields take, whose values the
// decoder makes strings.
func TestH2Allocations(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates")
	}
	s := newScene(t)
	tr := h2Transport{protocol: "h2c"}
	for _, size := range []int{100, 50 << 10} {
		exchange := s.exchanges(s.Acquire(tr.endpoint(steadyH2(t, size))), size)
		n := testing.AllocsPerRun(200, func() {
			if err := exchange(); err != nil {
				t.Fatal(err)
			}
		})
		if n > 1 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}
