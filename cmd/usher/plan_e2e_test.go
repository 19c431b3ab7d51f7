package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"usher/cmd/usher/internal/api"
)

// planner draws configurations and sends requests.
type planner struct {
	t      *testing.T
	u      *usher
	r      *rand.Rand
	client *http.Client
}

// one returns one of the words.
func (p *planner) one(words ...string) string { return words[p.r.IntN(len(words))] }

// route draws a route of the configuration.
func (p *planner) route(i int) string {
	match := []string{fmt.Sprintf("hosts: [%s]", p.one("a.test", "b.test", `"*.c.test"`, "d.test", "sa.test"))}
	match = append(match, "path: "+p.one("/", "/x", "/x/y", "/api", "/z"))
	if p.r.IntN(3) == 0 {
		match = append(match, "path_type: "+p.one("exact", "iprefix", "glob", "regex"))
	}
	if p.r.IntN(4) == 0 {
		match = append(match, "methods: ["+p.one("GET", "POST")+"]")
	}
	if p.r.IntN(4) == 0 {
		match = append(match, "headers: {X-Beta: "+p.one("'1'", "'2'")+"}")
	}
	if p.r.IntN(6) == 0 {
		match = append(match, "query: {q: '1'}")
	}
	to := "service: " + p.one("sa", "sb", "sc", "sd")
	switch p.r.IntN(8) {
	case 0:
		to = "redirect: {code: 302, to: 'http://" + p.one("e.test$path", "a.test$path") + "'}"
	case 1:
		to = "respond: {status: 200, body: " + p.one("hello", "bye") + "}"
	case 2:
		to += ", strip_prefix: /x"
	case 3:
		to += ", host: other.test"
	}
	return fmt.Sprintf("  - {name: r%d, match: {%s}, %s, priority: %d}\n",
		i, strings.Join(match, ", "), to, p.r.IntN(3))
}

// config draws a configuration from the routes of another one: some stay, some go.
func (p *planner) config(routes []string) []string {
	out := make([]string, 30)
	for i := range out {
		if i < len(routes) && p.r.IntN(5) > 0 {
			out[i] = routes[i]
		} else if i > 0 && p.r.IntN(5) == 0 {
			out[i] = ""
		} else {
			out[i] = p.route(i)
		}
	}
	// The values of the field are remembered where a rule of the running table asks for it.
	out[0] = "  - {name: r0, match: {hosts: [x.test], headers: {X-Beta: '1'}}, service: sa}\n"
	return out
}

func (p *planner) text(routes []string) string {
	return withFile + "history: {requests: 65536}\nroutes:\n" + strings.Join(routes, "")
}

// sent is a request as the plan tells it.
type sent struct{ method, host, target, beta string }

func (p *planner) requests() (out []sent) {
	for _, host := range []string{"a.test", "b.test", "m.c.test", "d.test", "sa.test", "nowhere.test"} {
		for _, target := range []string{"/", "/x", "/x/y/z?q=1", "/X/up", "/api?q=2", "/z%41"} {
			for _, method := range []string{"GET", "POST"} {
				for _, beta := range []string{"", "1", "2"} {
					out = append(out, sent{method, host, target, beta})
				}
			}
		}
	}
	return out
}

