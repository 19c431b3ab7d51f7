package config

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Format lays out a configuration file, or that of a file registry: two spaces of
// indentation, the keys in the order of the reference with unknown ones last, one blank
// line at most and one between sections, no trailing space. It moves and shifts lines, so that comments, quotes and
// line breaks stay as they are, and so does what stands between { and }, [ and ].
// Formatting twice is formatting once, and the content is the same.
//
// It fails, with Errors, for what is not valid YAML or has a key twice; unknown keys and
// wrong values are none of its business. The result does not share memory with data.
func Format(file string, data []byte) ([]byte, error) {
	text, err := normalBreaks(file, data)
	if err != nil {
		return nil, err
	}
	p := &problems{}
	before := parse(file, text, nil, p)
	if err := p.err(); err != nil {
		return nil, err
	}
	docs, err := documents(text)
	if err != nil {
		return nil, err // parse has found it
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 || before == nil {
		return tidy(text), nil
	}
	for _, reorder := range []bool{true, false} { // an alias may have to stay behind its anchor
		out := format(docs[0].Content[0], text, reorder)
		if sameRunes(text, out) && sameContent(file, before, out) {
			return out, nil
		}
	}
	p.add(Pos{File: file}, "the layout of this file is beyond usher fmt: it uses YAML in a way that cannot be moved")
	return nil, p.err()
}

// normalBreaks makes all line breaks the same.
func normalBreaks(file string, data []byte) ([]byte, error) {
	p := &problems{}
	text := bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	switch {
	case !utf8.Valid(text):
		p.add(Pos{File: file}, "not valid UTF-8")
	case bytes.ContainsAny(text, "\r\u0085\u2028\u2029"):
		p.add(Pos{File: file}, "a line break that is neither LF nor CR LF")
	}
	return text, p.err()
}

// format lays out a document.
func format(root *yaml.Node, text []byte, reorder bool) []byte {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	l := &layouter{lines: lines, reorder: reorder}
	shape := configShape()
	if services := valueOf(root, "services"); services != nil && services.Kind == yaml.SequenceNode {
		shape = catalogShape()
	}
	start, end := root.Line-1, l.bodyEnd(root.Line-1)
	if !isBlock(root) || root.Kind != yaml.MappingNode || root.Anchor != "" || strings.HasPrefix(lines[start], "---") {
		return text
	}
	header, from := l.header(start)
	b, ok := l.mapping(root, span{from, end}, 0, -1, shape)
	if !ok {
		return text
	}
	out := header
	if len(header) > 0 && from > 0 && l.blank(from-1) {
		out = append(out, "")
	}
	out = append(append(out, b.lead...), b.body...)
	for _, line := range lines[end:] {
		out = append(out, strings.TrimRight(line, " \t"))
	}
	return []byte(strings.Join(out, "\n") + "\n")
}

// tidy lays out a file of comments.
func tidy(text []byte) []byte {
	l := &layouter{lines: strings.Split(string(text), "\n")}
	lines, _ := l.comments(span{0, len(l.lines)}, 0)
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n")
}

func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; mapping.Kind == yaml.MappingNode && i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// isBlock says whether a node is a collection without brackets.
func isBlock(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && n.Style&yaml.FlowStyle == 0
}

// sameContent says whether out reads as what was read before.
func sameContent(file string, before *node, out []byte) bool {
	p := &problems{}
	after := parse(file, out, nil, p)
	return p.err() == nil && after != nil && sameNode(before, after)
}

// sameNode compares without positions and the order of keys.
func sameNode(a, b *node) bool {
	if a.kind != b.kind || a.text != b.text || len(a.items) != len(b.items) || len(a.entries) != len(b.entries) {
		return false
	}
	for i := range a.items {
		if !sameNode(a.items[i], b.items[i]) {
			return false
		}
	}
	for _, e := range a.entries {
		other := b.find(e.key)
		if other == nil || !sameNode(e.value, other.value) {
			return false
		}
	}
	return true
}

// sameRunes says whether nothing but space was added or lost, comments too.
func sameRunes(a, b []byte) bool {
	count := func(text []byte) map[rune]int {
		n := map[rune]int{}
		for _, r := range string(text) {
			n[r]++
		}
		for _, space := range " \t\n" {
			delete(n, space)
		}
		return n
	}
	x, y := count(a), count(b)
	for r, n := range x {
		if y[r] != n {
			return false
		}
	}
	return len(x) == len(y)
}

// layouter moves the lines of a file.
type layouter struct {
	lines   []string
	reorder bool
}

// span is a range of lines, from 0, the end excluded.
type span struct{ from, to int }

// block is laid out text: the comments above it, and itself.
type block struct{ lead, body []string }

// piece is one entry of a mapping or item of a sequence.
type piece struct {
	block
	name  string
	blank bool // a blank line goes before it
}

// mapping lays out a block mapping whose lines are s, with indent spaces. If its first key
// stands behind a dash, inline is the column there, else -1. Not ok: it is written in a way
// that is left alone.
func (l *layouter) mapping(n *yaml.Node, s span, indent, inline int, sh *shape) (b block, ok bool) {
	old := inline
	if inline < 0 {
		old = l.indent(n.Content[0].Line - 1)
	}
	var pieces []piece
	gap := span{s.from, n.Content[0].Line - 1} // the comments before an entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		start, limit := key.Line-1, s.to
		if i+2 < len(n.Content) {
			limit = n.Content[i+2].Line - 1
		}
		column := -1
		if i == 0 {
			column = inline
		}
		if start >= limit || column < 0 && l.indent(start) != old {
			return block{}, false
		}
		pc := piece{name: key.Value}
		if gap.from < gap.to || inline < 0 {
			if pc.lead, ok = l.comments(gap, indent); !ok {
				return block{}, false
			}
			pc.blank = gap.from < gap.to && l.blank(gap.from)
		}
		var end int
		if pc.body, end, ok = l.entry(key, value, span{start, limit}, indent, old, column, sh.child(key.Value)); !ok {
			return block{}, false
		}
		pieces, gap = append(pieces, pc), span{end, limit}
	}
	l.sort(pieces, sh)
	return l.join(pieces, gap, indent)
}

