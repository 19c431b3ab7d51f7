package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"usher/config"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 3
	exitForced  = 4
)

// process is what a run of usher has of the outside world.
type process struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	env            func(string) (string, bool)
	// colour is what --color says.
	colour string
}

// exitError is an error that decides the exit code. Its message has been shown
// when err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "exit"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// run executes the command line and returns the exit code.
func (p *process) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	return p.exitCode(root.ExecuteContext(ctx))
}

// exitCode shows an error and returns its code. What cobra itself objects to is a
// wrong use.
func (p *process) exitCode(err error) int {
	var exit *exitError
	var problems config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintln(p.stderr, problems.Error())
		return exitConfig
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(p.stderr, "usher:", exit.err)
		}
		return exit.code
	default:
		fmt.Fprintln(p.stderr, "usher:", err)
		fmt.Fprintln(p.stderr, "See usher --help.")
		return exitUsage
	}
}

// failure makes an error of a command's work one that exits with 1. Problems of
// the configuration keep their own code.
func failure(err error) error {
	var problems config.Errors
	var exit *exitError
	if err == nil || errors.As(err, &problems) || errors.As(err, &exit) {
		return err
	}
	return &exitError{exitFailure, err}
}

func (p *process) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "usher",
		Short: "A reverse proxy and load balancer that learns its routes from a service registry",
		Long: `usher watches a service registry (HashiCorp Consul first), keeps a routing table
of the services that announce a route, and forwards each request to a healthy
instance.

Every flag can be given as an environment variable: --log-level as
USHER_LOG_LEVEL. A flag goes before the environment, that before the file.`,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			return errors.Join(p.flagsFromEnv(cmd, args), p.checkColour())
		},
	}
	p.addColourFlag(root)
	root.AddCommand(p.runCommand(), p.devCommand(), p.checkCommand(), p.migrateCommand(), p.versionCommand())
	root.AddCommand(p.askingCommands()...)
	root.AddCommand(p.generationsCommand(), p.diffCommand(), p.pinCommand(), p.unpinCommand(), p.planCommand())
	root.AddCommand(p.schemaCommand(), p.fmtCommand(), p.configCommand(), p.manCommand(), p.topCommand())
	return root
}

// flagsFromEnv sets the flags that were not given from USHER_*.
func (p *process) flagsFromEnv(cmd *cobra.Command, _ []string) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "USHER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := p.env(name); ok && !f.Changed && f.Name != "help" {
			if e := cmd.Flags().Set(f.Name, value); e != nil && err == nil {
				err = fmt.Errorf("%s: %w", name, e)
			}
			_ = cmd.Flags().SetAnnotation(f.Name, fromVariable, []string{name}) // fails for an unknown flag
		}
	})
	return err
}

// fromVariable annotates a flag that was set from a variable with the variable's name.
const fromVariable = "usher_variable"

// variablesOf are the variables that flags were set from, by the flag.
func variablesOf(cmd *cobra.Command) map[string]string {
	out := map[string]string{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if name := f.Annotations[fromVariable]; len(name) > 0 {
			out[f.Name] = name[0]
		}
	})
	return out
}

// configFlags are the flags of the commands that read a configuration.
type configFlags struct {
	path string
	opts config.Options
}

func (p *process) addConfigFlags(cmd *cobra.Command) *configFlags {
	f := &configFlags{opts: config.Options{Env: p.env}}
	fl := cmd.Flags()
	fl.StringVarP(&f.path, "config", "c", "", "configuration `FILE`; without one the defaults apply")
	fl.StringVar(&f.opts.Listen, "listen", "", "`ADDR` clients connect to, instead of the file's listeners")
	fl.StringVar(&f.opts.Admin, "admin", "", "`ADDR` of the admin listener (default 127.0.0.1:9900)")
	fl.StringVar(&f.opts.Consul, "consul", "", "`ADDR` of a Consul agent, instead of the file's registries")
	fl.StringVar(&f.opts.LogLevel, "log-level", "", "debug, info, warn or error")
	fl.StringVar(&f.opts.LogFormat, "log-format", "", "text, json or auto")
	cmd.PreRun = func(cmd *cobra.Command, _ []string) { f.opts.Variables = variablesOf(cmd) }
	return f
}

func (p *process) runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run", Short: "Run the proxy", Args: cobra.NoArgs}
	flags := p.addConfigFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return failure(p.runProxy(cmd.Context(), flags))
	}
	return cmd
}

func (p *process) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		v := buildVersion()
		if *asJSON {
			return failure(json.NewEncoder(p.stdout).Encode(v))
		}
		_, err := fmt.Fprintf(p.stdout, "usher %s (%s, %s)\n", v.Version, v.Revision, v.Go)
		return failure(err)
	}
	return cmd
}

// versionInfo is what version prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildVersion() versionInfo {
	v := versionInfo{
		Version: version, Revision: "unknown revision", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}
