package h2

import (
	"bytes"
	"fmt"

	"usher/proxy/wire"
)

// request is what the text of a request says, as far as it concerns its frames.
type request struct {
	// block are the fields by HPACK. Before the first byte that counts there is resize,
	// which may be sent with it.
	block []byte
	// length is that of the body, -1 when it comes in chunks; body is what came along.
	length int64
	body   []byte
	// isHead says that the response has no body, grpc that the request is a call of gRPC.
	isHead, grpc bool
}

// resize tells the endpoint that the table of fields has no room (RFC 7541 §6.3). It may
// stand in front of a block. The encoder keeps no table: what it says is the same for
// whatever size the endpoint allows, and a block needs no order among those of a session,
// so that it is made without a lock.
const resize = 0x20

// parse reads the text of a request: its head, and what there is of its body. The block is
// made in the memory of the last one.
func (r *request) parse(text []byte, secure bool) error {
	line, rest, ok := cutLine(text)
	method, target, found := cutRequestLine(line)
	if !ok || !found {
		return fmt.Errorf("%w: no request line", ErrRequest)
	}
	r.length, r.body, r.isHead, r.grpc = 0, nil, string(method) == "HEAD", false
	r.block = appendMethod(append(r.block[:0], resize), method)
	r.block = appendScheme(r.block, secure)
	r.block = appendPath(r.block, target)
	if host := hostOf(rest); len(host) > 0 {
		r.block = appendIndexed(r.block, authorityName, host)
	}
	return r.fields(rest)
}

// fields reads the lines behind the request line.
func (r *request) fields(rest []byte) error {
	for {
		line, behind, ok := cutLine(rest)
		if !ok {
			return fmt.Errorf("%w: its head is not whole", ErrRequest)
		}
		rest = behind
		if len(line) == 0 {
			r.body = rest
			if r.grpc {
				r.block = appendField(r.block, []byte("te"), []byte("trailers"))
			}
			return nil
		}
		name, value, ok := cutField(line)
		if !ok {
			return fmt.Errorf("%w: field %.40q", ErrRequest, line)
		}
		kept, err := r.known(name, value)
		if err != nil {
			return err
		}
		if kept {
			r.block = appendField(r.block, name, value)
			r.grpc = r.grpc || isGRPC(name, value)
		}
	}
}

// known takes note of the fields that frame the request, and says whether the field goes
// on: those that concern one connection do not (RFC 9113 §8.2.2).
func (r *request) known(name, value []byte) (kept bool, err error) {
	switch len(name) {
	case 2:
		return !wire.EqualFold(name, "te"), nil
	case 4:
		return !wire.EqualFold(name, "host"), nil
	case 7:
		return !wire.EqualFold(name, "upgrade"), nil
	case 10:
		return !wire.EqualFold(name, "connection") && !wire.EqualFold(name, "keep-alive"), nil
	case 14:
		if wire.EqualFold(name, "content-length") {
			n, ok := parseLength(value)
			if !ok || r.length != 0 {
				return false, fmt.Errorf("%w: Content-Length %.40q", ErrRequest, value)
			}
			r.length = n
		}
	case 16:
		return !wire.EqualFold(name, "proxy-connection"), nil
	case 17:
		if wire.EqualFold(name, "transfer-encoding") {
			r.length = -1
			return false, nil
		}
	}
	return true, nil
}

// isGRPC says whether the field is the content type of gRPC, whose servers want to be told
// that the client knows trailers.
func isGRPC(name, value []byte) bool {
	const grpc = "application/grpc"
	return len(name) == len("content-type") && len(value) >= len(grpc) && string(value[:len(grpc)]) == grpc &&
		wire.EqualFold(name, "content-type")
}

// hostOf finds the Host among the fields.
func hostOf(rest []byte) []byte {
	for {
		line, behind, ok := cutLine(rest)
		if !ok || len(line) == 0 {
			return nil
		}
		if len(line) > 4 && line[4] == ':' && wire.EqualFold(line[:4], "host") {
			return bytes.Trim(line[5:], " \t")
		}
		rest = behind
	}
}

func cutLine(b []byte) (line, rest []byte, ok bool) {
	n := bytes.IndexByte(b, '\n')
	if n < 1 || b[n-1] != '\r' {
		return nil, nil, false
	}
	return b[:n-1], b[n+1:], true
}

func cutRequestLine(line []byte) (method, target []byte, ok bool) {
	const version = " HTTP/1.1"
	line, ok = bytes.CutSuffix(line, []byte(version))
	if !ok {
		return nil, nil, false
	}
	method, target, ok = bytes.Cut(line, []byte(" "))
	return method, target, ok && len(target) > 0 && wire.IsToken(method)
}

func cutField(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	return name, bytes.Trim(value, " \t"), ok && wire.IsToken(name)
}

// parseLength reads 1*DIGIT that fits in 18 digits.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
