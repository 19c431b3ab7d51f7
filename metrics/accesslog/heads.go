package accesslog

import "bytes"

// find looks for the fields of the list in the lines of a head, the first of each name, and
// returns their values, aligned; nil: it is not there.
func find(list []header, head []byte, values [][]byte) [][]byte {
	values = values[:0]
	for range list {
		values = append(values, nil)
	}
	for len(head) > 0 {
		end := bytes.IndexByte(head, '\n') + 1
		if end == 0 {
			end = len(head)
		}
		line := head[:end]
		head = head[end:]
		for i := range list {
			if values[i] == nil && list[i].begins(line) {
				values[i] = trim(line[len(list[i].name)+1:])
			}
		}
	}
	return values
}

// begins says whether a line is of the field.
func (h *header) begins(line []byte) bool {
	n := len(h.name)
	return len(line) > n && line[n] == ':' && same(line[:n], h.name)
}

// trim takes the white space off both ends, which leaves a line without a value as an empty
// one that is not nil.
func trim(b []byte) []byte {
	for len(b) > 0 && b[0] <= ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// same says whether a name is one that is given in lower case, but for its case.
func same(name []byte, lower string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// keep appends the lines of a head whose fields are in the list.
func keep(dst []byte, list []header, head []byte) []byte {
	for len(head) > 0 {
		end := bytes.IndexByte(head, '\n') + 1
		if end == 0 {
			break
		}
		line := head[:end]
		head = head[end:]
		for i := range list {
			if list[i].begins(line) {
				dst = append(dst, line...)
				break
			}
		}
	}
	return dst
}
