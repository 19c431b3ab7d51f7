package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"usher/cmd/usher/internal/api"
	"usher/watcher/consul/consultest"
)

// explained asks a running usher by the API.
func (u *usher) explained(q ...string) api.Explanation {
	u.t.Helper()
	values := url.Values{}
	for i := 0; i < len(q); i += 2 {
		values.Add(q[i], q[i+1])
	}
	var e api.Explanation
	if code := u.api(http.MethodGet, "explain?"+values.Encode(), &e); code != http.StatusOK {
		u.t.Fatalf("%v: %d", q, code)
	}
	return e
}

const explainRoutes = `
routes:
  - {name: beta, match: {hosts: [shop.test], headers: {X-Beta: "1"}}, service: shop, priority: 1, timeout: 7s}
  - {name: gone, match: {hosts: [gone.test]}, redirect: {code: 301, to: "https://shop.test$path"}}
services: {shop: {balance: maglev, hash_key: "header:X-User", total_timeout: 21s}}
`

// What is explained is what is done: with a real Consul, whose instance is in maintenance.
func TestExplainWithConsul(t *testing.T) {
	t.Parallel()
	s := newStage(t, 3, explainRoutes)
	s.serve("shop.test", s.shop)
	s.agent.Maintenance("shop-1", true)
	eventually(t, patience, "one is in maintenance", func() bool {
		e := s.u.explained("url", "http://shop.test/")
		return len(e.Arms) == 1 && !e.Arms[0].Endpoints[1].Usable
	})
	user := fmt.Sprintf("X-User: %d", 42)
	out, _ := s.u.ask(0, "explain", "http://shop.test/cart?x=1", "-H", "X-Beta: 1", "-H", user)
	mustContain(t, "explain", out, "→ forwarded to shop/dc1/", "by route beta", "usher.yaml:",
		"✓  beta", "✗  shop.test/", "its host is named", "maintenance", "hash key header:X-User \"42\"",
		"GET /cart?x=1", "Host: shop.test", "X-Forwarded-For: 127.0.0.1", "routes[0].timeout", "7s",
		"services.shop.total_timeout", "21s")
	mustLack(t, "explain", out, "\x1b")
	e := s.u.explained("url", "http://shop.test/", "header", "X-Beta: 1", "header", user)
	if !e.Arms[0].Certain || e.Forwarded == nil {
		t.Fatalf("%+v", e)
	}
	chosen := e.Arms[0].Endpoints[e.Arms[0].Chosen]
	for range 10 {
		if got := s.askBeta("42"); !strings.HasSuffix(chosen.ID, "/"+got) {
			t.Errorf("%q answered, and %q was explained", got, chosen.ID)
		}
	}
	if h := e.Arms[0].Endpoints[1].Health; h == nil || h.State != "maintenance" || h.Cause == "" {
		t.Errorf("the one in maintenance is %+v", e.Arms[0].Endpoints[1])
	}
}

// askBeta asks for the route beta as a user, and returns who answered.
func (s *stage) askBeta(user string) string {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.u.web+"/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "shop.test"
	req.Header.Set("X-Beta", "1")
	req.Header.Set("X-User", user)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

// The command, asked of a usher whose services are in a file.
func TestExplainCommand(t *testing.T) {
	t.Parallel()
	u := startForCLI(t, "")
	out, _ := u.ask(0, "explain", "http://shop.test/orders/7")
	mustContain(t, "forwarded", out, "→ forwarded to orders/o1", "by route fixed", "the only one that speaks http",
		"healthy")
	out, _ = u.ask(0, "explain", "http://shop.test/orders", "-X", "PUT")
	mustContain(t, "by another method", out, "by route shop.test/orders", "✗  fixed", "it takes GET, not PUT")
	out, _ = u.ask(0, "explain", "http://nobody.test/")
	mustContain(t, "of nobody", out, "✗ refused: 404 no_route", "none is for this host and path")
	out, _ = u.ask(0, "explain", "127.0.0.1/orders", "-H", "Host: shop.test", "--color=always")
	mustContain(t, "by a Host, in colour", out, "\x1b[32m→ forwarded to orders/o1")
	out, _ = u.ask(0, "explain", "https://shop.test/orders")
	mustContain(t, "by https", out, "taken for http, as behind what ends TLS")
	out, _ = u.ask(0, "explain", "http://shop.test/\x7f")
	mustContain(t, "a malformed one", out, "✗ refused: 400 bad_request", "malformed request target")

	out, _ = u.ask(0, "explain", "http://shop.test/orders", "--json")
	var e api.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Outcome != "forwarded" || e.Route.ID != "fixed" ||
		e.Arms[0].Endpoints[0].Health.State != "healthy" || e.Generation == 0 {
		t.Errorf("%v: %s", err, out)
	}
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"a field":    {[]string{"http://a/", "-H", "nonsense"}, `header "nonsense" is not Name: value`},
		"a listener": {[]string{"http://a/", "--listener", "wbe"}, `did you mean "web"`},
		"a client":   {[]string{"http://a/", "--client", "me"}, `client "me" is no IP address`},
		"a scheme":   {[]string{"ftp://a/"}, "the scheme is not one of"},
		"no port":    {[]string{"tcp://a"}, "names no port"},
		"nobody":     {[]string{"tcp://:1"}, "no listener speaks tcp"},
		"a space":    {[]string{"http://a/ b"}, "percent-encode it"},
		"a line end": {[]string{"http://a/", "-H", "A: b\r\nC: d"}, "line end"},
		"a user":     {[]string{"http://a:b@c/"}, "Authorization"},
		"snapshot":   {[]string{"http://a/", "--snapshot", "x"}, "goes with --config"},
	} {
		if _, stderr := u.ask(1, append([]string{"explain"}, c.args...)...); !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %q", what, stderr)
		}
	}
	if code := u.api(http.MethodGet, "explain", nil); code != http.StatusBadRequest {
		t.Errorf("without a URL: %d", code)
	}
	_, stderr := u.ask(2, "explain")
	mustContain(t, "without a URL", stderr, "accepts 1 arg")
}

