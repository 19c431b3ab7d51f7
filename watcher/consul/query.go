package consul

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// follower repeats one query: it keeps the index, paces the answers and pauses
// after errors.
type follower struct {
	index uint64
	// known is the index of the last answer that was applied.
	known uint64
	pause time.Duration
	// tokens is a bucket of a few answers that refills with one each tenth of a second,
	// so that a flood of changes costs at most ten answers a second.
	tokens float64
	filled time.Time
	// well ends a pause early; nil: nothing does.
	well *recovery
	// suspect says why the next answer that is applied may leave out what is there.
	suspect string
}

const (
	bucketSize   = 5
	refillPeriod = 100 * time.Millisecond
)

func newFollower() *follower {
	return &follower{pause: watcher.FirstPause, tokens: bucketSize, filled: time.Now()}
}

// answered takes note of an answer and says whether it may be applied.
func (f *follower) answered(got uint64) (apply, reset bool) {
	f.pause = watcher.FirstPause
	last := f.index
	if f.index, apply = step(last, got); !apply {
		f.suspect = "the index went backwards"
	} else {
		f.known = f.index
	}
	return apply, !apply
}

// filteredAnswer is why an answer is in doubt that Consul has left something out of.
const filteredAnswer = "the token may not see everything"

// doubt returns what speaks against an answer that is applied, once: what follows is
// seen to change from it on.
func (f *follower) doubt(filtered bool) string {
	why := f.suspect
	f.suspect = ""
	if filtered {
		why = filteredAnswer
	}
	return why
}

// failed takes note of an error: the next query has no index, after a pause. It
// returns false when ctx ended.
func (f *follower) failed(ctx context.Context) bool {
	f.index = 0
	f.suspect = "the agent had failed just before"
	ok := f.well.sleep(ctx, f.pause)
	f.pause = watcher.NextPause(f.pause)
	return ok
}

// pace waits until the bucket holds a token. It returns false when ctx ended.
func (f *follower) pace(ctx context.Context) bool {
	now := time.Now()
	f.tokens = min(bucketSize, f.tokens+float64(now.Sub(f.filled))/float64(refillPeriod))
	f.filled = now
	f.tokens--
	if f.tokens >= 0 {
		return ctx.Err() == nil
	}
	return watcher.Sleep(ctx, time.Duration(-f.tokens*float64(refillPeriod)))
}

// watchTags follows the catalog's services and their tags.
func (c *coordinator) watchTags(ctx context.Context) {
	c.watchList(ctx, byTags, "", c.mapper.wantsTags)
}

// watchMeta follows the services whose meta announces a route.
func (c *coordinator) watchMeta(ctx context.Context) {
	c.watchList(ctx, byMeta, metaFilterFor(c.conf), func(name string, _ []string) bool { return name != consulName })
}

// watchList follows a list of services and passes on those that keep picks.
func (c *coordinator) watchList(
	ctx context.Context, from int, filter string, keep func(name string, tags []string) bool,
) {
	f := newFollower()
	f.well = &c.well
	for {
		l, apply := c.readList(ctx, f, filter, keep)
		l.from = from
		if ctx.Err() != nil {
			return
		}
		if !apply && l.report.Err == nil {
			c.tell(ctx, &watcher.Report{Reset: l.report.Reset})
		} else {
			select {
			case c.lists <- l:
			case <-ctx.Done():
				return
			}
		}
		if !next(ctx, f, l.report.Err) {
			return
		}
	}
}

// tell has a report sent.
func (c *coordinator) tell(ctx context.Context, rep *watcher.Report) {
	select {
	case c.reports <- rep:
	case <-ctx.Done():
	}
}

// next waits as the last answer demands; it returns false when ctx ended.
func next(ctx context.Context, f *follower, err error) bool {
	if err != nil {
		return f.failed(ctx)
	}
	return f.pace(ctx)
}

func (c *coordinator) readList(
	ctx context.Context, f *follower, filter string, keep func(name string, tags []string) bool,
) (l list, apply bool) {
	services, meta, err := ask(ctx, c, f, func(o *api.QueryOptions) (map[string][]string, *api.QueryMeta, error) {
		o.Filter = filter
		return c.client.Catalog().Services(o)
	})
	if err != nil {
		l.report = watcher.Report{Err: err, Reason: reason(err)}
		return l, false
	}
	apply, reset := f.answered(meta.LastIndex)
	l.report = watcher.Report{
		Alive: true, Index: meta.LastIndex, Reset: reset, Filtered: &meta.ResultsFilteredByACLs,
	}
	if apply {
		// An agent that lost its state: services without a query of their own see only the
		// state after it.
		l.report.Suspect = f.doubt(false)
	}
	l.seen = len(services)
	if _, self := services[consulName]; self {
		l.seen-- // Consul's own service is nobody's to route
	}
	l.names = map[string]uint64{}
	for name, tags := range services {
		sum := sumTags(name, tags)
		l.all += sum
		if keep(name, tags) {
			l.names[name] = sum
		}
	}
	return l, apply
}

// ask makes a follower's query that may be answered by any server: it is worth more to
// be answered than to be answered by the leader. An answer that is too far behind is
// asked for again, of the leader, and taken as it is when that fails; unless it is
// older than what is known: a server that starts, and even a new leader, answers while
// it still reads its log, and leaves out what stands at the end.
func ask[T any](
	ctx context.Context, c *coordinator, f *follower, query func(*api.QueryOptions) (T, *api.QueryMeta, error),
) (T, *api.QueryMeta, error) {
	opts, cancel := c.options(ctx, f.index)
	defer cancel()
	// A server that has just started answers while it still replays its log, as its
	// leader too: only a consistent read waits for the end of that.
	opts.RequireConsistent = f.suspect != ""
	opts.AllowStale = !opts.RequireConsistent && c.conf.MaxStale > 0
	got, meta, err := query(opts)
	if err != nil {
		return got, meta, err
	}
	behind := meta.LastIndex < f.known
	if !behind && (!opts.AllowStale || !old(meta, c.conf.MaxStale)) {
		return got, meta, nil
	}
	opts, cancelAgain := c.options(ctx, 0)
	defer cancelAgain()
	opts.RequireConsistent = behind
	switch fresh, freshMeta, err := query(opts); {
	case err == nil:
		return fresh, freshMeta, nil
	case behind:
		return fresh, nil, fmt.Errorf("a server is behind what is known, and its leader: %w", err)
	}
	return got, meta, nil
}

