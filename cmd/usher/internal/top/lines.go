package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

// Layout is how a view is shown.
type Layout struct {
	// Height is the lines there are; 0: as many as it takes.
	Height int
	Order  Order
	// From is the first service that is shown.
	From   int
	Paused bool
	// Problem is why the view is old; empty: it is not.
	Problem string
	// Keys says that there is somebody to press them.
	Keys bool
}

// Lines are the view as text.
func (v *View) Lines(p *term.Printer, l Layout) []string {
	lines := v.head(p, l)
	lines = append(lines, v.traffic(p)...)
	lines = append(lines, v.errors(p)...)
	lines = append(lines, v.registries(p)...)
	foot := []string{}
	if l.Keys {
		foot = append(foot, p.Paint(term.Dim, "q quit   ←→ sort   ↑↓ scroll   r reverse   p pause"))
	}
	room := len(v.Services)
	if l.Height > 0 {
		room = max(0, l.Height-len(lines)-len(foot)-2) // the titles, and a blank line
	}
	lines = append(lines, v.table(p, l, room)...)
	if l.Height > 0 {
		lines = lines[:min(len(lines), l.Height-len(foot))]
		for len(lines) < l.Height-len(foot) {
			lines = append(lines, "")
		}
	}
	lines = append(lines, foot...)
	for i := range lines {
		lines[i] = p.Fit(lines[i])
	}
	return lines
}

func (v *View) head(p *term.Printer, l Layout) []string {
	o := &v.Overview
	state := p.Paint(term.Good, "ready")
	switch {
	case o.Draining:
		state = p.Paint(term.Warn, "draining")
	case !o.Ready:
		state = p.Paint(term.Bad, "not ready: "+o.NotReady)
	}
	text := fmt.Sprintf("%s %s  up %s  %s  generation %d, %s ago", p.Paint(term.Bold, "usher"), term.Clean(o.Version),
		term.Ago(v.At.Sub(o.Started)), state, o.Generation, term.Ago(v.At.Sub(o.Swapped)))
	if o.Pinned != nil {
		text += "  " + p.Paint(term.Warn, fmt.Sprintf("pinned to %d", *o.Pinned))
	}
	if l.Paused {
		text += "  " + p.Paint(term.Inverse, " paused ")
	}
	lines := []string{text}
	if l.Problem != "" {
		lines = append(lines, p.Paint(term.Bad, fit(p, l.Problem)))
	}
	if len(o.Config.Refused) > 0 {
		lines = append(lines, p.Paint(term.Bad, fit(p, "the configuration was refused: "+o.Config.Refused[0])))
	}
	return lines
}

// fit shortens text to the width.
func fit(p *term.Printer, text string) string {
	text = term.Clean(text)
	if p.Width() == 0 {
		return text
	}
	return term.Cut(text, p.Width())
}

func (v *View) traffic(p *term.Printer) []string {
	t := &v.Overview.Totals
	codes := []string{}
	for _, class := range slices.Sorted(maps.Keys(v.Codes)) {
		style := map[string]term.Style{"2xx": term.Good, "4xx": term.Warn, "5xx": term.Bad}[class]
		if v.Codes[class] == 0 {
			style = term.Dim
		}
		codes = append(codes, p.Paint(style, class+" "+term.Rate(v.Codes[class])))
	}
	return []string{
		"",
		fmt.Sprintf("requests %s/s   %s   %s", p.Paint(term.Bold, term.Rate(v.Requests)), strings.Join(codes, "  "),
			p.Paint(term.Accent, v.spark(p))),
		fmt.Sprintf("latency  p50 %s  p99 %s   in flight %s   connections %s   in %sB/s  out %sB/s",
			p.Paint(term.Bold, term.Seconds(v.P50)), p.Paint(term.Bold, term.Seconds(v.P99)),
			term.Count(t.InFlight), term.Count(t.Connections), term.Rate(v.Received), term.Rate(v.Sent)),
	}
}

