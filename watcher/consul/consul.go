package consul

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
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

// probeFailing is how often while that fails: its success ends all pauses.
const probeFailing = time.Second

// Registry watches one Consul: through one agent, or the first of several that
// works, in one datacenter or in several.
type Registry struct {
	conf config.Consul
	log  *slog.Logger
	conn *connection
	// client is that of conn.
	client *api.Client
	// seed is that of the sums of checks.
	seed maphash.Seed
	// reads bounds the plain reads under way.
	reads chan struct{}
	// datacenters are those watched, in order of preference; one empty name is the
	// agent's own.
	datacenters []string
	// asked holds, for each datacenter, a token when wanted changed.
	asked []chan struct{}
	// moves holds why another agent is asked, when nobody was told yet.
	moves chan string

	mu     sync.Mutex
	wanted []string
	// isWanted holds the same.
	isWanted map[string]bool

	// Options may be set before Run.
	Options Options
}

// Options are what a Registry needs beside its own section of the configuration. The
// zero value will do.
type Options struct {
	// Defaults are the settings of services that say nothing else, for those of the
	// key-value store.
	Defaults config.Policy
	// Busy tells how many requests each service has had so far: services with traffic
	// are the first to get a query of their own. It is called from goroutines of Run;
	// nil: nobody knows.
	Busy func() map[string]uint64
	// Mesh says whether the configuration has a service reached over the service mesh. It
	// is called from goroutines of Run and always says the same; nil: none is.
	Mesh func(service string) bool
}

// New returns a Registry of the Consul that conf describes. It connects to nothing
// yet.
func New(conf config.Consul, log *slog.Logger) (*Registry, error) {
	r := &Registry{
		conf: conf, log: log, seed: maphash.MakeSeed(),
		reads: make(chan struct{}, firstReads), moves: make(chan string, 1),
		datacenters: conf.Datacenters,
	}
	if len(r.datacenters) == 0 {
		r.datacenters = []string{conf.Datacenter}
	}
	for range r.datacenters {
		r.asked = append(r.asked, make(chan struct{}, 1))
	}
	conn, err := connect(conf, log, r.moved)
	if err != nil {
		return nil, err
	}
	r.conn, r.client = conn, conn.client
	return r, nil
}

// Want implements watcher.Wanter.
func (r *Registry) Want(services []string) {
	isWanted := make(map[string]bool, len(services))
	for _, name := range services {
		isWanted[name] = true
	}
	r.mu.Lock()
	r.wanted, r.isWanted = services, isWanted
	r.mu.Unlock()
	for _, asked := range r.asked {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
}

// moved notes that another agent is asked from now on.
func (r *Registry) moved(from, to, why string) {
	r.log.Warn("another Consul agent is asked", "from", from, "to", to, "reason", why)
	select {
	case r.moves <- "another agent is asked":
	default:
	}
}

// Run implements watcher.Discoverer.
func (r *Registry) Run(ctx context.Context, out chan<- watcher.Update) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer r.conn.transport.CloseIdleConnections()
	m := r.mapper(ctx)
	merge := newMerger(ctx, r.datacenters, r.log, out)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i, dc := range r.datacenters {
		c := newCoordinator(ctx, r, i, dc, m, merge)
		running.Go(c.run)
	}
	running.Go(func() { r.conn.agents.run(ctx) })
	<-ctx.Done()
	return ctx.Err()
}

// mapper makes the mapper of this run.
func (r *Registry) mapper(ctx context.Context) *mapper {
	m := &mapper{conf: r.conf, zone: cmp.Or(r.conf.Zone, r.agentZone(ctx)), self: cmp.Or(r.conf.Register.Name, "usher")}
	if len(r.datacenters) > 1 {
		m.rank = func(dc string) int {
			if i := slices.Index(r.datacenters, dc); i >= 0 {
				return i
			}
			return len(r.datacenters)
		}
	}
	return m
}

// agentZone is the zone that the agent's node meta tells, empty when it tells none or
// cannot be asked: reading it needs a right that nothing else does.
func (r *Registry) agentZone(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, zoneDeadline)
	defer cancel()
	var self struct{ Meta map[string]string }
	if _, err := r.client.Raw().Query("/v1/agent/self", &self, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		r.log.Debug("the agent's zone is not known", "err", err)
	}
	return self.Meta[watcher.MetaZone]
}

// zoneDeadline bounds the question for the agent's zone, which all else waits for.
const zoneDeadline = 2 * time.Second

// errNoLeader is an agent that answers while its servers have no leader.
var errNoLeader = errors.New("the servers have no leader")

// probeLeader asks for the leader now and then, so that what is known is not
// called fresh when only the agent answers.
func (c *coordinator) probeLeader() {
	last, failing := "", false
	for {
		agent := c.conn.agents.current()
		ctx, cancel := context.WithTimeout(c.ctx, plainDeadline)
		opts := (&api.QueryOptions{Datacenter: c.dc}).WithContext(ctx)
		leader, err := c.client.Status().LeaderWithQueryOptions(opts)
		cancel()
		if c.ctx.Err() != nil {
			return
		}
		if err == nil && leader == "" {
			err = errNoLeader
		}
		c.tell(c.ctx, leaderReport(last, leader, err))
		pause := probeEvery
		switch {
		case err != nil:
			failing, pause = true, probeFailing
		case failing:
			failing = false
			c.well.tell()
		}
		if err != nil && c.place == 0 {
			c.conn.agents.failed(c.ctx, agent, err.Error())
		}
		last = cmp.Or(leader, last)
		if !watcher.Sleep(c.ctx, pause) {
			return
		}
	}
}

// leaderReport says what the leader being leader, after last, means; err is why
// there is none. A catalog may have lost something with its leader.
func leaderReport(last, leader string, err error) *watcher.Report {
	rep := &watcher.Report{Contact: leader, Alive: err == nil}
	switch {
	case errors.Is(err, errNoLeader):
		rep.Err, rep.Reason, rep.Suspect = err, "no_leader", "the servers have no leader"
	case err != nil:
		rep.Err, rep.Reason = err, reason(err)
	case last != "" && last != leader:
		rep.Suspect = "the leader changed"
	}
	return rep
}
