package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream/upstreamtest"
	"usher/routetable"
	"usher/watcher"
)

// checked are settings with probes.
func checked() config.Health {
	h := plain()
	h.HealthCheck.Path = "/health"
	return h
}

// Until the first result the registry's word counts; that decides alone, and what
// follows takes rise and fall.
func TestProbesDecide(t *testing.T) {
	list := append(up("a", "b"), in("c", watcher.Critical, 1))
	runWith(t, checked(), nil, func(b *bench) {
		b.probe("a", "broken")
		b.change(list)
		b.usable("a", "b")
		b.advance(200 * time.Millisecond)
		b.usable("b")
		b.is("a", Unhealthy, true)
		if rep := b.of("a"); rep.Cause != "probe: broken" || !rep.Disagrees || rep.Registry != "passing" ||
			rep.Probe == nil || rep.Probe.Up || rep.Probe.OK || rep.Weight != 0 {
			t.Errorf("a: %+v, %+v", rep, rep.Probe)
		}
		// The registry's no stays, though the probe says yes.
		if rep := b.of("c"); rep.State != Critical || !rep.Disagrees || !rep.Probe.Up {
			t.Errorf("c: %+v", rep)
		}
		if s := b.standing()["s"]; s.Disagreements != 2 {
			t.Errorf("%d disagreements", s.Disagreements)
		}
		b.probed("a")
		b.probe("a", "")
		for b.of("a").State == Unhealthy {
			b.advance(50 * time.Millisecond)
		}
		if n := b.probed("a"); n != 2 {
			t.Errorf("up after %d probes, rise is 2", n)
		}
		b.probe("a", "broken again")
		for b.of("a").State == Healthy {
			b.advance(50 * time.Millisecond)
		}
		if n := b.probed("a"); n != 3 {
			t.Errorf("down after %d probes, fall is 3", n)
		}
	})
}

// Probes come at the interval and a part of it more; in doubt they come faster.
func TestProbeIntervals(t *testing.T) {
	runWith(t, checked(), up("a", "b"), func(b *bench) {
		b.advance(6 * time.Second)
		b.probed("a")
		b.advance(10 * time.Minute)
		if n := b.probed("a"); n < 600/6 || n > 600/5 {
			t.Errorf("%d probes in ten minutes", n)
		}
		// What a request meets is confirmed at once.
		b.advance(time.Second)
		for range 3 {
			b.probed("a")
			b.see("a", Outcome{Kind: Broken})
			b.advance(time.Second)
			if n := b.probed("a"); n != 1 {
				t.Errorf("%d probes within a second of a failure", n)
			}
		}
		b.see("a", repeated(Outcome{Status: 500}, 100)...)
		if n := b.probed("a"); n > 1 {
			t.Errorf("%d probes for a hundred failures", n)
		}
	})
}

// The first probes are spread over an interval.
func TestProbesAreSpread(t *testing.T) {
	var ids []string
	for i := range 500 {
		ids = append(ids, fmt.Sprintf("i%03d", i))
	}
	runWith(t, checked(), up(ids...), func(b *bench) { // a second has passed
		for second := range 5 {
			b.probesMu.Lock()
			n := len(b.probes)
			b.probes = nil
			b.probesMu.Unlock()
			if n < 60 || n > 140 {
				t.Errorf("%d of 500 probes in second %d", n, second)
			}
			b.advance(time.Second)
		}
	})
}

// One prober serves all routes, clusters and tables that share an endpoint and its
// settings; other settings are another one.
func TestOneProber(t *testing.T) {
	runWith(t, checked(), nil, func(b *bench) {
		b.adopt(buildWith(b.table, b.health, up("a"), "x", "y", "z"))
		b.advance(time.Second)
		if n := b.probed("a"); n != 1 {
			t.Errorf("%d probes", n)
		}
		for range 20 {
			b.adopt(buildWith(b.table, b.health, up("a"), "x", "z"))
			b.adopt(buildWith(b.table, b.health, up("a", "b"), "x", "y"))
		}
		b.advance(time.Second)
		if n := b.probed("a"); n != 0 {
			t.Errorf("%d probes by changes of the table", n)
		}
		// Another path: what was known stays until it has answered.
		b.health.HealthCheck.Path = "/other"
		b.probe("a", "wrong path")
		b.adopt(buildWith(b.table, b.health, up("a", "b"), "x"))
		b.is("a", Healthy, false)
		b.advance(time.Second)
		b.is("a", Unhealthy, true)
		b.health.HealthCheck.Type = "none"
		b.adopt(buildWith(b.table, b.health, up("a", "b"), "x"))
		b.is("a", Healthy, false)
		b.probed("a")
		b.advance(time.Minute)
		if n := b.probed("a"); n != 0 {
			t.Errorf("%d probes without a check", n)
		}
	})
}

