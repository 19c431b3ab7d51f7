// Package demo is what usher dev puts behind the proxy: a few backends on
// loopback, and the catalog of a file registry that names them.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"usher/watcher"
)

// awayFor is how long a backend that was told to die stays dead.
const awayFor = 10 * time.Second

// Demo is the backends and their catalog.
type Demo struct {
	// Catalog is the path of the file registry's catalog.
	Catalog string
	// Backends are their addresses.
	Backends []string

	dir     string
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start starts n backends on free ports of the loopback address.
func Start(n int) (*Demo, error) {
	dir, err := os.MkdirTemp("", "usher-dev-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &Demo{Catalog: filepath.Join(dir, "services.yaml"), dir: dir, ctx: ctx, cancel: cancel}
	for i := range n {
		if err := d.startBackend(i + 1); err != nil {
			d.Close()
			return nil, err
		}
	}
	if err := os.WriteFile(d.Catalog, []byte(d.catalog()), 0o600); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// catalog is the registry's file.
func (d *Demo) catalog() string {
	var b strings.Builder
	b.WriteString("services:\n  - name: hello\n    routes: [\"/\"]\n    instances:\n")
	for i, address := range d.Backends {
		fmt.Fprintf(&b, "      - {id: backend-%d, address: %q}\n", i+1, address)
	}
	return b.String()
}

func (d *Demo) startBackend(n int) error {
	ln, err := listen(d.ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := ln.Addr().String()
	d.Backends = append(d.Backends, address)
	d.running.Go(func() { d.live(n, address, ln) })
	return nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

// live serves, dies when told to, and comes back after a while.
func (d *Demo) live(n int, address string, ln net.Listener) {
	for {
		d.serve(n, ln)
		if !watcher.Sleep(d.ctx, awayFor) {
			return
		}
		var err error
		if ln, err = listen(d.ctx, address); err != nil {
			return // somebody else took the port
		}
	}
}

// serve answers requests until the backend is told to die or the demo ends.
func (d *Demo) serve(n int, ln net.Listener) {
	ctx, die := context.WithCancel(d.ctx)
	defer die()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /die", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "backend-%d dies now and is back in %s\n", n, awayFor)
		die()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from backend-%d: %s %s\n", n, r.Method, r.URL)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		_ = ln.Close()
	}
}

// Close ends the backends and removes the catalog.
func (d *Demo) Close() {
	d.cancel()
	d.running.Wait()
	_ = os.RemoveAll(d.dir)
}