// spark draws the history; there is none where there is no terminal.
func (v *View) spark(p *term.Printer) string {
	const most = 40
	room := min(most, p.Width()/3)
	list := v.History[max(0, len(v.History)-room):]
	if len(list) < 2 {
		return ""
	}
	bars, top := []rune("▁▂▃▄▅▆▇█"), slices.Max(list)
	var b strings.Builder
	for _, n := range list {
		i := 0
		if top > 0 {
			i = int(n / top * float64(len(bars)-1))
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}

func (v *View) errors(p *term.Printer) []string {
	const most = 5
	t := &term.Table{Header: []string{"ERRORS", "PER SECOND", "SINCE START"}, Right: []int{1, 2}}
	for i, r := range v.Errors {
		if i == most {
			break
		}
		style := term.Dim
		if r.Rate > 0 {
			style = term.Bad
		}
		t.Add(term.Cell{Text: r.Reason, Style: style}, term.Cell{Text: term.Rate(r.Rate), Style: style},
			term.Cell{Text: term.Count(int64(r.Total)), Style: style})
	}
	if t.Len() == 0 {
		return nil
	}
	return append([]string{""}, p.Lines(t)...)
}

func (v *View) registries(p *term.Printer) []string {
	t := &term.Table{Header: []string{"REGISTRY", "STATE", "CONTACT", "SERVICES", "HELD", ""}, Right: []int{2, 3, 4}}
	for i := range v.Overview.Registries {
		r := &v.Overview.Registries[i]
		contact := "never"
		if r.LastContact != nil {
			contact = term.Ago(v.At.Sub(*r.LastContact))
		}
		state := term.Good
		note := r.Doubt
		if r.Error != "" {
			state, note = term.Bad, r.Error
		} else if !r.Synced || r.Doubt != "" {
			state = term.Warn
		}
		held := term.Cell{Text: term.Count(int64(r.Held)), Style: term.Dim}
		if r.Held > 0 {
			held.Style = term.Warn
		}
		said := strings.TrimPrefix(r.State, r.Name+": ")
		t.Add(term.Text(r.Name), term.Cell{Text: said, Style: state}, term.Text(contact),
			term.Text(term.Count(int64(r.Seen))), held, term.Text(note))
	}
	return append([]string{""}, p.Lines(t)...)
}

func (v *View) table(p *term.Printer, l Layout, room int) []string {
	header := []string{"SERVICE", "PER SECOND", "5XX", "P99", "INSTANCES"}
	column := map[Order]int{ByName: 0, ByRequests: 1, ByFailed: 2, ByLatency: 3}[l.Order]
	header[column] += " ▾"
	t := &term.Table{Header: header, Right: []int{1, 2, 3}}
	from := min(l.From, max(0, len(v.Services)-1))
	for i := from; i < len(v.Services) && i < from+room; i++ {
		s := &v.Services[i]
		failed := term.Text("–")
		if s.Requests > 0 {
			failed.Text = fmt.Sprintf("%.1f%%", 100*s.Failed)
		}
		if s.Failed > 0 {
			failed.Style = term.Bad
		}
		t.Add(term.Text(s.Name), term.Text(term.Rate(s.Requests)), failed, term.Text(term.Seconds(s.P99)), s.states())
	}
	if t.Len() == 0 {
		return nil
	}
	return append([]string{""}, p.Lines(t)...)
}

// states says how the instances are; the worst one gives the colour.
func (s *Service) states() term.Cell {
	var parts []string
	style := term.Plain
	for _, state := range slices.Sorted(maps.Keys(s.States)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.States[state], state))
		style = max(style, term.StateStyle(state))
	}
	switch {
	case !s.Routed:
		parts, style = append(parts, "not routed"), term.Dim
	case len(parts) == 0:
		parts, style = []string{"none"}, term.Bad
	}
	return term.Cell{Text: strings.Join(parts, ", "), Style: style}
}

// JSON is the view for a machine.
type JSON struct {
	At       time.Time          `json:"at"`
	Ready    bool               `json:"ready"`
	Requests float64            `json:"requests_per_second"`
	Codes    map[string]float64 `json:"codes_per_second"`
	Errors   map[string]float64 `json:"errors_per_second"`
	P50      float64            `json:"p50_seconds"`
	P99      float64            `json:"p99_seconds"`
	InFlight int64              `json:"in_flight"`
	Services []JSONService      `json:"services"`
	// Registries are as the API has them.
	Registries []api.Registry `json:"registries"`
}

// JSONService is one service of it.
type JSONService struct {
	Name     string         `json:"name"`
	Requests float64        `json:"requests_per_second"`
	Failed   float64        `json:"failed_share"`
	P99      float64        `json:"p99_seconds"`
	States   map[string]int `json:"states"`
}

// JSON makes a view one for a machine.
func (v *View) JSON() JSON {
	out := JSON{
		At: v.At, Ready: v.Overview.Ready, Requests: v.Requests, Codes: v.Codes, Errors: map[string]float64{},
		P50: v.P50, P99: v.P99, InFlight: v.Overview.Totals.InFlight, Services: []JSONService{},
		Registries: v.Overview.Registries,
	}
	for _, r := range v.Errors {
		out.Errors[r.Reason] = r.Rate
	}
	for i := range v.Services {
		s := &v.Services[i]
		out.Services = append(out.Services, JSONService{s.Name, s.Requests, s.Failed, s.P99, s.States})
	}
	return out
}
