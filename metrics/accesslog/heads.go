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
		line := head
		if end := bytes.IndexByte(head, '\n'); end >= 0 {
			line, head = head[:end], head[end+1:]
		} else {
			head = nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		for i := range list {
			if len(list[i].name) == colon && values[i] == nil && same(line[:colon], list[i].name) {
				values[i] = bytes.TrimSpace(line[colon+1:])
			}
		}
	}
	return values
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
		colon := bytes.IndexByte(line, ':')
		for i := range list {
			if len(list[i].name) == colon && same(line[:colon], list[i].name) {
				dst = append(dst, line...)
				break
			}
		}
	}
	return dst
}
