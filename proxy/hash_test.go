package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/routetable"
)

// Requests of one key go to one endpoint, those of many to all; without the key to any.
func TestHashKeys(t *testing.T) {
	t.Parallel()
	for key, c := range map[string]struct {
		// request is a request whose key is %s: first line and fields but for the Host.
		request string
		// same are variants of the key that are none, without are requests without one.
		same, without []string
	}{
		"path": {"GET /%s?x=1 HTTP/1.1\r\nX: 1\r\n", []string{"GET /%s?x=2 HTTP/1.1\r\nX: 2\r\n"}, nil},
		"header:X-User": {
			"GET /1 HTTP/1.1\r\nX-User: %s\r\n",
			[]string{"GET /2 HTTP/1.1\r\nx-user:   %s\r\n"},
			[]string{"GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nX-User:\r\n"},
		},
		"cookie:sid": {
			"GET /1 HTTP/1.1\r\nCookie: sid=%s\r\n",
			[]string{
				"GET /2 HTTP/1.1\r\nCookie: a=b; sid=%s; c=d\r\n",
				"GET / HTTP/1.1\r\nCookie: a=b\r\nCookie: sid=\"%s\"\r\n",
			},
			[]string{"GET / HTTP/1.1\r\nCookie: Sid=1\r\n", "GET / HTTP/1.1\r\nCookie: sid=\r\n"},
		},
		"query:user": {
			"GET /1?user=%s HTTP/1.1\r\n",
			[]string{"GET /2?a=b&user=%s&user=other HTTP/1.1\r\n"},
			[]string{"GET /?users=1 HTTP/1.1\r\n", "GET /user=1 HTTP/1.1\r\n"},
		},
		"client_ip": {
			"GET /1 HTTP/1.1\r\nX-Forwarded-For: 10.0.0.%s\r\n",
			[]string{"GET /2 HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6, 10.0.0.%s, 127.0.0.1\r\n"},
			nil,
		},
	} {
		for _, policy := range []string{"maglev", "ring_hash"} {
			t.Run(key+"/"+policy, func(t *testing.T) {
				t.Parallel()
				_, addresses := named(t, 5)
				u := proxytest.Start(t, proxytest.Options{
					Listeners: []config.Listener{{TrustedProxies: []string{"127.0.0.1"}}},
					Policy:    config.Policy{Balance: policy, HashKey: key, RingHash: config.RingHash{LoadFactor: 10}},
					Services:  proxytest.Origins(addresses...),
				})
				client := u.Dial()
				ask := func(request string) string {
					client.Send("%s", request+"Host: a.example\r\n\r\n")
					return client.Read("GET").Text
				}
				all := map[string]bool{}
				for k := range 60 {
					home := ask(fmt.Sprintf(c.request, fmt.Sprint(k)))
					all[home] = true
					for _, variant := range append(c.same, c.request) {
						if at := ask(fmt.Sprintf(variant, fmt.Sprint(k))); at != home {
							t.Fatalf("key %d: %q goes to %s, not %s", k, variant, at, home)
						}
					}
				}
				if len(all) != 5 {
					t.Errorf("60 keys go to %v", all)
				}
				for _, request := range c.without {
					seen := map[string]bool{}
					for range 60 {
						seen[ask(request)] = true
					}
					if len(seen) < 3 {
						t.Errorf("%q goes to %v", request, seen)
					}
				}
			})
		}
	}
}

// The host is a key, whatever its case and its port.
func TestHashKeyHost(t *testing.T) {
	t.Parallel()
	_, addresses := named(t, 5)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Balance: "maglev", HashKey: "host"}, Services: proxytest.Origins(addresses...),
	})
	client := u.Dial()
	all := map[string]bool{}
	for k := range 60 {
		var at [3]string
		for i, host := range []string{"%d.example", "%d.EXAMPLE", "%d.Example:8080"} {
			client.Send("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", fmt.Sprintf(host, k))
			at[i] = client.Read("GET").Text
		}
		all[at[0]] = true
		if at[0] != at[1] || at[1] != at[2] {
			t.Errorf("host %d goes to %v", k, at)
		}
	}
	if len(all) != 5 {
		t.Errorf("60 hosts go to %v", all)
	}
}

// A stranger's X-Forwarded-For is no key: it would choose an endpoint by it.
func TestHashKeyOfAStranger(t *testing.T) {
	t.Parallel()
	_, addresses := named(t, 5)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Balance: "maglev", HashKey: "client_ip"}, Services: proxytest.Origins(addresses...),
	})
	client, all := u.Dial(), map[string]bool{}
	for k := range 40 {
		client.Send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.%d\r\n\r\n", k)
		all[client.Read("GET").Text] = true
	}
	if len(all) != 1 {
		t.Errorf("one client went to %v", all)
	}
}

