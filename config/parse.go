package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"gopkg.in/yaml.v3"
)

// maxCopied bounds the nodes that aliases add to a file, so that a few lines of
// nested aliases cannot fill the memory. What is written out is not bounded.
const maxCopied = 10_000

// parse turns one YAML document into nodes. It returns nil for a document that is
// empty or not YAML at all; the latter is reported. Without an env texts are taken as
// they stand, ${VAR} too.
func parse(file string, data []byte, env lookup, p *problems) *node {
	docs, err := documents(data)
	if err != nil {
		p.add(syntaxProblem(file, data, err))
	}
	if len(docs) > 1 {
		p.add(Pos{file, docs[1].Line, docs[1].Column}, "a second YAML document: a file holds one")
	}
	if err != nil || len(docs) == 0 || len(docs[0].Content) == 0 {
		return nil
	}
	c := converter{file: file, env: env, problems: p, open: map[*yaml.Node]bool{}}
	return c.convert(docs[0].Content[0])
}

// documents parses up to two documents, enough to tell that there is more than
// one. The recover is there because the YAML library is archived: a panic in it
// must cost this file, not the process.
func documents(data []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for range 2 {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return nil, err
		}
		docs = append(docs, &doc)
	}
	return docs, nil
}

// converter turns YAML nodes into nodes.
type converter struct {
	file     string
	env      lookup
	problems *problems
	open     map[*yaml.Node]bool // anchored nodes being converted: to find cycles
	aliases  int                 // aliases being followed
	copied   int                 // nodes made while following aliases
	told     bool                // that they are too many
}

func (c *converter) pos(y *yaml.Node) Pos {
	return Pos{c.file, y.Line, y.Column}
}

func (c *converter) bad(y *yaml.Node, format string, args ...any) *node {
	c.problems.add(c.pos(y), format, args...)
	return &node{kind: badNode, pos: c.pos(y)}
}

func (c *converter) convert(y *yaml.Node) *node {
	if c.aliases > 0 {
		c.copied++
	}
	if c.copied > maxCopied {
		return &node{kind: badNode, pos: c.pos(y)}
	}
	if y.Anchor != "" {
		c.open[y] = true
		defer delete(c.open, y)
	}
	if y.Style&yaml.TaggedStyle != 0 && !knownTag(y.ShortTag()) {
		return c.bad(y, "unknown tag %q", y.Tag)
	}
	switch y.Kind {
	case yaml.AliasNode:
		return c.alias(y)
	case yaml.SequenceNode:
		return c.sequence(y)
	case yaml.MappingNode:
		return c.mapping(y)
	}
	return c.scalar(y)
}

func knownTag(tag string) bool {
	return slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq"}, tag)
}

func (c *converter) alias(y *yaml.Node) *node {
	if c.open[y.Alias] {
		return c.bad(y, "alias %q stands inside the anchor it names", "*"+y.Value)
	}
	c.aliases++
	n := c.convert(y.Alias)
	c.aliases--
	if c.copied > maxCopied && !c.told {
		c.told = true
		c.bad(y, "aliases expand to more than %d values", maxCopied)
	}
	return n
}

// scalar expands variables after parsing, so that a value cannot inject
// structure; what an unquoted scalar expands to can still be null.
func (c *converter) scalar(y *yaml.Node) *node {
	text, err := c.expand(y.Value)
	if err != nil {
		return c.bad(y, "%v", err)
	}
	tag := y.ShortTag()
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if text != y.Value && y.Style&(quoted|yaml.TaggedStyle) == 0 {
		tag = (&yaml.Node{Kind: yaml.ScalarNode, Value: text}).ShortTag()
	}
	if tag == "!!null" {
		return &node{kind: nullNode, pos: c.pos(y)}
	}
	return scalarAt(c.pos(y), text)
}

func (c *converter) expand(text string) (string, error) {
	if c.env == nil {
		return text, nil
	}
	return expand(text, c.env)
}

func (c *converter) sequence(y *yaml.Node) *node {
	n := &node{kind: listNode, pos: c.pos(y)}
	for _, item := range y.Content {
		n.items = append(n.items, c.convert(item))
	}
	return n
}

func (c *converter) mapping(y *yaml.Node) *node {
	n := &node{kind: mapNode, pos: c.pos(y)}
	seen := map[string]Pos{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		c.entry(n, k, v, seen)
	}
	for _, m := range merged {
		c.merge(n, m, seen)
	}
	return n
}

func (c *converter) entry(n *node, k, v *yaml.Node, seen map[string]Pos) {
	key := k
	if k.Kind == yaml.AliasNode {
		key = k.Alias
	}
	if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
		c.bad(k, "a key must be a word")
		return
	}
	if first, twice := seen[key.Value]; twice {
		c.bad(k, "key %q is already set at %s", key.Value, first)
		return
	}
	seen[key.Value] = c.pos(k)
	n.entries = append(n.entries, entry{key: key.Value, pos: c.pos(k), value: c.convert(v)})
}

// merge adds the keys of a merge key's value that are not set yet: what is
// written out wins, then the earlier of several maps.
func (c *converter) merge(n *node, y *yaml.Node, seen map[string]Pos) {
	from := c.convert(y)
	maps := []*node{from}
	if from.kind == listNode {
		maps = from.items
	}
	for _, m := range maps {
		if m.kind != mapNode && m.kind != badNode {
			c.bad(y, "expected a map, or a list of maps, to merge, found %s", m.what())
		}
		for _, e := range m.entries {
			if _, set := seen[e.key]; !set {
				seen[e.key] = e.pos
				n.entries = append(n.entries, e)
			}
		}
	}
}
