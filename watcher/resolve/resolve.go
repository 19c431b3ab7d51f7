package resolve

import (
	"context"
	"sync"
	"time"

	"usher/watcher"
)

// The defaults of Options.
const (
	defaultDeadline = 2 * time.Second
	defaultTimeout  = 15 * time.Second
	defaultMinTTL   = time.Second
	defaultMaxTTL   = time.Minute
)

// Options says how names are resolved. The zero value is good for use.
type Options struct {
	// Deadline bounds how long a service waits for names that are new; then it is sent
	// with the names themselves in place of their addresses. Not positive: 2s.
	Deadline time.Duration
	// Timeout bounds one lookup, which tries every server and search domain within it.
	// It should be longer than the resolver's own timeout for one server (5s, unless
	// resolv.conf says otherwise), or the second server is never asked. Not positive:
	// 15s.
	Timeout time.Duration
	// MinTTL and MaxTTL bound how long an answer is good for, whatever its TTL says.
	// One without a TTL, as from /etc/hosts, is good for MaxTTL. Not positive: 1s and
	// 60s.
	MinTTL, MaxTTL time.Duration
	// Servers are the DNS servers to ask, host:port each: one of them, and the next one
	// after it fails. Empty: those of resolv.conf, whose other settings count in any
	// case.
	Servers []string
}

// withDefaults returns o with a value for everything but the servers.
func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&o.Deadline, defaultDeadline},
		{&o.Timeout, defaultTimeout},
		{&o.MinTTL, defaultMinTTL},
		{&o.MaxTTL, defaultMaxTTL},
	} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	return o
}

// Wrap returns a Discoverer that sends what d sends, with addresses in place of
// names. It is a watcher.Wanter when d is one. What is resolved is kept for one Run.
func Wrap(d watcher.Discoverer, opts Options) watcher.Discoverer {
	opts = opts.withDefaults()
	r := &resolver{servers: opts.Servers, timeout: opts.Timeout}
	return wrap(d, opts, r.lookup)
}

// lookup resolves a host; it ends soon after ctx, with any result.
type lookup func(ctx context.Context, host string) answer

func wrap(d watcher.Discoverer, opts Options, look lookup) watcher.Discoverer {
	r := &discoverer{inner: d, opts: opts, look: look}
	if w, ok := d.(watcher.Wanter); ok {
		return wanter{r, w}
	}
	return r
}

// discoverer is a Discoverer whose names are resolved.
type discoverer struct {
	inner watcher.Discoverer
	opts  Options
	look  lookup
}

// wanter is a discoverer whose inner one is a Wanter.
type wanter struct {
	*discoverer
	watcher.Wanter
}

// Run implements watcher.Discoverer. When the inner Run ends by itself, the services
// that wait are still sent, and its error is returned.
func (d *discoverer) Run(ctx context.Context, out chan<- watcher.Update) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := make(chan watcher.Update)
	var inner sync.WaitGroup
	var err error
	inner.Go(func() {
		defer close(in)
		err = d.inner.Run(ctx, in)
	})
	r := newRun(ctx, d, out)
	r.loop(in)
	cancel()
	r.names.wait()
	inner.Wait()
	return err
}
