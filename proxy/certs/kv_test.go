package certs_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/certs"
)

// double is a key-value store in memory.
type double struct {
	id string

	mu      sync.Mutex
	values  map[string][]byte
	changed chan struct{}
	// prefixes are those that were asked for; watching is how many are watched.
	prefixes []string
	watching int
}

func newDouble(id string) *double { return &double{id: id, changed: make(chan struct{})} }

// set makes the store hold these and tells of it.
func (d *double) set(values map[string][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.values = values
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *double) kv() certs.KV {
	return certs.KV{ID: d.id, Watch: func(ctx context.Context, prefix string, got func(map[string][]byte)) error {
		d.mu.Lock()
		d.prefixes = append(d.prefixes, prefix)
		d.watching++
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			d.watching--
			d.mu.Unlock()
		}()
		for {
			d.mu.Lock()
			values, changed := maps.Clone(d.values), d.changed
			d.mu.Unlock()
			if values != nil {
				got(values)
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
	}}
}

func (d *double) watches() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.watching
}

func TestKV(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	store := newDouble("one")
	web := []config.Listener{{Name: "web", Protocol: "https", TLS: config.ListenerTLS{CertificateKV: "certs/"}}}
	s.Apply(web, store.kv())
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	s.Wait(short) // there is no answer yet
	address, _ := serve(t, s.Config("web"))
	if got := subject(address, "a.example", nil); got == "a.example" {
		t.Error("a certificate from nowhere")
	}
	a, b, c := ca.issue("a.example"), ca.issue("b.example"), ca.issue("c.example")
	all := map[string][]byte{
		"a.example": a.both(), "team/b.crt": b.cert, "team/b.key": b.key, "c.pem": c.both(), "team/": nil,
		"bad": []byte("nonsense"),
	}
	store.set(all)
	s.Wait(context.Background())
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		eventually(t, name, func() bool { return subject(address, name, nil) == name })
	}
	if n := s.refused(); n != 1 || s.log.count("cert=certs/bad") != 1 {
		t.Errorf("%v refused\n%s", n, s.log)
	}
	if at, n := s.sample("usher_tls_certificate_not_after_timestamp_seconds",
		map[string]string{"cert": "certs/team/b.crt"}); at != float64(b.leaf.NotAfter.Unix()) || n != 3 {
		t.Errorf("%d certificates shown, that of b until %v", n, at)
	}
	// Another way to ask: what is known stays until there is an answer.
	second := newDouble("two")
	s.Apply(web, second.kv())
	eventually(t, "the first store is left alone", func() bool { return store.watches() == 0 && second.watches() == 1 })
	if got := subject(address, "b.example", nil); got != "b.example" {
		t.Errorf("got %s", got)
	}
	second.set(map[string][]byte{"a.example": a.both()})
	eventually(t, "the second answers", func() bool { return subject(address, "b.example", nil) == "a.example" })
	// The same way again changes nothing.
	s.Apply(web, second.kv())
	if len(second.prefixes) != 1 {
		t.Errorf("asked for %q", second.prefixes)
	}
	s.Apply(nil, second.kv())
	eventually(t, "nobody is asked", func() bool { return second.watches() == 0 })
}

// A store that is not there, or can never be asked, is told once.
func TestNoKV(t *testing.T) {
	t.Parallel()
	s := begin(t)
	web := []config.Listener{{Name: "web", Protocol: "https", TLS: config.ListenerTLS{CertificateKV: "certs/"}}}
	s.Apply(web, certs.KV{})
	s.Wait(context.Background())
	if s.log.count("there is no key-value store") != 1 || s.refused() != 1 {
		t.Errorf("not told:\n%s", s.log)
	}
	s.Apply(web, certs.KV{ID: "bad", Watch: func(context.Context, string, func(map[string][]byte)) error {
		return errors.New("no such address")
	}})
	eventually(t, "told", func() bool { return s.log.count("no such address") == 1 })
	good := newDouble("good")
	good.set(map[string][]byte{})
	s.Apply(web, good.kv())
	s.Wait(context.Background())
	if n := s.refused(); n != 0 {
		t.Errorf("%v refused", n)
	}
}
