package proxy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy"
	"usher/proxy/core"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/watcher"
)

// questionOf is a request of HTTP/1.1 to the listener called web.
func questionOf(head string) *proxy.Question {
	return &proxy.Question{
		Listener: proxytest.Listener(config.Listener{}), Client: netip.MustParseAddr("127.0.0.1"), Head: []byte(head),
	}
}

const rootHead = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// Explanations take no turns, acquire nothing, and count nothing.
func TestExplainLeavesNoTrace(t *testing.T) {
	t.Parallel()
	for _, balance := range []string{"round_robin", "least_request", "ewma", "maglev", "ring_hash"} {
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			one, other := backend(t), backend(t)
			u := proxytest.Start(t, proxytest.Options{
				Services: proxytest.Origins(one.Addr, other.Addr),
				Policy:   config.Policy{Balance: balance, HashKey: "path", MaxRequests: 1, MaxEndpointRequests: 1},
			})
			c := u.Dial()
			var order []string
			for range 8 {
				u.Quiet() // the one before may not be recorded yet
				for range 3 {
					if x := u.Proxy.Explain(questionOf(rootHead)); x.Reason != core.None {
						t.Fatalf("explained is %v: %s", x.Reason, x.Why)
					}
				}
				c.Send(rootHead)
				order = append(order, c.Read("GET").Header.Get("X-Backend"))
			}
			for i := range order[1:] {
				if balance == "round_robin" && order[i] == order[i+1] {
					t.Errorf("turns were taken: %q", order)
				}
			}
			u.Quiet()
			if n := u.Counter("usher_requests_total", nil); n != 8 {
				t.Errorf("%v requests are counted", n)
			}
		})
	}
}

// What is refused for want of room is explained so, and not counted as shed.
func TestExplainOverload(t *testing.T) {
	t.Parallel()
	hold, begun := make(chan struct{}), make(chan struct{})
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		close(begun)
		<-hold
		c.Reply(proxytest.OK)
	})
	for name, c := range map[string]struct {
		policy config.Policy
		why    string
	}{
		"service": {config.Policy{MaxRequests: 1}, "max_requests"},
	} {
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr), Policy: c.policy})
		client := u.Dial()
		client.Send(rootHead)
		<-begun
		x := u.Proxy.Explain(questionOf(rootHead))
		if x.Reason != core.Overloaded || !strings.HasPrefix(x.Why, c.why) {
			t.Errorf("%s: %v: %s", name, x.Reason, x.Why)
		}
		close(hold)
		client.OK("GET", "ok")
		if n := u.Counter("usher_requests_shed_total", nil); n != 0 {
			t.Errorf("%s: %v were shed", name, n)
		}
	}
}

// An endpoint that has all the requests it may have is passed over, and said to be.
func TestExplainFullEndpoint(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Services: proxytest.Origins("127.0.0.1:1", "127.0.0.1:2"), Policy: config.Policy{MaxEndpointRequests: 1},
	})
	endpoints := u.Proxy.Table().Clusters()[0].Endpoints
	endpoints[0].State.InFlight.Add(1)
	for range 4 {
		x := u.Proxy.Explain(questionOf(rootHead))
		full := x.Arms[0].Endpoints
		if e := x.Endpoint(); e == nil || e.ID != endpoints[1].ID || !full[0].Full || full[1].Full {
			t.Fatalf("%+v", x.Arms)
		}
	}
	endpoints[1].State.InFlight.Add(1)
	if x := u.Proxy.Explain(questionOf(rootHead)); x.Reason != core.Overloaded ||
		!strings.HasPrefix(x.Why, "max_endpoint_requests") || x.Endpoint() != nil {
		t.Fatalf("%v %s %+v", x.Reason, x.Why, x.Arms)
	}
	if n := endpoints[0].State.InFlight.Load() + endpoints[1].State.InFlight.Load(); n != 2 {
		t.Errorf("%d are in flight", n)
	}
}

