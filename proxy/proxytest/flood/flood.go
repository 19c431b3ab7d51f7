// Package flood is HTTP/2 connections that abuse their server, for tests and
// measurements of what others notice of it.
//
// A flood writes as fast as the server takes it and reads whatever comes. It has a
// goroutine that reads, which has ended when Run returns.
package flood

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Kind is one way to abuse a connection.
type Kind struct {
	Name string
	// next writes some frames; io.EOF says that there are no more.
	next func(f *writer, turn int) error
}

// Result is what became of a connection.
type Result struct {
	Ended bool          // the server has ended it
	Told  string        // the code of the server's GOAWAY, or empty
	Bytes int64         // that were written
	Took  time.Duration // until the end
}

// headerBytes is how much the flood of headers has.
const headerBytes = 100 << 20

// Kinds returns every kind there is.
func Kinds() []Kind {
	return []Kind{
		{"CONTINUATION", continuations},
		{"empty CONTINUATION", emptyContinuations},
		{"rapid reset", resets},
		{"100 MB of headers", headers},
		{"PING", pings},
		{"SETTINGS", settings},
		{"empty DATA", emptyData},
	}
}

// Run floods a connection on which nothing has been written until the server ends it, or
// ctx does; it waits for that too when a flood has an end. It closes the connection.
func (k Kind) Run(ctx context.Context, conn net.Conn) Result {
	begun := time.Now()
	defer conn.Close()
	told := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer conn.Close() // what is written then fails
		told <- read(conn)
	}()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	w := newWriter(conn)
	err := w.begin()
	for turn := 0; err == nil; turn++ {
		err = k.next(w, turn)
	}
	if errors.Is(err, io.EOF) {
		_ = w.buf.Flush() // a connection that has ended is told by ended
	}
	<-ended
	return Result{Ended: ctx.Err() == nil, Told: <-told, Bytes: w.sent, Took: time.Since(begun)}
}

// read reads frames to the end and returns the code of the last GOAWAY.
func read(conn net.Conn) (code string) {
	fr := http2.NewFramer(nil, bufio.NewReaderSize(conn, 64<<10))
	fr.SetReuseFrames()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return code
		}
		if away, ok := f.(*http2.GoAwayFrame); ok {
			code = away.ErrCode.String()
		}
	}
}

// writer writes frames and counts their bytes.
type writer struct {
	*http2.Framer
	buf   *bufio.Writer
	conn  net.Conn
	sent  int64
	block []byte // the header block of a GET
	part  []byte // a field of a header block
}

func newWriter(conn net.Conn) *writer {
	w := &writer{conn: conn, block: get(), part: field(16)}
	w.buf = bufio.NewWriterSize(w, 64<<10)
	w.Framer = http2.NewFramer(w.buf, nil)
	return w
}

// Write writes to the connection.
func (w *writer) Write(b []byte) (int, error) {
	n, err := w.conn.Write(b)
	w.sent += int64(n)
	return n, err
}

func (w *writer) begin() error {
	if _, err := io.WriteString(w.buf, http2.ClientPreface); err != nil {
		return err
	}
	return w.WriteSettings()
}

// get is the header block of a GET that leaves nothing in a table.
func get() []byte {
	return block(
		hpack.HeaderField{Name: ":method", Value: "GET"},
		hpack.HeaderField{Name: ":scheme", Value: "https"},
		hpack.HeaderField{Name: ":authority", Value: "flood.test", Sensitive: true},
		hpack.HeaderField{Name: ":path", Value: "/", Sensitive: true},
	)
}

// field is one of a header block, with a value of so many bytes.
func field(size int) []byte {
	return block(hpack.HeaderField{Name: "x-flood", Value: string(bytes.Repeat([]byte{'~'}, size)), Sensitive: true})
}

func block(fields ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range fields {
		_ = e.WriteField(f) // to memory
	}
	return b.Bytes()
}

// open opens a stream; the turn is its number.
func (w *writer) open(turn int, endStream, endHeaders bool) (id uint32, err error) {
	if turn >= 1<<30 {
		return 0, fmt.Errorf("stream %d", turn)
	}
	id = uint32(2*turn + 1)
	return id, w.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: w.block, EndStream: endStream, EndHeaders: endHeaders,
	})
}

// continuations never ends a header block.
func continuations(w *writer, turn int) error {
	if turn == 0 {
		_, err := w.open(0, true, false)
		return err
	}
	return w.WriteContinuation(1, false, w.part)
}

func emptyContinuations(w *writer, turn int) error {
	if turn == 0 {
		_, err := w.open(0, true, false)
		return err
	}
	return w.WriteContinuation(1, false, nil)
}

// resets opens a stream and resets it.
func resets(w *writer, turn int) error {
	id, err := w.open(turn, true, true)
	if err != nil {
		return err
	}
	return w.WriteRSTStream(id, http2.ErrCodeCancel)
}

// headers is one request with too much of them.
func headers(w *writer, turn int) error {
	const each = 16 << 10
	switch {
	case turn == 0:
		w.part = field(each - 64) // a frame has room for it
		_, err := w.open(0, true, false)
		return err
	case turn < headerBytes/each:
		return w.WriteContinuation(1, false, w.part)
	case turn == headerBytes/each:
		return w.WriteContinuation(1, true, nil)
	}
	return io.EOF
}

func pings(w *writer, _ int) error { return w.WritePing(false, [8]byte{}) }

func settings(w *writer, turn int) error {
	return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(turn%2 + 65535)})
}

// emptyData is an upload of nothing that never ends.
func emptyData(w *writer, turn int) error {
	if turn == 0 {
		_, err := w.open(0, false, true)
		return err
	}
	return w.WriteData(1, false, nil)
}
