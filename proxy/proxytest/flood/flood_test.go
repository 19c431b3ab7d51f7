package flood_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"usher/proxy/proxytest/flood"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each flood reaches a server that takes everything, is more than a megabyte, and ends
// when its server ends the connection.
func TestKinds(t *testing.T) {
	for _, kind := range flood.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			client, server := net.Pipe()
			defer server.Close()
			frames := make(chan map[http2.FrameType]int, 1)
			go func() { frames <- takeMegabyte(server) }()
			res := kind.Run(t.Context(), client)
			if !res.Ended || res.Bytes < 1<<20 {
				t.Errorf("%+v", res)
			}
			seen := <-frames
			most := http2.FrameType(0)
			for kind, n := range seen {
				if n > seen[most] {
					most = kind
				}
			}
			t.Logf("%v", seen)
			if seen[most] < 50 {
				t.Errorf("the server has seen %v", seen)
			}
		})
	}
}

// takeMegabyte reads frames, counts them and closes the connection.
func takeMegabyte(conn net.Conn) map[http2.FrameType]int {
	defer conn.Close()
	seen := map[http2.FrameType]int{}
	if _, err := conn.Read(make([]byte, len(http2.ClientPreface))); err != nil {
		return seen
	}
	fr := http2.NewFramer(nil, conn)
	fr.AllowIllegalReads = true // a header block that never ends is one
	for n := 0; n < 1<<20; {
		f, err := fr.ReadFrame()
		if err != nil {
			return seen
		}
		seen[f.Header().Type]++
		n += int(f.Header().Length) + 9
	}
	return seen
}

// A flood ends with its context.
func TestContext(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if res := flood.Kinds()[4].Run(ctx, conn); res.Ended || res.Bytes == 0 {
		t.Errorf("%+v", res) // Go's server answers all the PINGs there are
	}
}
