package http2_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"usher/proxy/http2"
)

// script is a Handler that runs a test's steps for a stream, and waits for them.
type script struct{ stream, next chan *http2.Stream }

func newScript() script { return script{make(chan *http2.Stream), make(chan *http2.Stream)} }

func (s script) Serve(stream *http2.Stream) {
	s.stream <- stream
	<-s.next
}

// TestGather: a body is waited for whole, unless it is longer than wanted.
func TestGather(t *testing.T) {
	h := newScript()
	s := newScene(t, h, nil)
	r := s.greet()
	r.open(1, false, r.request("POST", "/"))
	stream := <-h.stream
	if n, whole := stream.Body(); n != -1 || whole || stream.Buffered() != nil {
		t.Errorf("%d, %t", n, whole)
	}
	r.must(r.WriteData(1, false, []byte("some ")))
	r.must(r.WriteData(1, true, []byte("body")))
	if whole, err := stream.Gather(9); !whole || err != nil {
		t.Fatalf("%t, %v", whole, err)
	}
	if n, whole := stream.Body(); n != 9 || !whole || string(stream.Buffered()) != "some body" {
		t.Errorf("%d, %t, %q", n, whole, stream.Buffered())
	}
	rest := make([]byte, 4)
	if n, err := stream.Read(rest); n != 4 || err != nil || string(stream.Buffered()) != " body" {
		t.Errorf("%d, %v, %q", n, err, stream.Buffered())
	}
	if p, err := stream.Next(); string(p) != " body" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := stream.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	r.must(stream.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), nil))
	h.next <- nil

	r.open(3, false, r.request("POST", "/", "content-length", "100000"))
	stream = <-h.stream
	r.must(r.WriteData(3, false, []byte("some")))
	if whole, err := stream.Gather(3); whole || err != nil {
		t.Errorf("%t, %v", whole, err)
	}
	for range 4 {
		r.must(r.WriteData(3, false, make([]byte, 16<<10-1)))
	}
	if whole, err := stream.Gather(1 << 30); whole || err != nil { // the window is used up
		t.Errorf("%t, %v", whole, err)
	}
	h.next <- nil
}

// TestStopBody: a wait for the body is ended by who does not want it any more; the answer
// can be sent all the same.
func TestStopBody(t *testing.T) {
	h := newScript()
	s := newScene(t, h, nil)
	r := s.greet()
	r.open(1, false, r.request("POST", "/"))
	stream := <-h.stream
	failed := make(chan error)
	go func() {
		_, err := stream.Next()
		failed <- err
	}()
	stream.StopBody()
	if err := <-failed; !errors.Is(err, http2.ErrStopped) {
		t.Error(err)
	}
	r.must(stream.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), []byte("body")))
	h.next <- nil
	if o := r.outcome(1); o.status != "200" || string(o.body) != "body" {
		t.Errorf("%+v", o)
	}
	for { // it is told not to send the rest
		if f, ok := r.read().(*xhttp2.RSTStreamFrame); ok {
			if f.ErrCode != xhttp2.ErrCodeNo {
				t.Error(f.ErrCode)
			}
			break
		}
	}
}

// TestMisuse: what makes no sense is an error, and harms nobody.
func TestMisuse(t *testing.T) {
	h := newScript()
	s := newScene(t, h, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/"))
	stream := <-h.stream
	for _, head := range []string{"", "200", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1 001 x\r\n"} {
		if err := stream.WriteHead([]byte(head), false); !errors.Is(err, http2.ErrNoHead) {
			t.Errorf("%q: %v", head, err)
		}
	}
	r.must(stream.WriteHead([]byte("HTTP/1.1 200 OK\r\n\r\n"), true))
	if err := stream.WriteData([]byte("x"), true); !errors.Is(err, http2.ErrEnded) {
		t.Error(err)
	}
	if err := stream.WriteTrailers([]byte("x: y\r\n")); !errors.Is(err, http2.ErrEnded) {
		t.Error(err)
	}
	stream.Reset(http2.Cancel) // too late to matter
	h.next <- nil
	if o := r.outcome(1); o.status != "200" || !o.ended {
		t.Errorf("%+v", o)
	}
}

// TestAttachment: a stream that is used again keeps what the Handler attached to it.
func TestAttachment(t *testing.T) {
	made := 0
	h := handlerFunc(func(s *http2.Stream) {
		if s.Attachment == nil {
			made++
			s.Attachment = new(int)
		}
		hello(s)
	})
	s := newScene(t, h, nil)
	r := s.greet()
	for id := uint32(1); id < 100; id += 2 {
		r.open(id, true, r.request("GET", "/"))
		r.outcome(id)
	}
	if made > 2 {
		t.Errorf("%d were made for 50 requests", made)
	}
}

// TestHoldLate: what is held of a stream that is over already is not.
func TestHoldLate(t *testing.T) {
	h := newScript()
	s := newScene(t, h, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/"))
	stream := <-h.stream
	r.must(r.WriteRSTStream(1, xhttp2.ErrCodeCancel))
	s.until("the client is gone", stream.Gone)
	if stream.Hold(make(aborted)) || stream.Drop() {
		t.Error("held")
	}
	err := stream.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), bytes.Repeat([]byte("x"), 1<<20))
	if !errors.Is(err, http2.ErrGone) {
		t.Error(err)
	}
	h.next <- nil
	if strings.Contains(http2.Cancel.String(), "unknown") || !strings.Contains(http2.Code(99).String(), "unknown") {
		t.Error("a code has no name")
	}
}
