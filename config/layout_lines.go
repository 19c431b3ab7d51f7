package config

import (
	"strings"

	"gopkg.in/yaml.v3"
)

func (l *layouter) blank(i int) bool {
	return i < len(l.lines) && strings.Trim(l.lines[i], " \t") == ""
}

func (l *layouter) comment(i int) bool {
	return strings.HasPrefix(strings.TrimLeft(l.lines[i], " \t"), "#")
}

// indent is the number of spaces that a line begins with.
func (l *layouter) indent(i int) int {
	return len(l.lines[i]) - len(strings.TrimLeft(l.lines[i], " "))
}

// comments lays out a range of comments and blank lines, without blank ones in front. Not
// ok: there is something else in it.
func (l *layouter) comments(s span, indent int) (out []string, ok bool) {
	for i := s.from; i < s.to; i++ {
		switch {
		case l.comment(i):
			out = append(out, spaces(indent)+strings.Trim(l.lines[i], " \t"))
		case !l.blank(i):
			return nil, false
		case len(out) > 0 && out[len(out)-1] != "":
			out = append(out, "")
		}
	}
	return out, true
}

// inner is where the lines of a block collection end that stands below a column: with the
// comments behind it that are deeper.
func (l *layouter) inner(gap span, column int) int {
	end := gap.from
	for i := gap.from; i < gap.to; i++ {
		switch {
		case l.blank(i):
		case l.indent(i) > column:
			end = i + 1
		default:
			return end
		}
	}
	return end
}

// header takes the comments that belong to the file and not to its first key: up to the
// last blank line, or to the last line for an editor, or what begins the document.
func (l *layouter) header(start int) (lines []string, from int) {
	for i := range start {
		text := strings.TrimLeft(l.lines[i], "# ")
		editor := strings.HasPrefix(text, "yaml-language-server:") || strings.HasPrefix(text, "vim:")
		if l.blank(i) || editor || !l.comment(i) {
			from = i + 1
		}
	}
	for i := range from {
		line := strings.Trim(l.lines[i], " \t")
		if line != "" || len(lines) > 0 && lines[len(lines)-1] != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines, from
}

// bodyEnd is where the document ends: at a line of three dots, or with the file.
func (l *layouter) bodyEnd(start int) int {
	for i := start; i < len(l.lines); i++ {
		if strings.TrimRight(l.lines[i], " \t") == "..." {
			return i
		}
	}
	return len(l.lines)
}

// end is the last line of a node that stands in s and belongs to a collection in a column.
func (l *layouter) end(n *yaml.Node, column int, s span) int {
	start := n.Line - 1
	switch {
	case n.Kind == yaml.AliasNode:
		return start
	case isBlock(n):
		return l.blockEnd(n, s)
	case n.Kind != yaml.ScalarNode:
		return l.flowEnd(start, n.Column-1)
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return l.textEnd(n, column, s)
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return l.quotedEnd(start, n.Column-1)
	case n.Value == "":
		return start
	}
	last := start
	for i := start; i < s.to; i++ {
		if !l.blank(i) && !l.comment(i) {
			last = i
		}
	}
	return last
}

func (l *layouter) blockEnd(n *yaml.Node, s span) int {
	last := n.Content[len(n.Content)-1]
	column := n.Column - 1
	if n.Kind == yaml.MappingNode {
		key := n.Content[len(n.Content)-2]
		column = key.Column - 1
		if last.Kind == yaml.ScalarNode && last.Value == "" && last.Style == 0 {
			return key.Line - 1
		}
	}
	return l.end(last, column, s)
}

// blockIndent is the column of the text of a block scalar in a collection in a column;
// explicit says that a digit gives it.
func (l *layouter) blockIndent(n *yaml.Node, column int, s span) (explicit bool, inner int) {
	header := l.textHeader(n)
	if i := strings.IndexAny(header, "123456789"); i >= 0 {
		return true, column + int(header[i]-'0')
	}
	for i := n.Line; i < s.to; i++ {
		if !l.blank(i) {
			return false, max(l.indent(i), column+1)
		}
	}
	return false, column + 1
}

// textEnd is the last line of a block scalar; blank ones behind it count if it keeps them.
func (l *layouter) textEnd(n *yaml.Node, column int, s span) int {
	_, inner := l.blockIndent(n, column, s)
	last, next := n.Line-1, n.Line
	for ; next < s.to; next++ {
		if l.blank(next) {
			continue
		}
		if l.indent(next) < inner {
			break
		}
		last = next
	}
	if strings.Contains(l.textHeader(n), "+") {
		return next - 1
	}
	return last
}

// textHeader is what a block scalar begins with, such as |2+.
func (l *layouter) textHeader(n *yaml.Node) string {
	line := []rune(l.lines[n.Line-1])
	for _, word := range strings.Fields(string(line[min(len(line), n.Column-1):])) {
		if strings.HasPrefix(word, "|") || strings.HasPrefix(word, ">") {
			return word
		}
	}
	return ""
}

// quotedEnd is the line of the quote that closes a text, which begins at a line and column,
// or behind a name there.
func (l *layouter) quotedEnd(line, column int) int {
	sc := &scanner{l: l, line: line, column: column}
	for r, ok := sc.next(); ok; r, ok = sc.next() {
		if r == '"' || r == '\'' {
			sc.quoted(r)
			return sc.line
		}
	}
	return sc.line
}

// flowEnd is the line of the bracket that closes a collection.
func (l *layouter) flowEnd(line, column int) int {
	sc := &scanner{l: l, line: line, column: column}
	depth, last, word := 0, ',', ','
	for r, ok := sc.next(); ok; r, ok = sc.next() {
		begins := strings.ContainsRune("[{,:\n", last) || last == ' ' && strings.ContainsRune("[{,:!&\n", word)
		switch {
		case r == '#' && (last == ' ' || last == '\n'):
			sc.column = 1 << 30
		case (r == '"' || r == '\'') && begins:
			sc.quoted(r)
		case r == '[' || r == '{':
			depth++
		case r == ']' || r == '}':
			if depth--; depth == 0 {
				return sc.line
			}
		}
		if r == '\t' {
			r = ' '
		}
		if r != ' ' && r != '\n' && (strings.ContainsRune(" \n[{,:", last) || strings.ContainsRune("[{,:", r)) {
			word = r // what the text before a space began with
		}
		last = r
	}
	return sc.line
}

// scanner goes over the characters from a place on; each line ends with a line feed.
type scanner struct {
	l            *layouter
	line, column int
}

func (s *scanner) next() (rune, bool) {
	if s.line >= len(s.l.lines) {
		s.line = len(s.l.lines) - 1
		return 0, false
	}
	line := []rune(s.l.lines[s.line])
	if s.column >= len(line) {
		s.line, s.column = s.line+1, 0
		return '\n', true
	}
	s.column++
	return line[s.column-1], true
}

// quoted goes behind the quote that closes a text.
func (s *scanner) quoted(quote rune) {
	for r, ok := s.next(); ok; r, ok = s.next() {
		switch {
		case r == '\\' && quote == '"':
			s.next()
		case r == quote && quote == '\'' && s.peek() == quote:
			s.next()
		case r == quote:
			return
		}
	}
}

func (s *scanner) peek() rune {
	line := []rune(s.l.lines[s.line])
	if s.column < len(line) {
		return line[s.column]
	}
	return '\n'
}
