package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "google.golang.org/grpc/interop/grpc_testing"

	"usher/config"
	"usher/metrics/accesslog"
	"usher/proxy/proxytest"
)

// logged is what an access log says of a request.
type logged struct {
	Time, Listener, Peer, Method, Scheme, Host, Target, Protocol, Reason, Route, Service, Endpoint, Referer, SNI string

	ClientIP   string  `json:"client_ip"`
	Address    string  `json:"endpoint_address"`
	RequestID  string  `json:"request_id"`
	UserAgent  string  `json:"user_agent"`
	GRPC       string  `json:"grpc_status"`
	TLSVersion string  `json:"tls_version"`
	Identity   string  `json:"client_identity"`
	Received   int     `json:"bytes_received"`
	Sent       int     `json:"bytes_sent"`
	Upstream   float64 `json:"upstream_duration"`

	Status, Attempts, Generation int
	Duration                     float64
	Hedged                       bool
	Retries                      []string          `json:"retry_reasons"`
	Request                      map[string]string `json:"request_headers"`
	Response                     map[string]string `json:"response_headers"`
}

// journal is an access log that a test reads.
type journal struct {
	t    *testing.T
	path string
	log  *accesslog.Log
	read int
}

// logTo has the usher log to a file.
func logTo(t *testing.T, u *proxytest.Usher, change func(*config.AccessLog)) *journal {
	t.Helper()
	c := config.AccessLog{
		Output: filepath.Join(t.TempDir(), "access.log"), Format: config.AccessJSON, Sample: 1, Slow: time.Second,
		BufferSize: 1 << 20, FlushInterval: 10 * time.Millisecond,
		RequestHeaders:  []string{"Authorization", "Cookie", "X-Tenant"},
		ResponseHeaders: []string{"X-Cache", "Set-Cookie", "X-Usher-Reason"},
	}
	if change != nil {
		change(&c)
	}
	l, err := accesslog.Open(accesslog.Options{
		Config: c, Clock: u.Proxy.Clock, Dropped: u.Metrics.AccessLogDropped, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	u.Proxy.LogTo(l)
	t.Cleanup(func() {
		u.Proxy.LogTo(nil)
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		l.Close(ctx)
	})
	return &journal{t: t, path: c.Output, log: l}
}

// next waits for n more entries, and returns them.
func (j *journal) next(n int) (out []logged) {
	j.t.Helper()
	var lines []string
	proxytest.Eventually(j.t, "the entries are there", func() bool {
		b, err := os.ReadFile(j.path)
		if err != nil {
			j.t.Fatal(err)
		}
		lines = strings.SplitAfter(string(b), "\n")
		lines = lines[:len(lines)-1]
		return len(lines) >= j.read+n
	})
	if len(lines) > j.read+n {
		j.t.Errorf("there are %d entries, want %d: %s", len(lines)-j.read, n, lines[j.read:])
	}
	for _, line := range lines[j.read:] {
		var e logged
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			j.t.Fatalf("%v: %s", err, line)
		}
		out = append(out, e)
	}
	j.read = len(lines)
	return out
}

func (j *journal) one() logged {
	j.t.Helper()
	return j.next(1)[0]
}

// TestAccessLog: what is logged is what was asked and what became of it, over every
// protocol.
func TestAccessLog(t *testing.T) {
	conform(t, proxytest.Options{}, func(t *testing.T, f *fixture) {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Cache", "hit")
			w.Header().Set("Set-Cookie", "a=s3cret")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(append([]byte("got "), b...))
		})
		f.Publish(proxytest.Origins(address)...)
		j := logTo(t, f.Usher, nil)
		req := f.request(http.MethodPut, "/a%20b?x=1&access_token=s3cret", strings.NewReader("hello"))
		req.Header.Set("User-Agent", `a "quoted" agent`)
		req.Header.Set("Authorization", "Bearer s3cret")
		req.Header.Set("X-Tenant", "one")
		a := f.do(req)
		if a.StatusCode != http.StatusCreated {
			t.Fatalf("got %d", a.StatusCode)
		}
		e := j.one()
		for what, ok := range map[string]bool{
			"method and target": e.Method == "PUT" && e.Target == "/a%20b?x=1&access_token=REDACTED",
			"status":            e.Status == 201 && e.Reason == "",
			"bytes":             e.Received == 5 && e.Sent == 9,
			"client":            e.ClientIP == "127.0.0.1" && strings.HasPrefix(e.Peer, "127.0.0.1:"),
			"where":             e.Listener == "web" && e.Service == "origin" && e.Route != "",
			"endpoint":          e.Address == address && e.Endpoint != "",
			"agent":             e.UserAgent == `a "quoted" agent`,
			"headers":           e.Request["x-tenant"] == "one" && e.Request["authorization"] == "REDACTED",
			"response":          e.Response["x-cache"] == "hit" && e.Response["set-cookie"] == "REDACTED",
			"attempts":          e.Attempts == 1 && e.Retries == nil && !e.Hedged,
			"durations":         e.Duration > 0 && e.Upstream > 0 && e.Upstream <= e.Duration,
			"protocol":          strings.HasPrefix(e.Protocol, "HTTP/"+strconv.Itoa(f.major)),
			"TLS":               (e.TLSVersion == "TLSv1.3") == (e.Scheme == "https") && e.Scheme == f.scheme,
			"generation":        e.Generation > 0,
		} {
			if !ok {
				t.Errorf("%s: %+v", what, e)
			}
		}
	})
}

