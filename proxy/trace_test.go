package proxy_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"usher/config"
	"usher/metrics/tracing"
	"usher/metrics/tracing/tracingtest"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/watcher"
)

const (
	theirTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	theirSpan  = "00f067aa0ba902b7"
)

// newTracer returns a Tracer as an environment says, "A=1 B=2", that sends to a collector.
func newTracer(tb testing.TB, collector *tracingtest.Collector, protocol, environment string) *tracing.Tracer {
	tb.Helper()
	for k, v := range collector.Environment(protocol) {
		tb.Setenv(k, v)
	}
	for pair := range strings.FieldsSeq(environment) {
		k, v, _ := strings.Cut(pair, "=")
		tb.Setenv(k, v)
	}
	tracer := tracing.New(tb.Context(), tracing.Options{Version: "1.2.3", Log: slog.New(slog.DiscardHandler)})
	if tracer == nil {
		tb.Fatal("tracing is off")
	}
	tb.Cleanup(func() {
		collector.Answer()
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		if err := tracer.Shutdown(ctx); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
	})
	return tracer
}

// traced starts an usher whose requests are recorded.
func traced(tb testing.TB, environment string, o proxytest.Options) (*proxytest.Usher, *tracingtest.Collector) {
	tb.Helper()
	collector := tracingtest.New(tb)
	o.Tracer = newTracer(tb, collector, "http/protobuf", environment)
	return proxytest.Start(tb, o), collector
}

// inOrders are the Balancers of an usher that tries the endpoints in their order.
func inOrders() map[string]routetable.Balancer {
	return map[string]routetable.Balancer{
		"in_order": func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return inOrder{} },
	}
}

// oneTrace waits for the spans of one request with so many tries: that of the request comes
// first. It fails the test where they are not linked.
func oneTrace(t *testing.T, c *tracingtest.Collector, tries int) (server tracingtest.Span, made []tracingtest.Span) {
	t.Helper()
	for _, s := range c.Wait(t, tries+1, nil) {
		if s.Server() {
			server = s
		} else {
			made = append(made, s)
		}
	}
	if server.ID == "" || len(made) != tries {
		t.Fatalf("%d tries beside %+v", len(made), server)
	}
	for _, s := range made {
		if s.Trace != server.Trace || s.Parent != server.ID {
			t.Errorf("%s %s is below %s %s, not %s %s", s.Trace, s.ID, s.Trace, s.Parent, server.Trace, server.ID)
		}
		if s.Start.Before(server.Start) || s.End.After(server.End) || s.End.Before(s.Start) {
			t.Errorf("the try is from %v to %v, its request from %v to %v", s.Start, s.End, server.Start, server.End)
		}
	}
	return server, made
}

// has fails the test where a span does not tell what it should; an empty value: it must not
// be told.
func has(t *testing.T, s tracingtest.Span, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got, told := s.Attributes[k]; got != v || told != (v != "") {
			t.Errorf("%s: %s is %q, want %q", s.Name, k, got, v)
		}
	}
}

