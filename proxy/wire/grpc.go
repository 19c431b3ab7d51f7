package wire

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// IsGRPC says whether the value of a Content-Type is that of gRPC, with whatever codec:
// application/grpc, alone or with a + or a ; behind it. gRPC-Web, which is HTTP like any
// other, is not meant.
func IsGRPC(contentType []byte) bool {
	const grpc = "application/grpc"
	if len(contentType) < len(grpc) || !EqualFold(contentType[:len(grpc)], grpc) {
		return false
	}
	rest := contentType[len(grpc):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';'
}

// contentType notes that the message is one of gRPC.
func (h *Head) contentType(value []byte) {
	if IsGRPC(value) {
		h.Flags |= HasGRPC
	}
}

// noCall is the CallTimeout of a head that says it twice: it says nothing.
const noCall = -1

// callTimeout notes what a grpc-timeout says. One that is malformed is none: whoever
// serves the call says what is to be thought of it.
func (h *Head) callTimeout(value []byte) {
	d, ok := ParseGRPCTimeout(value)
	if h.CallTimeout != 0 || !ok {
		d = noCall
	}
	h.CallTimeout = d
}

// ParseGRPCTimeout reads the value of a grpc-timeout: one to eight digits and a unit. It is
// above 0: what is over already has a nanosecond. What is longer than a Duration can say is
// so long that nobody waits for it.
func ParseGRPCTimeout(value []byte) (d time.Duration, ok bool) {
	const (
		digits = 8
		most   = math.MaxInt64 / 2
	)
	last := len(value) - 1
	if last < 1 || last > digits {
		return 0, false
	}
	n, ok := parseLength(value[:last])
	unit := grpcUnit(value[last])
	switch {
	case !ok || unit == 0:
		return 0, false
	case n > most/int64(unit):
		return most, true
	default:
		return max(1, time.Duration(n)*unit), true
	}
}

// grpcUnit is what a unit stands for, 0 for one that there is not.
func grpcUnit(c byte) time.Duration {
	switch c {
	case 'H':
		return time.Hour
	case 'M':
		return time.Minute
	case 'S':
		return time.Second
	case 'm':
		return time.Millisecond
	case 'u':
		return time.Microsecond
	case 'n':
		return time.Nanosecond
	default:
		return 0
	}
}

// AppendGRPCTimeout appends the value of a grpc-timeout that is at least d, as exactly as
// its eight digits can be.
func AppendGRPCTimeout(dst []byte, d time.Duration) []byte {
	const most = 99_999_999
	for _, c := range []byte("numSM") {
		unit := grpcUnit(c)
		if n := (int64(max(d, 1))-1)/int64(unit) + 1; n <= most {
			return append(strconv.AppendInt(dst, n, 10), c)
		}
	}
	return append(strconv.AppendInt(dst, int64(d/time.Hour)+1, 10), 'H')
}

// GRPCStatus returns the grpc-status among the lines of a trailer section, -1 for none.
func GRPCStatus(lines []byte) int {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		lines = rest
		const name = "grpc-status"
		if len(line) > len(name) && line[len(name)] == ':' && EqualFold(line[:len(name)], name) {
			return parseGRPCStatus(trim(line[len(name)+1:]))
		}
	}
	return -1
}

// parseGRPCStatus reads a status code; what is none is 2, unknown.
func parseGRPCStatus(value []byte) int {
	const unknown, most = 2, 16
	if n, ok := parseLength(value); ok && n <= most {
		return int(n)
	}
	return unknown
}
