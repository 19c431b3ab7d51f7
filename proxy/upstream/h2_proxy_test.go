package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"usher/config"
	"usher/proxy/proxytest"
)

// Trailers, interim responses and the absence of bodies reach the client as they are.
func TestH2Heads(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/trailers":
				w.Header().Set("Trailer", "X-Sum")
				_, _ = io.WriteString(w, "hello")
				w.Header().Set("X-Sum", "5")
			case "/early":
				w.Header().Set("Link", "</a.css>")
				w.WriteHeader(103)
				w.Header().Set("Content-Length", "2")
				_, _ = io.WriteString(w, "ok")
			case "/304":
				w.Header().Set("ETag", `"x"`)
				w.WriteHeader(304)
			default:
				w.Header().Set("X-Te", r.Header.Get("Te"))
				_, _ = io.WriteString(w, "hello")
			}
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		c := u.Dial()
		if r := c.Get("/trailers"); r.Text != "hello" || r.Trailer.Get("X-Sum") != "5" {
			t.Errorf("got %q %v", r.Text, r.Trailer)
		}
		if r := c.Get("/304"); r.StatusCode != 304 || r.Header.Get("ETag") != `"x"` {
			t.Errorf("got %s %v", r.Status, r.Header)
		}
		for _, method := range []string{"HEAD", "GET"} {
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nContent-Type: application/grpc\r\n\r\n", method)
			if r := c.Read(method); r.Header.Get("X-Te") != "trailers" || (r.Text != "") != (method == "GET") {
				t.Errorf("%s: got %v %q", method, r.Header, r.Text)
			}
		}
		early := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == 103 && h.Get("Link") == "</a.css>" {
					early++
				}
				return nil
			},
		})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.Addr()+"/early", nil)
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil || early != 1 {
			t.Errorf("got %q, %v, %d early hints", b, err, early)
		}
	})
}

// Bytes go both ways at a time, as soon as they are there.
func TestH2Streams(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			flush := http.NewResponseController(w).Flush
			_ = flush()
			buf := make([]byte, 100)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(bytes.ToUpper(buf[:n]))
				_ = flush()
				if err != nil {
					return
				}
			}
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		c := u.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		r := c.Begin("POST")
		body := bufio.NewReader(r.Body)
		for i := range 20 {
			line := fmt.Sprintf("line %d\n", i)
			c.Send("%x\r\n%s\r\n", len(line), line)
			if got, err := body.ReadString('\n'); got != strings.ToUpper(line) || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		c.Send("0\r\n\r\n")
		if b, err := io.ReadAll(body); len(b) > 0 || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		u.Clean(1, 1)
	})
}

// Large bodies arrive whole, many at a time over one connection.
func TestH2Large(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(rand.Uint32())
	}
	sum := sha256.New()
	for range size / len(block) {
		sum.Write(block)
	}
	want := fmt.Sprintf("%x", sum.Sum(nil))
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				sum := sha256.New()
				_, _ = io.Copy(sum, r.Body)
				_, _ = fmt.Fprintf(w, "%x", sum.Sum(nil))
				return
			}
			if r.URL.Path == "/length" {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			}
			for range size / len(block) {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		})
		u := tr.proxied(t, config.Policy{MaxConnections: 1}, origin.Addr)
		var wg sync.WaitGroup
		for _, path := range []string{"/length", "/chunks"} {
			wg.Go(func() {
				resp, err := get(t.Context(), "http://"+u.Addr()+path)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				sum := sha256.New()
				n, err := io.Copy(sum, resp.Body)
				if got := fmt.Sprintf("%x", sum.Sum(nil)); n != size || got != want || err != nil {
					t.Errorf("%s: %d bytes, %s, %v", path, n, got, err)
				}
			})
		}
		for _, length := range []int64{size, -1} {
			wg.Go(func() {
				blocks := make([]io.Reader, size/len(block))
				for i := range blocks {
					blocks[i] = bytes.NewReader(block)
				}
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+u.Addr()+"/", io.MultiReader(blocks...))
				req.ContentLength = length
				resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				if b, err := io.ReadAll(resp.Body); string(b) != want || err != nil {
					t.Errorf("upload: got %q, %v", b, err)
				}
			})
		}
		wg.Wait()
		u.Clean(4, 1)
	})
}

