package dashboard_test

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"usher/cmd/usher/internal/api"
)

func (d *double) overview(*http.Request) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	return api.Overview{
		Version: "1.0.0", Started: d.started, Now: at(0), Ready: true, Generation: 7,
		Swapped: at(90 * time.Second), Pinned: d.pinned,
		Config: api.ConfigState{
			File: "/etc/usher/usher.yaml", Hash: "5f2c9a", Taken: at(30 * time.Hour),
			Refused: []string{`usher.yaml:12:3: unknown key "adress": ` + evil}, RefusedAt: ptr(at(5 * time.Minute)),
		},
		Listeners: []api.Listener{
			{Name: "web", Protocol: "http", Address: "0.0.0.0:8080"},
			{Name: "secure", Protocol: "https", Address: "0.0.0.0:8443"},
		},
		Registries: []api.Registry{
			{
				Name: "consul-dc1", State: "consul-dc1: 41 services, 40 watched", Synced: true,
				Contact: "127.0.0.1:8500", LastContact: ptr(at(2 * time.Second)), Seen: 41, Watched: 40,
				Held: 2,
			},
			{
				Name: "consul-dc2", State: "stale", Synced: true, LastContact: ptr(at(11 * time.Minute)),
				Error: "dial tcp 10.2.0.1:8500: connection refused", Doubt: evil,
			},
			{Name: "file", State: "not synced", Snapshot: ptr(at(26 * time.Hour))},
		},
		Services: api.ServiceCounts{Seen: 41, Routed: 38, Skipped: []api.Skipped{
			{
				Reason: "announces no route", Count: 2, Examples: []string{"redis", evil},
			}, {Reason: "usher itself", Count: 1, Examples: []string{"usher"}},
		}},
		Instances: api.InstanceCounts{
			Total:  97,
			States: map[string]int{"healthy": 90, "ejected": 2, "held": 2, "critical": 2, "slow_start": 1},
		},
		Routes: 63, Refused: 2, Conflicts: 1,
		Totals: api.Totals{
			Requests: 123456, InFlight: 12, Connections: 210, Codes: map[string]uint64{},
			Errors: map[string]uint64{},
		},
	}
}

func traffic(*http.Request) any {
	t := api.Traffic{StepSeconds: 2}
	for i := range 150 {
		x := float64(i)
		p := api.Point{
			At: at(
				time.Duration(150-i) * 2 * time.Second,
			), Requests: 400 + 60*math.Sin(x/12), P50: 0.003 + 0.001*math.Sin(x/9),
			P99: 0.021 + 0.008*math.Sin(x/7), InFlight: int64(12 + 4*math.Sin(x/5)), Connections: int64(
				200 + 12*math.Sin(x/20),
			),
			Codes: map[string]float64{
				"2xx": 380 + 60*math.Sin(x/12), "4xx": 14,
			}, Errors: map[string]float64{"no_route": 3},
		}
		if i > 90 && i < 110 {
			p.Errors["connect_failed"], p.Codes["5xx"] = 9, 9
		}
		t.Points = append(t.Points, p)
	}
	return t
}

func routes(*http.Request) any {
	r := api.Routes{
		Version: 7,
		Refused: []api.Refusal{
			{
				Service: "cart", Registry: "consul-dc1", Instance: "cart-1",
				Where: "urlprefix-shop.example.com/cart weight=x", Reason: `weight "x" is no number`,
				NotServed: true,
			},
			{Service: evil, Registry: "consul-dc1", Where: evil, Reason: evil, NotServed: true},
		},
		Notices: []api.Refusal{{Where: "usher.yaml:30:5", Reason: "strip is longer than the path"}},
		Conflicts: []api.Conflict{
			{Match: "shop.example.com/api", Winner: "usher.yaml:12:5", Loser: "api@consul-dc1 " + evil},
		},
	}
	for i := range 60 {
		name := fmt.Sprintf("service-%02d", i)
		r.Routes = append(r.Routes, api.Route{
			ID: "tag:" + name, Source: "tag", Owner: name + "@consul-dc1", Protocol: "http", Hosts: []string{
				name + ".example.com",
			}, Path: "/", PathType: "prefix",
			Services: []string{
				name + "@consul-dc1",
			}, Action: "to " + name, Usable: 3 - i%4%3, Endpoints: 3, Conflicts: i % 30 / 29,
		})
	}
	r.Routes = append(r.Routes, api.Route{
		ID: evil, Source: "kv", Owner: evil, Protocol: "http", Hosts: []string{evil}, Path: "/" + evil,
		PathType: "regex",
		Services: []string{evil + "@consul-dc1"}, Action: "to " + evil, Conditions: []string{
			"header X-Beta: " + evil,
		}, Endpoints: 2,
	})
	return r
}

