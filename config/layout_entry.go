package config

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// entry lays out a key and its value, which have the lines s at most; end is the first
// line behind them. The key stands in the column old, or behind a dash in the column inline.
func (l *layouter) entry(
	key, value *yaml.Node, s span, indent, old, inline int, sh *shape,
) (body []string, end int, ok bool) {
	line := l.keyLine(key, value, inline)
	if strings.HasPrefix(line, "?") || key.Kind != yaml.ScalarNode && key.Kind != yaml.AliasNode {
		return nil, 0, false
	}
	first := spaces(indent) + line
	if !isBlock(value) {
		end = l.end(value, old, s) + 1
		rest, ok := l.continued(value, span{s.from + 1, end}, indent, old)
		return append([]string{first}, rest...), max(end, s.from+1), ok
	}
	if l.firstLine(value) <= s.from {
		return nil, 0, false // a sequence of sequences, or the like, behind a key
	}
	end = l.end(value, old, s) + 1
	end = l.inner(span{end, s.to}, old)
	b, ok := l.collection(value, span{s.from + 1, end}, indent+2, -1, sh)
	return append(append([]string{first}, b.lead...), b.body...), end, ok
}

// keyLine is the line of a key from the key on, with one space before a value.
func (l *layouter) keyLine(key, value *yaml.Node, inline int) string {
	line := []rune(l.lines[key.Line-1])
	at := value.Column - 1
	if value.Line == key.Line && 0 < at && at < len(line) && line[at] != ' ' {
		before := strings.TrimRight(string(line[:at]), " \t")
		if strings.HasSuffix(before, ":") {
			line = []rune(before + " " + string(line[at:]))
		}
	}
	if inline >= 0 {
		return strings.TrimRight(string(line[inline:]), " \t")
	}
	return strings.Trim(string(line), " \t")
}

// collection lays out a mapping or a sequence.
func (l *layouter) collection(n *yaml.Node, s span, indent, inline int, sh *shape) (block, bool) {
	if n.Kind == yaml.MappingNode {
		return l.mapping(n, s, indent, inline, sh)
	}
	return l.sequence(n, s, indent, inline, sh)
}

// firstLine is the line where a block collection begins, after what names it.
func (l *layouter) firstLine(n *yaml.Node) int {
	first := n.Content[0].Line - 1
	if n.Kind == yaml.SequenceNode {
		return min(first, n.Line-1)
	}
	return first
}

// sequence lays out a block sequence, as mapping does a mapping.
func (l *layouter) sequence(n *yaml.Node, s span, indent, inline int, sh *shape) (b block, ok bool) {
	dashes, old, ok := l.dashes(n, s, inline)
	if !ok {
		return block{}, false
	}
	var elem *shape
	if sh != nil {
		elem = sh.elem
	}
	var pieces []piece
	gap := span{s.from, dashes[0]}
	for i, item := range n.Content {
		limit := s.to
		if i+1 < len(dashes) {
			limit = dashes[i+1]
		}
		pc := piece{blank: gap.from < gap.to && l.blank(gap.from)}
		lead, ok := l.comments(gap, indent)
		if !ok || dashes[i] >= limit {
			return block{}, false
		}
		var end int
		if pc.block, end, ok = l.item(item, span{dashes[i], limit}, indent, old, elem); !ok {
			return block{}, false
		}
		pc.lead = append(lead, pc.lead...)
		pieces, gap = append(pieces, pc), span{end, limit}
	}
	return l.join(pieces, gap, indent)
}

// dashes finds the lines of the dashes of a sequence, and their column.
func (l *layouter) dashes(n *yaml.Node, s span, inline int) (lines []int, column int, ok bool) {
	column = inline
	for i, item := range n.Content {
		at := item.Line - 1
		if i == 0 && inline >= 0 {
			lines = append(lines, s.from)
			continue
		}
		if i == 0 {
			at = s.from
			for at < s.to && (l.blank(at) || l.comment(at)) {
				at++
			}
			if at == s.to {
				return nil, 0, false
			}
			column = l.indent(at)
		}
		for at >= s.from && !l.dash(at, column) {
			at--
		}
		if at < s.from || len(lines) > 0 && at <= lines[len(lines)-1] {
			return nil, 0, false
		}
		lines = append(lines, at)
	}
	return lines, column, true
}

// dash says whether a line has the dash of a sequence in a column.
func (l *layouter) dash(i, column int) bool {
	if l.indent(i) != column || len(l.lines[i]) <= column || l.lines[i][column] != '-' {
		return false
	}
	return len(l.lines[i]) == column+1 || strings.ContainsRune(" \t", rune(l.lines[i][column+1]))
}

// item lays out an item of a sequence whose dash is in the column old.
func (l *layouter) item(item *yaml.Node, s span, indent, old int, sh *shape) (b block, end int, ok bool) {
	after := l.lines[s.from][old+1:]
	rest := strings.TrimLeft(after, " \t")
	column := old + 1 + len(after) - len(rest)
	rest = strings.TrimRight(rest, " \t")
	dash := spaces(indent) + "-"
	if rest != "" {
		dash += " " + rest
	}
	if !isBlock(item) {
		end = l.end(item, old, s) + 1
		more, ok := l.continued(item, span{s.from + 1, end}, indent, old)
		return block{body: append([]string{dash}, more...)}, max(end, s.from+1), ok
	}
	end = l.inner(span{l.end(item, old, s) + 1, s.to}, old)
	if l.firstLine(item) == s.from {
		b, ok = l.collection(item, span{s.from, end}, indent+2, column, sh)
	} else if b, ok = l.collection(item, span{s.from + 1, end}, indent+2, -1, sh); ok && rest != "" {
		// A comment or a name stands behind the dash.
		return block{body: append(append([]string{dash}, b.lead...), b.body...)}, end, true
	}
	if !ok {
		return block{}, 0, false
	}
	b.body[0] = spaces(indent) + "- " + b.body[0][indent+2:]
	for i, line := range b.lead { // they go above the dash
		b.lead[i] = strings.TrimPrefix(line, "  ")
	}
	return b, end, true
}

// continued lays out the further lines of a value that is no block collection.
func (l *layouter) continued(n *yaml.Node, s span, indent, old int) (out []string, ok bool) {
	delta := indent - old
	width := 0 // blank lines up to here are no content
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && n.Line-1 == s.from-1 {
		if explicit, inner := l.blockIndent(n, old, s); !explicit {
			delta, width = indent+2-inner, inner
		}
	}
	for i := s.from; i < s.to; i++ {
		line := l.lines[i]
		switch {
		case strings.Trim(line, " ") == "" && len(line) <= width:
			line = ""
		case line == "":
		case delta >= 0:
			line = spaces(delta) + line
		default:
			line = line[min(-delta, l.indent(i)):]
		}
		out = append(out, line)
	}
	return out, true
}

func spaces(n int) string { return strings.Repeat(" ", n) }
