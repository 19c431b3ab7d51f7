package forward

import (
	"syscall"

	"usher/proxy/core"
)

// Client is the side that asked. Its methods are called from the Trip's goroutine, but
// for Left, and for those of Source while a body is streamed, which its sender calls.
type Client interface {
	// Left says whether the client is gone. Any goroutine may call it, and it does not wait.
	Left() bool
	Source
	Sink
}

// Source is where the body of a request comes from.
type Source interface {
	// Buffered returns the body that lies whole at hand, valid until the end of the Trip.
	Buffered() []byte
	// PeekBody waits for the next bytes of a streamed body and returns what is at hand, at
	// most that many; io.EOF behind its end. TookBody takes the first n of them off.
	PeekBody(most int64) ([]byte, error)
	TookBody(n int)
	// BulkBody says whether nothing is at hand, so that what comes next may be read in
	// large pieces by ReadBody, or within the kernel from raw where that is not nil.
	BulkBody() (raw syscall.RawConn, ok bool)
	ReadBody(p []byte) (int, error)
	// StopBody ends what waits for the body. Any goroutine may call it.
	StopBody()
}

// Sink is where the response goes. What is built for it is bytes in one buffer: a head,
// which ends with EndHead, then data, and the end.
type Sink interface {
	// Frame decides how a body whose end is known in the one way is framed to this client.
	// It is called once for each response, before its head: an answer of usher's own has
	// its reason.
	Frame(from Framing, reason core.Reason) Framing
	// EndHead ends the text of a head, which is what dst holds.
	EndHead(dst []byte, to Framing) []byte
	// AppendData appends data that Frame has framed, AppendEnd what is behind the last of
	// it: the lines of a trailer section.
	AppendData(dst, data []byte, to Framing) []byte
	AppendEnd(dst, trailers []byte, to Framing) []byte
	// Write writes what was built, and waits until the client has room for it. end says
	// that nothing follows. It is of bytes that go as they are once the head is written.
	Write(b []byte, end bool) error
	// Interim writes the head of an interim response, whole.
	Interim(head []byte) error
	// Bulk returns what large bodies are moved to within the kernel; ok: they can be.
	Bulk() (raw syscall.RawConn, ok bool)
	// Truncate lets the client know that the body it has a part of will not come to its
	// end.
	Truncate(to Framing)
}

// Framing is how the end of a body is known.
type Framing uint8

// The framings.
const (
	Bodyless Framing = iota
	ByLength
	ByChunks
	ByClose
)
