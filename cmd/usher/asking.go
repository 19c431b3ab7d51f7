package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
	"usher/config"
)

// askingCommands are those that ask a running usher.
func (p *process) askingCommands() []*cobra.Command {
	return []*cobra.Command{
		p.routesCommand(), p.servicesCommand(), p.explainCommand(), p.holdsCommand(), p.eventsCommand(),
		p.reloadCommand(), p.drainCommand(), p.undrainCommand(), p.healthcheckCommand(),
	}
}

// asker is what a command that asks a running usher works with.
type asker struct {
	*client
	p    *process
	out  *term.Printer
	json bool
}

// asking makes a command one that asks a running usher. A signal ends it.
func (p *process) asking(cmd *cobra.Command, do func(context.Context, *asker, []string) error) *cobra.Command {
	flags := p.addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.client()
		if err != nil {
			return failure(err)
		}
		ctx, stop := p.untilSignal(cmd.Context())
		defer stop()
		err = do(ctx, &asker{c, p, p.printer(), flags.json}, args)
		if ctx.Err() != nil && err != nil {
			err = errors.New("interrupted")
		}
		return failure(err)
	}
	return cmd
}

// untilSignal returns a context that ends with a signal. The caller stops the wait.
func (p *process) untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-p.signals:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		waiting.Wait()
	}
}

// services asks for the services of a name, or name@registry. For an unknown one the
// error says which may be meant.
func (a *asker) services(ctx context.Context, name string) ([]api.Service, error) {
	var found []api.Service
	err := a.get(ctx, "/services/"+url.PathEscape(name), &found)
	return found, a.suggest(ctx, name, err)
}

// suggest adds what may be meant to the error that there is no such service.
func (a *asker) suggest(ctx context.Context, name string, err error) error {
	var refused *refusedError
	if !errors.As(err, &refused) || refused.status != http.StatusNotFound {
		return err
	}
	names, other := a.serviceNames(ctx)
	if other != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("no service %q: usher knows of none", name)
	}
	return fmt.Errorf("no service %q%s", name, config.Suggest(name, names))
}

// serviceNames are the names of all services; those that several registries have are
// there by name@registry as well.
func (a *asker) serviceNames(ctx context.Context) ([]string, error) {
	var all []api.Service
	if err := a.get(ctx, "/services", &all); err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, s := range all {
		count[s.Name]++
	}
	names := slices.Collect(maps.Keys(count))
	for _, s := range all {
		if count[s.Name] > 1 {
			names = append(names, s.Name+"@"+s.Registry)
		}
	}
	slices.Sort(names)
	return names, nil
}

// completeServices completes the name of a service from the running usher.
func (p *process) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || p.flagsFromEnv(cmd, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	f := &clientFlags{env: p.env}
	f.admin, _ = cmd.Flags().GetString("admin")
	f.tokenFile, _ = cmd.Flags().GetString("admin-token-file")
	c, err := f.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	// Nobody wants to wait at the prompt.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	names, _ := (&asker{client: c}).serviceNames(ctx) // none is what there is to offer
	return names, cobra.ShellCompDirectiveNoFileComp
}

// count is a number and its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func joined(list []string) string { return strings.Join(list, ", ") }
