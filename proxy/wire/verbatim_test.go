package wire_test

import (
	"bufio"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"usher/proxy/wire"
)

func TestAppendFields(t *testing.T) {
	for name, c := range map[string]struct {
		fields, want string
		verbatim     bool
	}{
		"nothing but Host": {"Host: a\r\n", "", true},
		"as written":       {"Host: a\r\nX-a:b\r\ny:  c \r\n", "X-a:b\r\ny:  c \r\n", true},
		"Host at the end":  {"X: 1\r\nhost:a\r\n", "X: 1\r\n", true},
		"hop by hop": {
			"A: 1\r\nConnection: keep-alive\r\nHost: a\r\nTE: x\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n", true,
		},
		"side by side": {"Host: a\r\nKeep-Alive: 5\r\nUpgrade: x\r\nB: 2\r\n", "B: 2\r\n", true},
		"the whole set": {
			"Proxy-Connection: x\r\nproxy-authorization: x\r\nTrailer: x\r\nHost: a\r\nExpect: 100-continue\r\n",
			"", true,
		},
		"Connection names one": {"Host: a\r\nConnection: x\r\nX: 1\r\n", "X: 1\r\n", false},
		"more than are noted": {
			"Host: a\r\nTE: 1\r\nTE: 2\r\nTE: 3\r\nTE: 4\r\nTE: 5\r\nTE: 6\r\n", "TE: 6\r\n", false,
		},
		"underscore": {"Host: a\r\nX_Y: 1\r\n", "X_Y: 1\r\n", false},
		"length":     {"Host: a\r\nContent-Length: 10\r\n", "Content-Length: 10\r\n", true},
		"length 0":   {"Host: a\r\nContent-Length: 0\r\n", "Content-Length: 0\r\n", true},
		"length is written anew": {
			"Host: a\r\nContent-length:\t010 \r\nX: 1\r\n", "X: 1\r\nContent-Length: 10\r\n", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte("GET / HTTP/1.1\r\n" + c.fields + "\r\n")
			h, err := scan(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(h.AppendFields(nil, b)); got != c.want || h.Verbatim() != c.verbatim {
				t.Errorf("got %q, verbatim %v", got, h.Verbatim())
			}
		})
	}
}

func TestAppendHead(t *testing.T) {
	for name, c := range map[string]struct {
		head, want string
		verbatim   bool
	}{
		"as written": {"HTTP/1.1 200 Fine\r\netag:x\r\n", "HTTP/1.1 200 Fine\r\netag:x\r\n", true},
		"hop by hop": {
			"HTTP/1.1 200 OK\r\nA: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nB: 2\r\n",
			"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n", true,
		},
		"trailer":          {"HTTP/1.1 200 OK\r\nTrailer: X\r\n", "HTTP/1.1 200 OK\r\nTrailer: X\r\n", true},
		"no reason":        {"HTTP/1.1 200\r\n", "HTTP/1.1 200\r\n", false},
		"old":              {"HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK\r\n", false},
		"length twice":     {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n", "", false},
		"bad length":       {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n", "", false},
		"another coding":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", "", false},
		"Connection names": {"HTTP/1.1 200 OK\r\nConnection: x\r\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte(c.head + "\r\n")
			h, err := scanResponse(b)
			if err != nil {
				t.Fatal(err)
			}
			if h.Verbatim() != c.verbatim {
				t.Errorf("verbatim %v", h.Verbatim())
			}
			if got := string(h.AppendHead(nil, b)); c.want != "" && got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// FuzzAppendFields: what goes on verbatim is, to net/http, what came, but for what
// concerns one connection, and frames the same body.
func FuzzAppendFields(f *testing.F) {
	f.Add("Host: a\r\nX: 1\r\nConnection: close\r\n")
	f.Add("content-length: 5\r\nTE: x\r\nhost: b\r\nTransfer-Encoding: chunked\r\n")
	f.Fuzz(func(t *testing.T, fields string) {
		b := []byte("POST / HTTP/1.1\r\n" + fields + "\r\n")
		h, err := scan(b)
		if err != nil || h.Len != len(b) || !h.Verbatim() {
			return
		}
		before, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(b))))
		if err != nil {
			return
		}
		_ = before.Body.Close()
		on := append([]byte("POST / HTTP/1.1\r\nHost: "), h.Host.Of(b)...)
		on = append(h.AppendFields(append(on, "\r\n"...), b), "\r\n"...)
		again, err := scan(on)
		if err != nil || again.ContentLength != h.ContentLength || again.Chunked != h.Chunked ||
			again.Has(wire.HasConnection|wire.HasHopByHop|wire.HasExpect) {
			t.Fatalf("%q becomes %q: %+v, %v", b, on, again, err)
		}
		after, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(on))))
		if err != nil {
			t.Fatalf("%q becomes %q: %v", b, on, err)
		}
		_ = after.Body.Close()
		for _, name := range []string{
			"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te",
			"Trailer", "Upgrade", "Expect",
		} {
			before.Header.Del(name)
		}
		before.Header.Del("Content-Length") // a number, which may have been written otherwise
		after.Header.Del("Content-Length")
		if !reflect.DeepEqual(before.Header, after.Header) || before.Host != after.Host ||
			before.ContentLength != after.ContentLength {
			t.Errorf("%q becomes %q", b, on)
		}
	})
}
