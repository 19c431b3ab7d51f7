package consul

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// coordinator decides which services are watched, and how, and is the only one
// that sends.
//
// Over plain HTTP a blocking query is a connection, and an agent takes 200 of them
// from one client by default. So only so many services have a query of their own;
// the others share one on the state of all checks (see shared.go).
//
// There is one for each datacenter.
type coordinator struct {
	*Registry
	ctx context.Context
	// place is that of dc among the Registry's datacenters.
	place   int
	dc      string
	mapper  *mapper
	merge   *merger
	running sync.WaitGroup

	lists   chan list
	results chan result
	checks  chan checkSums
	reports chan *watcher.Report

	// last holds the answer of each list; its names are nil until it came.
	last [2]list
	// failing says of each list that its last read failed.
	failing [2]bool
	// limit bounds own, the number of services with a query of their own.
	limit, own int
	services   map[target]*service
	// sharing says that the shared query runs.
	sharing bool
	// well tells those that pause after an error that the registry answers again.
	well recovery
	// told is how far the start has come: everything answered or failed; everything
	// answered.
	told progress
	// store takes what the key-value store overrides; stored says that it has answered
	// or failed.
	store  chan watcher.Update
	stored bool
	// traffic is what Busy told last, rates what came of it.
	traffic, rates map[string]uint64
	// fresh are the services that got their own query because they were new, oldest
	// first; roomAt is when the last of them did.
	fresh  []target
	roomAt time.Time
	// markedAt is when all shared services were last made due, hurry whether they are
	// read at full speed then.
	markedAt time.Time
	hurry    bool
}

// progress is how far a start has come.
type progress uint8

const (
	starting progress = iota
	answered
	synced
)

// The lists of services.
const (
	byTags = iota
	byMeta
)

// list is an answer of one of the catalog's lists.
type list struct {
	from int
	// names are the services it names, with a sum of their tags.
	names map[string]uint64
	// all is a sum of all services it names, picked or not.
	all uint64
	// seen is the number of services in the catalog, for byTags.
	seen int
	// failed says that it could not be read so far.
	failed bool
	report watcher.Report
}

// target is what one watcher asks for: the health of a service, or of what stands for it
// in the service mesh.
type target struct {
	name string
	mesh bool
}

// result is an answer of one target's watcher, or its failure.
type result struct {
	target
	// of is the watched service, which may have been dropped since.
	of *service
	// once says that it comes from a single read.
	once bool
	// entries are the instances as Consul has them, aligned with instances; of a mesh all
	// there are, without instances.
	entries []*api.ServiceEntry
	// size is what a loss is measured by: the number of instances, of a mesh of entries.
	size      int
	instances []watcher.Instance
	// excused are listed but take no part; suspect says what speaks against the answer.
	excused []string
	suspect string
	index   uint64
	sums    checkSums
	since   time.Time
	err     error
	report  watcher.Report
}

// service is one watched target.
type service struct {
	// cancel ends its own query; nil when it shares one.
	cancel context.CancelFunc
	// answered says that a result or an error has come, known that a result has;
	// announces that the last result held a rule.
	answered, known, announces bool
	// reading says that a single read is under way, dirty that another one must
	// follow it, stale that one is due, failed that the last one failed.
	reading, dirty, stale, failed bool
	readAt                        time.Time
	// sums are those of the last result, ids its instances, index where it stood.
	sums  checkSums
	ids   []string
	index uint64
	// size is that of the last result, last that result where it is not all that the
	// service's instances are made of.
	size int
	last *result
}

func newCoordinator(ctx context.Context, r *Registry, place int, dc string, m *mapper, merge *merger) *coordinator {
	c := &coordinator{
		Registry: r, ctx: ctx, place: place, dc: dc, mapper: m, merge: merge,
		lists: make(chan list), results: make(chan result), checks: make(chan checkSums),
		reports: make(chan *watcher.Report), store: make(chan watcher.Update),
		services: map[target]*service{}, limit: max(1, r.conf.MaxWatches/len(r.datacenters)),
	}
	if multiplexed(r.conf) {
		c.limit = math.MaxInt // HTTP/2 carries them all on a few connections
	}
	c.stored = place > 0 || r.conf.KVPrefix == ""
	return c
}

// run watches the datacenter until its context ends.
func (c *coordinator) run() {
	defer c.running.Wait()
	if c.place == 0 && c.conf.KVPrefix == "" {
		c.send(watcher.Update{Overrides: &watcher.Overrides{}}) // those of another configuration
	}
	c.running.Go(func() { c.watchTags(c.ctx) })
	c.running.Go(func() { c.watchMeta(c.ctx) })
	c.running.Go(c.probeLeader)
	if !c.stored {
		c.running.Go(c.watchStore)
	}
	refresh := time.NewTicker(refreshTick)
	defer refresh.Stop()
	balance := time.NewTicker(balanceEvery)
	defer balance.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case l := <-c.lists:
			c.takeList(l)
		case r := <-c.results:
			c.takeResult(r)
		case sums := <-c.checks:
			c.takeChecks(sums)
		case rep := <-c.reports:
			// Who leads may be asked without a token: a leader alone makes nothing fresh.
			rep.Alive = rep.Alive && !slices.Contains(c.failing[:], true)
			c.send(watcher.Update{Report: rep})
		case why := <-c.moves:
			c.send(watcher.Update{Report: &watcher.Report{Suspect: why}})
		case u := <-c.store:
			c.stored = true
			c.send(u)
		case <-c.asked[c.place]:
			c.reconcile()
		case now := <-refresh.C:
			c.refresh(now)
		case <-balance.C:
			c.balance()
		}
		c.tellProgress()
	}
}

