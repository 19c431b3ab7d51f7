package main

import (
	"bufio"
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

func (p *process) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "events", Short: "List what happened of late: tables, reloads, health, holds", Args: cobra.NoArgs,
		Long: `Events lists the events that a running usher remembers, oldest first. With --follow it
goes on with those to come, over lost connections too, until it is interrupted. With
--json each event is a line.`,
	}
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with the events to come")
	return p.asking(cmd, func(ctx context.Context, a *asker, _ []string) error {
		if *follow {
			return a.follow(ctx)
		}
		var list []api.Event
		if err := a.get(ctx, "/events", &list); err != nil {
			return err
		}
		for i := range list {
			if err := a.printEvent(&list[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *asker) printEvent(e *api.Event) error {
	if a.json {
		return json.NewEncoder(a.p.stdout).Encode(e)
	}
	style := map[string]term.Style{"warn": term.Warn, "error": term.Bad}[e.Level]
	return a.out.Printf("%s  %s  %s\n", a.out.Paint(term.Dim, e.At.Local().Format("2006-01-02 15:04:05.000")),
		a.out.Paint(style, fmt.Sprintf("%-11s", e.Kind)), term.Clean(e.Message))
}

// follow prints events until ctx ends. A connection that is lost is made again, first
// soon, then every five seconds; that there was none in the beginning is a failure.
func (a *asker) follow(ctx context.Context) error {
	const soon, late = 200 * time.Millisecond, 5 * time.Second
	last, wait := uint64(0), soon
	for first := true; ; first = false {
		seen := last
		err := a.stream(ctx, &last)
		var gone *outputError
		switch {
		case ctx.Err() != nil:
			return nil // the user has seen enough
		case errors.As(err, &gone), err != nil && first && last == 0:
			return err
		}
		if last > seen {
			wait = soon
		}
		a.p.hint("the connection is lost (%v), trying again in %s", err, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, late)
	}
}

// outputError is one of stdout, which no other connection mends.
type outputError struct{ error }

// stream prints events as they come; last is the number of the last one that was printed.
func (a *asker) stream(ctx context.Context, last *uint64) error {
	resp, err := a.openStream(ctx, *last)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readEvents(resp.Body, func(e *api.Event) error {
		if e.ID < *last {
			*last = 0 // another process, which counts from 1
		}
		if e.ID == *last {
			return nil
		}
		*last = e.ID
		if err := a.printEvent(e); err != nil {
			return &outputError{err}
		}
		return nil
	})
}

func (a *asker) openStream(ctx context.Context, last uint64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/api/v1/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if last > 0 {
		req.Header.Set("Last-Event-Id", fmt.Sprint(last))
	}
	c := *a.client
	c.http = &http.Client{Transport: a.http.Transport} // no timeout: it goes on
	return c.send(req)
}

// readEvents reads Server-Sent Events to their end. One that cannot be read is left out.
func readEvents(r io.Reader, each func(*api.Event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var data strings.Builder
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		switch {
		case field == "data":
			data.WriteString(strings.TrimPrefix(value, " ") + "\n")
		case lines.Text() == "" && data.Len() > 0:
			var e api.Event
			if json.Unmarshal([]byte(data.String()), &e) == nil {
				if err := each(&e); err != nil {
					return err
				}
			}
			data.Reset()
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
