//go:build linux && amd64

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// run is what one process executed.
type run struct {
	// each is the instructions of every request.
	each []int64
	// functions are the instructions in each function, of all these requests.
	functions map[string]int64
	// threads is how many threads executed any.
	threads int
}

// spread is the median, the least and the most of some counts; of an even number of them
// the lower of the two in the middle.
type spread struct{ median, least, most int64 }

// spreadOf returns the zero spread for no counts.
func spreadOf(counts []int64) spread {
	if len(counts) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(counts))
	return spread{sorted[(len(sorted)-1)/2], sorted[0], sorted[len(sorted)-1]}
}

// medians are the medians of the requests of each run.
func medians(runs []run) []int64 {
	out := make([]int64, len(runs))
	for i, r := range runs {
		out[i] = spreadOf(r.each).median
	}
	return out
}

// all are the requests of all runs.
func all(runs []run) []int64 {
	var out []int64
	for _, r := range runs {
		out = append(out, r.each...)
	}
	return out
}

// more is how many per cent on is more than off; 0 when there is nothing to compare.
func more(on, off int64) float64 {
	if off == 0 {
		return 0
	}
	return 100 * float64(on-off) / float64(off)
}

// difference is a function, and its instructions a request with and without.
type difference struct {
	name    string
	on, off float64
}

// differences are the functions, those that differ most first.
func differences(on, off []run) []difference {
	byName := map[string]*difference{}
	add := func(runs []run, into func(d *difference) *float64) {
		n := float64(len(all(runs)))
		for _, r := range runs {
			for name, count := range r.functions {
				if byName[name] == nil {
					byName[name] = &difference{name: name}
				}
				*into(byName[name]) += float64(count) / n
			}
		}
	}
	add(on, func(d *difference) *float64 { return &d.on })
	add(off, func(d *difference) *float64 { return &d.off })
	out := make([]difference, 0, len(byName))
	for _, d := range byName {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b difference) int {
		return cmp.Or(cmp.Compare(max(b.on-b.off, b.off-b.on), max(a.on-a.off, a.off-a.on)),
			strings.Compare(a.name, b.name))
	})
	return out
}

// write prints what the runs with and without say, and the functions that differ most.
func write(out io.Writer, on, off []run, functions int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, runs []run) int64 {
		m, s := spreadOf(medians(runs)), spreadOf(all(runs))
		fmt.Fprintf(w, "%s\t%d\t%d to %d\t%d to %d\t%d\n",
			name, m.median, m.least, m.most, s.least, s.most, threads(runs))
		return m.median
	}
	fmt.Fprintln(w, "\tinstructions a request\tmedians of the runs\tany request\tthreads")
	with := row("on", on)
	without := row("off", off)
	fmt.Fprintf(w, "on costs\t%+d\t%+.2f %%\t\t\n", with-without, more(with, without))
	if functions > 0 {
		fmt.Fprintln(w, "\nfunction\ton\toff\tmore\t")
	}
	all := differences(on, off)
	for _, d := range all[:min(functions, len(all))] {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%+.1f\t\n", d.name, d.on, d.off, d.on-d.off)
	}
	return w.Flush()
}

// threads is the most threads that executed anything in one run.
func threads(runs []run) (most int) {
	for _, r := range runs {
		most = max(most, r.threads)
	}
	return most
}
