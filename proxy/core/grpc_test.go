package core_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"usher/config"
	"usher/proxy/core"
	"usher/proxy/proxytest"
)

// Each reason has the status of gRPC that tells a client what to do.
func TestReasonsOfGRPC(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"no_route": "unimplemented", "no_healthy_endpoint": "unavailable", "connect_failed": "unavailable",
		"connect_timeout": "unavailable", "upstream_timeout": "deadline_exceeded", "upstream_reset": "unavailable",
		"upstream_protocol": "internal", "total_timeout": "deadline_exceeded", "deadline_exceeded": "deadline_exceeded",
		"retry_budget": "unavailable", "loop": "internal", "access_denied": "permission_denied",
		"unauthorized": "unauthenticated", "overloaded": "unavailable", "bad_request": "internal",
		"method_not_allowed": "unimplemented", "expectation_failed": "internal", "head_too_large": "resource_exhausted",
		"body_too_large": "resource_exhausted", "coding_not_served": "unimplemented",
		"version_not_served": "unimplemented", "request_timeout": "deadline_exceeded", "client_gone": "cancelled",
		"internal_error": "internal", "mesh_denied": "permission_denied",
	}
	words := core.Reasons()
	for i, word := range words {
		if got := core.Reason(i + 1).GRPC().String(); got != want[word] {
			t.Errorf("%s: got %s, want %q", word, got, want[word])
		}
	}
	if len(words) != len(want) {
		t.Errorf("reasons are %q, expected are %q", words, slices.Sorted(maps.Keys(want)))
	}
}

// ask asks for a path as a call of gRPC does.
func askCall(c *proxytest.Client, path, fields string) *proxytest.Response {
	return ask(c, "POST "+path, "Content-Type: application/grpc\r\nContent-Length: 0\r\n"+fields)
}

// Routes of services and methods take calls and nothing else.
func TestRouteOfGRPC(t *testing.T) {
	t.Parallel()
	s := begin(t)
	services := map[string]string{}
	for _, name := range []string{"get", "all", "any", "beta", "web"} {
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
		services[name] = proxytest.Answering(t, answer).Addr
	}
	s.publish(loaded(t, `
routes:
  - {name: web, service: web}
  - {name: any, service: any, match: {grpc: {}}}
  - {name: all, service: all, match: {grpc: {service: pkg.Service}}}
  - {name: get, service: get, match: {grpc: {service: pkg.Service, method: Get}}}
  - {name: beta, service: beta, match: {grpc: {service: pkg.Service, method: Get}, headers: {X-Beta: "1"}}}
  - {name: moved, match: {grpc: {service: old.Service}}, redirect: {code: 308, to: "https://b.example$path"}}
  - {name: fixed, match: {grpc: {service: fixed.Service}}, respond: {status: 204}}
`, nil), services)
	for path, want := range map[string]string{
		"/pkg.Service/Get": "get", "/pkg.Service/Gets": "all", "/pkg.Service/": "all", "/pkg.Services/Get": "any",
		"/pkg.Service": "any", "/": "any",
	} {
		c := s.Dial()
		if r := askCall(c, path, ""); r.Text != want {
			t.Errorf("call of %s: got %q", path, r.Text)
		}
		if r := ask(c, "POST "+path, "Content-Type: application/grpc-web\r\nContent-Length: 0\r\n"); r.Text != "web" {
			t.Errorf("POST %s: got %q", path, r.Text)
		}
		if r := ask(c, "GET "+path, "Content-Type: application/grpc\r\n"); r.Text != "web" {
			t.Errorf("GET %s: got %q", path, r.Text)
		}
	}
	if r := askCall(s.Dial(), "/pkg.Service/Get", "X-Beta: 1\r\n"); r.Text != "beta" {
		t.Errorf("got %q", r.Text)
	}
	// What a route answers by itself is HTTP all the same.
	if r := askCall(s.Dial(), "/old.Service/M", ""); r.StatusCode != 308 || r.Header.Get("Grpc-Status") != "" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	if r := askCall(s.Dial(), "/fixed.Service/M", ""); r.StatusCode != 204 || r.Header.Get("Grpc-Status") != "" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
}

// Pages are for who reads pages. A retry that the budget does not allow has the status of
// what failed.
func TestFailuresOfGRPC(t *testing.T) {
	t.Parallel()
	s := begin(t)
	resets := proxytest.Raw(t, func(c *proxytest.Conn) { c.Head() }).Addr
	s.publish(loaded(t, `
error_pages: {5xx: down.html, no_route: down.html}
defaults: {retry: {attempts: 1, budget: {share: 0, min_per_second: 0}, grpc_status: [unavailable]}}
routes:
  - {name: dead, service: dead, match: {hosts: [a.example]}}
  - {name: closed, service: closed, match: {path: /closed, hosts: [a.example]}}
`, map[string]string{"down.html": "<p>down</p>"}), map[string]string{
		"dead": resets + "," + resets,
	})
	for _, tc := range []struct {
		path, fields, reason string
		status               config.GRPCStatus
		message              string
	}{
		{"/", "", "retry_budget", config.GRPCUnavailable, "retry_budget: upstream_reset"},
		{"/closed", "", "no_healthy_endpoint", config.GRPCUnavailable, "no_healthy_endpoint"},
		{"/", "Host: b.example\r\n", "no_route", config.GRPCUnimplemented, "no_route"},
	} {
		r := askCall(s.Dial(), tc.path, tc.fields)
		h := r.Header
		if r.StatusCode != 200 || h.Get("Grpc-Status") != strconv.Itoa(int(tc.status)) || r.Text != "" ||
			h.Get("Grpc-Message") != tc.message || h.Get("X-Usher-Reason") != tc.reason {
			t.Errorf("%s: got %d %v %q", tc.reason, r.StatusCode, h, r.Text)
		}
	}
}