// said returns the values of the fields of that name in the text of a head.
func said(head, name string) (values []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// One request in each version of HTTP, and over each protocol of OTLP: the client's span,
// usher's, that of the try and what the endpoint is told are one line.
func TestTraceIsOne(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		for _, version := range []string{"1.1", "2"} {
			t.Run(protocol+" HTTP/"+version, func(t *testing.T) {
				collector := tracingtest.New(t)
				o := proxytest.Options{
					Services: []proxytest.Service{
						{Name: "shop", Routes: []string{"/orders"}, Addresses: []string{proxytest.Echo(t).Addr}},
					},
					Tracer: newTracer(t, collector, protocol, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test"),
				}
				u, client := startStreams(t, o)
				if version == "1.1" {
					u.Listen(config.Listener{H2C: true})
				}
				req := requestTo(t.Context(), u, "GET", "/orders/1?secret=1", nil)
				if version == "1.1" {
					req.URL.Scheme = "http"
					client = &http.Transport{DisableKeepAlives: true}
				}
				req.Header.Set("Traceparent", "00-"+theirTrace+"-"+theirSpan+"-01")
				req.Header.Add("Tracestate", "a=1")
				req.Header.Add("Tracestate", "b=2")
				req.Header.Set("User-Agent", "tester")
				req.Header.Set("X-Request-Id", "me")
				resp, err := client.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				echo, _ := io.ReadAll(resp.Body)
				resp.Body.Close()

				server, tries := oneTrace(t, collector, 1)
				if server.Trace != theirTrace || server.Parent != theirSpan || server.State != "a=1,b=2" {
					t.Errorf("the request is %s below %s with %q", server.Trace, server.Parent, server.State)
				}
				wantParent := "00-" + theirTrace + "-" + tries[0].ID + "-01"
				if got := said(string(echo), "traceparent"); !slices.Equal(got, []string{wantParent}) {
					t.Errorf("the endpoint was told %q, want %q", got, wantParent)
				}
				if got := said(string(echo), "tracestate"); !slices.Equal(got, []string{"a=1,b=2"}) {
					t.Errorf("the endpoint was told %q", got)
				}
				scheme := map[string]string{"1.1": "http", "2": "https"}[version]
				has(t, server, map[string]string{
					"http.request.method": "GET", "url.path": "/orders/1", "url.query": "", "url.scheme": scheme,
					"client.address": "127.0.0.1", "network.protocol.version": version, "user_agent.original": "tester",
					"http.response.status_code": "200", "usher.route": "/orders", "usher.service": "shop",
					"usher.generation": fmt.Sprint(u.Proxy.Table().Version), "usher.listener": "web",
					"http.request.header.x-request-id": "me", "usher.reason": "", "error.type": "", "rpc.system": "",
					"server.address": "127.0.0.1",
				})
				if server.Name != "GET /orders" || server.Failed {
					t.Errorf("the span is called %q, failed: %t", server.Name, server.Failed)
				}
				e := u.Proxy.Table().Clusters()[0].Endpoints[0]
				has(t, tries[0], map[string]string{
					"usher.endpoint.id": "shop-0", "url.full": "http://" + e.Address + "/orders/1",
					"server.address": "127.0.0.1", "http.response.status_code": "200", "http.request.resend_count": "",
					"usher.connection.reused": "false", "error.type": "",
					"usher.generation": server.Attributes["usher.generation"],
				})
				if r := server.Resource; r["service.name"] != "usher" || r["service.version"] != "1.2.3" ||
					r["deployment.environment"] != "test" || r["service.instance.id"] == "" {
					t.Errorf("it is from %v", r)
				}
			})
		}
	}
}

// What a client says of the trace is taken by the rules of its format, and what the endpoint
// is told stands in its place.
func TestTraceFormats(t *testing.T) {
	const half = "a3ce929d0e0e4736"
	for _, c := range []struct {
		name, propagators, fields string
		// trace and parent are those of the request's span; empty: new ones.
		trace, parent string
		// told is what the endpoint is told: TRACE and TRY stand for what the spans are called.
		told map[string][]string
	}{
		{
			"nothing", "tracecontext", "",
			"", "",
			map[string][]string{"traceparent": {"00-TRACE-TRY-01"}, "b3": nil},
		},
		{
			"state without a trace", "tracecontext", "tracestate: a=1\r\n",
			"", "",
			map[string][]string{"traceparent": {"00-TRACE-TRY-01"}, "tracestate": nil},
		},
		{
			"two traces", "tracecontext",
			strings.Repeat("traceparent: 00-"+theirTrace+"-"+theirSpan+"-01\r\n", 2) + "tracestate: a=1\r\n",
			"", "",
			map[string][]string{"traceparent": {"00-TRACE-TRY-01"}, "tracestate": nil},
		},
		{
			"an invalid trace", "tracecontext", "traceparent: 00-" + theirTrace + "-0-01\r\ntracestate: a=1\r\n",
			"", "",
			map[string][]string{"traceparent": {"00-TRACE-TRY-01"}, "tracestate": nil},
		},
		{
			"an invalid state", "tracecontext",
			"traceparent: 00-" + theirTrace + "-" + theirSpan + "-01\r\ntracestate: a\r\n",
			theirTrace, theirSpan,
			map[string][]string{"traceparent": {"00-TRACE-TRY-01"}, "tracestate": nil},
		},
		{
			"b3", "b3", "b3: " + half + "-" + theirSpan + "-1-" + half + "\r\ntraceparent: x\r\n",
			"0000000000000000" + half, theirSpan,
			map[string][]string{"b3": {"TRACE-TRY-1"}, "traceparent": {"x"}, "x-b3-traceid": nil},
		},
		{
			"b3 in several fields", "b3multi",
			"X-B3-TraceId: " + theirTrace + "\r\nX-B3-SpanId: " + theirSpan + "\r\n" +
				"X-B3-ParentSpanId: " + half + "\r\nX-B3-Flags: 1\r\n",
			theirTrace, theirSpan,
			map[string][]string{
				"x-b3-traceid": {"TRACE"}, "x-b3-spanid": {"TRY"}, "x-b3-parentspanid": nil, "x-b3-flags": {"1"},
				"x-b3-sampled": nil, "b3": nil, "traceparent": nil,
			},
		},
		{
			"from one format to all", "tracecontext,baggage,b3,b3multi",
			"b3: " + theirTrace + "-" + theirSpan + "-1\r\nbaggage: k=v\r\n",
			theirTrace, theirSpan,
			map[string][]string{
				"traceparent": {"00-TRACE-TRY-01"}, "b3": {"TRACE-TRY-1"}, "x-b3-traceid": {"TRACE"},
				"x-b3-sampled": {"1"},
				"baggage":      {"k=v"},
			},
		},
		{
			"none", "none", "traceparent: 00-" + theirTrace + "-" + theirSpan + "-00\r\n",
			"", "",
			map[string][]string{"traceparent": {"00-" + theirTrace + "-" + theirSpan + "-00"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, collector := traced(t, "OTEL_PROPAGATORS="+c.propagators,
				proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
			client := u.Dial()
			client.Send("GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", c.fields)
			echo := client.Read("GET").Text
			server, tries := oneTrace(t, collector, 1)
			fresh := server.Trace != theirTrace
			if c.trace != "" && server.Trace != c.trace || c.trace == "" && !fresh || server.Parent != c.parent {
				t.Errorf("the request is %s below %q", server.Trace, server.Parent)
			}
			for name, want := range c.told {
				want = slices.Clone(want)
				for i := range want {
					want[i] = strings.NewReplacer("TRACE", server.Trace, "TRY", tries[0].ID).Replace(want[i])
				}
				if got := said(echo, name); !slices.Equal(got, want) {
					t.Errorf("the endpoint was told %s %q, want %q", name, got, want)
				}
			}
		})
	}
}

// A request that is not recorded goes on byte for byte as without tracing, and nothing is
// sent of it.
func TestTraceSampledOut(t *testing.T) {
	heads := []string{
		"", "traceparent: 00-" + theirTrace + "-" + theirSpan + "-00\r\ntracestate: a=1\r\n",
		"Traceparent:00-" + theirTrace + "-" + theirSpan + "-00\r\nX-B3-Sampled: 1\r\n",
		"b3: 0\r\n", "X-B3-TraceId: " + theirTrace + "\r\nX-B3-SpanId: " + theirSpan + "\r\nX-B3-Sampled: 0\r\n",
	}
	ask := func(u *proxytest.Usher) (echoes []string) {
		client := u.Dial()
		for _, fields := range heads {
			client.Send("GET /a HTTP/1.1\r\nHost: a\r\n%sAccept: */*\r\n\r\n", fields)
			_, kept, _ := strings.Cut(client.Read("GET").Text, "\r\n")
			echoes = append(echoes, strings.Join(slices.DeleteFunc(strings.Split(kept, "\r\n"), func(line string) bool {
				return strings.HasPrefix(line, "CDN-Loop:") || strings.HasPrefix(line, "X-Forwarded-")
			}), "\r\n"))
		}
		return echoes
	}
	for _, env := range []string{
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0 OTEL_PROPAGATORS=tracecontext,b3",
		"OTEL_TRACES_SAMPLER=always_off OTEL_PROPAGATORS=tracecontext,b3multi",
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.0000000000000000001",
	} {
		collector := tracingtest.New(t)
		tracer := newTracer(t, collector, "http/protobuf", env)
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr), Tracer: tracer})
		plain := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
		want := ask(plain)
		for i, got := range ask(u) {
			if strings.ReplaceAll(got, u.Addr(), "") != strings.ReplaceAll(want[i], plain.Addr(), "") {
				t.Errorf("%s: %q is forwarded as %q", env, want[i], got)
			}
		}
		u.Quiet()
		if err := tracer.Shutdown(t.Context()); err != nil { // all is sent then
			t.Error(err)
		}
		if spans := collector.Spans(); len(spans) != 0 {
			t.Errorf("%s: %d spans came", env, len(spans))
		}
	}
}