// A registry that forgets an endpoint for a moment changes nothing of what is known.
func TestFlap(t *testing.T) {
	h := checked()
	h.SlowStart = 10 * time.Second
	runWith(t, h, up("a", "b", "c", "d", "e"), func(b *bench) {
		b.probe("a", "broken")
		b.advance(20 * time.Second)
		b.see("b", failed())
		before := map[string]Report{"a": b.of("a"), "b": b.of("b"), "c": b.of("c")}
		old := b.endpoint("b")
		for range 3 {
			b.change(up("d", "e"))
			b.change(up("a", "b", "c", "d", "e"))
		}
		for id, want := range before {
			got := b.of(id)
			if got.State != want.State || got.EjectedUntil != want.EjectedUntil || got.Cause != want.Cause ||
				got.Since != want.Since {
				t.Errorf("%s: %+v, before %+v", id, got, want)
			}
		}
		b.is("b", Ejected, true)
		if !old.State.Out() {
			t.Error("who waits at the old endpoint is not told")
		}
		// What a request of an old table meets counts for the endpoint as it is now.
		b.Observe(old, ok())
		b.advance(refreshPause)
		b.is("b", SlowStart, false)
		// A long absence is another matter: it may have begun again.
		b.change(up("a", "d", "e"))
		b.advance(flapGrace + time.Second)
		b.change(up("a", "c", "d", "e"))
		b.is("c", SlowStart, false)
	})
}

// What is gone for long is forgotten, and nothing of it is left.
func TestForget(t *testing.T) {
	runWith(t, checked(), up("a"), func(b *bench) {
		b.advance(10 * time.Second)
		b.see("a", failed())
		b.change(nil)
		b.advance(keepGone + 2*time.Second)
		if len(b.records) != 0 || len(b.groups) != 0 || len(b.timed) != 0 || len(b.checks.list) != 0 ||
			len(b.clusters) != 0 {
			t.Errorf("left: %v %v %v %v %v", b.records, b.groups, b.timed, b.checks.list, b.clusters)
		}
		b.change(up("a"))
		b.usable("a")
	})
}

// A passing probe ends the ejection of an endpoint that had not answered, not that of one
// that answered badly.
func TestProbesEndASilence(t *testing.T) {
	h := checked()
	h.Outlier.BaseTime, h.Outlier.MaxTime = time.Minute, time.Minute
	runWith(t, h, up("a", "b", "c", "d"), func(b *bench) {
		b.advance(10 * time.Second)
		b.see("a", failed())
		b.see("b", repeated(Outcome{Status: 500}, 5)...)
		b.advance(5 * time.Second)
		b.is("a", Probation, false)
		b.is("b", Ejected, true)
	})
}

// Draining is told by probes, too, and taken back.
func TestProbesTellOfDraining(t *testing.T) {
	h := checked()
	h.DrainHeader = "Usher-Drain"
	runWith(t, h, up("a", "b"), func(b *bench) {
		b.probesMu.Lock()
		b.drains["a"] = true
		b.probesMu.Unlock()
		b.advance(2 * time.Minute)
		b.is("a", Draining, false)
		b.probesMu.Lock()
		b.drains["a"] = false
		b.probesMu.Unlock()
		b.advance(6 * time.Second)
		b.is("a", Healthy, false)
	})
}

// verdict is what a probe finds at a real endpoint.
func verdict(t *testing.T, address string, tls *routetable.TLS, set func(*config.HealthCheck)) result {
	t.Helper()
	check := config.DefaultHealth().HealthCheck
	set(&check)
	e := &routetable.Endpoint{ID: "x", Address: address, TLS: tls}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return newAsker().ask(ctx, newTarget(e, &check, "Usher-Drain"))
}

