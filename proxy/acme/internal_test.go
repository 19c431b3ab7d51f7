package acme

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// memory is a KV of one process, whose locks can be lost.
type memory struct {
	KV

	mu     sync.Mutex
	values map[string][]byte
	gets   []string
	lost   chan struct{}
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets = append(m.gets, key)
	if v, ok := m.values[key]; ok {
		return v, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[key] = value
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return nil
}

func (m *memory) Lock(context.Context, string, bool) (func(context.Context) error, <-chan struct{}, error) {
	return func(context.Context) error { return nil }, m.lost, nil
}

func newMemory() *memory { return &memory{values: map[string][]byte{}, lost: make(chan struct{})} }

// TestLostLockEndsTheAttempt: who has lost the lock asks no authority any more.
func TestLostLockEndsTheAttempt(t *testing.T) {
	m := newMemory()
	s := Shared(m)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ctx = context.WithValue(ctx, attemptKey{}, &attempt{stop: cancel})
	if err := s.Lock(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	close(m.lost)
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), errLost) {
		t.Errorf("the attempt ended by %v", context.Cause(ctx))
	}
	if err := s.Unlock(ctx, "x"); err != nil {
		t.Error(err)
	}
}

func httpChallenge(name, token string) acme.Challenge {
	return acme.Challenge{
		Type: acme.ChallengeTypeHTTP01, Token: token, KeyAuthorization: token + ".thumbprint",
		Identifier: acme.Identifier{Type: "dns", Value: name},
	}
}

// TestChallengeAnswers: any usher with the same store answers, for the name and the token
// that are asked about alone, and for as long as they are.
func TestChallengeAnswers(t *testing.T) {
	store := Shared(newMemory())
	one, two := newChallenges(store), newChallenges(store)
	c := httpChallenge("shop.example.com", "token")
	answers := func(want bool, host, path string) {
		t.Helper()
		for _, cs := range []*challenges{one, two} {
			body, ok := cs.answer(t.Context(), host, path)
			if ok != want || ok && string(body) != "token.thumbprint" {
				t.Errorf("%s %s: %q, %v", host, path, body, ok)
			}
		}
	}
	answers(false, "shop.example.com", challengePath+"token")
	if err := one.Present(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	answers(true, "shop.example.com", challengePath+"token")
	answers(false, "example.com", challengePath+"token")
	answers(false, "shop.example.com", challengePath+"token/")
	answers(false, "shop.example.com", challengePath+"other")
	if err := one.CleanUp(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	answers(false, "shop.example.com", challengePath+"token")
	if err := one.Present(t.Context(), httpChallenge("shop.example.com", "../../key")); err == nil {
		t.Error("a path was taken for a token")
	}
}

// TestLooksAreBounded: strangers' questions reach the store at a bounded rate, and those
// that would wait too long are not answered.
func TestLooksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		cs := newChallenges(Shared(m))
		if err := cs.Present(t.Context(), httpChallenge("shop.example.com", "own")); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var asking sync.WaitGroup
		for range 1000 {
			asking.Go(func() { cs.answer(t.Context(), "shop.example.com", challengePath+"x") })
		}
		asking.Wait()
		took := time.Since(begin)
		if n, most := len(m.gets), lookBurst+1+int(took/lookEvery); n > most || n < lookBurst || took > lookTime {
			t.Errorf("%d looks in %s", n, took)
		}
		if _, ok := cs.answer(t.Context(), "shop.example.com", challengePath+"own"); !ok || time.Since(begin) != took {
			t.Error("an usher's own questions wait as well")
		}
	})
}

// FuzzQuestion: whatever is asked for, the store is looked into below its folders alone.
func FuzzQuestion(f *testing.F) {
	for _, s := range []string{"token", "../key", "a.example.com", "..", ".", "a..b", "", "\x00", "a/b", "%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := newMemory()
		cs := newChallenges(Shared(m))
		cs.answer(t.Context(), s, challengePath+s)
		_, _ = cs.certificate(t.Context(), s)
		for _, key := range m.gets {
			folder, file := path.Split(key)
			if path.Clean(key) != key || !strings.HasSuffix(file, ".json") ||
				folder != "challenges/http-01/" && folder != "challenges/tls-alpn-01/" {
				t.Errorf("%q leads to %q", s, key)
			}
		}
	})
}
