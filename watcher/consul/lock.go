package consul

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// lock is one lock, held by a session of its own: when usher dies the session ends, and
// the lock with it.
type lock struct {
	kv           *KV
	key, session string

	// lost is closed by keep when the session has ended, done when keep has.
	lost, done chan struct{}
	stop       context.CancelFunc
}

// begin creates the session.
func (l *lock) begin(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	l.session, _, err = l.kv.conn.client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "usher lock", TTL: l.kv.ttl.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorDelete,
	}, writing(ctx))
	return err
}

// acquire tries to get the lock, and with wait again whenever it may be free.
func (l *lock) acquire(ctx context.Context, wait bool) (got bool, err error) {
	index := uint64(0)
	renewed := time.Now()
	for {
		got, err = l.try(ctx)
		if err != nil || got || !wait {
			return got, err
		}
		if index, err = l.await(ctx, index); err != nil {
			return false, err
		}
		if time.Since(renewed) > l.kv.ttl/3 {
			renewed = time.Now()
			if err = l.renew(ctx); err != nil {
				return false, err
			}
		}
	}
}

func (l *lock) try(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	got, _, err := l.kv.conn.client.KV().Acquire(&api.KVPair{Key: l.key, Session: l.session}, writing(ctx))
	return got, err
}

// await waits until the lock may be free, or for a third of the TTL. It returns the index to wait
// from the next time.
func (l *lock) await(ctx context.Context, index uint64) (uint64, error) {
	limit, cancel := context.WithTimeout(ctx, plainDeadline+l.kv.ttl/3)
	defer cancel()
	opts := consistent(limit)
	opts.WaitIndex, opts.WaitTime = index, l.kv.ttl/3
	pair, meta, err := l.kv.conn.client.KV().Get(l.key, opts)
	if err != nil {
		return 0, err
	}
	if (pair == nil || pair.Session == "") && !watcher.Sleep(ctx, lockDelay/4) {
		// Free, or kept from everybody for the lock-delay.
		return 0, ctx.Err()
	}
	next, _ := step(index, meta.LastIndex)
	return next, nil
}

// renew keeps the session alive for another TTL.
func (l *lock) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	entry, _, err := l.kv.conn.client.Session().Renew(l.session, writing(ctx))
	if err == nil && entry == nil {
		return errExpired
	}
	return err
}

// errExpired is a session that Consul has ended.
var errExpired = errors.New("the session has expired")

// keep renews the session until ctx ends. The lock counts as lost when Consul says so,
// and when it could not be asked for a TTL: Consul ends the session then.
func (l *lock) keep(ctx context.Context) {
	defer close(l.done)
	renewed := time.Now()
	for watcher.Sleep(ctx, l.kv.ttl/3) {
		asked := time.Now()
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed = asked
		case errors.Is(err, errExpired) || time.Since(renewed) >= l.kv.ttl:
			l.kv.log.Warn("a lock was lost", "key", l.key, "err", err)
			close(l.lost)
			return
		}
	}
}

// release gives the lock back. A lock that was lost is no error.
func (l *lock) release(ctx context.Context) error {
	l.stop()
	<-l.done
	return errors.Join(l.unlock(ctx), l.end(ctx))
}

// unlock deletes the key while the lock is held. A session that ended with its lock would
// keep it from everybody for the lock-delay.
func (l *lock) unlock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	// All or nothing: what somebody else has come to hold stays.
	_, _, _, err := l.kv.conn.client.Txn().Txn(api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVUnlock, Key: l.key, Session: l.session}},
		{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: l.key}},
	}, (&api.QueryOptions{}).WithContext(ctx))
	return err
}

// end ends the session, which takes a lock that it still holds with it.
func (l *lock) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	_, err := l.kv.conn.client.Session().Destroy(l.session, writing(ctx))
	return err
}