// get makes a request on a connection of its own.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
}

// A client that does not read, and one that does not send, keep no other waiting.
func TestH2SlowClient(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		sent := make(chan int, 1)
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/large" {
				_, _ = io.Copy(w, r.Body)
				return
			}
			total := 0
			for total < 64<<20 {
				n, err := w.Write(make([]byte, 64<<10))
				if total += n; err != nil {
					break
				}
			}
			sent <- total
		})
		u := tr.proxied(t, config.Policy{MaxConnections: 1}, origin.Addr)
		slow := u.Dial()
		_ = slow.SetReadBuffer(4096)
		slow.Send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
		upload := u.Dial()
		upload.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
		slow.Begin("GET")
		for range 20 {
			c := u.Dial()
			body := strings.Repeat("x", 100_000)
			c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			c.OK("POST", body)
			c.Close()
		}
		select {
		case n := <-sent:
			t.Errorf("%d bytes were taken that nobody reads", n)
		default:
		}
		slow.Cut()
		upload.Cut()
		if n := receive(t, sent); n > 32<<20 {
			t.Errorf("%d bytes were taken that nobody reads", n)
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		u.Clean(0, 1)
	})
}

// A client that leaves takes its request along, and nobody else's.
func TestH2ClientLeaves(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		asked, left, let := make(chan string, 4), make(chan struct{}, 4), make(chan struct{})
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked <- r.URL.Path
			select {
			case <-r.Context().Done():
				left <- struct{}{}
			case <-let:
				_, _ = io.WriteString(w, "ok")
			}
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		stays, leaves := u.Dial(), u.Dial()
		stays.Send("GET /stays HTTP/1.1\r\nHost: a\r\n\r\n")
		receive(t, asked)
		leaves.Send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n")
		receive(t, asked)
		leaves.Close()
		receive(t, left)
		close(let)
		stays.OK("GET", "ok")
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		u.Clean(1, 1)
	})
}

// A response that is cut is never taken for a whole one, and the connection goes on.
func TestH2Cut(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/whole":
				_, _ = io.WriteString(w, "ok")
				return
			case "/length":
				w.Header().Set("Content-Length", "100")
			}
			_, _ = io.WriteString(w, "0123456789")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		for _, path := range []string{"/length", "/chunks"} {
			if r := u.Dial().Get(path); r.StatusCode != 200 || r.Text != "0123456789" || r.Err == nil {
				t.Errorf("%s: got %s %q, %v", path, r.Status, r.Text, r.Err)
			}
			if r := u.Dial().Get("/whole"); r.Text != "ok" {
				t.Errorf("got %s", r.Status)
			}
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A response that does not come in time ends its stream alone.
func TestH2Timeout(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		left := make(chan struct{}, 1)
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-r.Context().Done()
				left <- struct{}{}
				return
			}
			_, _ = io.WriteString(w, "ok")
		})
		u := tr.proxied(t, config.Policy{Timeout: 100 * time.Millisecond}, origin.Addr)
		c := u.Dial()
		if r := c.Get("/slow"); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "upstream_timeout" {
			t.Errorf("got %s %v", r.Status, r.Header)
		}
		receive(t, left)
		if r := c.Get("/"); r.Text != "ok" {
			t.Errorf("got %s", r.Status)
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Requests that come together make one connection; more than it takes make another one, and
// none where there is a bound.
func TestH2Concurrency(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		const limit, n = 3, 10
		asked, let := make(chan struct{}, n), make(chan struct{})
		limited := func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: limit} }
		origin := tr.serve(t, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-let
			_, _ = io.WriteString(w, "ok")
		}, limited)
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		var clients []*proxytest.Client
		for range n {
			c := u.Dial()
			c.Send(request)
			clients = append(clients, c)
		}
		for range n {
			receive(t, asked)
		}
		if got := origin.accepted.Load(); got != (n+limit-1)/limit {
			t.Errorf("%d connections for %d requests", got, n)
		}
		bounded := tr.proxied(t, config.Policy{MaxConnections: 1, MaxPending: 1, PendingTimeout: proxytest.Patience}, origin.Addr)
		for range limit {
			c := bounded.Dial()
			c.Send(request)
			clients = append(clients, c)
			receive(t, asked)
		}
		waits := bounded.Dial()
		waits.Send(request)
		waiting(t, bounded, limit+1)
		c := bounded.Dial()
		c.Send(request)
		wantOverloaded(t, c, "GET")
		close(let)
		for _, c := range append(clients, waits) {
			c.OK("GET", "ok")
		}
		u.Clean(n, n)
		bounded.Clean(limit+2, 1)
	})
}

