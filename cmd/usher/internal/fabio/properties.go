package fabio

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Property is one setting of a properties file.
type Property struct {
	Key, Value string
	// Where is the file and the line it begins at.
	Where string
}

// Properties are the settings of a properties file, in its order. They are
// immutable.
type Properties struct {
	list  []Property
	notes []Note
}

// Get returns the value of a setting, empty when it is not there. It may be called on
// nil.
func (p *Properties) Get(key string) string {
	if p == nil {
		return ""
	}
	for _, x := range p.list {
		if x.Key == key {
			return x.Value
		}
	}
	return ""
}

// ParseProperties parses the syntax of Java's properties. It never fails: what cannot
// be understood becomes a note of the conversion. ${name} stands for another setting,
// else for a variable of env, nil meaning the process's, as in Fabio.
func ParseProperties(file, text string, env func(string) (string, bool)) *Properties {
	p := &Properties{}
	at := map[string]int{}
	for _, l := range logicalLines(valid(text)) {
		where := fmt.Sprintf("%s:%d", file, l.number)
		key, value := splitProperty(l.text)
		prop := Property{key, value, where + " " + key}
		i, twice := at[key]
		if !twice {
			at[key] = len(p.list)
			p.list = append(p.list, prop)
			continue
		}
		p.note(Differs, p.list[i].Where, "is set again at %s, which wins in Fabio and is what was converted", where)
		p.list[i] = prop
	}
	p.expandAll(at, env)
	return p
}

func (p *Properties) note(kind Kind, where, format string, args ...any) {
	p.notes = append(p.notes, Note{kind, where, fmt.Sprintf(format, args...)})
}

// valid replaces what is no UTF-8, which YAML could not hold.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// logicalLine is a line with its continuations.
type logicalLine struct {
	text   string
	number int
}

// logicalLines joins the lines that end in a backslash with the next ones and leaves
// blank lines and comments out. A comment is not continued.
func logicalLines(text string) (out []logicalLine) {
	open := false
	for i, line := range strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n") {
		line = strings.TrimLeft(line, " \t\f")
		if !open && (line == "" || line[0] == '#' || line[0] == '!') {
			continue
		}
		if !open {
			out = append(out, logicalLine{"", i + 1})
		}
		if open = continued(line); open {
			line = line[:len(line)-1]
		}
		out[len(out)-1].text += line
	}
	return out
}

// continued says whether a line ends in a backslash that is not itself escaped.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// splitProperty splits at the first =, : or white space that is not escaped; white
// space around = and : belongs to neither side.
func splitProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return unescape(line[:end]), strings.TrimSpace(unescape(rest))
}

// unescape resolves \t \n \r \f \uXXXX; before anything else the backslash is
// dropped.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if r, err := strconv.ParseUint(s[i+1:min(i+5, len(s))], 16, 16); err == nil && i+5 <= len(s) {
				b.WriteRune(rune(r))
				i += 4
				continue
			}
			b.WriteByte('u')
		default:
			b.WriteByte(s[i])
		}
	}
	return valid(b.String())
}

// expandAll resolves the references in the values.
func (p *Properties) expandAll(at map[string]int, env func(string) (string, bool)) {
	if env == nil {
		env = os.LookupEnv
	}
	raw := make([]string, len(p.list))
	for i := range p.list {
		raw[i] = p.list[i].Value
	}
	for i := range p.list {
		e := expander{p: p, raw: raw, at: at, env: env, where: p.list[i].Where}
		p.list[i].Value = e.expand(raw[i], 0)
	}
}

// expander resolves the references of one value.
type expander struct {
	p     *Properties
	raw   []string
	at    map[string]int
	env   func(string) (string, bool)
	where string
	size  int
}

// The bounds of an expansion: references in references, and what they add up to.
const (
	maxDepth    = 10
	maxExpanded = 1 << 20
)

func (e *expander) expand(s string, depth int) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(before + e.reference(name, depth))
		s = after
	}
}

// reference returns what a name stands for.
func (e *expander) reference(name string, depth int) string {
	if i, ok := e.at[name]; ok {
		if e.size += len(e.raw[i]) + 1; depth == maxDepth || e.size > maxExpanded {
			e.p.note(Todo, e.where, "refers to itself or to too much through ${%s}, which was left empty", name)
			return ""
		}
		return e.expand(e.raw[i], depth+1)
	}
	if value, ok := e.env(name); ok {
		e.p.note(Differs, e.where, "the variable %s is written out as it is here and now", name)
		return valid(value)
	}
	e.p.note(Todo, e.where, "${%s} is neither a setting nor a variable here, and was left empty", name)
	return ""
}