// A client that leaves is an entry of its own kind.
func TestAccessLogClientGone(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		if req, _, _ := c.Request(); req != nil {
			close(asked)
			c.Gone()
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	j := logTo(t, u, func(c *config.AccessLog) { c.Sample = 0 })
	c := u.Dial()
	c.Send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-asked
	c.Cut()
	if e := j.one(); e.Status != 499 || e.Reason != "client_gone" || e.Target != "/slow" || e.Attempts != 1 {
		t.Errorf("got %+v", e)
	}
}

// usher's own answers have the word of their X-Usher-Reason. What is refused before it is
// understood says nothing of the request before it on the same connection.
func TestAccessLogOwnAnswers(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
		{Name: "dead", Routes: []string{"/dead"}, Addresses: []string{proxytest.Nowhere(t), proxytest.Nowhere(t)}},
		{Name: "moved", Routes: []string{"/moved redirect=301,http://b/"}, Addresses: []string{proxytest.Nowhere(t)}},
	}})
	j := logTo(t, u, func(c *config.AccessLog) { c.Sample = 0 })
	c := u.Dial()
	for target, want := range map[string]logged{
		"/nowhere": {Status: 404, Reason: "no_route"},
		"/dead": {
			Status: 502, Reason: "connect_failed", Service: "dead", Attempts: 2, Retries: []string{"connect_failed"},
		},
	} {
		c.Send("GET %s HTTP/1.1\r\nHost: a\r\nUser-Agent: old\r\n\r\n", target)
		r := c.Read("GET")
		e := j.one()
		if e.Status != want.Status || e.Reason != want.Reason || e.Service != want.Service ||
			e.Attempts != want.Attempts || strings.Join(e.Retries, ",") != strings.Join(want.Retries, ",") {
			t.Errorf("%s: got %+v", target, e)
		}
		if e.Response["x-usher-reason"] != e.Reason || r.StatusCode != e.Status || e.Sent != len(r.Text) {
			t.Errorf("%s: %d %q with %d bytes, logged %+v", target, r.StatusCode, r.Header, len(r.Text), e)
		}
	}
	c.Send("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
	c.Read("GET")
	e := j.one()
	if e.Status != 400 || e.Reason != "bad_request" || e.UserAgent != "" || e.Target != "" || e.Protocol != "" {
		t.Errorf("got %+v", e)
	}
	all := logTo(t, u, nil) // a redirect is no failure
	d := u.Dial()
	d.Get("/moved")
	if e := all.one(); e.Status != 301 || e.Reason != "redirect" {
		t.Errorf("got %+v", e)
	}
}

// A sample leaves out what went well, and nothing else.
func TestAccessLogSample(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil || !c.Reply("HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", req.Header.Get("X-Answer")) {
				return
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Services: proxytest.Origins(origin.Addr), Policy: config.Policy{Retry: config.Retry{Attempts: -1}},
	})
	j := logTo(t, u, func(c *config.AccessLog) { c.Sample = 0 })
	c := u.Dial()
	for range 20 {
		for _, answer := range []string{"200 OK", "404 Not Found", "500 Bad", "503 Worse"} {
			c.Send("GET / HTTP/1.1\r\nHost: a\r\nX-Answer: %s\r\n\r\n", answer)
			c.Read("GET")
		}
	}
	for _, e := range j.next(40) {
		if e.Status < 500 {
			t.Errorf("got %+v", e)
		}
	}
	if n := u.Metrics.AccessLogDropped.Value(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// The client is the one whom trusted proxies tell of, up to the first of them that is not
// trusted.
func TestAccessLogClient(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{TrustedProxies: []string{"127.0.0.1", "10.0.0.0/8"}, RequestID: true}},
		Services:  proxytest.Origins(proxytest.Echo(t).Addr),
	})
	j := logTo(t, u, nil)
	for fields, want := range map[string]string{
		"":                                      "127.0.0.1",
		"X-Forwarded-For: 192.0.2.1":            "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1, 10.1.1.1":  "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1, 192.0.2.2": "192.0.2.2",
		"X-Forwarded-For: 192.0.2.1, junk, 10.1.1.1":               "10.1.1.1",
		"X-Forwarded-For: 192.0.2.1, junk":                         "127.0.0.1",
		"x-forwarded-for: 192.0.2.1\r\nX-Forwarded-For: 10.1.1.1":  "192.0.2.1",
		"X-Forwarded-For: 10.1.1.2, 10.1.1.1":                      "10.1.1.2",
		"X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https": "2001:db8::1",
		"X-Forwarded-For: \"; drop\r\nX-Request-Id: 1\"2":          "127.0.0.1",
	} {
		c := u.Dial()
		if fields != "" {
			fields += "\r\n"
		}
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields)
		r := c.Read("GET")
		e := j.one()
		if e.ClientIP != want || !strings.HasPrefix(e.Peer, "127.0.0.1:") {
			t.Errorf("%q: client %q, peer %q, want %q", fields, e.ClientIP, e.Peer, want)
		}
		if e.RequestID == "" || e.RequestID != r.Header.Get("X-Request-Id") {
			t.Errorf("%q: request ID %q, told %q", fields, e.RequestID, r.Header.Get("X-Request-Id"))
		}
		if want := map[bool]string{true: "https", false: "http"}[strings.Contains(fields, "Proto")]; e.Scheme != want {
			t.Errorf("%q: scheme %q", fields, e.Scheme)
		}
	}
}

