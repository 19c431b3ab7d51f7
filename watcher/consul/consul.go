package consul

import (
	"context"
	"errors"
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

// Registry watches one Consul agent.
type Registry struct {
	conf   config.Consul
	log    *slog.Logger
	client *api.Client
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
	client, err := newClient(conf)
	if err != nil {
		return nil, err
	}
	return &Registry{
		conf: conf, log: log, client: client,
		reads: make(chan struct{}, firstReads), asked: make(chan struct{}, 1),
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
	c := &coordinator{
		Registry: r, ctx: ctx, out: out,
		lists: make(chan list), results: make(chan result), reports: make(chan *watcher.Report),
		services: map[string]*service{},
	}
	defer c.running.Wait()
	defer cancel()
	c.running.Go(func() { r.watchTags(ctx, c) })
	c.running.Go(func() { r.watchMeta(ctx, c) })
	c.running.Go(func() { r.probeLeader(ctx, c) })
	c.run()
	return ctx.Err()
}

// coordinator decides which services are watched and is the only one that sends.
type coordinator struct {
	*Registry
	ctx     context.Context
	out     chan<- watcher.Update
	running sync.WaitGroup

	lists   chan list
	results chan result
	reports chan *watcher.Report

	// named holds the services each list named last; nil until it came.
	named    [2]map[string]bool
	seen     int
	services map[string]*service
	synced   bool
}

// The lists of services.
const (
	byTags = iota
	byMeta
)

// list is an answer of one of the catalog's lists.
type list struct {
	from  int
	names map[string]bool
	// seen is the number of services in the catalog, for byTags.
	seen   int
	report watcher.Report
}

// result is an answer of one service's watcher, or its failure.
type result struct {
	name      string
	instances []watcher.Instance
	since     time.Time
	err       error
	report    watcher.Report
}

// service is one watched service.
type service struct {
	cancel context.CancelFunc
	// answered says that a result or an error has come; announces that the last
	// result held a rule.
	answered, announces bool
}

func (c *coordinator) run() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case l := <-c.lists:
			c.takeList(l)
		case r := <-c.results:
			c.takeResult(r)
		case rep := <-c.reports:
			c.send(watcher.Update{Report: rep})
		case <-c.asked:
			c.reconcile()
		}
		c.finishSync()
	}
}

func (c *coordinator) send(u watcher.Update) {
	select {
	case c.out <- u:
	case <-c.ctx.Done():
	}
}

// takeList takes in a list of the catalog, or its failure.
func (c *coordinator) takeList(l list) {
	if l.report.Err == nil {
		c.named[l.from] = l.names
		if l.from == byTags {
			c.seen = l.seen
		}
		c.reconcile()
	}
	l.report.Seen = c.seen
	c.send(watcher.Update{Report: &l.report})
}

// wants says whether a service is to be watched.
func (c *coordinator) wants(name string) bool {
	return c.named[byTags][name] || c.named[byMeta][name] || slices.Contains(c.wantedNow(), name)
}

func (c *coordinator) wantedNow() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

// reconcile starts the watchers that are missing and ends those of no more use.
func (c *coordinator) reconcile() {
	for _, names := range c.named {
		for name := range names {
			c.start(name)
		}
	}
	for _, name := range c.wantedNow() {
		c.start(name)
	}
	for name, s := range c.services {
		c.dropIdle(name, s)
	}
}

// start watches a service unless it is watched already.
func (c *coordinator) start(name string) {
	if c.services[name] != nil {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	c.services[name] = &service{cancel: cancel}
	c.running.Go(func() { c.watchService(ctx, c, name) })
	c.send(watcher.Update{Report: &watcher.Report{Watches: 1, Seen: c.seen}})
}

// takeResult passes a service's answer on.
func (c *coordinator) takeResult(r result) {
	s := c.services[r.name]
	if s == nil {
		return // it was dropped meanwhile
	}
	s.answered = true
	if r.err != nil {
		c.send(watcher.Update{Report: &r.report})
		return
	}
	s.announces = slices.ContainsFunc(r.instances, func(in watcher.Instance) bool {
		return len(in.Announcements) > 0
	})
	c.send(watcher.Update{Service: r.name, Instances: r.instances, Since: r.since, Report: &r.report})
	c.dropIdle(r.name, s)
}

// dropIdle ends the watcher of a service that nobody names any more and that, by
// its own watcher's word, announces nothing.
func (c *coordinator) dropIdle(name string, s *service) {
	if c.wants(name) || !s.answered || s.announces {
		return
	}
	s.cancel()
	delete(c.services, name)
	c.send(watcher.Update{Service: name, Since: time.Now(), Report: &watcher.Report{Watches: -1, Seen: c.seen}})
}

// finishSync tells, once, that everything there is has been sent.
func (c *coordinator) finishSync() {
	if c.synced || c.named[byTags] == nil || c.named[byMeta] == nil {
		return
	}
	for _, s := range c.services {
		if !s.answered {
			return
		}
	}
	c.synced = true
	c.send(watcher.Update{Report: &watcher.Report{Synced: true, Seen: c.seen}})
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
		rep := &watcher.Report{Contact: leader}
		switch {
		case err != nil:
			rep.Err, rep.Reason = err, reason(err)
		case leader == "":
			rep.Err, rep.Reason = errNoLeader, "no_leader"
		}
		select {
		case c.reports <- rep:
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, probeEvery) {
			return
		}
	}
}

// sleep waits for d and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
