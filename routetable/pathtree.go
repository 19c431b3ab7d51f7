package routetable

import (
	"slices"
	"strings"
)

// pathNode is a node of a tree of paths in which what several begin with is held
// once (a radix tree). A node's own path is the labels from the root down to it. It is
// immutable: a change makes the nodes from the root to the changed path anew and
// shares all others. A nil one is the empty tree.
//
// Every node but the root has a label; one without an entry has at least two
// children.
type pathNode struct {
	label string
	// entry is the routes of the path that ends here; nil when none does.
	entry *pathEntry
	// firsts are the first bytes of the children's labels, ascending, aligned with
	// children.
	firsts   string
	children []*pathNode
}

// match finds the route for q in the tree. Of the paths that are a prefix of the
// request's, all of which are nodes on the way down, the longest is tried first: it
// nearly always takes the request.
func (n *pathNode) match(q *Request) *Route {
	var last *pathEntry
	path, seen := q.Path, 0
	for at := n; at != nil && at.begins(path); at = at.child(path[0]) {
		path = path[len(at.label):]
		if at.entry != nil {
			last = at.entry
			seen++
		}
		if len(path) == 0 {
			return n.matchAll(q, q.Path)
		}
	}
	if seen == 0 {
		return nil
	}
	if r := firstAccepting(last.prefix, q); r != nil || seen == 1 {
		return r
	}
	return n.matchAll(q, q.Path)
}

// matchAll tries all those paths, on the way up. path is what of the request's the
// nodes above leave.
func (n *pathNode) matchAll(q *Request, path []byte) *Route {
	if n == nil || !n.begins(path) {
		return nil
	}
	path = path[len(n.label):]
	if len(path) > 0 {
		if r := n.child(path[0]).matchAll(q, path); r != nil {
			return r
		}
	}
	if n.entry == nil {
		return nil
	}
	if len(path) == 0 {
		if r := firstAccepting(n.entry.exact, q); r != nil {
			return r
		}
	}
	return firstAccepting(n.entry.prefix, q)
}

// begins says whether a path begins with the node's label.
func (n *pathNode) begins(path []byte) bool {
	return len(path) >= len(n.label) && string(path[:len(n.label)]) == n.label
}

// child returns the child whose label begins with a byte, nil for none.
func (n *pathNode) child(first byte) *pathNode {
	if len(n.firsts) == 1 && n.firsts[0] == first { // without a call
		return n.children[0]
	}
	if i := strings.IndexByte(n.firsts, first); i >= 0 {
		return n.children[i]
	}
	return nil
}

// change returns the tree with another entry for a path: what f makes of the present
// one. Either may be nil for none.
func (n *pathNode) change(path string, f func(*pathEntry) *pathEntry) *pathNode {
	if n == nil {
		return newLeaf(path, f(nil))
	}
	same := commonPrefix(n.label, path)
	if same == len(n.label) {
		return n.below(path[same:], f)
	}
	// The path leaves this node in the midst of its label.
	entry := f(nil)
	if entry == nil {
		return n
	}
	head := &pathNode{label: n.label[:same]}
	tail := *n
	tail.label = n.label[same:]
	head = head.withChild(&tail)
	if same == len(path) {
		head.entry = entry
		return head
	}
	return head.withChild(newLeaf(path[same:], entry))
}

// below is change for a path that goes on behind the node's label.
func (n *pathNode) below(path string, f func(*pathEntry) *pathEntry) *pathNode {
	now := *n
	if path == "" {
		now.entry = f(n.entry)
		return now.settled()
	}
	i := strings.IndexByte(n.firsts, path[0])
	if i < 0 {
		leaf := newLeaf(path, f(nil))
		if leaf == nil {
			return n
		}
		return now.withChild(leaf)
	}
	child := n.children[i].change(path, f)
	if child != nil {
		now.children = slices.Clone(n.children)
		now.children[i] = child
		return &now
	}
	now.firsts = n.firsts[:i] + n.firsts[i+1:]
	now.children = slices.Delete(slices.Clone(n.children), i, i+1)
	return now.settled()
}

// settled returns the node as the tree may hold it: nothing when it has nothing, and
// an only child in its place when it has no entry.
func (n pathNode) settled() *pathNode {
	switch {
	case n.entry != nil || len(n.children) > 1:
		return &n
	case len(n.children) == 0:
		return nil
	default:
		only := *n.children[0]
		only.label = n.label + only.label
		return &only
	}
}

// withChild returns the node with one more child, whose label begins with a byte that
// no other's does.
func (n *pathNode) withChild(child *pathNode) *pathNode {
	now := *n
	first := child.label[:1]
	at := 0
	for at < len(n.firsts) && n.firsts[at] < first[0] {
		at++
	}
	now.firsts = n.firsts[:at] + first + n.firsts[at:]
	now.children = slices.Insert(slices.Clone(n.children), at, child)
	return &now
}

func newLeaf(path string, entry *pathEntry) *pathNode {
	if entry == nil {
		return nil
	}
	return &pathNode{label: path, entry: entry}
}

// commonPrefix is the length of what both begin with.
func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
