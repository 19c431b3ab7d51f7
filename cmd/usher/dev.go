package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/demo"
	"usher/config"
)

// errNothingToReload is what comes of a reload of a demonstration.
var errNothingToReload = errors.New("the demonstration has no configuration to read again")

// demoBackends is how many backends dev starts.
const demoBackends = 3

func (p *process) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a demonstration: three backends and an embedded registry, all on loopback",
		Args: cobra.NoArgs,
	}
	opts := config.Options{Env: p.env}
	cmd.Flags().StringVar(&opts.Listen, "listen", "127.0.0.1:8080", "`ADDR` clients connect to")
	secure := cmd.Flags().String("tls-listen", "127.0.0.1:8443",
		"`ADDR` of HTTPS, by a self-signed certificate; empty: none")
	cmd.Flags().StringVar(&opts.Admin, "admin", "127.0.0.1:9900", "`ADDR` of the admin listener")
	cmd.Flags().StringVar(&opts.LogLevel, "log-level", "", "debug, info, warn or error")
	cmd.Flags().StringVar(&opts.LogFormat, "log-format", "", "text, json or auto")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("tls-listen") && !bindable(cmd.Context(), *secure) {
			*secure = "" // nobody asked for it
		}
		return failure(p.dev(cmd.Context(), opts, *secure))
	}
	return cmd
}

// bindable says whether an address is free.
func bindable(ctx context.Context, address string) bool {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// dev is the dev command. secure is the address of HTTPS, empty for none.
func (p *process) dev(ctx context.Context, opts config.Options, secure string) error {
	cfg, err := config.Load("", opts)
	if err != nil {
		return err
	}
	if secure != "" {
		l := cfg.Listeners[0]
		l.Name, l.Address, l.Protocol, l.TLS.SelfSigned = "secure", secure, "https", true
		cfg.Listeners = append(cfg.Listeners, l)
	}
	d, err := demo.Start(demoBackends)
	if err != nil {
		return err
	}
	defer d.Close()
	cfg.Registries = []config.Registry{{
		Type: "file", Name: "demo", StartTimeout: 10 * time.Second, File: &config.File{Path: d.Catalog},
	}}
	a := newApp(p, cfg, opts)
	defer a.stop()
	a.running.Go(func() {
		select {
		case <-a.bindings:
			p.printTour(a, d)
		case <-a.ctx.Done():
		}
	})
	return p.serve(ctx, a, func() error { return errNothingToReload }, nil)
}

// printTour says what to try.
func (p *process) printTour(a *app, d *demo.Demo) {
	web := "http://" + a.proxy.Addresses()["web"]
	fmt.Fprintf(p.stdout, `
usher is running with three backends behind %[1]s. Try:

  curl %[1]s/                                one of the three answers
  while sleep 0.2; do curl -s %[1]s/; done   watch them take turns, and meanwhile
  curl -X POST http://%[2]s/die            kill the first: not one error; it is back in 10 s
%[5]s  curl http://%[3]s/readyz?verbose         what usher knows
  curl http://%[3]s/metrics                what Prometheus sees

The registry is the file %[4]s: edit it and watch. Ctrl-C stops.

`, web, d.Backends[0], a.admin.Address(), d.Catalog, secureTour(a.proxy.Addresses()["secure"]))
}

// secureTour says what to try over TLS; empty: nothing.
func secureTour(address string) string {
	if address == "" {
		return ""
	}
	return fmt.Sprintf("  curl -k https://%-25s  the same over TLS and HTTP/2\n", address+"/")
}
