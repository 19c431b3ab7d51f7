package acme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

const (
	// challengePath is what the paths begin with that an authority asks for.
	challengePath = "/.well-known/acme-challenge/"
	// lookTime bounds a look into the store. Since the question may be anybody's there are
	// no more than one in lookEvery, but for lookBurst of them.
	lookTime  = 3 * time.Second
	lookEvery = 20 * time.Millisecond
	lookBurst = 100
	// maxToken bounds a token, in bytes; Let's Encrypt's have 43.
	maxToken = 128
)

// challenges answers the questions of authorities: its own from memory, those of other
// ushers from the store. It is an acmez.Solver that never listens by itself.
type challenges struct {
	store Store

	mu sync.Mutex
	// own are those that this usher has caused, by their keys in the store.
	own map[string]acme.Challenge
	// paid is until when looks into the store are paid for.
	paid time.Time
}

func newChallenges(store Store) *challenges {
	return &challenges{store: store, own: map[string]acme.Challenge{}}
}

// The keys of challenges in the store: what is asked over HTTP names the token, what is
// asked over TLS the name alone.
func httpKey(token string) string { return "challenges/http-01/" + token + ".json" }
func tlsKey(name string) string   { return "challenges/tls-alpn-01/" + name + ".json" }

func keyOf(c *acme.Challenge) string {
	if c.Type == acme.ChallengeTypeHTTP01 {
		return httpKey(c.Token)
	}
	return tlsKey(strings.ToLower(c.Identifier.Value))
}

// Present implements acmez.Solver.
func (cs *challenges) Present(ctx context.Context, c acme.Challenge) error {
	if !isToken(c.Token) || !isName(strings.ToLower(c.Identifier.Value)) {
		return fmt.Errorf("the authority's token %.200q for %.300q is none", c.Token, c.Identifier.Value)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	key := keyOf(&c)
	cs.mu.Lock()
	cs.own[key] = c
	cs.mu.Unlock()
	if err := cs.store.Store(ctx, key, data); err != nil {
		return fmt.Errorf("store the answer: %w", err)
	}
	return nil
}

// CleanUp implements acmez.Solver.
func (cs *challenges) CleanUp(ctx context.Context, c acme.Challenge) error {
	key := keyOf(&c)
	cs.mu.Lock()
	delete(cs.own, key)
	cs.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	return cs.store.Delete(ctx, key)
}

// answer answers a question that was asked over HTTP.
func (cs *challenges) answer(ctx context.Context, host, path string) (body []byte, ok bool) {
	token, ok := strings.CutPrefix(path, challengePath)
	if !ok || !isToken(token) {
		return nil, false
	}
	c, err := cs.find(ctx, httpKey(token))
	if err != nil || !strings.EqualFold(c.Identifier.Value, host) {
		return nil, false
	}
	return []byte(c.KeyAuthorization), true
}

// certificate answers a question that was asked in a handshake.
func (cs *challenges) certificate(ctx context.Context, name string) (*tls.Certificate, error) {
	if !isName(name) {
		return nil, fmt.Errorf("an authority asks for %.300q, which is no name", name)
	}
	c, err := cs.find(ctx, tlsKey(name))
	if err != nil {
		return nil, err
	}
	return acmez.TLSALPN01ChallengeCert(c)
}

var errBusy = errors.New("too many questions of authorities")

// find looks for a challenge in memory, then in the store.
func (cs *challenges) find(ctx context.Context, key string) (c acme.Challenge, err error) {
	cs.mu.Lock()
	c, ok := cs.own[key]
	cs.mu.Unlock()
	if ok {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if !cs.pay(ctx) {
		return c, errBusy
	}
	data, err := cs.store.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("no usher has asked for this: %w", err)
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

// pay waits until another look into the store may be made; false: that is too far away.
func (cs *challenges) pay(ctx context.Context) bool {
	cs.mu.Lock()
	now := time.Now()
	if least := now.Add(-lookBurst * lookEvery); cs.paid.Before(least) {
		cs.paid = least
	}
	wait := cs.paid.Sub(now)
	if wait > lookTime/2 {
		cs.mu.Unlock()
		return false
	}
	cs.paid = cs.paid.Add(lookEvery)
	cs.mu.Unlock()
	if wait <= 0 {
		return true
	}
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

// isToken says whether s is a token (RFC 8555 §8.3): in the alphabet of base64url. It is
// part of a key then, and of nothing above it.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxToken
}

// isName says whether s is the name of a host, in lower case: it is part of a key, and of
// nothing above it.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		dot := c == '.' && i > 0 && s[i-1] != '.'
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && !dot {
			return false
		}
	}
	return s != "" && len(s) <= 255
}
