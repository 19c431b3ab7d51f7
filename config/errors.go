package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file. Line and Column count from 1; 0 means unknown. File
// is the path as the user wrote it (an include's joined to its includer's
// folder), or the name of a flag or an environment variable where the value came
// from there.
type Pos struct {
	File         string
	Line, Column int
}

// String returns file:line:column, without the parts that are unknown.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Problem is one thing wrong with a configuration.
type Problem struct {
	Pos Pos
	Msg string
}

// String returns the position, a colon and the message; the message alone where
// the position is unknown.
func (p Problem) String() string {
	if p.Pos.File == "" {
		return p.Msg
	}
	return p.Pos.String() + ": " + p.Msg
}

// Errors are all the problems of a configuration, sorted by file, line and
// column, without duplicates. It is what everything here that reads fails
// with.
type Errors []Problem

// Error returns one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// problems collects what is wrong while the stages run.
type problems struct {
	list Errors
}

func (p *problems) add(pos Pos, format string, args ...any) {
	p.list = append(p.list, Problem{Pos: pos, Msg: fmt.Sprintf(format, args...)})
}

// err returns nil or Errors. An alias can repeat a problem at the same place,
// hence the deduplication.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	list := slices.Clone(p.list)
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(a.Pos.compare(b.Pos), cmp.Compare(a.Msg, b.Msg))
	})
	return slices.Compact(list)
}
