package consul

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"

	"usher/config"
)

// keys follows the keys below a prefix of the key-value store and keeps what each said
// last.
type keys struct {
	*coordinator
	follower *follower
	prefix   string
	// values are as read last, by what follows the prefix; nil before. The map stays as it
	// is: the next reading makes another.
	values map[string][]byte
	// failing says that the last read failed, doubted that an empty store is not believed.
	failing, doubted bool
	// filtered says that the token never saw every key, narrowed that it has come to see
	// less than it did.
	filtered, narrowed bool
}

// news is what a reading of keys brought.
type news uint8

const (
	// nothing is new, or nothing that is believed; unseen is a first answer to a token that
	// may not see what there is.
	nothing news = iota
	unseen
	changed
)

// WatchKeys calls got with the values of all keys below prefix, by what follows it, at
// first and after each change, from the caller's goroutine; got may keep the map, and not
// change it. An error calls nothing, nor does a store that is suddenly empty where that is
// in doubt, and keys that the token has lost the right to read are not taken for gone. It
// returns when ctx ends, and at once if the configuration cannot be used.
func WatchKeys(
	ctx context.Context, conf config.Consul, prefix string, log *slog.Logger, got func(values map[string][]byte),
) error {
	r, err := New(conf, log)
	if err != nil {
		return err
	}
	defer r.conn.transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { r.conn.agents.run(ctx) })
	c := &coordinator{Registry: r, ctx: ctx, dc: r.datacenters[0]}
	k := &keys{coordinator: c, follower: newFollower(), prefix: prefix}
	for {
		agent := r.conn.agents.current()
		what, err := k.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.conn.agents.failed(ctx, agent, err.Error())
		}
		if what == changed {
			got(k.values)
		}
		if !next(ctx, k.follower, err) {
			return nil
		}
	}
}

// read reads the keys once. With changed, values are others than before.
func (k *keys) read(ctx context.Context) (news, error) {
	pairs, meta, err := ask(ctx, k.coordinator, k.follower,
		func(o *api.QueryOptions) (api.KVPairs, *api.QueryMeta, error) { return k.client.KV().List(k.prefix, o) })
	if err != nil {
		if !k.failing && ctx.Err() == nil {
			k.log.Warn("the key-value store cannot be read; what it said last stays", "prefix", k.prefix, "err", err)
		}
		k.failing = true
		return nothing, err
	}
	k.failing = false
	// The index of a list may fall when a key is deleted.
	apply, _ := k.follower.answered(meta.LastIndex)
	if !apply {
		return nothing, nil
	}
	why := k.follower.doubt(meta.ResultsFilteredByACLs)
	values := map[string][]byte{}
	for _, p := range pairs {
		values[strings.TrimPrefix(p.Key, k.prefix)] = append([]byte{}, p.Value...)
	}
	k.keepUnseen(values, meta.ResultsFilteredByACLs)
	if k.values == nil && len(values) == 0 && meta.ResultsFilteredByACLs {
		return unseen, nil
	}
	if len(values) == 0 && len(k.values) > 0 && (why != "" || k.doubted) {
		k.doubt(why)
		return nothing, nil
	}
	k.doubted = false
	if k.values != nil && maps.EqualFunc(values, k.values, bytes.Equal) {
		return nothing, nil
	}
	k.values = values
	return changed, nil
}

// keepUnseen adds to the values as read those that the token has lost the right to read:
// they are not gone. A token that never saw everything is believed all the same, as far
// as it sees.
func (k *keys) keepUnseen(values map[string][]byte, filtered bool) {
	rule := keyRule(k.prefix)
	if !filtered {
		k.filtered, k.narrowed = false, false
		return
	}
	if k.filtered {
		return
	}
	lost := 0
	for key, value := range k.values {
		if _, seen := values[key]; !seen {
			values[key] = value
			lost++
		}
	}
	switch {
	case lost == 0 && !k.narrowed:
		k.filtered = true
		k.log.Warn("the token may not read every key of the key-value store", "missing", rule)
	case !k.narrowed:
		k.narrowed = true
		k.log.Warn("the token has lost the right to read keys of the key-value store; what they held stays",
			"keys", lost, "missing", rule)
	}
}

// doubt notes that an empty store is not believed: like a lost catalog it may be
// lost, and nobody but an operator can tell.
func (k *keys) doubt(why string) {
	if !k.doubted {
		k.log.Warn("the key-value store is said to be empty; what it held stays", "prefix", k.prefix, "reason", why,
			"hint", "write any key below the prefix to say that the rest is really gone")
	}
	k.doubted = true
}
