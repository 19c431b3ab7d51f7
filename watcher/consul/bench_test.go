package consul

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// bench is a Registry that runs, and all that it has sent.
type bench struct {
	*Registry
	t testing.TB
	// stop ends Run and waits for it.
	stop func()

	mu sync.Mutex
	// services holds the last update of each; a service that is gone is in it,
	// without instances.
	services map[string][]watcher.Instance
	// emptied counts how often a service was said to be gone.
	emptied map[string]int
	last    watcher.Report
	synced  bool
	seen    int
	watches int
	resets  int
	// answers counts the reports of a registry that is well.
	answers int
	// cancelled says that an end of our own was reported as a failure.
	cancelled bool
	// errs counts the failures by reason.
	errs map[string]int
}

// conf is the configuration of a plain registry of the agent at addr.
func conf(addr string) config.Consul {
	return config.Consul{Address: addr, TagPrefix: "urlprefix-", MaxWatches: 64}
}

// follow runs a Registry until the test ends.
func follow(t testing.TB, c config.Consul, want ...string) *bench {
	t.Helper()
	return followWith(t, c, Options{}, want...)
}

// followWith is follow with options.
func followWith(t testing.TB, c config.Consul, opts Options, want ...string) *bench {
	t.Helper()
	r, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.Options = opts
	b := &bench{
		Registry: r, t: t, services: map[string][]watcher.Instance{},
		emptied: map[string]int{}, errs: map[string]int{},
	}
	if len(want) > 0 {
		r.Want(want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan watcher.Update)
	done := make(chan error, 1)
	go func() {
		err := r.Run(ctx, out)
		close(out)
		done <- err
	}()
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for u := range out {
			b.take(u)
		}
	}()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-taken
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *bench) take(u watcher.Update) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.Service != "" && !u.Unknown {
		if u.Since.IsZero() {
			b.t.Errorf("%s: no time", u.Service)
		}
		slices.SortFunc(u.Instances, func(x, y watcher.Instance) int {
			if x.ID < y.ID {
				return -1
			}
			return 1
		})
		b.services[u.Service] = u.Instances
		// A new leader may forget a node that has not joined it yet: true for a moment, and
		// for the guard to judge.
		if len(u.Instances) == 0 && u.Suspect == "" {
			b.emptied[u.Service]++
		}
	}
	if r := u.Report; r != nil {
		b.report(*r)
	}
}

func (b *bench) report(r watcher.Report) {
	b.watches += r.Watches
	b.synced = b.synced || r.Synced
	if r.Seen != nil {
		b.seen = *r.Seen
	}
	if r.Reset {
		b.resets++
	}
	if r.Err != nil {
		b.errs[r.Reason]++
		b.cancelled = b.cancelled || errors.Is(r.Err, context.Canceled)
	} else if r.Alive {
		b.answers++
	}
	if r.Contact == "" {
		r.Contact = b.last.Contact
	}
	b.last = r
}

// of returns the instances of a service.
func (b *bench) of(service string) []watcher.Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.services[service]
}

// look calls f while nothing changes.
func (b *bench) look(f func() bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return f()
}

// eventually waits until f, called while nothing changes, holds.
func (b *bench) eventually(what string, f func() bool) {
	b.t.Helper()
	consultest.Eventually(b.t, what, func() bool { return b.look(f) })
}

// answered is the number of reports without a failure so far.
func (b *bench) answered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers
}

func (b *bench) awaitSynced() {
	b.t.Helper()
	b.eventually("synced", func() bool { return b.synced })
}

// await waits until the service has one instance, which satisfies the condition.
func (b *bench) await(service, what string, condition func(in watcher.Instance) bool) watcher.Instance {
	b.t.Helper()
	b.eventually(service+" "+what, func() bool {
		list := b.services[service]
		return len(list) == 1 && condition(list[0])
	})
	return b.of(service)[0]
}

// awaitCount waits until the service has n instances.
func (b *bench) awaitCount(service string, n int) {
	b.t.Helper()
	b.eventually(service+" has the instances", func() bool { return len(b.services[service]) == n })
}

// awaitThere waits until the service has one instance.
func (b *bench) awaitThere(service string) watcher.Instance {
	b.t.Helper()
	return b.await(service, "is there", func(watcher.Instance) bool { return true })
}

// awaitRules waits until the service has one instance, which announces these rules.
func (b *bench) awaitRules(service string, rules ...string) {
	b.t.Helper()
	b.await(service, "announces", func(in watcher.Instance) bool { return slices.Equal(texts(in), rules) })
}

// awaitErr waits until a failure with this reason is the last word.
func (b *bench) awaitErr(reason string) {
	b.t.Helper()
	b.eventually("the failure "+reason, func() bool { return b.last.Err != nil && b.last.Reason == reason })
}

// texts are the announced rules of an instance.
func texts(in watcher.Instance) []string {
	out := make([]string, 0, len(in.Announcements))
	for _, a := range in.Announcements {
		out = append(out, a.Text)
	}
	return out
}
