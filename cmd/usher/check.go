package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"usher/config"
	"usher/watcher/consul"
)

func (p *process) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Aliases: []string{"validate"}, Args: cobra.NoArgs,
		Short: "Check a configuration",
		Long: `Check reads the configuration as run would and prints every problem with its
position. It exits with 3 if there is one. With --live it asks each registry too.`,
	}
	flags := p.addConfigFlags(cmd)
	live := cmd.Flags().Bool("live", false, "also reach each registry and read its services")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(flags.path, flags.opts)
		if err != nil {
			return err
		}
		if err := p.checkCatalogs(cfg, flags.opts); err != nil {
			return err
		}
		for _, w := range cfg.Warnings() {
			_, _ = fmt.Fprintf(p.stderr, "warning: %s\n", w)
		}
		if *live {
			if err := p.checkLive(cmd.Context(), cfg); err != nil {
				return failure(err)
			}
		}
		_, err = fmt.Fprintf(p.stdout, "ok: %d listeners, %d registries, %d routes\n",
			len(cfg.Listeners), len(cfg.Registries), len(cfg.Routes))
		return failure(err)
	}
	return cmd
}

// checkCatalogs reads the catalogs of the file registries.
func (p *process) checkCatalogs(cfg *config.Config, opts config.Options) error {
	var problems config.Errors
	for _, r := range cfg.Registries {
		if r.File == nil {
			continue
		}
		if _, err := config.LoadCatalog(r.File.Path, opts); err != nil {
			problems = append(problems, asProblems(err)...)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// checkLive asks each Consul agent what run would ask it. A token without a right that
// run needs is a failure: what it cannot see will be missed.
func (p *process) checkLive(ctx context.Context, cfg *config.Config) error {
	lacking := 0
	for _, r := range cfg.Registries {
		if r.Consul == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		found, err := consul.Probe(ctx, *r.Consul)
		cancel()
		if err != nil {
			return fmt.Errorf("registry %q: %w", r.Name, err)
		}
		_, _ = fmt.Fprintf(p.stderr, "registry %q: leader %s, %d services, %d announce a route\n",
			r.Name, found.Leader, found.Services, found.Announcing)
		for _, rule := range found.Problems {
			_, _ = fmt.Fprintf(p.stderr, "registry %q: the token lacks a right: %s\n", r.Name, rule)
		}
		lacking += len(found.Problems)
	}
	if lacking > 0 {
		return fmt.Errorf("%d rights are lacking", lacking)
	}
	return nil
}
