package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"usher/config"
)

// runProxy is the run command: it serves until a signal says to stop.
func (p *process) runProxy(ctx context.Context, flags *configFlags) error {
	watch := config.NewWatcher(ctx, config.WatchOptions{})
	defer watch.Close()
	opts := flags.opts
	opts.Saw = watch.Add
	cfg, err := config.Load(flags.path, opts)
	if err != nil {
		return err
	}
	watch.Set(slices.Concat(cfg.Files, cfg.Globs))
	a := newApp(p, cfg, flags.opts)
	defer a.stop()
	return p.serve(ctx, a, func() error {
		err := a.reload(flags.path, watch.Add)
		if err == nil {
			now := a.config.Load()
			watch.Set(slices.Concat(now.Files, now.Globs))
		}
		return err
	}, watch.C())
}

// serve starts a and keeps it running until a signal says to stop. SIGHUP, a value from
// changed and an operator reload, SIGUSR1 opens the access log anew.
func (p *process) serve(ctx context.Context, a *app, reload func() error, changed <-chan struct{}) error {
	defer a.reloads.end()
	started := make(chan error, 1)
	startCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var starting sync.WaitGroup
	defer starting.Wait()
	starting.Go(func() { started <- a.start(startCtx) })
	stale := false             // a reload was asked for, perhaps during the start
	var waiting []chan<- error // for what comes of it
	for {
		select {
		case err := <-started:
			if err != nil {
				return err
			}
			started = nil
		case <-changed:
			stale = true
		case answer := <-a.reloads.ask:
			stale, waiting = true, append(waiting, answer)
		case s := <-p.signals:
			if s == syscall.SIGHUP {
				stale = true
				break
			}
			if s == syscall.SIGUSR1 {
				a.access.reopen()
				break
			}
			cancel()
			return p.shutDown(a, s)
		case <-ctx.Done():
			return p.shutDown(a, syscall.SIGTERM)
		}
		if stale && started == nil {
			stale = false
			result := reload()
			for _, answer := range waiting {
				answer <- result
			}
			waiting = nil
		}
	}
}

// shutDown drains; another signal cuts it short.
func (p *process) shutDown(a *app, s os.Signal) error {
	a.log.Info("stopping", "signal", s.String())
	a.reloads.end()
	force := make(chan struct{})
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for {
			select {
			case s := <-p.signals:
				switch s {
				case syscall.SIGHUP:
				case syscall.SIGUSR1:
					a.access.reopen()
				default:
					close(force)
					return
				}
			case <-done:
				return
			}
		}
	})
	cut := a.drainToStop(force)
	close(done)
	waiting.Wait()
	if cut > 0 {
		return &exitError{exitForced, fmt.Errorf("%d connections were cut", cut)}
	}
	a.log.Info("stopped")
	return nil
}
