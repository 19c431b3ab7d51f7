package healthcheck

import (
	"context"
	"net"
	"sync"
	"time"

	"usher/routetable"
)

// An endpoint that its registry no longer lists, and that is held, is asked whether
// it is there: by a TCP connection each second. When it does not answer three times
// in a row it is gone indeed.
const (
	probePeriod  = time.Second
	probeTimeout = time.Second
	probeFall    = 3
	// probesAtOnce bounds the probes under way.
	probesAtOnce = 64
)

// held are the held endpoints of the table in use, by their state.
type held struct {
	mu        sync.Mutex
	endpoints map[*routetable.State]*heldEndpoint
	// poke holds a token when there is one to probe.
	poke chan struct{}
}

// heldEndpoint is one held endpoint and how its probes went.
type heldEndpoint struct {
	endpoint *routetable.Endpoint
	failures int
	// clusters counts the clusters that it is in.
	clusters int
}

func newHeld() *held {
	return &held{endpoints: map[*routetable.State]*heldEndpoint{}, poke: make(chan struct{}, 1)}
}

// adopt takes note of the clusters that a table has added and removed.
func (h *held) adopt(d *routetable.Delta) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range d.AddedClusters {
		for _, e := range c.Endpoints {
			h.add(e)
		}
	}
	for _, c := range d.RemovedClusters {
		for _, e := range c.Endpoints {
			h.remove(e)
		}
	}
	if len(h.endpoints) > 0 {
		select {
		case h.poke <- struct{}{}:
		default:
		}
	}
}

func (h *held) add(e *routetable.Endpoint) {
	if e.Held == nil {
		return
	}
	p := h.endpoints[e.State]
	if p == nil {
		p = &heldEndpoint{}
		h.endpoints[e.State] = p
	}
	p.endpoint = e
	p.clusters++
}

func (h *held) remove(e *routetable.Endpoint) {
	if p := h.endpoints[e.State]; e.Held != nil && p != nil {
		if p.clusters--; p.clusters == 0 {
			delete(h.endpoints, e.State)
		}
	}
}

// all returns the endpoints to probe.
func (h *held) all() []*heldEndpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*heldEndpoint, 0, len(h.endpoints))
	for _, p := range h.endpoints {
		out = append(out, p)
	}
	return out
}

// addressOf is where to probe: a table that comes meanwhile has an endpoint of its own.
func (h *held) addressOf(p *heldEndpoint) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return p.endpoint.Address
}

// probed takes in the outcome of a probe and returns the endpoint when it is gone.
func (h *held) probed(p *heldEndpoint, ok bool) *routetable.Endpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ok {
		p.failures = 0
		return nil
	}
	if p.failures++; p.failures < probeFall || h.endpoints[p.endpoint.State] != p {
		return nil
	}
	return p.endpoint
}

// run probes the held endpoints until ctx ends; gone is told of those that do not
// answer.
func (h *held) run(ctx context.Context, gone func(*routetable.Endpoint)) {
	for {
		select {
		case <-h.poke:
		case <-ctx.Done():
			return
		}
		for list := h.all(); len(list) > 0; list = h.all() {
			next := time.NewTimer(probePeriod)
			h.round(ctx, list, gone)
			select {
			case <-next.C:
			case <-ctx.Done():
				next.Stop()
				return
			}
		}
	}
}

// round probes each endpoint once.
func (h *held) round(ctx context.Context, list []*heldEndpoint, gone func(*routetable.Endpoint)) {
	var probes sync.WaitGroup
	defer probes.Wait()
	places := make(chan struct{}, probesAtOnce)
	for _, p := range list {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		probes.Go(func() {
			defer func() { <-places }()
			ok := answers(ctx, h.addressOf(p))
			if e := h.probed(p, ok); e != nil && ctx.Err() == nil {
				gone(e)
			}
		})
	}
}

// answers says whether something accepts connections at an address.
func answers(ctx context.Context, address string) bool {
	d := net.Dialer{Timeout: probeTimeout}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = nc.Close() // nothing was said
	return true
}
