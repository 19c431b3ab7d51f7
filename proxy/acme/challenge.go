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
	// lookTime bounds a look into the store, lookAtOnce how many there are at a time: the
	// question may be anybody's.
	lookTime   = 3 * time.Second
	lookAtOnce = 8
	// maxToken bounds a token, in bytes; Let's Encrypt's have 43.
	maxToken = 128
)

// challenges answers the questions of authorities: its own from memory, those of other
// ushers from the store. It is an acmez.Solver that never listens by itself.
type challenges struct {
	store Store
	// manages says whether a name is looked after.
	manages func(name string) bool
	looks   chan struct{}

	mu sync.Mutex
	// own are those that this usher has caused, by their keys in the store.
	own map[string]acme.Challenge
}

func newChallenges(store Store, manages func(string) bool) *challenges {
	return &challenges{
		store: store, manages: manages, looks: make(chan struct{}, lookAtOnce), own: map[string]acme.Challenge{},
	}
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
	if !isToken(c.Token) {
		return fmt.Errorf("the authority's token %.200q is none", c.Token)
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
	if !ok || !isToken(token) || !cs.manages(host) {
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
	if !cs.manages(name) {
		return nil, fmt.Errorf("an authority asks for %.255q, which is not looked after", name)
	}
	c, err := cs.find(ctx, tlsKey(name))
	if err != nil {
		return nil, err
	}
	return acmez.TLSALPN01ChallengeCert(c)
}

var errBusy = errors.New("too many questions of authorities at a time")

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
	select {
	case cs.looks <- struct{}{}:
		defer func() { <-cs.looks }()
	case <-ctx.Done():
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
