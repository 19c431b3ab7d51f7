package top

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"usher/cmd/usher/internal/api"
)

// ReadTraffic reads the counters of each service from /metrics.
func ReadTraffic(r io.Reader) (map[string]Counters, error) {
	out := map[string]Counters{}
	buckets := map[string]map[float64]uint64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, labels, value, ok := parseSeries(lines.Text())
		service := labels["service"]
		if !ok || service == "" {
			continue
		}
		switch name {
		case "usher_requests_total":
			c := out[service]
			c.Requests += value
			if strings.HasPrefix(labels["code"], "5") {
				c.Errors += value
			}
			out[service] = c
		case "usher_request_duration_seconds_bucket":
			if buckets[service] == nil {
				buckets[service] = map[float64]uint64{}
			}
			bound, err := strconv.ParseFloat(labels["le"], 64)
			if err == nil {
				buckets[service][bound] += uint64(value)
			}
		}
	}
	for service, counts := range buckets {
		c := out[service]
		for _, bound := range slices.SortedFunc(maps.Keys(counts), cmp.Compare[float64]) {
			b := api.Bucket{Seconds: bound, Count: counts[bound]}
			if math.IsInf(bound, 1) {
				b.Seconds = 0
			}
			c.Durations = append(c.Durations, b)
		}
		out[service] = c
	}
	return out, lines.Err()
}

// parseSeries takes a line of the text format apart: name{label="value",…} number.
func parseSeries(line string) (name string, labels map[string]string, value float64, ok bool) {
	name, rest, found := strings.Cut(line, "{")
	if !found || strings.HasPrefix(line, "#") || !strings.HasPrefix(name, "usher_request") {
		return "", nil, 0, false
	}
	labels = map[string]string{}
	for !strings.HasPrefix(rest, "}") {
		label, after, found := strings.Cut(rest, `="`)
		if !found {
			return "", nil, 0, false
		}
		text, end := unquote(after)
		if end < 0 {
			return "", nil, 0, false
		}
		labels[label] = text
		rest = strings.TrimPrefix(after[end:], ",")
	}
	fields := strings.Fields(rest[1:])
	if len(fields) == 0 {
		return "", nil, 0, false
	}
	value, err := strconv.ParseFloat(fields[0], 64)
	return name, labels, value, err == nil && !math.IsNaN(value)
}

// unquote reads a label's value; end is behind its quote, negative if there is none.
func unquote(text string) (value string, end int) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), i + 1
		case text[i] == '\\' && i+1 < len(text):
			i++
			if text[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(text[i])
		}
	}
	return "", -1
}