// Each try has a span, with what became of it.
func TestTraceTries(t *testing.T) {
	status := proxytest.Answering(t, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").Addr
	resets := proxytest.Raw(t, func(c *proxytest.Conn) { c.Head() }).Addr
	echo := proxytest.Echo(t).Addr
	for _, c := range []struct {
		name      string
		addresses []string
		errors    []string
		causes    []string
		reason    string
	}{
		{
			"cannot connect",
			[]string{proxytest.Nowhere(t), echo},
			[]string{"connect_failed", ""},
			[]string{"", "connect_failed"},
			"",
		},
		{"a reset", []string{resets, echo}, []string{"upstream_reset", ""}, []string{"", "reset"}, ""},
		{"a status", []string{status, echo}, []string{"503", ""}, []string{"", "status"}, ""},
		{
			"three",
			[]string{proxytest.Nowhere(t), status, echo},
			[]string{"connect_failed", "503", ""},
			[]string{"", "connect_failed", "status"},
			"",
		},
		{
			"all fail",
			[]string{proxytest.Nowhere(t), proxytest.Nowhere(t)},
			[]string{"connect_failed", "connect_failed"},
			[]string{"", "connect_failed"},
			"connect_failed",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			policy := config.Policy{Balance: "in_order", Retry: config.Retry{
				Attempts: 3, On: []string{config.RetryConnectFailed, config.RetryReset}, RetriableStatus: []int{503},
				Budget: config.RetryBudget{Share: 10, MinPerSecond: 1e6},
			}}
			u, collector := traced(t, "", proxytest.Options{
				Policy: policy, Services: proxytest.Origins(c.addresses...), Balancers: inOrders(),
			})
			text := u.Dial().Get("/x").Text
			server, tries := oneTrace(t, collector, len(c.errors))
			for i, try := range tries {
				resent := ""
				if i > 0 {
					resent = fmt.Sprint(i)
				}
				has(t, try, map[string]string{
					"error.type": c.errors[i], "usher.retry.cause": c.causes[i], "http.request.resend_count": resent,
					"usher.endpoint.id": fmt.Sprintf("origin-%d", i),
				})
				if try.Failed != (c.errors[i] != "") {
					t.Errorf("try %d failed: %t", i, try.Failed)
				}
			}
			has(t, server, map[string]string{"usher.reason": c.reason, "error.type": c.reason})
			if last := tries[len(tries)-1]; c.reason == "" {
				if got := said(text, "traceparent"); len(got) != 1 || !strings.Contains(got[0], last.ID) {
					t.Errorf("the endpoint was told %q, the try is %s", got, last.ID)
				}
			}
		})
	}
}

