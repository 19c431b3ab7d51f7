package fabio

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Text is a piece of input and what to call it in the report.
type Text struct{ Name, Content string }

// verb is what a command does.
type verb uint8

const (
	verbAdd verb = iota
	verbDel
	verbWeight
)

// command is one line of the route language.
type command struct {
	verb              verb
	service, src, dst string
	weight            float64
	tags              []string
	opts              fields
	where             string
}

// parseCommands parses route commands, one a line. Fabio refuses the whole text for
// one bad line; here it costs that line, and a note.
func parseCommands(text Text, n *notes) (out []command) {
	for i, line := range strings.Split(valid(text.Content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//") {
			continue
		}
		where := fmt.Sprintf("%s:%d", text.Name, i+1)
		c, err := parseCommand(line)
		if err != nil {
			n.add(Todo, where, "%v, and the line was left out; Fabio refuses the whole text for it", err)
			continue
		}
		c.where = where
		out = append(out, c)
	}
	return out
}

func parseCommand(line string) (command, error) {
	w := words{line}
	if first, _ := w.next(); first != "route" {
		return command{}, fmt.Errorf("%q is no route command", clip(first))
	}
	switch second, _ := w.next(); second {
	case "add":
		return parseAdd(w)
	case "del":
		return parseDel(w)
	case "weight":
		return parseWeigh(w)
	default:
		return command{}, fmt.Errorf("route %q is neither add, del nor weight", clip(second))
	}
}

// parseAdd parses: <svc> <src> <dst> [weight <w>] [tags "…"] [opts "…"].
func parseAdd(w words) (c command, err error) {
	c.verb = verbAdd
	c.service, _ = w.next()
	c.src, _ = w.next()
	var complete bool
	if c.dst, complete = w.next(); !complete {
		return c, errors.New("route add needs a service, a source and a destination")
	}
	if w.keyword("weight") {
		text, _ := w.next()
		if c.weight, err = parseNumber(text); err != nil {
			return c, err
		}
	}
	if tags, ok := w.quotedAfter("tags"); ok {
		c.tags = splitTags(tags)
	}
	if opts, ok := w.quotedAfter("opts"); ok {
		c.opts = parseOptions(opts)
	}
	return c, w.end()
}

// parseDel parses: <svc> [<src> [<dst>]], <svc> tags "…" or tags "…".
func parseDel(w words) (c command, err error) {
	c.verb = verbDel
	if tags, ok := w.quotedAfter("tags"); ok {
		c.tags = splitTags(tags)
		return c, errors.Join(w.end(), someTags(c.tags))
	}
	var complete bool
	if c.service, complete = w.next(); !complete {
		return c, errors.New("route del needs a service or tags")
	}
	if tags, ok := w.quotedAfter("tags"); ok {
		c.tags = splitTags(tags)
		return c, w.end()
	}
	c.src, _ = w.next()
	c.dst, _ = w.next()
	return c, w.end()
}

// someTags refuses a del of tags that names none: it would delete nothing in Fabio but
// what has no service.
func someTags(tags []string) error {
	if len(tags) == 0 {
		return errors.New("route del tags names no tag")
	}
	return nil
}

// parseWeigh parses: <svc> <src> weight <w> [tags "…"] or <src> weight <w> tags "…".
func parseWeigh(w words) (c command, err error) {
	c.verb = verbWeight
	c.service, _ = w.next()
	c.src, _ = w.next()
	if !w.keyword("weight") {
		if c.src != "weight" {
			return c, errors.New("route weight needs a source and a weight")
		}
		c.service, c.src = "", c.service
	}
	text, _ := w.next()
	if c.weight, err = parseNumber(text); err != nil {
		return c, err
	}
	tags, has := w.quotedAfter("tags")
	if c.tags = splitTags(tags); c.service == "" && !has {
		return c, errors.New("route weight without a service needs tags")
	}
	return c, w.end()
}

func parseNumber(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("the weight %q is not a number", clip(text))
	}
	return f, nil
}

func splitTags(text string) []string {
	if text == "" {
		return nil
	}
	tags := strings.Split(text, ",")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	return tags
}

// parseOptions splits options at white space; of two with the same key the last wins.
func parseOptions(text string) (out fields) {
	for _, f := range strings.Fields(text) {
		key, value, _ := strings.Cut(f, "=")
		out = out.set(key, value)
	}
	return out
}

// space is what separates words.
const space = " \t\n\f\r"

// words takes a line apart.
type words struct{ rest string }

// next returns the next word; ok is false at the end.
func (w *words) next() (word string, ok bool) {
	w.rest = strings.TrimLeft(w.rest, space)
	end := strings.IndexAny(w.rest, space)
	if end < 0 {
		end = len(w.rest)
	}
	word, w.rest = w.rest[:end], w.rest[end:]
	return word, word != ""
}

// keyword takes the next word if it is this one and another follows.
func (w *words) keyword(word string) bool {
	ahead := *w
	if got, _ := ahead.next(); got != word || strings.Trim(ahead.rest, space) == "" {
		return false
	}
	*w = ahead
	return true
}

// quotedAfter takes a keyword and the text in quotes behind it, if both are next.
func (w *words) quotedAfter(word string) (text string, ok bool) {
	ahead := *w
	if !ahead.keyword(word) {
		return "", false
	}
	rest, opened := strings.CutPrefix(strings.TrimLeft(ahead.rest, space), `"`)
	text, rest, closed := strings.Cut(rest, `"`)
	if !opened || !closed || (rest != "" && !strings.ContainsAny(rest[:1], space)) {
		return "", false
	}
	w.rest = rest
	return text, true
}

// end fails unless everything was taken.
func (w *words) end() error {
	if rest := strings.Trim(w.rest, space); rest != "" {
		return fmt.Errorf("%q does not belong there", clip(rest))
	}
	return nil
}

// clip shortens a text for a message.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
