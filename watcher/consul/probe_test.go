package consul

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL(), consultest.TLS())
	a.Register(registration("by-tag", "v1", "urlprefix-/"))
	a.Register(withMeta(registration("by-meta"), "usher-route", "/"))
	a.Register(withMeta(registration("by-both", "urlprefix-/"), "usher-route", "/"))
	a.Register(registration("plain", "v1"))
	c := conf(a.Addr())
	c.Token = a.Token()
	consultest.Eventually(t, "all are in the catalog", func() bool {
		services, _, err := a.Client().Catalog().Services(nil)
		return err == nil && len(services) == 5
	})
	for name, test := range map[string]struct{ address, ca string }{
		"plain": {address: a.Addr()},
		"http":  {address: "http://" + a.Addr()},
		"https": {"https://" + a.TLSAddr(), a.CAFile()},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			c.Address, c.TLS.CAFile = test.address, test.ca
			found, err := Probe(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(found.Leader, "127.0.0.1:") || found.Announcing != 3 || found.Services != 5 {
				t.Errorf("got %+v", found)
			}
		})
	}
	t.Run("wrong token", func(t *testing.T) {
		c := c
		c.Token = "5e17ab1e-0000-4000-8000-00000000dead"
		var status api.StatusError
		if found, err := Probe(t.Context(), c); !errors.As(err, &status) || status.Code != http.StatusForbidden {
			t.Errorf("got %+v, %v", found, err)
		}
	})
	t.Run("nobody's certificate", func(t *testing.T) {
		c := c
		c.Address = "https://" + a.TLSAddr()
		if found, err := Probe(t.Context(), c); err == nil {
			t.Errorf("got %+v", found)
		}
	})
}

// TestLeastRights: each of the three rights is needed, they are enough, and Probe names
// the ones that are missing.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	const keyRule = `key_prefix "usher/" { policy = "read" }`
	all := []string{serviceRule, nodeRule, keyRule}
	a := consultest.Start(t, consultest.ACL())
	a.Register(registration("web", "urlprefix-/"))
	a.Put("usher/routes/one", "service: web")
	c := withStore(a.Addr(), "")
	without := func(rule string) (left []string) {
		return slices.DeleteFunc(slices.Clone(all), func(r string) bool { return r == rule })
	}
	for name, test := range map[string]struct {
		rules        []string
		missing      []string
		web, one     bool
		noToken, off bool
	}{
		"all":                        {rules: all, web: true, one: true},
		"without services":           {rules: without(serviceRule), missing: []string{serviceRule}, one: true},
		"without nodes":              {rules: without(nodeRule), missing: []string{nodeRule}, one: true},
		"without keys":               {rules: without(keyRule), missing: []string{keyRule}, web: true},
		"without services and nodes": {rules: []string{keyRule}, missing: []string{serviceRule, nodeRule}, one: true},
		"without any":                {rules: []string{`session_prefix "" { policy = "read" }`}, missing: all},
		"without a token":            {noToken: true, missing: all},
		"of one service": {
			rules:   []string{`service "web" { policy = "read" }`, nodeRule, keyRule},
			missing: []string{serviceRule}, web: true, one: true,
		},
		"of another folder": {
			rules:   []string{serviceRule, nodeRule, `key_prefix "other/" { policy = "read" }`},
			missing: []string{keyRule}, web: true,
		},
		"without keys, and none read": {rules: without(keyRule), web: true, off: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c
			if !test.noToken {
				c.Token = a.NewToken(strings.Join(test.rules, "\n"))
			}
			if test.off {
				c.KVPrefix = ""
			}
			found, err := Probe(t.Context(), c)
			if err != nil || !slices.Equal(found.Problems, test.missing) {
				t.Errorf("%q are missing, want %q; %v", found.Problems, test.missing, err)
			}
			j := keepStore(t, c)
			j.awaitSynced()
			web := false
			j.mu.Lock()
			for _, u := range j.updates {
				web = web || u.Service == "web" && len(u.Instances) == 1
			}
			j.mu.Unlock()
			if one := len(held(j.overrides())) == 1; web != test.web || one != test.one {
				t.Errorf("web is there: %v, want %v; the route: %v, want %v", web, test.web, one, test.one)
			}
		})
	}
}

// TestListRight: where listing keys is a right of its own, that one is named.
func TestListRight(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL(), consultest.Config(`acl { enable_key_list_policy = true }`))
	c := withStore(a.Addr(), a.NewToken(leastRules))
	const list = `key_prefix "usher/" { policy = "list" }`
	if found, err := Probe(t.Context(), c); err != nil || !slices.Equal(found.Problems, []string{list}) {
		t.Errorf("%q are missing, want %q; %v", found.Problems, list, err)
	}
	c.Token = a.NewToken(serviceRule + "\n" + nodeRule + "\n" + list)
	if found, err := Probe(t.Context(), c); err != nil || len(found.Problems) > 0 {
		t.Errorf("%q are missing; %v", found.Problems, err)
	}
}

func TestProbeFails(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		if found, err := Probe(t.Context(), conf(s.Listener.Addr().String())); err == nil {
			t.Errorf("got %+v", found)
		}
	})
	t.Run("no leader", func(t *testing.T) {
		s := fakeAgent(t, map[string]answer{"/v1/status/leader": {body: `""`}})
		if found, err := Probe(t.Context(), conf(s)); !errors.Is(err, errNoLeader) {
			t.Errorf("got %+v, %v", found, err)
		}
	})
	t.Run("its time is over", func(t *testing.T) {
		s := fakeAgent(t, map[string]answer{"/v1/status/leader": {hang: true}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if found, err := Probe(ctx, conf(s)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %+v, %v", found, err)
		}
	})
}
