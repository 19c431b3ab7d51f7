package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// The API for operators, asked of a real usher.

// An operator's word ends a hold, for one service or for one of a registry.
func TestReleaseAHold(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, "")
	s.agent.RestartEmpty()
	s.u.holding(4)
	s.serve("shop.test", s.shop)
	var of []service
	if code := s.u.api(http.MethodGet, "services/shop", &of); code != http.StatusOK || len(of) != 1 {
		t.Fatalf("%d %+v", code, of)
	}
	h := of[0].Hold
	if h == nil || h.Instances != 4 || h.Quorum != 2 || h.Reason == "" || time.Since(h.Since) > patience {
		t.Fatalf("the hold is %+v", h)
	}
	for _, in := range of[0].Instances {
		if !in.Held {
			t.Errorf("%s is not marked as held", in.ID)
		}
	}
	release := "holds/shop/release"
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if code := s.u.api(method, release, nil); code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, code)
		}
	}
	for name, fields := range map[string][]string{
		"of another site":                     {"Sec-Fetch-Site", "cross-site"},
		"of a sister site":                    {"Sec-Fetch-Site", "same-site"},
		"of another origin, by an old client": {"Origin", "https://elsewhere.test"},
		"of no origin":                        {"Origin", "null"},
	} {
		if code := s.u.api(http.MethodPost, release, nil, fields...); code != http.StatusForbidden {
			t.Errorf("a POST %s: %d", name, code)
		}
	}
	for _, name := range []string{"nobody", "shop@elsewhere", "sho", "shop%2Frelease"} {
		var why struct{ Error string }
		code := s.u.api(http.MethodPost, "holds/"+name+"/release", &why)
		if code != http.StatusNotFound || why.Error == "" {
			t.Errorf("release of %q: %d %q", name, code, why.Error)
		}
	}
	s.u.holding(4) // none of that did anything
	var done struct{ Released int }
	code := s.u.api(http.MethodPost, "holds/shop@consul/release", &done)
	if code != http.StatusOK || done.Released != 4 {
		t.Errorf("release: %d, %d released", code, done.Released)
	}
	s.u.holding(0)
	s.u.waitStatus("shop.test", http.StatusNotFound)
	s.u.waitLog("held instances released")
	if code := s.u.api(http.MethodPost, release, nil); code != http.StatusNotFound {
		t.Errorf("a release of a service that has gone: %d", code)
	}
}

// What the endpoints answer, by their documented names.
func TestAPI(t *testing.T) {
	t.Parallel()
	u := startWithFile(t, newBackend(t, "b", nil), `
telemetry: {address: "127.0.0.1:0"}
routes:
  - {name: first, match: {hosts: [first.test], path: /a, path_type: exact}, service: s}
  - {name: split, match: {hosts: [split.test]}, split: [{service: s, weight: 9}, {service: nobody, weight: 1}]}
`)
	shapes := map[string][]string{
		"registries": {
			"name", "state", "synced", "last_contact", "services_seen", "services_watched", "held_instances",
		},
		"services":   {"name", "registry", "routed", "confirmed", "age_seconds", "instances"},
		"services/s": {"name", "registry", "routed", "confirmed", "age_seconds", "instances"},
	}
	for path, keys := range shapes {
		var list []map[string]json.RawMessage
		if code := u.api(http.MethodGet, path, &list); code != http.StatusOK || len(list) != 1 {
			t.Errorf("%s: %d, %d entries", path, code, len(list))
			continue
		}
		for _, key := range keys {
			if _, ok := list[0][key]; !ok {
				t.Errorf("%s has no %q: %v", path, key, list[0])
			}
		}
	}
	if code := u.api(http.MethodGet, "services/s@file", &[]service{}); code != http.StatusOK {
		t.Errorf("services/s@file: %d", code)
	}
	if code := u.api(http.MethodGet, "services/nobody", nil); code != http.StatusNotFound {
		t.Errorf("services/nobody: %d", code)
	}
	var holds []service
	if code := u.api(http.MethodGet, "holds", &holds); code != http.StatusOK || holds == nil || len(holds) != 0 {
		t.Errorf("holds: %d %v, an empty list is meant", code, holds)
	}
	if code := u.api(http.MethodGet, "nothing", nil); code != http.StatusNotFound {
		t.Errorf("nothing: %d", code)
	}
}

// The routes as they are served.
func TestAPIRoutes(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "b", nil)
	u := launch(t, withFile+`
routes:
  - {name: first, match: {hosts: [first.test], path: /a, path_type: exact}, service: s}
  - {name: over, match: {hosts: [s.test]}, service: s}
  - {name: own, match: {hosts: [own.test]}, respond: {status: 204}}
`)
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(
		"services: [{name: s, routes: [\"s.test/\", \"bad[.test/\"], instances: [{address: %q}]}]\n", b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", http.StatusOK)
	var got struct {
		Version uint64
		Routes  []struct {
			ID, Source, Owner, Path string
			PathType                string `json:"path_type"`
			Hosts, Services         []string
		}
		Refused   []struct{ Service, Registry, Where, Reason string }
		Notices   []any
		Conflicts []struct{ Match, Winner, Loser string }
	}
	if code := u.api(http.MethodGet, "routes", &got); code != http.StatusOK || got.Version == 0 {
		t.Fatalf("%d, version %d", code, got.Version)
	}
	found := map[string]bool{}
	for _, r := range got.Routes {
		found[r.ID] = true
		if r.Hosts[0] == "first.test" && (r.Path != "/a" || r.PathType != "exact" || r.Source != "config" ||
			r.Services[0] != "s") {
			t.Errorf("%+v", r)
		}
		if r.Hosts[0] == "own.test" && (r.Services == nil || len(r.Services) > 0) {
			t.Errorf("a route that answers by itself has the services %q, an empty list is meant", r.Services)
		}
	}
	if len(found) != len(got.Routes) || len(got.Routes) < 2 {
		t.Errorf("these routes are told: %+v", got.Routes)
	}
	if len(got.Refused) != 1 || got.Refused[0].Service != "s" || got.Refused[0].Reason == "" {
		t.Errorf("these rules are refused: %+v", got.Refused)
	}
	if len(got.Conflicts) != 1 {
		t.Errorf("these claims are outranked: %+v", got.Conflicts)
	}
}

// The telemetry listener, which may be open to a network, has no API at all.
func TestTelemetryHasNoAPI(t *testing.T) {
	t.Parallel()
	u := startWithFile(t, newBackend(t, "b", nil), `telemetry: {address: "127.0.0.1:0"}`)
	u.waitLog("telemetry listening")
	for _, line := range u.logged() {
		var rec struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &rec) == nil && rec.Msg == "telemetry listening" {
			u.admin = "http://" + rec.Address
		}
	}
	for _, path := range []string{"services", "services/s", "holds", "routes", "registries"} {
		if code := u.api(http.MethodGet, path, nil); code != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, code)
		}
	}
	if code := u.api(http.MethodPost, "holds/s/release", nil); code != http.StatusNotFound {
		t.Errorf("POST: %d", code)
	}
	if code, _ := get(t, u.admin+"/livez", ""); code != http.StatusOK {
		t.Errorf("livez: %d", code)
	}
}