// Connections that are carried as a whole are explained too, as they are served.
func TestExplainStreams(t *testing.T) {
	t.Parallel()
	db, named := backend(t), backend(t)
	tcp := proxytest.Listener(config.Listener{Name: "db", Protocol: "tcp", Port: 3306})
	pass := proxytest.Listener(config.Listener{Name: "tls", Protocol: "tls-passthrough"})
	both := proxytest.Listener(config.Listener{Name: "secure", Protocol: "https", Passthrough: true})
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{tcp, pass, both},
		Services: []proxytest.Service{
			{Name: "db", Routes: []string{":3306 proto=tcp"}, Addresses: []string{db.Addr}},
			{Name: "named", Routes: []string{"a.example/ proto=tcp"}, Addresses: []string{named.Addr}},
			{Name: "web", Routes: []string{"/"}, Addresses: []string{named.Addr}},
		},
	})
	for what, c := range map[string]struct {
		question proxy.Question
		stream   bool
		service  string
		reason   core.Reason
	}{
		"port":             {proxy.Question{Listener: tcp}, true, "db", core.None},
		"name":             {proxy.Question{Listener: pass, Name: "a.example"}, true, "named", core.None},
		"name of nobody":   {proxy.Question{Listener: pass, Name: "b.example"}, true, "", core.NoRoute},
		"name before HTTP": {proxy.Question{Listener: both, Name: "a.example"}, true, "named", core.None},
		"HTTP else": {
			proxy.Question{Listener: both, Name: "b.example", Head: []byte(rootHead)}, false, "web", core.None,
		},
	} {
		c.question.Client = netip.MustParseAddr("192.0.2.1")
		x := u.Proxy.Explain(&c.question)
		service := ""
		if e := x.Endpoint(); e != nil {
			service = e.Service.Service
		}
		if x.Stream != c.stream || service != c.service || x.Reason != c.reason {
			t.Errorf("%s: %v, to %q, %v", what, x.Stream, service, x.Reason)
		}
		if c.service != "" && (len(x.Tried) == 0 || !x.Tried[0].Won) {
			t.Errorf("%s: tried %+v", what, x.Tried)
		}
	}
}

// Sticky clients come back to where their cookie says, and an ejected endpoint says nothing.
func TestExplainSticky(t *testing.T) {
	t.Parallel()
	one, other := backend(t), backend(t)
	u := proxytest.Start(t, proxytest.Options{
		Services: proxytest.Origins(one.Addr, other.Addr),
		Policy:   config.Policy{Sticky: config.Sticky{Cookie: "home", Path: "/", SameSite: "lax", TTL: time.Hour}},
	})
	c := u.Dial()
	c.Send(rootHead)
	r := c.Read("GET")
	cookie := r.Cookies()[0]
	head := "GET / HTTP/1.1\r\nHost: a\r\nCookie: home=" + cookie.Value + "\r\n\r\n"
	for range 4 {
		x := u.Proxy.Explain(questionOf(head))
		arm := &x.Arms[0]
		if x.Endpoint().Address != r.Header.Get("X-Backend") || !arm.Certain ||
			arm.Pick.Cookie != "home" || arm.Pick.Home != arm.Chosen {
			t.Fatalf("%+v", arm)
		}
	}
	x := u.Proxy.Explain(questionOf(rootHead))
	if x.Arms[0].Certain || x.Arms[0].Pick.Home != -1 {
		t.Errorf("without a cookie: %+v", x.Arms[0])
	}
}

// A table that was never published is explained as well.
func TestExplainApart(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{})
	rules := &routetable.Rules{
		Defaults: proxytest.Policy(config.Policy{}),
		Routes:   []config.Route{{Name: "r", Service: "s", Pos: config.Pos{File: "u.yaml", Line: 3}}},
	}
	s := &watcher.Service{
		Key:       watcher.Key{Registry: "test", Service: "s"},
		Instances: []watcher.Instance{{ID: "i", Address: "127.0.0.1:1", Weight: 1}},
	}
	published := u.PublishTable(watcher.NewCatalog(1), rules)
	table := routetable.Build(watcher.NewCatalog(2, s), rules, nil)
	q := questionOf(rootHead)
	q.Table = table
	if x := u.Proxy.Explain(q); x.Reason != core.NoHealthyEndpoint || x.Route.ID != "r" {
		t.Errorf("without a view: %v", x.Reason)
	}
	u.Health.Adopt(table)
	if x := u.Proxy.Explain(q); x.Reason != core.None || x.Target != "/" || x.Endpoint().ID != "i" {
		t.Errorf("%v %+v", x.Reason, x.Arms)
	}
	if u.Proxy.Table() != published {
		t.Error("the table is in use")
	}
}

// An explanation is no part of a trace: what the client says of one stays in its head,
// where a request that is recorded tells of usher's own.
func TestExplainIsNotRecorded(t *testing.T) { // it sets the environment: not in parallel
	u, collector := traced(t, "", proxytest.Options{Services: proxytest.Origins(backend(t).Addr)})
	const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
	head := "GET / HTTP/1.1\r\nHost: a\r\n" + parent + "\r\n"
	x := u.Proxy.Explain(questionOf(head))
	if x.Reason != core.None || !strings.Contains(string(x.Head), parent) {
		t.Errorf("%v:\n%s", x.Reason, x.Head)
	}
	c := u.Dial()
	c.Send("%s", head)
	c.Read("GET")
	oneTrace(t, collector, 1)
}
