package consul

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// canaryService is the name of the service that canaries register.
const canaryService = "usher-canary"

// canaryDeadline bounds each request: the agent is near and idle, and Run's end must
// not wait long for one that hangs.
const canaryDeadline = 2 * time.Second

// maxLabel is how long a label of a host name may be.
const maxLabel = 63

// Canary measures how long a change takes from the registration until it is routable:
// it registers a service of its own, changes the host that this announces again and
// again, and is told of each new table. Nothing is ever sent to the service: its weight
// is 0, and its hosts are below .invalid.
//
// Run's goroutine changes the service; Observe and Missed are for any goroutine.
type Canary struct {
	agent *selfAgent
	// id is the service's ID, zone the domain of its hosts.
	id, zone string
	every    time.Duration
	log      *slog.Logger

	// pending is the last change, nil when it was seen or could not be made.
	pending atomic.Pointer[change]
	missed  atomic.Uint64
}

// change is a host that the canary began to announce.
type change struct {
	host string
	sent time.Time
}

// NewCanary returns a Canary that changes its service every so often. id tells it from
// those of other ushers beside the agent; it is the same whenever this one starts, so
// that a canary left behind is taken over, and has no slash. NewCanary connects to nothing yet. The
// error is a watcher.ErrInvalid.
func NewCanary(conf config.Consul, id string, every time.Duration, log *slog.Logger) (*Canary, error) {
	if id == "" || every <= 0 {
		return nil, fmt.Errorf("%w: canary: id %q, interval %s", watcher.ErrInvalid, id, every)
	}
	agent, err := newSelfAgent(conf)
	if err != nil {
		return nil, err
	}
	return &Canary{
		agent: agent, id: canaryService + "-" + id, zone: hostLabel(id) + ".canary.usher.invalid",
		every: every, log: log.With("service", canaryService),
	}, nil
}

// hostLabel makes one label of a host name out of s.
func hostLabel(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + ('a' - 'A')
		default:
			return '-'
		}
	}, s)
	return cmp.Or(strings.Trim(s[:min(len(s), maxLabel)], "-"), "x")
}

// Run changes the canary until ctx ends, then takes it out and returns, within the
// deadlines of two requests. It may be called once. What fails is tried again for ever;
// the first failure of a row and the recovery are logged.
func (c *Canary) Run(ctx context.Context) {
	defer c.agent.closeIdle()
	defer c.leave(ctx)
	tries := attempts{log: c.log, what: "the discovery canary's registration"}
	for {
		pause := c.every
		if err := c.change(ctx); err != nil {
			pause = tries.failed(err)
		} else {
			tries.succeeded()
		}
		if !watcher.Sleep(ctx, pause) {
			return
		}
	}
}

// change announces a new host. The request is not cut short when ctx ends: the agent
// could carry it out later, after the deregistration.
func (c *Canary) change(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	now := &change{host: strings.ToLower(rand.Text()) + "." + c.zone, sent: time.Now()}
	// It is pending before the agent knows: the table may be faster than the answer.
	if c.pending.Swap(now) != nil {
		c.missed.Add(1)
	}
	err := c.agent.register(context.WithoutCancel(ctx), &api.AgentServiceRegistration{
		ID: c.id, Name: canaryService, Address: "127.0.0.1", Port: 9, // the port that discards
		Meta: map[string]string{watcher.MetaRoute: now.host + "/", watcher.MetaWeight: "0"},
	}, canaryDeadline)
	if err != nil {
		c.pending.CompareAndSwap(now, nil) // what was not registered is not missed
		return fmt.Errorf("register: %w", err)
	}
	return nil
}

// leave takes the canary out, though ctx has ended.
func (c *Canary) leave(ctx context.Context) {
	c.pending.Store(nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), canaryDeadline)
	defer cancel()
	err := c.agent.ServiceDeregisterOpts(c.id, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil && !notFound(err) {
		c.log.Warn("the discovery canary stays registered", "id", c.id, "err", err)
	}
}

// Observe is called after each new table with what tells whether it has a route for a
// host. When the last change is routable for the first time, it returns how long that
// took since the registration was sent; ok is true once for each change. It costs next
// to nothing while there is no change to wait for, and does not block.
func (c *Canary) Observe(routable func(host string) bool) (took time.Duration, ok bool) {
	p := c.pending.Load()
	if p == nil || !routable(p.host) || !c.pending.CompareAndSwap(p, nil) {
		return 0, false
	}
	return time.Since(p.sent), true
}

// Missed is the number of changes that were not routable when the next one was made.
func (c *Canary) Missed() uint64 { return c.missed.Load() }
