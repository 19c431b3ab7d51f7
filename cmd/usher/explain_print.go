package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

// explanation prints one for a person: what becomes of the request first, then why.
type explanation struct {
	*term.Printer
	*api.Explanation
}

// mostTried is how many rules that lost are listed.
const mostTried = 20

func (e *explanation) show() error {
	return errors.Join(e.verdict(), e.tried(), e.arms(), e.sent(), e.filters(), e.policy())
}

// verdict is the first lines: what becomes of the request.
func (e *explanation) verdict() error {
	style, text := term.Good, ""
	switch e.Outcome {
	case "forwarded":
		text = "→ forwarded " + e.destination()
	case "answered":
		text = fmt.Sprintf("→ answered %d", e.Status)
		if e.Location != "" {
			text += ", to " + e.Location
		}
	default:
		style, text = term.Bad, fmt.Sprintf("✗ refused: %d %s", e.Status, e.Reason)
	}
	if e.Route != nil {
		text += ", by route " + e.Route.ID
	}
	question := strings.TrimSpace(e.Question.Method + " " + e.Question.URL)
	if e.Question.Client != "" {
		question += " from " + e.Question.Client
	}
	table := "table " + fmt.Sprint(e.Generation)
	if e.Generation == 0 {
		table = "no running usher was asked"
	}
	err := e.Printf("%s\n", e.Paint(style, text))
	if e.Why != "" {
		err = errors.Join(err, e.Printf("  %s\n", term.Clean(e.Why)))
	}
	return errors.Join(err, e.Printf("  %s\n  %s\n",
		term.Clean(question),
		e.Paint(term.Dim, fmt.Sprintf("listener %s: %s; %s", e.Listener, e.ListenerWhy, table))))
}

// destination says to whom: one, or one of several.
func (e *explanation) destination() string {
	arm := e.drawn()
	if arm == nil || arm.Chosen < 0 {
		return "to nobody"
	}
	end := &arm.Endpoints[arm.Chosen]
	text := fmt.Sprintf("to %s %s", idOf(end), end.Address)
	usable := 0
	for i := range e.Arms {
		for k := range e.Arms[i].Endpoints {
			if e.Arms[i].Endpoints[k].Usable {
				usable++
			}
		}
	}
	if usable > 1 && (!arm.Certain || len(e.Arms) > 1) {
		text += fmt.Sprintf(" (or another of %d)", usable)
	}
	return text
}

func (e *explanation) drawn() *api.ExplainedArm {
	i := slices.IndexFunc(e.Arms, func(a api.ExplainedArm) bool { return a.Drawn })
	if i < 0 {
		return nil
	}
	return &e.Arms[i]
}

// idOf names an endpoint with its service, once.
func idOf(e *api.ExplainedEndpoint) string {
	if strings.HasPrefix(e.ID, e.Service+"/") {
		return e.ID
	}
	return e.Service + "/" + e.ID
}

func (e *explanation) title(text string) error { return e.Printf("\n%s\n", e.Paint(term.Bold, text)) }

func (e *explanation) tried() error {
	if len(e.Tried) == 0 {
		if e.Reason != "no_route" {
			return nil
		}
		return errors.Join(e.title("Rules"), e.Printf("  none is for this host and path: usher routes lists them\n"))
	}
	t := &term.Table{}
	left := 0
	for i := range e.Tried {
		r := &e.Tried[i]
		mark := term.Cell{Text: "  ✗", Style: term.Bad}
		if r.Verdict == "won" {
			mark = term.Cell{Text: "  ✓", Style: term.Good}
		} else if i >= mostTried {
			left++
			continue
		}
		why := term.Text(r.Why)
		t.Add(mark, term.Text(r.Route), term.Cell{Text: r.Owner, Style: term.Dim}, why)
	}
	err := errors.Join(e.title("Rules, in the order in which they are looked at"), e.Table(t))
	if left > 0 {
		err = errors.Join(err, e.Printf("  … and %d more: --json has all of them\n", left))
	}
	return err
}

