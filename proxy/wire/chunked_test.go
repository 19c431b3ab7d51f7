package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/iotest"

	"usher/proxy/wire"
)

// bodies are chunked bodies that seed the fuzzer and the split test.
var bodies = []string{
	"0\r\n\r\n",
	"5\r\nhello\r\n0\r\n\r\n",
	"1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n",
	"00a\r\n0123456789\r\n000\r\n\r\n",
	"5;a;b=c;d=\"e\\\";f\"\r\nhello\r\n0;x\r\n\r\n",
	"5\r\nhello\r\n0\r\nX-T: a\r\nX-U:b\r\n\r\n",
	"5\r\nhel",
	"5\r\nhello\r\n",
	"5\r\nhello\r\n0\r\n",
	"5\r\nhelloXX0\r\n\r\n",
	"5\nhello\n0\n\n",
	"5 \r\nhello\r\n0\r\n\r\n",
	"-5\r\nhello\r\n0\r\n\r\n",
	"10000000000000005\r\nhello\r\n0\r\n\r\n",
	"5;\r\nhello\r\n0\r\n\r\n",
	"5\r\nhello\r\n0\r\nX\r\n\r\n",
	"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
}

// decode reads a whole body. left is what was not read.
func decode(src io.Reader, size int) (data, trailers, left string, err error) {
	br := bufio.NewReaderSize(src, size)
	var c wire.Chunked
	c.Reset(br)
	b, err := io.ReadAll(&c)
	rest, _ := io.ReadAll(br)
	if (err == nil) != c.Done() {
		return "", "", "", fmt.Errorf("done is %v after %w", c.Done(), err)
	}
	return string(b), string(c.Trailers()), string(rest), err
}

func TestChunked(t *testing.T) {
	for _, tc := range []struct {
		name, body           string
		data, trailers, left string
		err                  error
	}{
		{"empty", "0\r\n\r\n", "", "", "", nil},
		{"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", "", "", nil},
		{"hexadecimal", "A\r\n0123456789\r\n00\r\n\r\n", "0123456789", "", "", nil},
		{"reads no further", "0\r\n\r\n0\r\n\r\n", "", "", "0\r\n\r\n", nil},
		{"trailers", "0\r\nA: b\r\nC:d\r\n\r\n", "", "A: b\r\nC:d\r\n", "", nil},
		{"trailer with an empty value", "0\r\nA:\r\n\r\n", "", "A:\r\n", "", nil},
		{"extensions", "1;a=b;c=\"d;\\\"e\"\r\nx\r\n0;f\r\n\r\n", "x", "", "", nil},
		{"extension at the limit", "1;" + strings.Repeat("a", 250) + "\r\nx\r\n0\r\n\r\n", "x", "", "", nil},

		{"nothing", "", "", "", "", io.ErrUnexpectedEOF},
		{"cut in the size", "5", "", "", "", io.ErrUnexpectedEOF},
		{"cut behind the size", "5\r\n", "", "", "", io.ErrUnexpectedEOF},
		{"cut in the data", "5\r\nhel", "hel", "", "", io.ErrUnexpectedEOF},
		{"cut behind the data", "5\r\nhello", "hello", "", "", io.ErrUnexpectedEOF},
		{"cut in the CRLF", "5\r\nhello\r", "hello", "", "", io.ErrUnexpectedEOF},
		{"cut at a chunk's end", "5\r\nhello\r\n", "hello", "", "", io.ErrUnexpectedEOF},
		{"cut before the last line", "0\r\n", "", "", "", io.ErrUnexpectedEOF},
		{"cut in the trailers", "0\r\nA: b\r\n", "", "A: b\r\n", "", io.ErrUnexpectedEOF},

		{"no size", "\r\n\r\n", "", "", "", wire.ErrChunk},
		{"size of 16 digits", "0000000000000001\r\nx\r\n0\r\n\r\n", "", "", "", wire.ErrChunk},
		{"extension beyond the limit", "1;" + strings.Repeat("a", 300) + "\r\n", "", "", "", wire.ErrChunk},
		{"extension without end", "1;" + strings.Repeat("a", 10000), "", "", "", wire.ErrChunk},
		{"space before an extension", "1 ;a\r\nx\r\n0\r\n\r\n", "", "", "", wire.ErrChunk},
		{"NUL in a quoted string", "1;a=\"\x00\"\r\nx\r\n0\r\n\r\n", "", "", "", wire.ErrChunk},
		{"NUL escaped in a quoted string", "1;a=\"\\\x00\"\r\nx\r\n0\r\n\r\n", "", "", "", wire.ErrChunk},
		{"trailer with a space in its name", "0\r\nA b: c\r\n\r\n", "", "", "", wire.ErrChunk},
		{"trailer with a NUL", "0\r\nA: \x00\r\n\r\n", "", "", "", wire.ErrChunk},
		{"trailer without a name", "0\r\n: a\r\n\r\n", "", "", "", wire.ErrChunk},
		{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "", "A: b\r\n", "", wire.ErrChunk},
		{"trailers too long", "0\r\n" + strings.Repeat("A: b\r\n", 4000), "", "*", "", wire.ErrChunk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data, trailers, left, err := decode(strings.NewReader(tc.body), 4096)
			if data != tc.data || !errors.Is(err, tc.err) || tc.err == nil && left != tc.left {
				t.Errorf("got %q, %v, left %q; want %q, %v, left %q", data, err, left, tc.data, tc.err, tc.left)
			}
			if trailers != tc.trailers && tc.trailers != "*" {
				t.Errorf("trailers %q, want %q", trailers, tc.trailers)
			}
		})
	}
}

