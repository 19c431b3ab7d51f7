package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrChunk marks a chunked body that breaks the grammar (RFC 9112 §7.1).
var ErrChunk = errors.New("malformed chunked body")

// Bounds on what a peer may put around the data of a chunked body.
const (
	maxChunkLine = 256
	maxTrailers  = 16 << 10 // as much as a head: HTTP/2 puts the same bound on both
)

// Chunked decodes a chunked body. It reads no byte beyond the body's end. The zero
// value is not usable: call Reset.
type Chunked struct {
	br *bufio.Reader
	// left is what remains of the chunk; state says what comes next.
	left  int64
	state chunkState
	// trailers are the field lines behind the last chunk, as received.
	trailers []byte
}

type chunkState uint8

const (
	atSize chunkState = iota
	inData
	atDataEnd
	atEnd
)

// Reset makes c decode the body at the front of br.
func (c *Chunked) Reset(br *bufio.Reader) {
	*c = Chunked{br: br, trailers: c.trailers[:0]}
}

// Done says whether the body was read to its end.
func (c *Chunked) Done() bool { return c.state == atEnd }

// Trailers returns the trailer section as received: lines that end in CRLF. It is
// valid until Reset.
func (c *Chunked) Trailers() []byte { return c.trailers }

// Next returns the data that is at hand, waiting for at least one byte. The bytes
// are those of the reader's buffer: use them, then call Advance. At the end of the
// body it returns io.EOF; a body that is cut gives io.ErrUnexpectedEOF, never EOF.
func (c *Chunked) Next() ([]byte, error) {
	for c.state != inData {
		if err := c.step(); err != nil {
			return nil, err
		}
	}
	if _, err := c.br.Peek(1); err != nil {
		return nil, cut(err)
	}
	b, err := c.br.Peek(int(min(c.left, int64(c.br.Buffered()))))
	return b, err
}

// Advance takes n bytes of what Next returned.
func (c *Chunked) Advance(n int) {
	_, _ = c.br.Discard(n) // n bytes are buffered: it cannot fail
	if c.left -= int64(n); c.left == 0 {
		c.state = atDataEnd
	}
}

// Read implements io.Reader.
func (c *Chunked) Read(p []byte) (int, error) {
	b, err := c.Next()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	c.Advance(n)
	return n, nil
}

// step reads what lies between the data of two chunks.
func (c *Chunked) step() error {
	switch c.state {
	case atDataEnd:
		if err := c.expectCRLF(); err != nil {
			return err
		}
		c.state = atSize
		return nil
	case atSize:
		return c.size()
	default:
		return io.EOF
	}
}

func (c *Chunked) size() error {
	line, err := c.readLine(maxChunkLine)
	if err != nil {
		return err
	}
	n, err := parseChunkSize(line)
	if err != nil {
		return err
	}
	if n > 0 {
		c.left, c.state = n, inData
		return nil
	}
	return c.readTrailers()
}

// parseChunkSize reads chunk-size [chunk-ext]: no white space around the size,
// extensions of tokens and quoted strings (RFC 9112 §7.1.1), which are dropped.
func parseChunkSize(line []byte) (n int64, err error) {
	i := 0
	for ; i < len(line) && unhex(line[i]) >= 0; i++ {
		if i >= 15 {
			return 0, fmt.Errorf("%w: size too large", ErrChunk)
		}
		n = n<<4 | int64(unhex(line[i]))
	}
	if i == 0 || !validExtensions(line[i:]) {
		return 0, fmt.Errorf("%w: size line %q", ErrChunk, line)
	}
	return n, nil
}

// validExtensions checks *( ";" token [ "=" ( token / quoted-string ) ] ).
func validExtensions(b []byte) bool {
	for len(b) > 0 {
		if b[0] != ';' {
			return false
		}
		b = b[1:]
		n := tokenLen(b)
		if n == 0 {
			return false
		}
		if b = b[n:]; len(b) == 0 || b[0] != '=' {
			continue
		}
		b = b[1:]
		if n = extensionValue(b); n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func tokenLen(b []byte) (n int) {
	for n < len(b) && charClass[b[n]]&isToken != 0 {
		n++
	}
	return n
}

// extensionValue is the length of a token or a quoted string, 0 for neither.
func extensionValue(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return tokenLen(b)
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return i + 1
		case b[i] == '\\' && i+1 < len(b) && charClass[b[i+1]]&isValue != 0:
			i++
		case b[i] == '\\':
			return 0
		case charClass[b[i]]&isValue == 0:
			return 0
		}
	}
	return 0
}

// readTrailers reads the field lines up to the blank one.
func (c *Chunked) readTrailers() error {
	for {
		line, err := c.readLine(maxTrailers - len(c.trailers))
		if err != nil {
			return err
		}
		if len(line) == 0 {
			c.state = atEnd
			return io.EOF
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !all(line[:colon], isToken) || !all(line[colon+1:], isValue) {
			return fmt.Errorf("%w: trailer %q", ErrChunk, line)
		}
		c.trailers = append(append(c.trailers, line...), '\r', '\n')
	}
}

// readLine returns the next line without its CRLF, waiting for it. The bytes are
// valid until the next read.
func (c *Chunked) readLine(limit int) ([]byte, error) {
	for have := c.br.Buffered(); ; have = c.br.Buffered() {
		b, _ := c.br.Peek(have)
		if n := bytes.IndexByte(b, '\n'); n >= 0 {
			if n == 0 || b[n-1] != '\r' || n > limit {
				return nil, fmt.Errorf("%w: bad line end", ErrChunk)
			}
			_, _ = c.br.Discard(n + 1)
			return b[:n-1], nil
		}
		if have > limit || have == c.br.Size() {
			return nil, fmt.Errorf("%w: line too long", ErrChunk)
		}
		if _, err := c.br.Peek(have + 1); err != nil {
			return nil, cut(err)
		}
	}
}

func (c *Chunked) expectCRLF() error {
	b, err := c.br.Peek(2)
	if err != nil {
		return cut(err)
	}
	if b[0] != '\r' || b[1] != '\n' {
		return fmt.Errorf("%w: no CRLF behind the data", ErrChunk)
	}
	_, _ = c.br.Discard(2)
	return nil
}

// cut makes the end of the connection within a body an error.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendChunkHeader appends the size line of a chunk of n bytes.
func AppendChunkHeader(dst []byte, n int) []byte {
	const hex = "0123456789abcdef"
	var digits [16]byte
	i := len(digits)
	for {
		i--
		digits[i] = hex[n&15]
		if n >>= 4; n == 0 {
			break
		}
	}
	return append(append(dst, digits[i:]...), '\r', '\n')
}
