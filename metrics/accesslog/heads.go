package accesslog

import "bytes"

// fields are header fields that are looked for.
type fields struct {
	list []header
	// first has a bit for each first letter of their names, by its last five bits.
	first uint32
}

func newFields(list []header) fields {
	f := fields{list: list}
	for _, h := range list {
		f.first |= 1 << (h.name[0] & 31)
	}
	return f
}

// find looks for the fields in the lines of a head, the first of each name, and returns
// their values, aligned; nil: it is not there.
func (f *fields) find(head []byte, values [][]byte) [][]byte {
	values = values[:0]
	for range f.list {
		values = append(values, nil)
	}
	for len(head) > 0 {
		end := bytes.IndexByte(head, '\n') + 1
		if end == 0 {
			end = len(head)
		}
		if f.first>>(head[0]&31)&1 != 0 {
			f.take(head[:end], values)
		}
		head = head[end:]
	}
	return values
}

// take notes the value of a line.
func (f *fields) take(line []byte, values [][]byte) {
	for i := range f.list {
		if h := &f.list[i]; values[i] == nil && h.begins(line) {
			values[i] = trim(line[len(h.name)+1:])
		}
	}
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

// keep appends the lines of a head that are of the fields.
func (f *fields) keep(dst, head []byte) []byte {
	for len(head) > 0 {
		end := bytes.IndexByte(head, '\n') + 1
		if end == 0 {
			break
		}
		line := head[:end]
		head = head[end:]
		for i := range f.list {
			if f.list[i].begins(line) {
				dst = append(dst, line...)
				break
			}
		}
	}
	return dst
}
