package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/plan"
	"usher/cmd/usher/internal/term"
	"usher/config"
	"usher/routetable"
	"usher/watcher"
)

// exitChanges is the code of plan when there are changes and it is asked to tell so.
const exitChanges = 5

// planFlags are what plan is asked for.
type planFlags struct {
	config, snapshot, requests string
	detailed                   bool
	failOn                     []string
}

// failures are the words of --fail-on.
func failures() []string { return []string{"moved", "removed", "conflicts", "any"} }

func (p *process) planCommand() *cobra.Command {
	f := &planFlags{}
	cmd := p.asking(&cobra.Command{
		Use: "plan --config FILE", Args: cobra.NoArgs,
		Short: "Tell what a new configuration would change, before it does",
		Long: `Plan reads a new configuration and compares it with that of a running usher, on the
services that the running one knows: routes added, removed and changed, those that no
request can reach, rules refused, and which of the recent requests would go elsewhere.
Nothing is changed, and the running usher builds nothing for it.

It exits with 0, or with 1 when it fails and with 3 when the configuration is invalid. With
--detailed-exitcode it exits with 5 when anything changes, with --fail-on when what is
named does:
  moved      a recent request would go elsewhere
  removed    a route goes
  conflicts  a rule is newly outranked, refused, or hidden by another
  any        anything changes`,
		Example: `  usher plan --config new.yaml
  usher plan --config new.yaml --fail-on moved,removed
  curl -s http://127.0.0.1:9900/api/v1/snapshot >live.snapshot
  curl -s http://127.0.0.1:9900/api/v1/requests >requests.json
  usher plan --config new.yaml --snapshot live.snapshot --requests requests.json`,
	}, func(ctx context.Context, a *asker, _ []string) error { return a.plan(ctx, f) })
	fl := cmd.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "the new configuration `FILE`")
	fl.StringVar(&f.snapshot, "snapshot", "", "`FILE` with what GET /api/v1/snapshot answered; default: ask")
	fl.StringVar(&f.requests, "requests", "", "`FILE` with what GET /api/v1/requests answered; default: ask")
	fl.BoolVar(&f.detailed, "detailed-exitcode", false, "exit with 5 when anything changes")
	fl.StringSliceVar(&f.failOn, "fail-on", nil, "exit with 5 on `WHAT` changes: "+strings.Join(failures(), ", "))
	_ = cmd.MarkFlagRequired("config") // fails for an unknown flag
	return cmd
}

// plan prints what the new configuration changes.
func (a *asker) plan(ctx context.Context, f *planFlags) error {
	for _, word := range f.failOn {
		if !slices.Contains(failures(), word) {
			return &exitError{exitUsage, fmt.Errorf("--fail-on %q is none of %s", word, strings.Join(failures(), ", "))}
		}
	}
	cfg, err := config.Load(f.config, config.Options{Env: a.p.env})
	if err != nil {
		return err
	}
	s, err := a.snapshot(ctx, f)
	if err != nil {
		return err
	}
	requests, err := a.recent(ctx, f)
	if err != nil {
		return err
	}
	result, err := planOf(cfg, s, requests)
	if err != nil {
		return err
	}
	if a.json {
		err = a.p.printJSON(result)
	} else {
		err = a.printPlan(result)
	}
	if err == nil && f.fails(result) {
		return &exitError{exitChanges, nil}
	}
	return err
}

// snapshot is what the running usher knows, asked for or read.
func (a *asker) snapshot(ctx context.Context, f *planFlags) (*watcher.Snapshot, error) {
	var data []byte
	var err error
	if f.snapshot != "" {
		data, err = os.ReadFile(f.snapshot)
	} else {
		err = a.get(ctx, "/snapshot", &data)
	}
	if err != nil {
		return nil, err
	}
	s, err := watcher.DecodeSnapshot(data)
	if err != nil {
		return nil, err
	}
	if len(s.Running) == 0 {
		return nil, errors.New("the snapshot does not say what configuration is running: " +
			"take that of GET /api/v1/snapshot, not the file in state_dir")
	}
	return s, nil
}

// recent are the recent requests, asked for or read. With a snapshot alone there are none.
func (a *asker) recent(ctx context.Context, f *planFlags) (list []api.SampledRequest, err error) {
	switch {
	case f.requests != "":
		data, err := os.ReadFile(f.requests)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", f.requests, err)
		}
	case f.snapshot == "":
		err = a.get(ctx, "/requests", &list)
	}
	return list, err
}