// An endpoint that speaks HTTP/1.1 alone is not connected to.
func TestH2NotSpoken(t *testing.T) {
	t.Parallel()
	for i, tr := range h2Transports(t) {
		old := transport{authority: tr.authority, server: tr.server}
		u := tr.proxied(t, config.Policy{}, old.ok(t).Addr)
		c := u.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
		if r := c.Read("POST"); r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "connect_failed" {
			t.Errorf("%d: got %s %v", i, r.Status, r.Header)
		}
		if n := u.Counter("usher_upstream_connect_errors_total", map[string]string{"reason": "handshake"}); n == 0 {
			t.Errorf("%d: it is not counted", i)
		}
	}
	silent := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() })
	tr := h2Transports(t)[0]
	u := tr.proxied(t, config.Policy{ConnectTimeout: 100 * time.Millisecond}, silent.Addr)
	if r := u.Dial().Get("/"); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "connect_timeout" {
		t.Errorf("got %s %v", r.Status, r.Header)
	}
}

// Requests survive the end of their connection, whatever their method is, as long as the
// endpoint says which ones it has not taken.
func TestH2GoAwayUnderLoad(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 20 * time.Millisecond, MaxConnectionAgeGrace: proxytest.Patience,
	}))
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	tr := h2Transport{protocol: "grpc"}
	u := tr.proxied(t, config.Policy{Retry: config.Retry{Attempts: -1}}, ln.Addr().String())
	until := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	var calls atomic.Int32
	for range 8 {
		wg.Go(func() {
			c := u.Dial()
			for time.Now().Before(until) {
				checkHealth(t, c, "", "0")
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	made := samples(t, u.Metrics.Downstream)[`usher_upstream_connect_duration_seconds{service="origin"}`]
	if made < 5 {
		t.Errorf("%v connections for %d calls: it never went away", made, calls.Load())
	}
	t.Logf("%d calls, %v connections", calls.Load(), made)
}

// checkHealth asks for the health of a service as a client of gRPC would, by HTTP/1.1.
func checkHealth(t *testing.T, c *proxytest.Client, service, status string) {
	t.Helper()
	message, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Error(err)
	}
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	c.Send("POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n"+
		"Content-Length: %d\r\n\r\n%s", len(frame), frame)
	r := c.Read("POST")
	got := r.Trailer.Get("grpc-status") + r.Header.Get("grpc-status")
	if r.StatusCode != 200 || got != status || r.Err != nil || r.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("got %s %v %v %q, %v", r.Status, r.Header, r.Trailer, r.Text, r.Err)
	}
}

// A server of gRPC is spoken to, plainly and over TLS; its answers have their status in
// trailers, or in the head.
func TestH2GRPC(t *testing.T) {
	t.Parallel()
	for _, tr := range h2Transports(t) {
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer(tr.credentials()...)
		healthpb.RegisterHealthServer(s, health.NewServer())
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(s.Stop)
		rule := "/ proto=grpc"
		if tr.authority != nil {
			rule = "/ proto=grpcs grpcservername=origin.test"
		}
		policy := tr.policy(config.Policy{})
		policy.Upstream.Protocol, policy.Upstream.TLS.ServerName = "", ""
		u := proxytest.Start(t, proxytest.Options{Policy: policy, Services: []proxytest.Service{
			{Name: "origin", Routes: []string{rule}, Addresses: []string{ln.Addr().String()}},
		}})
		c := u.Dial()
		for range 3 {
			checkHealth(t, c, "", "0")
			checkHealth(t, c, "nobody", "5")
		}
		u.Clean(1, 1)
	}
}

// What fails between two requests, or before anything is done, is tried again.
func TestH2Retries(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	for name, tc := range map[string]struct {
		method string
		first  func(f *rawH2)
		status int
	}{
		"refused":         {"POST", func(f *rawH2) { f.refuse(1) }, 200},
		"left by GOAWAY":  {"POST", func(f *rawH2) { f.goAway(0) }, 200},
		"left by the end": {"GET", func(f *rawH2) { f.close() }, 200},
		"taken, then cut": {"POST", func(f *rawH2) { f.close() }, 502},
		"reset":           {"POST", func(f *rawH2) { f.reset(1) }, 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := rawServer(t, func(f *rawH2, nth, id uint32) {
				if nth == 1 {
					tc.first(f)
				} else {
					f.answer(id)
				}
			})
			well := rawServer(t, func(f *rawH2, _, id uint32) { f.answer(id) })
			u := proxytest.Start(t, proxytest.Options{
				Policy: tr.policy(config.Policy{Balance: "first"}), Services: proxytest.Origins(origin, well),
				Balancers: firstBalancer(),
			})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", tc.method)
			if r := c.Read(tc.method); r.StatusCode != tc.status {
				t.Errorf("got %s %v", r.Status, r.Header)
			}
			u.Quiet()
		})
	}
}

