package proxy_test

import (
	"encoding/base64"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy"
	"usher/proxy/core"
	"usher/proxy/proxytest"
	"usher/routetable"
)

// seedVariable names a seed of a world to look at, the one that a failure tells.
const seedVariable = "USHER_TEST_SEED"

// explain agrees with what is done, for random requests over random tables.
func TestExplainAgreesWithRequests(t *testing.T) {
	worlds, requests := 100, 100
	if testing.Short() {
		worlds = 8
	}
	first := rand.Uint64()
	if s := os.Getenv(seedVariable); s != "" {
		worlds = 1
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var sum tally
	for i := range uint64(worlds) {
		seed := first + i
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("%s=%d shows it again", seedVariable, seed)
				}
			}()
			s := newScene(t, rand.New(rand.NewPCG(seed, 7)))
			for n := range requests {
				if n == requests/2 {
					s.change()
				}
				if s.ask(); t.Failed() {
					return
				}
			}
			s.compareCounts()
			sum.add(s.tally)
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", sum)
}

// tally says what the requests met, so that it can be seen that all of it was.
type tally struct{ requests, forwarded, certain, verbatim, answered, refused int }

func (y *tally) add(o tally) {
	y.requests += o.requests
	y.forwarded += o.forwarded
	y.certain += o.certain
	y.verbatim += o.verbatim
	y.answered += o.answered
	y.refused += o.refused
}

// scene is a running usher of a world, and what explains it.
type scene struct {
	*world
	t         *testing.T
	usher     *proxytest.Usher
	listeners []config.Listener
	clients   map[string]*proxytest.Client
	cookies   []string
	// loop is what usher signs what it forwards with.
	loop string
	// counts are the requests by route, those that were explained and those that usher has
	// counted before.
	counts map[string]int
	// apart is a proxy that serves nobody, and table the same table, published nowhere, whose
	// views are monitor's.
	apart   *proxy.Proxy
	monitor *healthcheck.Monitor
	table   *routetable.Table
	tally   tally
}

func newScene(t *testing.T, r *rand.Rand) *scene {
	t.Helper()
	s := &scene{
		world: newWorld(t, r), t: t, clients: map[string]*proxytest.Client{}, counts: map[string]int{},
		listeners: []config.Listener{
			proxytest.Listener(config.Listener{}),
			proxytest.Listener(config.Listener{
				Name: "in", TrustedProxies: []string{"127.0.0.1"}, Forwarded: true, Via: true,
				UnderscoreHeaders: "keep", MaxBodySize: 10,
			}),
			proxytest.Listener(config.Listener{
				Name: "up", RedirectHTTPS: &config.RedirectHTTPS{Code: 308, Port: 443},
				TrustedProxies: []string{"127.0.0.1"},
			}),
		},
	}
	s.usher = proxytest.Start(t, proxytest.Options{Listeners: s.listeners})
	log := slog.New(slog.DiscardHandler)
	s.monitor = healthcheck.New(log, nil)
	s.apart = proxy.New(log, metrics.New("test", core.Reasons()).Downstream, healthcheck.New(log, nil))
	t.Cleanup(s.apart.Close)
	s.publish(1)
	return s
}

// publish puts the world in use, and builds its table once more, for nobody.
func (s *scene) publish(version uint64) {
	s.usher.PublishTable(s.catalog(version), s.rules)
	s.table = routetable.Build(s.catalog(version), s.rules, s.table)
	s.monitor.Adopt(s.table)
	s.counted() // shows what has gone for the last time
	s.counts = s.counted()
}

// change puts other services in the place of some, as a registry would.
func (s *scene) change() {
	s.compareCounts()
	for i := range s.services {
		if s.some(2) {
			s.services[i] = s.service(i)
		}
	}
	s.publish(2)
}

// counted are the requests that usher has counted, by route.
func (s *scene) counted() map[string]int {
	s.t.Helper()
	families, err := s.usher.Metrics.Gatherer().Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for _, f := range families {
		if f.GetName() != "usher_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "route" {
					out[l.GetValue()] += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return out
}

// compareCounts checks that usher has counted each request by the route that was explained,
// and no explanation.
func (s *scene) compareCounts() {
	s.t.Helper()
	var now map[string]int
	proxytest.Eventually(s.t, "every request is counted", func() bool {
		now = s.counted()
		return sumOf(now) >= sumOf(s.counts)
	})
	if !maps.Equal(now, s.counts) {
		s.t.Errorf("counted are %v, explained were %v", now, s.counts)
	}
}

func sumOf(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// question is what the explanation is asked.
func (s *scene) question(l config.Listener, head string) *proxy.Question {
	bound, err := net.ResolveTCPAddr("tcp", s.usher.AddrOf(l.Name))
	if err != nil {
		s.t.Fatal(err)
	}
	return &proxy.Question{Listener: l, Bound: bound, Client: netip.MustParseAddr("127.0.0.1"), Head: []byte(head)}
}

// got is what really became of a request.
type got struct {
	*http.Response
	reason string
	// backend is who answered, raw what it was asked.
	backend, raw string
}

// send sends the request.
func (s *scene) send(l config.Listener, method, head string) *got {
	c := s.clients[l.Name]
	if c == nil {
		c = proxytest.Dial(s.t, s.usher.AddrOf(l.Name))
		s.clients[l.Name] = c
	}
	_ = c.SetDeadline(time.Now().Add(proxytest.Patience))
	c.Send("%s", head)
	r := c.Read(method)
	if r.Close {
		c.Close()
		delete(s.clients, l.Name)
	}
	raw, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Got"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, cookie := range r.Cookies() {
		s.cookies = append(s.cookies, cookie.Name+"="+cookie.Value)
	}
	if _, rest, found := strings.Cut(string(raw), "CDN-Loop: usher-"); found {
		s.loop, _, _ = strings.Cut("usher-"+rest, "\r\n")
	}
	return &got{r.Response, r.Header.Get("X-Usher-Reason"), r.Header.Get("X-Backend"), string(raw)}
}

// ask asks for an explanation, sends the request, and compares.
func (s *scene) ask() {
	l := oneOf(s.Rand, s.listeners[0], s.listeners[0], s.listeners[1], s.listeners[1], s.listeners[2])
	method, head := s.randomHead(s.cookies)
	if s.loop != "" && s.some(40) {
		head = strings.TrimSuffix(head, "\r\n") + "CDN-Loop: " + s.loop + "\r\n\r\n"
	}
	q := s.question(l, head)
	s.usher.Quiet() // the request before may not be recorded yet, and the load counts
	x := s.usher.Proxy.Explain(q)
	really := s.send(l, method, head)
	s.tally.requests++
	route := "none"
	if x.Route != nil {
		route = x.Route.ID
	}
	s.counts[route]++
	problem := s.compare(x, q, really)
	if problem == "" {
		problem = s.compareApart(x, q)
	}
	if problem != "" {
		s.t.Errorf("%s\non %s:\n%s\nanswer: %s, reason %q, by %q, which was asked\n%s",
			problem, l.Name, head, really.Status, really.reason, really.backend, really.raw)
		s.t.Logf("explained: %v %s\ntried:\n%s\narms: %+v\nhead:\n%s", x.Reason, x.Why, tried(x), x.Arms, x.Head)
	}
}
