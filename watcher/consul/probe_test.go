package consul

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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
