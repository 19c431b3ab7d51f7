package http2_test

import (
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"usher/config"
	"usher/proxy/http2"
)

// TestLateBody: what is under way of a body that nobody wants costs the client nothing,
// however many streams have been served since the answer.
func TestLateBody(t *testing.T) {
	t.Parallel()
	h := handlerFunc(func(s *http2.Stream) {
		_ = s.WriteHead([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), true)
	})
	s := newScene(t, h, func(o *http2.Options) {
		o.HTTP2 = config.DefaultHTTP2()
		o.HTTP2.MaxResets = 1
	})
	r := s.greet()
	r.open(1, false, r.request("POST", "/upload"))
	r.outcome(1)
	for id := uint32(3); id < 103; id += 2 {
		r.open(id, true, r.request("GET", "/"))
		r.outcome(id)
	}
	for range 60 {
		r.must(r.WriteData(1, false, make([]byte, 1000)))
	}
	r.must(r.WriteData(1, true, nil))
	r.open(103, true, r.request("GET", "/"))
	if o := r.outcome(103); o.status != "413" {
		t.Errorf("%+v", o)
	}
	if n := s.refused[xhttp2.ErrCodeStreamClosed].Load(); n != 0 {
		t.Errorf("%d frames refused", n)
	}
}