// Probes over HTTP ask what is set, and understand the answer.
func TestHTTPProbe(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/draining":
			w.Header().Set("Usher-Drain", "1")
		case "/echo":
			fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.Header.Get("X-Probe"), r.UserAgent())
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/much":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
		}
	}))
	defer srv.Close()
	address := strings.TrimPrefix(srv.URL, "http://")
	_, port, _ := net.SplitHostPort(address)
	for name, c := range map[string]struct {
		set     func(*config.HealthCheck)
		problem string
	}{
		"well":         {func(h *config.HealthCheck) { h.Path = "/" }, ""},
		"a redirect":   {func(h *config.HealthCheck) { h.Path = "/moved" }, ""},
		"wrong status": {func(h *config.HealthCheck) { h.Path = "/teapot" }, "status 418, expected 200-399"},
		"right status": {func(h *config.HealthCheck) { h.Path, h.ExpectedStatus = "/teapot", "418" }, ""},
		"body": {func(h *config.HealthCheck) {
			h.Path, h.Method, h.Host, h.ExpectedBody = "/echo", "POST", "h.test", "POST h.test yes usher-health"
			h.Headers = map[string]string{"X-Probe": "yes"}
		}, ""},
		"wrong body": {func(h *config.HealthCheck) {
			h.Path, h.ExpectedBody = "/echo", "nothing"
		}, `the body lacks "nothing"`},
		"a body too long": {func(h *config.HealthCheck) {
			h.Path, h.ExpectedBody = "/much", "y"
		}, `the body lacks "y"`},
		"another port": {func(h *config.HealthCheck) {
			_, _ = fmt.Sscan(port, &h.Port)
			h.Path = "/"
		}, ""},
		"tcp": {func(h *config.HealthCheck) { h.Type = "tcp" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if res := verdict(t, address, nil, c.set); res.problem != c.problem || res.draining {
				t.Errorf("got %+v, want %q", res, c.problem)
			}
		})
	}
	if res := verdict(t, address, nil, func(h *config.HealthCheck) { h.Path = "/draining" }); !res.draining {
		t.Error("a draining endpoint is not understood")
	}
}

// What does not answer, or not by HTTP, is not well.
func TestProbesOfTheUnwell(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	_ = ln.Close()
	say := func(text string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		var mu sync.Mutex
		var open []net.Conn
		serving.Go(func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = nc.Write([]byte(text))
				mu.Lock()
				open = append(open, nc)
				mu.Unlock()
			}
		})
		t.Cleanup(func() {
			_ = ln.Close()
			serving.Wait()
			for _, nc := range open {
				_ = nc.Close()
			}
		})
		return ln.Addr().String()
	}
	http := func(h *config.HealthCheck) { h.Path, h.ExpectedBody = "/", "x" }
	if res := verdict(t, gone, nil, http); !strings.HasPrefix(res.problem, "cannot connect: ") {
		t.Errorf("gone: %q", res.problem)
	}
	rpc := func(h *config.HealthCheck) { h.Type = "grpc" }
	if res := verdict(t, gone, nil, rpc); !strings.HasPrefix(res.problem, "gRPC: Unavailable") {
		t.Errorf("gone, by gRPC: %q", res.problem)
	}
	if res := verdict(t, say("SSH-2.0-x\r\n\r\n"), nil, http); !strings.HasPrefix(res.problem, "no response: ") {
		t.Errorf("another protocol: %q", res.problem)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for name, text := range map[string]string{
		"silent": "", "within the head": "HTTP/1.1 200 OK\r\n", "within the body": "HTTP/1.1 200 OK\r\n\r\n...",
	} {
		check := config.DefaultHealth().HealthCheck
		http(&check)
		e := &routetable.Endpoint{ID: "x", Address: say(text)}
		if res := newAsker().ask(ctx, newTarget(e, &check, "")); res.problem != "no answer in time" {
			t.Errorf("%s: %q", name, res.problem)
		}
	}
}

// An endpoint that speaks HTTP/2 is asked by it, unless it is asked at another port.
func TestProbeByHTTP2(t *testing.T) {
	authority := upstreamtest.NewAuthority(t)
	cert, _, _ := authority.Issue("shop.test")
	for name, secure := range map[string]*routetable.TLS{
		"h2c": nil, "h2": {ServerName: "shop.test", PEM: config.PEM{CA: authority.PEM}},
	} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/draining" {
				w.Header().Set("Usher-Drain", "1")
			}
			fmt.Fprintf(w, "%s %s %s %s %s", r.Proto, r.Method, r.Host, r.Header.Get("X-Probe"), r.UserAgent())
		}))
		srv.Config.Protocols = new(http.Protocols)
		if secure == nil {
			srv.Config.Protocols.SetUnencryptedHTTP2(true)
			srv.Start()
		} else {
			srv.Config.Protocols.SetHTTP2(true)
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
			srv.EnableHTTP2 = true
			srv.StartTLS()
		}
		e := &routetable.Endpoint{ID: "x", Address: srv.Listener.Addr().String(), TLS: secure, HTTP2: true}
		ask := func(set func(h *config.HealthCheck)) result {
			check := config.DefaultHealth().HealthCheck
			check.Path = "/x"
			set(&check)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return newAsker().ask(ctx, newTarget(e, &check, "Usher-Drain"))
		}
		if res := ask(func(h *config.HealthCheck) {
			h.Method, h.Host, h.Headers = "POST", "a.test", map[string]string{"X-Probe": "y"}
			h.ExpectedBody = "HTTP/2.0 POST a.test y usher-health"
		}); res.problem != "" || res.draining {
			t.Errorf("%s: %+v", name, res)
		}
		if res := ask(func(h *config.HealthCheck) { h.Path = "/draining" }); !res.draining {
			t.Errorf("%s: %+v", name, res)
		}
		if res := ask(func(h *config.HealthCheck) { h.ExpectedStatus = "204" }); !strings.Contains(res.problem, "200") {
			t.Errorf("%s: %+v", name, res)
		}
		srv.Close()
		if res := ask(func(*config.HealthCheck) {}); res.problem == "" {
			t.Errorf("%s: it answers though it is gone", name)
		}
	}
}

