package promtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Options are how a Server begins.
type Options struct {
	// RuleFiles are what it evaluates each second.
	RuleFiles []string
}

// Server is a running Prometheus.
type Server struct {
	t       testing.TB
	program *program
	url     string
}

// Start starts a Server that scrapes the targets, host:port, each second, as the job usher.
// It ends with the test.
func Start(t testing.TB, o Options, targets ...string) *Server {
	t.Helper()
	path := filepath.Join(filepath.Dir(promtool(t)), "prometheus")
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{ // which is YAML, too
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": o.RuleFiles,
		"scrape_configs": []any{map[string]any{
			"job_name": "usher", "static_configs": []any{map[string]any{"targets": targets}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t}
	s.program = startProgram(t, filepath.Join(dir, "log"), path, "--config.file="+file,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0",
		"--enable-feature=exemplar-storage")
	bound := regexp.MustCompile(`msg="Listening on" \S* ?address=(127\.0\.0\.1:\d+)`)
	s.await("listening", func() bool {
		if m := bound.FindStringSubmatch(s.program.log()); m != nil {
			s.url = "http://" + m[1]
		}
		return s.url != ""
	})
	s.await("ready", func() bool { _, code, err := s.get("/-/ready", nil); return err == nil && code == http.StatusOK })
	return s
}

// await waits until ok.
func (s *Server) await(what string, ok func() bool) {
	s.t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-s.program.done:
			s.t.Fatalf("prometheus has ended:\n%s", s.program.log())
		case <-end.C:
			s.t.Fatalf("prometheus is not %s within %s", what, patience)
		}
	}
}

func (s *Server) get(path string, query url.Values) (body []byte, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return body, resp.StatusCode, err
}

// ask asks the API and reads the data it answers with into v.
func (s *Server) ask(path string, query url.Values, v any) error {
	body, _, err := s.get("/api/v1/"+path, query)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          json.RawMessage
	}{}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %w", body, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s", answer.Error)
	}
	return json.Unmarshal(answer.Data, v)
}

// Sample is one of the results of a query.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates an expression now.
func (s *Server) Query(expr string) ([]Sample, error) {
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := s.ask("query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	var out []Sample
	for _, r := range data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		out = append(out, Sample{r.Metric, v})
	}
	return out, nil
}

// Await waits until an expression has a result.
func (s *Server) Await(expr string) []Sample {
	s.t.Helper()
	var got []Sample
	s.await("answering "+expr, func() bool {
		var err error
		if got, err = s.Query(expr); err != nil {
			s.t.Fatal(err)
		}
		return len(got) > 0
	})
	return got
}

// Exemplars returns the labels of the exemplars that an expression selects.
func (s *Server) Exemplars(expr string) (out []map[string]string, err error) {
	now := time.Now()
	var data []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	err = s.ask("query_exemplars", url.Values{
		"query": {expr}, "start": {seconds(now.Add(-time.Hour))}, "end": {seconds(now.Add(time.Minute))},
	}, &data)
	for _, d := range data {
		for _, e := range d.Exemplars {
			out = append(out, e.Labels)
		}
	}
	return out, err
}

func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// Selector is one use of a metric in an expression.
type Selector struct {
	Metric string
	// Labels are those that the expression needs the metric to have: in matchers, and in
	// the groupings of the aggregations around it.
	Labels []string
}

// Selectors returns the uses of metrics in an expression, as Prometheus' parser sees them.
func (s *Server) Selectors(expr string) ([]Selector, error) {
	var tree any
	if err := s.ask("parse_query", url.Values{"query": {expr}}, &tree); err != nil {
		return nil, err
	}
	return selectors(tree, nil), nil
}

// selectors walks a syntax tree; needed are the labels that the nodes above need.
func selectors(node any, needed []string) (out []Selector) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			out = append(out, selectors(child, needed)...)
		}
	case map[string]any:
		if kind := node["type"]; kind == "vectorSelector" || kind == "matrixSelector" {
			return []Selector{selector(node, needed)}
		}
		if grouping, ok := node["grouping"].([]any); ok && node["without"] == false {
			needed = append(needed[:len(needed):len(needed)], strs(grouping)...)
		}
		for child := range maps.Values(node) {
			out = append(out, selectors(child, needed)...)
		}
	}
	return out
}

func selector(node map[string]any, needed []string) Selector {
	s := Selector{Labels: needed}
	s.Metric, _ = node["name"].(string)
	matchers, _ := node["matchers"].([]any)
	for _, m := range matchers {
		m, _ := m.(map[string]any)
		name, _ := m["name"].(string)
		if name == "__name__" {
			s.Metric, _ = m["value"].(string)
			continue
		}
		s.Labels = append(s.Labels[:len(s.Labels):len(s.Labels)], name)
	}
	return s
}

func strs(list []any) (out []string) {
	for _, v := range list {
		if text, ok := v.(string); ok {
			out = append(out, strings.TrimSpace(text))
		}
	}
	return out
}

// Rule is one of the rules that a Server has loaded.
type Rule struct {
	// Type is alerting or recording.
	Type, Name, Query   string
	Labels, Annotations map[string]string
}

// Rules returns those that are loaded.
func (s *Server) Rules() (out []Rule, err error) {
	var data struct {
		Groups []struct{ Rules []Rule }
	}
	err = s.ask("rules", nil, &data)
	for _, g := range data.Groups {
		out = append(out, g.Rules...)
	}
	return out, err
}
