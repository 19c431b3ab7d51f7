package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"usher/config"
	"usher/watcher"
)

// Which services the configuration has reached over the mesh: a service's own word goes
// before the default, by whichever name it is called.
func TestMeshedServices(t *testing.T) {
	say := func(connect bool) config.Service {
		return config.Service{Policy: config.Policy{Upstream: config.Upstream{Connect: connect}}}
	}
	cfg := &config.Config{Services: map[string]config.Service{
		"yes": say(true), "no": say(false), "here@consul": say(true), "there@other": say(true),
	}}
	for all, want := range map[bool]map[string]bool{
		false: {"yes": true, "no": false, "here": true, "there": false, "silent": false},
		true:  {"yes": true, "no": false, "here": true, "there": true, "silent": true},
	} {
		cfg.Defaults.Upstream.Connect = all
		m := meshedServices(cfg, "consul")
		for service, is := range want {
			if m.has(service) != is {
				t.Errorf("by default %t: %s is %t", all, service, !is)
			}
		}
	}
}

// Verdicts are asked for when a connection ends unheard, no more than once in two seconds,
// told once each, and given up when they change.
func TestVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var asked atomic.Int64
		var allowed atomic.Bool
		var broken atomic.Pointer[error]
		v := newVerdicts(slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			v.run(ctx, func(context.Context, watcher.Mesh) (bool, error) {
				asked.Add(1)
				if err := broken.Load(); err != nil {
					return false, *err
				}
				return allowed.Load(), nil
			})
		}()
		orders := watcher.Mesh{Service: "orders", Datacenter: "dc1"}
		after := func(d time.Duration) {
			<-time.After(d) // of the bubble's clock
			synctest.Wait()
		}
		is := func(what string, denied bool, asks int64, lines int) {
			t.Helper()
			got, n := len(v.denied()) == 1, strings.Count(log.String(), "\n")
			if got != denied || asked.Load() != asks || n != lines {
				t.Errorf("%s: denied %t, asked %d times, %d lines:\n%s", what, got, asked.Load(), n, &log)
			}
		}
		if v.denies(orders) {
			t.Error("denied before anybody was asked")
		}
		after(0)
		is("asked at once", true, 1, 1)
		for range 10 {
			if !v.denies(orders) {
				t.Error("the verdict is not remembered")
			}
		}
		after(time.Second)
		is("not again at once", true, 1, 1)
		after(2 * time.Second)
		is("again while denied", true, 2, 1)
		allowed.Store(true)
		after(2 * time.Second)
		is("let in", false, 3, 2)
		after(10 * time.Second)
		is("nothing to ask", false, 3, 2)
		for range 3 {
			v.denies(orders)
			after(3 * time.Second)
		}
		is("allowed, and still unheard", false, 6, 3)
		failure := errors.New("away")
		broken.Store(&failure)
		v.denies(orders)
		v.denies(watcher.Mesh{Service: "cart"})
		after(3 * time.Second)
		is("nobody knows", false, 8, 4)
		if !strings.Contains(log.String(), "may deny usher") {
			t.Errorf("it does not say what may be: %s", &log)
		}
		cancel()
		<-done
	})
}