// A listener may be left out.
func TestAccessLogListenerOff(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	quiet := proxytest.Listener(config.Listener{})
	loud := proxytest.Listener(config.Listener{Name: "loud", Address: "127.0.0.2:0"})
	quiet.AccessLog = false
	if err := u.Proxy.Listen([]config.Listener{quiet, loud}); err != nil {
		t.Fatal(err)
	}
	j := logTo(t, u, nil)
	u.Dial().Get("/quiet")
	proxytest.Dial(t, u.AddrOf("loud")).Get("/loud")
	if e := j.one(); e.Target != "/loud" || e.Listener != "loud" {
		t.Errorf("got %+v", e)
	}
}

// A retry says what it was for, and a hedge that there was one.
func TestAccessLogTries(t *testing.T) {
	t.Parallel()
	u := hedge(t, hedging(), 2, func(nth int, c *proxytest.Conn, _ *http.Request) bool {
		return nth == 1 && c.Gone() || c.Reply("%s", number(nth))
	})
	j := logTo(t, u, nil)
	u.Dial().Get("/")
	if e := j.one(); !e.Hedged || e.Attempts != 2 || e.Status != 200 {
		t.Errorf("hedged: %+v", e)
	}
	bad := proxytest.Answering(t, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
	good := proxytest.Answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	v := startInOrder(t, gateway(2), bad.Addr, good.Addr)
	j = logTo(t, v, nil)
	v.Dial().Get("/")
	e := j.one()
	if e.Status != 200 || e.Attempts != 2 || len(e.Retries) != 1 || e.Retries[0] != "status" || e.Address != good.Addr {
		t.Errorf("retried: %+v", e)
	}
}

// A call of gRPC has its status, whoever gave it.
func TestAccessLogGRPC(t *testing.T) {
	t.Parallel()
	address, _ := serveCalls(t, &server{unary: func(context.Context) error { return nil }})
	u, c := callers(t, config.Policy{}, address)
	j := logTo(t, u, nil)
	if _, err := c.UnaryCall(patient(t), &pb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	e := j.one()
	const method = "/grpc.testing.TestService/UnaryCall"
	if e.GRPC != "ok" || e.Status != 200 || e.Protocol != "HTTP/2" || e.Target != method {
		t.Errorf("got %+v", e)
	}
	u.Publish(proxytest.Service{
		Name: "origin", Routes: []string{"/ proto=grpc"}, Addresses: []string{proxytest.Nowhere(t)},
	})
	if _, err := c.UnaryCall(patient(t), &pb.SimpleRequest{}); err == nil {
		t.Fatal("no error")
	}
	if e := j.one(); e.GRPC != "unavailable" || e.Reason != "connect_failed" {
		t.Errorf("got %+v", e)
	}
}

// A connection that is carried, and one that has changed its protocol, have an entry at
// their ends.
func TestAccessLogTunnels(t *testing.T) {
	t.Parallel()
	u := startDB(t, config.Policy{}, returningTCP(t).Addr)
	j := logTo(t, u, nil)
	c := u.Dial()
	c.Send("hello")
	receives(t, c.R, "hello")
	_ = c.CloseWrite()
	if _, err := c.R.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	e := j.one()
	if e.Protocol != "tcp" || e.Received != 5 || e.Sent != 5 || e.Service != "origin" || e.ClientIP != "127.0.0.1" ||
		e.Duration <= 0 || e.Attempts != 1 || e.Method != "" || e.Scheme != "" || e.Generation == 0 {
		t.Errorf("got %+v", e)
	}
	v := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(echoing(t).Addr)})
	j = logTo(t, v, nil)
	w := switched(t, v)
	says(t, w, "12345")
	w.Cut()
	e = j.one()
	if e.Status != 101 || e.Received != 5 || e.Sent < 5 || e.Method != "GET" || e.Target == "" || e.Host == "" {
		t.Errorf("got %+v", e)
	}
	x := startDB(t, config.Policy{}, proxytest.Nowhere(t))
	j = logTo(t, x, nil)
	if c, err := proxytest.TryDial(t, x.Addr()); err == nil { // it may be reset before it is told of
		defer c.Cut()
	}
	if e := j.one(); e.Reason != "connect_failed" || e.Protocol != "tcp" {
		t.Errorf("got %+v", e)
	}
}
