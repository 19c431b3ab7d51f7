package config

import "testing"

// A route takes the protocol of the listeners it names, unless it says one.
func TestRouteProtocol(t *testing.T) {
	cfg := mustLoad(t, `
listeners:
  - {name: web, address: ":1"}
  - {name: db, address: ":2", protocol: tcp}
  - {name: pass, address: ":3", protocol: tls-passthrough, proxy_protocol: {from: [10.0.0.1], required: false}}
routes:
  - {name: a, service: x}
  - {name: b, match: {listeners: [web]}, service: x}
  - {name: c, match: {listeners: [db]}, service: x}
  - {name: d, match: {listeners: [pass], hosts: ["*.example.com"]}, service: x}
  - {name: e, protocol: tcp, service: x}
  - {name: f, protocol: http, service: x}
`, Options{})
	want := []string{"", "", "tcp", "tls-passthrough", "tcp", "http"}
	for i, r := range cfg.Routes {
		if r.Protocol != want[i] {
			t.Errorf("route %s: got %q, want %q", r.Name, r.Protocol, want[i])
		}
	}
	if p := cfg.Listeners[2].ProxyProtocol; p.Required || p.Timeout <= 0 || p.From[0] != "10.0.0.1" {
		t.Errorf("got %+v", p)
	}
}

// In a key-value store nobody knows the listeners: the route says its protocol.
func TestRouteProtocolOfEntry(t *testing.T) {
	r, err := DecodeRoute("kv", "db", []byte("{protocol: tcp, match: {listeners: [db]}, service: mysql}"))
	if err != nil || r.Protocol != ProtocolTCP {
		t.Errorf("got %q, %v", r.Protocol, err)
	}
	if _, err := DecodeRoute("kv", "db", []byte("{protocol: tcp, match: {path: /x}, service: mysql}")); err == nil {
		t.Error("a path on a route of tcp is taken")
	}
}