// One endpoint that refuses is asked again itself.
func TestH2RefusedAlone(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	var refusals atomic.Int32
	origin := rawServer(t, func(f *rawH2, _, id uint32) {
		if refusals.Add(1) <= 2 {
			f.refuse(id)
		} else {
			f.answer(id)
		}
	})
	u := tr.proxied(t, config.Policy{}, origin)
	c := u.Dial()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
	c.OK("POST", "ok")
}

// A request whose body streams is not sent a second time, whatever its endpoint says.
func TestH2StreamedNotRepeated(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	var asked atomic.Int32
	origin := rawServer(t, func(f *rawH2, _, id uint32) {
		asked.Add(1)
		f.refuse(id)
	})
	u := tr.proxied(t, config.Policy{}, origin)
	c := u.Dial()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
	if r := c.Read("POST"); r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "upstream_reset" || asked.Load() != 1 {
		t.Errorf("got %s %v, asked %d times", r.Status, r.Header, asked.Load())
	}
}

// A request with two endpoints has the faster one's answer.
func TestH2Hedge(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		left := make(chan struct{}, 1)
		slow := tr.serve(t, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			left <- struct{}{}
		})
		fast := tr.serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		u := proxytest.Start(t, proxytest.Options{
			Policy: tr.policy(config.Policy{
				Balance: "first", Hedge: config.Hedge{Delay: 20 * time.Millisecond},
			}),
			Services: proxytest.Origins(slow.Addr, fast.Addr), Balancers: firstBalancer(),
		})
		c := u.Dial()
		c.Send(request)
		c.OK("GET", "ok")
		receive(t, left)
		u.Clean(1, 2)
	})
}

// Many clients do all sorts of things at a time.
func TestH2Storm(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/cut":
				_, _ = io.WriteString(w, "part")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/slow":
				<-r.Context().Done()
			case "/early":
				_, _ = io.WriteString(w, "no need for all that")
			default:
				sum := crc32.NewIEEE()
				n, err := io.Copy(sum, r.Body)
				_, _ = fmt.Fprintf(w, "%d %08x %v", n, sum.Sum32(), err)
			}
		}, func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 5} })
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() { storm(t, u, i) })
		}
		wg.Wait()
		u.Clean(0, 24)
	})
}

// storm is what one client of TestH2Storm does.
func storm(t *testing.T, u *proxytest.Usher, seed int) {
	random := rand.New(rand.NewPCG(1, uint64(seed)))
	for range 15 {
		c, err := proxytest.TryDial(t, u.Addr())
		if err != nil {
			t.Error(err)
			return
		}
		size := random.IntN(300_000)
		body := bytes.Repeat([]byte{byte(size)}, size)
		path := []string{"/cut", "/slow", "/early", "/sum", "/sum", "/sum"}[random.IntN(6)]
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, size, body)
		if path == "/slow" {
			c.Close()
			continue
		}
		r, err := c.TryBegin("POST")
		if err == nil {
			b, failed := io.ReadAll(r.Body)
			r.Text, err = string(b), failed
		}
		want := fmt.Sprintf("%d %08x <nil>", size, crc32.ChecksumIEEE(body))
		if path == "/sum" && (err != nil || r.Text != want) || path == "/cut" && err == nil {
			t.Errorf("%s: got %v, %v, want %s", path, r, err, want)
		}
		c.Close()
	}
}
