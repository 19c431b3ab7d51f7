package main

import (
	"context"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

func (p *process) holdsCommand() *cobra.Command {
	cmd := p.asking(&cobra.Command{
		Use: "holds", Short: "List the instances that the registry lost and usher keeps", Args: cobra.NoArgs,
		Long: `Holds lists the services of which instances vanished implausibly. usher keeps and
probes them instead of believing that they are gone (docs/configuration.md, Holds). A
hold ends by itself; release ends it by hand.`,
	}, showHolds)
	cmd.AddCommand(p.asking(&cobra.Command{
		Use: "release SERVICE", Short: "Believe that the held instances of a service are gone",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeServices,
	}, releaseHold))
	return cmd
}

func showHolds(ctx context.Context, a *asker, _ []string) error {
	var list []api.Service
	if err := a.get(ctx, "/holds", &list); err != nil {
		return err
	}
	if a.json {
		return a.p.printJSON(list)
	}
	if len(list) == 0 {
		a.p.hint("nothing is held")
		return nil
	}
	t := &term.Table{Header: []string{"SERVICE", "REGISTRY", "HELD", "OF", "SINCE", "REASON"}, Right: []int{2, 3, 4}}
	for i := range list {
		s := &list[i]
		if s.Hold == nil {
			continue
		}
		t.Add(term.Text(s.Name), term.Text(s.Registry),
			term.Cell{Text: term.Count(int64(s.Hold.Instances)), Style: term.Warn},
			term.Text(term.Count(int64(len(s.Instances)))), term.Text(term.Ago(time.Since(s.Hold.Since))),
			term.Text(s.Hold.Reason))
	}
	return a.out.Table(t)
}

func releaseHold(ctx context.Context, a *asker, args []string) error {
	var released api.Released
	err := a.post(ctx, "/holds/"+url.PathEscape(args[0])+"/release", nil, &released)
	switch {
	case err != nil:
		return a.suggest(ctx, args[0], err)
	case a.json:
		return a.p.printJSON(released)
	case released.Released == 0:
		a.p.hint("nothing of %s was held", args[0])
		return nil
	}
	return a.out.Printf("released %s of %s\n",
		count(released.Released, "instance", "instances"), term.Clean(args[0]))
}
