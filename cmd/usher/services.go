package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

func (p *process) servicesCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "services [SERVICE]", Short: "List the services, or show one with its instances",
		Long: `Services lists what the registries know: whether each service is routed, and if not
why, and how its instances stand. With a name, or name@registry, it shows the instances:
the state of each, the cause of it and since when.`,
		Example: `  usher services
  usher services orders
  usher services orders@consul --json`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeServices,
	}, showServices)
}

func showServices(ctx context.Context, a *asker, args []string) error {
	var list []api.Service
	var err error
	if len(args) > 0 {
		list, err = a.services(ctx, args[0])
	} else {
		err = a.get(ctx, "/services", &list)
	}
	switch {
	case err != nil:
		return err
	case a.json:
		return a.p.printJSON(list)
	case len(args) > 0:
		return showInstances(a.out, list, time.Now())
	case len(list) == 0:
		a.p.hint("the registries know of no service that takes part")
		return nil
	}
	return a.out.Table(servicesTable(list))
}

func servicesTable(list []api.Service) *term.Table {
	t := &term.Table{Header: []string{"SERVICE", "REGISTRY", "STATE", "INSTANCES", "CONFIRMED", ""}, Right: []int{4}}
	for i := range list {
		s := &list[i]
		state := term.Cell{Text: "routed", Style: term.Good}
		note := ""
		if !s.Routed {
			state, note = term.Cell{Text: "not routed", Style: term.Warn}, s.Reason
		}
		if s.Hold != nil {
			state, note = term.Cell{Text: "held", Style: term.Warn}, holdText(s.Hold)
		}
		t.Add(term.Text(s.Name), term.Text(s.Registry), state, instanceStates(s),
			term.Text(term.Ago(seconds(s.Age))), term.Cell{Text: note, Style: term.Dim})
	}
	return t
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func holdText(h *api.Hold) string {
	return fmt.Sprintf("%s kept that the registry lost: %s", count(h.Instances, "instance", "instances"), h.Reason)
}

// instanceStates counts the instances by their state.
func instanceStates(s *api.Service) term.Cell {
	counts := map[string]int{}
	for i := range s.Instances {
		counts[stateOf(&s.Instances[i])]++
	}
	states := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(cmp.Compare(term.StateStyle(x), term.StateStyle(y)), cmp.Compare(x, y))
	})
	style, text := term.Good, make([]string, len(states))
	for i, state := range states {
		style = max(style, term.StateStyle(state))
		text[i] = fmt.Sprintf("%d %s", counts[state], state)
	}
	if len(text) == 0 {
		return term.Cell{Text: "none", Style: term.Bad}
	}
	return term.Cell{Text: joined(text), Style: style}
}

// stateOf is how usher has an instance; where it is not routed, how the registry does.
func stateOf(in *api.Instance) string {
	if in.Health != nil {
		return in.Health.State
	}
	return in.Status
}

func causeOf(in *api.Instance) string {
	if in.Health == nil {
		return in.Cause
	}
	cause := in.Health.Cause
	if p := in.Health.Probe; p != nil && p.Error != "" && !strings.Contains(cause, p.Error) {
		cause += "; probe: " + p.Error
	}
	if in.Health.Panic {
		cause += "; panic: all are tried"
	}
	return cause
}

// showInstances prints services one after another.
func showInstances(out *term.Printer, list []api.Service, now time.Time) error {
	for i := range list {
		s := &list[i]
		if i > 0 {
			_ = out.Printf("\n") // the next print fails as this one
		}
		state := out.Paint(term.Good, "routed")
		if !s.Routed {
			state = out.Paint(term.Warn, "not routed: "+s.Reason)
		}
		if err := out.Printf("%s  %s, confirmed %s ago\n",
			out.Paint(term.Bold, s.Name+"@"+s.Registry), state, term.Ago(seconds(s.Age))); err != nil {
			return err
		}
		if s.Hold != nil {
			_ = out.Printf("%s since %s\n", out.Paint(term.Warn, holdText(s.Hold)), term.Ago(now.Sub(s.Hold.Since)))
		}
		if len(s.Routes) > 0 {
			_ = out.Printf("routes: %s\n", term.Clean(joined(s.Routes)))
		}
		if err := out.Table(instancesTable(s, now)); err != nil {
			return err
		}
	}
	return nil
}

func instancesTable(s *api.Service, now time.Time) *term.Table {
	t := &term.Table{
		Header: []string{"INSTANCE", "ADDRESS", "STATE", "SINCE", "WEIGHT", "FLIGHT", "LATENCY", "CAUSE"},
		Right:  []int{3, 4, 5, 6},
	}
	for i := range s.Instances {
		in := &s.Instances[i]
		state, since, weight := stateOf(in), "–", in.Weight
		if h := in.Health; h != nil {
			since, weight = term.Ago(now.Sub(h.Since)), h.EffectiveWeight
		}
		t.Add(term.Text(in.ID), term.Text(in.Address), term.Cell{Text: state, Style: term.StateStyle(state)},
			term.Text(since), term.Text(fmt.Sprintf("%.3g", weight)), term.Text(fmt.Sprint(in.InFlight)),
			term.Text(term.Seconds(in.Latency)), term.Text(causeOf(in)))
	}
	return t
}