// A hedge is a try beside another one.
func TestTraceHedge(t *testing.T) {
	policy := hedging()
	policy.Balance = "in_order"
	released := make(chan struct{})
	slow := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		<-released
	})
	defer close(released)
	u, collector := traced(t, "", proxytest.Options{
		Policy: policy, Services: proxytest.Origins(slow.Addr, proxytest.Echo(t).Addr), Balancers: inOrders(),
	})
	text := u.Dial().Get("/").Text
	server, tries := oneTrace(t, collector, 2)
	has(t, tries[0], map[string]string{"error.type": "hedge_won", "usher.hedge": "", "usher.endpoint.id": "origin-0"})
	has(t, tries[1], map[string]string{
		"error.type": "", "usher.hedge": "true", "usher.endpoint.id": "origin-1", "http.request.resend_count": "1",
	})
	if got := said(text, "traceparent"); len(got) != 1 || !strings.Contains(got[0], tries[1].ID) {
		t.Errorf("the endpoint was told %q, the try is %s", got, tries[1].ID)
	}
	if server.Failed || tries[0].Failed {
		t.Error("what was overtaken counts as an error")
	}
}

// A hedge that is too slow ends with a span too.
func TestTraceHedgeLost(t *testing.T) {
	policy := hedging()
	policy.Balance = "in_order"
	asked := make(chan struct{})
	first := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		<-asked // the second one has its request
		c.Reply("%s", proxytest.OK)
	})
	second := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		close(asked)
		c.Gone()
	})
	u, collector := traced(t, "", proxytest.Options{
		Policy: policy, Services: proxytest.Origins(first.Addr, second.Addr), Balancers: inOrders(),
	})
	u.Dial().Get("/")
	spans := collector.Wait(t, 3, nil)
	has(t, spans[len(spans)-1], map[string]string{"error.type": "hedge_lost", "usher.hedge": "true"})
}

