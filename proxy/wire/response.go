package wire

import "bytes"

// ScanResponse reads the head of a response as ScanRequest reads that of a request.
// An endpoint that sends what two parsers could read in two ways is refused as well.
func (h *Head) ScanResponse(b []byte) error {
	for {
		line, err := h.line(b)
		if err != nil {
			return err
		}
		at := h.next
		h.next += len(line) + 2
		switch {
		case !h.started:
			err = h.statusLine(line)
			h.fields = h.next
		case len(line) == 0:
			h.Len = h.next
			return nil
		default:
			err = h.responseField(line, at)
		}
		if err != nil {
			return err
		}
	}
}

// statusLine checks "version status reason" (RFC 9112 §4).
func (h *Head) statusLine(line []byte) error {
	h.started = true
	const least = len("HTTP/1.1 200")
	if len(line) < least || string(line[:7]) != "HTTP/1." || !digit(line[7]) || line[8] != ' ' ||
		line[9] < '1' || line[9] > '9' || !digit(line[10]) || !digit(line[11]) {
		return errStatusLine
	}
	rest := line[least:]
	if len(rest) > 0 && (rest[0] != ' ' || !all(rest, isValue)) {
		return errStatusLine
	}
	h.Minor = int(line[7] - '0')
	h.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if len(rest) < 2 || h.Minor != 1 {
		h.Flags |= unusual
	}
	return nil
}

// responseField reads one field line of a response.
func (h *Head) responseField(line []byte, at int) error {
	if line[0] == ' ' || line[0] == '\t' {
		return errFold
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !all(line[:colon], isToken) {
		return errFieldName
	}
	if !all(line[colon+1:], isValue) {
		return errFieldValue
	}
	h.knownOfResponse(line[:colon], line[colon+1:], at)
	return nil
}

// knownOfResponse takes note of the fields that frame a response or concern its
// connection. The codec has the last word where something about them is unusual.
func (h *Head) knownOfResponse(name, value []byte, from int) {
	at := Span{from, from + len(name) + 1 + leading(value)}
	value = trim(value)
	switch len(name) {
	case 2:
		h.hopByHop(name, "te", at)
	case 7:
		h.hopByHop(name, "upgrade", at)
	case 10:
		h.hopByHop(name, "keep-alive", at)
		if EqualFold(name, "connection") {
			h.connection(value, at)
		}
	case 11:
		if EqualFold(name, "grpc-status") {
			h.GRPCStatus = parseGRPCStatus(value)
		}
	case 12:
		if EqualFold(name, "content-type") {
			h.contentType(value)
		}
	case 14:
		if EqualFold(name, "content-length") && h.length(value, at) != nil {
			h.Flags |= unusual
		}
	case 16:
		h.hopByHop(name, "proxy-connection", at)
	case 17:
		if EqualFold(name, "transfer-encoding") {
			h.setApart(at)
			if h.coding(value) != nil {
				h.Flags |= unusual
			}
		}
	}
}
