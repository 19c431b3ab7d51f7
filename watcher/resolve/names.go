package resolve

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"usher/watcher"
)

// parallel bounds the lookups under way, parallelRetries those of them for names
// that failed the last time: a dead zone must not hold up the names of others.
const (
	parallel        = 16
	parallelRetries = parallel / 2
)

// answer is what a lookup found.
type answer struct {
	// addrs are sorted, each once, none of them IPv4 in IPv6.
	addrs []netip.Addr
	// ttl is how long they are good for; negative: that is not known.
	ttl time.Duration
	// no4 and no6 say that the question for this family was not answered: that addrs
	// holds none of it means nothing.
	no4, no6 bool
	err      error
}

// name is a host that is a name. The goroutine of Run alone touches it.
type name struct {
	host  string
	users map[*service]bool
	// addrs are those of the last good answer; nil: there was none.
	addrs []netip.Addr
	// asked says that a lookup has ended, well or not.
	asked bool
	// busy says that a lookup is under way or queued; otherwise due is when the next
	// one is to begin.
	busy bool
	due  time.Time
	// pause is the one before the next retry, 0 while the name does not fail.
	pause time.Duration
}

// names are the known names and the lookups of them. The goroutine of Run alone
// touches them.
type names struct {
	ctx  context.Context
	opts Options
	look lookup
	all  map[string]*name
	// first and retries are queued: names that did not fail, and those that did.
	first, retries []*name
	// active is the number of lookups under way, retrying that of retries among them.
	active, retrying int
	running          sync.WaitGroup
	// done has room for all lookups under way, so that none of them waits.
	done chan done
}

// done is a lookup that has ended.
type done struct {
	*name
	answer
	retry bool
}

func newNames(ctx context.Context, opts Options, look lookup) *names {
	return &names{ctx: ctx, opts: opts, look: look, all: map[string]*name{}, done: make(chan done, parallel)}
}

// wait waits for the lookups under way; ctx must have ended.
func (ns *names) wait() { ns.running.Wait() }

// find returns the name of a host; one that is not known yet is going to be looked up.
func (ns *names) find(host string) *name {
	n := ns.all[host]
	if n == nil {
		n = &name{host: host, users: map[*service]bool{}}
		ns.all[host] = n
		ns.enqueue(n)
	}
	return n
}

// addrs returns the last good addresses of a host, nil for none.
func (ns *names) addrs(host string) []netip.Addr {
	if n := ns.all[host]; n != nil {
		return n.addrs
	}
	return nil
}

// enqueue queues a lookup, which pump starts.
func (ns *names) enqueue(n *name) {
	n.busy = true
	if n.pause > 0 {
		ns.retries = append(ns.retries, n)
	} else {
		ns.first = append(ns.first, n)
	}
}

// pump starts as many of the queued lookups as may be under way. A name whose turn
// comes when nobody uses it is forgotten; until its TTL is over it stays known, for
// who drops it and takes it up again.
func (ns *names) pump() {
	for ns.active < parallel {
		n := pop(&ns.first)
		if n == nil && ns.retrying < parallelRetries {
			n = pop(&ns.retries)
		}
		if n == nil {
			return
		}
		if len(n.users) == 0 {
			delete(ns.all, n.host)
			continue
		}
		ns.start(n)
	}
}

// pop takes the first of a queue, nil when it is empty.
func pop(queue *[]*name) *name {
	if len(*queue) == 0 {
		return nil
	}
	n := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return n
}

func (ns *names) start(n *name) {
	retry := n.pause > 0
	ns.active++
	if retry {
		ns.retrying++
	}
	ns.running.Go(func() { ns.done <- done{n, ns.look(ns.ctx, n.host), retry} })
}

// end takes in a lookup that has ended and returns whether the addresses of the
// name changed, and the failure that is to be told: the first of a row.
func (ns *names) end(d done, now time.Time) (changed bool, failure error) {
	ns.active--
	if d.retry {
		ns.retrying--
	}
	n := d.name
	n.busy, n.asked = false, true
	addrs, err := n.merge(d.answer)
	if err == nil {
		n.pause = 0
		n.due = now.Add(ns.lifetime(d.ttl))
	} else {
		if n.pause == 0 {
			failure = err
			n.pause = watcher.FirstPause
		} else {
			n.pause = watcher.NextPause(n.pause)
		}
		n.due = now.Add(n.pause)
	}
	changed = !slices.Equal(n.addrs, addrs)
	n.addrs = addrs
	return changed, failure
}

// lifetime is how long an answer of a TTL is good for.
func (ns *names) lifetime(ttl time.Duration) time.Duration {
	if ttl < 0 {
		return ns.opts.MaxTTL
	}
	return min(max(ttl, ns.opts.MinTTL), ns.opts.MaxTTL)
}

// merge returns the addresses of a name after an answer: when that is a failure the
// last good ones, and of a family that was not answered the last good ones of it.
// The error is the failure, whole or of a family.
func (n *name) merge(a answer) ([]netip.Addr, error) {
	if a.err != nil {
		return n.addrs, a.err
	}
	var kept []netip.Addr
	if a.no4 && !slices.ContainsFunc(a.addrs, netip.Addr.Is4) {
		kept = filter(n.addrs, netip.Addr.Is4)
	}
	if a.no6 && !slices.ContainsFunc(a.addrs, netip.Addr.Is6) {
		kept = append(kept, filter(n.addrs, netip.Addr.Is6)...)
	}
	if len(kept) == 0 {
		return a.addrs, nil
	}
	addrs := slices.Concat(a.addrs, kept)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, errFamily
}

// filter returns the addresses that keep picks, in a list of their own.
func filter(addrs []netip.Addr, keep func(netip.Addr) bool) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(ip netip.Addr) bool { return !keep(ip) })
}

// refresh queues the names that are due and returns when the next one is; zero: none.
func (ns *names) refresh(now time.Time) (next time.Time) {
	for _, n := range ns.all {
		switch {
		case n.busy:
		case now.Before(n.due):
			next = earlier(next, n.due)
		default:
			ns.enqueue(n)
		}
	}
	return next
}

// earlier returns the earlier of two times; a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
