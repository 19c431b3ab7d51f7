package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"usher/watcher"
)

// askAgainAfter is how long a verdict is believed.
const askAgainAfter = 2 * time.Second

// verdicts remember which services of a mesh the intentions deny usher. They are asked for
// only when connections say that something may be so, and by one goroutine, run's.
type verdicts struct {
	log *slog.Logger
	// wake holds a token while there is something to ask.
	wake chan struct{}

	mu sync.Mutex
	by map[watcher.Mesh]*verdict
}

// verdict is what is known of one service.
type verdict struct {
	// at is when that was so; zero: nothing is. wanted says that it is to be asked again.
	at     time.Time
	denied bool
	wanted bool
	// told says that it was logged that the intentions allow what does not work.
	told bool
}

func newVerdicts(log *slog.Logger) *verdicts {
	return &verdicts{log: log, wake: make(chan struct{}, 1), by: map[watcher.Mesh]*verdict{}}
}

// denies says whether usher is known to be denied a service, and has that looked up. It does
// not block; any goroutine may call it.
func (v *verdicts) denies(service watcher.Mesh) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.by[service]
	if k == nil {
		k = &verdict{}
		v.by[service] = k
	}
	fresh := k.wanted || time.Since(k.at) < askAgainAfter
	k.wanted = true // a fresh one is asked about in its turn
	if !fresh {
		select {
		case v.wake <- struct{}{}:
		default:
		}
	}
	return k.denied
}

// denied are the names of the services that usher is denied.
func (v *verdicts) denied() (names []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for service, k := range v.by {
		if k.denied {
			names = append(names, service.Service)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// asks says whether the intentions let usher reach a service.
type asks func(context.Context, watcher.Mesh) (allowed bool, err error)

// run asks until ctx ends: what is wanted, and what is denied again and again, so that the
// end of that is seen.
func (v *verdicts) run(ctx context.Context, ask asks) {
	again := time.NewTicker(askAgainAfter)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
		case <-again.C:
		}
		for _, service := range v.due() {
			allowed, err := ask(ctx, service)
			if ctx.Err() != nil {
				return
			}
			v.take(service, allowed, err)
		}
	}
}

func (v *verdicts) due() (services []watcher.Mesh) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for service, k := range v.by {
		if k.wanted || k.denied && time.Since(k.at) >= askAgainAfter {
			services = append(services, service)
		}
	}
	return services
}

// take takes in an answer and logs what is new. A failure changes nothing.
func (v *verdicts) take(service watcher.Mesh, allowed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.by[service]
	before := k.denied
	asked := k.wanted
	k.at, k.wanted = time.Now(), false
	if err == nil {
		k.denied = !allowed
	}
	log := v.log.With("service", service.Service)
	switch {
	case k.denied && !before:
		log.Warn("the intentions of the service mesh deny usher the service")
		k.told = false
	case before && !k.denied:
		log.Info("the intentions of the service mesh let usher reach the service now")
		k.told = false
	case asked && !k.denied && !k.told && err != nil:
		log.Warn("endpoints in the service mesh hang up before an answer: an intention may deny usher the service",
			"err", err)
		k.told = true
	case asked && !k.denied && !k.told:
		log.Warn("endpoints in the service mesh hang up before an answer, though the intentions let usher in")
		k.told = true
	}
}