// TLS is that of the endpoint's requests.
func TestProbeByTLS(t *testing.T) {
	authority := upstreamtest.NewAuthority(t)
	cert, _, _ := authority.Issue("shop.test")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()
	address := srv.Listener.Addr().String()
	pem := config.PEM{CA: authority.PEM}
	for name, c := range map[string]struct {
		tls routetable.TLS
		ok  bool
	}{
		"well":              {routetable.TLS{ServerName: "shop.test", PEM: pem}, true},
		"another name":      {routetable.TLS{ServerName: "other.test", PEM: pem}, false},
		"another authority": {routetable.TLS{ServerName: "shop.test"}, false},
		"any certificate":   {routetable.TLS{ServerName: "other.test", SkipVerify: true}, true},
	} {
		for _, set := range []func(*config.HealthCheck){
			func(h *config.HealthCheck) { h.Path = "/" }, func(h *config.HealthCheck) { h.Type = "tcp" },
		} {
			if res := verdict(t, address, &c.tls, set); (res.problem == "") != c.ok {
				t.Errorf("%s: %q", name, res.problem)
			}
		}
	}
}

// gRPC's health service is asked by h2c and by TLS, about the name that is set.
func TestGRPCProbe(t *testing.T) {
	authority := upstreamtest.NewAuthority(t)
	cert, _, _ := authority.Issue("shop.test")
	secure := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	for name, c := range map[string]struct {
		opts []grpc.ServerOption
		tls  *routetable.TLS
	}{
		"h2c": {nil, nil},
		"tls": {
			[]grpc.ServerOption{grpc.Creds(secure)},
			&routetable.TLS{ServerName: "shop.test", PEM: config.PEM{CA: authority.PEM}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			words := health.NewServer()
			words.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
			words.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
			srv := grpc.NewServer(c.opts...)
			healthpb.RegisterHealthServer(srv, words)
			var serving sync.WaitGroup
			serving.Go(func() { _ = srv.Serve(ln) })
			defer serving.Wait()
			defer srv.Stop()
			for service, problem := range map[string]string{
				"": "", "orders": "", "sick": "gRPC: it says NOT_SERVING", "nobody": "gRPC: NotFound: unknown service",
			} {
				set := func(h *config.HealthCheck) { h.Type, h.Service = "grpc", service }
				res := verdict(t, ln.Addr().String(), c.tls, set)
				if res.problem != problem {
					t.Errorf("%q: %q, want %q", service, res.problem, problem)
				}
			}
		})
	}
}

// More endpoints than probes at a time, half of which never answer: all are judged, and
// what is counted is shown.
func TestManyProbes(t *testing.T) {
	const n = 1000
	synctest.Test(t, func(t *testing.T) {
		set := metrics.New("test", nil)
		m := New(slog.New(slog.DiscardHandler), nil)
		m.Report(set.Health)
		var mu sync.Mutex
		atOnce, most := 0, 0
		m.checks.probe = func(ctx context.Context, tg *target) result {
			mu.Lock()
			atOnce++
			most = max(most, atOnce)
			mu.Unlock()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				atOnce--
			}()
			if strings.HasPrefix(tg.endpoint.ID, "slow") {
				<-ctx.Done()
				return result{problem: "no answer in time"}
			}
			return result{}
		}
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprintf("%s%04d", []string{"fast", "slow"}[i%2], i))
		}
		slices.Sort(ids)
		empty := buildWith(nil, checked(), nil)
		m.Adopt(empty)
		table := buildWith(empty, checked(), up(ids...)) // they come later: all are asked at once
		m.Adopt(table)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.Run(ctx) })
		<-time.After(20 * time.Second)
		synctest.Wait()
		if got := len(table.Clusters()[0].View().Usable); got != n/2 {
			t.Errorf("%d are usable", got)
		}
		if most != checksAtOnce {
			t.Errorf("%d probes at once, the bound is %d", most, checksAtOnce)
		}
		if s := m.standing()["s"]; s.States["unhealthy"] != n/2 || s.Disagreements != n/2 {
			t.Errorf("%+v", s)
		}
		cancel()
		running.Wait()
	})
}

