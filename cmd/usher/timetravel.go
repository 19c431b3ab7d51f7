package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/admin"
	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

// maxChangeLines is how many changes of one generation are printed for a person.
const maxChangeLines = 50

func (p *process) generationsCommand() *cobra.Command {
	var at string
	var n int
	cmd := p.asking(&cobra.Command{
		Use: "generations", Args: cobra.NoArgs,
		Short: "List the routing tables of the recent past, and what each changed",
		Long: `Generations lists the tables that a running usher remembers: when each came into use,
what it changed, and why. With --at it tells what changed around a time, each change
with its fields before and after.`,
		Example: `  usher generations
  usher generations --at 03:12
  usher generations show 1287
  usher diff 1280 1287`,
	}, func(ctx context.Context, a *asker, _ []string) error { return showGenerations(ctx, a, at, n) })
	fl := cmd.Flags()
	fl.StringVar(&at, "at", "", "a `TIME`: 03:12, 03:12:30 (the last such) or 2026-01-02T03:12:00Z")
	fl.IntVarP(&n, "number", "n", 20, "how many `N` at most")
	cmd.AddCommand(p.asking(&cobra.Command{
		Use: "show N", Short: "Tell what a generation changed, and why", Args: cobra.ExactArgs(1),
	}, showGeneration), p.diffCommand())
	return cmd
}

func (p *process) diffCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "diff A B", Short: "Tell how two generations differ", Args: cobra.ExactArgs(2),
		Long: `Diff compares the routing tables of two generations: their routes, settings, services
and instances, and what is refused or outranked.`,
	}, showDiff)
}

func (p *process) pinCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "pin N", Args: cobra.ExactArgs(1),
		Short: "Hold the rules of a generation, while instances follow the registry",
		Long: `Pin makes usher route by the rules of a generation: by what services announced then, by
the configuration's routes and settings, and by the overrides of then. Instances go on
to follow the registry, new ones have the rules of their service, and a service that was
not known then has no route. A reload meanwhile waits. unpin ends it, and so does a
restart.`,
	}, pinGeneration)
}

func (p *process) unpinCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "unpin", Short: "Route by the rules of now again", Args: cobra.NoArgs,
	}, func(ctx context.Context, a *asker, _ []string) error { return pinOr(ctx, a, "/generations/unpin") })
}

func showGenerations(ctx context.Context, a *asker, at string, n int) error {
	query := url.Values{"n": {strconv.Itoa(n)}}
	if at != "" {
		when, precision, err := admin.ParseTime(at, time.Now())
		if err != nil {
			return err
		}
		query.Set("at", when.Format(time.RFC3339))
		query.Set("for", precision.String())
	}
	var list api.Generations
	if err := a.get(ctx, "/generations?"+query.Encode(), &list); err != nil {
		return err
	}
	switch {
	case a.json:
		return a.p.printJSON(list)
	case at != "":
		return showAround(a, list)
	}
	t := &term.Table{Header: []string{"GENERATION", "AT", "ROUTES", "CHANGED", "WHY"}, Right: []int{0, 2}}
	for i := range list.Generations {
		g := &list.Generations[i]
		t.Add(generationCell(list, g), term.Text(clock(g.At)), term.Text(term.Count(int64(g.Routes))),
			term.Text(g.Summary), term.Text(why(g)))
	}
	if err := a.out.Table(t); err != nil {
		return err
	}
	if list.Pinned != nil {
		a.p.hint("the rules of generation %d are pinned: usher unpin ends it", *list.Pinned)
	}
	return nil
}

// generationCell is the number, marked where it is the one in use or pinned.
func generationCell(list api.Generations, g *api.Generation) term.Cell {
	c := term.Text(strconv.FormatUint(g.Number, 10))
	if g.Last > g.Number {
		c.Text += "-" + strconv.FormatUint(g.Last, 10)
	}
	if g.Pinned {
		c.Text, c.Style = "pinned "+c.Text, term.Warn
	}
	if g.Last == list.Current {
		c.Text = "now " + c.Text
	}
	return c
}

