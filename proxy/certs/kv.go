package certs

import (
	"context"
	"strings"
	"time"
)

// KV is a key-value store that certificates may lie in. The zero value is none.
type KV struct {
	// ID tells one store, asked in one way, from another: with another ID the certificates
	// are asked for anew, and those that are known stay until there is an answer.
	ID string
	// Watch calls got with all values below prefix, by what follows it in their keys, at
	// first and after each change, from one goroutine. An error calls nothing. It returns
	// when ctx ends, or before if it can never succeed, and calls nothing after.
	Watch func(ctx context.Context, prefix string, got func(values map[string][]byte)) error
}

// watchKV follows a prefix of the key-value store. The caller holds m.mu.
func (m *Manager) watchKV(s *source) {
	if m.kv.Watch == nil {
		s.fail(errNoStore)
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	s.cancel = cancel
	watch := m.kv.Watch
	m.running.Go(func() {
		err := watch(ctx, s.place.path, func(values map[string][]byte) { m.gotKV(ctx, s, values) })
		m.mu.Lock()
		defer m.mu.Unlock()
		if err != nil && ctx.Err() == nil && s.fail(err) {
			m.publish()
		}
	})
}

// gotKV takes in what a prefix holds.
func (m *Manager) gotKV(ctx context.Context, s *source, values map[string][]byte) {
	groups := map[string]parts{}
	for key := range values {
		if !strings.HasSuffix(key, "/") { // Consul's pages make folders of that kind
			addPart(groups, key, key, true)
		}
	}
	all := make(map[string]raw, len(groups))
	for name, p := range groups {
		cert, key, err := p.choose()
		all[name] = raw{label: s.place.path + cert, cert: values[cert], key: values[key], err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if s.take(all, time.Now()) {
		m.publish()
	}
	select {
	case <-s.answered:
	default:
		close(s.answered)
	}
}