// act is one thing that happens to an endpoint.
type act struct {
	kind, on int
	pause    time.Duration
}

// playing is a Monitor that does not run by itself: all that happens has its moment.
type playing struct {
	*bench
	ids  []string
	list []watcher.Instance
}

// wait lets d pass, with probes and refreshes as they come.
func (p *playing) wait(d time.Duration) {
	const step = 25 * time.Millisecond
	for ; d > 0; d -= step {
		p.advance(step)
		for due, _ := p.takeDue(); due != nil; due, _ = p.takeDue() {
			p.probeOnce(p.t.Context(), due)
		}
		p.refresh()
	}
}

func (p *playing) do(i int, a act) {
	id := p.ids[a.on]
	observe := func(outcomes ...Outcome) {
		for _, o := range outcomes {
			p.Observe(p.endpoint(id), o)
		}
	}
	switch a.kind {
	case 0, 1:
		observe(ok())
	case 2:
		observe(failed())
	case 3:
		observe(repeated(Outcome{Status: 500}, 5)...)
	case 4:
		observe(Outcome{Kind: TimedOut}, Outcome{Kind: TimedOut})
	case 5:
		observe(Outcome{Status: 200, Draining: true})
	case 6:
		p.probe(id, "broken")
	case 7:
		p.probe(id, "")
	case 8:
		p.list = slices.Clone(p.list)
		p.list[a.on].Status = []watcher.Status{watcher.Critical, watcher.Passing}[i%2]
		p.change(p.list)
	}
	p.refresh()
}

// play lets things happen, with or without tables and flaps between them, and says how
// all stand in the end.
func play(t *testing.T, seed maphash.Seed, acts []act, swaps bool) (reports []string) {
	t.Helper()
	ids := []string{"a", "b", "c", "d", "e"}
	h := checked()
	h.SlowStart, h.PanicThreshold = 3*time.Second, 0.5
	synctest.Test(t, func(t *testing.T) {
		p := &playing{ids: ids, list: up(ids...), bench: &bench{
			t: t, health: h, problems: map[string]string{}, drains: map[string]bool{},
			Monitor: New(slog.New(slog.DiscardHandler), nil),
		}}
		p.checks.probe, p.checks.seed = p.answer, seed
		p.adopt(buildWith(nil, h, p.list))
		for i, a := range acts {
			p.do(i, a)
			if swaps {
				p.change(slices.Concat(p.list, up(fmt.Sprint("z", i)))) // something else
				p.change(slices.Delete(slices.Clone(p.list), a.on, a.on+1))
				p.change(p.list)
			}
			p.wait(a.pause)
		}
		for _, id := range ids {
			rep := p.of(id)
			rep.Since = rep.Since.Truncate(0) // without the monotonic part
			out := p.endpoint(id).State.Out()
			reports = append(reports, fmt.Sprintf("%s: %+v, out %v, probe %+v", id, rep, out, *rep.Probe))
		}
		reports = append(reports, fmt.Sprint(p.shares()))
	})
	for i, r := range reports { // the addresses of the probes differ
		before, _, _ := strings.Cut(r, " Probe:0x")
		if _, after, cut := strings.Cut(r, " Disagrees:"); cut {
			reports[i] = before + " Disagrees:" + after
		}
	}
	return reports
}

// Tables and flaps change nothing of what is known.
func TestSwapsChangeNothing(t *testing.T) {
	hash := maphash.MakeSeed()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		acts := make([]act, 60)
		for i := range acts {
			acts[i] = act{r.IntN(9), r.IntN(5), time.Duration(r.IntN(60)) * 25 * time.Millisecond}
		}
		with, without := play(t, hash, acts, true), play(t, hash, acts, false)
		if !slices.Equal(with, without) {
			t.Fatalf("seed %d: with swaps\n%s\nwithout\n%s", seed,
				strings.Join(with, "\n"), strings.Join(without, "\n"))
		}
	}
}
