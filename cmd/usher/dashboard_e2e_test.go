package main_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/cmd/usher/internal/browsertest"
	"usher/watcher/consul/consultest"
)

// An instance dies and returns on the screen, by the registry's word and by usher's own
// experience; its tables are compared, requests explained, and each page of it looked at.
func TestDashboardLive(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	agent := consultest.Start(t)
	s := newStageAt(t, agent, agent.Addr(), 3, "")
	s.u.write(fmt.Sprintf(`
listeners:
  - {name: web, address: "127.0.0.1:0"}
  - {name: secure, address: "127.0.0.1:0", protocol: https, tls: {certificates: [{cert: %q, key: %q}]}}
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q}]
services: {shop: {timeout: 5s, retry: {attempts: 2}}}
`, c.cert, c.key, agent.Addr()))
	s.u.waitLog(`"msg":"configuration reloaded"`)
	startLoad(t, s.u.web+"/", "shop.test", lowRate)
	lost := startLoad(t, s.u.web+"/", "nowhere.test", 3) // for some errors of usher's own
	browsertest.Play(t, s.u.admin, "live", s.deeds())
	browsertest.Play(t, s.u.admin, "past", nil)
	browsertest.Play(t, s.u.admin, "explained", nil)
	browsertest.Play(t, s.u.admin, "pages", nil)
	lost.finish()
}

// deeds are what may happen to the instances of shop.
func (s *stage) deeds() browsertest.Deeds {
	byName := map[string]*backend{}
	for _, b := range s.shop {
		byName[b.name] = b
	}
	check := func(status string) func(string) error {
		return func(name string) error {
			return s.agent.Client().Agent().UpdateTTL("check:"+name, "", status)
		}
	}
	return browsertest.Deeds{
		"critical": check(api.HealthCritical), "passing": check(api.HealthPassing),
		"kill":   func(name string) error { return byName[name].server.Close() },
		"revive": func(name string) error { return byName[name].revive(s.t) },
		"announce": func(tag string) error {
			b := newBackend(s.t, "extra", nil)
			return s.agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
				ID: "extra", Name: "extra", Address: "127.0.0.1", Port: b.port, Tags: []string{tag},
			})
		},
		"break": func(string) error {
			s.u.write("listeners: [{name: web, adress: \"127.0.0.1:0\"}]\n")
			return nil
		},
	}
}

// revive starts a backend that was closed, at the address it had.
func (b *backend) revive(t *testing.T) error {
	ln, err := net.Listen("tcp", b.address())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: b.server.Handler, ReadHeaderTimeout: b.server.ReadHeaderTimeout}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return nil
}

// Ten thousand routes are filtered in less than 100 ms.
func TestDashboardManyRoutes(t *testing.T) {
	t.Parallel()
	u := launch(t, withFile)
	var list strings.Builder
	list.WriteString("services:\n")
	for i := range 500 {
		fmt.Fprintf(&list, "  - name: svc-%04d\n    instances: [{address: \"127.0.0.1:%d\"}]\n", i, 20000+i)
		list.WriteString("    routes:\n")
		for n := range 20 {
			fmt.Fprintf(&list, "      - \"team-%d.svc-%04d.test/path-%d\"\n", i%40, i, n)
		}
	}
	writeFile(t, u.dir+"/services.yaml", list.String())
	u.waitLog(`"msg":"services"`)
	browsertest.Play(t, u.admin, "many", nil)
}
