package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseAgent(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8500":                "http://127.0.0.1:8500",
		"consul":                        "http://consul",
		"[::1]:8500":                    "http://[::1]:8500",
		"http://consul:8500":            "http://consul:8500",
		"https://consul:8501":           "https://consul:8501",
		"https://consul:8501/":          "https://consul:8501",
		"http://gateway/consul":         "http://gateway/consul",
		"gateway/a%2Fb/":                "http://gateway/a%2Fb",
		"unix:///run/consul.sock":       "http://socket-3.invalid /run/consul.sock",
		"unix://consul.sock":            "http://socket-3.invalid consul.sock",
		"":                              "",
		"http://":                       "",
		"http://:8500":                  "",
		"unix://":                       "",
		"ftp://consul":                  "",
		"http://user:secret@consul":     "",
		"http://consul?dc=1":            "",
		"http://consul#a":               "",
		"http://con sul":                "",
		"http://consul:port":            "",
		"http://consul:8500\r\nX: evil": "",
	} {
		a, err := parseAgent(address, 3)
		if want == "" {
			if err == nil {
				t.Errorf("%q: no error but %v", address, a.url)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", address, err)
			continue
		}
		if got := strings.TrimSpace(a.url.String() + " " + a.socket); got != want || a.name != address {
			t.Errorf("%q: got %q, %q, want %q", address, got, a.name, want)
		}
	}
	if _, err := parseAgents(nil); err == nil {
		t.Error("no address, and no error")
	}
}

// FuzzParseAgent: what is accepted makes requests that reach that host and no other.
func FuzzParseAgent(f *testing.F) {
	seeds := strs{"127.0.0.1:8500", "https://a/b%2f", "unix:///x", "http://[::1%25a]:1", "http://a//b/../c"}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		a, err := parseAgent(address, 0)
		if err != nil {
			return
		}
		req, err := http.NewRequest(http.MethodGet, "http://consul/v1/kv/a%2Fb?dc=1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		out := a.address(req)
		if out.URL.Host != a.url.Host || out.Host == "" || out.URL.RawQuery != "dc=1" || out.URL.User != nil {
			t.Errorf("%q: %v", address, out.URL)
		}
		if path := out.URL.EscapedPath(); !strings.HasSuffix(path, "/v1/kv/a%2Fb") || strings.Contains(path, "?") {
			t.Errorf("%q: the path is %q", address, path)
		}
		if req.URL.Host != "consul" {
			t.Errorf("%q changed the caller's request: %v", address, req.URL)
		}
	})
}

// hosts is a network of agents: each answers, or refuses connections.
type hosts struct {
	mu sync.Mutex
	// answers are by host; what is missing refuses connections.
	answers map[string]func(*http.Request) (*http.Response, error)
	// asked are the requests, in order.
	asked []string
}

// RoundTrip implements http.RoundTripper.
func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	text := req.URL.Host + req.URL.RequestURI()
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body.Close()
		text += string(b)
	}
	h.mu.Lock()
	h.asked = append(h.asked, text)
	answer := h.answers[req.URL.Host]
	h.mu.Unlock()
	if answer == nil {
		return nil, &dialError{errors.New("refused")}
	}
	return answer(req)
}

// set makes a host answer with this leader; "-": it refuses connections.
func (h *hosts) set(host, leader string) {
	h.answer(host, func(*http.Request) (*http.Response, error) { return said(http.StatusOK, `"`+leader+`"`), nil })
	if leader == "-" {
		h.answer(host, nil)
	}
}

func (h *hosts) answer(host string, f func(*http.Request) (*http.Response, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[host] = f
}

// took returns the requests since the last call.
func (h *hosts) took() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.asked = nil }()
	return h.asked
}

// network is a list of agents and who is told of their changes.
type network struct {
	*agents
	*hosts
	t *testing.T

	mu    sync.Mutex
	moves []string
}

func newNetwork(t *testing.T, names ...string) *network {
	t.Helper()
	list, err := parseAgents(names)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{hosts: &hosts{answers: map[string]func(*http.Request) (*http.Response, error){}}, t: t}
	n.agents = newAgents(list, n.hosts, func(from, to, reason string) {
		_ = n.current() // whoever is told may ask
		n.mu.Lock()
		defer n.mu.Unlock()
		n.moves = append(n.moves, from+">"+to+" "+reason)
	})
	return n
}

