package http1

import (
	"testing"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
)

// A head that the scanner takes and the codec does not is told, and leaves nothing behind
// for the next one that is read with the same buffers.
func TestMalformedHead(t *testing.T) {
	t.Parallel()
	w := &work{}
	w.req.DisableSpecialHeader()
	c := &conn{listener: &core.Listener{}, work: w}
	read := func(head string) *fasthttp.RequestHeader {
		c.wrote = []byte(head)
		c.head.Reset()
		_ = c.head.ScanRequest(c.wrote) // what it does not take is what is wanted here
		c.x.Host = c.head.Host.Of(c.wrote)
		return c.ParseHead()
	}
	if read("GET nothing"); c.malformed == nil {
		t.Error("it is taken")
	}
	const plain = "POST / HTTP/1.1\r\nX-A: 1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
	got := read(plain).AppendBytes(nil)
	if c.malformed != nil || string(got) != plain {
		t.Errorf("got %q (%v), want %q", got, c.malformed, plain)
	}
}
