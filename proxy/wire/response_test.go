package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"usher/proxy/wire"
)

// scanResponse scans a whole head.
func scanResponse(b []byte) (wire.Head, error) {
	var h wire.Head
	h.Reset()
	err := h.ScanResponse(b)
	return h, err
}

func TestScanResponse(t *testing.T) {
	for name, c := range map[string]struct {
		head string
		ok   bool
	}{
		"plain":                   {"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", true},
		"no fields":               {"HTTP/1.1 204 No Content\r\n\r\n", true},
		"no reason":               {"HTTP/1.1 200\r\n\r\n", true},
		"empty reason":            {"HTTP/1.1 200 \r\n\r\n", true},
		"old version":             {"HTTP/1.0 200 OK\r\n\r\n", true},
		"empty value":             {"HTTP/1.1 200 OK\r\nA:\r\n\r\n", true},
		"other version":           {"HTTP/2.0 200 OK\r\n\r\n", false},
		"no version":              {"ICY 200 OK\r\n\r\n", false},
		"status 0":                {"HTTP/1.1 000 OK\r\n\r\n", false},
		"short status":            {"HTTP/1.1 20 OK\r\n\r\n", false},
		"long status":             {"HTTP/1.1 2000 OK\r\n\r\n", false},
		"signed status":           {"HTTP/1.1 +20 OK\r\n\r\n", false},
		"control in the reason":   {"HTTP/1.1 200 O\x00K\r\n\r\n", false},
		"bare CR in the reason":   {"HTTP/1.1 200 O\rK\r\n\r\n", false},
		"bare LF":                 {"HTTP/1.1 200 OK\nA: b\n\n", false},
		"folded":                  {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", false},
		"space in a name":         {"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", false},
		"space before the colon":  {"HTTP/1.1 200 OK\r\nA : c\r\n\r\n", false},
		"no colon":                {"HTTP/1.1 200 OK\r\nA\r\n\r\n", false},
		"no name":                 {"HTTP/1.1 200 OK\r\n: a\r\n\r\n", false},
		"control in a value":      {"HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n", false},
		"blank line at the start": {"\r\nHTTP/1.1 200 OK\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := scanResponse([]byte(c.head + "body"))
			if (err == nil) != c.ok || (c.ok && h.Len != len(c.head)) {
				t.Errorf("got %v, length %d of %d", err, h.Len, len(c.head))
			}
		})
	}
}

// A head scanned a byte at a time gives what it gives at once.
func TestScanResponseBytewise(t *testing.T) {
	head := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\n")
	var h wire.Head
	h.Reset()
	for n := range len(head) {
		if err := h.ScanResponse(head[:n]); !errors.Is(err, wire.ErrMore) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if err := h.ScanResponse(head); err != nil || h.Len != len(head) {
		t.Errorf("got %v, length %d", err, h.Len)
	}
}

// FuzzScanResponse: what is accepted net/http understands too, and alike where it
// accepts it.
func FuzzScanResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	f.Add("HTTP/1.0 404\r\n\r\n")
	f.Add("HTTP/1.1 200 \r\nA: \t b \r\nTransfer-Encoding: chunked\r\n\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := scanResponse([]byte(s))
		if err != nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s)), nil)
		if err != nil {
			return // net/http looks at the framing, which is the codec's here
		}
		_ = resp.Body.Close()
		status, _ := strconv.Atoi(s[9:12])
		if resp.StatusCode != status {
			t.Errorf("status %d, net/http says %d", status, resp.StatusCode)
		}
		lines := bytes.Count([]byte(s[:h.Len]), []byte("\r\n")) - 2
		fields := len(resp.TransferEncoding)
		for _, values := range resp.Header {
			fields += len(values)
		}
		if fields > lines {
			t.Errorf("%d lines are %d fields to net/http", lines, fields)
		}
	})
}
