package acme

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/caddyserver/certmagic"
)

// keep looks after the certificate of a name until ctx ends.
func (m *Manager) keep(ctx context.Context, name string) {
	failures := 0
	for {
		pause, ok := m.turn(ctx, name, failures)
		if ok {
			if failures > 0 {
				m.log.Info("a certificate is looked after again", "domain", name)
			}
			failures = 0
		} else {
			failures++
		}
		// A tenth more or less, so that many names, and many ushers, spread.
		pause += time.Duration((rand.Float64() - 0.5) / 5 * float64(pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// turn looks after a certificate once. failures is how many turns in a row have failed
// before this one; pause is how long to wait for the next one.
func (m *Manager) turn(ctx context.Context, name string, failures int) (pause time.Duration, ok bool) {
	select {
	case m.turns <- struct{}{}:
		defer func() { <-m.turns }()
	case <-ctx.Done():
		return 0, false
	}
	try := &attempt{}
	err := m.look(ctx, name, try)
	m.publish(name)
	if err == nil {
		return m.every, true
	}
	if ctx.Err() != nil {
		return 0, false
	}
	level := slog.LevelWarn
	switch {
	case try.asked:
		pause = min(m.retry<<min(failures, 10), max(m.retry, retryMost))
	default: // the store is away, and this is tried often
		pause = m.retryStore
		if failures > 0 {
			level = slog.LevelDebug
		}
	}
	m.log.Log(ctx, level, "a certificate cannot be looked after; it is tried again",
		"domain", name, "served", m.certificate(name) != nil, "pause", pause, "err", err)
	return pause, false
}

// look loads the certificate of a name from the store, and obtains or renews it where it
// is missing or due. When it fails the cache may hold what the store had.
func (m *Manager) look(ctx context.Context, name string, try *attempt) error {
	// What is in the cache would be taken for looked after.
	m.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
	ctx, try.stop = context.WithCancelCause(ctx)
	defer try.stop(nil)
	err := m.magic.ManageSync(context.WithValue(ctx, attemptKey{}, try), []string{name})
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	return err
}

// publish serves the certificate that the cache holds.
func (m *Manager) publish(name string) {
	cert := m.cached(name)
	if cert != nil && m.replace(name, cert) {
		m.log.Info("certificate in use", "domain", name, "until", cert.Leaf.NotAfter)
	}
}

// cached returns the newest certificate for a name in the cache, which during a turn is
// what the store had at its beginning; nil: there is none.
func (m *Manager) cached(name string) (newest *tls.Certificate) {
	for _, c := range m.cache.AllMatchingCertificates(name) {
		if c.Leaf != nil && (newest == nil || c.Leaf.NotBefore.After(newest.Leaf.NotBefore)) {
			newest = &c.Certificate
		}
	}
	return newest
}

// attemptKey is the key of an *attempt in a context.
type attemptKey struct{}

// attempt is one turn of a name.
type attempt struct {
	// asked says that the authority was asked for a certificate.
	asked bool
	// stop ends the turn.
	stop context.CancelCauseFunc
}

// attemptOf returns the attempt that a context belongs to, never nil.
func attemptOf(ctx context.Context) *attempt {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		return a
	}
	return &attempt{stop: func(error) {}}
}
