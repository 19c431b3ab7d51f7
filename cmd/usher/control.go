package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

func (p *process) reloadCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "reload", Short: "Make a running usher read its configuration again", Args: cobra.NoArgs,
		Long: `Reload makes a running usher read its configuration again, as SIGHUP does, and says
what came of it. A configuration with a mistake is refused whole and the old one stays:
then the mistakes are printed, and the exit code is 3.`,
	}, reloadConfig)
}

func reloadConfig(ctx context.Context, a *asker, _ []string) error {
	var state api.ConfigState
	err := a.post(ctx, "/reload", nil, &state)
	var no *refusedError
	if errors.As(err, &no) && no.status == http.StatusUnprocessableEntity { // the state says why
		err = json.Unmarshal(no.body, &state)
	}
	if err != nil {
		return err
	}
	if a.json {
		if err := a.p.printJSON(state); err != nil {
			return err
		}
	}
	if len(state.Refused) > 0 {
		for _, problem := range state.Refused {
			a.p.hint("%s", term.Clean(problem))
		}
		return &exitError{exitConfig, fmt.Errorf("the configuration was refused; that of %s stays",
			state.Taken.Local().Format(time.DateTime))}
	}
	if a.json {
		return nil
	}
	file := state.File
	if file == "" {
		file = "the defaults: there is no file"
	}
	return a.out.Printf("reloaded %s\n", term.Clean(file))
}

func (p *process) drainCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "drain", Short: "Make a running usher unready, so that no new clients are sent to it", Args: cobra.NoArgs,
		Long: `Drain makes /readyz say that usher is not ready, so that what stands in front of it
sends no new clients, and ends each connection with its next response. It goes on serving
those that come. Undrain takes that back.`,
	}, func(ctx context.Context, a *asker, _ []string) error {
		return a.change(ctx, "/drain", "draining: /readyz says that it is not ready; usher undrain takes that back")
	})
}

func (p *process) undrainCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "undrain", Short: "Make a drained usher ready again", Args: cobra.NoArgs,
	}, func(ctx context.Context, a *asker, _ []string) error {
		return a.change(ctx, "/undrain", "no longer draining")
	})
}

// change posts without a body and says what that did.
func (a *asker) change(ctx context.Context, path, did string) error {
	var answer []byte
	if err := a.post(ctx, path, nil, &answer); err != nil {
		return err
	}
	if a.json {
		_, err := a.p.stdout.Write(answer)
		return err
	}
	return a.out.Printf("%s\n", did)
}

func (p *process) healthcheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Args: cobra.NoArgs,
		Short: "Say by the exit code whether a running usher is alive, or ready",
		Long: `Healthcheck asks /livez of a running usher, with --ready /readyz, and exits with 0 if
the answer is good, else with 1 and the reason on stderr. It is made for HEALTHCHECK of a
container, where there is no curl. It may ask the telemetry listener as well.`,
		Example: `  HEALTHCHECK CMD ["usher", "healthcheck"]
  usher healthcheck --ready --admin 127.0.0.1:9901`,
	}
	flags := p.addClientFlags(cmd)
	ready := cmd.Flags().Bool("ready", false, "ask whether it is ready, not only alive")
	timeout := cmd.Flags().Duration("timeout", 2*time.Second, "how long to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := "/livez"
		if *ready {
			path = "/readyz"
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *timeout)
		defer cancel()
		c, err := flags.client()
		if err != nil {
			return failure(err)
		}
		return failure(p.healthcheck(ctx, c, path, flags.json))
	}
	return cmd
}

func (p *process) healthcheck(ctx context.Context, c *client, path string, asJSON bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	c.authorize(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status says enough
	why := term.Clean(strings.TrimSpace(string(body)))
	ok := resp.StatusCode == http.StatusOK
	if asJSON {
		if err := p.printJSON(map[string]any{"ok": ok, "answer": why}); err != nil {
			return err
		}
	}
	if !ok {
		return fmt.Errorf("%s: %s %s", path, resp.Status, why)
	}
	return nil
}