// However the bytes arrive, and whatever the buffer, the result is that of the
// whole.
func TestChunkedSplit(t *testing.T) {
	for _, body := range bodies {
		data, trailers, left, err := decode(strings.NewReader(body), 4096)
		f := func(how string, src io.Reader, size int) {
			t.Helper()
			d, tr, l, e := decode(src, size)
			if d != data || tr != trailers || (e == nil) != (err == nil) || err == nil && l != left ||
				errors.Is(e, wire.ErrChunk) != errors.Is(err, wire.ErrChunk) {
				t.Errorf("%q %s: got %q, %q, %q, %v; want %q, %q, %q, %v",
					body, how, d, tr, l, e, data, trailers, left, err)
			}
		}
		f("bytewise", iotest.OneByteReader(strings.NewReader(body)), 4096)
		f("through a small buffer", strings.NewReader(body), 64)
		f("with the end beside the data", iotest.DataErrReader(strings.NewReader(body)), 4096)
		for cut := range len(body) {
			parts := io.MultiReader(strings.NewReader(body[:cut]), strings.NewReader(body[cut:]))
			f(fmt.Sprint("cut at ", cut), parts, 4096)
		}
	}
}

// FuzzChunked compares the decoder with net/http's: what ours accepts, that one
// accepts and reads alike.
func FuzzChunked(f *testing.F) {
	for _, body := range bodies {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		data, _, left, err := decode(bytes.NewReader(b), 4096)
		d, _, l, e := decode(iotest.OneByteReader(bytes.NewReader(b)), 4096)
		if d != data || (e == nil) != (err == nil) || err == nil && l != left {
			t.Fatalf("bytewise: %q, left %q, %v; at once: %q, left %q, %v", d, l, e, data, left, err)
		}
		want, wantErr := io.ReadAll(httputil.NewChunkedReader(bufio.NewReader(bytes.NewReader(b))))
		switch {
		case err == nil && (wantErr != nil || string(want) != data):
			t.Fatalf("%q: we read %q, net/http %q (%v)", b, data, want, wantErr)
		case err != nil && !errors.Is(err, wire.ErrChunk) && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Fatalf("%q: an error of another kind: %v", b, err)
		}
	})
}

func TestAppendChunkHeader(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 15, 16, 255, 256, 16384, 65535, 1<<31 - 1} {
		if got, want := string(wire.AppendChunkHeader([]byte("x"), n)), fmt.Sprintf("x%x\r\n", n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func BenchmarkChunked(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprintf("chunk=%d", size), func(b *testing.B) {
			const chunks = 64
			one := fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("x", size))
			src := strings.NewReader(strings.Repeat(one, chunks) + "0\r\n\r\n")
			br := bufio.NewReaderSize(src, 16<<10)
			var c wire.Chunked
			b.ReportAllocs()
			b.SetBytes(int64(size * chunks))
			for b.Loop() {
				_, _ = src.Seek(0, io.SeekStart)
				br.Reset(src)
				c.Reset(br)
				for {
					data, err := c.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					c.Advance(len(data))
				}
			}
		})
	}
}
