package main

import (
	"context"
	"os"
	"reflect"
	"sync"
	"time"

	"usher/config"
	"usher/metrics/accesslog"
)

// flushTimeout is how long an access log that is closed may take to write what it holds.
const flushTimeout = 5 * time.Second

// accessLog is the access log in use, if there is one.
type accessLog struct {
	app *app

	mu     sync.Mutex
	log    *accesslog.Log
	config config.AccessLog
}

// prepare opens what a configuration asks for, which use puts in the place of what there is
// or drop closes. It is the log in use where nothing changes, and nil for none.
func (a *accessLog) prepare(c config.AccessLog) (*accesslog.Log, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Output == "" || reflect.DeepEqual(a.config, c) {
		if c.Output == "" {
			return nil, nil
		}
		return a.log, nil
	}
	stdout, _ := a.app.stdout.(*os.File)
	stderr, _ := a.app.stderr.(*os.File)
	return accesslog.Open(accesslog.Options{
		Config: c, Clock: a.app.proxy.Clock, Stdout: stdout, Stderr: stderr,
		Dropped: a.app.metrics.AccessLogDropped, Log: a.app.log.Logger,
	})
}

// use puts what prepare returned in use. The log before writes what it holds meanwhile.
func (a *accessLog) use(l *accesslog.Log, c config.AccessLog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.log
	a.log, a.config = l, c
	a.app.proxy.LogTo(l)
	if old != nil && old != l {
		a.app.running.Go(func() { closeLog(old) })
	}
}

// drop closes what prepare returned and use did not use.
func (a *accessLog) drop(l *accesslog.Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l != nil && l != a.log {
		closeLog(l)
	}
}

func closeLog(l *accesslog.Log) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	l.Close(ctx)
}

// reopen has the output opened anew, as after a rotation.
func (a *accessLog) reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.log != nil {
		a.log.Reopen()
		a.app.log.Info("access log reopened", "output", a.config.Output)
	}
}

// close writes what there is and closes the log, once nothing is served any more.
func (a *accessLog) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.app.proxy.LogTo(nil)
	if a.log != nil {
		closeLog(a.log)
	}
	a.log, a.config = nil, config.AccessLog{}
}