func (c *coordinator) send(u watcher.Update) { c.merge.send(c.place, u) }

// takeList takes in a list of the catalog, or its failure.
func (c *coordinator) takeList(l list) {
	c.failing[l.from] = l.report.Err != nil
	if l.report.Err == nil {
		before := c.last[l.from]
		c.last[l.from] = l
		c.reconcile()
		c.rereadChanged(&before, &l)
	}
	if l.report.Err != nil {
		c.last[l.from].failed = true
	} else if l.from == byTags {
		l.report.Seen = &l.seen
	}
	c.send(watcher.Update{Report: &l.report})
}

// wants says whether a service is to be watched.
func (c *coordinator) wants(name string) bool {
	for _, l := range c.last {
		if _, ok := l.names[name]; ok {
			return true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isWanted[name]
}

func (c *coordinator) wantedNow() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

// reconcile starts the watchers that are missing and ends those of no more use.
func (c *coordinator) reconcile() {
	names := slices.Clone(c.wantedNow())
	for _, l := range c.last {
		names = slices.AppendSeq(names, maps.Keys(l.names))
	}
	slices.Sort(names)
	for _, name := range names {
		c.start(target{name: name})
		if c.meshes(name) {
			c.start(target{name, true})
		}
	}
	for t, s := range c.services {
		if !t.mesh {
			c.dropIdle(t.name, s)
		}
	}
}

// start watches a target unless it is watched already.
func (c *coordinator) start(t target) {
	if c.services[t] != nil {
		return
	}
	s := &service{}
	c.services[t] = s
	if c.own < c.limit || c.makeRoom(t) {
		c.watchAlone(t, s)
	} else {
		c.watchShared(t)
	}
	c.send(watcher.Update{Report: &watcher.Report{Watches: 1}})
}

// watchAlone gives a target a query of its own.
func (c *coordinator) watchAlone(t target, s *service) {
	ctx, cancel := context.WithCancel(c.ctx)
	s.cancel = cancel
	c.own++
	had, known := s.size, s.index
	c.running.Go(func() { c.watchService(ctx, t, s, had, known) })
}

// stop ends the watching of a target.
func (c *coordinator) stop(t target, s *service) {
	if s.cancel != nil {
		s.cancel()
		c.own--
	}
	delete(c.services, t)
}

// takeResult passes a target's answer on.
func (c *coordinator) takeResult(r result) {
	s := c.services[r.target]
	if s == nil || s != r.of {
		return // it was dropped meanwhile
	}
	s.answered = true
	if r.once {
		c.endRead(r, s)
	}
	if r.err != nil {
		if r.report.Reason == tooManyConns {
			c.shareMore(r.target, s)
		}
		u := watcher.Update{Report: &r.report}
		if !s.known {
			u.Service, u.Unknown = r.name, true
		}
		c.send(u)
		return
	}
	s.known, s.sums, s.index, s.size = true, r.sums, r.index, r.size
	if r.mesh {
		s.last = &r
		c.sendMeshed(r.name, &r)
		return
	}
	s.announces = slices.ContainsFunc(r.instances, announces)
	s.ids = make([]string, 0, len(r.instances))
	for i := range r.instances {
		s.ids = append(s.ids, r.instances[i].ID)
	}
	if c.meshedNow(&r) {
		s.last = &r
		c.sendMeshed(r.name, &r)
	} else {
		s.last = nil
		c.sendWhole(&r)
	}
	c.dropIdle(r.name, s)
}

// sendWhole sends an answer that is all there is to know of its service.
func (c *coordinator) sendWhole(r *result) {
	c.send(watcher.Update{
		Service: r.name, Instances: r.instances, Excused: r.excused, Suspect: r.suspect,
		Since: r.since, Report: &r.report,
	})
}

// dropIdle ends the watching of a service that nobody names any more and that, by
// its own watcher's word, announces nothing.
func (c *coordinator) dropIdle(name string, s *service) {
	if c.wants(name) || !s.known || s.announces {
		return
	}
	c.stop(target{name: name}, s)
	c.endMesh(name)
	c.send(watcher.Update{
		Service: name, Excused: s.ids, Since: time.Now(), Report: &watcher.Report{Watches: -1},
	})
}

// tellProgress tells, once each, that everything there is to ask has answered or
// failed, and that it has been sent.
func (c *coordinator) tellProgress() {
	if c.told == synced || !c.stored {
		return
	}
	reached := synced
	for _, l := range c.last {
		switch {
		case l.names != nil:
		case l.failed:
			reached = answered
		default:
			return
		}
	}
	for _, s := range c.services {
		if !s.answered {
			return
		}
	}
	if reached > c.told {
		c.told = reached
		rep := &watcher.Report{Answered: true, Synced: reached == synced}
		if hidden := c.last[byTags].report.Filtered; hidden != nil && *hidden {
			rep.Suspect = filteredAnswer // services that are not listed may be there
		}
		c.send(watcher.Update{Report: rep})
	}
}