func (e *explanation) arms() error {
	var errs []error
	for i := range e.Arms {
		errs = append(errs, e.arm(&e.Arms[i]))
	}
	return errors.Join(errs...)
}

// arm lists the endpoints of a part of a split, or of the only one.
func (e *explanation) arm(a *api.ExplainedArm) error {
	title := "Endpoints of " + joined(a.Services)
	if len(e.Arms) > 1 {
		title += fmt.Sprintf(", weight %g", a.Weight)
		if a.Drawn {
			title += ", drawn this time"
		}
	}
	err := e.title(title)
	why := a.Balance
	if a.BalanceWhy != "" && a.Drawn {
		why += ": " + a.BalanceWhy
	}
	err = errors.Join(err, e.Printf("  %s\n", e.Paint(term.Dim, why)))
	if a.Panic {
		err = errors.Join(err, e.Printf("  %s\n",
			e.Paint(term.Warn, "too few are healthy: all are tried, whatever their state (panic_threshold)")))
	}
	if len(a.Endpoints) == 0 {
		return errors.Join(err, e.Printf("  there is none\n"))
	}
	t := &term.Table{
		Header: []string{"", "ENDPOINT", "ADDRESS", "STATE", "SHARE", "IN FLIGHT", ""}, Right: []int{4, 5},
	}
	for i := range a.Endpoints {
		t.Add(endpointRow(a, i)...)
	}
	return errors.Join(err, e.Table(t))
}

func endpointRow(a *api.ExplainedArm, i int) []term.Cell {
	end := &a.Endpoints[i]
	mark := term.Cell{Text: "  ✗", Style: term.Bad}
	switch {
	case a.Drawn && i == a.Chosen:
		mark = term.Cell{Text: "  →", Style: term.Good}
	case end.Usable:
		mark = term.Cell{Text: "  ✓", Style: term.Good}
	}
	share := "–"
	if end.Usable {
		share = fmt.Sprintf("%.3g %%", 100*end.Share)
	}
	state, cause := end.Status, end.Cause
	if h := end.Health; h != nil {
		state, cause = h.State, h.Cause
	}
	if end.Tier > 0 {
		cause = strings.TrimPrefix(fmt.Sprintf("%s; tier %d", cause, end.Tier), "; ")
	}
	return []term.Cell{
		mark, term.Text(idOf(end)), term.Text(end.Address),
		{Text: state, Style: term.StateStyle(state)},
		term.Text(share), term.Text(fmt.Sprint(end.InFlight)),
		{Text: cmp.Or(end.Would, cause), Style: term.Dim},
	}
}

// sent is what the endpoint is asked.
func (e *explanation) sent() error {
	f := e.Forwarded
	if f == nil {
		return nil
	}
	err := e.title(fmt.Sprintf("Sent to %s by %s", f.Endpoint, f.Protocol))
	if f.Target == "" {
		return errors.Join(err, e.Printf("  the bytes of the connection, as they come\n"))
	}
	err = errors.Join(err, e.Printf("  %s\n", e.Paint(term.Accent, f.Method+" "+f.Target)),
		e.Printf("  Host: %s\n", term.Clean(f.Host)))
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		for _, value := range f.Headers[name] {
			err = errors.Join(err, e.Printf("  %s: %s\n", term.Clean(name), term.Clean(value)))
		}
	}
	return err
}

func (e *explanation) filters() error {
	if len(e.Filters) == 0 {
		return nil
	}
	err := e.title("On the way")
	for _, f := range e.Filters {
		err = errors.Join(err, e.Printf("  %s\n", term.Clean(f)))
	}
	return err
}

func (e *explanation) policy() error {
	t := &term.Table{}
	for _, s := range e.Policy {
		t.Add(term.Text("  "+s.Path), term.Text(valueText(s.Value)), term.Cell{Text: s.Origin, Style: term.Dim})
	}
	if t.Len() == 0 {
		return nil
	}
	return errors.Join(e.title("Timeouts, retries and limits"), e.Table(t))
}