// observe sends the requests and says where each went: who answered, and what it was
// asked for.
func (p *planner) observe() map[sent]string {
	p.t.Helper()
	out := map[sent]string{}
	for _, s := range p.requests() {
		req, err := http.NewRequestWithContext(p.t.Context(), s.method, p.u.web+s.target, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		req.Host = s.host
		if s.beta != "" {
			req.Header.Set("X-Beta", s.beta)
		}
		resp, err := p.client.Do(req)
		if err != nil {
			p.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		out[s] = fmt.Sprintf("%d %s %s %s", resp.StatusCode, resp.Header.Get("X-Usher-Reason"),
			resp.Header.Get("Location"), body)
	}
	return out
}

// planned runs the command and returns its result.
func (p *planner) planned(routes []string, args ...string) (result api.Plan) {
	p.t.Helper()
	path := p.t.TempDir() + "/new.yaml"
	writeFile(p.t, path, p.text(routes))
	out, _ := p.u.ask(0, append([]string{"plan", "--config", path, "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		p.t.Fatal(err)
	}
	return result
}

// Over changed configurations, plan lists exactly the requests whose destination changes
// with the reload: of all that were sent, those that it names are answered by another one
// then, and no others are.
func TestPlanListsWhatMoves(t *testing.T) {
	p := &planner{t: t, r: rand.New(rand.NewPCG(7, 7)), client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	routes := p.config(nil)
	p.u = launch(t, p.text(routes))
	services := "services:\n"
	for _, name := range []string{"sa", "sb", "sc"} {
		b := newBackend(t, name, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, name, " ", r.Method, " ", r.Host, r.RequestURI)
		})
		services += fmt.Sprintf("  - {name: %s, routes: ['%s.test/'], instances: [{address: %q}]}\n",
			name, name, b.address())
	}
	services += "  - {name: sd, instances: [{address: '127.0.0.1:1', status: critical}]}\n"
	writeFile(t, p.u.dir+"/services.yaml", services)
	p.u.waitLog(`"msg":"services"`)
	moved := 0
	for round := range 4 {
		before := p.observe()
		next := p.config(routes)
		result := p.planned(next)
		if n := len(p.requests()); result.Replayed < n*(round+1) {
			t.Fatalf("%d requests were replayed, %d sent", result.Replayed, n*(round+1))
		}
		p.u.write(p.text(next))
		p.reloaded(round + 1)
		after := p.observe()
		compareMoved(t, round, result, before, after)
		moved += len(result.Moved)
		if again := p.planned(next); len(again.Changes)+len(again.Moved) > 0 {
			t.Errorf("after the reload the same configuration changes %+v", again.Changes)
		}
		routes = next
	}
	if moved < 40 {
		t.Errorf("only %d requests moved", moved)
	}
}

// reloaded waits until so many reloads are in force.
func (p *planner) reloaded(n int) {
	eventually(p.t, patience, "the reload is in force", func() bool {
		if p.u.metric("usher_config_reloads_total", `result="success"`) < float64(n) {
			return false
		}
		var list api.Generations
		_, body := get(p.t, p.u.admin+"/api/v1/generations", "")
		_ = json.Unmarshal([]byte(body), &list)
		found := 0
		for _, g := range list.Generations {
			for _, c := range g.Causes {
				if c.Kind == "reload" {
					found++
				}
			}
		}
		return found >= n
	})
}

func compareMoved(t *testing.T, round int, result api.Plan, before, after map[sent]string) {
	t.Helper()
	said := map[sent]api.Moved{}
	for _, m := range result.Moved {
		s := sent{method: m.Request.Method, host: m.Request.Host, target: m.Request.Target}
		if values := m.Request.Headers["X-Beta"]; len(values) > 0 {
			s.beta = values[0]
		}
		said[s] = m
	}
	for s := range before {
		m, planned := said[s]
		if moves := before[s] != after[s]; moves != planned {
			t.Errorf("round %d: %+v: planned to move: %t (%+v → %+v), was answered\n%s\nand then\n%s",
				round, s, planned, m.From, m.To, before[s], after[s])
		}
	}
	t.Logf("round %d: %d of %d requests move, %d changes", round, len(said), len(before), len(result.Changes))
}

// The exit status tells a pipeline what it asked for, the live usher is not needed, and
// nothing of a plan is left in it.
func TestPlanForPipelines(t *testing.T) {
	u := startForCLI(t, "")
	dir := t.TempDir()
	same, other, bad := dir+"/same.yaml", dir+"/other.yaml", dir+"/bad.yaml"
	writeFile(t, same, withFile+cliRoutes)
	writeFile(t, bad, threeMistakes)
	writeFile(t, other, strings.Replace(withFile, "listeners: [", "listeners: [{name: more, address: ':0'}, ", 1)+
		strings.ReplaceAll(cliRoutes, "service: orders", "service: cart"))
	if code, _ := get(t, u.web+"/orders", "shop.test"); code != 200 {
		t.Fatalf("orders answers %d", code)
	}
	get(t, u.web+"/orders?token=s3cret", "shop.test")
	before := u.metric("usher_table_builds_total")
	out, _ := u.ask(0, "plan", "--config", same, "--detailed-exitcode")
	mustContain(t, "the same configuration", out,
		"Nothing changes.", "0 of ", " recent requests would go elsewhere.")
	out, _ = u.ask(0, "plan", "--config", other)
	mustContain(t, "another one", out, "~ route fixed", "service: orders → cart", "+ listener more",
		" recent requests would go elsewhere:\n  GET shop.test/orders: ", "token=REDACTED",
		"orders by fixed → cart by fixed")
	for _, c := range []struct {
		want int
		args []string
	}{
		{5, []string{"--config", other, "--detailed-exitcode"}},
		{5, []string{"--config", other, "--fail-on", "moved"}},
		{5, []string{"--config", other, "--fail-on", "any"}},
		{0, []string{"--config", other, "--fail-on", "removed,conflicts"}},
		{2, []string{"--config", other, "--fail-on", "nonsense"}},
		{2, nil},
		{3, []string{"--config", bad}},
		{1, []string{"--config", other, "--snapshot", dir + "/none"}},
	} {
		u.ask(c.want, append([]string{"plan"}, c.args...)...)
	}
	if after := u.metric("usher_table_builds_total"); after != before {
		t.Errorf("%v tables were built, %v before the plans", after, before)
	}
	_, snapshot := get(t, u.admin+"/api/v1/snapshot", "")
	_, requests := get(t, u.admin+"/api/v1/requests", "")
	writeFile(t, dir+"/snapshot", snapshot)
	writeFile(t, dir+"/requests", requests)
	u.signal(syscall.SIGTERM)
	u.wait(patience)
	code, out, stderr := command(t, "plan", "--config", other, "--snapshot", dir+"/snapshot", "--requests",
		dir+"/requests", "--fail-on", "moved")
	if code != 5 {
		t.Errorf("without a usher it exits with %d: %s", code, stderr)
	}
	mustContain(t, "without a usher", out, "~ route fixed", "GET shop.test/orders: ")
	if strings.Contains(snapshot+requests, "s3cret") {
		t.Error("a secret is told")
	}
}
