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
		h.next += len(line) + 2
		switch {
		case !h.started:
			err = h.statusLine(line)
		case len(line) == 0:
			h.Len = h.next
			return nil
		default:
			err = responseField(line)
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
	if rest := line[least:]; len(rest) > 0 && (rest[0] != ' ' || !all(rest, isValue)) {
		return errStatusLine
	}
	return nil
}

// responseField checks one field line of a response.
func responseField(line []byte) error {
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
	return nil
}