// get makes one request and returns the body of the answer.
func (n *network) get(ctx context.Context, path string) (string, error) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://consul"+path, http.NoBody)
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := n.agents.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// check compares what was asked, and the changes, since the last time.
func (n *network) check(what string, asked, moves []string) {
	n.t.Helper()
	if got := n.took(); !slices.Equal(got, asked) {
		n.t.Errorf("%s: asked %q, want %q", what, got, asked)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.moves, moves) {
		n.t.Errorf("%s: moves %q, want %q", what, n.moves, moves)
	}
	n.moves = nil
}

type strs = []string

func TestAgentsInOrder(t *testing.T) {
	n := newNetwork(t, "a", "b", "c")
	n.set("a", "leader")
	n.set("c", "leader")
	get := func(path, failure string) {
		t.Helper()
		if _, err := n.get(t.Context(), path); fmt.Sprint(err) != failure {
			t.Errorf("%s: error %v, want %s", path, err, failure)
		}
	}
	get("/1", "<nil>")
	n.check("all is well", strs{"a/1"}, nil)

	n.set("a", "-")
	get("/2", "<nil>")
	n.check("two are down", strs{"a/2", "b/2", "c/2"}, strs{"a>c agent a: refused; agent b: refused"})
	get("/3", "<nil>")
	n.check("the third stays", strs{"c/3"}, nil)

	n.set("c", "-")
	get("/4", "agent c: refused; agent a: refused; agent b: refused")
	n.check("all are down, each is asked once", strs{"c/4", "a/4", "b/4"}, nil)
	n.set("c", "leader")
	get("/5", "<nil>")
	n.check("nothing has moved", strs{"c/5"}, nil)

	n.answer("c", func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
	get("/6", "agent c: unexpected EOF")
	n.check("what was sent is not sent again", strs{"c/6"}, nil)
	n.answer("c", func(*http.Request) (*http.Response, error) { return said(http.StatusInternalServerError, ""), nil })
	get("/7", "<nil>")
	n.check("a failure is an answer", strs{"c/7"}, nil)
	if got := n.current(); got != "c" {
		t.Errorf("the current one is %q", got)
	}
}

// TestOneAgent: errors, and requests under way, are left alone.
func TestOneAgent(t *testing.T) {
	n := newNetwork(t, "a")
	if _, err := n.get(t.Context(), "/"); fmt.Sprint(err) != "refused" {
		t.Errorf("got %v", err)
	}
	if n.failed(t.Context(), "a", "no leader") {
		t.Error("it moved")
	}
	n.run(t.Context()) // returns at once
	n.check("", strs{"a/"}, nil)
}

// TestBlockingQueryElsewhere: an index means nothing to another agent; and what was
// to be sent is sent whole.
func TestBlockingQueryElsewhere(t *testing.T) {
	n := newNetwork(t, "a", "b/consul")
	n.set("b", "leader")
	if _, err := n.get(t.Context(), "/v1/x?dc=1&index=7&wait=55s"); err != nil {
		t.Error(err)
	}
	put := func(body io.Reader) error {
		t.Helper()
		req, err := http.NewRequest(http.MethodPut, "http://consul/v1/put", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := n.agents.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	n.move(1, 0, "back", false)
	if err := put(strings.NewReader("text")); err != nil {
		t.Error(err)
	}
	n.check("", strs{
		"a/v1/x?dc=1&index=7&wait=55s", "b/consul/v1/x?dc=1", "a/v1/puttext", "b/consul/v1/puttext",
	}, strs{"a>b/consul agent a: refused", "b/consul>a back", "a>b/consul agent a: refused"})

	n.move(1, 0, "back", false)
	if err := put(io.LimitReader(strings.NewReader("text"), 9)); err == nil {
		t.Error("a body that is gone was sent again")
	}
}

// TestEndOfTheCaller: a request that its caller gave up moves nothing.
func TestEndOfTheCaller(t *testing.T) {
	n := newNetwork(t, "a", "b")
	n.set("b", "leader")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.get(ctx, "/"); err == nil {
		t.Error("no error")
	}
	n.check("", strs{"a/"}, nil)
}

func TestFailed(t *testing.T) {
	const status = "/v1/status/leader"
	for name, test := range map[string]struct {
		b, c  string
		agent string
		asked strs
		moves strs
	}{
		"to the next one":          {"leader", "leader", "a", strs{"b" + status}, strs{"a>b no leader"}},
		"past one without":         {"", "leader", "a", strs{"b" + status, "c" + status}, strs{"a>c no leader"}},
		"past one that is down":    {"-", "leader", "a", strs{"b" + status, "c" + status}, strs{"a>c no leader"}},
		"none is better":           {"", "-", "a", strs{"b" + status, "c" + status}, nil},
		"it is not the current":    {"leader", "leader", "b", nil, nil},
		"it is none of the agents": {"leader", "leader", "x", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, "a", "b", "c")
			n.set("a", "")
			n.set("b", test.b)
			n.set("c", test.c)
			if got := n.failed(t.Context(), test.agent, "no leader"); got != (test.moves != nil) {
				t.Errorf("got %v", got)
			}
			n.check("", test.asked, test.moves)
		})
	}
}

// TestGivenUp: the requests that wait at an agent end when it is given up, those for
// their answer and those for the rest of it; not when it is left for a better one.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, "a", "b")
		n.set("b", "leader")
		n.answer("a", func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/head" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			resp := said(http.StatusOK, "")
			resp.Body = endless{r.Context()}
			return resp, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		wait := func() {
			for _, path := range []string{"/head", "/body"} {
				go func() {
					_, err := n.get(ctx, path)
					ended <- err
				}()
			}
			synctest.Wait()
		}
		wait()
		n.move(0, 1, "better", false)
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatalf("it ended: %v", <-ended)
		}
		n.move(1, 0, "not better", false)
		if !n.failed(ctx, "a", "no leader") {
			t.Fatal("it is not given up")
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, errMoved) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			} else if got := reason(err); got != "agent_left" {
				t.Errorf("the reason is %q", got)
			}
		}
		n.move(1, 0, "back", true)
		wait() // they wait for an agent that is back
		if len(ended) != 0 {
			t.Fatalf("it ended: %v", <-ended)
		}
		cancel()
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// endless is a body that never comes.
type endless struct{ ctx context.Context }