func instances(name string) []api.Instance {
	return []api.Instance{
		{
			ID: name + "-1", Address: "10.0.0.1:9001", Status: "passing", Weight: 1, Zone: "a", InFlight: 3,
			Latency: 0.0042,
			Health: &api.Health{
				State: "healthy", Since: at(time.Hour), EffectiveWeight: 1,
				Probe: &api.Probe{Verdict: "up", Result: "pass", At: at(3 * time.Second), Took: 0.0011},
			},
		},
		{
			ID: name + "-2", Address: "10.0.0.2:9001", Status: "passing", Weight: 1, Zone: "b",
			Health: &api.Health{
				State: "ejected", Cause: "5 failures in a row: " + evil, Since: at(time.Minute), EjectedUntil: ptr(
					at(-20 * time.Second),
				),
				Ejections: 3, Disagreement: true, Panic: true, Probe: &api.Probe{
					Verdict: "down", Result: "fail", Error: evil, At: at(time.Second),
				},
			},
		},
		{
			ID: name + "-3", Address: "10.0.0.3:9001", Status: "critical",
			Cause: "check service:" + name + "-3 is critical: " + evil, Weight: 2, Held: true,
			Health: &api.Health{
				State: "held", Cause: "the registry lost it", Since: at(10 * time.Minute), EffectiveWeight: 2,
			},
		},
	}
}

func (d *double) services(*http.Request) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []api.Service{}
	for i := range 40 {
		s := api.Service{
			Name: fmt.Sprintf("service-%02d", i), Registry: "consul-dc1", Routed: true,
			Confirmed: at(2 * time.Second), Age: 2,
		}
		s.Instances = instances(s.Name)[:1+i%3]
		list = append(list, s)
	}
	s := api.Service{
		Name: evil, Registry: "consul-dc1", Routed: true, Confirmed: at(2 * time.Second), Age: 2,
		Instances: instances(evil),
	}
	if d.held {
		s.Hold = &api.Hold{
			Instances: 2, Since: at(10 * time.Minute), Reason: "all instances vanished at once " + evil,
			Quorum: 2,
		}
	}
	skipped := api.Service{
		Name: "redis", Registry: "consul-dc1", Reason: "announces no route", Instances: []api.Instance{},
	}
	return append(list, s, skipped)
}

func (d *double) service(r *http.Request) any {
	name := r.PathValue("name")
	for _, s := range d.services(r).([]api.Service) {
		if s.Name == name || s.Name+"@"+s.Registry == name {
			n := uint64(time.Now().UnixMilli() / 10)
			s.Totals = &api.Totals{
				Requests: n, Codes: map[string]uint64{"2xx": n - 5, "5xx": 5}, Errors: map[string]uint64{
					"no_healthy_endpoint": 5,
				}, BytesSent: 1 << 30, BytesReceived: 1 << 20,
				Durations: []api.Bucket{{Seconds: 0.005, Count: n / 2}, {Seconds: 0.05, Count: n - 10}, {Count: n}},
			}
			return []api.Service{s}
		}
	}
	return nil
}

func (d *double) holds(r *http.Request) any {
	out := []api.Service{}
	for _, s := range d.services(r).([]api.Service) {
		if s.Hold != nil {
			out = append(out, s)
		}
	}
	return out
}

func numbered(n uint64) api.Generation {
	return api.Generation{
		Number: n, At: at(
			time.Duration(8-n) * 7 * time.Minute,
		), Took: 0.0023, Routes: 60 + int(n), Summary: "1 route added",
		Causes: []api.Cause{
			{
				At: at(time.Duration(8-n) * 7 * time.Minute), Kind: "registry", Registry: "consul-dc1",
				Service: "service-01", Detail: "instance " + evil + " registered",
			},
		},
		Changes: []api.Change{
			{Kind: "added", What: "route", Name: "tag:service-01", Owner: evil},
			{
				Kind: "changed", What: "instance", Name: "service-01/" + evil,
				Fields: []api.FieldChange{{Field: "weight", From: "1", To: evil}},
			},
			{Kind: "removed", What: "refusal", Name: "urlprefix-x"},
		},
	}
}

