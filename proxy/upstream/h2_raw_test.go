package upstream_test

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"usher/proxy/proxytest"
	"usher/routetable"
)

// rawH2 is one connection of an endpoint that does HTTP/2 by hand.
type rawH2 struct {
	*http2.Framer
	c *proxytest.Conn
}

// rawServer starts one. serve is called for each request, with the number of its connection
// and of its stream.
func rawServer(t *testing.T, serve func(f *rawH2, nth, id uint32)) (address string) {
	t.Helper()
	return proxytest.Raw(t, func(c *proxytest.Conn) {
		if _, err := io.CopyN(io.Discard, c.R, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		f := &rawH2{Framer: http2.NewFramer(c.Conn, c.R), c: c}
		if f.WriteSettings() != nil {
			return
		}
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := frame.(*http2.HeadersFrame); ok {
				serve(f, uint32(c.Nth), h.StreamID)
			}
		}
	}).Addr
}

// What goes wrong with these the next read tells.

func (f *rawH2) refuse(id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }
func (f *rawH2) reset(id uint32)  { _ = f.WriteRSTStream(id, http2.ErrCodeInternal) }
func (f *rawH2) goAway(last uint32) {
	_ = f.WriteGoAway(last, http2.ErrCodeNo, nil)
}
func (f *rawH2) close() { _ = f.c.CloseWrite() }

func (f *rawH2) answer(id uint32) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = enc.WriteField(hpack.HeaderField{Name: "content-length", Value: "2"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: b.Bytes()})
	_ = f.WriteData(id, true, []byte("ok"))
}

// firstBalancer is a policy that takes the first endpoint that was not tried.
func firstBalancer() map[string]routetable.Balancer {
	return map[string]routetable.Balancer{
		"first": func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return firstUntried{} },
	}
}

type firstUntried struct{}

func (firstUntried) Pick(v *routetable.View, info *routetable.PickInfo) (int, error) {
	for _, i := range v.Usable {
		if !info.Tried(i) {
			return int(i), nil
		}
	}
	return -1, routetable.ErrNoEndpoint
}
