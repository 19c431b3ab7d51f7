package forward

import (
	"testing"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
)

// A head that the scanner takes and the codec does not is told, and leaves nothing behind
// for the next one that is read with the same buffers.
func TestMalformedHead(t *testing.T) {
	t.Parallel()
	trip := &Trip{}
	trip.Init()
	trip.X.Listener = &core.Listener{}
	read := func(head string) *fasthttp.RequestHeader {
		trip.Wrote = []byte(head)
		trip.Head.Reset()
		_ = trip.Head.ScanRequest(trip.Wrote) // what it does not take is what is wanted here
		trip.X.Host = trip.Head.Host.Of(trip.Wrote)
		return trip.ParseHead()
	}
	if read("GET nothing"); trip.Malformed == nil {
		t.Error("it is taken")
	}
	const plain = "POST / HTTP/1.1\r\nX-A: 1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
	got := read(plain).AppendBytes(nil)
	if trip.Malformed != nil || string(got) != plain {
		t.Errorf("got %q (%v), want %q", got, trip.Malformed, plain)
	}
}
