package consul

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// firstReads is how many services are read at a time at the start.
const firstReads = 24

// probeEvery is how often the leader is asked for: blocking queries alone would
// not show that the servers are gone.
const probeEvery = 5 * time.Second

// Registry watches one Consul agent.
type Registry struct {
	conf   config.Consul
	log    *slog.Logger
	client *api.Client
	// transport is the client's.
	transport *http.Transport
	// seed is that of the sums of checks.
	seed maphash.Seed
	// reads bounds the plain reads under way.
	reads chan struct{}

	mu     sync.Mutex
	wanted []string
	// asked holds a token when wanted changed.
	asked chan struct{}
}

// New returns a Registry of the agent that conf describes. It connects to nothing
// yet.
func New(conf config.Consul, log *slog.Logger) (*Registry, error) {
	client, transport, err := newClient(conf)
	if err != nil {
		return nil, err
	}
	return &Registry{
		conf: conf, log: log, client: client, transport: transport,
		seed: maphash.MakeSeed(), reads: make(chan struct{}, firstReads), asked: make(chan struct{}, 1),
	}, nil
}

// Want implements watcher.Wanter.
func (r *Registry) Want(services []string) {
	r.mu.Lock()
	r.wanted = services
	r.mu.Unlock()
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

// Run implements watcher.Discoverer.
func (r *Registry) Run(ctx context.Context, out chan<- watcher.Update) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newCoordinator(ctx, r, out)
	defer r.transport.CloseIdleConnections()
	defer c.running.Wait()
	defer cancel()
	c.running.Go(func() { r.watchTags(ctx, c) })
	c.running.Go(func() { r.watchMeta(ctx, c) })
	c.running.Go(func() { r.probeLeader(ctx, c) })
	c.run()
	return ctx.Err()
}

// errNoLeader is an agent that answers while its servers have no leader.
var errNoLeader = errors.New("the servers have no leader")

// probeLeader asks for the leader now and then, so that what is known is not
// called fresh when only the agent answers.
func (r *Registry) probeLeader(ctx context.Context, c *coordinator) {
	for {
		q, cancel := context.WithTimeout(ctx, plainDeadline)
		leader, err := r.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(q))
		cancel()
		if ctx.Err() != nil {
			return
		}
		rep := &watcher.Report{Contact: leader, Alive: err == nil && leader != ""}
		switch {
		case err != nil:
			rep.Err, rep.Reason = err, reason(err)
		case leader == "":
			rep.Err, rep.Reason = errNoLeader, "no_leader"
		}
		c.tell(ctx, rep)
		if !watcher.Sleep(ctx, probeEvery) {
			return
		}
	}
}
