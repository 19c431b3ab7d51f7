package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// warm is how long the load runs before a fault: what the fault is compared with.
const warm = 3 * time.Second

// fault is one thing that goes wrong under load. Zeros are the command line's, or usual.
type fault struct {
	name, what string
	backends   int // 0: three
	workers    int // of each backend; 0: no bound
	method     string
	rate       int
	delay      time.Duration // of an answer
	requests   int           // 0: what the rate makes of lasts
	lasts      time.Duration // of the load
	flood      string        // how HTTP/2 connections abuse the proxy, which others ask over TLS
	off        bool          // shown without usher's machinery too
	goodput    bool          // what is judged is what is done of what can be done
	// script makes it happen, in the main goroutine; the load has just begun.
	script func(ctx context.Context, s *stage) error
}

// faults is everything that happens; the R are the rows of the table in docs/resilience.md.
var faults = []fault{
	{name: "R1", what: "kill -9 of one of three", lasts: 10 * time.Second, off: true, script: killOne},
	{
		name: "R1-post", what: "the same under POSTs", method: http.MethodPost, lasts: 10 * time.Second,
		script: killOne,
	},
	{name: "R2", what: "kill -9 and restart of all three in turn", lasts: 13 * time.Second, script: rolling},
	{name: "R4", what: "SIGSTOP of one of three for 6 s", lasts: 12 * time.Second, off: true, script: freeze},
	{
		name: "R5", what: "stop with 200 requests of 2 s in flight", requests: 200, delay: 2 * time.Second,
		script: end,
	},
	{name: "R6", what: "four reloads", lasts: 11 * time.Second, script: reloads},
	{
		name: "R11", what: "5,000 slow connections beside 1,000/s", rate: 1000, lasts: 12 * time.Second,
		script: slowClients,
	},
	flooded("R13-continuation", "CONTINUATION"),
	flooded("R13-reset", "rapid reset"),
	flooded("R13-headers", "100 MB of headers"),
	{
		name: "mixed", what: "of ten one fails, one is slow, one silent, one resets", backends: 10,
		lasts: 13 * time.Second, off: true, script: mixed,
	},
	{name: "down", what: "all killed, one back after 3 s", lasts: 13 * time.Second, off: true, script: down},
	{name: "resets", what: "all reset everything for 3 s", lasts: 11 * time.Second, off: true, script: resets},
	{
		name: "overload", what: "three times the capacity of 600/s", workers: 10, delay: 50 * time.Millisecond,
		rate: 1800, lasts: 10 * time.Second, off: true, goodput: true, script: nothing,
	},
}

func killOne(ctx context.Context, s *stage) error {
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	return s.kill(0)
}

func rolling(ctx context.Context, s *stage) error {
	const every, away = 2600 * time.Millisecond, 1300 * time.Millisecond
	for i := range s.backends {
		if err := s.at(ctx, warm+time.Duration(i)*every); err != nil {
			return err
		}
		if i == 0 {
			s.mark()
		}
		if err := errors.Join(s.kill(i), pause(ctx, away)); err != nil {
			return err
		}
		if err := s.startBackend(ctx, i); err != nil {
			return err
		}
	}
	s.heal()
	return nil
}

func freeze(ctx context.Context, s *stage) error {
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	err := s.backends[0].Signal(syscall.SIGSTOP)
	err = errors.Join(err, s.at(ctx, warm+6*time.Second))
	return errors.Join(err, s.backends[0].Signal(syscall.SIGCONT))
}

// end stops the proxy once all requests have reached a backend.
func end(ctx context.Context, s *stage) error {
	all := func() bool {
		_, each, err := s.executions(len(s.load.records))
		return err == nil && each >= 1
	}
	if err := s.front.Until(ctx, all); err != nil {
		return fmt.Errorf("requests in flight: %w", err)
	}
	if err := s.front.Signal(s.proxy.end); err != nil {
		return err
	}
	begun := time.Now()
	select {
	case <-s.front.Exited():
		s.note = fmt.Sprintf("exits after %.1f s", time.Since(begun).Seconds())
	case <-time.After(20 * time.Second):
		s.note = "still there after 20 s"
	case <-ctx.Done():
	}
	return ctx.Err()
}

func reloads(ctx context.Context, s *stage) error {
	for i := range 4 {
		if err := s.at(ctx, warm+time.Duration(i)*2*time.Second); err != nil {
			return err
		}
		if i == 0 {
			s.mark()
		}
		if err := s.reload(); err != nil {
			return err
		}
	}
	return nil
}

func slowClients(ctx context.Context, s *stage) error {
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	const slow = 5000
	left, err := crawl(ctx, s.set.Listen, slow, 8*time.Second)
	s.note = fmt.Sprintf("%d of %d left open", left, slow)
	return err
}

func mixed(ctx context.Context, s *stage) error {
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	var err error
	for i, mode := range []string{modeFail, modeSlow, modeSilent, modeRandom} {
		err = errors.Join(err, s.become(ctx, i, mode))
	}
	return err
}

func down(ctx context.Context, s *stage) error {
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	for i := range s.backends {
		if err := s.kill(i); err != nil {
			return err
		}
	}
	for i := range s.backends {
		if err := s.at(ctx, warm+time.Duration(i+1)*3*time.Second); err != nil {
			return err
		}
		if err := s.startBackend(ctx, i); err != nil {
			return err
		}
		if i == 0 {
			s.heal()
		}
	}
	return nil
}

func resets(ctx context.Context, s *stage) error {
	all := func(mode string) (err error) {
		for i := range s.backends {
			err = errors.Join(err, s.become(ctx, i, mode))
		}
		return err
	}
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	err := errors.Join(all(modeReset), s.at(ctx, warm+3*time.Second), all(modeGood))
	s.heal()
	return err
}

// nothing goes wrong but what the load itself does.
func nothing(context.Context, *stage) error { return nil }
