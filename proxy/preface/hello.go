package preface

import (
	"encoding/binary"
	"errors"

	"usher/proxy/wire"
)

// ErrNotTLS is a connection that does not begin with a ClientHello.
var ErrNotTLS = errors.New("the connection does not begin with a TLS ClientHello")

const (
	// maxHello bounds a ClientHello with the records around it.
	maxHello = 32 << 10
	// maxRecord is the most that a record carries (RFC 8446 §5.1).
	maxRecord = 1 << 14
	// maxName is the longest name that there is.
	maxName = 255
)

// Alert is what a client is told whose name nobody serves: the fatal alert
// unrecognized_name (RFC 6066 §3).
func Alert() []byte { return []byte{recordAlert, 3, 3, 0, 2, 2, 112} }

const (
	recordAlert     = 21
	recordHandshake = 22
	typeClientHello = 1
	extServerName   = 0
	nameTypeHost    = 0
)

// PeekHello reads the ClientHello that a connection begins with and returns the name that
// it asks for, in lower case; empty: none. All that was read stays in c.Early. The caller
// has set a deadline for reading.
func PeekHello(c *wire.Client) (name []byte, err error) {
	err = read(c, maxHello, func(b []byte) (err error) {
		name, err = serverName(b)
		return err
	})
	return name, err
}

// serverName finds the name in a ClientHello at the beginning of b.
func serverName(b []byte) ([]byte, error) {
	hello, err := handshake(b)
	if err != nil {
		return nil, err
	}
	return nameOf(hello)
}

// handshake takes the body of the first handshake message, a ClientHello, out of its
// records. It is a part of b unless there are several.
func handshake(b []byte) ([]byte, error) {
	var message []byte
	for {
		fragment, rest, err := record(b)
		if err != nil {
			return nil, err
		}
		if message == nil {
			message = fragment[:len(fragment):len(fragment)]
		} else {
			message = append(message, fragment...)
		}
		if len(message) > 0 && message[0] != typeClientHello {
			return nil, ErrNotTLS
		}
		if len(message) >= 4 {
			n := int(message[1])<<16 | int(binary.BigEndian.Uint16(message[2:]))
			switch {
			case n > maxHello:
				return nil, ErrTooLong
			case len(message) >= 4+n:
				return message[4 : 4+n], nil
			}
		}
		b = rest
	}
}

// record takes the first record of b apart.
func record(b []byte) (fragment, rest []byte, err error) {
	const header = 5
	for i, want := range []byte{recordHandshake, 3} {
		if len(b) > i && b[i] != want {
			return nil, nil, ErrNotTLS
		}
	}
	if len(b) < header {
		return nil, nil, errMore
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	switch {
	case n == 0 || n > maxRecord:
		return nil, nil, ErrNotTLS
	case len(b) < header+n:
		return nil, nil, errMore
	}
	return b[header : header+n], b[header+n:], nil
}

// cursor reads fields of TLS; bad says that there were not enough bytes.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) uint8() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) uint16() int {
	if b := c.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// nameOf finds the name in the body of a ClientHello (RFC 8446 §4.1.2).
func nameOf(hello []byte) ([]byte, error) {
	c := cursor{b: hello}
	c.take(2 + 32)     // version, random
	c.take(c.uint8())  // session
	c.take(c.uint16()) // cipher suites
	c.take(c.uint8())  // compression
	if len(c.b) == 0 && !c.bad {
		return nil, nil // no extensions
	}
	extensions := cursor{b: c.take(c.uint16())}
	var name []byte
	for len(extensions.b) > 0 && name == nil {
		kind := extensions.uint16()
		body := extensions.take(extensions.uint16())
		if kind == extServerName && !extensions.bad {
			var ok bool
			if name, ok = hostIn(body); !ok {
				return nil, ErrNotTLS
			}
		}
	}
	if c.bad || extensions.bad {
		return nil, ErrNotTLS
	}
	return name, nil
}

// hostIn finds the host name in the extension server_name (RFC 6066 §3).
func hostIn(body []byte) (name []byte, ok bool) {
	c := cursor{b: body}
	list := cursor{b: c.take(c.uint16())}
	for len(list.b) > 0 {
		kind, host := list.uint8(), list.take(list.uint16())
		if kind == nameTypeHost && !list.bad {
			if len(host) == 0 || len(host) > maxName {
				return nil, false
			}
			name = lower(host)
			break
		}
	}
	return name, !c.bad && !list.bad
}

func lower(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}
