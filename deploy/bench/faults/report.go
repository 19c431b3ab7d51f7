package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"usher/deploy/bench/internal/programs"
)

// slow is how much longer than at the backend an answer takes at most while all is well;
// inTime is what an overloaded service must answer in.
const (
	slow   = 500 * time.Millisecond
	inTime = time.Second
)

// report is a whole run.
type report struct {
	Run     []string `json:"run"` // when, where, how, and the load average before
	Results []result `json:"results"`
}

// result is what a client saw of one fault through one proxy.
type result struct {
	Fault    string         `json:"fault"`
	Proxy    string         `json:"proxy"`
	Requests int            `json:"requests"`
	Success  float64        `json:"success_percent"`
	Before   float64        `json:"p99_before_ms"`
	P50      float64        `json:"p50_ms"` // from the fault on, of the answers 200
	P99      float64        `json:"p99_ms"`
	Recovery float64        `json:"recovery_s"` // until the last request was sent that failed or was slow
	Twice    int            `json:"executed_twice"`
	Tries    float64        `json:"executions_per_request"`
	Errors   map[string]int `json:"errors,omitempty"`
	Resent   int            `json:"resent_by_client"` // as kept connections ended
	Note     string         `json:"note,omitempty"`
}

// summarize makes a result of a load that has ended. The fault was there from marked on,
// and should do no harm any more to what was sent from healed on.
func summarize(l *load, marked, healed time.Duration) result {
	res := result{Requests: len(l.records), Errors: map[string]int{}}
	var before, during []time.Duration
	for i, rec := range l.records {
		at := due(i, l.rate)
		if rec.resent {
			res.Resent++
		}
		if (rec.kind != "" || rec.took > l.delay+slow) && at >= healed {
			res.Recovery = (at - healed).Seconds()
		}
		switch {
		case rec.kind != "":
			res.Errors[rec.kind]++
			continue
		case at < marked:
			before = append(before, rec.took)
		default:
			during = append(during, rec.took)
		}
		res.Success += 100 / float64(len(l.records))
	}
	res.Before = percentile(before, 0.99)
	res.P50, res.P99 = percentile(during, 0.5), percentile(during, 0.99)
	return res
}

// percentile is the smallest value, in milliseconds, that a share of all does not exceed;
// 0 if there is none. It sorts them.
func percentile(all []time.Duration, share float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	i := int(math.Ceil(share*float64(len(all)))) - 1
	return all[max(0, i)].Seconds() * 1000
}

// goodput tells what part of the capacity, in requests a second, was answered in time, and
// how long it took to say no.
func goodput(records []record, capacity float64, lasts time.Duration) string {
	good := 0
	var shed []time.Duration
	for _, rec := range records {
		switch {
		case rec.kind == "" && rec.took <= inTime:
			good++
		case strings.HasPrefix(rec.kind, "503"):
			shed = append(shed, rec.took)
		}
	}
	text := fmt.Sprintf("goodput %.0f %%", 100*float64(good)/(capacity*lasts.Seconds()))
	if len(shed) > 0 {
		text += fmt.Sprintf(", shed in %.1f ms (p99 %.1f)", percentile(shed, 0.5), percentile(shed, 0.99))
	}
	return text
}

// write prints the report as JSON, as Markdown, or as a table for a terminal.
func (r *report) write(w io.Writer, asJSON, asMarkdown bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	fmt.Fprintf(w, "%s\n\n", strings.Join(r.Run, "; "))
	rows := []string{"fault|proxy|requests|success %|p99 before ms|p50 ms|p99 ms|recovery s|" +
		"executed twice|executions a request|errors|note"}
	for _, x := range r.Results {
		var errs []string
		for _, kind := range slices.Sorted(maps.Keys(x.Errors)) {
			errs = append(errs, fmt.Sprintf("%s: %d", kind, x.Errors[kind]))
		}
		// 99.996 is not all.
		success := math.Floor(x.Success*100+1e-6) / 100
		rows = append(rows, fmt.Sprintf("%s|%s|%d|%.2f|%s|%s|%s|%.1f|%d|%.2f|%s|%s", x.Fault, x.Proxy, x.Requests,
			success, cell(x.Before), cell(x.P50), cell(x.P99), x.Recovery, x.Twice, x.Tries,
			strings.Join(errs, ", "), x.Note))
	}
	return programs.Table(w, rows, asMarkdown)
}

// cell is a figure, or nothing where there was nothing to measure.
func cell(ms float64) string {
	if ms == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", ms)
}