// An endpoint that dies moves its own keys, at their first request, and nobody else's.
func TestHashFailover(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"maglev", "ring_hash"} {
		origins, addresses := named(t, 4)
		u := proxytest.Start(t, proxytest.Options{
			Policy:   config.Policy{Balance: policy, HashKey: "path", RingHash: config.RingHash{LoadFactor: 10}},
			Services: proxytest.Origins(addresses...),
		})
		client := u.Dial()
		homes := map[int]string{}
		for k := range 60 {
			homes[k] = client.Get(fmt.Sprintf("/%d", k)).Text
		}
		origins[2].Close()
		others := map[string]bool{}
		for round := range 2 {
			for k := range 60 {
				r := client.Get(fmt.Sprintf("/%d", k))
				switch at := r.Text; {
				case r.StatusCode != 200:
					t.Fatalf("%s: key %d: %s %v", policy, k, r.Status, r.Header)
				case homes[k] != "2" && at != homes[k]:
					t.Errorf("%s: key %d goes from %s to %s", policy, k, homes[k], at)
				case homes[k] == "2":
					others[fmt.Sprint(k, at)] = true
					if round == 0 && at == "2" {
						t.Errorf("%s: key %d was answered by the dead", policy, k)
					}
				}
			}
		}
		if len(others) == 0 {
			t.Errorf("%s: it had no key", policy)
		}
	}
}

// latencies are what is known of the endpoints of the only cluster.
func latencies(u *proxytest.Usher) (out []*routetable.Latency) {
	for _, c := range u.Proxy.Table().Clusters() {
		for _, e := range c.Endpoints {
			out = append(out, &e.State.Latency)
		}
	}
	return out
}

// With EWMA the time until the response begins is observed: at least what the origin
// took, and not that of bodies.
func TestLatencyIsObserved(t *testing.T) {
	t.Parallel()
	var held time.Duration
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			if req.URL.Path == "/slow" {
				begin := time.Now()
				<-time.After(30 * time.Millisecond)
				held = time.Since(begin)
			}
			if !c.Reply(proxytest.OK) {
				return
			}
		}
	})
	known := func(u *proxytest.Usher) (float64, bool) { return latencies(u)[0].Average(0) }
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Balance: "ewma"}, Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	large := strings.Repeat("x", 100<<10)
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(large), large)
	c.OK("POST", "ok")
	if got, yes := known(u); yes {
		t.Errorf("a body that was streamed counts: %v", got)
	}
	c.Get("/slow")
	if got, yes := known(u); !yes || got < float64(held) {
		t.Errorf("got %v, %t; the origin took %v", got, yes, held)
	}

	// Others do not pay for it.
	plain := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	plain.Dial().Get("/")
	if got, yes := known(plain); yes {
		t.Errorf("round robin: got %v", got)
	}

	// A connection that is refused counts for what it took, as a failure.
	dead := proxytest.Start(t, proxytest.Options{
		Policy:   config.Policy{Balance: "ewma", Retry: config.Retry{Attempts: -1}},
		Services: proxytest.Origins(proxytest.Nowhere(t)),
	})
	if r := dead.Dial().Get("/"); r.StatusCode != 502 {
		t.Errorf("got %s", r.Status)
	}
	if got, yes := known(dead); !yes || got <= 0 {
		t.Errorf("a failed try: got %v, %t", got, yes)
	}
}

// The policies that look into the request allocate no more than the others.
func TestAllocationsOfPolicies(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	tc := paths[0]
	request := func(fields string) string {
		return strings.TrimSuffix(tc.request, "\r\n") + fields + "\r\n"
	}
	sticky := stickyPolicy()
	sticky.Sticky.Cookie = "srv"
	for name, c := range map[string]struct {
		policy  config.Policy
		request string
	}{
		"random":        {config.Policy{Balance: "random"}, tc.request},
		"least_request": {config.Policy{Balance: "least_request"}, tc.request},
		"ewma":          {config.Policy{Balance: "ewma"}, tc.request},
		"by client":     {config.Policy{Balance: "maglev", HashKey: "client_ip"}, tc.request},
		"by path":       {config.Policy{Balance: "ring_hash", HashKey: "path"}, tc.request},
		"by cookie":     {config.Policy{Balance: "maglev", HashKey: "cookie:a"}, request("Cookie: b=c; a=b\r\n")},
		"by header":     {config.Policy{Balance: "maglev", HashKey: "header:X-User"}, request("X-User: a\r\n")},
		"by query": {
			config.Policy{Balance: "maglev", HashKey: "query:a"},
			strings.Replace(tc.request, "/1 ", "/1?b=c&a=b ", 1),
		},
		"sticky, no home": {sticky, request("Cookie: b=c; srv=0123456789abcdef012345\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			addresses := []string{steady(t, tc.body, tc.answer), steady(t, tc.body, tc.answer)}
			u := proxytest.Start(t, proxytest.Options{Policy: c.policy, Services: proxytest.Origins(addresses...)})
			x := newExchange(t, u.Addr(), c.request)
			if per := mallocs(t, x, 3000); per >= 0.05 {
				t.Errorf("%.3f allocations a request", per)
			}
		})
	}
}