// clock is a time in the zone of whoever reads it, with the day unless that is today.
func clock(t time.Time) string {
	t = t.Local()
	if time.Since(t) < 12*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// why is the first cause in a few words.
func why(g *api.Generation) string {
	if len(g.Causes) == 0 {
		return ""
	}
	text := causeText(&g.Causes[0])
	if more := len(g.Causes) - 1 + g.MoreCauses; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

func causeText(c *api.Cause) string {
	who := c.Kind
	if c.Service != "" {
		who += " " + c.Service + "@" + c.Registry
	} else if c.Registry != "" {
		who += " " + c.Registry
	}
	return who + ": " + c.Detail
}

// showAround prints the generations around a time, the oldest first, as they happened.
func showAround(a *asker, list api.Generations) error {
	if len(list.Generations) == 0 {
		a.p.hint("no table of that time is remembered")
		return nil
	}
	for i := len(list.Generations) - 1; i >= 0; i-- {
		if err := printGeneration(a, &list.Generations[i]); err != nil {
			return err
		}
	}
	return nil
}

func showGeneration(ctx context.Context, a *asker, args []string) error {
	var g api.Generation
	if err := a.get(ctx, "/generations/"+url.PathEscape(args[0]), &g); err != nil {
		return err
	}
	if a.json {
		return a.p.printJSON(g)
	}
	return printGeneration(a, &g)
}

func printGeneration(a *asker, g *api.Generation) error {
	number := strconv.FormatUint(g.Number, 10)
	if g.Last > g.Number {
		number += "-" + strconv.FormatUint(g.Last, 10)
	}
	if err := a.out.Printf("%s  generation %s: %s\n", clock(g.At), number, term.Clean(g.Summary)); err != nil {
		return err
	}
	for i := range g.Causes {
		if err := a.out.Printf("  because of %s\n", term.Clean(causeText(&g.Causes[i]))); err != nil {
			return err
		}
	}
	if g.MoreCauses > 0 {
		if err := a.out.Printf("  and of %d more\n", g.MoreCauses); err != nil {
			return err
		}
	}
	return printChanges(a, g.Changes, g.MoreChanges)
}

// printChanges prints changes; more is how many there are beside them.
func printChanges(a *asker, changes []api.Change, more int) error {
	for i := range changes {
		if i == maxChangeLines {
			more += len(changes) - i
			break
		}
		if err := printChange(a, &changes[i]); err != nil {
			return err
		}
	}
	if more > 0 {
		return a.out.Printf("  … and %d more changes: --json has those that are remembered\n", more)
	}
	return nil
}

func printChange(a *asker, c *api.Change) error {
	mark := map[string]string{"added": "+", "removed": "-", "changed": "~"}[c.Kind]
	owner := ""
	if c.Owner != "" {
		owner = "  (" + c.Owner + ")"
	}
	if err := a.out.Printf("  %s %s %s\n", mark, c.What, term.Clean(c.Name+owner)); err != nil {
		return err
	}
	for _, f := range c.Fields {
		err := a.out.Printf("      %s: %s → %s\n", term.Clean(f.Field), orNothing(f.From), orNothing(f.To))
		if err != nil {
			return err
		}
	}
	return nil
}

func orNothing(value string) string {
	if value == "" {
		return "–"
	}
	return term.Clean(value)
}

func showDiff(ctx context.Context, a *asker, args []string) error {
	var d api.Diff
	query := url.Values{"from": {args[0]}, "to": {args[1]}}
	if err := a.get(ctx, "/generations/diff?"+query.Encode(), &d); err != nil {
		return err
	}
	if a.json {
		return a.p.printJSON(d)
	}
	if len(d.Changes) == 0 {
		a.p.hint("they do not differ")
		return nil
	}
	return printChanges(a, d.Changes, 0)
}

func pinGeneration(ctx context.Context, a *asker, args []string) error {
	return pinOr(ctx, a, "/generations/"+url.PathEscape(args[0])+"/pin")
}

func pinOr(ctx context.Context, a *asker, path string) error {
	var done api.Pinned
	if err := a.post(ctx, path, nil, &done); err != nil {
		return err
	}
	if a.json {
		return a.p.printJSON(done)
	}
	if done.Pinned == nil {
		return a.out.Printf("nothing is pinned; generation %d is in use\n", done.Generation)
	}
	return a.out.Printf("the rules of generation %d are pinned; generation %d is in use with them\n",
		*done.Pinned, done.Generation)
}
