// Package textdiff compares two texts line by line, as diff -u does.
package textdiff

import (
	"fmt"
	"slices"
	"strings"
)

// context is how many unchanged lines stand around a change.
const context = 3

// edit is one line: kept (' '), taken out ('-') or put in ('+').
type edit struct {
	kind byte
	text string
}

// Unified returns what turns a into b, in the unified format; empty: nothing does. The
// names are those of the two in its head.
func Unified(nameA, nameB, a, b string) string {
	if a == b {
		return ""
	}
	edits := compare(lines(a), lines(b))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameA, nameB)
	for i := 0; i < len(edits); {
		if edits[i].kind == ' ' {
			i++
			continue
		}
		begin := max(0, i-context)
		end := hunkEnd(edits, i)
		writeHunk(&out, edits, begin, end)
		i = end
	}
	return out.String()
}

// lines keeps the line ends, so that one that lacks at the end of a text shows.
func lines(text string) []string {
	list := strings.SplitAfter(text, "\n")
	if list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

// hunkEnd is where enough unchanged lines follow the change at i.
func hunkEnd(edits []edit, i int) int {
	last := i
	for ; i < len(edits) && i-last <= 2*context; i++ {
		if edits[i].kind != ' ' {
			last = i
		}
	}
	return min(len(edits), last+1+context)
}

func writeHunk(out *strings.Builder, edits []edit, begin, end int) {
	lineA, lineB := 1, 1
	for _, e := range edits[:begin] {
		if e.kind != '+' {
			lineA++
		}
		if e.kind != '-' {
			lineB++
		}
	}
	countA, countB := 0, 0
	for _, e := range edits[begin:end] {
		if e.kind != '+' {
			countA++
		}
		if e.kind != '-' {
			countB++
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", position(lineA, countA), position(lineB, countB))
	for _, e := range edits[begin:end] {
		out.WriteByte(e.kind)
		out.WriteString(e.text)
		if !strings.HasSuffix(e.text, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// position is where a hunk is; one without lines is behind the line before.
func position(line, count int) string {
	if count == 0 {
		line--
	}
	return fmt.Sprintf("%d,%d", line, count)
}

// compare finds a shortest list of edits (Myers, An O(ND) Difference Algorithm). What both
// begin and end with is left out of the search.
func compare(a, b []string) (out []edit) {
	begin := 0
	for begin < len(a) && begin < len(b) && a[begin] == b[begin] {
		begin++
	}
	end := 0
	for end < len(a)-begin && end < len(b)-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	for _, line := range a[:begin] {
		out = append(out, edit{' ', line})
	}
	out = append(out, shortest(a[begin:len(a)-end], b[begin:len(b)-end])...)
	for _, line := range a[len(a)-end:] {
		out = append(out, edit{' ', line})
	}
	return out
}

func shortest(a, b []string) []edit {
	var trace [][]int // for each number of edits: how far each diagonal gets
	most := len(a) + len(b)
	reach := make([]int, 2*most+2)
	for d := 0; d <= most; d++ {
		trace = append(trace, append([]int(nil), reach[most-d:most+d+2]...))
		for k := -d; k <= d; k += 2 {
			x := step(reach, most, d, k)
			for y := x - k; x < len(a) && y < len(b) && a[x] == b[y]; y++ {
				x++
			}
			reach[most+k] = x
			if x >= len(a) && x-k >= len(b) {
				return walkBack(trace, a, b)
			}
		}
	}
	return nil
}

// step is how far diagonal k gets by one more edit.
func step(reach []int, zero, d, k int) int {
	if k == -d || k != d && reach[zero+k-1] < reach[zero+k+1] {
		return reach[zero+k+1]
	}
	return reach[zero+k-1] + 1
}

// walkBack finds the edits from the end on.
func walkBack(trace [][]int, a, b []string) []edit {
	var back []edit
	x, y := len(a), len(b)
	for d := len(trace) - 1; d >= 0; d-- {
		fromX, fromY := 0, 0
		if d > 0 {
			reach, k := trace[d], x-y
			from := k - 1
			if k == -d || k != d && reach[d+k-1] < reach[d+k+1] {
				from = k + 1
			}
			fromX, fromY = reach[d+from], reach[d+from]-from
		}
		for x > fromX && y > fromY {
			x, y = x-1, y-1
			back = append(back, edit{' ', a[x]})
		}
		switch {
		case x > fromX:
			back = append(back, edit{'-', a[fromX]})
		case y > fromY:
			back = append(back, edit{'+', b[fromY]})
		}
		x, y = fromX, fromY
	}
	slices.Reverse(back)
	return back
}
