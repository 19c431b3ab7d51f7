package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// backendCommand is the first argument of the process that is a backend.
const backendCommand = "backend"

// What a backend may be told to be, by a request for /control.
const (
	modeGood   = "good"
	modeFail   = "fail"   // 500 to everything
	modeSlow   = "slow"   // twenty times as slow
	modeSilent = "silent" // accepts, and never answers
	modeRandom = "random" // resets the connection every other time
	modeReset  = "reset"  // and every time
)

// ordinary is how long a request takes that does not say so itself.
const ordinary = 5 * time.Millisecond

// backend answers with the id it is asked with, after the delay it is asked for.
type backend struct {
	executed *os.File // a line with the id of each request; it outlives a kill
	workers  chan struct{}
	mode     atomic.Pointer[string]
}

// serveBackend is a process of its own, until ctx ends. It is told where it listens, where
// it notes what it executes, and how many requests it works on at a time, 0 for all.
func serveBackend(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("a backend takes an address, a file and a number")
	}
	executed, err := os.OpenFile(args[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("note what is executed: %w", err)
	}
	defer func() { _ = executed.Close() }() // each line is written already
	workers, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("workers: %w", err)
	}
	b := &backend{executed: executed}
	if workers > 0 {
		b.workers = make(chan struct{}, workers)
	}
	b.set(modeGood)
	var listening net.ListenConfig
	l, err := listening.Listen(ctx, "tcp", args[0])
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func (b *backend) set(mode string) { b.mode.Store(&mode) }

// ServeHTTP is one execution, a probe (/health), or an order (/control).
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.URL.Path == "/control" {
		b.set(q.Get("mode"))
		return
	}
	probe := r.URL.Path == "/health"
	if !probe {
		// One write: it is whole, or not there.
		_, _ = io.WriteString(b.executed, q.Get("id")+"\n") // the measurement misses what is not written
	}
	delay, err := time.ParseDuration(q.Get("delay"))
	if err != nil {
		delay = ordinary
	}
	switch *b.mode.Load() {
	case modeFail:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case modeSilent:
		<-r.Context().Done()
		return
	case modeRandom:
		if rand.IntN(2) == 0 {
			reset(w)
			return
		}
	case modeReset:
		reset(w)
		return
	case modeSlow:
		delay *= 20
	}
	if !probe && !b.work(r.Context(), delay) {
		return
	}
	_, _ = io.WriteString(w, q.Get("id")) // whoever is gone has no use for it
}

// work takes its time; false: the client is gone.
func (b *backend) work(ctx context.Context, delay time.Duration) bool {
	if b.workers != nil {
		select {
		case b.workers <- struct{}{}:
			defer func() { <-b.workers }()
		case <-ctx.Done():
			return false
		}
	}
	return pause(ctx, delay) == nil
}

// reset ends the connection with a RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // at worst it ends with a FIN
	}
	_ = conn.Close()
}

// pause waits for d; its error is that of ctx, if that ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
