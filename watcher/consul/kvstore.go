package consul

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
)

// maxValue is the largest value that Consul takes (kv_max_value_size), in bytes.
const maxValue = 512 << 10

// KV is a folder of Consul's key-value store, with locks, for what ushers share. Keys
// are relative to the folder. Each call asks the leader and ends within five seconds,
// but for Lock, which waits for the lock. Any goroutine may use it.
type KV struct {
	conn   *connection
	prefix string
	// ttl is lockTTL, but in tests.
	ttl time.Duration
	log *slog.Logger
}

// NewKV returns the folder called prefix, which ends in a slash, of the Consul that conf
// describes. It connects to nothing yet. Close must be called. The error is a
// watcher.ErrInvalid.
func NewKV(conf config.Consul, prefix string, log *slog.Logger) (*KV, error) {
	if conf.Datacenter == "" && len(conf.Datacenters) > 0 {
		conf.Datacenter = conf.Datacenters[0]
	}
	conn, err := connect(conf, log, nil)
	if err != nil {
		return nil, err
	}
	return &KV{conn: conn, prefix: prefix, ttl: lockTTL, log: log}, nil
}

// Close ends the connections. No lock may be held any more.
func (kv *KV) Close() { kv.conn.transport.CloseIdleConnections() }

// consistent are the options of a read that sees what was written before.
func consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

func writing(ctx context.Context) *api.WriteOptions { return (&api.WriteOptions{}).WithContext(ctx) }

// Get returns a value; fs.ErrNotExist when there is none.
func (kv *KV) Get(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	pair, _, err := kv.conn.client.KV().Get(kv.prefix+key, consistent(ctx))
	switch {
	case err != nil:
		return nil, fmt.Errorf("get %q: %w", key, err)
	case pair == nil:
		return nil, fmt.Errorf("get %q: %w", key, fs.ErrNotExist)
	default:
		return pair.Value, nil
	}
}

// errTooLarge is a value that Consul would not take.
var errTooLarge = errors.New("the value is larger than 512 KiB")

// Put stores a value, at most 512 KiB of it.
func (kv *KV) Put(ctx context.Context, key string, value []byte) error {
	if len(value) > maxValue {
		return fmt.Errorf("put %q: %w", key, errTooLarge)
	}
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	if _, err := kv.conn.client.KV().Put(&api.KVPair{Key: kv.prefix + key, Value: value}, writing(ctx)); err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

// Delete deletes the key and all below it, as if it were a folder. What does not exist
// is no error.
func (kv *KV) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	_, err := kv.conn.client.KV().Delete(kv.prefix+key, writing(ctx))
	if err == nil {
		_, err = kv.conn.client.KV().DeleteTree(kv.prefix+key+"/", writing(ctx))
	}
	if err != nil {
		return fmt.Errorf("delete %q: %w", key, err)
	}
	return nil
}

// Keys returns the keys that begin with prefix, in order.
func (kv *KV) Keys(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	keys, _, err := kv.conn.client.KV().Keys(kv.prefix+prefix, "", consistent(ctx))
	if err != nil {
		return nil, fmt.Errorf("keys below %q: %w", prefix, err)
	}
	for i := range keys {
		keys[i] = keys[i][len(kv.prefix):]
	}
	return keys, nil
}

const (
	// lockTTL is how long a lock outlives the usher that held it, up to twice that: Consul
	// takes its time with sessions.
	lockTTL = 15 * time.Second
	// lockDelay is how long nobody gets a lock that was lost rather than released.
	lockDelay = time.Second
)

// Lock acquires the lock called key. With wait it waits until the lock is free or ctx
// ends; without, release is nil when somebody else holds it. lost is closed when the
// lock is held no longer though it was not released, because Consul was away for too
// long. release must be called, lost or not; it ends what Lock has begun.
func (kv *KV) Lock(ctx context.Context, key string, wait bool) (
	release func(context.Context) error, lost <-chan struct{}, err error,
) {
	l := &lock{kv: kv, key: kv.prefix + key, lost: make(chan struct{}), done: make(chan struct{})}
	if err := l.begin(ctx); err != nil {
		return nil, nil, fmt.Errorf("lock %q: %w", key, err)
	}
	got, err := l.acquire(ctx, wait)
	if err != nil || !got {
		err = errors.Join(err, l.end(context.WithoutCancel(ctx)))
		if err != nil {
			err = fmt.Errorf("lock %q: %w", key, err)
		}
		return nil, nil, err
	}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	go l.keep(ctx)
	return l.release, l.lost, nil
}
