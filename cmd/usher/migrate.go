package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/fabio"
	"usher/config"
)

// migrateFlags are those of migrate fabio.
type migrateFlags struct {
	properties, kv, consul, kvPath string
	output, outputDir              string
	force, json                    bool
}

func (p *process) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Turn another proxy's installation into a configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return errors.New("say what to migrate: usher migrate fabio") },
	}
	cmd.AddCommand(p.migrateFabioCommand())
	return cmd
}

func (p *process) migrateFabioCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fabio", Short: "Turn a Fabio installation into a configuration", Args: cobra.NoArgs,
		Long: `Fabio reads what a Fabio installation consists of and prints a configuration for
usher. What differs is told on stderr: nothing is left out in silence. The
urlprefix- tags of services stay as they are; with --consul those that usher reads
otherwise than Fabio are named.

Routes that Fabio has from commands (registry.static.routes, its keys in Consul)
become services.yaml, a second file that the configuration refers to. On stdout it
follows the first, after a line with ---; --output-dir writes both.

It exits with 0 however much differs, and with 1 when a source cannot be read.`,
		Example: `  usher migrate fabio --properties fabio.properties > usher.yaml
  consul kv export fabio/config | usher migrate fabio --kv - --output-dir .
  usher migrate fabio --properties fabio.properties --consul 127.0.0.1:8500 --output-dir /etc/usher
  usher check --config /etc/usher/usher.yaml`,
	}
	f := &migrateFlags{}
	fl := cmd.Flags()
	fl.StringVar(&f.properties, "properties", "", "fabio.properties `FILE`")
	fl.StringVar(&f.kv, "kv", "", "`FILE` with the output of consul kv export, or with route commands; - is stdin")
	fl.StringVar(&f.consul, "consul", "", "`ADDR` of a Consul agent, to read the keys and the services' tags there")
	fl.StringVar(&f.kvPath, "kv-path", "", "`PATH` of Fabio's keys (default registry.consul.kvpath, else fabio/config)")
	fl.StringVarP(&f.output, "output", "o", "", "`FILE` to write instead of stdout; a services.yaml goes beside it")
	fl.StringVar(&f.outputDir, "output-dir", "", "`DIR` to write usher.yaml and services.yaml to")
	fl.BoolVar(&f.force, "force", false, "replace files that exist")
	fl.BoolVar(&f.json, "json", false, "print the report as JSON")
	cmd.MarkFlagsMutuallyExclusive("output", "output-dir")
	cmd.MarkFlagsOneRequired("properties", "kv", "consul")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.migrateFabio(cmd, f) }
	return cmd
}

func (p *process) migrateFabio(cmd *cobra.Command, f *migrateFlags) error {
	in, err := p.readFabio(cmd.Context(), cmd.InOrStdin(), f)
	if err != nil {
		return err
	}
	result := fabio.Convert(*in)
	if err := p.writeMigrated(result, f); err != nil {
		return failure(err)
	}
	if f.json {
		return failure(fabio.WriteJSON(p.stderr, result.Notes))
	}
	fabio.WriteText(p.stderr, result.Notes)
	return nil
}

// readFabio reads the sources.
func (p *process) readFabio(ctx context.Context, stdin io.Reader, f *migrateFlags) (*fabio.Input, error) {
	in := &fabio.Input{ReadFile: os.ReadFile}
	if f.properties != "" {
		data, err := os.ReadFile(f.properties)
		if err != nil {
			return nil, failure(fmt.Errorf("read --properties: %w", err))
		}
		in.Properties = fabio.ParseProperties(f.properties, string(data), p.env)
	}
	kvPath := cmp.Or(f.kvPath, in.Properties.Get("registry.consul.kvpath"), fabio.DefaultKVPath)
	if f.kv != "" {
		data, err := readOrStdin(f.kv, stdin)
		if err != nil {
			return nil, failure(fmt.Errorf("read --kv: %w", err))
		}
		name := f.kv
		if name == "-" {
			name = "stdin"
		}
		if in.KV, err = fabio.ParseKV(name, data, kvPath); err != nil {
			return nil, failure(fmt.Errorf("read --kv: %w", err))
		}
	}
	if f.consul != "" {
		if err := p.readFabioAgent(ctx, in, f.consul, kvPath); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// readFabioAgent asks the agent, as usher would be configured to: the standard
// CONSUL_* variables count, and then the properties' token.
func (p *process) readFabioAgent(ctx context.Context, in *fabio.Input, address, kvPath string) error {
	cfg, err := config.Load("", config.Options{Env: p.env, Consul: address})
	if err != nil {
		return fmt.Errorf("--consul: %s", err.Error()) // a wrong use, not a wrong configuration
	}
	conf := *cfg.Registries[0].Consul
	conf.Token = cmp.Or(conf.Token, in.Properties.Get("registry.consul.token"))
	prefix := cmp.Or(in.Properties.Get("registry.consul.tagprefix"), fabio.DefaultTagPrefix)
	if in.Agent, err = fabio.ReadAgent(ctx, conf, kvPath, prefix); err != nil {
		return failure(err)
	}
	in.ConsulAddress = address
	return nil
}

// writeMigrated writes the result to where the flags say.
func (p *process) writeMigrated(r *fabio.Result, f *migrateFlags) error {
	path := f.output
	if f.outputDir != "" {
		path = filepath.Join(f.outputDir, fabio.ConfigFile)
	}
	if path == "" {
		return p.printMigrated(r)
	}
	files := []string{path}
	content := map[string]string{path: r.Config}
	if r.Catalog != "" {
		catalog := filepath.Join(filepath.Dir(path), fabio.CatalogFile)
		if catalog == filepath.Clean(path) {
			return fmt.Errorf("--output %s is the name of the second file", path)
		}
		files, content[catalog] = append(files, catalog), r.Catalog
	}
	for _, name := range files {
		if _, err := os.Lstat(name); err == nil && !f.force {
			return fmt.Errorf("%s exists; --force replaces it", name)
		}
	}
	for _, name := range files {
		// For its owner alone: there may be a token in it.
		if err := os.WriteFile(name, []byte(content[name]), 0o600); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
		fmt.Fprintln(p.stderr, "wrote", name)
	}
	return nil
}

// printMigrated prints one or two files. The --- makes them two documents, so that
// usher refuses both in one file rather than read half of them.
func (p *process) printMigrated(r *fabio.Result) error {
	if r.Catalog == "" {
		_, err := io.WriteString(p.stdout, r.Config)
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "# %s\n%s---\n# %s, a file of its own beside the first\n%s",
		fabio.ConfigFile, r.Config, fabio.CatalogFile, r.Catalog)
	return err
}

func readOrStdin(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(path)
}