func (e endless) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, e.ctx.Err()
}

func (endless) Close() error { return nil }

// TestReturn: the agents before the current one are tried every thirty seconds.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const status = "/v1/status/leader"
		n := newNetwork(t, "a", "b", "c")
		n.set("c", "leader")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.run(ctx)
		}()
		later := func(what string, asked, moves strs) {
			t.Helper()
			<-time.After(returnEvery - 1)
			n.check(what+", too early", nil, nil)
			<-time.After(1)
			synctest.Wait()
			n.check(what, asked, moves)
		}
		later("it is the first", nil, nil)
		if _, err := n.get(ctx, "/"); err != nil {
			t.Fatal(err)
		}
		n.check("", strs{"a/", "b/", "c/"}, strs{"a>c agent a: refused; agent b: refused"})
		later("none is back", strs{"a" + status, "b" + status}, nil)
		n.set("a", "")
		later("the first has no leader", strs{"a" + status, "b" + status}, nil)
		n.set("b", "leader")
		later("the second is back", strs{"a" + status, "b" + status}, strs{"c>b it answers again and comes before"})
		n.answer("a", func(*http.Request) (*http.Response, error) {
			return said(http.StatusInternalServerError, `"leader"`), nil
		})
		later("the first fails", strs{"a" + status}, nil)
		n.answer("a", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})
		<-time.After(returnEvery + plainDeadline)
		synctest.Wait()
		n.check("the first is frozen", strs{"a" + status}, nil)
		n.set("a", "leader")
		later("the first is back", strs{"a" + status}, strs{"b>a it answers again and comes before"})
		later("it is the first again", nil, nil)
		cancel()
		<-ended
	})
}

// TestDialLimit: a dial that leads nowhere leaves time for the next agent.
func TestDialLimit(t *testing.T) {
	for name, test := range map[string]struct {
		agents strs
		limit  time.Duration
	}{
		"one":  {strs{"https://192.0.2.1:8501"}, plainDeadline},
		"many": {strs{"https://192.0.2.1:8501", "https://192.0.2.2:8501"}, dialTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parsed, err := parseAgents(test.agents)
				if err != nil {
					t.Fatal(err)
				}
				d := newDialer(parsed, &tls.Config{})
				d.ControlContext = func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
					<-ctx.Done()
					return ctx.Err()
				}
				begin := time.Now()
				_, err = d.dialTLS(t.Context(), "tcp", "192.0.2.1:8501")
				var dial *dialError
				if took := time.Since(begin); !errors.As(err, &dial) || took != test.limit {
					t.Errorf("after %v: %v", took, err)
				}
				if got := reason(err); got != "timeout" {
					t.Errorf("the reason is %q", got)
				}
			})
		})
	}
}