// Explanations are no requests.
func TestExplainCountsNothing(t *testing.T) {
	t.Parallel()
	u := startForCLI(t, "")
	before := u.metric("usher_requests_total")
	for range 20 {
		u.explained("url", "http://shop.test/orders")
		u.explained("url", "http://nobody.test/")
	}
	if after := u.metric("usher_requests_total"); after != before {
		t.Errorf("%v requests, %v before", after, before)
	}
	for _, name := range []string{"usher_requests_in_flight", "usher_endpoint_requests_in_flight"} {
		if n := u.metric(name); n != 0 {
			t.Errorf("%s is %v", name, n)
		}
	}
}

// Without a running usher the same is said of a file and of a snapshot.
func TestExplainSnapshot(t *testing.T) {
	t.Parallel()
	agent, dir := consultest.Start(t), t.TempDir()
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", 2)
	u := start(t, keeping(agent.Addr(), dir)+explainRoutes)
	u.servedBy("shop.test", names(s.shop)...)
	snapshotHas(t, dir, "shop-1")
	out, _ := u.ask(0, "explain", "http://shop.test/")
	mustContain(t, "running", out, "by route shop.test/", "shop-0", "shop-1")
	u.quit()
	agent.Kill()
	for what, args := range map[string][]string{
		"its state_dir": nil, "a folder": {"--snapshot", dir}, "a file": {"--snapshot", snapshotIn(dir)},
	} {
		args = append([]string{"explain", "http://shop.test/", "--config", u.conf}, args...)
		code, out, stderr := command(t, args...)
		if code != 0 {
			t.Fatalf("%s: %d %s", what, code, stderr)
		}
		mustContain(t, what, out, "by route shop.test/", "shop-0", "shop-1", "no running usher was asked")
	}
	code, _, stderr := command(t, "explain", "http://shop.test/", "--config", u.conf, "--snapshot", u.conf)
	if code != 1 || !strings.Contains(stderr, "this is no snapshot") {
		t.Errorf("%d %s", code, stderr)
	}
}

// cdnLoop is what differs from one process to the next.
var cdnLoop = regexp.MustCompile(`usher-[0-9a-f]{16}`)

// golden is what explain prints for testdata/explain.
var golden = map[string][]string{
	"forwarded": {"-H", "X-User: ann", "http://shop.example.com/orders/7?x=1"},
	"redirect":  {"http://old.example.com/cart"},
	"no-route":  {"http://nobody.example.com/"},
	"unhealthy": {"http://sick.example.com/"},
	"denied":    {"--client", "192.0.2.7", "http://admin.example.com/"},
	"tcp":       {"tcp://:3306"},
}

// A split is drawn: each part of it is, and all of them are shown.
func TestExplainSplit(t *testing.T) {
	t.Parallel()
	drawn := map[string]bool{}
	for range 200 {
		code, out, stderr := command(t, "explain", "--config", filepath.Join("testdata", "explain", "usher.yaml"),
			"--json", "http://split.example.com/")
		var e api.Explanation
		if err := json.Unmarshal([]byte(out), &e); code != 0 || err != nil || len(e.Arms) != 2 {
			t.Fatalf("%d %v %s%s", code, err, out, stderr)
		}
		if e.Arms[0].Drawn == e.Arms[1].Drawn {
			t.Fatal("one of two is drawn")
		}
		if want := map[bool]string{true: "forwarded", false: "refused"}[e.Arms[0].Drawn]; e.Outcome != want {
			t.Errorf("%s, want %s", e.Outcome, want)
		}
		if drawn[e.Outcome] = true; len(drawn) == 2 {
			return
		}
	}
	t.Errorf("only %v", drawn)
}

// TestExplainOutput compares what is printed with files; with UPDATE_GOLDEN it writes them.
func TestExplainOutput(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("testdata", "explain")
	for name, args := range golden {
		args = append([]string{"explain", "--config", filepath.Join(folder, "usher.yaml")}, args...)
		code, out, stderr := command(t, args...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
		out = cdnLoop.ReplaceAllString(out, "usher-0123456789abcdef")
		path := filepath.Join(folder, name+".txt")
		if os.Getenv("UPDATE_GOLDEN") != "" {
			writeFile(t, path, out)
		}
		want, err := os.ReadFile(path)
		if err != nil || out != string(want) {
			t.Errorf("%s: %v, it is\n%s\nwant\n%s", name, err, out, want)
		}
	}
}

// The example of the documentation is what is printed.
func TestExplainDocumented(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile(filepath.Join("testdata", "explain", "forwarded.txt"))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile(filepath.Join("..", "..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), strings.ReplaceAll(string(want), "testdata/explain/", "")) {
		t.Error("docs/operating.md shows another output of explain")
	}
}
