package fabio

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher/consul/consultest"
)

// A real agent, with access control: the token is sent, and what Fabio has there is
// found.
func TestReadAgent(t *testing.T) {
	a := consultest.Start(t, consultest.ACL())
	a.Register(api.AgentServiceRegistration{
		ID: "w1", Name: "web", Address: "10.0.0.1", Port: 80,
		Tags: []string{"urlprefix-shop.test/ weight=0", "urlprefix-x.test/ nonsense=1", "blue"},
	})
	a.Register(api.AgentServiceRegistration{ID: "w2", Name: "web", Port: 81, Tags: []string{"urlprefix-shop.test/"}})
	a.Register(api.AgentServiceRegistration{Name: "silent", Port: 82})
	for key, value := range map[string]string{
		"fabio/config":   "route add static /s http://10.0.0.9:80/",
		"fabio/config/x": "route del web x.test/",
		"other":          "x",
	} {
		if _, err := a.Client().KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	conf := config.Consul{Address: a.Addr(), Token: a.Token()}
	var got *Agent
	consultest.Eventually(t, "both instances are in the catalog", func() bool {
		var err error
		if got, err = ReadAgent(t.Context(), conf, "/fabio/config", "urlprefix-"); err != nil {
			t.Fatal(err)
		}
		return len(got.Instances) == 2
	})
	if len(got.KV.Texts) != 2 || got.KV.Texts[1].Name != "kv fabio/config/x" || got.Others < 1 {
		t.Errorf("got %+v", got)
	}
	i := slices.IndexFunc(got.Instances, func(in AgentInstance) bool { return in.ServiceID == "w2" })
	if in := got.Instances[i]; in.address() != "127.0.0.1:81" || in.Datacenter != "dc1" {
		t.Errorf("an instance without an address of its own: %+v", in)
	}
	r := Convert(Input{Agent: got, ConsulAddress: a.Addr()})
	if !has(r.Notes, Differs, "urlprefix-shop.test/ weight=0") || !has(r.Notes, Differs, "nonsense") {
		t.Errorf("notes %v", r.Notes)
	}
	if !has(r.Notes, Todo, "route x.test/", "deletes it") {
		t.Errorf("the deleted route: %v", r.Notes)
	}
	l := load(t, t.TempDir(), r)
	if l.reached("any.test/s") != "static" || l.config.Registries[0].Consul.Address != a.Addr() {
		t.Errorf("config\n%s\ncatalog\n%s", r.Config, r.Catalog)
	}
	conf.Token = "5e17ab1e-0000-4000-8000-00000000dead"
	if _, err := ReadAgent(t.Context(), conf, "fabio/config", "urlprefix-"); err == nil {
		t.Error("a wrong token is no failure")
	}
}

func TestReadAgentOverTLS(t *testing.T) {
	a := consultest.Start(t, consultest.TLS())
	conf := config.Consul{Address: "https://" + a.TLSAddr()}
	if _, err := ReadAgent(t.Context(), conf, "fabio/config", "urlprefix-"); err == nil {
		t.Error("an unknown authority is trusted")
	}
	conf.TLS.CAFile = a.CAFile()
	if _, err := ReadAgent(t.Context(), conf, "fabio/config", "urlprefix-"); err != nil {
		t.Errorf("with its authority: %v", err)
	}
}

// What is no answer is an error that says what was asked.
func TestReadAgentFails(t *testing.T) {
	answer := func(status int, body string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
	}
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"refused":  {http.StatusForbidden, "Permission denied", "403"},
		"not JSON": {http.StatusOK, "<html>", "/v1/kv/fabio/config"},
	} {
		t.Run(name, func(t *testing.T) {
			s := answer(c.status, c.body)
			defer s.Close()
			_, err := ReadAgent(t.Context(), config.Consul{Address: s.URL}, "fabio/config", "urlprefix-")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadAgent(ended, config.Consul{Address: "127.0.0.1:1"}, "x", "y"); err == nil {
		t.Error("nobody answers, and it is no failure")
	}
	if _, err := ReadAgent(t.Context(), config.Consul{Address: "unix:///run/consul.sock"}, "x", "y"); err == nil {
		t.Error("a socket is taken for a host")
	}
}