func (d *double) generations(*http.Request) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := api.Generations{Current: 7, Pinned: d.pinned}
	for n := uint64(7); n > 0; n-- {
		one := numbered(n)
		one.Changes = nil
		g.Generations = append(g.Generations, one)
	}
	return g
}

func generation(r *http.Request) any {
	var n uint64
	if _, err := fmt.Sscan(r.PathValue("n"), &n); err != nil || n < 1 || n > 7 {
		return nil
	}
	return numbered(n)
}

func diff(r *http.Request) any {
	d := api.Diff{Changes: numbered(3).Changes}
	_, _ = fmt.Sscan(r.URL.Query().Get("from"), &d.From)
	_, _ = fmt.Sscan(r.URL.Query().Get("to"), &d.To)
	return d
}

func explain(r *http.Request) any {
	route := routes(r).(api.Routes).Routes[60]
	return api.Explanation{
		Question: api.Question{Method: r.URL.Query().Get("method"), URL: r.URL.Query().Get("url")}, Generation: 7,
		Listener: "web", ListenerWhy: "it speaks http on port 8080", Outcome: "forwarded", Route: &route,
		Tried: []api.Tried{
			{
				Route: "tag:a", Owner: "a@consul-dc1", Host: evil, Path: "/", PathType: "exact",
				Verdict: "lost", Why: "the path is another",
			},
			{Route: evil, Owner: evil, Host: evil, Path: "/" + evil, PathType: "regex", Verdict: "won", Why: evil},
		},
		Arms: []api.ExplainedArm{
			{
				Weight: 95, Cluster: evil, Services: []string{evil}, Balance: "least_request", BalanceWhy: evil,
				Panic: true, Drawn: true, Endpoints: []api.ExplainedEndpoint{
					{
						Service: evil, ID: evil, Address: "10.0.0.1:9001", Usable: true, Share: 0.5,
						Status: "passing", InFlight: 2,
					},
					{Service: evil, ID: "b", Address: "10.0.0.2:9001", Status: "critical", Cause: evil, Held: true},
				},
			},
			{Weight: 5, Cluster: "canary", Balance: "round_robin", Chosen: -1},
		},
		Forwarded: &api.Forwarded{
			Endpoint: "10.0.0.1:9001", Protocol: "HTTP/1.1", Method: "GET", Target: "/" + evil, Host: "x",
			Headers: map[string][]string{"X-Evil": {evil}},
		},
		Filters: []string{"strip /orders " + evil},
		Policy: []api.Setting{
			{Path: "timeout", Value: "30s", Origin: "default"},
			{Path: "retry.attempts", Value: 2, Origin: evil},
		},
	}
}

func certificates(*http.Request) any {
	cert := func(name string, left time.Duration, problem string) api.Certificate {
		return api.Certificate{
			Names: []string{name}, Listeners: []string{"secure"}, Subject: "CN=" + name, Issuer: "Example CA",
			Serial: "0a:1b", Origin: "/etc/usher/" + name,
			NotBefore: at(2000 * time.Hour), NotAfter: at(-left), Problem: problem,
		}
	}
	return []api.Certificate{
		cert("shop.example.com", 1900*time.Hour, ""), cert(evil, 30*time.Hour, evil),
		cert("soon.example.com", 200*time.Hour, ""), cert("old.example.com", -time.Hour, ""),
	}
}

func settings(*http.Request) any {
	c := api.Config{
		ConfigState: api.ConfigState{File: "/etc/usher/usher.yaml", Hash: "5f2c9a", Taken: at(30 * time.Hour)},
	}
	for i := range 120 {
		c.Settings = append(
			c.Settings,
			api.Setting{Path: fmt.Sprintf("services.s%03d.timeout", i), Value: "30s", Origin: "default"},
		)
	}
	c.Settings = append(c.Settings,
		api.Setting{Path: "listeners[0].name", Value: evil, Origin: "usher.yaml:3:5"},
		api.Setting{Path: "admin.token", Value: "(secret)", Origin: "environment"},
		api.Setting{Path: "trusted", Value: []string{"10.0.0.0/8"}, Origin: "usher.yaml:9:2"})
	return c
}
