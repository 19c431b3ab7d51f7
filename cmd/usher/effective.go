package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
	"usher/config"
)

// effectiveFlags are those of config.
type effectiveFlags struct {
	path                  string
	opts                  config.Options
	client                *clientFlags
	origins, given, asked bool
}

func (p *process) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config [KEY]...", Short: "Print the effective configuration, and where each value comes from",
		Long: `Config prints every value of a configuration, those that nobody gave included: that of
a file, read as run reads it with its flags and variables, or with --admin the one that a
running usher has in force. With --origins it says where each value comes from: a line of
a file, a flag, a variable, or the default. Secrets are not shown.

A KEY, such as listeners or services.orders.retry, narrows it down to what is below it.`,
		Example: `  usher config --config usher.yaml --origins
  usher config --config usher.yaml --given
  usher config --admin 127.0.0.1:9900 services.orders --json`,
	}
	f := &effectiveFlags{opts: config.Options{Env: p.env}, client: p.addClientFlags(cmd)}
	fl := cmd.Flags()
	fl.StringVarP(&f.path, "config", "c", "", "configuration `FILE`; without one the defaults apply")
	fl.StringVar(&f.opts.Listen, "listen", "", "`ADDR` clients connect to, as run takes it")
	fl.StringVar(&f.opts.Consul, "consul", "", "`ADDR` of a Consul agent, as run takes it")
	fl.StringVar(&f.opts.LogLevel, "log-level", "", "as run takes it")
	fl.StringVar(&f.opts.LogFormat, "log-format", "", "as run takes it")
	fl.BoolVar(&f.origins, "origins", false, "say where each value comes from")
	fl.BoolVar(&f.given, "given", false, "only what somebody gave, no defaults")
	fl.Lookup("admin").DefValue = "" // it is a choice here
	cmd.RunE = func(cmd *cobra.Command, keys []string) error {
		f.opts.Variables = variablesOf(cmd)
		f.asked = cmd.Flags().Changed("admin")
		if _, isVariable := f.opts.Variables["admin"]; isVariable { // which says what run does
			f.asked, f.opts.Admin = false, f.client.admin
		}
		if f.asked && f.path != "" {
			return errors.New("--config is a file, --admin a running usher: give one of the two")
		}
		return failure(p.showConfig(cmd.Context(), f, keys))
	}
	return cmd
}

func (p *process) showConfig(ctx context.Context, f *effectiveFlags, keys []string) error {
	conf, err := p.effective(ctx, f)
	if err != nil {
		return err
	}
	conf.Settings = slices.DeleteFunc(conf.Settings, func(s api.Setting) bool {
		return f.given && s.Origin == config.OriginDefault || !below(s.Path, keys)
	})
	if f.client.json {
		return p.printJSON(conf)
	}
	if len(conf.Settings) == 0 {
		p.hint("there is nothing below %s", term.Clean(joined(keys)))
		return nil
	}
	t := &term.Table{}
	for _, s := range conf.Settings {
		value := term.Cell{Text: valueText(s.Value)}
		if s.Origin == config.OriginDefault {
			value.Style = term.Dim
		}
		row := []term.Cell{{Text: s.Path}, value}
		if f.origins {
			row = append(row, term.Cell{Text: s.Origin, Style: term.Accent})
		}
		t.Add(row...)
	}
	return p.printer().Table(t)
}

// effective is the configuration of the file, or of the usher that is asked.
func (p *process) effective(ctx context.Context, f *effectiveFlags) (*api.Config, error) {
	if f.asked {
		c, err := f.client.client()
		if err != nil {
			return nil, err
		}
		ctx, stop := p.untilSignal(ctx)
		defer stop()
		conf := &api.Config{}
		return conf, c.get(ctx, "/config", conf)
	}
	cfg, err := config.Load(f.path, f.opts)
	if err != nil {
		return nil, err
	}
	state := api.ConfigState{File: f.path, Hash: cfg.Hash, Taken: time.Now().UTC()}
	return &api.Config{ConfigState: state, Settings: settingsView(cfg)}, nil
}

// settingsView is every value of a configuration, as the API has them.
func settingsView(cfg *config.Config) []api.Setting {
	out := []api.Setting{}
	for _, s := range cfg.Settings() {
		out = append(out, api.Setting(s))
	}
	return out
}

// below says whether a path is one of the keys or below it; without keys all are.
func below(path string, keys []string) bool {
	return len(keys) == 0 || slices.ContainsFunc(keys, func(key string) bool {
		rest, found := strings.CutPrefix(path, key)
		return found && (rest == "" || strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
	})
}

// valueText writes a value on one line; a string as it is, if that leaves no doubt.
func valueText(v any) string {
	if s, ok := v.(string); ok && s != "" && !strings.ContainsAny(s, "\n\"") && strings.TrimSpace(s) == s {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "?" // cannot be: it came from JSON, or is a plain value
	}
	return string(data)
}