// sort puts the entries of a section in the order of its keys. The blank line of the one
// that comes first now goes to the one that was.
func (l *layouter) sort(pieces []piece, sh *shape) {
	if !l.reorder || sh == nil || sh.kind != kindObject {
		return
	}
	rank := func(p piece) int {
		i := slices.IndexFunc(sh.keys, func(k shapeKey) bool { return k.name == p.name })
		switch {
		case p.name == "<<":
			return -1
		case i < 0:
			return len(sh.keys)
		}
		return i
	}
	first := &pieces[0]
	least := slices.MinFunc(pieces, func(a, b piece) int { return cmp.Compare(rank(a), rank(b)) })
	if rank(least) != rank(*first) {
		first.blank = least.blank
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(rank(a), rank(b)) })
}

// join puts pieces together; the comments of the gap go behind them. The comments above the
// first are the block's.
func (l *layouter) join(pieces []piece, gap span, indent int) (b block, ok bool) {
	for i, p := range pieces {
		if i == 0 {
			b.lead, b.body = p.lead, p.body
			continue
		}
		// Sections stand apart from what is beside them.
		apart := indent == 0 && len(p.body)+len(pieces[i-1].body) > 2
		// The last line is blank where it is a part of a text.
		if (p.blank || apart) && b.body[len(b.body)-1] != "" {
			b.body = append(b.body, "")
		}
		b.body = append(append(b.body, p.lead...), p.body...)
	}
	tail, ok := l.comments(gap, indent)
	if len(tail) > 0 && tail[len(tail)-1] == "" {
		tail = tail[:len(tail)-1]
	}
	if len(tail) > 0 && l.blank(gap.from) {
		b.body = append(b.body, "")
	}
	b.body = append(b.body, tail...)
	return b, ok
}

// child is the shape of what a key holds; nil: not known.
func (s *shape) child(key string) *shape {
	if s == nil {
		return nil
	}
	if s.kind == kindMap {
		return s.elem
	}
	for _, k := range s.keys {
		if k.name == key {
			return k.shape
		}
	}
	return nil
}