// old says whether an answer is further behind the leader than it may be. Streaming
// answers do not tell (consul #9776).
func old(meta *api.QueryMeta, limit time.Duration) bool {
	return meta.QueryBackend != api.QueryBackendStreaming && meta.LastContact > limit
}

// options are blocking's, for the coordinator's datacenter.
func (c *coordinator) options(ctx context.Context, index uint64) (*api.QueryOptions, context.CancelFunc) {
	opts, cancel := blocking(ctx, index)
	opts.Datacenter = c.dc
	return opts, cancel
}

// sumTags is a sum of a service's name and tags: another one means that they changed.
// The order of the tags does not count: Consul lists them in any.
func sumTags(name string, tags []string) uint64 {
	sum := sumText(name)
	for _, t := range tags {
		sum += sumText(name, t)
	}
	return sum
}

// sumText is a sum of some texts.
func sumText(texts ...string) uint64 {
	h := fnv.New64a()
	for _, t := range texts {
		_, _ = h.Write([]byte(t)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// watchService follows the health of one target until ctx ends. had is the number of
// entries it is known to have, known the index at which it had them.
func (c *coordinator) watchService(ctx context.Context, t target, s *service, had int, known uint64) {
	f := newFollower()
	f.known, f.well = known, &c.well
	for {
		res, apply := c.readService(ctx, f, t, had)
		res.of = s
		if ctx.Err() != nil {
			return
		}
		if !apply && res.err == nil {
			c.tell(ctx, &watcher.Report{Reset: res.report.Reset})
		} else {
			select {
			case c.results <- res:
			case <-ctx.Done():
				return
			}
		}
		if res.err == nil && apply {
			had = res.size
		}
		if !next(ctx, f, res.err) {
			return
		}
	}
}

// readService reads a target once. Plain reads wait for a place first. That it has lost
// all of the entries it had, or most, is believed when the leader says so as well: a
// streamed answer does not tell that the token has come to see less.
func (c *coordinator) readService(ctx context.Context, f *follower, t target, had int) (res result, apply bool) {
	res.target = t
	if f.index == 0 {
		select {
		case c.reads <- struct{}{}:
			defer func() { <-c.reads }()
		case <-ctx.Done():
			res.err = ctx.Err()
			return res, false
		}
	}
	first := f.index == 0 // a single read, or the first of many
	entries, meta, err := c.queryService(ctx, f, t)
	if err == nil && 2*len(entries) < had && meta.LastIndex >= f.index {
		entries, meta, err = c.confirmService(ctx, t, meta)
	}
	res.since = time.Now()
	if err != nil {
		res.err = err
		res.report = watcher.Report{Err: err, Reason: reason(err), Partial: true}
		return res, false
	}
	apply, reset := f.answered(meta.LastIndex)
	res.report = watcher.Report{Reset: reset}
	if !apply {
		return res, false
	}
	res.index = meta.LastIndex
	res.suspect = f.doubt(meta.ResultsFilteredByACLs)
	res.size, res.entries = len(entries), entries
	if !t.mesh {
		res.entries = slices.DeleteFunc(slices.Clone(entries), unroutable)
		res.instances = c.mapper.instances(entries)
		res.excused = excused(entries, res.instances)
		res.size = len(res.instances)
	}
	if first {
		res.sums = c.sumEntries(entries)
	}
	return res, apply
}

// queryService asks for a target. A query that waits is streamed, which a stale one
// would not be.
func (c *coordinator) queryService(
	ctx context.Context, f *follower, t target,
) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	query := func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) { return c.healthOf(t, o) }
	if f.index == 0 {
		return ask(ctx, c, f, query)
	}
	opts, cancel := c.options(ctx, f.index)
	defer cancel()
	return query(opts)
}

// healthOf asks for the health of a target.
func (c *coordinator) healthOf(t target, o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	if t.mesh {
		return c.client.Health().Connect(t.name, "", false, o)
	}
	return c.client.Health().Service(t.name, "", false, o)
}

// confirmService asks the leader whether a target has lost so much indeed. The index to go
// on with is that of the first answer: the leader may be ahead.
func (c *coordinator) confirmService(
	ctx context.Context, t target, first *api.QueryMeta,
) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	opts, cancel := c.options(ctx, 0)
	defer cancel()
	opts.RequireConsistent = true
	entries, meta, err := c.healthOf(t, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("confirming that instances are gone: %w", err)
	}
	if len(entries) == 0 {
		meta.LastIndex = first.LastIndex
	}
	meta.ResultsFilteredByACLs = meta.ResultsFilteredByACLs || first.ResultsFilteredByACLs
	return entries, meta, nil
}

// excused are the IDs of the entries that are no instances: they are listed, but take
// no part.
func excused(entries []*api.ServiceEntry, instances []watcher.Instance) (ids []string) {
	if len(entries) == len(instances) {
		return nil
	}
	for _, e := range entries {
		id := identity(e)
		if !slices.ContainsFunc(instances, func(in watcher.Instance) bool { return in.ID == id }) {
			ids = append(ids, id)
		}
	}
	return ids
}
