package core

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"usher/config"
	"usher/proxy/upstream"
	"usher/routetable"
)

// wants is what a cluster's policy goes by. Of most it is zero: nothing is worked out
// for them.
type wants struct {
	any bool
	// hashed says that there is a key.
	hashed bool
	key    config.HashKey
	// timed says that latencies are observed.
	timed  bool
	sticky sticky
}

func wantsOf(c *routetable.Cluster) wants {
	w := wants{timed: c.Policy.MeasuresLatency()}
	if c.Policy.Hashes() {
		// One that is not valid cannot come from a configuration; there is no key then.
		key, err := config.ParseHashKey(c.Policy.HashKey)
		w.hashed, w.key = err == nil, key
	}
	w.sticky, _ = c.Picker.(sticky)
	w.any = w.timed || w.hashed || w.sticky != nil
	return w
}

// recognise works out what the policy of the cluster wants to know of the request,
// before its head is edited.
func (x *Exchange) recognise() {
	w := &clusterOf(x.cluster).wants
	if !w.any {
		return
	}
	if w.timed {
		x.pick.Now = x.Start
	}
	if w.hashed && (!x.stream || w.key.Source == config.HashClientIP) {
		if text := x.hashed(w.key); len(text) > 0 {
			x.pick.Key, x.pick.HasKey = xxhash.Sum64(text), true
		}
	}
	if w.sticky != nil && !x.stream {
		x.sticky = w.sticky
		x.pick.SetHome(x.home())
	}
}

// hashed returns the bytes that make the key, none where the request has no such thing.
func (x *Exchange) hashed(k config.HashKey) []byte {
	switch k.Source {
	case config.HashClientIP:
		return x.clientIP()
	case config.HashPath:
		return x.query.Path
	case config.HashHost:
		return x.query.Host
	case config.HashHeader:
		return x.head().Peek(k.Name)
	case config.HashCookie:
		return x.cookie(k.Name)
	default:
		return parameter(x.Target, k.Name)
	}
}

// parameter returns the value, as it is encoded, of the first parameter of that name in
// a target's query.
func parameter(target []byte, name string) []byte {
	_, query, _ := bytes.Cut(target, []byte("?"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		if key, value, _ := bytes.Cut(pair, []byte("=")); string(key) == name {
			return value
		}
	}
	return nil
}

// measure observes how long the endpoint took until its response began, or until the
// try failed, where the policy goes by that. A body that is sent meanwhile takes as long
// as the client likes: that says nothing of the endpoint.
func (x *Exchange) measure(c *Core, err *upstream.Error) {
	if !clusterOf(x.cluster).wants.timed || x.Streams || err != nil && err.Kind == upstream.Full {
		return
	}
	latency := &x.cluster.Endpoints[x.endpoint].State.Latency
	if took := x.Upstream - x.waited; err == nil {
		latency.Observe(took, c.Sweeper.Now())
	} else {
		latency.Raise(took, c.Sweeper.Now())
	}
}