// What usher answers itself has its reason, and the span of a failure is one.
func TestTraceReasons(t *testing.T) {
	healthy := proxytest.Echo(t).Addr
	for _, c := range []struct {
		name    string
		service proxytest.Service
		reason  string
		status  string
		failed  bool
	}{
		{
			"no route",
			proxytest.Service{Routes: []string{"/other"}, Addresses: []string{healthy}},
			"no_route", "404", false,
		},
		{
			"no healthy endpoint",
			proxytest.Service{Status: watcher.Critical, Addresses: []string{healthy}},
			"no_healthy_endpoint", "503", true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.service.Name = "origin"
			u, collector := traced(t, "", proxytest.Options{Services: []proxytest.Service{c.service}})
			u.Dial().Get("/")
			server, _ := oneTrace(t, collector, 0)
			has(t, server, map[string]string{"usher.reason": c.reason, "http.response.status_code": c.status})
			if server.Failed != c.failed {
				t.Errorf("failed: %t", server.Failed)
			}
		})
	}
}

// The spans end with the body, not with the head.
func TestTraceBody(t *testing.T) {
	goOn := make(chan struct{})
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
		<-goOn
		c.Reply("cd")
		c.Gone()
	})
	u, collector := traced(t, "", proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	client := u.Dial()
	client.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp := client.Begin("GET")
	_, _ = io.ReadFull(resp.Body, make([]byte, 2))
	between := time.Now()
	close(goOn)
	_, _ = io.ReadAll(resp.Body)
	server, tries := oneTrace(t, collector, 1)
	if server.End.Before(between) || tries[0].End.Before(between) {
		t.Errorf("at %v there was a half, and it ended at %v and %v", between, server.End, tries[0].End)
	}
	has(t, server, map[string]string{"http.response.body.size": "4"})
}

// A response that is cut is an error, though its status says otherwise.
func TestTraceCut(t *testing.T) {
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
	})
	u, collector := traced(t, "", proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	u.Dial().Get("/")
	server, tries := oneTrace(t, collector, 1)
	for _, s := range []tracingtest.Span{server, tries[0]} {
		has(t, s, map[string]string{"http.response.status_code": "200", "error.type": "upstream_reset"})
		if !s.Failed {
			t.Errorf("%s is no failure", s.Name)
		}
	}
}

// Calls of gRPC have their status.
func TestTraceGRPC(t *testing.T) {
	for _, c := range []struct {
		name, answer, code string
		failed, tryFailed  bool
	}{
		{"ok", reply(0), "0", false, false},
		{"not found", reply(5), "5", false, true},
		{"unavailable", trailersOnly(14, ""), "14", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			origin := proxytest.Answering(t, c.answer)
			u, collector := traced(t, "", proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			call(u.Dial(), "")
			server, tries := oneTrace(t, collector, 1)
			for _, s := range []tracingtest.Span{server, tries[0]} {
				has(t, s, map[string]string{
					"rpc.system": "grpc", "rpc.service": "pkg.Service", "rpc.method": "Get",
					"rpc.grpc.status_code": c.code,
				})
			}
			if server.Failed != c.failed || tries[0].Failed != c.tryFailed {
				t.Errorf("failed: %t and %t", server.Failed, tries[0].Failed)
			}
		})
	}
}

// The spans of an upgraded connection end with it.
func TestTraceTunnel(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		returnAll(r.Context(), c)
	})
	u, collector := traced(t, "", proxytest.Options{Services: proxytest.Origins(address)})
	c, _, err := websocket.Dial(t.Context(), "ws://"+u.Addr()+"/chat", nil) //nolint:bodyclose // it is the connection
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := time.Now()
	_ = c.Close(websocket.StatusNormalClosure, "")
	server, tries := oneTrace(t, collector, 1)
	if server.End.Before(open) || tries[0].End.Before(open) {
		t.Errorf("they ended at %v and %v, while it was open at %v", server.End, tries[0].End, open)
	}
	has(t, server, map[string]string{"http.response.status_code": "101", "usher.route": "/", "usher.service": "origin"})
	has(t, tries[0], map[string]string{"http.response.status_code": "101"})
}

