package consul

import (
	"context"
	"hash/fnv"
	"strings"
	"time"

	"usher/watcher"
)

// metaFilter selects, at the agent, the services whose meta announces a route.
const metaFilter = `"` + watcher.MetaRoute + `" in ServiceMeta or "` + watcher.MetaRoute + `-2" in ServiceMeta`

// follower repeats one query: it keeps the index, paces the answers and pauses
// after errors.
type follower struct {
	index uint64
	pause time.Duration
	// tokens is a bucket of a few answers that refills with one each tenth of a second,
	// so that a flood of changes costs at most ten answers a second.
	tokens float64
	filled time.Time
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
	f.index, apply = step(last, got)
	return apply, !apply
}

// failed takes note of an error: the next query has no index, after a pause. It
// returns false when ctx ended.
func (f *follower) failed(ctx context.Context) bool {
	f.index = 0
	ok := watcher.Sleep(ctx, f.pause)
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
func (r *Registry) watchTags(ctx context.Context, c *coordinator) {
	r.watchList(ctx, c, byTags, "", func(tags []string) bool {
		for _, t := range tags {
			if strings.HasPrefix(t, r.conf.TagPrefix) {
				return true
			}
		}
		return false
	})
}

// watchMeta follows the services whose meta announces a route.
func (r *Registry) watchMeta(ctx context.Context, c *coordinator) {
	r.watchList(ctx, c, byMeta, metaFilter, func([]string) bool { return true })
}

// watchList follows a list of services and passes on those that keep picks.
func (r *Registry) watchList(
	ctx context.Context, c *coordinator, from int, filter string, keep func(tags []string) bool,
) {
	f := newFollower()
	for {
		l, apply := r.readList(ctx, f, filter, keep)
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

func (r *Registry) readList(
	ctx context.Context, f *follower, filter string, keep func(tags []string) bool,
) (l list, apply bool) {
	opts, cancel := blocking(ctx, f.index)
	defer cancel()
	opts.Filter = filter
	services, meta, err := r.client.Catalog().Services(opts)
	if err != nil {
		l.report = watcher.Report{Err: err, Reason: reason(err)}
		return l, false
	}
	apply, reset := f.answered(meta.LastIndex)
	l.report = watcher.Report{
		Alive: true, Index: meta.LastIndex, Reset: reset, Filtered: &meta.ResultsFilteredByACLs,
	}
	l.seen = len(services)
	if _, self := services["consul"]; self {
		l.seen-- // Consul's own service is nobody's to route
	}
	l.names = map[string]uint64{}
	for name, tags := range services {
		if name != "consul" && keep(tags) {
			l.names[name] = sumTags(tags)
		}
	}
	return l, apply
}

// sumTags is a sum of a service's tags: another one means that they changed.
func sumTags(tags []string) uint64 {
	h := fnv.New64a()
	for _, t := range tags {
		_, _ = h.Write([]byte(t)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// watchService follows the health of one service until ctx ends.
func (r *Registry) watchService(ctx context.Context, c *coordinator, name string, s *service) {
	f := newFollower()
	for {
		res, apply := r.readService(ctx, f, name)
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
		if !next(ctx, f, res.err) {
			return
		}
	}
}

// readService reads a service once. Plain reads wait for a place first.
func (r *Registry) readService(ctx context.Context, f *follower, name string) (res result, apply bool) {
	res.name = name
	if f.index == 0 {
		select {
		case r.reads <- struct{}{}:
			defer func() { <-r.reads }()
		case <-ctx.Done():
			res.err = ctx.Err()
			return res, false
		}
	}
	opts, cancel := blocking(ctx, f.index)
	defer cancel()
	entries, meta, err := r.client.Health().Service(name, "", false, opts)
	res.since = time.Now()
	if err != nil {
		res.err = err
		res.report = watcher.Report{Err: err, Reason: reason(err), Partial: true}
		return res, false
	}
	apply, reset := f.answered(meta.LastIndex)
	res.report = watcher.Report{Reset: reset}
	res.instances = instancesOf(entries, r.conf.TagPrefix)
	if opts.WaitIndex == 0 { // a single read, or the first of many
		res.sums = r.sumEntries(entries)
	}
	return res, apply
}
