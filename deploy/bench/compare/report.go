package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"usher/deploy/bench/internal/programs"
)

// report is a whole run.
type report struct {
	Run      []string           `json:"run"` // when, where, how, and the load average before
	Results  []result           `json:"results,omitempty"`
	Idle     []idleResult       `json:"idle,omitempty"`
	Syscalls map[string]float64 `json:"syscalls_per_request,omitempty"`
}

// result is one proxy under one load, medians over the rounds.
type result struct {
	Load   string  `json:"load"`
	Proxy  string  `json:"proxy"`
	RPS    float64 `json:"requests_per_second"`
	CPU    float64 `json:"cpu_us_per_request"`
	Over   string  `json:"measure"`
	Ratio  float64 `json:"cpu_times_measure"` // median of each round's ratio
	Bar    float64 `json:"bar,omitempty"`     // of the ratio, usher's alone
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	RSS    float64 `json:"peak_rss_mib"`
	Errors int     `json:"errors"` // of all rounds together
}

// key names the samples of a proxy under a load, one a round.
type key struct{ load, proxy string }

// describe says where and how the run takes place, before it loads the machine itself.
func (b *bench) describe(ctx context.Context) *report {
	run := programs.Describe(ctx, "nginx -v", "haproxy -v", "wrk -v", "h2load --version")
	return &report{Run: append(run, fmt.Sprintf("%d rounds of %v, %d connections", b.rounds, b.duration, b.conns))}
}

// summarize makes results of samples, in the order of the tables.
func summarize(samples map[key][]sample) []result {
	var all []result
	for _, l := range loads {
		for _, p := range proxies {
			of := samples[key{l.name, p.name}]
			if len(of) == 0 {
				continue
			}
			r := result{Load: l.name, Proxy: p.name, Over: l.measure()}
			if p.name == usher {
				r.Bar = l.bar
			}
			base := samples[key{l.name, l.measure()}]
			if len(base) == len(of) { // it was among those compared
				r.Ratio = median(of, func(i int) float64 { return of[i].cpu / base[i].cpu })
			}
			r.RPS = median(of, func(i int) float64 { return of[i].rps })
			r.CPU = median(of, func(i int) float64 { return of[i].cpu })
			r.P50 = median(of, func(i int) float64 { return of[i].p50 })
			r.P99 = median(of, func(i int) float64 { return of[i].p99 })
			r.RSS = median(of, func(i int) float64 { return of[i].rss })
			for _, s := range of {
				r.Errors += s.errors
			}
			all = append(all, r)
		}
	}
	return all
}

// median returns the middle of the values by index, of an even number the mean of two.
func median(of []sample, value func(i int) float64) float64 {
	values := make([]float64, len(of))
	for i := range of {
		values[i] = value(i)
	}
	slices.Sort(values)
	return (values[(len(of)-1)/2] + values[len(of)/2]) / 2
}

// missed tells every bar that usher did not reach.
func (r *report) missed() error {
	var all []error
	limit := func(what string, value, bar float64) {
		if value > bar {
			all = append(all, fmt.Errorf("missed: %s is %.4g, the bar %.4g", what, value, bar))
		}
	}
	for _, x := range r.Results {
		if x.Proxy == usher {
			limit(x.Load+", CPU time over "+x.Over+"'s", x.Ratio, x.Bar)
			limit(x.Load+", peak RSS in MiB", x.RSS, rssBar)
			limit(x.Load+", number of errors", float64(x.Errors), 0)
		}
	}
	for _, x := range r.Idle {
		if x.Proxy == usher {
			limit("KiB an idle connection, "+x.Kind, x.KiB, x.Bar)
		}
	}
	return errors.Join(all...)
}

// write prints the report as JSON, as Markdown, or as tables for a terminal.
func (r *report) write(w io.Writer, asJSON, asMarkdown bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	fmt.Fprintln(w, strings.Join(r.Run, "; "))
	for _, rows := range [][]string{r.loadRows(nginx), r.loadRows(haproxy), r.idleRows(), r.syscallRows()} {
		if len(rows) == 1 {
			continue // the head alone
		}
		fmt.Fprintln(w)
		if err := programs.Table(w, rows, asMarkdown); err != nil {
			return err
		}
	}
	return nil
}

// loadRows are the loads with that measure; like idleRows and syscallRows, they have their
// cells separated by bars.
func (r *report) loadRows(measure string) []string {
	rows := []string{"load|proxy|requests/s|CPU µs a request|× " + measure + "|bar|p50 ms|p99 ms|peak RSS MiB|errors"}
	for _, x := range r.Results {
		if x.Over != measure {
			continue
		}
		rows = append(rows, fmt.Sprintf("%s|%s|%.0f|%.1f|%.2f|%s|%.2f|%.2f|%.1f|%d",
			x.Load, x.Proxy, x.RPS, x.CPU, x.Ratio, barOf(x.Bar), x.P50, x.P99, x.RSS, x.Errors))
	}
	return rows
}

// barOf is a bar in a table: usher alone has one.
func barOf(bar float64) string {
	if bar == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", bar)
}

func (r *report) idleRows() []string {
	rows := []string{"connections|proxy|KiB an idle one|bar|upstream connections|MiB before|MiB after"}
	for _, x := range r.Idle {
		rows = append(rows, fmt.Sprintf("%s|%s|%.2f|%s|%d|%.1f|%.1f",
			x.Kind, x.Proxy, x.KiB, barOf(x.Bar), x.Upstream, x.Before, x.After))
	}
	return rows
}

func (r *report) syscallRows() []string {
	rows, total := []string{"system call of usher|a small request"}, 0.0
	for _, name := range slices.Sorted(maps.Keys(r.Syscalls)) {
		total += r.Syscalls[name]
		if r.Syscalls[name] >= 0.005 { // the others are in the sum
			rows = append(rows, fmt.Sprintf("%s|%.2f", name, r.Syscalls[name]))
		}
	}
	if total > 0 {
		rows = append(rows, fmt.Sprintf("all|%.2f", total))
	}
	return rows
}
