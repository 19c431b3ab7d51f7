package preface

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/pires/go-proxyproto"

	"usher/config"
	"usher/proxy/wire"
)

// ErrNoHeader is a connection that does not begin with a PROXY header.
var ErrNoHeader = errors.New("there is no PROXY header")

const (
	// maxV1 is the longest line of version 1, fixedV2 what stands before the addresses of
	// version 2.
	maxV1   = 107
	fixedV2 = 16
)

// TakeProxy reads the PROXY header that a connection begins with, of either version, takes
// it off, and makes the client whom it names. A header about a connection of the proxy's
// own (LOCAL), or one that it knows nothing of (UNKNOWN), or that is no TCP, leaves the
// client as it was. The caller has set a deadline for reading.
//
// After an ErrNoHeader nothing is lost: what was read is in c.Early. Any other error leaves
// a connection that is of no use.
func TakeProxy(c *wire.Client) error {
	n := 0
	err := read(c, fixedV2+int(proxyproto.MaxV2HeaderSize), func(b []byte) (err error) {
		n, err = proxyLen(b)
		return err
	})
	if err != nil {
		return err
	}
	remote, local, err := parseProxy(c.Early[:n])
	if err != nil {
		return err
	}
	if remote != nil {
		c.Remote, c.Local = remote, local
	}
	c.Early = c.Early[n:]
	c.Heard.Store(len(c.Early) > 0) // the header was not the client's
	return nil
}

// proxyLen is the length of the header at the beginning of b.
func proxyLen(b []byte) (int, error) {
	switch {
	case begins(b, proxyproto.SIGV1):
		if n := bytes.IndexByte(b[:min(len(b), maxV1)], '\n') + 1; n > 0 {
			return n, nil
		}
		if len(b) >= maxV1 {
			return 0, fmt.Errorf("PROXY header: %w", ErrTooLong)
		}
		return 0, errMore
	case begins(b, proxyproto.SIGV2):
		if len(b) < fixedV2 {
			return 0, errMore
		}
		n := fixedV2 + int(binary.BigEndian.Uint16(b[fixedV2-2:]))
		switch {
		case n > fixedV2+int(proxyproto.MaxV2HeaderSize):
			return 0, fmt.Errorf("PROXY header: %w", ErrTooLong)
		case n > len(b):
			return 0, errMore
		}
		return n, nil
	default:
		return 0, ErrNoHeader
	}
}

// begins says whether b begins with the signature, or may once it is longer.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}

// parseProxy reads a whole header. The addresses are nil where it has none that count.
func parseProxy(b []byte) (remote, local net.Addr, err error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return nil, nil, fmt.Errorf("PROXY header: %w", err)
	}
	from, to, ok := h.TCPAddrs()
	if h.Command.IsLocal() || !ok {
		return nil, nil, nil
	}
	return from, to, nil
}

// Header is the PROXY header of a version that tells of a client; one of whom nothing can
// be told is UNKNOWN, or LOCAL.
func Header(version string, remote, local net.Addr) []byte {
	v := byte(1)
	if version == config.ProxyV2 {
		v = 2
	}
	b, err := proxyproto.HeaderProxyFromAddrs(v, remote, local).Format()
	if err != nil { // an address that is none
		b, _ = proxyproto.HeaderProxyFromAddrs(v, nil, nil).Format() // never fails
	}
	return b
}

// Guard finds PROXY headers that nobody asked for, in pieces as they come.
type Guard struct {
	seen [fixedV2]byte
	n    int
}

// Inspect looks at the next piece: more says that it wants to see the one behind it, ok
// that what came so far is no such header.
func (g *Guard) Inspect(piece []byte) (more, ok bool) {
	g.n += copy(g.seen[g.n:], piece)
	b := g.seen[:g.n]
	v1, v2 := begins(b, v1Line), begins(b, proxyproto.SIGV2)
	switch {
	case !v1 && !v2:
		return false, true
	case v1 && len(b) < len(v1Line), v2 && len(b) < len(proxyproto.SIGV2):
		return true, true
	default:
		return false, false
	}
}

// v1Line is what begins a header of version 1 and nothing else.
var v1Line = []byte("PROXY ")
