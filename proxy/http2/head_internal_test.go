package http2

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"usher/proxy/wire"
)

// FuzzRequestHead: whatever a header block says, its text is one head to the scanner, with
// the same number of fields, or it is refused.
func FuzzRequestHead(f *testing.F) {
	for _, fields := range [][]string{
		{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"},
		{":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "a:1", "host", "a:1"},
		{":method", "CONNECT", ":authority", "a:443"},
		{":method", "POST", ":scheme", "http", ":path", "/?x", "content-length", "3", "host", "b", "cookie", "a"},
		{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", "te", "trailers", "x", "\x80 y"},
	} {
		var b bytes.Buffer
		enc := hpack.NewEncoder(&b)
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		c := &Conn{}
		c.t.max = 16 << 10
		c.dec = hpack.NewDecoder(headerTable, c.t.field)
		if c.decode(headSection, nil, blockOf(block)) != nil || c.t.malformed != "" || c.t.tooLarge() {
			return
		}
		text := finishHead(c.t.text, c.t.length, 0, true)
		var head wire.Head
		head.Reset()
		err := head.ScanRequest(text)
		var refused *wire.Refused
		if err != nil && !errors.As(err, &refused) || err == nil && head.Len != len(text) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func blockOf(b []byte) block { return block{buf: b} }

// FuzzResponseHead: whatever is said to be a response's head, what is sent can be decoded,
// and is a response.
func FuzzResponseHead(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: a\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.1 999 \r\nX: y\r\nX:z",
		"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nVIA: \t a \r\n: x\r\nnothing\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		block, status := appendResponse(nil, head)
		if status == 0 {
			return
		}
		fields, err := hpack.NewDecoder(0, nil).DecodeFull(block)
		if err != nil {
			t.Fatalf("%q: %v", block, err)
		}
		if fields[0].Name != ":status" || len(fields[0].Value) != 3 {
			t.Errorf("%v", fields[0])
		}
		for _, f := range fields[1:] {
			if ofConnection(f.Name) || strings.ContainsAny(f.Name, "ABCXYZ:") {
				t.Errorf("%v", f)
			}
		}
	})
}

// TestStaticNames: the names and statuses are where RFC 7541 has them.
func TestStaticNames(t *testing.T) {
	dec := hpack.NewDecoder(0, nil)
	for i := 1; i <= 61; i++ {
		fields, err := dec.DecodeFull([]byte{indexed | byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		f := fields[0]
		if at := staticName(f.Name); at != 0 && at != i {
			t.Errorf("%s is at %d, not %d", f.Name, i, at)
		}
		if f.Name == ":status" {
			status := statusOf([]byte("HTTP/1.1 " + f.Value))
			if got := appendStatus(nil, status); len(got) != 1 || got[0] != indexed|byte(i) {
				t.Errorf("%s is %v", f.Value, got)
			}
		}
	}
}

// TestIntegers: integers are encoded as x/net decodes them.
func TestIntegers(t *testing.T) {
	for _, n := range []int{0, 1, 126, 127, 128, 254, 255, 300, 16383, 16384, 1 << 20} {
		value := strings.Repeat("x", n)
		fields, err := hpack.NewDecoder(0, nil).DecodeFull(appendField(nil, []byte("X-Some"), []byte(value)))
		if err != nil || len(fields) != 1 || fields[0].Name != "x-some" || fields[0].Value != value {
			t.Errorf("%d: %v", n, err)
		}
	}
}
