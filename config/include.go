package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds on what is read: far above anything real, so that a path such as
// /dev/zero ends in a message.
const (
	maxFileSize   = 64 << 20
	maxSecretSize = 1 << 20
	// maxContentSize bounds what is kept in memory to be sent to clients.
	maxContentSize = 1 << 20
)

// loader reads the files of one configuration into one tree.
type loader struct {
	env      lookup
	saw      func(string)
	problems *problems
	files    []string       // read so far, secrets too
	globs    []string       // of includes
	included map[string]Pos // absolute path: the include it came by
	broken   bool           // a file is missing from the tree
}

func newLoader(opts Options) *loader {
	l := &loader{env: opts.Env, saw: opts.Saw, problems: &problems{}, included: map[string]Pos{}}
	if l.env == nil {
		l.env = os.LookupEnv
	}
	if l.saw == nil {
		l.saw = func(string) {}
	}
	return l
}

// tree reads path and all it includes. The result is a map, empty where nothing
// could be read.
func (l *loader) tree(path string) *node {
	l.included[absolute(path)] = Pos{File: path}
	data, err := l.read(path, maxFileSize)
	if err != nil {
		l.broken = true
		l.problems.add(Pos{File: path}, "%v", err)
		return mapAt(Pos{File: path})
	}
	return l.document(path, data, []string{path})
}

// document parses a file and merges its includes into it. The stack has the
// files from the outermost one to this one.
func (l *loader) document(path string, data []byte, stack []string) *node {
	before := len(l.problems.list)
	root := parse(path, data, l.env, l.problems)
	if root == nil || root.kind == nullNode {
		l.broken = l.broken || len(l.problems.list) > before
		return mapAt(Pos{File: path, Line: 1, Column: 1})
	}
	if root.kind != mapNode {
		l.broken = true
		if root.kind != badNode {
			l.problems.add(root.pos, "expected a map of keys, found %s", root.what())
		}
		return mapAt(root.pos)
	}
	for _, p := range l.patterns(root) {
		l.include(root, p, stack)
	}
	return root
}

// patterns takes the include key out of root.
func (l *loader) patterns(root *node) []*node {
	i := slices.IndexFunc(root.entries, func(e entry) bool { return e.key == "include" })
	if i < 0 {
		return nil
	}
	value := root.entries[i].value
	root.entries = slices.Delete(root.entries, i, i+1)
	patterns := []*node{value}
	if value.kind == listNode {
		patterns = value.items
	}
	return slices.DeleteFunc(patterns, func(n *node) bool { return !l.isPath(n) })
}

func (l *loader) isPath(n *node) bool {
	if n.kind == mapNode || n.kind == listNode {
		l.problems.add(n.pos, "expected a path, or a list of paths, found %s", n.what())
	}
	return n.kind == scalarNode && n.text != ""
}

func (l *loader) include(root, pattern *node, stack []string) {
	path := besides(pattern.pos, pattern.text)
	if !isGlob(path) {
		l.includeFile(root, path, pattern.pos, stack)
		return
	}
	l.saw(path)
	l.globs = append(l.globs, path)
	matches, err := filepath.Glob(path)
	if err != nil {
		l.problems.add(pattern.pos, "include %q: %v", pattern.text, err)
	}
	self := absolute(stack[len(stack)-1])
	for _, m := range matches {
		if absolute(m) != self { // conf/*.yaml may well match the file it stands in
			l.includeFile(root, m, pattern.pos, stack)
		}
	}
}

func isGlob(path string) bool {
	return strings.ContainsAny(path, "*?[")
}

func (l *loader) includeFile(root *node, path string, at Pos, stack []string) {
	same := func(s string) bool { return absolute(s) == absolute(path) }
	if i := slices.IndexFunc(stack, same); i >= 0 {
		l.problems.add(at, "include cycle: %s", strings.Join(append(slices.Clone(stack[i:]), path), " includes "))
		return
	}
	if first, twice := l.included[absolute(path)]; twice {
		l.problems.add(at, "%q is already included at %s", path, first)
		return
	}
	l.included[absolute(path)] = at
	data, err := l.read(path, maxFileSize)
	if err != nil {
		l.broken = true
		l.problems.add(at, "include %q: %v", path, err)
		return
	}
	l.merge(root, l.document(path, data, append(slices.Clone(stack), path)), "")
}

// merge adds what an included file says to dst. Lists are concatenated, the
// includer's elements first, then those of its includes in their order; maps are
// merged key by key; anything else, and a service, may be set only once.
func (l *loader) merge(dst, src *node, path string) {
	for _, e := range src.entries {
		old := dst.given(e.key)
		switch {
		case e.value.kind == nullNode:
		case old == nil:
			dst.set(e.key, e.value)
			dst.find(e.key).pos = e.pos
		case old.kind == listNode && e.value.kind == listNode:
			old.items = append(old.items, e.value.items...)
		case old.kind == mapNode && e.value.kind == mapNode && path != "services":
			l.merge(old, e.value, child(path, e.key))
		default:
			l.problems.add(e.pos, "%q is already set at %s", child(path, e.key), dst.find(e.key).pos)
		}
	}
}

// read returns the content of a file and notes that the configuration depends on
// it, even when it cannot be read.
func (l *loader) read(path string, most int64) ([]byte, error) {
	l.saw(path)
	l.files = append(l.files, path)
	return readFile(path, most)
}

// secret reads a secret for the key at pos; a line end after it is not part of
// it.
func (l *loader) secret(pos Pos, path string) (string, bool) {
	data, err := l.read(path, maxSecretSize)
	value := strings.TrimRight(string(data), "\r\n")
	if err == nil && value == "" {
		err = errors.New("the file is empty")
	}
	if err != nil {
		l.problems.add(pos, "secret file %q: %v", path, err)
		return "", false
	}
	return value, true
}

// content reads a file that the key at pos names and clients are sent.
func (l *loader) content(pos Pos, path string) (string, bool) {
	data, err := l.read(path, maxContentSize)
	if err == nil && len(data) == 0 {
		err = errors.New("the file is empty")
	}
	if err != nil {
		l.problems.add(pos, "file %q: %v", path, err)
		return "", false
	}
	return string(data), true
}

func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("larger than %s", Size(most))
	}
	return data, bare(err)
}

// bare strips the path from a file error: the message names it already.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// absolute names a file by one name however it was written. Symbolic links are
// kept: two links to one file are two files.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}
