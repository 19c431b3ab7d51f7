package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

func (p *process) routesCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "routes [HOST | /PATH | SERVICE]...", Short: "List the routes in use, and the rules that are not",
		Long: `Routes lists the routes of a running usher: what they match, where they lead, how
many of their endpoints may be sent requests, and whose rule each is. What follows is
what is not served: rules that were refused, and claims of a match that another rule has.

Words narrow the list down, all of them together: one that begins with a slash is a part
of a path, any other a host that the route is for, or a part of a host, a service, an
owner or the route's name.`,
		Example: `  usher routes
  usher routes shop.example.com /orders
  usher routes orders --json`,
		ValidArgsFunction: p.completeServices,
	}, showRoutes)
}

func showRoutes(ctx context.Context, a *asker, words []string) error {
	var all api.Routes
	if err := a.get(ctx, "/routes", &all); err != nil {
		return err
	}
	shown := narrow(all, words)
	if a.json {
		return a.p.printJSON(shown)
	}
	if err := a.out.Table(routesTable(shown.Routes)); err != nil {
		return err
	}
	if err := showRefused(a.out, shown); err != nil {
		return err
	}
	switch {
	case len(all.Routes) == 0:
		a.p.hint("no route yet: usher services says why")
	case len(shown.Routes) == 0:
		a.p.hint("none of %s is of that", count(len(all.Routes), "route", "routes"))
	}
	return nil
}

// narrow keeps what all the words fit.
func narrow(all api.Routes, words []string) api.Routes {
	fits := func(path string, hosts, texts []string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !fitsWord(w, path, hosts, texts) })
	}
	all.Routes = slices.DeleteFunc(all.Routes, func(r api.Route) bool {
		return !fits(r.Path, r.Hosts, append([]string{r.ID, r.Owner, r.Source}, r.Services...))
	})
	refusal := func(r api.Refusal) bool { return !fits(r.Where, nil, []string{r.Service, r.Where, r.Instance}) }
	all.Refused, all.Notices = slices.DeleteFunc(all.Refused, refusal), slices.DeleteFunc(all.Notices, refusal)
	all.Conflicts = slices.DeleteFunc(all.Conflicts, func(c api.Conflict) bool {
		return !fits(c.Match, nil, []string{c.Match, c.Winner, c.Loser})
	})
	return all
}

func fitsWord(word, path string, hosts, texts []string) bool {
	if strings.HasPrefix(word, "/") {
		return strings.Contains(path, word)
	}
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(word)) }
	return slices.ContainsFunc(texts, has) || slices.ContainsFunc(hosts, func(pattern string) bool {
		return has(pattern) || isFor(pattern, word)
	})
}

// isFor says whether a host is one of a pattern's, whose stars cross dots.
func isFor(pattern, host string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return strings.EqualFold(pattern, host)
	}
	host = strings.ToLower(host)
	first, last := parts[0], parts[len(parts)-1]
	if len(host) < len(first)+len(last) || !strings.HasPrefix(host, first) || !strings.HasSuffix(host, last) {
		return false
	}
	host = host[len(first) : len(host)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(host, part)
		if !found {
			return false
		}
		host = rest
	}
	return true
}

func routesTable(routes []api.Route) *term.Table {
	t := &term.Table{Header: []string{"HOST", "PATH", "TO", "USABLE", "OWNER"}, Right: []int{3}}
	for i := range routes {
		r := &routes[i]
		t.Add(term.Text(cmp.Or(joined(r.Hosts), "*")), term.Text(pathOf(r)), term.Text(actionOf(r)),
			usable(r), term.Cell{Text: r.Owner, Style: term.Dim})
	}
	return t
}

// pathOf says what of a request beside the host a route looks at.
func pathOf(r *api.Route) string {
	text := r.Path
	if r.PathType != "prefix" && r.PathType != "" {
		text += " (" + r.PathType + ")"
	}
	if r.Protocol != "http" && r.Protocol != "" {
		text = r.Protocol
	}
	for _, c := range r.Conditions {
		text += ", " + c
	}
	if len(r.Listeners) > 0 {
		text += ", on " + joined(r.Listeners)
	}
	return text
}

func actionOf(r *api.Route) string {
	return cmp.Or(strings.TrimPrefix(r.Action, "to "), joined(r.Services))
}

func usable(r *api.Route) term.Cell {
	switch {
	case len(r.Services) == 0:
		return term.Text("–")
	case r.Usable == 0:
		return term.Cell{Text: fmt.Sprintf("0/%d", r.Endpoints), Style: term.Bad}
	case r.Usable < r.Endpoints:
		return term.Cell{Text: fmt.Sprintf("%d/%d", r.Usable, r.Endpoints), Style: term.Warn}
	default:
		return term.Cell{Text: fmt.Sprintf("%d/%d", r.Usable, r.Endpoints), Style: term.Good}
	}
}

// showRefused prints what is not served, or not as it may be meant.
func showRefused(out *term.Printer, r api.Routes) error {
	for _, part := range []struct {
		title string
		style term.Style
		list  []api.Refusal
	}{{"Refused", term.Bad, r.Refused}, {"Notices", term.Warn, r.Notices}} {
		t := &term.Table{}
		for _, x := range part.list {
			t.Add(term.Text("  "+x.Where), term.Text(whose(x)), term.Cell{Text: x.Reason, Style: part.style})
		}
		if err := section(out, part.title, t); err != nil {
			return err
		}
	}
	t := &term.Table{}
	for _, c := range r.Conflicts {
		t.Add(term.Text("  "+c.Match), term.Text(c.Winner), term.Cell{Text: "goes before " + c.Loser, Style: term.Warn})
	}
	return section(out, "Conflicts", t)
}

func whose(r api.Refusal) string {
	if r.Service == "" {
		return ""
	}
	text := r.Service
	if r.Registry != "" {
		text += "@" + r.Registry
	}
	if r.Instance != "" {
		text += " " + r.Instance
	}
	return text
}

// section prints a titled table after others; nothing where it is empty.
func section(out *term.Printer, title string, t *term.Table) error {
	if t.Len() == 0 {
		return nil
	}
	if err := out.Printf("\n%s (%d)\n", out.Paint(term.Bold, title), t.Len()); err != nil {
		return err
	}
	return out.Table(t)
}
