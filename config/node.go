package config

import (
	"fmt"
	"strconv"
)

// nodeKind says what a node holds.
type nodeKind uint8

const (
	nullNode   nodeKind = iota // no value: as if the key had been left out
	scalarNode                 // text
	listNode                   // items
	mapNode                    // entries
	badNode                    // a problem was already reported here
)

// node is a piece of a configuration file: YAML with aliases and merge keys
// resolved, variables expanded and null recognised. No node has two parents.
type node struct {
	kind    nodeKind
	pos     Pos
	text    string
	items   []*node
	entries []entry
}

// entry is a key and its value in a map.
type entry struct {
	key   string
	pos   Pos // of the key
	value *node
}

// find returns the entry of key; nil when there is none.
func (n *node) find(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// given returns the value of key; nil when it is left out or null.
func (n *node) given(key string) *node {
	if e := n.find(key); e != nil && e.value.kind != nullNode {
		return e.value
	}
	return nil
}

// set replaces or adds the value of key.
func (n *node) set(key string, value *node) {
	if e := n.find(key); e != nil {
		e.pos, e.value = value.pos, value
		return
	}
	n.entries = append(n.entries, entry{key: key, pos: value.pos, value: value})
}

// what describes a node in a message: "expected …, found …".
func (n *node) what() string {
	switch n.kind {
	case nullNode:
		return "nothing"
	case listNode:
		return "a list"
	case mapNode:
		return "a map"
	}
	return strconv.Quote(shorten(n.text))
}

// shorten keeps a quoted input from filling the screen.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func scalarAt(pos Pos, text string) *node {
	return &node{kind: scalarNode, pos: pos, text: text}
}

// mapAt builds a map of scalars from keys and values in turn.
func mapAt(pos Pos, pairs ...string) *node {
	n := &node{kind: mapNode, pos: pos}
	for i := 0; i+1 < len(pairs); i += 2 {
		n.set(pairs[i], scalarAt(pos, pairs[i+1]))
	}
	return n
}

func listAt(pos Pos, items ...*node) *node {
	return &node{kind: listNode, pos: pos, items: items}
}

func child(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string {
	return fmt.Sprintf("%s[%d]", path, i)
}