// planOf builds both tables, as a reload would the second, beside any that is in use.
func planOf(cfg *config.Config, s *watcher.Snapshot, requests []api.SampledRequest) (*api.Plan, error) {
	running, err := plan.Decode(s.Running)
	if err != nil {
		return nil, err
	}
	before, err := buildOffline(running.Rules(), s)
	if err != nil {
		return nil, err
	}
	next := plan.NewRunning(cfg, version)
	after := routetable.Build(catalogOf(s), next.Rules(), before)
	return plan.Compare(running, next, before, after, requests), nil
}

// fails says whether what the flags name happens.
func (f *planFlags) fails(p *api.Plan) bool {
	removed := func(c api.Change) bool { return c.Kind == "removed" && c.What == "route" }
	worse := func(c api.Change) bool { return c.Kind == "added" && (c.What == "conflict" || c.What == "refusal") }
	kinds := map[string]bool{
		"any": len(p.Changes) > 0 || p.MovedCount > 0, "moved": p.MovedCount > 0,
		"removed": slices.ContainsFunc(p.Changes, removed),
		"conflicts": slices.ContainsFunc(p.Changes, worse) ||
			slices.ContainsFunc(p.Shadowed, func(s api.Shadow) bool { return s.New }),
	}
	return f.detailed && kinds["any"] || slices.ContainsFunc(f.failOn, func(word string) bool { return kinds[word] })
}

func (a *asker) printPlan(p *api.Plan) error {
	if len(p.Changes) == 0 {
		if err := a.out.Printf("Nothing changes.\n"); err != nil {
			return err
		}
	} else if err := a.out.Printf("Changes:\n"); err != nil {
		return err
	}
	if err := printChanges(a, p.Changes, 0); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"Routes that no request can reach:", shadowLines(p)},
		{"Rules refused:", refusalLines(p)},
		{"Claims outranked:", conflictLines(p)},
		{"Notes:", p.Notes},
	} {
		if err := a.printPart(part.title, part.lines); err != nil {
			return err
		}
	}
	return a.printMoved(p)
}

func (a *asker) printPart(title string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	if err := a.out.Printf("\n%s\n", title); err != nil {
		return err
	}
	for i, line := range lines {
		if i == maxChangeLines {
			return a.out.Printf("  … and %d more: --json has them\n", len(lines)-i)
		}
		if err := a.out.Printf("  %s\n", term.Clean(line)); err != nil {
			return err
		}
	}
	return nil
}

func shadowLines(p *api.Plan) (lines []string) {
	for _, s := range p.Shadowed {
		line := s.Route + " is hidden by " + s.By
		if !s.New {
			line += ", as it is now"
		}
		lines = append(lines, line)
	}
	return lines
}

func refusalLines(p *api.Plan) (lines []string) {
	for _, r := range p.Refused {
		lines = append(lines, strings.TrimSpace(r.Service+" "+r.Where)+": "+r.Reason)
	}
	return lines
}

func conflictLines(p *api.Plan) (lines []string) {
	for _, c := range p.Conflicts {
		lines = append(lines, c.Match+": "+c.Winner+" over "+c.Loser)
	}
	return lines
}

func (a *asker) printMoved(p *api.Plan) error {
	if p.Replayed == 0 {
		return a.out.Printf("\nNo recent request was tried.\n")
	}
	title := fmt.Sprintf("%d of %s would go elsewhere", p.MovedCount,
		count(p.Replayed, "recent request", "recent requests"))
	var lines []string
	for i := range p.Moved {
		m := &p.Moved[i]
		line := m.Request.Method + " " + m.Request.Host + m.Request.Target
		if m.Count > 1 {
			line += fmt.Sprintf(" (%d times)", m.Count)
		}
		lines = append(lines, line+": "+destinationText(&m.From)+" → "+destinationText(&m.To))
	}
	if len(lines) == 0 {
		return a.out.Printf("\n%s.\n", title)
	}
	return a.printPart(title+":", lines)
}

// destinationText is where a request goes in a few words.
func destinationText(d *api.Destination) string {
	text := strings.Join(d.Services, ", ")
	if d.Answer != "" {
		text = d.Answer
	}
	if len(d.As) > 0 {
		text += " as " + strings.Join(d.As, ", ")
	}
	if d.Reason != "" {
		text = strings.TrimSpace(text + " " + d.Reason)
	}
	if d.Route != "" {
		text += " by " + d.Route
	}
	return text
}