// Requests do not notice a collector that is stuck, and what waits for it is bounded and
// counted.
func TestTraceStuckCollector(t *testing.T) {
	u, collector := traced(t, "OTEL_BSP_MAX_QUEUE_SIZE=20 OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10",
		proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	collector.Stick()
	client := u.Dial()
	const requests = 200
	for range requests {
		if r := client.Get("/"); r.StatusCode != 200 || r.Err != nil {
			t.Fatalf("got %s (%v)", r.Status, r.Err)
		}
	}
	u.Quiet()
	count := func(result string) float64 {
		return u.Counter("usher_trace_spans_total", map[string]string{"result": result})
	}
	if got := count("dropped"); got != 2*requests-20 {
		t.Errorf("%v spans are dropped, where there is room for 20 of %d", got, 2*requests)
	}
	collector.Answer()
	proxytest.Eventually(t, "what waited has come", func() bool { return count("exported") == 20 })
}

// Nor do they notice one that refuses what it gets, or is not there.
func TestTraceNoCollector(t *testing.T) {
	for name, endpoint := range map[string]string{"refuses": "", "is not there": "http://" + proxytest.Nowhere(t)} {
		t.Run(name, func(t *testing.T) {
			env := "OTEL_BSP_MAX_QUEUE_SIZE=20"
			if endpoint != "" {
				env += " OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + endpoint
			}
			collector := tracingtest.New(t)
			collector.Refuse()
			tracer := newTracer(t, collector, "http/protobuf", env)
			u := proxytest.Start(t, proxytest.Options{
				Services: proxytest.Origins(proxytest.Echo(t).Addr), Tracer: tracer,
			})
			client := u.Dial()
			for range 50 {
				if r := client.Get("/"); r.StatusCode != 200 || r.Err != nil {
					t.Fatalf("got %s (%v)", r.Status, r.Err)
				}
			}
			u.Quiet()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // nobody waits for it
			_ = tracer.Shutdown(ctx)
			lost := func(result string) float64 {
				return u.Counter("usher_trace_spans_total", map[string]string{"result": result})
			}
			if got := lost("dropped") + lost("failed"); got != 100 {
				t.Errorf("%v spans of 100 are counted as lost", got)
			}
		})
	}
}

// sampledOut are environments and fields of requests that are not recorded.
var sampledOut = []struct{ name, environment, fields string }{
	{"no context", "OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.0000000001", ""},
	{"traceparent", "", "traceparent: 00-" + theirTrace + "-" + theirSpan + "-00\r\n"},
	{"b3", "OTEL_PROPAGATORS=b3", "b3: " + theirTrace + "-" + theirSpan + "-0\r\n"},
}

// plainRequest is a small one with more fields.
func plainRequest(fields string) string {
	return strings.Replace(paths[0].request, "\r\n", "\r\n"+fields, 1)
}

// A request that is not recorded allocates nothing from end to end.
func TestTraceAllocations(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	for _, c := range sampledOut {
		t.Run(c.name, func(t *testing.T) {
			u, _ := traced(t, c.environment, proxytest.Options{
				Services: proxytest.Origins(steady(t, 0, paths[0].answer)),
			})
			x := newExchange(t, u.Addr(), plainRequest(c.fields))
			if per := mallocs(t, x, 4000); per >= 0.05 {
				t.Errorf("%.3f allocations a request", per)
			}
		})
	}
}

func BenchmarkTracing(b *testing.B) {
	for _, c := range append(sampledOut, struct{ name, environment, fields string }{
		"recorded", "OTEL_TRACES_SAMPLER=always_on OTEL_BSP_MAX_QUEUE_SIZE=1", "",
	}) {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/on=%t", c.name, on), func(b *testing.B) {
				o := proxytest.Options{Services: proxytest.Origins(steady(b, 0, paths[0].answer))}
				if on {
					o.Tracer = newTracer(b, tracingtest.New(b), "http/protobuf", c.environment)
				}
				x := newExchange(b, proxytest.Start(b, o).Addr(), plainRequest(c.fields))
				b.ReportAllocs()
				for b.Loop() {
					if err := x.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
