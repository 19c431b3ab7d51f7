package http2_test

import (
	"net"
	"runtime"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"usher/proxy/http2"
)

// TestIdleMemory: a parked connection holds little. TLS's own state is not in it.
func TestIdleMemory(t *testing.T) {
	const conns = 500
	s := newScene(t, hello, withPoller(t))
	request := s.greet().request("GET", "/some/path", "user-agent", "a client with a name of some length",
		"accept", "text/html,application/xhtml+xml", "cookie", "session=0123456789abcdef0123456789abcdef")
	before := inUse()
	for range conns {
		nc, err := net.Dial("tcp", s.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		out := frames(func(f *xhttp2.Framer) {
			_ = f.WriteSettings()
			_ = f.WriteSettingsAck()
		})
		if _, err := nc.Write(append(append([]byte(http2.Preface), out...), whole(request)...)); err != nil {
			t.Fatal(err)
		}
	}
	s.until("all are parked", func() bool { return s.parked.Load() > conns })
	runtime.GC()
	per := (inUse() - before) / conns
	t.Logf("%d bytes for each parked connection", per)
	if per > 6<<10 {
		t.Errorf("%d bytes for each parked connection", per)
	}
}

// inUse is what the heap and the stacks hold.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
